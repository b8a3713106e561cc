/**
 * A hedge of a call that waited in a full bulkhead was turned away at once, and so was one over the limit of a rate limiter. Each took a
 * token of the budget with it, was counted as an attempt, and was told as a rejected call.
 */
import { expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Policy, PolicyEvent, RateLimiter } from "failsoft"
import { counted, withRegistry } from "../failsoft/metrics.ts"

it.effect.each([
  ["bulkhead", { bulkhead: { limit: 2, queue: 10 } }],
  ["rate limiter", { rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 5, window: "1 minute" }) } }]
] as const)("a hedge for which the %s has no room is not made", ([, stage]) => {
  const events: Array<string> = []
  return Effect.gen(function* () {
    const policy = yield* Policy.make("search", {
      ...stage,
      retryBudget: { minPerSecond: 10 },
      hedge: { delay: "1 second", hedges: 2 }
    })
    const slow = policy.executeWith(Effect.sleep("10 seconds"), { idempotent: true })
    const fibers = yield* Effect.replicateEffect(Effect.forkChild(slow, { startImmediately: true }), 5)
    yield* TestClock.adjust("1 minute")
    yield* Fiber.joinAll(fibers)
    expect(yield* policy.retryBudget?.snapshot ?? Effect.undefined).toMatchObject({
      withdrawn: 0,
      refused: 0
    })
    expect(Object.keys(yield* counted).filter((key) => /rejections|hedge/.test(key))).toEqual([])
    expect(events).toEqual([])
  }).pipe(Effect.provideService(PolicyEvent.Listeners, [({ _tag }) => events.push(_tag)]), withRegistry)
})
