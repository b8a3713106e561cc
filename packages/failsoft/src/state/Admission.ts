/** What a circuit answers to a call that asks to run, and what becomes of the circuit by it. */
import type * as Trip from "./Trip.ts"

/**
 * The right to run one call, settled once. `probe` is the slot it holds while half-open.
 *
 * Where no rule asks how long calls take, a closed circuit may itself be the permit of the calls it admits, so that
 * admitting them costs nothing.
 */
export interface Permit {
  readonly generation: number
  readonly admittedAtMillis?: number | undefined
  readonly probe?: number | undefined
}

export type Admission =
  | { readonly _tag: "Admitted"; readonly permit: Permit; readonly transition: Transition | undefined }
  | {
      readonly _tag: "Rejected"
      readonly generation: number
      readonly retryAfterMillis: number | undefined
    }

export type Transition =
  | {
      readonly to: "open"
      readonly from: "closed" | "half_open"
      readonly because: Because
      readonly openings: number
      readonly openMillis: number
      readonly generation: number
    }
  | { readonly to: "half_open"; readonly from: "open" }
  | { readonly to: "closed"; readonly from: "half_open"; readonly successes: number }

/** Why a circuit opened: a rule was met, or a probe failed; `slow` when it succeeded, but too late. */
export type Because = Trip.Met | { readonly _tag: "ProbeFailed"; readonly slow: boolean }
