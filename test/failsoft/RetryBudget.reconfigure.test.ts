import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Retry, RetryBudget } from "failsoft"
import { numbers, withRegistry } from "./metrics.ts"

const deposits = (budget: RetryBudget.RetryBudget, times: number) =>
  Effect.replicateEffect(budget.deposit, times)

const leftOf = (budget: RetryBudget.RetryBudget) => Effect.map(budget.snapshot, ({ left }) => left)

describe("a budget under new options", () => {
  it.effect("keeps what was deposited", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", ratio: 0.5, minPerSecond: 0 })
      yield* deposits(budget, 10)
      yield* budget.withdraw()
      yield* budget.reconfigure({ ratio: 1, minPerSecond: 0, cap: 50 })
      expect(yield* leftOf(budget)).toBe(4)
      yield* budget.deposit
      const { deposited, left, most, withdrawn } = yield* budget.snapshot
      expect({ deposited, left, most, withdrawn }).toEqual({ deposited: 11, left: 5, most: 50, withdrawn: 1 })
    })
  )

  it.effect("keeps no more than there is room for, and what is gone is gone", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", ratio: 1, minPerSecond: 10 })
      yield* deposits(budget, 20)
      yield* budget.reconfigure({ cap: 5, minPerSecond: 2 })
      expect(yield* leftOf(budget)).toBe(7)
      yield* budget.reconfigure({ cap: 100, minPerSecond: 10 })
      expect(yield* leftOf(budget)).toBe(7)
      yield* TestClock.adjust("100 millis")
      expect(yield* leftOf(budget)).toBe(8)
    })
  )

  it.effect("counts time until now by the old floor, and from now on by the new one", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", minPerSecond: 10 })
      yield* Effect.replicateEffect(budget.withdraw(), 10)
      yield* TestClock.adjust("300 millis")
      yield* budget.reconfigure({ minPerSecond: 100 })
      expect(yield* leftOf(budget)).toBe(3)
      yield* TestClock.adjust("100 millis")
      expect(yield* leftOf(budget)).toBe(13)
    })
  )

  it.effect("charges for timeouts and credits calls as it is told", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", ratio: 1, minPerSecond: 0 })
      yield* deposits(budget, 10)
      const retry = yield* Retry.make({ name: "search", attempts: 1, budget })
      yield* budget.reconfigure({ ratio: 1, minPerSecond: 0, credit: "request", timeoutCost: 7 })
      expect(budget.credit).toBe("request")
      yield* budget.withdraw("timeout")
      expect(yield* leftOf(budget)).toBe(3)
      yield* Effect.exit(retry.execute(Effect.fail("down")))
      expect(yield* leftOf(budget)).toBe(4)
    })
  )

  it.effect("publishes its share of what there may be now", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", ratio: 1, minPerSecond: 0, cap: 10 })
      yield* deposits(budget, 5)
      yield* budget.reconfigure({ minPerSecond: 0, cap: 20 })
      expect(yield* numbers).toEqual({ "retry_budget_ratio{policy=search}": 0.25 })
    }).pipe(withRegistry)
  )

  it.effect("names a wrong option, and changes nothing", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", minPerSecond: 3 })
      const error = yield* Effect.flip(budget.reconfigure({ cap: 5, timeoutCost: 0 }))
      expect(error.message).toBe(`search: option "timeoutCost" is 0, allowed is a whole number from 1 to 100`)
      expect((yield* budget.snapshot).most).toBe(103)
    })
  )

  it.effect("has none when it is switched off", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", enabled: false })
      expect((yield* Effect.flip(budget.reconfigure({}))).option).toBe("enabled")
    })
  )
})
