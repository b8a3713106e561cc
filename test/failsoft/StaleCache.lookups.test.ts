/** What a lookup may do, and what it sees of who asked for it. */
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Option, References, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, ServiceUnavailable, StaleCache, UnavailableReason } from "failsoft"
import { reasonOf } from "./calls.ts"

const base = { name: "prices", timeToLive: "1 minute", jitter: 0, hardTimeout: "5 seconds" } as const

type Cache = StaleCache.StaleCache<string, number, ServiceUnavailable>

const away = new ServiceUnavailable({ service: "prices", reason: UnavailableReason.NotConnected() })

const forked = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.forkChild(effect, { startImmediately: true })

const Colour = Context.Reference<string>("test/Colour", { defaultValue: () => "none" })

/** What of its surroundings an effect can see. */
const seen = Effect.gen(function* () {
  return {
    span: Option.isSome(yield* Effect.option(Effect.currentParentSpan)),
    colour: yield* Colour,
    logSpans: (yield* References.CurrentLogSpans).map(([label]) => label),
    level: yield* References.MinimumLogLevel,
    deadline: Option.isSome(yield* Deadline.remaining)
  }
})

describe("a lookup", () => {
  it.effect("sees nothing of its first caller, whether that waits for it or not", () =>
    Effect.gen(function* () {
      const outside = yield* seen
      const cache = yield* StaleCache.make({
        ...base,
        staleWhileRevalidate: "1 hour",
        lookup: () => Effect.andThen(Effect.yieldNow, seen)
      })
      const get = cache
        .get("a")
        .pipe(
          Effect.provideService(Colour, "red"),
          Effect.provideService(References.MinimumLogLevel, "Fatal"),
          Effect.withLogSpan("caller"),
          Effect.withSpan("caller"),
          Deadline.within("1 second")
        )
      expect(yield* get).toEqual(outside)
      yield* TestClock.adjust("1 minute")
      yield* get
      yield* TestClock.adjust("1 millis")
      expect(yield* cache.getServed("a")).toEqual({ value: outside, source: "live", ageMillis: 1 })
    })
  )

  it.effect("leaves what it acquires to the cache, unless it has a scope of its own", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      let open = 0
      const connect = Effect.acquireRelease(
        Effect.sync(() => ++open),
        () => Effect.sync(() => --open)
      )
      const cache = yield* StaleCache.make({
        ...base,
        lookup: (key: string) => (key === "scoped" ? Effect.scoped(connect) : connect)
      }).pipe(Scope.provide(scope))
      yield* cache.get("scoped")
      expect(open).toBe(0)
      yield* cache.get("a")
      yield* cache.get("b")
      expect(open).toBe(2)
      yield* Scope.close(scope, Exit.void)
      expect(open).toBe(0)
    })
  )

  it.effect("that asks for its own key waits for itself until its time is over", () =>
    Effect.gen(function* () {
      const cache: Cache = yield* StaleCache.make({ ...base, lookup: (key: string) => cache.get(key) })
      const caller = yield* forked(cache.get("a"))
      yield* TestClock.adjust("4999 millis")
      expect(caller.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(reasonOf(yield* Fiber.await(caller))?._tag).toBe("TimedOut")
      expect(yield* cache.snapshot).toMatchObject({ lookups: 1, inFlight: 0, background: 0 })
    })
  )

  it.effect("may set or invalidate its own key, and what it finds is then not stored", () =>
    Effect.gen(function* () {
      const meanwhile: Record<string, Effect.Effect<void>> = {}
      const cache: Cache = yield* StaleCache.make({
        ...base,
        staleWhileRevalidate: "1 hour",
        lookup: (key: string) => Effect.as(meanwhile[key] ?? Effect.void, 6)
      })
      meanwhile.set = cache.set("set", 5)
      meanwhile.invalidated = cache.invalidate("invalidated")
      meanwhile.all = cache.invalidateAll
      expect(yield* Effect.forEach(["set", "invalidated", "all"], cache.get)).toEqual([6, 6, 6])
      expect((yield* cache.snapshot).entries).toBe(0)
      expect(yield* cache.get("set")).toBe(6)
      expect(yield* cache.get("set")).toBe(5)

      // Nobody waits for a refresh, so it ends with that.
      yield* cache.set("invalidated", 1)
      yield* TestClock.adjust("1 minute")
      expect(yield* cache.get("invalidated")).toBe(1)
      yield* Effect.yieldNow
      expect(yield* cache.snapshot).toMatchObject({ inFlight: 0, background: 0 })
      expect(yield* cache.peek("invalidated")).toEqual(Option.none())
    })
  )

  it.effect("may be of any key that a Map finds again", () =>
    Effect.gen(function* () {
      let lookups = 0
      const cache = yield* StaleCache.make<StaleCache.Key, string>({
        ...base,
        lookup: (key) => Effect.sync(() => `${typeof key} ${key} ${++lookups}`)
      })
      const keys: ReadonlyArray<StaleCache.Key> = ["1", 1, 1n, true, Number.NaN, 0, ""]
      const first = yield* Effect.forEach(keys, cache.get)
      expect(yield* Effect.forEach([...keys.slice(0, 5), -0, ""], cache.get)).toEqual(first)
      expect(lookups).toBe(keys.length)
    })
  )

  it.effect("may find nothing, which is held", () =>
    Effect.gen(function* () {
      let lookups = 0
      const cache = yield* StaleCache.make({
        ...base,
        lookup: (_key: string) =>
          Effect.sync(() => {
            lookups++
            return undefined
          })
      })
      expect([yield* cache.get("a"), yield* cache.get("a"), lookups]).toEqual([undefined, undefined, 1])
    })
  )
})

