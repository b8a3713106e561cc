import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { InvalidOption, RetryBudget } from "failsoft"
import { numbers, withRegistry } from "./metrics.ts"

const making = (given?: Partial<RetryBudget.Options>) => RetryBudget.make({ name: "billing", ...given })

/** Withdraws until nothing is left: how often it did. */
const drain = (budget: RetryBudget.RetryBudget, after?: RetryBudget.After) =>
  Effect.gen(function* () {
    for (let taken = 0; ; taken++) if (!(yield* budget.withdraw(after))) return taken
  })

const depositing = (budget: RetryBudget.RetryBudget, times: number) =>
  Effect.repeat(budget.deposit, { times: times - 1 })

describe("a retry budget", () => {
  it.effect.each([
    { ratio: 0.1, minPerSecond: 10, retries: 1010 },
    { ratio: 0.2, minPerSecond: 10, retries: 2010 },
    { ratio: 0.07, minPerSecond: 3, retries: 703 },
    { ratio: 0.0001, minPerSecond: 1, retries: 2 },
    { ratio: 1, minPerSecond: 0, retries: 10_000 },
    { ratio: 0, minPerSecond: 10, retries: 10 }
  ])(
    "allows exactly $retries retries in a second after 10,000 deposits of $ratio, with a floor of $minPerSecond",
    ({ ratio, minPerSecond, retries }) =>
      Effect.gen(function* () {
        const budget = yield* making({ ratio, minPerSecond, cap: 10_000 })
        yield* depositing(budget, 10_000)
        expect(yield* drain(budget)).toBe(retries)
        expect(yield* budget.snapshot).toMatchObject({
          left: 0,
          deposited: 10_000,
          withdrawn: retries,
          refused: 1
        })
      })
  )

  it.effect("starts with what its floor gives, keeps a second of it, and never less than one token", () =>
    Effect.gen(function* () {
      const ten = yield* making({ minPerSecond: 10 })
      const rare = yield* making({ minPerSecond: 0.1 })
      expect([yield* drain(ten), yield* drain(rare)]).toEqual([10, 1])
      yield* TestClock.adjust("300 millis")
      expect([yield* drain(ten), yield* drain(rare)]).toEqual([3, 0])
      yield* TestClock.adjust("9700 millis")
      expect([yield* drain(ten), yield* drain(rare)]).toEqual([10, 1])
      yield* TestClock.adjust("1 hour")
      expect([yield* drain(ten), yield* drain(rare)]).toEqual([10, 1])
    })
  )

  it.effect("keeps of deposits no more than its cap", () =>
    Effect.gen(function* () {
      const budget = yield* making({ ratio: 0.5, cap: 5, minPerSecond: 0 })
      yield* depositing(budget, 1000)
      yield* TestClock.adjust("1 hour")
      expect(yield* budget.snapshot).toMatchObject({ left: 5, most: 5, ratio: 1, deposited: 1000 })
      expect(yield* drain(budget)).toBe(5)
      expect(yield* budget.snapshot).toMatchObject({ left: 0, ratio: 0 })
    })
  )

  it.effect("has a tenth, one a second, and a hundred at most when nothing is said", () =>
    Effect.gen(function* () {
      const budget = yield* making()
      expect(budget.credit).toBe("success")
      expect(yield* drain(budget)).toBe(1)
      yield* depositing(budget, 10)
      expect(yield* drain(budget)).toBe(1)
      yield* depositing(budget, 2000)
      yield* TestClock.adjust("1 second")
      expect(yield* budget.snapshot).toMatchObject({ left: 101, most: 101 })
    })
  )

  it.effect("charges more after a timeout, and all of it or nothing", () =>
    Effect.gen(function* () {
      const budget = yield* making({ ratio: 1, minPerSecond: 0, timeoutCost: 3 })
      yield* depositing(budget, 8)
      expect(yield* drain(budget, "timeout")).toBe(2)
      expect((yield* budget.snapshot).left).toBe(2)
      expect(yield* budget.canWithdraw("timeout")).toBe(false)
      expect(yield* budget.canWithdraw("failure")).toBe(true)
      expect(yield* drain(budget)).toBe(2)
      yield* budget.refund("timeout")
      expect(yield* drain(budget)).toBe(3)
    })
  )

  it.effect("takes two tokens after a timeout when nothing is said", () =>
    Effect.gen(function* () {
      const budget = yield* making({ ratio: 1, minPerSecond: 0 })
      yield* depositing(budget, 10)
      expect(yield* drain(budget, "timeout")).toBe(5)
    })
  )

  it.effect("takes nothing when it is only asked", () =>
    Effect.gen(function* () {
      const budget = yield* making({ minPerSecond: 1 })
      for (let time = 0; time < 5; time++) expect(yield* budget.canWithdraw()).toBe(true)
      expect(yield* budget.snapshot).toMatchObject({ left: 1, withdrawn: 0, refused: 0 })
      expect(yield* drain(budget)).toBe(1)
      expect(yield* budget.canWithdraw()).toBe(false)
      expect(yield* budget.snapshot).toMatchObject({ withdrawn: 1, refused: 1 })
    })
  )

  it.effect("gives back what was not used", () =>
    Effect.gen(function* () {
      const budget = yield* making({ minPerSecond: 2 })
      expect(yield* drain(budget)).toBe(2)
      yield* budget.refund()
      expect(yield* budget.snapshot).toMatchObject({ left: 1, withdrawn: 2, refunded: 1 })
      expect(yield* drain(budget)).toBe(1)
    })
  )

  it.effect("gives no token twice, however many fibers ask for it", () =>
    Effect.gen(function* () {
      const budget = yield* making({ ratio: 0.5, minPerSecond: 0, cap: 1000 })
      // Half of the fibers deposit, and every one asks: what they get is what was there, in whatever order they run.
      const results = yield* Effect.forEach(
        Array.from({ length: 1000 }, (_, fiber) => fiber),
        (fiber) =>
          Effect.gen(function* () {
            if (fiber % 2 === 0) yield* budget.deposit
            yield* Effect.yieldNow
            const seen = yield* budget.canWithdraw()
            yield* Effect.yieldNow
            const taken = yield* budget.withdraw()
            return { seen, taken }
          }),
        { concurrency: "unbounded" }
      )
      const taken = results.filter((result) => result.taken).length
      expect(taken).toBe(250)
      expect(results.some(({ seen, taken }) => seen && !taken)).toBe(true)
      expect(yield* budget.snapshot).toMatchObject({ left: 0, withdrawn: 250, refused: 750 })
    })
  )

  it.effect("that is switched off allows every retry and counts nothing", () =>
    Effect.gen(function* () {
      const budget = yield* making({ enabled: false, minPerSecond: 0, ratio: 0 })
      for (let time = 0; time < 200; time++) expect(yield* budget.withdraw()).toBe(true)
      expect(yield* budget.canWithdraw("timeout")).toBe(true)
      yield* budget.deposit
      budget.depositUnsafe()
      yield* budget.refund()
      expect(yield* budget.snapshot).toEqual({
        name: "billing",
        enabled: false,
        left: 0,
        most: 0,
        ratio: 1,
        deposited: 0,
        withdrawn: 0,
        refunded: 0,
        refused: 0
      })
    })
  )
})

