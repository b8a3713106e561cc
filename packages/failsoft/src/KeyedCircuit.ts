/**
 * One circuit for each key, such as a host or a tenant: what `CircuitBreaker.makeKeyed` makes, which has all of this under
 * its own name.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import type * as Stream from "effect/Stream"
import type { OverrideMode, Transition } from "./CircuitEvent.ts"
import type * as Health from "./Health.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import type * as Outcome from "./Outcome.ts"
import type { ServiceUnavailable } from "./ServiceUnavailable.ts"

/** A transition of one of the circuits. */
export type KeyedTransition = Transition & { readonly key: string }

/** What the circuit of one key looks like at one moment. Calls are counted for all keys together. */
export interface KeySnapshot extends Omit<Health.CircuitSnapshot, "name" | "enabled" | "counts"> {
  readonly key: string
  /** Openings in a row, since their growth was last forgotten. */
  readonly openings: number
  /** While half-open: the probes admitted so far, 0 as long as no call has found the circuit due, and those still running. */
  readonly probes: { readonly admitted: number; readonly running: number } | undefined
}

/** What the circuits of all keys look like at one moment. */
export interface KeyedSnapshot {
  readonly name: string
  /** `false` when the breaker is switched off by configuration. */
  readonly enabled: boolean
  /** Keys that have a circuit: the sum of closed, open and half-open, as calls find them. */
  readonly keys: number
  readonly closed: number
  readonly open: number
  readonly halfOpen: number
  /** The first 20 keys whose circuit is open. For people: no place for labels of metrics, nor for logs. */
  readonly openKeys: ReadonlyArray<string>
  /** Circuits that were forgotten to make room. */
  readonly evicted: number
  /** Calls that ran without a circuit, because there was no room for their key. They are in none of the counts. */
  readonly untracked: number
  /** The calls of all keys since the breaker was made. */
  readonly counts: Health.CallCounts
  /** Wall-clock milliseconds since 1970 of the last failure. */
  readonly lastFailureAtMillis: number | undefined
}

/** Circuit breakers for many keys, of which each has a circuit of its own. */
export interface KeyedCircuitBreaker {
  readonly name: string
  /** Runs a call through the circuit of a key. Fails with `ServiceUnavailable` (`CircuitOpen`) when that circuit rejects it. */
  readonly execute: (
    key: string
  ) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** As `execute`, with a classification of its own for the call. `withKey` is its pipeable form. */
  readonly executeWith: <A, E, R>(
    key: string,
    self: Effect.Effect<A, E, R>,
    classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
  ) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** Whether a call would be rejected because the circuit of a key is open and not due. Takes nothing, changes nothing. */
  readonly isOpen: (key: string) => Effect.Effect<boolean>
  /** Answers a call that one of these circuits rejected in another way, and counts it. */
  readonly orElse: <B, E2, R2>(
    fallback: (error: ServiceUnavailable) => Effect.Effect<B, E2, R2>
  ) => <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<A | B, Exclude<E, ServiceUnavailable> | E2, R | R2>
  /**
   * Sets the circuit of one key by hand, as `CircuitBreaker.override` does. Until it ends the key is not forgotten. Fails
   * with `InvalidOption` also when there is no room for the key.
   */
  readonly override: (
    key: string,
    mode: OverrideMode,
    options: { readonly reason: string; readonly ttl: Duration.Input }
  ) => Effect.Effect<void, InvalidOption>
  /** Closes the circuit of a key by hand, as `CircuitBreaker.reset` does. A key without a circuit has nothing to reset. */
  readonly reset: (key: string) => Effect.Effect<void>
  /** The states and counts of all keys now. */
  readonly snapshot: Effect.Effect<KeyedSnapshot>
  /** What the circuit of a key looks like now; `undefined` if there is none. */
  readonly snapshotOf: (key: string) => Effect.Effect<KeySnapshot | undefined>
  /** The transitions of all keys from now on. Ends with the breaker's scope. A reader that falls 128 behind loses the oldest. */
  readonly transitions: Stream.Stream<KeyedTransition>
}

/**
 * Runs a call through the circuit of a key, with a classification of its own.
 *
 * `classify` is typed by the call's own exit. It replaces the breaker's; without it the breaker's is used.
 */
export const withKey: {
  <A, E>(
    breaker: KeyedCircuitBreaker,
    key: string,
    options?: { readonly classify?: ((exit: Exit.Exit<A, E>) => Outcome.Outcome) | undefined }
  ): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    breaker: KeyedCircuitBreaker,
    key: string,
    options?: { readonly classify?: ((exit: Exit.Exit<A, E>) => Outcome.Outcome) | undefined }
  ): Effect.Effect<A, E | ServiceUnavailable, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    breaker: KeyedCircuitBreaker,
    key: string,
    options?: { readonly classify?: ((exit: Exit.Exit<A, E>) => Outcome.Outcome) | undefined }
  ): Effect.Effect<A, E | ServiceUnavailable, R> =>
    options?.classify === undefined
      ? breaker.execute(key)(self)
      : breaker.executeWith(key, self, options.classify)
)
