/**
 * The rules by which a closed circuit opens, as plain data. `CircuitBreaker` has all of this under its own name, and
 * checks it at `make`.
 */
import type * as Duration from "effect/Duration"

/** The calls that a rate is read from: the last so many, or those that ended within so much time. */
export type Window =
  | { readonly _tag: "Count"; readonly calls: number }
  | { readonly _tag: "Time"; readonly duration: Duration.Input; readonly buckets: number }

/** What a rate of failures is made from. */
export interface FailureRate {
  /** The share of failures, above 0 and at most 1, at which the circuit opens. */
  readonly threshold: number
  /**
   * Calls that the window must hold before the rate says anything: 1 to 1,000,000, and no more than a count window
   * holds. Default: 10, or what a smaller count window holds.
   */
  readonly minimumCalls?: number | undefined
  readonly window: Window
}

/** What a rate of slow calls is made from. */
export interface SlowCallRate extends FailureRate {
  /** The time from admission at which a call is slow, whether it succeeds or fails; longer than 0, at most 24 days. */
  readonly slowerThan: Duration.Input
}

/** One rule. */
export type Trip =
  | { readonly _tag: "Consecutive"; readonly failures: number }
  | ({ readonly _tag: "FailureRate" } & FailureRate)
  | ({ readonly _tag: "SlowCallRate" } & SlowCallRate)

/** The rule by which a closed circuit opens, or several of which any opens it. */
export type TripPolicy = Trip | { readonly _tag: "Any"; readonly trips: ReadonlyArray<Trip> }

/** Opens after `failures` failures in a row (1 to 1,000,000), in the order in which calls end. */
export const consecutive = (failures: number): Trip => ({ _tag: "Consecutive", failures })

/**
 * Opens when the share of failures among the calls of a window has reached a threshold.
 *
 * Looked at whenever a call ends, once the window holds `minimumCalls`. A window without a failure never opens the
 * circuit, and ignored calls are not in it.
 */
export const failureRate = (options: FailureRate): Trip => ({ ...options, _tag: "FailureRate" })

/**
 * Opens when the share of slow calls among the calls of a window has reached a threshold.
 *
 * The time of a call starts when the circuit admits it. While half-open, a probe that is slow counts as a failed one.
 */
export const slowCallRate = (options: SlowCallRate): Trip => ({ ...options, _tag: "SlowCallRate" })

/** Opens when any of the rules does: at most 16. */
export const any = (...trips: readonly [Trip, ...ReadonlyArray<Trip>]): TripPolicy => ({ _tag: "Any", trips })

/** A window of the last `calls` calls: 1 to 1,000,000. */
export const count = (calls: number): Window => ({ _tag: "Count", calls })

/**
 * A window of the calls that ended within `duration`: longer than 0, at most 24 days.
 *
 * Time is kept in `buckets` (1 to 1,000), and a bucket is let go of as a whole, so that a call counts for `duration` less
 * at most one bucket. What is too old goes with the time, not with the next calls: an idle gap leaves nothing.
 */
export const time = (duration: Duration.Input, buckets = 10): Window => ({ _tag: "Time", duration, buckets })
