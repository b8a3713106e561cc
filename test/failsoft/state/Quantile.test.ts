import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import * as Quantile from "../../../packages/failsoft/src/state/Quantile.ts"

const quantiles = fc.oneof(
  fc.constantFrom(0.5, 0.9, 0.95, 0.99),
  fc.double({ min: 0.5, max: 0.99, noNaN: true })
)

const durations = fc.oneof(
  fc.double({ min: 0, max: 20, noNaN: true }),
  fc.double({ min: 0, max: 1e6, noNaN: true }),
  fc.integer({ min: 0, max: 20 }).map((octave) => 2 ** octave)
)

/** An eighth of an octave. */
const step = 2 ** (1 / 8)

const exactOf = (q: number, seen: ReadonlyArray<number>): number =>
  seen.toSorted((one, other) => one - other)[Math.ceil(q * seen.length - 1e-9) - 1] ?? Number.NaN

const fed = (q: number, seen: ReadonlyArray<number>) => {
  const quantile = Quantile.make(q)
  for (const millis of seen) quantile.observe(millis)
  return quantile
}

/** Of so many durations, how many are looked at: two sets of 500, of which the present one fills. */
const lookedAt = (count: number): number => (count <= 1000 ? count : 500 + ((count - 1) % 500) + 1)

describe("a quantile", () => {
  it("is at most an eighth of an octave above the exact one of the last durations, and never below it", () => {
    fc.assert(
      fc.property(
        quantiles,
        fc.array(durations, { minLength: 100, maxLength: 2500, size: "max" }),
        (q, seen) => {
          const estimate = fed(q, seen).estimate() ?? Number.NaN
          const exact = Math.max(1, exactOf(q, seen.slice(-lookedAt(seen.length))))
          expect(estimate).toBeGreaterThanOrEqual(exact)
          expect(estimate).toBeLessThanOrEqual(exact * step * (1 + 1e-9))
        }
      ),
      { numRuns: 100, seed: 9, endOnFailure: true }
    )
  })

  it.each([
    [0.5, 20],
    [0.95, 20],
    [0.96, 25],
    [0.99, 100]
  ])("of %d is not known before %d durations", (q, needed) => {
    const quantile = Quantile.make(q)
    for (let seen = 0; seen < needed; seen++) {
      expect(quantile.estimate()).toBeUndefined()
      quantile.observe(10)
    }
    expect(quantile.estimate()).toBeCloseTo(2 ** 3.375, 10)
  })

  it("is at least a millisecond, and at most seventeen minutes", () => {
    const long = Array.from({ length: 20 }, () => 10 ** 9)
    expect(
      fed(
        0.95,
        Array.from({ length: 20 }, () => 0)
      ).estimate()
    ).toBeCloseTo(step, 10)
    expect(fed(0.95, long).estimate()).toBe(2 ** 20)
  })

  it("forgets", () => {
    const quantile = fed(
      0.95,
      Array.from({ length: 5000 }, () => 10_000)
    )
    for (let seen = 0; seen < 1000; seen++) quantile.observe(10)
    expect(quantile.estimate()).toBeLessThan(11)
  })

  it("moves up to where no more than its share is above, when what is above it is cut short there", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(0.5, 0.9, 0.95),
        fc.integer({ min: 10, max: 2000 }),
        fc.integer({ min: 0, max: 50 }),
        (q, trueMillis, answerMillis) => {
          const quantile = fed(
            q,
            Array.from({ length: 1000 }, () => 5)
          )
          // Each call would take `trueMillis`; a hedge answers `answerMillis` after it was made, and cuts it short.
          let previous = quantile.estimate() ?? 0
          for (let call = 0; call < 60_000; call++) {
            const delay = quantile.estimate() ?? 0
            if (delay + answerMillis < trueMillis) quantile.observeAtLeast(delay + answerMillis)
            else quantile.observe(trueMillis)
            if (call % 1000 === 999) {
              expect(delay).toBeGreaterThanOrEqual(previous)
              previous = delay
            }
          }
          expect((quantile.estimate() ?? 0) + answerMillis).toBeGreaterThanOrEqual(trueMillis)
          expect(quantile.estimate()).toBeLessThanOrEqual(trueMillis * step * (1 + 1e-9))
        }
      ),
      { numRuns: 15, seed: 10, endOnFailure: true }
    )
  })

  it("moves up by what is cut short right at it, wherever it is", () => {
    for (let octave = 0; octave < 19; octave += 0.125) {
      const quantile = fed(
        0.5,
        Array.from({ length: 20 }, () => 1.001 * 2 ** octave)
      )
      const before = quantile.estimate() ?? 0
      for (let seen = 0; seen < 25; seen++) quantile.observeAtLeast(before)
      expect(quantile.estimate()).toBeCloseTo(before * step, 5)
    }
  })

  it("takes nothing from a duration that was cut short below it", () => {
    const quantile = fed(
      0.5,
      Array.from({ length: 20 }, () => 100)
    )
    const before = quantile.estimate()
    for (let seen = 0; seen < 1000; seen++) quantile.observeAtLeast(50)
    expect(quantile.estimate()).toBe(before)
  })

  it("takes what was cut short for what it had when nothing else is known", () => {
    const quantile = Quantile.make(0.5)
    for (let seen = 0; seen < 20; seen++) quantile.observeAtLeast(50)
    expect(quantile.estimate()).toBeGreaterThanOrEqual(50)
  })
})
