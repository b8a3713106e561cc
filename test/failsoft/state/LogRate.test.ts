import fc from "fast-check"
import { describe, expect, it } from "vitest"
import * as LogRate from "../../../packages/failsoft/src/state/LogRate.ts"

/** What became of each line, in the order in which they came. */
const play = (linesPerSecond: number, times: ReadonlyArray<number>) => {
  let rate = LogRate.initial
  return times.map((at) => {
    const [suppressed, next] = LogRate.take(linesPerSecond, at)(rate)
    rate = next
    return { at, suppressed, waiting: next.suppressed }
  })
}

const steps = fc.array(
  fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(0, 999, 1000, 1001, 60_000)),
  {
    minLength: 1,
    maxLength: 200
  }
)

const times = steps.map((gaps) => {
  let now = 0
  return gaps.map((gap) => {
    now += gap
    return now
  })
})

const limit = fc.integer({ min: 1, max: 12 })

describe("a bound on log lines", () => {
  it("loses no line: each is written, or told of by a later one, or still waiting to be told of", () => {
    fc.assert(
      fc.property(limit, times, (lines, at) => {
        const played = play(lines, at)
        const written = played.filter(({ suppressed }) => suppressed !== undefined)
        const told = written.reduce((sum, { suppressed }) => sum + (suppressed ?? 0), 0)
        expect(written.length + told + (played.at(-1)?.waiting ?? 0)).toBe(at.length)
      }),
      { numRuns: 2000 }
    )
  })

  it("writes at most so many lines in a window, and at most twice as many in any second", () => {
    fc.assert(
      fc.property(limit, times, (lines, at) => {
        const written = play(lines, at).filter(({ suppressed }) => suppressed !== undefined)
        for (const { at: from } of written) {
          const second = written.filter(({ at }) => at >= from && at < from + 1000)
          expect(second.length).toBeLessThanOrEqual(lines * 2)
        }
      }),
      { numRuns: 2000 }
    )
  })

  it("always writes a line that comes a second after the window began", () => {
    fc.assert(
      fc.property(limit, times, (lines, at) => {
        const last = (at.at(-1) ?? 0) + 1000
        expect(play(lines, [...at, last]).at(-1)?.suppressed).toBeTypeOf("number")
      }),
      { numRuns: 2000 }
    )
  })

  it("writes ten of twelve, and tells of the two with the next", () => {
    const played = play(10, [...Array.from({ length: 12 }, (_, index) => index), 1000, 1001])
    expect(played.map(({ suppressed }) => suppressed)).toEqual([
      ...Array.from({ length: 10 }, () => 0),
      undefined,
      undefined,
      2,
      0
    ])
  })
})
