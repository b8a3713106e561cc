/** What a circuit opens by, what people do to it, and what it shows. Checked by the compiler alone, and never run. */
import type { Duration, Effect, Stream } from "effect"
import { CircuitBreaker, type Health, type InvalidOption, type PolicyEvent } from "failsoft"
import { expectTypeOf } from "vitest"

declare const breaker: CircuitBreaker.CircuitBreaker
declare const rules: ReadonlyArray<CircuitBreaker.Trip>

export const aCircuitOpensByOneRuleOrAnyOfSeveral = (): void => {
  expectTypeOf(CircuitBreaker.consecutive(5)).toEqualTypeOf<CircuitBreaker.Trip>()
  const rate = { threshold: 0.5, window: CircuitBreaker.count(10) }
  expectTypeOf(CircuitBreaker.failureRate(rate)).toEqualTypeOf<CircuitBreaker.Trip>()
  const slow = { ...rate, slowerThan: "1 second" } as const
  expectTypeOf(CircuitBreaker.slowCallRate(slow)).toEqualTypeOf<CircuitBreaker.Trip>()
  const any = CircuitBreaker.any(CircuitBreaker.consecutive(5), ...rules)
  expectTypeOf(any).toEqualTypeOf<CircuitBreaker.TripPolicy>()
  CircuitBreaker.make({ name: "billing", trip: any })
  // @ts-expect-error at least one rule
  CircuitBreaker.any()
  // @ts-expect-error there may be none
  CircuitBreaker.any(...rules)
  // @ts-expect-error rules that are any of several do not nest
  CircuitBreaker.any(any)
  // @ts-expect-error a rate is read from a window
  CircuitBreaker.failureRate({ threshold: 0.5 })
  // @ts-expect-error a rate has a threshold
  CircuitBreaker.failureRate({ window: CircuitBreaker.count(10) })
  // @ts-expect-error slow is slower than something
  CircuitBreaker.slowCallRate(rate)
  // @ts-expect-error a window is of calls or of time
  CircuitBreaker.failureRate({ threshold: 0.5, window: 10 })
  // @ts-expect-error a number is no rule
  CircuitBreaker.make({ name: "billing", trip: 5 })
}

export const aWindowIsOfCallsOrOfTime = (): void => {
  expectTypeOf(CircuitBreaker.count(10)).toEqualTypeOf<CircuitBreaker.Window>()
  expectTypeOf(CircuitBreaker.time("10 seconds")).toEqualTypeOf<CircuitBreaker.Window>()
  expectTypeOf(CircuitBreaker.time("10 seconds", 5)).toEqualTypeOf<CircuitBreaker.Window>()
  // @ts-expect-error so many calls
  CircuitBreaker.count("10 seconds")
}

export const anOverrideHasAReasonAndAnEnd = (): void => {
  const given = { reason: "maintenance", ttl: "5 minutes" } as const
  expectTypeOf(breaker.override("open", given)).toEqualTypeOf<Effect.Effect<void, InvalidOption>>()
  breaker.override("closed", given)
  breaker.override("observe", given)
  expectTypeOf(breaker.override).parameter(0).toEqualTypeOf<"open" | "closed" | "observe">()
  expectTypeOf<PolicyEvent.OverrideMode>().toEqualTypeOf<"open" | "closed" | "observe">()
  // @ts-expect-error a state of the rules is no mode
  breaker.override("half_open", given)
  // @ts-expect-error why?
  breaker.override("open", { ttl: "5 minutes" })
  // @ts-expect-error for how long?
  breaker.override("open", { reason: "maintenance" })
  // @ts-expect-error why, and for how long?
  breaker.override("open")
}

export const aResetCannotFail = (): void => {
  expectTypeOf(breaker.reset).toEqualTypeOf<Effect.Effect<void>>()
}

export const transitionsAreTheFourChangesOfState = (): void => {
  expectTypeOf(breaker.transitions).toEqualTypeOf<Stream.Stream<PolicyEvent.Transition>>()
  expectTypeOf<PolicyEvent.Transition>().toEqualTypeOf<
    | PolicyEvent.CircuitOpened
    | PolicyEvent.CircuitHalfOpened
    | PolicyEvent.CircuitClosed
    | PolicyEvent.CircuitReset
  >()
  expectTypeOf<PolicyEvent.Transition["_tag"]>().toEqualTypeOf<
    "CircuitOpened" | "CircuitHalfOpened" | "CircuitClosed" | "CircuitReset"
  >()
  // What people do is told like everything else; of it, only a reset changes the state.
  expectTypeOf<PolicyEvent.Intervention["_tag"]>().toEqualTypeOf<
    "CircuitOverridden" | "OverrideEnded" | "CircuitReset"
  >()
  expectTypeOf<PolicyEvent.Transition | PolicyEvent.Intervention>().toExtend<PolicyEvent.PolicyEvent>()
  expectTypeOf<PolicyEvent.OpenedBecause["_tag"]>().toEqualTypeOf<
    "Consecutive" | "FailureRate" | "SlowCallRate" | "ProbeFailed"
  >()
}

declare const because: PolicyEvent.OpenedBecause

export const anOpeningSaysWhy = (): number | boolean => {
  switch (because._tag) {
    case "Consecutive":
      expectTypeOf(because).toEqualTypeOf<{
        readonly _tag: "Consecutive"
        readonly failures: number
        readonly threshold: number
      }>()
      return because.failures
    case "FailureRate":
    case "SlowCallRate":
      expectTypeOf(because.rate).toEqualTypeOf<number>()
      return because.calls
    case "ProbeFailed":
      expectTypeOf(because.slow).toEqualTypeOf<boolean>()
      return because.slow
  }
}

declare const snapshot: CircuitBreaker.Snapshot

export const aSnapshotShowsRatesAndOverrides = (): void => {
  expectTypeOf(breaker.snapshot).toEqualTypeOf<Effect.Effect<CircuitBreaker.Snapshot>>()
  expectTypeOf<CircuitBreaker.Snapshot>().toEqualTypeOf<Health.CircuitSnapshot>()
  expectTypeOf(snapshot.state).toEqualTypeOf<"closed" | "open" | "half_open">()
  expectTypeOf(snapshot.rates).toEqualTypeOf<ReadonlyArray<Health.RateSnapshot>>()
  expectTypeOf<Health.RateSnapshot>().toEqualTypeOf<{
    readonly _tag: "FailureRate" | "SlowCallRate"
    readonly rate: number | undefined
    readonly threshold: number
    readonly calls: number
    readonly minimumCalls: number
  }>()
  expectTypeOf(snapshot.override).toEqualTypeOf<
    | {
        readonly mode: PolicyEvent.OverrideMode
        readonly reason: string
        readonly endsIn: Duration.Duration
        readonly wouldHaveRejected: number
      }
    | undefined
  >()
  // @ts-expect-error what is shown is not there to be changed
  snapshot.rates.push({})
}
