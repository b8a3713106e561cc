/** Reading the clock where an effect step for it would cost more than the call it guards. */
import * as Clock from "effect/Clock"
import type * as Fiber from "effect/Fiber"

/**
 * Monotonic milliseconds of the fiber's own clock, to the microsecond. The origin is arbitrary.
 *
 * Rounded, because nanoseconds since 1970, as a test's clock may count them, are more than a number can hold exactly.
 */
export const monotonicMillis = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  monotonicMillisOf(fiber.getRef(Clock.Clock))

/** As `monotonicMillis`, of a clock that is known. */
export const monotonicMillisOf = (clock: Clock.Clock): number =>
  Math.round(Number(clock.monotonicTimeNanosUnsafe()) / 1e3) / 1e3

/**
 * What remains of a deadline below this is nothing: no call ends in it, and timers, which count whole milliseconds, fire as
 * much too early.
 */
export const leastMillis = 1

/** Wall-clock milliseconds since 1970, for reports. */
export const wallMillis = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
