/** Reading the clock where an effect step for it would cost more than the call it guards. */
import * as Clock from "effect/Clock"
import type * as Fiber from "effect/Fiber"

/** Monotonic milliseconds with a fraction, of the fiber's own clock. The origin is arbitrary. */
export const monotonicMillis = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  Number(fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6

/** Wall-clock milliseconds since 1970, for reports. */
export const wallMillis = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
