/** Callers of two keys at once, of every kind. Chance decides who stops where, who goes on, and what lookups come to. */
import { Effect, Exit, Fiber, Scope } from "effect"
import { Deadline, ServiceUnavailable, StaleCache, UnavailableReason } from "failsoft"
import { expect, it } from "vitest"
import { RacingWorld } from "./racing.ts"

const away = new ServiceUnavailable({ service: "prices", reason: UnavailableReason.NotConnected() })

const hardMillis = 1000
const maxBackground = 2

/** How long time goes on between rounds: not at all, beyond a limit, or beyond all windows. */
const pauses = [0, 200, 600, 1100, 2500, 12_000]

const racing = (seed: number) => {
  const world = new RacingWorld(seed)
  const { draw } = world
  const scope = world.value(Scope.make())
  let running = 0
  let values = 0
  const someYields = Effect.suspend(() => Effect.replicateEffect(Effect.yieldNow, draw.integer(0, 4)))
  const answer = Effect.suspend((): Effect.Effect<number, ServiceUnavailable> => {
    switch (draw.integer(0, 4)) {
      case 0:
        return Effect.never
      case 1:
        return Effect.succeed(++values)
      case 2:
        return Effect.andThen(someYields, Effect.fail(away))
      default:
        return Effect.andThen(
          someYields,
          Effect.sync(() => ++values)
        )
    }
  })
  const cache = world.value(
    StaleCache.make<string, number, ServiceUnavailable>({
      name: "prices",
      lookup: () =>
        Effect.acquireUseRelease(
          Effect.sync(() => ++running),
          () => answer,
          () => Effect.sync(() => --running)
        ),
      timeToLive: "1 second",
      jitter: 0,
      eagerRefresh: 0.5,
      staleWhileRevalidate: "1 second",
      staleIfError: "10 seconds",
      softTimeout: "100 millis",
      hardTimeout: hardMillis,
      maxBackground,
      maxEntries: 2
    }).pipe(Scope.provide(scope))
  )
  const calls = { begun: 0, interrupted: 0 }
  const step = Effect.suspend((): Effect.Effect<unknown, ServiceUnavailable> => {
    const key = draw.integer(0, 1) === 0 ? "a" : "b"
    const kind = draw.integer(0, 29)
    switch (kind) {
      case 0:
        return cache.invalidate(key)
      case 1:
        return cache.set(key, ++values)
      case 2:
        return cache.invalidateAll
      case 3:
        return cache.refresh(key)
    }
    calls.begun++
    if (kind > 7) return cache.getServed(key)
    if (kind > 5) return Deadline.within(cache.get(key), "50 millis")
    calls.interrupted++
    return Effect.flatMap(Effect.forkDetach(cache.get(key), { startImmediately: true }), (caller) =>
      Effect.andThen(someYields, Fiber.interrupt(caller))
    )
  })
  const pass = (millis: number) => {
    const until = world.clock.nowMillis + millis
    while (world.clock.sleepers.some(({ atMillis }) => atMillis <= until)) {
      world.clock.wakeNext()
      world.makeDispatcher().flush()
    }
    world.clock.nowMillis = until
  }
  return {
    calls,
    pass,
    race: () => world.race(Array.from({ length: 6 }, () => Effect.andThen(someYields, step))),
    running: () => running,
    snapshot: () => world.value(cache.snapshot),
    close: () => world.value(Scope.close(scope, Exit.void)),
    world
  }
}

it("no lookup runs without a limit, for more than may run for nobody, or after all is over", {
  timeout: 60_000
}, () => {
  const seen = { lookups: 0, background: 0, stale: 0 }
  for (let seed = 1; seed <= 150; seed++) {
    const at = `seed ${seed}`
    const { calls, close, pass, race, running, snapshot, world } = racing(seed)
    for (let round = 0; round < 12; round++) {
      race()
      const { background, inFlight } = snapshot()
      expect(background, at).toBeLessThanOrEqual(maxBackground)
      expect(inFlight, at).toBeLessThanOrEqual(2)
      const limits = world.clock.sleepers.filter(
        ({ atMillis }) => atMillis <= world.clock.nowMillis + hardMillis
      )
      expect(limits.length, at).toBeGreaterThanOrEqual(running())
      seen.background += background
      pass(world.draw.pick(pauses))
    }
    pass(hardMillis)
    const { background, hits, inFlight, lookups, misses, stale } = snapshot()
    expect([running(), inFlight, background, world.isIdle], at).toEqual([0, 0, 0, true])
    const counted = hits + misses + stale
    expect(counted, at).toBeLessThanOrEqual(calls.begun)
    expect(counted, at).toBeGreaterThanOrEqual(calls.begun - calls.interrupted)
    seen.lookups += lookups
    seen.stale += stale
    close()
  }
  // All of it has happened, and often.
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(100)
})
