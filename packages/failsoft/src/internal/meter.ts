/** Counts and times the calls of a policy as its callers see them, with all their attempts and waits. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Metrics from "../Metrics.ts"
import * as Outcome from "../Outcome.ts"
import { ServiceUnavailable } from "../ServiceUnavailable.ts"

/** What one policy counts. */
export interface Meter {
  readonly name: string
  readonly calls: Record<Metrics.CallOutcome, number>
  readonly durations: Readonly<Record<Metrics.CallOutcome, Metrics.Histogram>>
  /** Calls that were begun, each of which is a first attempt. */
  begun: number
}

/** What a policy counts itself, so that its stages need not. */
export const counted: ReadonlyArray<Metrics.Some> = [
  { entry: Metrics.calls, labels: {} },
  { entry: Metrics.callDuration, labels: {} },
  { entry: Metrics.attempts, labels: { kind: "first" } },
  { entry: Metrics.fallbacks, labels: { source: "fallback" } }
]

/** Publishes what a policy counts. */
export const make = (name: string): Effect.Effect<Meter, never, Scope.Scope> => {
  const empty = () => Metrics.durations(Metrics.callDuration)
  const meter: Meter = {
    name,
    begun: 0,
    calls: { success: 0, failure: 0, ignored: 0, timeout: 0, rejected: 0, fallback: 0 },
    durations: {
      success: empty(),
      failure: empty(),
      ignored: empty(),
      timeout: empty(),
      rejected: empty(),
      fallback: empty()
    }
  }
  return Effect.as(
    Metrics.register(name, [
      ...Metrics.each(
        Metrics.calls,
        ({ outcome }) =>
          () =>
            meter.calls[outcome]
      ),
      ...Metrics.each(Metrics.callDuration, ({ outcome }) => meter.durations[outcome]),
      Metrics.series(Metrics.attempts, { kind: "first" }, () => meter.begun),
      Metrics.series(Metrics.fallbacks, { source: "fallback" }, () => meter.calls.fallback)
    ]),
    meter
  )
}

/** Counts a call when it ends, and how long it took. */
export const measure = <A, E, R>(
  meter: Meter,
  self: Effect.Effect<A, E, R>,
  classify: ((exit: Exit.Exit<A, E>) => Outcome.Outcome) | undefined
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const clock = fiber.getRef(Clock.Clock)
    const begunNanos = clock.monotonicTimeNanosUnsafe()
    meter.begun++
    return Effect.onExitPrimitive(self, (exit) => {
      count(meter, outcomeOf(meter.name, exit, classify), millisSince(clock, begunNanos))
      return undefined
    })
  })

/** Counts a fallback that answers, and how long that took. */
export const answering =
  <B, E, R>(meter: Meter, fallback: (error: ServiceUnavailable) => Effect.Effect<B, E, R>) =>
  (error: ServiceUnavailable): Effect.Effect<B, E, R> =>
    Effect.withFiber((fiber) => {
      const clock = fiber.getRef(Clock.Clock)
      const begunNanos = clock.monotonicTimeNanosUnsafe()
      return Effect.onExitPrimitive(fallback(error), (exit) => {
        if (exit._tag === "Success") count(meter, "fallback", millisSince(clock, begunNanos))
        return undefined
      })
    })

/** By the clock on which the call began, whose reference need not be looked up again. */
const millisSince = (clock: Clock.Clock, begunNanos: bigint): number =>
  Number(clock.monotonicTimeNanosUnsafe() - begunNanos) / 1e6

const count = ({ calls, durations }: Meter, outcome: Metrics.CallOutcome, millis: number): void => {
  calls[outcome]++
  Metrics.record(durations[outcome], millis)
}

const outcomeOf = <A, E>(
  name: string,
  exit: Exit.Exit<A, E>,
  classify: ((exit: Exit.Exit<A, E>) => Outcome.Outcome) | undefined
): Metrics.CallOutcome => {
  if (exit._tag === "Failure") {
    const own = ownOutcomeOf(name, exit.cause.reasons)
    if (own !== undefined) return own
  } else if (classify === undefined) {
    return "success"
  }
  return words[classified(exit, classify)._tag]
}

const words = { Success: "success", Failure: "failure", Ignored: "ignored" } as const

/** As for a circuit, a classification that throws changes nothing: the default one takes its place. */
const classified = <A, E>(
  exit: Exit.Exit<A, E>,
  classify: ((exit: Exit.Exit<A, E>) => Outcome.Outcome) | undefined
): Outcome.Outcome => {
  try {
    return (classify ?? Outcome.fromExit)(exit)
  } catch {
    return Outcome.fromExit(exit)
  }
}

/** What a policy itself made of a call. The same error from another policy, further in, is the dependency's own. */
const ownOutcomeOf = (
  name: string,
  [reason, ...others]: ReadonlyArray<{ readonly _tag: string; readonly error?: unknown }>
): Metrics.CallOutcome | undefined => {
  const error = others.length === 0 && reason?._tag === "Fail" ? reason.error : undefined
  if (!(error instanceof ServiceUnavailable) || error.service !== name) return undefined
  switch (error.reason._tag) {
    case "TimedOut":
      return "timeout"
    case "RetriesExhausted":
    case "RetryBudgetExhausted":
      return "failure"
    case "NotConnected":
      return undefined
    default:
      return "rejected"
  }
}
