import { describe, expect, it } from "vitest"
import * as FixedWindow from "../../../packages/failsoft/src/state/FixedWindow.ts"
import * as Gcra from "../../../packages/failsoft/src/state/Gcra.ts"
import type { Algorithm, Decision } from "../../../packages/failsoft/src/state/Limit.ts"
import * as SlidingWindow from "../../../packages/failsoft/src/state/SlidingWindow.ts"
import { playHistories, situations } from "./limitHistories.ts"

/** What calls of cost 1 find, one after another, each at its time. */
const play = <Config, State>(
  algorithm: Algorithm<Config, State>,
  config: Config,
  atMillis: ReadonlyArray<number>,
  maxWaitMillis = 0
): ReadonlyArray<Decision> => {
  let state = algorithm.initial
  return atMillis.map((now) => {
    const [decision, next] = algorithm.take(config, 1, now, maxWaitMillis)(state)
    state = next
    return decision
  })
}

const times = (count: number, atMillis: number): ReadonlyArray<number> =>
  Array.from({ length: count }, () => atMillis)

const words = (decisions: ReadonlyArray<Decision>): ReadonlyArray<string> =>
  decisions.map((decision) =>
    decision._tag === "Rejected"
      ? `again in ${decision.retryAfterMillis}`
      : decision.waitMillis === 0
        ? "now"
        : `in ${decision.waitMillis}`
  )

describe("every limit", () => {
  it("does what its formula says of all that was taken, in every history", () => {
    const counts = playHistories({ Gcra, FixedWindow, SlidingWindow }, 1500)
    for (const situation of situations) {
      expect.soft([situation, (counts.get(situation) ?? 0) > 100]).toEqual([situation, true])
    }
  })
})

describe("gcra", () => {
  it("has all of its burst again after a period, though no call's share of it is a whole number", () => {
    for (const limit of [3, 7, 11, 999_983]) {
      for (const periodMillis of [1, 1000, 60_000]) {
        const config = Gcra.config(limit, periodMillis, limit)
        const [, spent] = Gcra.take(config, limit, 0.001, 0)(Gcra.initial)
        expect(Gcra.remaining(config, 0.001)(spent)).toBe(0)
        expect(Gcra.remaining(config, periodMillis)(spent)).toBeLessThan(limit)
        expect(Gcra.take(config, limit, periodMillis + 0.001, 0)(spent)[0]._tag).toBe("Admitted")
      }
    }
  })

  it("spaces calls evenly where there is no burst", () => {
    const config = Gcra.config(10, 1000, 1)
    expect(words(play(Gcra, config, [0, 0, 99.999, 100, 199, 200]))).toEqual([
      "now",
      "again in 100",
      "again in 0.001",
      "now",
      "again in 1",
      "now"
    ])
    expect(words(play(Gcra, config, times(4, 0), 250))).toEqual(["now", "in 100", "in 200", "again in 300"])
  })

  it("lets exactly the limit through, however long calls press against it", () => {
    const config = Gcra.config(7, 1000, 2)
    const seconds = 200
    const pressing = Array.from({ length: seconds * 1000 }, (_, millis) => millis)
    const admitted = play(Gcra, config, pressing).filter(({ _tag }) => _tag === "Admitted").length
    // A call every millisecond finds its turn up to a millisecond late, which a burst of 2 makes good.
    expect(admitted).toBe(7 * seconds + 1)
  })
})

describe("the fixed window", () => {
  it("lets through twice its limit around the end of a window, and no more", () => {
    const config = FixedWindow.config(3, 1000)
    const found = play(FixedWindow, config, [...times(4, 999), ...times(4, 1000)])
    expect(words(found)).toEqual(["now", "now", "now", "again in 1", "now", "now", "now", "again in 1000"])
  })

  it("has those who wait fill one window after another", () => {
    const config = FixedWindow.config(2, 1000)
    expect(words(play(FixedWindow, config, times(6, 250), 1750))).toEqual([
      "now",
      "now",
      "in 750",
      "in 750",
      "in 1750",
      "in 1750"
    ])
  })
})

describe("the sliding window", () => {
  it("takes the window before for as much of it as still counts", () => {
    const config = SlidingWindow.config(100, 60_000)
    let state = SlidingWindow.take(config, 84, 30_000, 0)(SlidingWindow.initial)[1]
    state = SlidingWindow.take(config, 36, 60_000 + 15_000, 0)(state)[1]
    // 84 · (1 − 15 / 60) + 36 = 99: twice the case that the source works through.
    expect(SlidingWindow.remaining(config, 75_000)(state)).toBe(1)
    expect(SlidingWindow.take(config, 2, 75_000, 0)(state)[0]).toEqual({
      _tag: "Rejected",
      // 84 · (1 − x / 60) is 62 at x = 15.714286.
      retryAfterMillis: 714.286
    })
  })

  it("lets fewer than twice its limit through in any stretch as long as its window", () => {
    const config = SlidingWindow.config(10, 1000)
    const pressing = Array.from({ length: 5000 }, (_, millis) => millis)
    for (const from of [0, 999, 500]) {
      const at = [...times(10, from), ...pressing.filter((millis) => millis >= from)]
      const found = play(SlidingWindow, config, at)
      const admitted = at.filter((_, index) => found[index]?._tag === "Admitted")
      const most = Math.max(
        ...admitted.map((start) => admitted.filter((it) => it >= start && it < start + 1000).length)
      )
      expect(most).toBeLessThan(20)
      expect(admitted.length).toBeGreaterThan(40)
    }
  })
})
