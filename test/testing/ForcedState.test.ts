import { describe, expect, it } from "@effect/vitest"
import { forceState, type NotForced } from "@failsoft/testing"
import { Clock, Effect, Exit } from "effect"
import { CircuitBreaker, type Health, Outcome, Policy } from "failsoft"

const states: ReadonlyArray<Health.CircuitState> = ["closed", "open", "half_open"]

const stateOf = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.snapshot, ({ state }) => state)

const notForced = (self: Effect.Effect<void, NotForced>) =>
  Effect.map(Effect.flip(self), ({ because, state, wanted }) => ({ because, state, wanted }))

describe("forceState", () => {
  it.effect.each(states.flatMap((from) => states.map((to) => [from, to] as const)))(
    "brings a circuit from %s to %s",
    ([from, to]) =>
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.make({
          name: "billing",
          openDuration: "1500 millis",
          halfOpen: { probes: 2, successes: 4 },
          // A breaker that judges every call a success is opened all the same.
          classify: () => Outcome.success
        })
        yield* forceState(breaker, from)
        expect(yield* stateOf(breaker)).toBe(from)
        yield* forceState(breaker, to)
        expect(yield* stateOf(breaker)).toBe(to)
      })
  )

  it.effect("counts its calls and moves the clock no further than it must", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing", openDuration: "20 seconds" })
      yield* forceState(breaker, "open")
      yield* forceState(breaker, "half_open")
      expect(yield* Clock.currentTimeMillis).toBe(20_000)
      expect((yield* breaker.snapshot).counts).toMatchObject({ failed: 5, successful: 0, total: 5 })
      yield* forceState(breaker, "closed")
      expect((yield* breaker.snapshot).counts).toMatchObject({ failed: 5, successful: 3, total: 8 })
    })
  )

  it.effect("takes a policy by its circuit", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", { deadline: "1 second", retry: {}, breaker: {} })
      yield* forceState(policy, "open")
      expect(yield* policy.breaker?.isOpen ?? Effect.succeed(false)).toBe(true)
    })
  )

  it.effect("says so when there is no circuit, or it is switched off", () =>
    Effect.gen(function* () {
      const without = yield* Policy.make("billing", { deadline: "1 second" })
      expect(yield* notForced(forceState(without, "open"))).toMatchObject({ because: "no circuit" })
      const off = yield* CircuitBreaker.make({ name: "billing", enabled: false })
      yield* forceState(off, "closed")
      const error = yield* Effect.flip(forceState(off, "open"))
      expect(error.message).toBe(
        "The circuit of billing could not be brought to open, it is closed: switched off"
      )
    })
  )

  it.effect("says so when failures do not open it", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(10_001)
      })
      expect(yield* notForced(forceState(breaker, "half_open"))).toEqual({
        because: "does not trip",
        state: "closed",
        wanted: "half_open"
      })
    })
  )

  it.effect("says so when the probes of others hold every slot", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing" })
      yield* forceState(breaker, "half_open")
      yield* Effect.forkChild(breaker.execute(Effect.never), { startImmediately: true })
      expect(yield* notForced(forceState(breaker, "closed"))).toMatchObject({
        because: "no free probe slot",
        state: "half_open"
      })
    })
  )

  it.effect("says so when the circuit's own probe moves it on", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        halfOpen: { successes: 1 },
        probe: { effect: Effect.void, every: "1 second" }
      })
      expect(yield* notForced(forceState(breaker, "half_open"))).toMatchObject({ because: "does not stay" })
      yield* forceState(breaker, "closed")
    })
  )

  it.live("dies where the clock is not the test's, instead of waiting", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing" })
      yield* forceState(breaker, "open")
      const exit = yield* Effect.exit(forceState(breaker, "half_open"))
      expect(Exit.hasDies(exit)).toBe(true)
    })
  )
})
