import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import * as Budget from "../../../packages/failsoft/src/state/Budget.ts"

const ratios = fc.oneof(fc.constantFrom(0, 0.07, 0.1, 1 / 3, 1), fc.double({ min: 0, max: 1, noNaN: true }))
const rates = fc.constantFrom(0, 0.001, 0.1, 1 / 3, 1, 7.5, 10, 1000)
const configs = fc.record({
  ratio: ratios,
  minPerSecond: rates,
  cap: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constant(1_000_000))
})

/** A refund gives back the oldest withdrawal that was not given back; a wait may go back, as a clock may. */
type Step =
  | { readonly _tag: "Deposit"; readonly times: number }
  | { readonly _tag: "Withdraw"; readonly tokens: number }
  | { readonly _tag: "Refund" }
  | { readonly _tag: "Wait"; readonly millis: number }

const steps: fc.Arbitrary<ReadonlyArray<Step>> = fc.array(
  fc.oneof(
    fc.record({ _tag: fc.constant("Deposit" as const), times: fc.integer({ min: 1, max: 50 }) }),
    fc.record({ _tag: fc.constant("Withdraw" as const), tokens: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ _tag: fc.constant("Refund" as const) }),
    fc.record({
      _tag: fc.constant("Wait" as const),
      millis: fc.oneof(
        fc.integer({ min: 0, max: 2_000_000 }).map((micros) => micros / 1000),
        fc.constantFrom(-5000, 10 ** 9, 1 / 3)
      )
    })
  ),
  { maxLength: 150 }
)

/** The origin of a monotonic clock is arbitrary, so it may be before 0, and as far off as 1970. */
const origins = fc.constantFrom(0, -5000, 1_767_225_600_000.123)

/** What the budget looked like after each step of a history, and what had come and gone by then. */
const play = (config: Budget.BudgetConfig, origin: number, history: ReadonlyArray<Step>) => {
  let budget = Budget.initial(config, origin)
  let now = origin
  let latest = origin
  let deposits = 0
  let net = 0
  const outstanding: Array<number> = []
  const seen = [{ budget, now, latest, deposits, net }]
  for (const step of history) {
    switch (step._tag) {
      case "Deposit":
        for (let time = 0; time < step.times; time++) budget = Budget.deposit(config)(budget)
        deposits += step.times
        break
      case "Withdraw": {
        const left = Budget.left(config, budget, now)
        const [taken, next] = Budget.withdraw(config, step.tokens, now)(budget)
        expect(taken).toBe(left >= step.tokens)
        if (!taken) expect(next).toBe(budget)
        else {
          expect(Budget.left(config, next, now)).toBeCloseTo(left - step.tokens, 8)
          outstanding.push(step.tokens)
          net += step.tokens
        }
        budget = next
        break
      }
      case "Refund": {
        const tokens = outstanding.shift()
        if (tokens === undefined) break
        budget = Budget.refund(config, tokens, now)(budget)
        net -= tokens
        break
      }
      case "Wait":
        now += step.millis
        latest = Math.max(latest, now)
    }
    seen.push({ budget, now, latest, deposits, net })
  }
  return seen
}

