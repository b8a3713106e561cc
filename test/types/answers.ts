/** What a call may answer for itself is typed by the call. Checked by the compiler alone, and never run. */
import { Data, type Effect, type Exit } from "effect"
import { CircuitBreaker, Outcome, Policy, Retry, type ServiceUnavailable } from "failsoft"
import { expectTypeOf } from "vitest"

class NotFound extends Data.TaggedError("NotFound")<{ readonly id: string }> {}

interface Rows {
  readonly rows: ReadonlyArray<string>
}

declare const call: Effect.Effect<Rows, NotFound>
declare const breaker: CircuitBreaker.CircuitBreaker
declare const retry: Retry.Retry
declare const policy: Policy.Policy

export const aClassificationIsTypedByTheExitOfTheCall = (): void => {
  CircuitBreaker.withBreaker(call, breaker, {
    classify: (exit) => {
      expectTypeOf(exit).toEqualTypeOf<Exit.Exit<Rows, NotFound>>()
      return Outcome.success
    }
  })
  breaker.executeWith(call, (exit) => {
    expectTypeOf(exit).toEqualTypeOf<Exit.Exit<Rows, NotFound>>()
    return Outcome.success
  })
  policy.executeWith(call, {
    classify: (exit) => {
      expectTypeOf(exit).toEqualTypeOf<Exit.Exit<Rows, NotFound | ServiceUnavailable>>()
      return Outcome.success
    }
  })
}

const classify = (_: Exit.Exit<Rows, NotFound>): Outcome.Outcome => Outcome.success
const classifyText = (_: Exit.Exit<string, NotFound>): Outcome.Outcome => Outcome.success

export const aPipedClassificationMustFitTheCall = (): void => {
  expectTypeOf(call.pipe(CircuitBreaker.withBreaker(breaker, { classify }))).toEqualTypeOf<
    Effect.Effect<Rows, NotFound | ServiceUnavailable>
  >()
  // @ts-expect-error the call answers with rows, not with text
  call.pipe(CircuitBreaker.withBreaker(breaker, { classify: classifyText }))
  // @ts-expect-error the call answers with rows, not with text
  CircuitBreaker.withBreaker(call, breaker, { classify: classifyText })
  // @ts-expect-error an outcome is one of three values
  CircuitBreaker.withBreaker(call, breaker, { classify: () => "Success" })
}

export const whetherAnErrorMayPassIsTypedByTheErrorOfTheCall = (): void => {
  Retry.withRetry(call, retry, {
    isTransient: (error) => {
      expectTypeOf(error).toEqualTypeOf<NotFound>()
      return false
    }
  })
  Policy.withPolicy(call, policy, {
    isTransient: (error) => {
      expectTypeOf(error).toEqualTypeOf<NotFound>()
      return false
    }
  })
  call.pipe(Retry.withRetry(retry, { isTransient: (error: NotFound) => error.id !== "" }))
  // @ts-expect-error the call fails with NotFound, not with text
  call.pipe(Retry.withRetry(retry, { isTransient: (error: string) => error !== "" }))
}

export const optionsAreNamedAsTheyAre = (): void => {
  // @ts-expect-error a circuit breaker has a name
  CircuitBreaker.make({})
  // @ts-expect-error there is no such option
  CircuitBreaker.make({ name: "billing", cooldown: "1 second" })
  // @ts-expect-error a policy names its stages itself
  Policy.make("billing", { breaker: { name: "other" } })
  // @ts-expect-error there is no such jitter
  Retry.exponential({ jitter: "some" })
}
