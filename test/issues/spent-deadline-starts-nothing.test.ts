/**
 * A timer that fired a fraction early left the next call of a request with part of a millisecond: it was sent, and given up
 * at once.
 */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Deadline } from "failsoft"

it.effect("an attempt with less than a millisecond left is not started", () =>
  Effect.gen(function* () {
    let started = 0
    const charge = Effect.sync(() => started++).pipe(Deadline.attemptTimeout("billing", "5 seconds"))

    const error = yield* Effect.flip(charge.pipe(Deadline.within("900 micros")))
    expect(error.reason._tag).toBe("TimedOut")
    expect(started).toBe(0)

    yield* charge.pipe(Deadline.within("1 millis"))
    expect(started).toBe(1)
  })
)
