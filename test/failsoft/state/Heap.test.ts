import * as fc from "fast-check"
import { expect, it } from "vitest"
import { Heap, type Item } from "../../../packages/failsoft/src/state/Heap.ts"

interface Named extends Item {
  readonly name: number
}

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("add" as const), order: fc.integer({ min: 0, max: 20 }) })
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), which: fc.nat(60) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("first" as const) }) }
)

it("has the least first and the first to come among equals, whatever comes and goes", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new Heap<Named>()
      const made: Array<Named> = []
      // What is in, in the order in which it came.
      let held: ReadonlyArray<Named> = []
      const least = () => held.toSorted((one, other) => one.order - other.order)[0]
      const remove = (item: Named): void => {
        heap.remove(item)
        held = held.filter((other) => other !== item)
      }
      for (const one of steps) {
        if (one.do === "add") {
          const item: Named = { name: made.length, order: one.order, index: -1, arrival: 0 }
          made.push(item)
          heap.add(item)
          held = [...held, item]
        } else if (one.do === "remove") {
          // Also what is out already.
          const item = made[one.which]
          if (item !== undefined) remove(item)
        } else if (heap.first !== undefined) {
          remove(heap.first)
        }
        expect(heap.first?.name).toBe(least()?.name)
      }
      while (heap.first !== undefined) {
        expect(heap.first.name).toBe(least()?.name)
        remove(heap.first)
      }
      expect(held).toEqual([])
      expect(made.every(({ index }) => index === -1)).toBe(true)
    }),
    { numRuns: 500 }
  )
})

it("takes in what is already in order, and lets go of the least, in few comparisons", () => {
  let reads = 0
  const heap = new Heap<Named>()
  const items = Array.from(
    { length: 4096 },
    (_, name): Named => ({
      name,
      get order() {
        reads++
        return name
      },
      index: -1,
      arrival: 0
    })
  )
  for (const item of items) heap.add(item)
  expect(reads / items.length).toBeLessThan(5)
  reads = 0
  for (const item of items) heap.remove(item)
  // Twelve levels, two children each, and what a comparison reads.
  expect(reads / items.length).toBeLessThan(12 * 2 * 4)
})

it("has the least first whichever of many are taken out of its midst", () => {
  const count = 400
  const numbers = fc.sample(fc.integer({ min: 0, max: 1e9 }), { numRuns: 2 * count, seed: 1 })
  const heap = new Heap<Named>()
  const items = numbers.slice(0, count).map((order, name): Named => ({ name, order, index: -1, arrival: 0 }))
  for (const item of items) heap.add(item)
  const inOrder = items.toSorted((one, other) => one.order - other.order)
  // Half of them go in any order, which leaves no sorted rest to hide behind.
  const gone = new Set(items.filter(({ name }) => (numbers[count + name] ?? 0) % 2 === 0))
  for (const item of [...gone].toSorted(
    (one, other) => (numbers[count + one.name] ?? 0) - (numbers[count + other.name] ?? 0)
  ))
    heap.remove(item)
  for (const item of inOrder.filter((item) => !gone.has(item))) {
    expect(heap.first?.name).toBe(item.name)
    heap.remove(item)
  }
  expect(heap.first).toBe(undefined)
})
