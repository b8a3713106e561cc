/**
 * A retry or hedge that a bulkhead, a limiter or a circuit turned away had paid for its attempt all the same, though nothing was
 * sent. While a bulkhead was full, the hedges of calls that worked spent the budget, and calls that failed were not retried.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import {
  Bulkhead,
  Hedge,
  Policy,
  RateLimiter,
  Retry,
  RetryBudget,
  ServiceUnavailable,
  UnavailableReason
} from "failsoft"
import { inTime, reasonOf } from "../failsoft/calls.ts"

const earning = (given?: Partial<RetryBudget.Options>) =>
  Effect.gen(function* () {
    const budget = yield* RetryBudget.make({ name: "search", ratio: 1, minPerSecond: 0, cap: 10, ...given })
    for (let call = 0; call < 10; call++) yield* budget.deposit
    return budget
  })

describe("an attempt that was turned away", () => {
  it.effect("as the hedge of a policy is not made, so that calls which fail are still retried", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("search", {
        bulkhead: { limit: 1 },
        hedge: { delay: "10 millis" },
        retry: { attempts: 2, schedule: Retry.exponential({ base: "1 second", jitter: "none" }) },
        retryBudget: { ratio: 0, minPerSecond: 0.001 }
      })
      for (let call = 0; call < 3; call++) {
        yield* inTime(policy.executeWith(Effect.sleep("1 second"), { idempotent: true }))
      }
      expect(yield* policy.retryBudget!.snapshot).toMatchObject({ left: 1, withdrawn: 0 })
      const [exit] = yield* inTime(policy.execute(Effect.fail("refused")))
      expect(reasonOf(exit)?._tag).toBe("RetriesExhausted")
    })
  )

  it.effect.each([
    ["a failure", "refused"],
    ["a timeout", new Cause.TimeoutError()]
  ] as const)("as a retry after %s is paid back as much as it paid", ([, error]) =>
    Effect.gen(function* () {
      const budget = yield* earning()
      const bulkhead = yield* Bulkhead.make({ name: "search", limit: 1 })
      const retry = yield* Retry.make({ name: "search", budget })
      const call = Effect.fail(error).pipe(bulkhead.execute, retry.execute)
      const fiber = yield* Effect.forkChild(Effect.flip(call), { startImmediately: true })
      yield* Effect.forkChild(bulkhead.execute(Effect.never), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      expect(yield* Fiber.join(fiber)).toMatchObject({ reason: { _tag: "BulkheadFull" } })
      expect(yield* budget.snapshot).toMatchObject({ left: 10, withdrawn: 1, refunded: 1 })
    })
  )

  it.effect("is paid for once when it gets its turn in the end", () =>
    Effect.gen(function* () {
      const budget = yield* earning({ ratio: 0.1 })
      const limiter = yield* RateLimiter.make({
        name: "search",
        algorithm: RateLimiter.fixedWindow({ limit: 1, window: "10 seconds" })
      })
      const retry = yield* Retry.make({
        name: "search",
        attempts: 4,
        budget,
        schedule: Retry.exponential({ base: "1 second", jitter: "none" })
      })
      let sent = 0
      const call = Effect.suspend(() => (++sent === 1 ? Effect.fail("refused") : Effect.succeed("found")))
      yield* inTime(call.pipe(limiter.execute, retry.execute))
      expect(sent).toBe(2)
      // Turned away once at one second: the attempt after the failure, and the one that came in time.
      expect(yield* budget.snapshot).toMatchObject({ withdrawn: 2, refunded: 1 })
    })
  )

  it.effect.each([
    [UnavailableReason.CircuitOpen(), 1],
    [UnavailableReason.BulkheadFull(), 1],
    [UnavailableReason.RateLimited(), 1],
    [UnavailableReason.Throttled(), 1],
    [UnavailableReason.Shed(), 1],
    [UnavailableReason.NotConnected(), 0],
    [UnavailableReason.RetryBudgetExhausted(), 0]
  ] as const)("is one of which nothing was sent: %o", ([reason, refunded]) =>
    Effect.gen(function* () {
      const budget = yield* earning()
      const hedge = yield* Hedge.make({ name: "search", delay: "10 millis", budget })
      const hedged = Effect.fail(new ServiceUnavailable({ service: "search", reason }))
      yield* inTime(Effect.sleep("1 second").pipe(Hedge.withHedge(hedge, { idempotent: true, hedged })))
      expect(yield* budget.snapshot).toMatchObject({ withdrawn: 1, refunded })
    })
  )
})
