/**
 * A classification may answer what is no outcome, being plain JavaScript or a cast. `undefined` cost the caller its own
 * result, an unknown tag counted nowhere but closed a half-open circuit, a hint that is no number opened it for no time.
 */
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Exit } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, type Outcome } from "failsoft"

const refused = Effect.fail("refused")

const brief = (classify?: (exit: Exit.Exit<unknown, unknown>) => Outcome.Outcome) =>
  CircuitBreaker.make({
    name: "search",
    trip: CircuitBreaker.consecutive(1),
    openDuration: "1 second",
    halfOpen: { successes: 1 },
    classify
  })

const noOutcomes: Record<string, unknown> = {
  undefined: undefined,
  null: null,
  "a string": "Failure",
  "an unknown tag": { _tag: "Maybe" },
  "no tag": {},
  "a promise": Promise.resolve({ _tag: "Success" }),
  "a tag that throws": {
    get _tag() {
      throw new Error("a bug in classify")
    }
  },
  "a failure with a string for a hint": { _tag: "Failure", retryAfterMillis: "soon" },
  "a failure with a Duration for a hint": { _tag: "Failure", retryAfterMillis: Duration.seconds(1) },
  "a failure with a bigint for a hint": { _tag: "Failure", retryAfterMillis: 5n },
  "a failure with a symbol for a hint": { _tag: "Failure", retryAfterMillis: Symbol("soon") }
}

describe("a classification that answers", () => {
  it.effect.each(Object.entries(noOutcomes))("%s gives way to the default one", ([, answer]) =>
    Effect.gen(function* () {
      const breaker = yield* brief(() => answer as Outcome.Outcome)
      expect(yield* Effect.exit(breaker.execute(refused))).toEqual(Exit.fail("refused"))
      expect(yield* breaker.snapshot).toMatchObject({
        state: "open",
        halfOpenIn: Duration.seconds(1),
        counts: { total: 1, failed: 1 }
      })
      yield* TestClock.adjust("1 second")
      expect(yield* breaker.execute(Effect.succeed("answer"))).toBe("answer")
      expect(yield* breaker.snapshot).toMatchObject({
        state: "closed",
        counts: { total: 2, successful: 1, failed: 1 }
      })
    })
  )
})

const errors: Record<string, unknown> = {
  "a hint": {
    get retryAfter() {
      throw new Error("a bug in an error")
    }
  },
  anything: new Proxy(
    {},
    {
      getPrototypeOf: () => {
        throw new Error("a bug in an error")
      }
    }
  )
}

it.effect.each(Object.entries(errors))(
  "an error that throws when it is asked for %s arrives as it is, and counts",
  ([, error]) =>
    Effect.gen(function* () {
      const breaker = yield* brief()
      const exit = yield* Effect.exit(breaker.execute(Effect.fail(error)))
      expect(Exit.isFailure(exit) && exit.cause.reasons.map(({ _tag }) => _tag)).toEqual(["Fail"])
      expect(yield* breaker.snapshot).toMatchObject({ state: "open", counts: { total: 1, failed: 1 } })
    })
)
