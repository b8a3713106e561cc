/** What the end of a lookup means to a cache: something to keep, an outage that a stale value may stand in for, or neither. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import { isPolicyError, ServiceUnavailable } from "../../ServiceUnavailable.ts"
import type * as Freshness from "../../state/Freshness.ts"

/** What is kept. */
export interface Answer<A, E> {
  readonly _tag: "Answer"
  readonly exit: Exit.Exit<A, E>
  /** Not kept unless it is longer than 0. */
  readonly ttlMillis: number
  readonly windows: Freshness.Windows
  readonly bytes: number
}

/** What keeps everything as it was. */
export interface Failure<E> {
  readonly _tag: "Failure"
  readonly cause: Cause.Cause<E | ServiceUnavailable>
  /** Whether an expired value may be served in its place. */
  readonly isOutage: boolean
}

/** What a lookup came to. */
export type Found<A, E> = Answer<A, E> | Failure<E>

/** What there is to know of values and errors. */
export interface Rules<K, A, E> {
  readonly ttlMillis: number | ((value: A, key: K) => Duration.Input)
  readonly maxTtlMillis: number
  readonly windows: Freshness.Windows
  readonly sizeOf: ((value: A, key: K) => number) | undefined
  readonly negative: { readonly ttlMillis: number; readonly when: (error: E) => boolean } | undefined
  readonly isUnavailable: ((error: E) => boolean) | undefined
}

/** Judges a value. A function of the user's that throws makes the lookup die, as if it were part of it. */
export const value = <K, A, E>(rules: Rules<K, A, E>, key: K, value: A): Answer<A, E> => ({
  _tag: "Answer",
  exit: Exit.succeed(value),
  ttlMillis: ttlOf(rules, value, key),
  windows: rules.windows,
  bytes: rules.sizeOf?.(value, key) ?? 0
})

const ttlOf = <K, A, E>({ maxTtlMillis, ttlMillis }: Rules<K, A, E>, value: A, key: K): number =>
  typeof ttlMillis === "number"
    ? ttlMillis
    : Math.min(maxTtlMillis, Duration.toMillis(Duration.fromInputUnsafe(ttlMillis(value, key))))

/** An error that is an answer has no windows: when its time is over it is asked for again. */
const noWindows: Freshness.Windows = { eagerShare: 1, revalidateMillis: 0, ifErrorMillis: 0 }

/** Judges the end of a lookup. */
export const exit = <K, A, E>(rules: Rules<K, A, E>, key: K, exit: Exit.Exit<A, E>): Found<A, E> => {
  if (Exit.isSuccess(exit)) return value(rules, key, exit.value)
  const { cause } = exit
  const failed = (isOutage: boolean): Failure<E> => ({ _tag: "Failure", cause, isOutage })
  const errors = cause.reasons.filter(Cause.isFailReason).map(({ error }) => error)
  if (errors.length === 0 || Cause.hasDies(cause)) return failed(false)
  // There is more than one where a lookup asks several at once. Then all have to say the same.
  const all = (predicate: ((error: E) => boolean) | undefined, ofPolicies: (error: E) => boolean) =>
    errors.every((error) => (isPolicyError(error) ? ofPolicies(error) : says(predicate, error)))
  const { isUnavailable, negative } = rules
  return negative !== undefined && all(negative.when, () => false)
    ? { _tag: "Answer", exit, ttlMillis: negative.ttlMillis, windows: noWindows, bytes: 0 }
    : failed(all(isUnavailable, (error) => error instanceof ServiceUnavailable))
}

/** A predicate that throws says no, as one that is not there does. */
const says = <E>(predicate: ((error: E) => boolean) | undefined, error: E): boolean => {
  try {
    return predicate?.(error) === true
  } catch {
    return false
  }
}
