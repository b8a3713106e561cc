/** A call whose deadline was spent before it was sent used up its share of the rate limiter. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Deadline, Policy, RateLimiter } from "failsoft"

it.effect("an attempt that is not started for want of time costs nothing", () =>
  Effect.gen(function* () {
    const policy = yield* Policy.make("billing", {
      attemptTimeout: "1 second",
      rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 5, window: "1 minute" }) },
      bulkhead: { limit: 1 },
      breaker: {}
    })
    const limiter = policy.rateLimiter ?? (yield* Effect.die("no limiter"))
    const late = Effect.die("sent").pipe(policy.execute, Deadline.within(0))
    const error = yield* Effect.flip(late)
    expect(error.reason._tag).toBe("TimedOut")
    expect((yield* limiter.peek()).remaining).toBe(5)
  })
)
