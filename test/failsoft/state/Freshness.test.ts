import fc from "fast-check"
import { describe, expect, it } from "vitest"
import * as Freshness from "../../../packages/failsoft/src/state/Freshness.ts"

const windows: Freshness.Windows = { eagerShare: 0.8, revalidateMillis: 50, ifErrorMillis: 400 }

/** The moments at which a value that was stored at 1000 for 100 ms changes, and what it is from then on. */
const changes: ReadonlyArray<readonly [atMillis: number, Freshness.Freshness]> = [
  [1000, "fresh"],
  [1080, "eager"],
  [1100, "revalidate"],
  [1150, "if-error"],
  [1500, "gone"]
]

describe("a value", () => {
  const lifetime = Freshness.begin(windows, 100, 1000)

  it.each(changes)("at %d ms is %s, and not a moment before", (atMillis, freshness) => {
    expect(Freshness.at(lifetime, atMillis)).toBe(freshness)
    const before = changes.findLast(([at]) => at < atMillis)?.[1] ?? "fresh"
    expect(Freshness.at(lifetime, atMillis - 0.001)).toBe(before)
  })

  it.each([
    ["no eager refresh", { ...windows, eagerShare: 1 }, ["fresh", "revalidate", "if-error", "gone"]],
    [
      "no window to revalidate in",
      { ...windows, revalidateMillis: 0 },
      ["fresh", "eager", "if-error", "gone"]
    ],
    ["no window for errors", { ...windows, ifErrorMillis: 0 }, ["fresh", "eager", "revalidate", "gone"]],
    [
      "a window for errors that ends first",
      { ...windows, ifErrorMillis: 20 },
      ["fresh", "eager", "revalidate", "gone"]
    ],
    ["no windows", { eagerShare: 1, revalidateMillis: 0, ifErrorMillis: 0 }, ["fresh", "gone"]]
  ])("with %s passes through %s", (_, windows, expected) => {
    const lifetime = Freshness.begin(windows, 100, 1000)
    const seen = new Set<string>()
    for (let now = 1000; now < 1600; now++) seen.add(Freshness.at(lifetime, now))
    expect([...seen]).toEqual(expected)
  })

  it("only ever gets worse, and is never fresh beyond its time nor served beyond its windows", () => {
    const order: ReadonlyArray<Freshness.Freshness> = ["fresh", "eager", "revalidate", "if-error", "gone"]
    const windows = fc.record({
      eagerShare: fc.oneof(fc.constant(1), fc.double({ min: 0.01, max: 0.99, noNaN: true })),
      revalidateMillis: fc.nat(1000),
      ifErrorMillis: fc.nat(1000)
    })
    fc.assert(
      fc.property(
        windows,
        fc.integer({ min: 1, max: 1000 }),
        fc.nat(4000),
        fc.nat(4000),
        (windows, ttl, one, other) => {
          const lifetime = Freshness.begin(windows, ttl, 500)
          const ranks = [one, other]
            .toSorted((a, b) => a - b)
            .map((at) => order.indexOf(Freshness.at(lifetime, 500 + at)))
          expect(ranks[0]).toBeLessThanOrEqual(ranks[1] ?? 0)
          const age = Freshness.ageMillis(lifetime, 500 + one)
          expect(age).toBe(one)
          const freshness = Freshness.at(lifetime, 500 + one)
          const isFresh = freshness === "fresh" || freshness === "eager"
          expect(isFresh).toBe(age < ttl)
          if (freshness !== "gone") {
            expect(age).toBeLessThan(ttl + Math.max(windows.revalidateMillis, windows.ifErrorMillis))
          }
        }
      )
    )
  })

  it("has no age before it was stored", () => {
    expect(Freshness.ageMillis(lifetime, 900)).toBe(0)
    expect(Freshness.at(lifetime, 900)).toBe("fresh")
  })
})

describe("jitter", () => {
  it("only takes away, and no more than its share", () => {
    expect(Freshness.jittered(1000, 0.1, 0)).toBe(1000)
    expect(Freshness.jittered(1000, 0.1, 0.5)).toBe(950)
    const share = fc.double({ min: 0, max: 1, noNaN: true })
    const draw = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e9 }), share, draw, (ttl, jitter, random) => {
        const millis = Freshness.jittered(ttl, jitter, random)
        expect(millis).toBeGreaterThan(0)
        expect(millis).toBeLessThanOrEqual(ttl)
        expect(millis).toBeGreaterThanOrEqual(ttl * (1 - jitter))
      })
    )
  })
})

describe("what is due", () => {
  const outage: Freshness.Setback = { pauseUntilMillis: 10, isOutage: true }
  const refusal: Freshness.Setback = { pauseUntilMillis: 10, isOutage: false }

  it.each<readonly [Freshness.Freshness, Freshness.Move, Freshness.Move, Freshness.Move, Freshness.Move]>([
    // no setback, after an outage, after an outage whose pause is over, after another error
    ["fresh", "serve", "serve", "serve", "serve"],
    ["eager", "serve and refresh", "serve", "serve and refresh", "serve"],
    ["revalidate", "serve and refresh", "serve", "serve and refresh", "serve"],
    ["if-error", "look up", "serve", "look up", "look up"],
    ["gone", "look up", "look up", "look up", "look up"]
  ])(
    "for a value that is %s is %s; while its refresh pauses, %s; then %s; after no outage, %s",
    (freshness, ...due) => {
      expect([
        Freshness.move(freshness, undefined, 9),
        Freshness.move(freshness, outage, 9.999),
        Freshness.move(freshness, outage, 10),
        Freshness.move(freshness, refusal, 9.999)
      ]).toEqual(due)
    }
  )
})
