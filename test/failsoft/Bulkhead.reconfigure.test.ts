import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Bulkhead } from "failsoft"
import { reasonOf } from "./calls.ts"

const begin = <A, E>(call: Effect.Effect<A, E>) =>
  Effect.forkChild(Effect.exit(call), { startImmediately: true })

/** Calls that note their names when they begin, and take a second. */
const serving = (bulkhead: Bulkhead.Bulkhead) => {
  const served: Array<string> = []
  const call = (name: string, options: Bulkhead.CallOptions = {}) =>
    Effect.sync(() => served.push(name)).pipe(
      Effect.andThen(Effect.sleep("1 second")),
      Bulkhead.withBulkhead(bulkhead, options)
    )
  return { served, call }
}

const reasons = (fibers: ReadonlyArray<Fiber.Fiber<Exit.Exit<unknown, unknown>>>) =>
  Effect.forEach(fibers, (fiber) =>
    Effect.map(Fiber.join(fiber), (exit) => (Exit.isSuccess(exit) ? "served" : reasonOf(exit)?._tag))
  )

describe("a bulkhead under new options", () => {
  it.effect("gives more permits to those who wait, at once", () =>
    Effect.gen(function* () {
      const bulkhead = yield* Bulkhead.make({ name: "reports", limit: 1, queue: 5 })
      const { call, served } = serving(bulkhead)
      const fibers = yield* Effect.forEach(["a", "b", "c", "d"], (name) => begin(call(name)))
      yield* bulkhead.reconfigure({ limit: 3, queue: 5 })
      yield* Effect.yieldNow
      expect(served).toEqual(["a", "b", "c"])
      yield* TestClock.adjust("2 seconds")
      expect(yield* reasons(fibers)).toEqual(["served", "served", "served", "served"])
      expect((yield* bulkhead.snapshot).counts).toMatchObject({ admitted: 4, rejected: 0 })
    })
  )

  it.effect("lets calls in flight end, and admits none until they are below a lower limit", () =>
    Effect.gen(function* () {
      const bulkhead = yield* Bulkhead.make({ name: "reports", limit: 3, queue: 5 })
      const { call, served } = serving(bulkhead)
      const fibers = yield* Effect.forEach(["a", "b", "c", "d", "e"], (name) => begin(call(name)))
      yield* bulkhead.reconfigure({ limit: 1, queue: 5 })
      expect(yield* bulkhead.snapshot).toMatchObject({ limit: 1, inFlight: 3, queued: 2 })
      yield* TestClock.adjust("1 second")
      expect(served).toEqual(["a", "b", "c", "d"])
      yield* TestClock.adjust("2 seconds")
      expect(yield* reasons(fibers)).toEqual(["served", "served", "served", "served", "served"])
      expect(yield* bulkhead.snapshot).toMatchObject({ inFlight: 0, queued: 0 })
    })
  )

  it.effect("keeps who waits where the queue is shorter now, and takes nobody in besides", () =>
    Effect.gen(function* () {
      const bulkhead = yield* Bulkhead.make({ name: "reports", limit: 1, queue: 3 })
      const { call, served } = serving(bulkhead)
      const fibers = yield* Effect.forEach(["a", "b", "c", "d"], (name) => begin(call(name)))
      yield* bulkhead.reconfigure({ limit: 1, queue: 1 })
      expect(yield* reasons([yield* begin(call("late"))])).toEqual(["BulkheadFull"])
      yield* TestClock.adjust("4 seconds")
      expect(yield* reasons(fibers)).toEqual(["served", "served", "served", "served"])
      expect(served).toEqual(["a", "b", "c", "d"])
    })
  )

  it.effect("lets a call of a higher level take a place in a queue that is over full", () =>
    Effect.gen(function* () {
      const bulkhead = yield* Bulkhead.make({ name: "reports", limit: 1, queue: 3, priorities: 2 })
      const { call, served } = serving(bulkhead)
      const fibers = yield* Effect.forEach(["a", "b", "c", "d"], (name) => begin(call(name)))
      yield* bulkhead.reconfigure({ limit: 1, queue: 1, priorities: 2 })
      const urgent = yield* begin(call("urgent", { priority: 1 }))
      expect((yield* bulkhead.snapshot).queued).toBe(3)
      yield* TestClock.adjust("4 seconds")
      expect(yield* reasons([...fibers, urgent])).toEqual([
        "served",
        "served",
        "served",
        "BulkheadFull",
        "served"
      ])
      expect(served).toEqual(["a", "urgent", "b", "c"])
    })
  )

  it.effect("finds the level of a call when it runs, also of one that was put together before", () =>
    Effect.gen(function* () {
      const bulkhead = yield* Bulkhead.make({ name: "reports", limit: 1, queue: 5, priorities: 2 })
      const { call, served } = serving(bulkhead)
      const low = call("low", { priority: 1 })
      const high = call("high", { priority: 3 })
      yield* bulkhead.reconfigure({ limit: 1, queue: 5, priorities: 4 })
      const fibers = [yield* begin(call("first")), yield* begin(low), yield* begin(high)]
      yield* TestClock.adjust("3 seconds")
      expect(served).toEqual(["first", "high", "low"])
      yield* bulkhead.reconfigure({ limit: 1, queue: 5 })
      fibers.push(yield* begin(call("first")), yield* begin(low), yield* begin(high))
      yield* TestClock.adjust("3 seconds")
      expect(served.slice(3)).toEqual(["first", "low", "high"])
      expect(yield* reasons(fibers)).toEqual(["served", "served", "served", "served", "served", "served"])
    })
  )

  it.effect("has newcomers wait as long as is said now, and the others as long as was said", () =>
    Effect.gen(function* () {
      const bulkhead = yield* Bulkhead.make({
        name: "reports",
        limit: 1,
        queue: 5,
        queueTimeout: "5 seconds"
      })
      yield* begin(bulkhead.execute(Effect.never))
      const early = yield* begin(bulkhead.execute(Effect.void))
      yield* bulkhead.reconfigure({ limit: 1, queue: 5, queueTimeout: "2 seconds" })
      const late = yield* begin(bulkhead.execute(Effect.void))
      yield* TestClock.adjust("2 seconds")
      expect(yield* reasons([late])).toEqual(["BulkheadFull"])
      expect(early.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("3 seconds")
      expect(yield* reasons([early])).toEqual(["BulkheadFull"])
    })
  )

  it.effect("names a wrong option, and changes nothing", () =>
    Effect.gen(function* () {
      const bulkhead = yield* Bulkhead.make({ name: "reports", limit: 2 })
      const error = yield* Effect.flip(bulkhead.reconfigure({ limit: 5, priorities: 17 }))
      expect(error.message).toBe(`reports: option "priorities" is 17, allowed is a whole number from 1 to 16`)
      expect((yield* bulkhead.snapshot).limit).toBe(2)
    })
  )

  it.effect("has none when it is switched off", () =>
    Effect.gen(function* () {
      const bulkhead = yield* Bulkhead.make({ name: "reports", limit: 2, enabled: false })
      expect((yield* Effect.flip(bulkhead.reconfigure({ limit: 3 }))).option).toBe("enabled")
    })
  )
})
