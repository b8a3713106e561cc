/** What the catalogue of metrics takes and refuses. Checked by the compiler alone, and never run. */
import { type Effect, Metric, type Scope } from "effect"
import { Metrics } from "failsoft"
import { expectTypeOf } from "vitest"

declare const durations: Metrics.Histogram
declare const key: string

const one = () => 1

export const aSeriesHasTheLabelsOfItsEntry = (): void => {
  Metrics.series(Metrics.calls, { outcome: "timeout" }, one)
  Metrics.series(Metrics.breakerTransitions, { from: "closed", to: "open" }, one)
  Metrics.series(Metrics.inflight, {}, one)
  // @ts-expect-error there is no such label
  Metrics.series(Metrics.calls, { reason: "CircuitOpen" }, one)
  // @ts-expect-error nor beside its own
  Metrics.series(Metrics.calls, { outcome: "timeout", user: "ada" }, one)
  // @ts-expect-error there is no such outcome
  Metrics.series(Metrics.calls, { outcome: "late" }, one)
  // @ts-expect-error a label of any value would have no end
  Metrics.series(Metrics.calls, { outcome: key }, one)
  // @ts-expect-error one of them is missing
  Metrics.series(Metrics.breakerTransitions, { from: "closed" }, one)
  // @ts-expect-error it has none
  Metrics.series(Metrics.inflight, { outcome: "success" }, one)
  // @ts-expect-error the name is not for the policy to say twice
  Metrics.series(Metrics.inflight, { policy: "billing" }, one)
}

export const aSeriesIsFedByWhatItIs = (): void => {
  Metrics.series(Metrics.callDuration, { outcome: "success" }, durations)
  Metrics.durations(Metrics.queueWait)
  // @ts-expect-error a histogram is no number
  Metrics.series(Metrics.callDuration, { outcome: "success" }, one)
  // @ts-expect-error a counter is no histogram
  Metrics.series(Metrics.calls, { outcome: "success" }, durations)
  // @ts-expect-error nor has it durations
  Metrics.durations(Metrics.calls)
  // @ts-expect-error a series is no metric of Effect's, which has another name and no bounds
  Metrics.register("billing", [Metric.counter("calls")])
}

export const eachNamesEveryCombination = (): void => {
  Metrics.each(Metrics.calls, ({ outcome }) => {
    expectTypeOf(outcome).toEqualTypeOf<Metrics.CallOutcome>()
    return one
  })
  Metrics.each(Metrics.breakerTransitions, ({ from, to }) => {
    expectTypeOf(from).toEqualTypeOf<"closed" | "open" | "half_open">()
    expectTypeOf(to).toEqualTypeOf<"closed" | "open" | "half_open">()
    return one
  })
}

export const registeringNeedsAScopeAndNothingElse = (): void => {
  expectTypeOf(Metrics.register("billing", [])).toEqualTypeOf<Effect.Effect<void, never, Scope.Scope>>()
}
