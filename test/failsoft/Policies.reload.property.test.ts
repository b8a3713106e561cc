import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Exit, Fiber, Layer, References } from "effect"
import { TestClock } from "effect/testing"
import { Health, Policies, type Policy } from "failsoft"
import fc from "fast-check"
import { inTime, noting, reasonOf } from "./calls.ts"
import { circuits } from "./health.ts"
import { scrape, withRegistry } from "./metrics.ts"

class Billing extends Context.Service<Billing, Policy.Policy>()("test/Billing") {}

const providerOf = (billing: unknown) => ConfigProvider.fromUnknown({ services: { billing } })

const layerOf = (billing: unknown) =>
  Policies.layerConfig({ billing: Billing }, "services").pipe(
    Layer.provide(ConfigProvider.layer(providerOf(billing)))
  )

const stage = <T extends Record<string, fc.Arbitrary<unknown>>>(fields: T) =>
  fc.record({ ...fields, enabled: fc.constantFrom(true, true, true, false) })

/** Not many values of each option, so that some stay from table to table. */
const row = fc.record(
  {
    enabled: fc.constantFrom(true, true, true, true, false),
    deadline: fc.constantFrom(7, 20),
    attemptTimeout: fc.constantFrom(2, 5),
    retry: stage({ attempts: fc.constantFrom(2, 3), base: fc.constant(1), jitter: fc.constant("none") }),
    retryBudget: stage({ minPerSecond: fc.constantFrom(0, 1, 2), cap: fc.constantFrom(5, 9) }),
    hedge: stage({ delay: fc.constantFrom(1, 3), hedges: fc.constantFrom(1, 2) }),
    rateLimiter: fc.oneof(
      stage({ limit: fc.constantFrom(8, 20), period: fc.constantFrom(1, 60) }),
      stage({
        algorithm: fc.constantFrom("fixed-window", "sliding-window"),
        limit: fc.constantFrom(8, 20),
        window: fc.constant(60)
      })
    ),
    bulkhead: stage({
      limit: fc.constantFrom(1, 2),
      queue: fc.constantFrom(0, 3),
      priorities: fc.constantFrom(1, 2)
    }),
    breaker: fc.oneof(
      stage({
        failures: fc.constantFrom(2, 4),
        openDuration: fc.constantFrom(10, 30),
        successes: fc.constantFrom(1, 2)
      }),
      stage({
        failureRate: fc.constantFrom(0.5, 1),
        minimumCalls: fc.constant(3),
        windowCalls: fc.constantFrom(5, 6)
      })
    )
  },
  { requiredKeys: [] }
)

/** How calls fare: what hangs, what fails at once, and many at a time. */
const behaviourOf = (policy: Policy.Policy) =>
  Effect.gen(function* () {
    // What time brings to budgets and limits is there again.
    yield* TestClock.adjust("1 hour")
    const seen: Array<unknown> = []
    const note = (exit: Exit.Exit<unknown, unknown>) =>
      Exit.isSuccess(exit) ? "answered" : (reasonOf(exit)?._tag ?? "failed")
    const hanging = noting(Effect.delay(Effect.void, "8 seconds"))
    const [hung, millis] = yield* inTime(policy.executeWith(hanging.call, { idempotent: true }))
    seen.push(note(hung), millis, hanging.at.length)
    yield* TestClock.adjust("1 hour")
    const together = yield* Effect.replicateEffect(
      Effect.forkChild(Effect.exit(policy.execute(Effect.sleep("1 second"))), { startImmediately: true }),
      6
    )
    yield* TestClock.adjust("10 seconds")
    seen.push((yield* Fiber.joinAll(together)).map(note))
    yield* TestClock.adjust("1 hour")
    for (let times = 0; times < 5; times++) {
      const failing = noting(Effect.fail("down"))
      const [failed, millis] = yield* inTime(policy.execute(failing.call))
      seen.push(note(failed), millis, failing.at.length)
    }
    seen.push((yield* policy.breaker?.snapshot ?? Effect.undefined)?.halfOpenIn)
    return seen
  })

/** All that can be seen of a policy, and of what it publishes. */
const lookAt = (policy: Policy.Policy) =>
  Effect.gen(function* () {
    const { breaker, bulkhead, rateLimiter, retryBudget } = policy
    return {
      stages: yield* policy.describe,
      breaker: yield* breaker?.snapshot ?? Effect.undefined,
      bulkhead: yield* bulkhead?.snapshot ?? Effect.undefined,
      limiter: yield* rateLimiter?.snapshot ?? Effect.undefined,
      most: (yield* retryBudget?.snapshot ?? Effect.undefined)?.most,
      health: (yield* circuits).map(({ name }) => name),
      series: (yield* scrape).map(({ labels, name }) => JSON.stringify([name, labels])).toSorted(),
      behaviour: yield* behaviourOf(policy)
    }
  })

/** In a world of its own, from the first row through the others. */
const through = (first: unknown, others: ReadonlyArray<unknown>) =>
  Effect.gen(function* () {
    const policies = yield* Policies.Policies
    for (const next of others) yield* policies.reload(providerOf(next))
    return yield* lookAt(yield* Billing)
  }).pipe(
    Effect.provide(layerOf(first)),
    Effect.provide(Health.layer),
    Effect.provide(TestClock.layer()),
    Effect.provideService(References.MinimumLogLevel, "None"),
    withRegistry
  )

describe("a table that was reached through others", () => {
  it.effect(
    "is in no way different from the same table from the start",
    () =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(row, fc.array(row, { maxLength: 4 }), row, (first, others, last) =>
            Effect.runPromise(
              Effect.gen(function* () {
                const reached = yield* through(first, [...others, last])
                expect(reached).toEqual(yield* through(last, []))
              })
            )
          ),
          { numRuns: 200 }
        )
      ),
    60_000
  )
})
