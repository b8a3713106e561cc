/**
 * How calls come back to a dependency that has only just recovered: a growing share of them, and all when the ramp is over.
 *
 * The share grows in a straight line with time, so it never falls, whatever the calls come to.
 */

/** What a ramp is held to. */
export interface RampConfig {
  readonly durationMillis: number
  /** The share of calls admitted when it begins, above 0 and at most 1. */
  readonly from: number
}

/** The share of calls admitted so long after its beginning, or `undefined` when it is over. */
export const share = ({ durationMillis, from }: RampConfig, elapsedMillis: number): number | undefined =>
  elapsedMillis < durationMillis
    ? from + (1 - from) * (Math.max(0, elapsedMillis) / durationMillis)
    : undefined