describe("an option out of its range", () => {
  it.effect.each([
    [{ ratio: -0.1 }, "ratio", "-0.1", "a number from 0 to 1"],
    [{ ratio: 1.1 }, "ratio", "1.1", "a number from 0 to 1"],
    [{ ratio: Number.NaN }, "ratio", "NaN", "a number from 0 to 1"],
    [{ minPerSecond: -1 }, "minPerSecond", "-1", "a number from 0 to 1000"],
    [{ minPerSecond: 1001 }, "minPerSecond", "1001", "a number from 0 to 1000"],
    [{ cap: 0 }, "cap", "0", "a number from 1 to 1000000"],
    [{ cap: 1_000_001 }, "cap", "1000001", "a number from 1 to 1000000"],
    [{ timeoutCost: 0 }, "timeoutCost", "0", "a whole number from 1 to 100"],
    [{ timeoutCost: 1.5 }, "timeoutCost", "1.5", "a whole number from 1 to 100"],
    [{ credit: "answer" as RetryBudget.Credit }, "credit", `"answer"`, "success, request"]
  ] as const)("is refused: %o", ([given, option, value, allowed]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(making(given))
      expect(error).toBeInstanceOf(InvalidOption)
      expect(error).toMatchObject({ policy: "billing", option, value, allowed })
      expect((yield* Effect.flip(making({ enabled: false, ...given }))).option).toBe(option)
    })
  )

  it.effect("is refused when it is the name", () =>
    Effect.gen(function* () {
      expect((yield* Effect.flip(making({ name: "" }))).option).toBe("name")
    })
  )
})

