import { Lru } from "failsoft"
import fc from "fast-check"
import { describe, expect, it } from "vitest"

interface Item {
  readonly key: string
  readonly value: number
  readonly bytes: number
}

/** The same map as a list, the most recently used last, searched from one end to the other. */
class NaiveLru {
  items: ReadonlyArray<Item> = []
  readonly bounds: Lru.Bounds

  constructor(bounds: Lru.Bounds) {
    this.bounds = bounds
  }

  find(key: string): Item | undefined {
    return this.items.find((item) => item.key === key)
  }

  get(key: string): number | undefined {
    const found = this.find(key)
    if (found !== undefined) this.items = [...this.items.filter((item) => item !== found), found]
    return found?.value
  }

  get bytes(): number {
    return this.items.reduce((sum, item) => sum + item.bytes, 0)
  }

  set(item: Item): ReadonlyArray<readonly [string, number]> {
    this.delete(item.key)
    if (item.bytes > this.bounds.maxBytes || this.bounds.maxEntries < 1) return [[item.key, item.value]]
    this.items = [...this.items, item]
    const evicted: Array<readonly [string, number]> = []
    while (this.items.length > this.bounds.maxEntries || this.bytes > this.bounds.maxBytes) {
      const [oldest, ...rest] = this.items
      if (oldest === undefined) break
      evicted.push([oldest.key, oldest.value])
      this.items = rest
    }
    return evicted
  }

  delete(key: string): boolean {
    const had = this.find(key) !== undefined
    this.items = this.items.filter((item) => item.key !== key)
    return had
  }
}

const key = fc.constantFrom("a", "b", "c", "d", "e", "f", "g")

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("set"), key, value: fc.nat(), bytes: fc.nat(12) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("get", "peek", "delete"), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("clear"), key }) }
)

describe("a bounded map", () => {
  it("does what a naive one does", () => {
    const bounds = fc.record({ maxEntries: fc.nat(6), maxBytes: fc.nat(40) })
    fc.assert(
      fc.property(bounds, fc.array(step, { maxLength: 60 }), (bounds, steps) => {
        const lru = Lru.make<string, number>(bounds)
        const naive = new NaiveLru(bounds)
        for (const step of steps) {
          if ("value" in step) {
            expect(lru.set(step.key, step.value, step.bytes)).toEqual(naive.set(step))
          } else if (step.do === "get") expect(lru.get(step.key)).toBe(naive.get(step.key))
          else if (step.do === "peek") expect(lru.peek(step.key)).toBe(naive.find(step.key)?.value)
          else if (step.do === "delete") expect(lru.delete(step.key)).toBe(naive.delete(step.key))
          else {
            lru.clear()
            naive.items = []
          }
          expect([...lru]).toEqual(naive.items.map((item) => [item.key, item.value]))
          expect(lru.size).toBe(naive.items.length)
          expect(lru.bytes).toBe(naive.bytes)
          expect(lru.bytesOf(step.key)).toBe(naive.find(step.key)?.bytes ?? 0)
        }
      }),
      { numRuns: 2000 }
    )
  })

  it("is never beyond its bounds", () => {
    const items = fc.array(fc.record({ key, bytes: fc.nat(12) }), { maxLength: 60 })
    fc.assert(
      fc.property(items, (items) => {
        const lru = Lru.make<string, string>({ maxEntries: 3, maxBytes: 20 })
        for (const { key, bytes } of items) {
          lru.set(key, key, bytes)
          expect(lru.size).toBeLessThanOrEqual(3)
          expect(lru.bytes).toBeLessThanOrEqual(20)
        }
      })
    )
  })

  it("gives back a value that is too large, and forgets the one before", () => {
    const lru = Lru.make<string, string>({ maxEntries: 10, maxBytes: 10 })
    lru.set("a", "small", 1)
    lru.set("b", "other", 1)
    expect(lru.set("a", "huge", 11)).toEqual([["a", "huge"]])
    expect([...lru]).toEqual([["b", "other"]])
  })

  it("lets the oldest go first when one entry needs the room of several", () => {
    const lru = Lru.make<string, number>({ maxEntries: 10, maxBytes: 10 })
    for (const key of ["a", "b", "c"]) lru.set(key, 1, 3)
    lru.get("a")
    lru.peek("b")
    expect(lru.set("d", 1, 5)).toEqual([
      ["b", 1],
      ["c", 1]
    ])
  })
})
