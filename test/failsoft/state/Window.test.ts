import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import * as Window from "../../../packages/failsoft/src/state/Window.ts"

interface Call {
  readonly isHit: boolean
  readonly at: number
}

/** What a window holds after calls, by going through all of them. */
const naive = (config: Window.WindowConfig, calls: ReadonlyArray<Call>, now: number) => {
  let latest = Number.NEGATIVE_INFINITY
  // A clock that goes back is taken to stand still.
  const ends = calls.map(({ at, isHit }) => {
    latest = Math.max(latest, at)
    return { isHit, at: latest }
  })
  const bucket = (at: number): number =>
    config._tag === "Time" ? Math.floor(at / (config.durationMillis / config.buckets)) : 0
  const held =
    config._tag === "Count"
      ? ends.slice(-config.calls)
      : ends.filter(({ at }) => bucket(at) > bucket(Math.max(latest, now)) - config.buckets)
  return { calls: held.length, hits: held.filter(({ isHit }) => isHit).length }
}

const held = ({ calls, hits }: Window.Window) => ({ calls, hits })

const configs: fc.Arbitrary<Window.WindowConfig> = fc.oneof(
  fc.record({ _tag: fc.constant("Count" as const), calls: fc.integer({ min: 1, max: 100 }) }),
  fc.record({
    _tag: fc.constant("Time" as const),
    durationMillis: fc.oneof(fc.integer({ min: 1, max: 10_000 }), fc.constantFrom(0.5, 33.3, 2_073_600_000)),
    buckets: fc.integer({ min: 1, max: 20 })
  })
)

/** Mostly close together, at times an idle gap, now and then a clock that goes back. */
const gaps = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0, max: 300 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 10 ** 10 }) },
  { weight: 1, arbitrary: fc.integer({ min: -5000, max: -1 }) }
)

const steps = fc.array(fc.record({ gap: gaps, isHit: fc.boolean() }), { maxLength: 120 })

/** The origin of a monotonic clock is arbitrary, so it may be before 0, and as far off as 1970. */
const origins = fc.constantFrom(0, -5000, 1_767_225_600_000.123)

describe("a window", () => {
  it("holds what a list of all calls would say that it holds", () => {
    fc.assert(
      fc.property(configs, origins, steps, gaps, (config, origin, steps, idle) => {
        const window = Window.make(config)
        const calls: Array<Call> = []
        let now = origin
        for (const { gap, isHit } of steps) {
          now += gap
          window.record(isHit, now)
          calls.push({ isHit, at: now })
          expect(held(window)).toEqual(naive(config, calls, now))
        }
        window.expire(now + idle)
        expect(held(window)).toEqual(naive(config, calls, now + idle))
      }),
      { numRuns: 500, seed: 4 }
    )
  })

  it("of time is empty after an idle gap, before any call has come", () => {
    const window = Window.make({ _tag: "Time", durationMillis: 10_000, buckets: 10 })
    for (let second = 0; second < 10; second++) window.record(true, second * 1000)
    expect(held(window)).toEqual({ calls: 10, hits: 10 })
    window.expire(10_000)
    expect(held(window)).toEqual({ calls: 9, hits: 9 })
    window.expire(18_999)
    expect(held(window)).toEqual({ calls: 1, hits: 1 })
    window.expire(19_000)
    expect(held(window)).toEqual({ calls: 0, hits: 0 })
  })

  it("of a time too short for its clock still ends", () => {
    const window = Window.make({ _tag: "Time", durationMillis: 1e-6, buckets: 1000 })
    for (const now of [1_767_225_600_000, 1_767_225_600_001]) window.record(true, now)
    expect(held(window)).toEqual({ calls: 1, hits: 1 })
  })

  it("of calls forgets no call for its age", () => {
    const window = Window.make({ _tag: "Count", calls: 33 })
    for (let call = 0; call < 66; call++) window.record(call < 34, 0)
    window.expire(10 ** 10)
    expect(held(window)).toEqual({ calls: 33, hits: 1 })
    window.record(false, 10 ** 10)
    expect(held(window)).toEqual({ calls: 33, hits: 0 })
  })
})