class Search extends Context.Service<Search, RetryBudget.RetryBudget>()("test/SearchBudget") {}

const configured = (provider: ConfigProvider.ConfigProvider) =>
  RetryBudget.layerConfig(Search, "search", "budget").pipe(Layer.provide(ConfigProvider.layer(provider)))

const spent = (Live: Layer.Layer<Search, unknown>) =>
  Effect.gen(function* () {
    const budget = yield* Search
    yield* depositing(budget, 100)
    const { most } = yield* budget.snapshot
    return [budget.name, budget.credit, most, yield* drain(budget, "timeout")]
  }).pipe(Effect.provide(Live))

describe("layers", () => {
  it.effect("provide a budget under a key of the application's own", () =>
    Effect.gen(function* () {
      expect(yield* spent(RetryBudget.layer(Search, { name: "search", ratio: 0.5, cap: 50 }))).toEqual([
        "search",
        "success",
        51,
        25
      ])
    })
  )

  it.effect("read every option from JSON", () =>
    Effect.gen(function* () {
      const budget = {
        enabled: true,
        credit: "request",
        ratio: 0.5,
        minPerSecond: 10,
        cap: 20,
        timeoutCost: 3
      }
      expect(yield* spent(configured(ConfigProvider.fromUnknown({ budget })))).toEqual([
        "search",
        "request",
        30,
        10
      ])
    })
  )

  it.effect("read every option from the environment", () =>
    Effect.gen(function* () {
      const env = {
        BUDGET_ENABLED: "true",
        BUDGET_CREDIT: "request",
        BUDGET_RATIO: "0.5",
        BUDGET_MIN_PER_SECOND: "10",
        BUDGET_CAP: "20",
        BUDGET_TIMEOUT_COST: "3"
      }
      const provider = ConfigProvider.constantCase(ConfigProvider.fromEnv({ env }))
      expect(yield* spent(configured(provider))).toEqual(["search", "request", 30, 10])
    })
  )

  it.effect("switch a budget off", () =>
    Effect.gen(function* () {
      const budget = yield* Effect.provide(
        Search,
        configured(ConfigProvider.fromUnknown({ budget: { enabled: false } }))
      )
      expect(budget.enabled).toBe(false)
    })
  )

  it.effect.each([
    [{ credit: "answer" }, "credit"],
    [{ ratio: "much" }, "ratio"],
    [{ enabled: "maybe" }, "enabled"]
  ] as const)("refuse %j, naming the field", ([budget, field]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(ConfigProvider.fromUnknown({ budget }))))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain(field)
    })
  )

  it.effect("refuse a value out of its range, naming the option", () =>
    Effect.gen(function* () {
      const provider = ConfigProvider.fromUnknown({ budget: { ratio: 2 } })
      expect(yield* Effect.flip(Layer.build(configured(provider)))).toMatchObject({
        _tag: "InvalidOption",
        policy: "search",
        option: "ratio"
      })
    })
  )
})

it.effect("a budget publishes what is left of it", () =>
  Effect.gen(function* () {
    const budget = yield* RetryBudget.make({ name: "search", ratio: 0.5, minPerSecond: 0, cap: 10 })
    expect(yield* numbers).toEqual({ "retry_budget_ratio{policy=search}": 0 })
    for (let success = 0; success < 10; success++) yield* budget.deposit
    expect(yield* numbers).toEqual({ "retry_budget_ratio{policy=search}": 0.5 })
  }).pipe(withRegistry)
)
