import { describe, expect, it } from "@effect/vitest"
import { Arbitraries, History, ScriptedDependency } from "@failsoft/testing"
import { Arbitrary, Clock, Effect, Exit, Schema } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Policy, Retry, ServiceUnavailable } from "failsoft"

const { fail, hang, slow, succeed } = ScriptedDependency

const unguarded = <A>(call: A): A => call

const moment = <A, E>(
  step: ScriptedDependency.Step<A, E>,
  lastsMillis: number,
  calls: number
): History.Moment<A, E> => ({ step, lastsMillis, calls })

describe("a history", () => {
  it.effect("spreads the calls of a moment over it, and makes none while it is idle", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 hour")
      const history = [moment(succeed(1), 1000, 3), moment(fail("idle"), 5000, 0), moment(succeed(2), 500, 1)]
      const calls = yield* History.run(history, unguarded)
      expect(calls).toEqual(
        [0, 333, 666, 6000].map((atMillis) => ({
          atMillis,
          reached: 1,
          ended: { atMillis, exit: Exit.succeed(atMillis < 6000 ? 1 : 2) }
        }))
      )
      expect(yield* Clock.currentTimeMillis).toBe(3_600_000 + 6500)
    })
  )

  it.effect("lets calls wait for nobody, and goes on until they have ended", () =>
    Effect.gen(function* () {
      const calls = yield* History.run([moment(slow("5 seconds", succeed(1)), 1000, 2)], unguarded)
      expect(calls.map(({ atMillis, ended }) => [atMillis, ended?.atMillis])).toEqual([
        [0, 5000],
        [500, 5500]
      ])
      expect(yield* Clock.currentTimeMillis).toBe(6000)
    })
  )

  it.effect("gives up on calls that never end, and leaves none behind", () =>
    Effect.gen(function* () {
      const dependency = yield* ScriptedDependency.make<number, string>([hang])
      const calls = yield* History.play([moment(hang, 1000, 2)], dependency, dependency.call)
      expect(calls).toEqual([
        { atMillis: 0, reached: 1, ended: undefined },
        { atMillis: 500, reached: 1, ended: undefined }
      ])
      expect(yield* dependency.inFlight).toBe(0)
      expect(yield* Clock.currentTimeMillis).toBe(601_000)
    })
  )

  it.effect("of no moment does nothing", () =>
    Effect.gen(function* () {
      expect(yield* History.run([], unguarded)).toEqual([])
      expect(yield* Clock.currentTimeMillis).toBe(0)
    })
  )

  it.effect("begins when it is played, with a dependency that was used before", () =>
    Effect.gen(function* () {
      const dependency = yield* ScriptedDependency.make<string, string>([succeed("before")])
      expect(yield* dependency.call).toBe("before")
      yield* TestClock.adjust("1 minute")
      const calls = yield* History.play(
        [moment(succeed("first"), 1000, 1), moment(fail("second"), 1000, 1)],
        dependency,
        dependency.call
      )
      expect(calls.map(({ ended }) => ended?.exit)).toEqual([Exit.succeed("first"), Exit.fail("second")])
      expect(calls.map(({ atMillis }) => atMillis)).toEqual([0, 1000])
    })
  )

  it.live("dies where the clock is not the test's", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(History.run([moment(succeed(1), 1000, 1)], unguarded))
      expect(Exit.hasDies(exit)).toBe(true)
    })
  )
})

describe("how often a call reached the dependency", () => {
  it.effect("counts every attempt of it, and no rejection", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        retry: { attempts: 3, schedule: Retry.exponential({ base: "100 millis", jitter: "none" }) },
        breaker: { trip: CircuitBreaker.consecutive(5), openDuration: "1 minute" }
      })
      const calls = yield* History.run([moment(fail("down"), 30_000, 3)], policy.execute)
      expect(calls.map(({ reached }) => reached)).toEqual([3, 2, 0])
    })
  )

  it.effect("does not count the circuit's own probes", () =>
    Effect.gen(function* () {
      const dependency = yield* ScriptedDependency.make<number, string>([hang])
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "1 second",
        probe: { effect: dependency.call, every: "1 second" }
      })
      const history = [moment(fail("down"), 10_000, 1), moment(succeed(1), 10_000, 1)]
      const calls = yield* History.play(history, dependency, breaker.execute(dependency.call))
      expect(calls.map(({ reached }) => reached)).toEqual([1, 1])
      expect((yield* dependency.calls).length).toBeGreaterThan(2)
    })
  )
})

describe("any history", () => {
  const histories = Arbitraries.history({
    success: Arbitrary.schema(Schema.Int),
    failure: Arbitrary.Constant("refused")
  })

  it.effect.prop(
    "through a policy ends every call by its deadline, reached or rejected",
    [histories],
    ([history]) =>
      Effect.gen(function* () {
        const policy = yield* Policy.make("billing", {
          deadline: "8 seconds",
          attemptTimeout: "3 seconds",
          retry: { attempts: 3 },
          breaker: { trip: CircuitBreaker.consecutive(3), openDuration: "10 seconds" }
        })
        for (const { atMillis, ended, reached } of yield* History.run(history, policy.execute)) {
          expect(ended).toBeDefined()
          if (ended === undefined) return
          expect(ended.atMillis - atMillis).toBeLessThanOrEqual(8000)
          const rejected =
            Exit.isFailure(ended.exit) &&
            ended.exit.cause.reasons.some(
              (reason) =>
                reason._tag === "Fail" &&
                reason.error instanceof ServiceUnavailable &&
                reason.error.reason._tag === "CircuitOpen"
            )
          expect(reached === 0).toBe(rejected && ended.atMillis === atMillis)
        }
      }).pipe(Effect.scoped, Effect.provide(TestClock.layer())),
    { arbitrary: { runs: 100, seed: 1 } }
  )
})
