import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type BackoffConfig, delayMillis, type Jitter } from "../../../packages/failsoft/src/state/Backoff.ts"

/** All that `Retry.make` lets through: durations from a nanosecond to 24 days, factors from 1 to 10. */
const longestMillis = 24 * 24 * 3600 * 1000
const millis = fc.double({ min: 1e-6, max: longestMillis, noNaN: true })
const configWith = (jitter: fc.Arbitrary<Jitter>): fc.Arbitrary<BackoffConfig> =>
  fc.record({
    baseMillis: millis,
    factor: fc.double({ min: 1, max: 10, noNaN: true }),
    capMillis: millis,
    jitter
  })

const anyJitter = fc.constantFrom<Jitter>("none", "full", "equal", "decorrelated")
const attempt = fc.oneof(fc.integer({ min: 1, max: 1_000_000 }), fc.integer({ min: 1, max: 100 }))
const draw = fc.oneof(
  fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  fc.constantFrom(0, 1 - Number.EPSILON)
)

const check = <Ts extends [unknown, ...Array<unknown>]>(property: fc.IPropertyWithHooks<Ts>): void => {
  fc.assert(property, { numRuns: 2000 })
}

describe("a delay", () => {
  it("is finite, at least 0 and at most the cap, for any attempt and any draw", () => {
    check(
      fc.property(configWith(anyJitter), attempt, millis, draw, (config, number, previous, random) => {
        const delay = delayMillis(config, number, Math.min(previous, config.capMillis), random)
        expect(Number.isFinite(delay)).toBe(true)
        expect(delay).toBeGreaterThanOrEqual(0)
        expect(delay).toBeLessThanOrEqual(config.capMillis)
      })
    )
  })

  it("stays in its bounds when each follows from the one before", () => {
    check(
      fc.property(
        configWith(fc.constant("decorrelated")),
        fc.array(draw, { minLength: 1, maxLength: 50 }),
        (config, draws) => {
          draws.reduce((previous, random, index) => {
            const delay = delayMillis(config, index + 1, previous, random)
            const from = Math.min(config.baseMillis, config.capMillis)
            const to = Math.min(config.capMillis, Math.max(config.baseMillis, previous * 3))
            expect(delay).toBeGreaterThanOrEqual(from)
            expect(delay).toBeLessThanOrEqual(to)
            return delay
          }, config.baseMillis)
        }
      )
    )
  })

  it("grows by the factor up to the cap", () => {
    check(
      fc.property(configWith(fc.constant("none")), fc.integer({ min: 1, max: 20 }), (config, number) => {
        const delay = delayMillis(config, number, 0, 0)
        const next = delayMillis(config, number + 1, 0, 0)
        if (next < config.capMillis) expect(next / delay).toBeCloseTo(config.factor, 6)
        else expect(next).toBe(config.capMillis)
      })
    )
  })

  it.each<[Jitter, number, number]>([
    ["none", 4000, 4000],
    ["full", 0, 4000],
    ["equal", 2000, 4000],
    ["decorrelated", 1000, 6000]
  ])("with %s jitter spreads a backoff of 4 s from %d to %d ms", (jitter, least, most) => {
    const config: BackoffConfig = { baseMillis: 1000, factor: 2, capMillis: 30_000, jitter }
    expect(delayMillis(config, 3, 2000, 0)).toBe(least)
    expect(delayMillis(config, 3, 2000, 1 - Number.EPSILON)).toBeCloseTo(most, 6)
  })

  it("follows 1 s, 2 s, 4 s … without jitter", () => {
    const config: BackoffConfig = { baseMillis: 1000, factor: 2, capMillis: 30_000, jitter: "none" }
    const delays = [1, 2, 3, 4, 5, 6, 1_000_000].map((number) => delayMillis(config, number, 0, 0.5))
    expect(delays).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  })
})
