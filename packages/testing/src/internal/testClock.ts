import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"

/** Milliseconds of the fiber's monotonic clock. */
export const monotonicMillis = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  Number(fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()) / 1_000_000

/** Moves the test's clock. Dies where the clock is not the test's, since waiting instead would take real time. */
export const adjust = (millis: number): Effect.Effect<void> =>
  Effect.withFiber((fiber) =>
    "adjust" in fiber.getRef(Clock.Clock)
      ? TestClock.adjust(millis)
      : Effect.die(
          new Error("There is no TestClock to move: use `it.effect`, or provide `TestClock.layer()`.")
        )
  )
