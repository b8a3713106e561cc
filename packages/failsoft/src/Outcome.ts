/**
 * What a finished call says about the health of the dependency: success, failure, or nothing.
 *
 * **Example** (A "not found" is an answer, not an outage)
 *
 * ```ts import.meta.vitest
 * import { Data, Exit } from "effect"
 * import { Outcome } from "failsoft"
 *
 * class NotFound extends Data.TaggedError("NotFound") {}
 *
 * const classify = Outcome.fromError((error) => !(error instanceof NotFound))
 *
 * classify(Exit.fail(new NotFound()))._tag // => "Success"
 * classify(Exit.fail(new Error("connection reset")))._tag // => "Failure"
 * ```
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import type * as Exit from "effect/Exit"
import { Ambiguous, isPolicyError, ServiceUnavailable } from "./ServiceUnavailable.ts"
import type * as Rules from "./state/Outcome.ts"

/**
 * The three values of an outcome: `Success` (the dependency answered), `Failure` (it counts against the dependency,
 * with the dependency's own hint in `retryAfterMillis` where it gave one) and `Ignored` (it says nothing).
 */
export type Outcome = Rules.Outcome

/** The dependency answered. */
export const success: Outcome = { _tag: "Success" }

/** The call says nothing about the dependency. */
export const ignored: Outcome = { _tag: "Ignored" }

const plainFailure: Outcome = { _tag: "Failure", retryAfterMillis: undefined }

/**
 * The call counts against the dependency.
 *
 * `retryAfter` is the dependency's own hint for how long to leave it alone. It can only lengthen the opening that
 * this failure causes, up to the breaker's `maxOpenDuration`.
 */
export const failure = (options?: { readonly retryAfter?: Duration.Input | undefined }): Outcome =>
  options?.retryAfter === undefined
    ? plainFailure
    : { _tag: "Failure", retryAfterMillis: Duration.toMillis(Duration.fromInputUnsafe(options.retryAfter)) }

/**
 * The default classification.
 *
 * A success is a `Success`. Interruption alone is `Ignored`, and so is whatever never reached the dependency: a local
 * rejection, an unsupported operation, a wrong password, a caller over its limit. An attempt that timed out is a
 * `Failure` if it had at least half its time, else `Ignored`, since a deadline that was nearly spent says nothing
 * about the dependency. Every other error, and every defect, is a `Failure`; an error that carries a `retryAfter`
 * duration passes it on.
 */
export const fromExit = (exit: Exit.Exit<unknown, unknown>): Outcome => {
  if (exit._tag === "Success") return success
  if (Cause.hasInterruptsOnly(exit.cause)) return ignored
  const reason = errorOf(exit.cause)
  return reason === undefined ? plainFailure : classifyError(reason.error)
}

/**
 * A classification by a predicate over the caller's own errors.
 *
 * `isFailure` says which errors count against the dependency; the others are answers, hence `Success`. What policies
 * themselves fail with, interruption and defects are classified as `fromExit` does.
 */
export const fromError =
  (isFailure: (error: unknown) => boolean) =>
  (exit: Exit.Exit<unknown, unknown>): Outcome => {
    const reason = exit._tag === "Failure" ? errorOf(exit.cause) : undefined
    return reason === undefined || isPolicyError(reason.error) || isFailure(reason.error)
      ? fromExit(exit)
      : success
  }

/** The error that a call failed with, unless it died as well: a defect counts whatever came with it. */
const errorOf = (cause: Cause.Cause<unknown>): Cause.Fail<unknown> | undefined =>
  cause.reasons.some(Cause.isDieReason) ? undefined : cause.reasons.find(Cause.isFailReason)

const classifyError = (error: unknown): Outcome => {
  if (error instanceof ServiceUnavailable) return classifyUnavailable(error)
  if (isPolicyError(error) && !(error instanceof Ambiguous)) return ignored
  return failure({ retryAfter: retryAfterOf(error) })
}

const classifyUnavailable = (error: ServiceUnavailable): Outcome => {
  switch (error.reason._tag) {
    case "TimedOut":
      return Duration.toMillis(error.reason.after) * 2 >= Duration.toMillis(error.reason.of)
        ? plainFailure
        : ignored
    case "RetriesExhausted":
    case "RetryBudgetExhausted":
    case "NotConnected":
      return failure({ retryAfter: error.retryAfter })
    default:
      return ignored
  }
}

/** The `retryAfter` that an error carries as a `Duration`, if it does. */
export const retryAfterOf = (error: unknown): Duration.Duration | undefined =>
  typeof error === "object" &&
  error !== null &&
  "retryAfter" in error &&
  Duration.isDuration(error.retryAfter)
    ? error.retryAfter
    : undefined

/** Marks the interruption of an attempt that lost to another one: what the cause of its exit is annotated with. */
export const Superseded: Context.Reference<boolean> = Context.Reference("failsoft/Outcome/Superseded", {
  defaultValue: () => false
})

/**
 * Whether an attempt was interrupted because a `Hedge` had its answer from another one. Its outcome is `Ignored`, as that of
 * any interruption; how long it had taken by then may still say something.
 */
export const isSuperseded = (exit: Exit.Exit<unknown, unknown>): boolean =>
  exit._tag === "Failure" &&
  Cause.hasInterruptsOnly(exit.cause) &&
  exit.cause.reasons.some((reason) => Context.get(Cause.reasonAnnotations(reason), Superseded))
