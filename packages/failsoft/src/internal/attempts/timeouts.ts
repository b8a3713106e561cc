/** Telling timeouts from other failures. */
import * as Cause from "effect/Cause"
import { ServiceUnavailable } from "../../ServiceUnavailable.ts"

/** Whether an attempt that failed with this was given up while it may still have been at work. */
export const isTimeout = (error: unknown): boolean =>
  Cause.isTimeoutError(error) || (error instanceof ServiceUnavailable && error.reason._tag === "TimedOut")
