/** Limits as people write them, as plain data. `RateLimiter` has all of this under its own name, and checks it at `make`. */
import type * as Duration from "effect/Duration"

/** How calls are counted. Made by `gcra`, `slidingWindow` or `fixedWindow`, checked when a limiter is made. */
export type Algorithm = Gcra | SlidingWindow | FixedWindow

/** An even pace and a burst. Made by `gcra`. */
export interface Gcra {
  readonly _tag: "Gcra"
  readonly limit: number
  readonly period: Duration.Input
  readonly burst: number
}

/** A count over the last stretch of time. Made by `slidingWindow`. */
export interface SlidingWindow {
  readonly _tag: "SlidingWindow"
  readonly limit: number
  readonly window: Duration.Input
}

/** A count in one stretch of time after another. Made by `fixedWindow`. */
export interface FixedWindow {
  readonly _tag: "FixedWindow"
  readonly limit: number
  readonly window: Duration.Input
}

/**
 * `limit` calls per `period` at an even pace, and `burst` at once after a quiet time.
 *
 * In any stretch of time at most `burst + limit · stretch / period` are let through. `limit` and `burst` are whole numbers from
 * 1 to 1,000,000; `burst` is `limit` unless given, and 1 means no two calls at once.
 *
 * Source: the generic cell rate algorithm, ITU-T I.371.
 */
export const gcra = (given: {
  readonly limit: number
  readonly period: Duration.Input
  readonly burst?: number | undefined
}): Gcra => ({ _tag: "Gcra", ...given, burst: given.burst ?? given.limit })

/**
 * `limit` calls (1 to 1,000,000) in the last `window`, as far as two counts can tell: those of this window, and of those of the
 * window before the share that still lies within one window's length.
 *
 * Source: the sliding window counter, Cloudflare 2017.
 */
export const slidingWindow = (given: {
  readonly limit: number
  readonly window: Duration.Input
}): SlidingWindow => ({ _tag: "SlidingWindow", ...given })

/**
 * `limit` calls (1 to 1,000,000) in each `window`. Windows follow each other from when the limiter was made, so around the end of
 * one, twice as many may come within a moment.
 */
export const fixedWindow = (given: {
  readonly limit: number
  readonly window: Duration.Input
}): FixedWindow => ({ _tag: "FixedWindow", ...given })
