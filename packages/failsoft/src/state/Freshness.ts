/**
 * How long one cached value is good, and for what.
 *
 * It is fresh for its time to live, counted from when it was stored. The windows in which it may still be served begin
 * when that is over, as those of RFC 5861 do (`stale-while-revalidate`, `stale-if-error`), and a refresh that fails moves
 * none of them. Times are milliseconds of a clock that does not go back.
 */

/** What a cache allows beyond the time to live. */
export interface Windows {
  /** The share of the time to live after which a value is refreshed ahead of time; 1 for never. */
  readonly eagerShare: number
  /** How long an expired value is served while it is refreshed. */
  readonly revalidateMillis: number
  /** How long an expired value is served because its refresh failed. */
  readonly ifErrorMillis: number
}

/** The moments of one value, each the first at which something is over; the two windows may end in either order. */
export interface Lifetime {
  readonly storedAtMillis: number
  readonly eagerAtMillis: number
  readonly expiresAtMillis: number
  readonly revalidateUntilMillis: number
  readonly ifErrorUntilMillis: number
}

/** A time to live, made shorter by chance: `random` is a draw from 0 up to 1, `jitter` the share that it may take away. */
export const jittered = (ttlMillis: number, jitter: number, random: number): number =>
  ttlMillis * (1 - jitter * random)

/** The life of a value that is stored now. */
export const begin = (windows: Windows, ttlMillis: number, nowMillis: number): Lifetime => {
  const expiresAtMillis = nowMillis + ttlMillis
  return {
    storedAtMillis: nowMillis,
    eagerAtMillis: windows.eagerShare < 1 ? nowMillis + ttlMillis * windows.eagerShare : expiresAtMillis,
    expiresAtMillis,
    revalidateUntilMillis: expiresAtMillis + windows.revalidateMillis,
    ifErrorUntilMillis: expiresAtMillis + windows.ifErrorMillis
  }
}

/**
 * - `fresh`: served as it is.
 * - `eager`: fresh, and due to be refreshed in the background.
 * - `revalidate`: expired, served while it is refreshed.
 * - `if-error`: expired, served only because a refresh failed or takes too long.
 * - `gone`: not served.
 */
export type Freshness = "fresh" | "eager" | "revalidate" | "if-error" | "gone"

/** What a value is good for now. */
export const at = (lifetime: Lifetime, nowMillis: number): Freshness => {
  if (nowMillis < lifetime.eagerAtMillis) return "fresh"
  if (nowMillis < lifetime.expiresAtMillis) return "eager"
  if (nowMillis < lifetime.revalidateUntilMillis) return "revalidate"
  return nowMillis < lifetime.ifErrorUntilMillis ? "if-error" : "gone"
}

/** Time since the value was stored. */
export const ageMillis = (lifetime: Lifetime, nowMillis: number): number =>
  Math.max(0, nowMillis - lifetime.storedAtMillis)

/** The last refresh of a value failed; until `pauseUntilMillis` there is no other. */
export interface Setback {
  readonly pauseUntilMillis: number
  /** Whether it failed in a way that an expired value may stand in for. */
  readonly isOutage: boolean
}

/** What a cache does for a caller: it serves what it holds, refreshes that besides, or has the caller wait for a lookup. */
export type Move = "serve" | "serve and refresh" | "look up"

/** What is due for a value that is as fresh as this, after that setback. */
export const move = (freshness: Freshness, setback: Setback | undefined, nowMillis: number): Move => {
  const pauses = setback !== undefined && nowMillis < setback.pauseUntilMillis
  switch (freshness) {
    case "fresh":
      return "serve"
    case "eager":
    case "revalidate":
      return pauses ? "serve" : "serve and refresh"
    case "if-error":
      return pauses && setback.isOutage ? "serve" : "look up"
    case "gone":
      return "look up"
  }
}
