/**
 * A reader of `transitions` goes on the moment one is published. That was in the middle of the change: what the reader did to
 * the circuit was overwritten by it, and told of before it. A reader that fell behind lost the newest transitions, not the
 * oldest, and all other readers lost them too.
 */
import { Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { CircuitBreaker, PolicyEvent } from "failsoft"
import { describe, expect, it } from "vitest"
import { World } from "../failsoft/interruption.ts"

type Answer = (
  breaker: CircuitBreaker.CircuitBreaker,
  event: PolicyEvent.Transition
) => Effect.Effect<unknown>

/** A breaker, one of whose readers answers each transition at once. */
const readBy = (answer: Answer) => {
  const world = new World()
  const told: Array<string> = []
  const scope = Scope.makeUnsafe()
  const breaker = world.value(
    CircuitBreaker.make({
      name: "search",
      trip: CircuitBreaker.consecutive(1),
      openDuration: "1 second",
      halfOpen: { probes: 1, successes: 2 }
    }).pipe(
      Effect.provideService(PolicyEvent.Listeners, [({ _tag }) => told.push(_tag)]),
      Effect.provideService(Scope.Scope, scope)
    )
  )
  world.value(Effect.forkScoped(Stream.runForEach(breaker.transitions, (event) => answer(breaker, event))))
  return { breaker, close: Scope.close(scope, Exit.void), told, world }
}

const refused = Effect.fail("refused")

describe("a reader of transitions", () => {
  it("that makes a call takes no probe beside the one that it hears of", () => {
    let running = 0
    let most = 0
    const call = Effect.suspend(() => {
      most = Math.max(most, ++running)
      return Effect.ensuring(
        Effect.sleep("1 second"),
        Effect.sync(() => running--)
      )
    })
    const { breaker, world } = readBy((breaker, { _tag }) =>
      _tag === "CircuitHalfOpened" ? Effect.exit(breaker.execute(call)) : Effect.void
    )
    world.run(breaker.execute(refused))
    world.run(Effect.sleep("1 second"))
    expect(world.run(breaker.execute(call))).toEqual(Exit.void)
    expect(most).toBe(1)
    expect(world.value(breaker.snapshot).counts).toMatchObject({ successful: 1, rejected: 1 })
  })

  it.each(["CircuitOpened", "CircuitHalfOpened"])("that resets the circuit at %s has done so", (when) => {
    const { breaker, told, world } = readBy((breaker, { _tag }) =>
      _tag === when ? breaker.reset : Effect.void
    )
    world.run(breaker.execute(refused))
    world.run(Effect.sleep("1 second"))
    world.run(breaker.execute(Effect.void))
    expect(world.value(breaker.snapshot).state).toBe("closed")
    expect(told.slice(-2)).toEqual([when, "CircuitReset"])
  })

  it("that falls 128 behind loses the oldest, and others lose none", () => {
    const seen: Array<number> = []
    const { breaker, close, world } = readBy((_, { atMillis }) => Effect.sync(() => seen.push(atMillis)))
    const caughtUp = Deferred.makeUnsafe<void>()
    const slow = world.value(
      Effect.forkScoped(Stream.runCollect(Stream.tap(breaker.transitions, () => Deferred.await(caughtUp))))
    )
    for (let opening = 0; opening < 300; opening++) {
      world.clock.nowMillis = opening
      world.run(breaker.execute(refused))
      world.run(breaker.reset)
    }
    world.run(close)
    expect(seen).toHaveLength(600)
    world.run(Deferred.succeed(caughtUp, undefined))
    const had = world.value(Fiber.join(slow)).map(({ atMillis }) => atMillis)
    expect(had).toEqual([0, ...seen.slice(-128)])
  })
})
