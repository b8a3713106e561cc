/**
 * What a circuit tells about itself, and the line that the log has for it. Part of `PolicyEvent`, which has these types
 * under its own name.
 *
 * `key` says which circuit of a keyed breaker it is. It is for listeners alone: a key may be a tenant or an address, which
 * belongs in no log, so no line has it.
 */
import * as Duration from "effect/Duration"
import type * as Circuit from "./state/Circuit.ts"

/**
 * Why a circuit opened: so many failures in a row, a rate that reached its threshold (`rate` and `threshold` are shares
 * from 0 to 1, read from `calls` calls), or a probe that failed. `slow` says that the probe succeeded, but too late.
 */
export type OpenedBecause = Circuit.Because

/** The circuit of `policy` opened: calls are rejected for `openDuration`. */
export interface CircuitOpened {
  readonly _tag: "CircuitOpened"
  readonly policy: string
  readonly key?: string | undefined
  readonly atMillis: number
  readonly from: "closed" | "half_open"
  readonly because: OpenedBecause
  readonly openDuration: Duration.Duration
  /** Openings in a row, this one included, since the growth of the open time was last forgotten. */
  readonly openings: number
}

/** The open time of `policy` has passed and a probe was admitted. */
export interface CircuitHalfOpened {
  readonly _tag: "CircuitHalfOpened"
  readonly policy: string
  readonly key?: string | undefined
  readonly atMillis: number
}

/** Enough probes of `policy` succeeded, and calls flow again. */
export interface CircuitClosed {
  readonly _tag: "CircuitClosed"
  readonly policy: string
  readonly key?: string | undefined
  readonly atMillis: number
  readonly successes: number
}

/**
 * What a person may set: `open` rejects all calls, `closed` lets all run and never opens, `observe` lets all run while
 * the rules go on as if they were obeyed.
 */
export type OverrideMode = "open" | "closed" | "observe"

/** A person has set the circuit of `policy` to a mode for `ttl`. */
export interface CircuitOverridden {
  readonly _tag: "CircuitOverridden"
  readonly policy: string
  readonly key?: string | undefined
  readonly atMillis: number
  readonly mode: OverrideMode
  readonly reason: string
  readonly ttl: Duration.Duration
}

/** The time of an override of `policy` is over, as a call found out: the rules decide again. */
export interface OverrideEnded {
  readonly _tag: "OverrideEnded"
  readonly policy: string
  readonly key?: string | undefined
  readonly atMillis: number
  readonly mode: OverrideMode
  /** Calls that ran only because they were observed. */
  readonly wouldHaveRejected: number
}

/** A person has closed the circuit of `policy`, and what it knew is forgotten. */
export interface CircuitReset {
  readonly _tag: "CircuitReset"
  readonly policy: string
  readonly key?: string | undefined
  readonly atMillis: number
}

/** What people do to a circuit. */
export type Intervention = CircuitOverridden | OverrideEnded | CircuitReset

/** A change of a circuit's state, by its rules or by hand. */
export type Transition = CircuitOpened | CircuitHalfOpened | CircuitClosed | CircuitReset

/** A line of the log: what it says, and what it has beside the names of service and policy. */
export interface Line {
  readonly message: string
  readonly annotations: Readonly<Record<string, unknown>>
}

/** The line for an event. */
export const describe = (event: Transition | Intervention): Line => {
  switch (event._tag) {
    case "CircuitOpened":
      return {
        message: `${event.policy}: circuit open, ${why(event.because)}`,
        annotations: { state: "open", retryAfter: Duration.format(event.openDuration) }
      }
    case "CircuitHalfOpened":
      return { message: `${event.policy}: circuit half-open, probing`, annotations: { state: "half_open" } }
    case "CircuitClosed":
      return {
        message: `${event.policy}: circuit closed after ${event.successes} successful probes`,
        annotations: { state: "closed" }
      }
    case "CircuitOverridden": {
      const ttl = Duration.format(event.ttl)
      return {
        message: `${event.policy}: circuit overridden to ${event.mode} for ${ttl}: ${event.reason}`,
        annotations: { mode: event.mode, reason: event.reason, ttl }
      }
    }
    case "OverrideEnded":
      return {
        message: `${event.policy}: circuit no longer overridden to ${event.mode}`,
        annotations: { mode: event.mode, wouldHaveRejected: event.wouldHaveRejected }
      }
    case "CircuitReset":
      return { message: `${event.policy}: circuit reset by hand`, annotations: { state: "closed" } }
  }
}

const why = (because: OpenedBecause): string => {
  switch (because._tag) {
    case "Consecutive":
      return `threshold reached: ${because.failures}/${because.threshold}`
    case "FailureRate":
    case "SlowCallRate": {
      const what = because._tag === "FailureRate" ? "failure rate" : "slow-call rate"
      return `${what} ${percent(because.rate)} of ${because.calls} calls, threshold ${percent(because.threshold)}`
    }
    case "ProbeFailed":
      return because.slow ? "a probe was slow" : "a probe failed"
  }
}

/** Rounded down to a tenth, so that no rate below 100 % reads as 100 %. */
const percent = (share: number): string => `${Math.floor(share * 1000 + 1e-9) / 10} %`
