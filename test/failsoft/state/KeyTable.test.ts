import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import * as KeyTable from "../../../packages/failsoft/src/state/KeyTable.ts"

/** A state is nothing but the time from which it need not be held. */
const tableOf = (maxKeys: number) => KeyTable.make<number>(maxKeys, (freeAtMillis) => freeAtMillis)

interface Model {
  readonly maxKeys: number
  readonly states: Map<string, number>
  now: number
}

type Table = KeyTable.KeyTable<number>

/** What a table has to do, without saying how. */
const commands = (maxKeys: number) => {
  const key = fc.integer({ min: 0, max: maxKeys * 2 }).map((number) => `key ${number}`)
  const holds = (model: Model, table: Table): void => {
    expect(table.size).toBe(model.states.size)
    for (const [key, state] of model.states) expect(table.get(key)).toBe(state)
  }
  const take = fc.tuple(key, fc.integer({ min: 0, max: 30 })).map(([key, millis]) => ({
    check: () => true,
    run: (model: Model, table: Table) => {
      const held = model.states.get(key)
      const state = Math.max(held ?? 0, model.now) + millis
      if (held === undefined) {
        const couldGo = [...model.states].filter(([, freeAt]) => freeAt <= model.now)
        const hadRoom = table.hasRoom(model.now)
        expect(hadRoom).toBe(model.states.size < maxKeys || couldGo.length > 0)
        // It may let go of those that are free, as many as it likes.
        for (const [key] of couldGo) if (table.get(key) === undefined) model.states.delete(key)
        holds(model, table)
        if (!hadRoom) {
          expect(table.freeAtMillis).toBeGreaterThan(model.now)
          expect(table.freeAtMillis).toBeLessThanOrEqual(Math.min(...model.states.values()))
          return
        }
      }
      table.set(key, state)
      model.states.set(key, state)
      holds(model, table)
      expect(table.size).toBeLessThanOrEqual(maxKeys)
    },
    toString: () => `take ${key} for ${millis}`
  }))
  const pass = fc.integer({ min: 0, max: 40 }).map((millis) => ({
    check: () => true,
    run: (model: Model) => {
      model.now += millis
    },
    toString: () => `pass ${millis}`
  }))
  return fc.commands([take, take, take, pass], { maxCommands: 120 })
}

describe("a table of keys", () => {
  it.each([1, 2, 3, 8, 40])(
    "of %s holds what is not free, finds room where there is any, and keeps its bound",
    (maxKeys) => {
      fc.assert(
        fc.property(commands(maxKeys), (steps) => {
          fc.modelRun(
            () => ({ model: { maxKeys, states: new Map(), now: 0 } satisfies Model, real: tableOf(maxKeys) }),
            steps
          )
        }),
        { numRuns: 150 }
      )
    }
  )

  it("lets go of the key that is free first, whatever the order in which they came", () => {
    const table = tableOf(5)
    for (const [index, freeAt] of [50, 20, 40, 10, 30].entries()) table.set(`key ${index}`, freeAt)
    const left: Array<ReadonlyArray<number>> = []
    for (const now of [9, 10, 29, 30, 50]) {
      table.hasRoom(now)
      left.push(["key 0", "key 1", "key 2", "key 3", "key 4"].flatMap((key) => table.get(key) ?? []))
    }
    expect(left).toEqual([[50, 20, 40, 10, 30], [50, 20, 40, 30], [50, 40, 30], [50, 40], []])
  })

  it("holds a key that was used again until it is free by then", () => {
    const table = tableOf(1)
    table.set("one", 10)
    table.set("one", 20)
    expect([table.hasRoom(10), table.hasRoom(19), table.hasRoom(20)]).toEqual([false, false, true])
  })

  it("keeps a key to which something was given back no longer than before", () => {
    const table = tableOf(1)
    table.set("one", 20)
    table.set("one", 5)
    expect([table.hasRoom(10), table.hasRoom(20)]).toEqual([false, true])
  })

  it("shrinks while keys that are free make way for new ones", () => {
    const table = tableOf(1000)
    for (let number = 0; number < 1000; number++) table.set(`old ${number}`, 10)
    for (let number = 0; number < 900; number++) {
      expect(table.hasRoom(10)).toBe(true)
      table.set(`new ${number}`, 1000)
    }
    expect(table.size).toBe(900)
  })

  it("stays quick when each new key of a full table takes the place of another", () => {
    const table = tableOf(10_000)
    let looked = 0
    for (let number = 0; number < 100_000; number++) {
      if (!table.hasRoom(number)) looked++
      else table.set(`key ${number}`, number + 9_000)
    }
    expect(looked).toBe(0)
    expect(table.size).toBeLessThanOrEqual(10_000)
  })
})