describe("a budget", () => {
  it("stays within its stores, in whole billionths", () => {
    fc.assert(
      fc.property(configs, origins, steps, (given, origin, history) => {
        const config = Budget.configOf(given)
        for (const { budget, now } of play(config, origin, history)) {
          for (const [held, cap] of [
            [budget.bank, config.bankCap],
            [budget.floor, config.floorCap]
          ] as const) {
            expect(Number.isSafeInteger(held)).toBe(true)
            expect(held).toBeGreaterThanOrEqual(0)
            expect(held).toBeLessThanOrEqual(cap)
          }
          expect(Budget.left(config, budget, now)).toBeLessThanOrEqual(Budget.most(config))
        }
      }),
      { numRuns: 500, seed: 5 }
    )
  })

  it("pays in no window of time for more than was there, was deposited, and came with time", () => {
    fc.assert(
      fc.property(configs, origins, steps, (given, origin, history) => {
        const config = Budget.configOf(given)
        const seen = play(config, origin, history)
        for (const [index, from] of seen.entries()) {
          for (const to of seen.slice(index)) {
            const came = (to.latest - from.latest) * 1000 * config.floorPerMicro
            const bound =
              Budget.left(config, from.budget, from.now) * 1e9 +
              (to.deposits - from.deposits) * config.credit +
              came
            expect((to.net - from.net) * 1e9).toBeLessThanOrEqual(bound + 1e3)
          }
        }
      }),
      { numRuns: 200, seed: 6 }
    )
  })

  it("loses nothing, and makes nothing up, as long as there is room", () => {
    fc.assert(
      fc.property(ratios, steps, (ratio, history) => {
        const config = Budget.configOf({ ratio, minPerSecond: 0, cap: 1_000_000 })
        for (const { budget, deposits, net } of play(config, 0, history)) {
          expect(budget.bank).toBe(deposits * config.credit - net * 1e9)
        }
      }),
      { numRuns: 300, seed: 7 }
    )
  })

  it("gives what its floor gives, to the microsecond, however the time is cut up", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(2, 10 / 3, 7.5, 10, 1000),
        origins,
        fc.array(fc.integer({ min: 0, max: 500_000 }), { maxLength: 60 }),
        (minPerSecond, origin, gapsMicros) => {
          const config = Budget.configOf({ ratio: 0, minPerSecond, cap: 1 })
          let budget = Budget.initial(config, origin)
          let micros = Math.round(origin * 1000)
          const from = micros
          let taken = 0
          const takeAll = (): void => {
            for (;;) {
              const [isTaken, next] = Budget.withdraw(config, 1, micros / 1000)(budget)
              budget = next
              if (!isTaken) return
              taken++
            }
          }
          takeAll()
          for (const gap of gapsMicros) {
            micros += gap
            takeAll()
          }
          const came = BigInt(micros - from) * BigInt(config.floorPerMicro)
          // A floor that never overflows loses nothing: less than a token is left each time, and half a second's worth comes.
          expect(taken).toBe(Number((BigInt(config.floorCap) + came) / 10n ** 9n))
        }
      ),
      { numRuns: 300, seed: 8 }
    )
  })

  it("pays from what time brings before it pays from what was earned", () => {
    const config = Budget.configOf({ ratio: 1, minPerSecond: 1, cap: 10 })
    const earned = Budget.deposit(config)(Budget.deposit(config)(Budget.initial(config, 0)))
    const [, once] = Budget.withdraw(config, 1, 0)(earned)
    expect(once).toMatchObject({ bank: 2e9, floor: 0 })
    expect(Budget.withdraw(config, 1, 0)(once)[1]).toMatchObject({ bank: 1e9, floor: 0 })
    expect(Budget.withdraw(config, 1, 400)(once)[1]).toMatchObject({ bank: 1.4e9, floor: 0 })
    expect(Budget.left(config, once, 1000)).toBe(3)
  })

  it("that gives a token back to a floor that is full gives it to the bank", () => {
    const config = Budget.configOf({ ratio: 0.5, minPerSecond: 1, cap: 1 })
    const full = Budget.initial(config, 0)
    const [, spent] = Budget.withdraw(config, 1, 0)(full)
    expect(Budget.left(config, spent, 0)).toBe(0)
    expect(Budget.refund(config, 1, 0)(spent)).toMatchObject({ bank: 0, floor: 1e9 })
    expect(Budget.refund(config, 1, 1000)(spent)).toMatchObject({ bank: 1e9, floor: 1e9 })
    expect(Budget.refund(config, 1, 400)(spent)).toMatchObject({ bank: 0.4e9, floor: 1e9 })
    expect(Budget.refund(config, 5, 1000)(spent)).toMatchObject({ bank: 1e9, floor: 1e9 })
  })

  it("that is full is not written anew by a deposit", () => {
    const config = Budget.configOf({ ratio: 0.5, minPerSecond: 0, cap: 1 })
    const half = Budget.deposit(config)(Budget.initial(config, 0))
    const full = Budget.deposit(config)(half)
    expect([half.bank, full.bank]).toEqual([0.5e9, 1e9])
    expect(Budget.deposit(config)(full)).toBe(full)
  })
})
