/** What a finished call says about the health of what it called. */

/**
 * The three values of an outcome.
 *
 * - `Success`: the dependency answered, be it with an error of the caller's.
 * - `Failure`: it counts against the dependency. `retryAfterMillis` is the dependency's own hint for how long to
 *   leave it alone.
 * - `Ignored`: it says nothing; an interrupted call, or one that never reached the dependency.
 */
export type Outcome =
  | { readonly _tag: "Success" }
  | { readonly _tag: "Failure"; readonly retryAfterMillis: number | undefined }
  | { readonly _tag: "Ignored" }
