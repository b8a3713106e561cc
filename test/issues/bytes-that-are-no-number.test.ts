/** One entry whose bytes were no number, or less than none, took the bound of bytes from a map for as long as it lived. */
import { Lru } from "failsoft"
import { expect, it } from "vitest"

const fill = (lru: Lru.Lru<string, string>) => {
  for (let index = 0; index < 100; index++) lru.set(`key ${index}`, "value", 4)
  return [lru.size, lru.bytes]
}

it.each([Number.NaN, -1000, Number.POSITIVE_INFINITY])(
  "an entry of %d bytes is not held, and counts for nothing",
  (bytes) => {
    const lru = Lru.make<string, string>({ maxEntries: 1000, maxBytes: 10 })
    lru.set("a", "before", 1)
    expect(lru.set("a", "huge", bytes)).toEqual([["a", "huge"]])
    expect([lru.size, lru.bytes]).toEqual([0, 0])
    expect(fill(lru)).toEqual([2, 8])
  }
)

it("bytes without end are not counted where there is no bound for them", () => {
  const lru = Lru.make<string, string>({ maxEntries: 10, maxBytes: Number.POSITIVE_INFINITY })
  lru.set("a", "endless", Number.POSITIVE_INFINITY)
  expect(fill(lru)).toEqual([10, 40])
})

it.each([
  { maxEntries: Number.NaN, maxBytes: 10 },
  { maxEntries: 10, maxBytes: Number.NaN }
])("a bound that is no number keeps nothing: %o", (bounds) => {
  expect(fill(Lru.make(bounds))).toEqual([0, 0])
})

it("a map whose entries are used while they are listed is listed once", () => {
  const lru = Lru.make<string, string>({ maxEntries: 10, maxBytes: 10 })
  for (const key of ["a", "b", "c"]) lru.set(key, key, 1)
  const seen: Array<string> = []
  for (const [key] of lru) {
    seen.push(key)
    if (seen.length > 10) break
    lru.get(key)
  }
  expect(seen).toEqual(["a", "b", "c"])
})