describe("a caller that cannot be interrupted", () => {
  it.effect("waits no longer than its deadline, the soft timeout or the hard timeout allow", () =>
    Effect.gen(function* () {
      let isUp = true
      const cache = yield* StaleCache.make<string, number, ServiceUnavailable>({
        ...base,
        staleIfError: "1 hour",
        softTimeout: "1 second",
        lookup: () => (isUp ? Effect.succeed(1) : Effect.never)
      })
      yield* cache.get("held")
      yield* TestClock.adjust("1 minute")
      isUp = false
      const soft = yield* forked(Effect.uninterruptible(cache.get("held")))
      const hurried = yield* forked(Effect.uninterruptible(cache.get("a").pipe(Deadline.within("2 seconds"))))
      const patient = yield* forked(Effect.uninterruptible(cache.get("a")))
      yield* TestClock.adjust("1 second")
      expect(soft.pollUnsafe()).toEqual(Exit.succeed(1))
      yield* TestClock.adjust("1 second")
      expect(reasonOf(yield* Fiber.await(hurried))?._tag).toBe("TimedOut")
      yield* TestClock.adjust("2999 millis")
      expect(patient.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(reasonOf(yield* Fiber.await(patient))?._tag).toBe("TimedOut")
    })
  )
})

describe("a value that is set", () => {
  it.effect("is refreshed in its time, though the lookup before it took too long", () =>
    Effect.gen(function* () {
      let lookups = 0
      const cache = yield* StaleCache.make<string, number, ServiceUnavailable>({
        ...base,
        lookup: () =>
          Effect.suspend(() => {
            lookups++
            return Effect.never
          }),
        staleWhileRevalidate: "1 hour",
        pauseAfterFailure: "1 hour"
      })
      const hurried = yield* forked(cache.get("a").pipe(Deadline.within("1 second")))
      yield* cache.set("a", 1)
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.await(hurried)).toEqual(Exit.succeed(1))
      yield* TestClock.adjust("1 minute")
      expect(yield* cache.get("a")).toBe(1)
      yield* Effect.yieldNow
      expect(lookups).toBe(2)
    })
  )

  it.effect("is judged first: what throws at that takes nothing away", () =>
    Effect.gen(function* () {
      const cache = yield* StaleCache.make<string, number, ServiceUnavailable>({
        ...base,
        lookup: () => Effect.fail(away),
        sizeOf: (value) => {
          if (value === 2) throw "a bug in sizeOf"
          return 1
        }
      })
      yield* cache.set("a", 1)
      expect(yield* Effect.exit(cache.set("a", 2))).toEqual(Exit.die("a bug in sizeOf"))
      expect(yield* cache.get("a")).toBe(1)
    })
  )
})
