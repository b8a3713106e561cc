/**
 * A value with the mark of where it came from, so that degraded answers can be told from live ones.
 *
 * **Example** (Telling a user that a price is old)
 *
 * ```ts import.meta.vitest
 * import { Served } from "failsoft"
 *
 * const price: Served.Served<number> = { value: 42, source: "stale", ageMillis: 1500 }
 *
 * Served.isDegraded(price) // => true
 * ```
 */

/**
 * Where a value came from.
 *
 * - `live`: from the dependency, now.
 * - `stale`: from the dependency, `ageMillis` ago.
 * - `local`: written in this process while the dependency was away, and known nowhere else.
 * - `fallback`: from neither: a default or another implementation.
 */
export type Source = "live" | "stale" | "local" | "fallback"

/** A value and where it came from. */
export interface Served<out A> {
  readonly value: A
  readonly source: Source
  /** Milliseconds since the value was seen at the dependency: of a `stale` one, and of a `live` one that a cache has held. */
  readonly ageMillis?: number | undefined
}

/** Whether the value came from elsewhere than from the dependency, now. */
export const isDegraded = (served: Served<unknown>): boolean => served.source !== "live"

/** Marks a value as come from the dependency, now. */
export const live = <A>(value: A): Served<A> => ({ value, source: "live" })
