/**
 * What every algorithm of a rate limiter is: plain functions from what was taken so far to what another call finds.
 *
 * Time comes in as milliseconds and is counted in whole microseconds, which is what clocks tell, so that sums and bounds
 * are exact. A clock that goes back gives nothing back: until it is there again, there is no more than there was.
 *
 * A cost is any number from 0. A call that costs 0 takes nothing and is never limited. One that costs more than can ever be
 * there at once, or whose cost is no such number, is rejected without a time to come back.
 */

/** What a call of some cost finds. */
export type Decision =
  /** It may run in `waitMillis`, 0 for at once. What it costs is taken. */
  | { readonly _tag: "Admitted"; readonly waitMillis: number }
  /** It would be admitted in `retryAfterMillis` if nobody else came meanwhile, and no moment earlier; `undefined`: never. */
  | { readonly _tag: "Rejected"; readonly retryAfterMillis: number | undefined }

/** An algorithm; `State` is what it remembers of one key. */
export interface Algorithm<Config, State> {
  /** Nothing was taken. */
  readonly initial: State
  /** Takes `cost`, if the call need not wait longer than `maxWaitMillis` for its turn. Turns come in the order of taking. */
  readonly take: (
    config: Config,
    cost: number,
    nowMillis: number,
    maxWaitMillis: number
  ) => (state: State) => readonly [Decision, State]
  /** Gives back what a call took that was not made, as far as so much is gone now. */
  readonly refund: (config: Config, cost: number, nowMillis: number) => (state: State) => State
  /** What could be taken at once, in whole units of cost. */
  readonly remaining: (config: Config, nowMillis: number) => (state: State) => number
  /** The time from which the state is as good as `initial`. */
  readonly freeAtMillis: (config: Config) => (state: State) => number
}

/** The answer to most calls, made once. */
export const atOnce: Decision = { _tag: "Admitted", waitMillis: 0 }

/** The answer to a call that costs more than there can be. */
export const never: Decision = { _tag: "Rejected", retryAfterMillis: undefined }

/** The answer to a call whose turn is in `waitMicros`. */
export const inTurn = (waitMicros: number, maxWaitMillis: number): Decision => {
  if (waitMicros <= 0) return atOnce
  const waitMillis = waitMicros / 1000
  return waitMillis <= maxWaitMillis
    ? { _tag: "Admitted", waitMillis }
    : { _tag: "Rejected", retryAfterMillis: waitMillis }
}

/** Whole microseconds, at least 1. */
export const microsOf = (millis: number): number => Math.max(1, Math.round(millis * 1000))
