/** Which failures may pass, so that another attempt makes sense. */
import * as Cause from "effect/Cause"
import { isPolicyError, ServiceUnavailable } from "../../ServiceUnavailable.ts"

/** Calls that were made at once may fail with several errors: of those that may pass the first, if no other is among them. */
export const transientOf = <E>(
  cause: Cause.Cause<E>,
  mayPass: (error: E) => boolean
): Cause.Fail<E> | undefined => {
  if (cause.reasons.some(Cause.isDieReason)) return undefined
  const failed = cause.reasons.filter(Cause.isFailReason)
  return failed.every(({ error }) => isTransient(error, mayPass)) ? failed[0] : undefined
}

const isTransient = <E>(error: E, mayPass: (error: E) => boolean): boolean => {
  if (error instanceof ServiceUnavailable) {
    const { _tag } = error.reason
    return (
      _tag === "TimedOut" ||
      _tag === "NotConnected" ||
      (_tag === "RateLimited" && error.retryAfter !== undefined)
    )
  }
  if (isPolicyError(error)) return false
  try {
    return mayPass(error)
  } catch {
    // The caller gets the call's own error; one attempt too few does no harm.
    return false
  }
}
