/**
 * A policy took it that a retry stage credits the budget of its hedge, whatever budgets the two had: calls were credited twice,
 * or never, and hedges were refused for good. A `budget` of a stage that was left undefined took the policy's away from it.
 */
import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Policies, Policy, Retry, RetryBudget } from "failsoft"
import { reasonOf } from "../failsoft/calls.ts"

const budgetOf = (name: string) => RetryBudget.make({ name, minPerSecond: 0, ratio: 1 })

const deposited = (budget: RetryBudget.RetryBudget | undefined) =>
  Effect.map(budget?.snapshot ?? Effect.die("no budget"), ({ deposited }) => deposited)

const idempotent = { idempotent: true }

describe("a call is credited once to each budget of its stages", () => {
  it.effect("where retry and hedge have one each", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* budgetOf("one"), yield* budgetOf("other")]
      const policy = yield* Policy.make("search", { retryBudget: one, retry: { budget: other }, hedge: {} })
      yield* policy.executeWith(Effect.void, idempotent)
      yield* policy.execute(Effect.void)
      expect([yield* deposited(one), yield* deposited(other)]).toEqual([2, 2])
      const [retry, hedge] = yield* policy.describe
      expect([retry?.options, hedge?.options]).toMatchObject([{ budget: "other" }, { budget: "one" }])
    })
  )

  it.effect("where each was given the same", () =>
    Effect.gen(function* () {
      const budget = yield* budgetOf("all")
      const policy = yield* Policy.make("search", { retry: { budget }, hedge: { budget } })
      yield* policy.executeWith(Effect.void, idempotent)
      expect(yield* deposited(budget)).toBe(1)
    })
  )

  it.effect("where there is no retry, also if the call is not hedged", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("search", { retryBudget: {}, hedge: {} })
      yield* policy.execute(Effect.void)
      yield* policy.executeWith(Effect.void, idempotent)
      expect(yield* deposited(policy.retryBudget)).toBe(2)
    })
  )

  it.effect("where the retry is switched off", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("search", { retryBudget: {}, retry: { enabled: false }, hedge: {} })
      yield* policy.executeWith(Effect.void, idempotent)
      expect(yield* deposited(policy.retryBudget)).toBe(1)
    })
  )

  class Search extends Context.Service<Search, Policy.Policy>()("test/Search") {}

  it.effect.each([
    ["on", true],
    ["off", false]
  ] as const)("where the table has the retry %s", ([, enabled]) => {
    const table = ConfigProvider.fromUnknown({ search: { retryBudget: {}, retry: { enabled }, hedge: {} } })
    return Effect.gen(function* () {
      const policy = yield* Search
      yield* policy.executeWith(Effect.void, idempotent)
      expect(yield* deposited(policy.retryBudget)).toBe(1)
    }).pipe(
      Effect.provide(
        Policies.layerConfig({ search: Search }, []).pipe(Layer.provide(ConfigProvider.layer(table)))
      )
    )
  })
})

it.effect("a budget of a stage that is left undefined is the policy's", () =>
  Effect.gen(function* () {
    const policy = yield* Policy.make("search", {
      retryBudget: { minPerSecond: 0 },
      retry: { attempts: 2, budget: undefined, schedule: Retry.exponential({ base: 1 }) }
    })
    const fiber = yield* Effect.forkChild(Effect.exit(policy.execute(Effect.fail("down"))))
    yield* TestClock.adjust("1 second")
    expect(reasonOf(yield* Fiber.join(fiber))?._tag).toBe("RetryBudgetExhausted")
  })
)
