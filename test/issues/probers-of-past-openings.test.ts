/**
 * The fiber that asks through one opening slept on after a reset, or after calls had closed the circuit, while the next
 * opening started one more: a circuit that flapped had as many fibers as openings.
 */
import { Duration, Effect, Scope } from "effect"
import { CircuitBreaker } from "failsoft"
import { describe, expect, it } from "vitest"
import { World } from "../failsoft/interruption.ts"

const make = (world: World, openDuration: Duration.Input, every: Duration.Input) => {
  let asked = 0
  const breaker = world.value(
    CircuitBreaker.make({
      name: "search",
      trip: CircuitBreaker.consecutive(1),
      openDuration,
      halfOpen: { successes: 2 },
      probe: { effect: Effect.sync(() => ++asked), every }
    }).pipe(Effect.provideService(Scope.Scope, world.value(Scope.make())))
  )
  return { asked: () => asked, breaker }
}

describe("a circuit has one fiber that asks", () => {
  it("after many resets", () => {
    const world = new World()
    const { breaker } = make(world, "1 hour", "1 second")
    for (let opening = 0; opening < 100; opening++) {
      world.run(breaker.execute(Effect.fail("refused")))
      world.value(breaker.reset)
    }
    expect(world.clock.sleepers).toHaveLength(1)
  })

  it("after many openings that calls have closed", () => {
    const world = new World()
    const { asked, breaker } = make(world, "1 second", "1 hour")
    for (let opening = 0; opening < 100; opening++) {
      world.run(breaker.execute(Effect.fail("refused")))
      world.run(Effect.sleep("2 seconds"))
      world.run(breaker.execute(Effect.void))
      expect(world.value(breaker.snapshot).state).toBe("closed")
    }
    expect(asked()).toBe(100)
    expect(world.clock.sleepers).toHaveLength(1)
  })

  it("which goes on asking though it was the one that opened the circuit again", () => {
    const world = new World()
    const breaker = world.value(
      CircuitBreaker.make({
        name: "search",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "1 second",
        probe: { effect: Effect.fail("refused"), every: "1 second" }
      }).pipe(Effect.provideService(Scope.Scope, world.value(Scope.make())))
    )
    world.run(breaker.execute(Effect.fail("refused")))
    world.run(Effect.sleep(Duration.millis(100_500)))
    expect(world.value(breaker.snapshot).counts).toMatchObject({ total: 101, failed: 101 })
    expect(world.clock.sleepers).toHaveLength(1)
  })
})
