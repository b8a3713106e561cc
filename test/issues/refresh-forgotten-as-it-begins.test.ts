/**
 * A caller that began a refresh and had to wait for its turn before it knew the fiber of it: who invalidated the key meanwhile
 * found nothing to interrupt, and the lookup ran on for nobody, counted by nothing and without a time limit.
 */
import { Effect, Exit, Scope } from "effect"
import { StaleCache } from "failsoft"
import { expect, it } from "vitest"
import { RacingWorld } from "../failsoft/racing.ts"

it("no lookup is left behind when its key is invalidated, whoever has to wait for their turn", () => {
  const left: Array<number> = []
  for (let seed = 0; seed < 300; seed++) {
    const world = new RacingWorld(seed)
    const scope = world.value(Scope.make())
    let running = 0
    const prices = world.value(
      StaleCache.make<string, number>({
        name: "prices",
        lookup: () =>
          Effect.acquireUseRelease(
            Effect.sync(() => ++running),
            () => Effect.never,
            () => Effect.sync(() => --running)
          ),
        timeToLive: "1 second",
        jitter: 0,
        staleWhileRevalidate: "1 minute"
      }).pipe(Scope.provide(scope))
    )
    world.value(prices.set("apples", 1))
    world.clock.nowMillis += 1000
    world.race([prices.get("apples"), prices.invalidate("apples")])
    // The refresh may also have begun after that, for whoever was served before: then it has its place and its limit.
    const { inFlight } = world.value(prices.snapshot)
    if (running !== inFlight || world.clock.sleepers.length !== inFlight) left.push(seed)
    world.value(Scope.close(scope, Exit.void))
  }
  expect(left).toEqual([])
})
