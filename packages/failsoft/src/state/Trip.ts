/**
 * The rules by which a closed circuit opens, and what they look at.
 *
 * A row of failures is a number that the circuit itself keeps. A rate is read from a window over the calls that ended
 * last. It says something once the window holds `minimumCalls`, and a window without a hit says nothing whatever the
 * threshold is. The window changes in place, so that a call costs no copy of it.
 */
import * as Window from "./Window.ts"

/** One rule, validated before it gets here. */
export type Trip = Consecutive | Rate

/** Opens after so many failures in a row. */
export interface Consecutive {
  readonly _tag: "Consecutive"
  readonly failures: number
}

/** Opens when so large a share, above 0 and at most 1, of the calls in a window failed or was slow. */
export type Rate =
  | {
      readonly _tag: "FailureRate"
      readonly threshold: number
      readonly minimumCalls: number
      readonly window: Window.WindowConfig
    }
  | {
      readonly _tag: "SlowCallRate"
      readonly threshold: number
      readonly slowerThanMillis: number
      readonly minimumCalls: number
      readonly window: Window.WindowConfig
    }

/** The rule that was met, and by what. */
export type Met =
  | { readonly _tag: "Consecutive"; readonly failures: number; readonly threshold: number }
  | {
      readonly _tag: Rate["_tag"]
      readonly rate: number
      readonly threshold: number
      readonly calls: number
    }

/** A rate, and the window of one closed circuit that it is read from. */
export interface Watch {
  readonly rule: Rate
  readonly window: Window.Window
}

/** Empty windows for the rates among the rules. */
export const watch = (trips: ReadonlyArray<Trip>): ReadonlyArray<Watch> =>
  trips.flatMap((rule) => (rule._tag === "Consecutive" ? [] : [{ rule, window: Window.make(rule.window) }]))

/**
 * The windows for other rules. A rule that looks at the same calls in the same way as one before goes on with its window, so
 * that a changed threshold judges what has been seen. Each window goes to one rule, for it changes in place.
 */
export const rewatch = (trips: ReadonlyArray<Trip>, watches: ReadonlyArray<Watch>): ReadonlyArray<Watch> => {
  const left = [...watches]
  return watch(trips).map((fresh) => {
    const at = left.findIndex(({ rule }) => looksAtTheSame(rule, fresh.rule))
    const [kept] = at < 0 ? [] : left.splice(at, 1)
    return kept === undefined ? fresh : { rule: fresh.rule, window: kept.window }
  })
}

const looksAtTheSame = (one: Rate, other: Rate): boolean =>
  Window.isSame(one.window, other.window) &&
  (one._tag === "FailureRate"
    ? other._tag === "FailureRate"
    : other._tag === "SlowCallRate" && one.slowerThanMillis === other.slowerThanMillis)

/** The least time that any of the rules calls slow; without such a rule no call is. */
export const slowerThanMillis = (trips: ReadonlyArray<Trip>): number =>
  Math.min(
    ...trips.map((trip) => (trip._tag === "SlowCallRate" ? trip.slowerThanMillis : Number.POSITIVE_INFINITY))
  )

/** Takes a call that succeeded or failed into all windows. */
export const record = (
  watches: ReadonlyArray<Watch>,
  isFailure: boolean,
  tookMillis: number,
  nowMillis: number
): void => {
  for (const { rule, window } of watches) {
    const isHit = rule._tag === "FailureRate" ? isFailure : tookMillis >= rule.slowerThanMillis
    window.record(isHit, nowMillis)
  }
}

/** Takes a call that lost to another attempt into the windows of slow calls, if it was slow: how it would have ended is unknown. */
export const recordSuperseded = (
  watches: ReadonlyArray<Watch>,
  tookMillis: number,
  nowMillis: number
): void => {
  for (const { rule, window } of watches) {
    const isSlow = rule._tag === "SlowCallRate" && rule.slowerThanMillis <= tookMillis
    if (isSlow) window.record(true, nowMillis)
  }
}

/** The first rule that is met by `failures` in a row or by what the windows hold, the rows before the rates. */
export const met = (
  trips: ReadonlyArray<Trip>,
  failures: number,
  watches: ReadonlyArray<Watch>
): Met | undefined => {
  for (const trip of trips) {
    if (trip._tag === "Consecutive" && failures >= trip.failures) {
      return { _tag: "Consecutive", failures, threshold: trip.failures }
    }
  }
  for (const { rule, window } of watches) {
    const rate = window.hits / window.calls
    if (window.hits > 0 && window.calls >= rule.minimumCalls && rate >= rule.threshold) {
      return { _tag: rule._tag, rate, threshold: rule.threshold, calls: window.calls }
    }
  }
  return undefined
}
