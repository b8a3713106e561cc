/** What a cache tells about itself, and the line that the log has for it. Part of `PolicyEvent`, which has the type under its own name. */
import type { ErrorName } from "./ServiceUnavailable.ts"

/**
 * Values that the cache `policy` holds could not be refreshed: `count` of them since this was last told, which is at
 * most once a second. `error` is what the latest refresh failed with. What is held stays.
 */
export interface RefreshFailed {
  readonly _tag: "RefreshFailed"
  readonly policy: string
  readonly atMillis: number
  readonly count: number
  readonly error: ErrorName
}

/** The line of the log. */
export const describe = (
  event: RefreshFailed
): { message: string; annotations: Record<string, unknown> } => ({
  message: `${event.policy}: ${event.count} ${event.count === 1 ? "refresh" : "refreshes"} failed, what is held stays`,
  annotations: { count: event.count, error: event.error.tag ?? event.error.name }
})
