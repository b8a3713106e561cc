import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Bulkhead } from "failsoft"
import { reasonOf } from "./calls.ts"
import { interruptEverywhere } from "./interruption.ts"
import { calls, outcomeOf, settled } from "./waiting.ts"

const answer = Effect.succeed("answer")

const make = (given: Omit<Bulkhead.KeyedOptions, "name">) => Bulkhead.makeKeyed({ ...given, name: "search" })

const empty = { inFlight: 0, queued: 0, keys: 0 }

describe("a keyed bulkhead", () => {
  it.effect("has permits and a queue for each key", () =>
    Effect.gen(function* () {
      const keyed = yield* make({ limit: 1, queue: 1 })
      const { begin, order } = calls()
      const a = yield* Effect.forEach(["a1", "a2", "a3"], (name) => begin(name, keyed.execute("a")))
      const b = yield* begin("b1", keyed.execute("b"))
      expect([...a, b].map(outcomeOf)).toEqual([undefined, undefined, "BulkheadFull", undefined])
      expect(order).toEqual(["a1", "b1"])
      expect(yield* keyed.snapshot).toEqual({
        name: "search",
        enabled: true,
        limit: 1,
        inFlight: 2,
        queued: 1,
        keys: 2,
        counts: { admitted: 2, rejected: 1, timedOut: 0, interrupted: 0 },
        waits: { count: 0, sumMillis: 0, maxMillis: 0 }
      })
      expect(yield* keyed.snapshotOf("a")).toEqual({ key: "a", inFlight: 1, queued: 1 })
      expect(yield* keyed.snapshotOf("c")).toBe(undefined)
      yield* b.finish
      expect(order).toEqual(["a1", "b1"])
      yield* Effect.forEach(a, ({ finish }) => finish)
      expect(order).toEqual(["a1", "b1", "a2"])
      expect(yield* keyed.snapshot).toMatchObject(empty)
    })
  )

  it.effect("keeps nothing of a key that has no call in flight", () =>
    Effect.gen(function* () {
      const keyed = yield* make({ limit: 1, queue: 1, queueTimeout: "1 second" })
      yield* Effect.forEach(
        Array.from({ length: 1000 }, (_, key) => `${key}`),
        (key) => Effect.exit(keyed.execute(key)(Number(key) % 2 === 0 ? answer : Effect.fail("no")))
      )
      expect(yield* keyed.snapshot).toMatchObject(empty)
      const { begin } = calls()
      const running = yield* begin("running", keyed.execute("key"))
      const interrupted = yield* begin("interrupted", keyed.execute("key"))
      yield* Fiber.interrupt(interrupted.fiber)
      yield* begin("timed out", keyed.execute("key"))
      yield* TestClock.adjust("1 second")
      expect(yield* keyed.snapshot).toMatchObject({ inFlight: 1, queued: 0, keys: 1 })
      yield* running.finish
      expect(yield* keyed.snapshot).toMatchObject(empty)
    })
  )

  it.effect("keeps a key as long as one of its calls is in flight", () =>
    Effect.gen(function* () {
      const keyed = yield* make({ limit: 2, queue: 0 })
      const { begin } = calls()
      const [first, ...others] = yield* Effect.forEach(["a1", "a2"], (name) =>
        begin(name, keyed.execute("a"))
      )
      yield* first?.finish ?? Effect.void
      const more = yield* Effect.forEach(["a3", "a4"], (name) => begin(name, keyed.execute("a")))
      expect(more.map(outcomeOf)).toEqual([undefined, "BulkheadFull"])
      expect(yield* keyed.snapshot).toMatchObject({ inFlight: 2, keys: 1 })
      yield* Effect.forEach([...others, ...more], ({ finish }) => finish)
      expect(yield* keyed.snapshot).toMatchObject(empty)
    })
  )

  it.effect("turns a new key away while as many as it may hold are in use", () =>
    Effect.gen(function* () {
      const keyed = yield* make({ limit: 2, queue: 1, maxKeys: 2 })
      const { begin } = calls()
      const a = yield* begin("a", keyed.execute("a"))
      yield* begin("b", keyed.execute("b"))
      const c = yield* Effect.exit(keyed.execute("c")(answer))
      expect(reasonOf(c)?._tag).toBe("BulkheadFull")
      expect(yield* keyed.execute("a")(answer)).toBe("answer")
      yield* a.finish
      expect(yield* keyed.execute("c")(answer)).toBe("answer")
      expect((yield* keyed.snapshot).counts).toMatchObject({ admitted: 4, rejected: 1 })
    })
  )

  it.effect("has priorities, and calls that may not wait", () =>
    Effect.gen(function* () {
      const keyed = yield* make({ limit: 1, queue: 2, priorities: 2 })
      const { begin, order } = calls()
      const running = yield* begin("running", keyed.execute("key"))
      const low = yield* begin("low", Bulkhead.withKey(keyed, "key"))
      const high = yield* begin("high", Bulkhead.withKey(keyed, "key", { priority: 1 }))
      const hedge = yield* begin("hedge", (call) => Bulkhead.withKey(call, keyed, "key", { queue: false }))
      expect(outcomeOf(hedge)).toBe("BulkheadFull")
      yield* Effect.forEach([running, high, low], ({ finish }) => finish)
      expect(order).toEqual(["running", "high", "low"])
    })
  )

  it.effect("has a new limit for the keys that are in use and for those to come", () =>
    Effect.gen(function* () {
      const keyed = yield* make({ limit: 1, queue: 2 })
      const { begin, order } = calls()
      yield* Effect.forEach(["a1", "a2", "b1", "b2"], (name) => begin(name, keyed.execute(name.slice(0, 1))))
      yield* keyed.resize(2)
      yield* settled
      expect(order).toEqual(["a1", "b1", "a2", "b2"])
      yield* Effect.forEach(["c1", "c2", "c3"], (name) => begin(name, keyed.execute("c")))
      expect(order.slice(4)).toEqual(["c1", "c2"])
      expect(yield* keyed.snapshot).toMatchObject({ limit: 2, inFlight: 6, queued: 1 })
      expect((yield* Effect.flip(keyed.resize(0))).option).toBe("limit")
    })
  )

  it.effect("that is switched off lets everything run", () =>
    Effect.gen(function* () {
      const keyed = yield* make({ limit: 1, maxKeys: 1, enabled: false })
      expect(keyed.execute("a")(answer)).toBe(answer)
      expect(keyed.executeWith("b", answer, { queue: false })).toBe(answer)
      expect(yield* keyed.snapshot).toMatchObject({ ...empty, enabled: false })
      expect((yield* Effect.flip(keyed.resize(2))).option).toBe("enabled")
    })
  )

  it("keeps nothing of a key, wherever its call is interrupted", () => {
    const interrupted = interruptEverywhere((world) => {
      const keyed = world.value(Effect.scoped(make({ limit: 1, queue: 1, maxKeys: 2 })))
      const other = world.value(
        Effect.forkDetach(keyed.execute("a")(Effect.sleep("5 millis")), { startImmediately: true })
      )
      return {
        program: keyed
          .execute("a")(Effect.sleep("10 millis"))
          .pipe(Effect.andThen(keyed.execute("b")(answer))),
        verify: () => {
          world.run(Fiber.await(other))
          expect(world.value(keyed.snapshot)).toMatchObject(empty)
          expect(world.isIdle).toBe(true)
        }
      }
    })
    expect(interrupted).toBeGreaterThan(10)
  })
})
