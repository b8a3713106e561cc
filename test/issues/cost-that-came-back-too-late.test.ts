/** A call that was turned away after it had waited gave its cost back to the next window, which let through more than its limit. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Policy, RateLimiter } from "failsoft"
import { noting } from "../failsoft/calls.ts"

it.effect("a window lets through no more for those who were turned away since the one before", () =>
  Effect.gen(function* () {
    const policy = yield* Policy.make("billing", {
      rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 3, window: "1 second" }) },
      bulkhead: { limit: 1, queue: 5, queueTimeout: "500 millis" }
    })
    const start = <A, E>(call: Effect.Effect<A, E>) =>
      Effect.forkChild(Effect.exit(policy.execute(call)), { startImmediately: true })
    const first = noting(Effect.sleep("510 millis"))
    const second = noting(Effect.void)
    yield* TestClock.adjust("700 millis")
    for (let made = 0; made < 3; made++) yield* start(first.call)
    // Three take from the second window. Then two of the first give up the queue, and the one that ran ends.
    yield* TestClock.adjust("350 millis")
    for (let made = 0; made < 3; made++) yield* start(second.call)
    yield* TestClock.adjust("200 millis")
    for (let made = 0; made < 3; made++) yield* start(second.call)
    yield* TestClock.adjust("700 millis")
    expect(first.at).toEqual([700])
    expect(second.at).toHaveLength(3)
  })
)
