/**
 * Between a change of the circuit and the telling of it a fiber may have to wait, while others change the circuit further.
 * Listeners, the log and `transitions` could hear `CircuitHalfOpened` after the `CircuitClosed` that followed it.
 */
import { Effect, Fiber, Scope, Stream } from "effect"
import { CircuitBreaker, PolicyEvent } from "failsoft"
import { expect, it } from "vitest"
import { RacingWorld } from "../failsoft/racing.ts"

it("transitions are told in the order in which they happened", () => {
  for (let seed = 0; seed < 200; seed++) {
    const world = new RacingWorld(seed)
    const told: Array<string> = []
    const scope = world.value(Scope.make())
    const breaker = world.value(
      CircuitBreaker.make({
        name: "search",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "1 second",
        halfOpen: { probes: 5, successes: 1 }
      }).pipe(
        Effect.provideService(Scope.Scope, scope),
        Effect.provideService(PolicyEvent.Listeners, [
          (event) => {
            if (event._tag.startsWith("Circuit")) told.push(event._tag)
          }
        ])
      )
    )
    const [reading] = world.race([Stream.runCollect(Stream.take(breaker.transitions, 3))])
    world.run(breaker.execute(Effect.fail("refused")))
    world.clock.nowMillis += 1000
    world.finish(Array.from({ length: 10 }, () => Effect.exit(breaker.execute(Effect.void))))

    const inOrder = ["CircuitOpened", "CircuitHalfOpened", "CircuitClosed"]
    expect(told).toEqual(inOrder)
    expect(world.value(Fiber.join(reading!)).map(({ _tag }) => _tag)).toEqual(inOrder)
  }
})

it("what a listener does in turn is told after what it was told", () => {
  const world = new RacingWorld(1)
  const told: Array<string> = []
  let resetOnce = (): void => undefined
  const breaker = world.value(
    CircuitBreaker.make({ name: "search", trip: CircuitBreaker.consecutive(1) }).pipe(
      Effect.provideService(Scope.Scope, world.value(Scope.make())),
      Effect.provideService(PolicyEvent.Listeners, [() => resetOnce(), (event) => told.push(event._tag)])
    )
  )
  resetOnce = () => {
    resetOnce = () => undefined
    Effect.runSync(breaker.reset)
  }
  world.run(breaker.execute(Effect.fail("refused")))
  expect(told).toEqual(["CircuitOpened", "CircuitReset"])
})
