import { describe, expect, it } from "@effect/vitest"
import {
  ConfigProvider,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  References,
  Schema,
  Scope,
  Stream
} from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Health, Outcome } from "failsoft"
import { reasonOf } from "./calls.ts"
import { circuits } from "./health.ts"
import { hearing } from "./hearing.ts"
import { interruptEverywhere, World } from "./interruption.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

const brief = {
  name: "billing",
  trip: CircuitBreaker.consecutive(1),
  openDuration: "1 second",
  halfOpen: { successes: 1 }
} satisfies CircuitBreaker.KeyedOptions

const make = (given?: Partial<CircuitBreaker.KeyedOptions>) =>
  CircuitBreaker.makeKeyed({ ...brief, ...given })

const stateOf = (breaker: CircuitBreaker.KeyedCircuitBreaker, key: string) =>
  Effect.map(breaker.snapshotOf(key), (snapshot) => snapshot?.state)

const fail = (breaker: CircuitBreaker.KeyedCircuitBreaker, ...keys: ReadonlyArray<string>) =>
  Effect.forEach(keys, (key) => Effect.exit(breaker.execute(key)(refused)))

const succeed = (breaker: CircuitBreaker.KeyedCircuitBreaker, ...keys: ReadonlyArray<string>) =>
  Effect.forEach(keys, (key) => breaker.execute(key)(answer))

const start = <A, E>(
  call: (self: Effect.Effect<A, E>) => Effect.Effect<A, unknown>,
  end: Deferred.Deferred<A, E>
) => Effect.forkChild(call(Deferred.await(end)), { startImmediately: true })

describe("each key", () => {
  it.effect("has a circuit of its own", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(make())
      yield* fail(breaker, "a")
      expect(yield* Effect.flip(breaker.execute("a")(answer))).toMatchObject({
        service: "billing",
        reason: { _tag: "CircuitOpen" },
        retryAfter: Duration.seconds(1)
      })
      expect(yield* breaker.execute("b")(answer)).toBe("answer")
      expect([yield* breaker.isOpen("a"), yield* breaker.isOpen("b"), yield* breaker.isOpen("c")]).toEqual([
        true,
        false,
        false
      ])
      yield* TestClock.adjust("1 second")
      yield* succeed(breaker, "a")
      expect(yield* stateOf(breaker, "a")).toBe("closed")
      expect(yield* breaker.snapshotOf("c")).toBeUndefined()
      expect(events).toMatchObject([
        { _tag: "CircuitOpened", policy: "billing", key: "a" },
        { _tag: "CallsRejected", count: 1 },
        { _tag: "CircuitHalfOpened", key: "a" },
        { _tag: "CircuitClosed", key: "a" }
      ])
    })
  )

  it.effect("shows openings in a row, and its probes while half-open", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ halfOpen: { probes: 2, successes: 3 } })
      const shown = Effect.map(
        breaker.snapshotOf("a"),
        (snapshot) => snapshot && [snapshot.state, snapshot.openings, snapshot.probes]
      )
      expect(yield* shown).toBeUndefined()
      yield* fail(breaker, "a")
      expect(yield* shown).toEqual(["open", 1, undefined])
      yield* TestClock.adjust("1 second")
      expect(yield* shown).toEqual(["half_open", 1, { admitted: 0, running: 0 }])
      const end = yield* Deferred.make<string, string>()
      const probe = yield* start(breaker.execute("a"), end)
      yield* succeed(breaker, "a")
      expect(yield* shown).toEqual(["half_open", 1, { admitted: 2, running: 1 }])
      yield* TestClock.adjust("30 seconds")
      expect(yield* shown).toEqual(["half_open", 1, { admitted: 2, running: 0 }])
      yield* Fiber.interrupt(probe)
      yield* fail(breaker, "a")
      expect(yield* shown).toEqual(["open", 2, undefined])
    })
  )

  it.effect("is told of when it rejects, but of one key in a millisecond at most", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(make())
      yield* fail(breaker, "a", "b", "c")
      yield* succeed(breaker, "d")
      yield* Effect.exit(breaker.execute("a")(answer))
      events.length = 0
      yield* TestClock.adjust(1)
      yield* Effect.forEach(["b", "a", "b", "c"], (key) => Effect.exit(breaker.execute(key)(answer)))
      expect(events).toEqual([
        { _tag: "CallRejected", policy: "billing", key: "b", atMillis: 1, reason: "CircuitOpen" }
      ])
      expect((yield* breaker.snapshot).counts.rejected).toBe(5)
    })
  )

  it.effect(
    "says for how long it rejects in its present state, though it was another in this millisecond",
    () =>
      Effect.gen(function* () {
        const breaker = yield* make()
        const retryAfter = Effect.map(Effect.flip(breaker.execute("a")(answer)), (error) => error.retryAfter)
        yield* fail(breaker, "a")
        yield* TestClock.adjust("1 second")
        const end = yield* Deferred.make<string, string>()
        const probe = yield* start(breaker.execute("a"), end)
        expect(yield* retryAfter).toBeUndefined()
        yield* Deferred.fail(end, "refused")
        yield* Fiber.await(probe)
        expect(yield* retryAfter).toEqual(Duration.seconds(1))
      })
  )

  it.effect("may be classified by itself, and by the call", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ classify: () => Outcome.ignored })
      yield* fail(breaker, "a")
      expect(yield* stateOf(breaker, "a")).toBe("closed")
      const empty: Effect.Effect<ReadonlyArray<string>> = Effect.succeed([])
      yield* empty.pipe(
        CircuitBreaker.withKey(breaker, "a", {
          classify: (exit) =>
            exit._tag === "Success" && exit.value.length === 0 ? Outcome.failure() : Outcome.success
        })
      )
      expect(yield* stateOf(breaker, "a")).toBe("open")
      yield* CircuitBreaker.withKey(refused, breaker, "b").pipe(Effect.exit)
      expect(yield* stateOf(breaker, "b")).toBe("closed")
      yield* breaker.executeWith("b", refused, () => Outcome.failure()).pipe(Effect.exit)
      expect(yield* stateOf(breaker, "b")).toBe("open")
    })
  )

  it.effect("is told of by the stream of transitions until the scope closes", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const breaker = yield* make().pipe(Scope.provide(scope))
      const heard = yield* breaker.transitions.pipe(
        Stream.map(({ _tag, key }) => `${_tag} ${key}`),
        Stream.runCollect,
        Effect.forkChild({ startImmediately: true })
      )
      yield* fail(breaker, "a", "b")
      yield* breaker.reset("b")
      yield* breaker.reset("c")
      yield* Scope.close(scope, Exit.void)
      expect(yield* Fiber.join(heard)).toEqual(["CircuitOpened a", "CircuitOpened b", "CircuitReset b"])
    })
  )

  it.effect("appears in no line of the log", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ fiber, message }) => {
        lines.push(JSON.stringify([message, Object.entries(fiber.getRef(References.CurrentLogAnnotations))]))
      })
      yield* Effect.gen(function* () {
        const breaker = yield* make()
        yield* fail(breaker, "secret-tenant", "secret-tenant")
        yield* breaker.override("secret-tenant", "open", { reason: "test", ttl: "1 second" })
        yield* TestClock.adjust("1 second")
        yield* succeed(breaker, "secret-tenant")
        yield* breaker.reset("secret-tenant")
      }).pipe(Effect.provide(Logger.layer([logger])))
      expect(lines.length).toBeGreaterThanOrEqual(6)
      expect(lines.filter((line) => line.includes("secret-tenant"))).toEqual([])
    })
  )
})

describe("the snapshot", () => {
  it.effect("adds the circuits of all keys up, and names some that are open", () =>
    Effect.gen(function* () {
      const breaker = yield* make()
      yield* succeed(breaker, "a", "b", "c")
      yield* fail(breaker, "half")
      yield* TestClock.adjust("1 second")
      yield* fail(breaker, ...Array.from({ length: 25 }, (_, index) => `open ${index}`))
      yield* Effect.exit(breaker.execute("open 7")(answer))
      yield* breaker
        .execute("open 8")(answer)
        .pipe(breaker.orElse(() => answer))
      expect(yield* breaker.snapshot).toEqual({
        name: "billing",
        enabled: true,
        keys: 29,
        closed: 3,
        open: 25,
        halfOpen: 1,
        openKeys: Array.from({ length: 20 }, (_, index) => `open ${index}`),
        evicted: 0,
        untracked: 0,
        counts: { total: 31, successful: 3, failed: 26, ignored: 0, rejected: 2, fallback: 1 },
        lastFailureAtMillis: 1000
      })
    })
  )

  it.effect("is one circuit to health: open when all are, half-open when some are not closed", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ openDuration: "10 seconds" })
      const shown = Effect.map(circuits, ([circuit]) => circuit && [circuit.state, circuit.failuresInARow])
      expect(yield* shown).toEqual(["closed", 0])
      yield* fail(breaker, "a")
      expect(yield* shown).toEqual(["open", 1])
      yield* TestClock.adjust("1 second")
      yield* fail(breaker, "b")
      expect(yield* circuits).toMatchObject([
        { name: "billing", state: "open", halfOpenIn: Duration.seconds(9), counts: { failed: 2, total: 2 } }
      ])
      yield* succeed(breaker, "c")
      expect(yield* circuits).toMatchObject([{ state: "half_open", halfOpenIn: undefined, rates: [] }])
      yield* TestClock.adjust("10 seconds")
      yield* succeed(breaker, "a", "b")
      expect(yield* shown).toEqual(["closed", 0])
    }).pipe(Effect.provide(Health.layer))
  )
})

describe("a breaker that has no room left", () => {
  it.effect("forgets a circuit that knows nothing, however young", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ maxKeys: 3 })
      yield* fail(breaker, "bad")
      yield* succeed(breaker, "a", "b", "c")
      expect(yield* breaker.snapshot).toMatchObject({ keys: 3, evicted: 1, untracked: 0, open: 1 })
      expect(yield* stateOf(breaker, "bad")).toBe("open")
      expect(yield* breaker.snapshotOf("a")).toBeUndefined()
      expect(yield* breaker.snapshotOf("c")).toMatchObject({ state: "closed" })
    })
  )

  it.effect("prefers it to one that is idle", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ maxKeys: 2, trip: CircuitBreaker.consecutive(3), idle: "1 minute" })
      yield* fail(breaker, "failed")
      yield* succeed(breaker, "blank")
      yield* TestClock.adjust("1 minute")
      yield* succeed(breaker, "new")
      expect(yield* breaker.snapshotOf("blank")).toBeUndefined()
      expect(yield* breaker.snapshotOf("failed")).toMatchObject({ failuresInARow: 1 })
    })
  )

  it.effect("runs the calls of further keys without a circuit as long as nothing may be forgotten", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ maxKeys: 2, trip: CircuitBreaker.consecutive(2), idle: "1 minute" })
      yield* fail(breaker, "a", "b")
      expect(yield* Effect.replicateEffect(fail(breaker, "c"), 5)).toEqual(
        Array.from({ length: 5 }, () => [Exit.fail("refused")])
      )
      expect(yield* breaker.snapshotOf("c")).toBeUndefined()
      expect(yield* breaker.snapshot).toMatchObject({
        keys: 2,
        evicted: 0,
        untracked: 5,
        counts: { total: 2 }
      })
      yield* TestClock.adjust(59_999)
      yield* fail(breaker, "c")
      expect(yield* breaker.snapshot).toMatchObject({ untracked: 6 })
      yield* TestClock.adjust(1)
      yield* fail(breaker, "c", "c")
      expect(yield* breaker.snapshot).toMatchObject({ keys: 2, evicted: 1, untracked: 6, open: 1 })
      expect(yield* breaker.snapshotOf("a")).toBeUndefined()
    })
  )

  it.effect("counts the time without calls from the last one", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ maxKeys: 1, trip: CircuitBreaker.consecutive(9), idle: "1 minute" })
      yield* fail(breaker, "a")
      yield* TestClock.adjust("50 seconds")
      yield* fail(breaker, "a")
      yield* TestClock.adjust("59 seconds")
      yield* fail(breaker, "b")
      expect(yield* breaker.snapshot).toMatchObject({ evicted: 0, untracked: 1 })
      yield* TestClock.adjust("1 second")
      yield* fail(breaker, "b")
      expect(yield* breaker.snapshot).toMatchObject({ evicted: 1, untracked: 1 })
    })
  )

  it.effect("forgets no circuit that is open before it is due and has been idle since", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ maxKeys: 1, openDuration: "5 minutes", idle: "1 minute" })
      yield* fail(breaker, "a")
      yield* TestClock.adjust("5 minutes")
      yield* succeed(breaker, "b")
      expect(yield* breaker.snapshotOf("a")).toMatchObject({ state: "half_open" })
      yield* TestClock.adjust("59 seconds")
      yield* succeed(breaker, "b")
      expect(yield* breaker.snapshot).toMatchObject({ evicted: 0, untracked: 2 })
      yield* TestClock.adjust("1 second")
      yield* succeed(breaker, "b")
      expect(yield* breaker.snapshot).toMatchObject({ keys: 1, evicted: 1, untracked: 2 })
    })
  )

  it.effect("forgets no circuit whose probe is under way", () =>
    Effect.gen(function* () {
      const breaker = yield* make({
        maxKeys: 1,
        idle: "1 second",
        halfOpen: { successes: 1, maxWait: "1 minute" }
      })
      yield* fail(breaker, "a")
      yield* TestClock.adjust("1 second")
      const end = yield* Deferred.make<string, string>()
      const probe = yield* start(breaker.execute("a"), end)
      yield* TestClock.adjust("59 seconds")
      yield* succeed(breaker, "b")
      expect(yield* breaker.snapshot).toMatchObject({ evicted: 0, untracked: 1, halfOpen: 1 })
      yield* Deferred.succeed(end, "answer")
      yield* Fiber.join(probe)
      expect(yield* stateOf(breaker, "a")).toBe("closed")
    })
  )

  it.effect("forgets no circuit whose calls are under way, until it is idle", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(make({ maxKeys: 1, idle: "1 minute" }))
      const end = yield* Deferred.make<string, string>()
      const call = yield* start(breaker.execute("a"), end)
      yield* succeed(breaker, "b")
      expect(yield* breaker.snapshot).toMatchObject({ evicted: 0, untracked: 1 })
      yield* TestClock.adjust("1 minute")
      yield* succeed(breaker, "b")
      yield* succeed(breaker, "a")
      expect(yield* breaker.snapshot).toMatchObject({ evicted: 2, untracked: 1 })
      // The call of before settles into nothing, though its key has a circuit again.
      yield* Deferred.fail(end, "late")
      expect(yield* Effect.flip(Fiber.join(call))).toBe("late")
      expect(yield* breaker.snapshotOf("a")).toMatchObject({ state: "closed", failuresInARow: 0 })
      expect(yield* breaker.snapshot).toMatchObject({ open: 0, counts: { failed: 1 } })
      expect(events).toEqual([])
    })
  )

  it.effect("forgets nothing that a person has set, nor a growth, nor a window, before it is idle", () =>
    Effect.gen(function* () {
      const overridden = yield* make({ maxKeys: 1, idle: "1 second" })
      yield* overridden.override("a", "closed", { reason: "test", ttl: "1 minute" })
      yield* TestClock.adjust("59 seconds")
      yield* succeed(overridden, "b")
      expect(yield* overridden.snapshot).toMatchObject({ untracked: 1 })
      yield* TestClock.adjust("1 second")
      yield* succeed(overridden, "b")
      expect(yield* overridden.snapshot).toMatchObject({ untracked: 1, evicted: 1 })

      const grown = yield* make({ maxKeys: 1, openDuration: "10 seconds" })
      yield* fail(grown, "a")
      yield* TestClock.adjust("10 seconds")
      yield* succeed(grown, "a", "b")
      expect(yield* grown.snapshot).toMatchObject({ untracked: 1, closed: 1 })
      yield* TestClock.adjust("10 seconds")
      yield* succeed(grown, "b")
      expect(yield* grown.snapshot).toMatchObject({ untracked: 1, evicted: 1 })

      const window = CircuitBreaker.time("10 seconds")
      const windowed = yield* make({
        maxKeys: 1,
        trip: CircuitBreaker.failureRate({ threshold: 0.5, window })
      })
      yield* succeed(windowed, "a", "b")
      expect(yield* windowed.snapshot).toMatchObject({ untracked: 1 })
      yield* TestClock.adjust("10 seconds")
      yield* succeed(windowed, "b")
      expect(yield* windowed.snapshot).toMatchObject({ untracked: 1, evicted: 1 })
    })
  )

  it.effect("looks at a bounded number of circuits for each call, and at the next ones for the next", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ maxKeys: 40, trip: CircuitBreaker.consecutive(2) })
      yield* fail(breaker, ...Array.from({ length: 39 }, (_, index) => `failed ${index}`))
      yield* succeed(breaker, "blank")
      yield* succeed(breaker, "new")
      expect(yield* breaker.snapshot).toMatchObject({ untracked: 1 })
      yield* succeed(breaker, "new")
      expect(yield* breaker.snapshot).toMatchObject({ untracked: 2 })
      yield* succeed(breaker, "new")
      expect(yield* breaker.snapshot).toMatchObject({ untracked: 2, evicted: 1, keys: 40 })
    })
  )

  it.effect("never has more circuits than it may, and tracks healthy keys without end", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ maxKeys: 100 })
      for (let index = 0; index < 5000; index++) yield* succeed(breaker, `key ${index}`)
      expect(yield* breaker.snapshot).toMatchObject({
        keys: 100,
        evicted: 4900,
        untracked: 0,
        counts: { successful: 5000 }
      })
    })
  )
})

describe("an override of one key", () => {
  it.effect("holds that circuit, and tells of its key", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(make())
      yield* breaker.override("a", "open", { reason: "moved", ttl: "1 minute" })
      expect(reasonOf(yield* Effect.exit(breaker.execute("a")(answer)))?._tag).toBe("CircuitOpen")
      expect(yield* breaker.execute("b")(answer)).toBe("answer")
      expect(yield* breaker.isOpen("a")).toBe(true)
      expect(yield* breaker.snapshot).toMatchObject({ open: 1, closed: 1, openKeys: ["a"] })
      yield* breaker.reset("a")
      expect(yield* breaker.execute("a")(answer)).toBe("answer")
      expect(events).toMatchObject([
        { _tag: "CircuitOverridden", key: "a", mode: "open" },
        { _tag: "CallsRejected", count: 1 },
        { _tag: "CircuitReset", key: "a" }
      ])
    })
  )

  it.effect("gives way at once to a later one", () =>
    Effect.gen(function* () {
      const breaker = yield* make()
      const retryAfter = Effect.map(Effect.flip(breaker.execute("a")(answer)), (error) => error.retryAfter)
      yield* breaker.override("a", "open", { reason: "moved", ttl: "1 minute" })
      expect(yield* retryAfter).toEqual(Duration.minutes(1))
      yield* breaker.override("a", "open", { reason: "still", ttl: "2 minutes" })
      expect(yield* retryAfter).toEqual(Duration.minutes(2))
    })
  )

  it.effect("is refused when there is no room for it", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ maxKeys: 1 })
      yield* fail(breaker, "a")
      const error = yield* Effect.flip(breaker.override("b", "open", { reason: "moved", ttl: "1 minute" }))
      expect(error).toMatchObject({ option: "maxKeys", value: "1" })
    })
  )

  it.effect.each([
    ["override.reason", { reason: "", ttl: "1 minute" }],
    ["override.ttl", { reason: "moved", ttl: 0 }]
  ] as const)("is refused without a proper %s", ([option, given]) =>
    Effect.gen(function* () {
      const breaker = yield* make()
      expect(yield* Effect.flip(breaker.override("a", "open", given))).toMatchObject({ option })
      expect(yield* breaker.snapshot).toMatchObject({ keys: 0 })
    })
  )
})

describe("a probe", () => {
  it.effect("asks for each key that is due, as often as it must, until its circuit closes", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const down = new Set(["b"])
      const breaker = yield* make({
        probe: {
          effect: (key) =>
            Effect.suspend(() => {
              asked.push(key)
              return down.has(key) ? Effect.fail("refused") : Effect.void
            }),
          every: "1 second"
        }
      })
      yield* fail(breaker, "a", "b")
      yield* succeed(breaker, "c")
      yield* TestClock.adjust("3 seconds")
      expect(asked.toSorted()).toEqual(["a", "b", "b", "b"])
      expect(yield* breaker.snapshot).toMatchObject({ closed: 2, open: 1 })
      down.clear()
      yield* TestClock.adjust("1 second")
      expect(yield* breaker.snapshot).toMatchObject({ closed: 3 })
    })
  )

  it.effect("goes on for the only key there may be", () =>
    Effect.gen(function* () {
      let asked = 0
      const breaker = yield* make({
        maxKeys: 1,
        probe: {
          effect: () =>
            Effect.andThen(
              Effect.sync(() => ++asked),
              refused
            ),
          every: "1 second"
        }
      })
      yield* fail(breaker, "a")
      yield* TestClock.adjust("10 seconds")
      expect(asked).toBe(10)
    })
  )

  it.effect("stops with the scope", () =>
    Effect.gen(function* () {
      let asked = 0
      const scope = yield* Scope.make()
      const breaker = yield* make({
        probe: {
          effect: () =>
            Effect.andThen(
              Effect.sync(() => ++asked),
              refused
            ),
          every: "1 second"
        }
      }).pipe(Scope.provide(scope))
      yield* fail(breaker, "a")
      yield* TestClock.adjust("2 seconds")
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 minute")
      expect(asked).toBe(2)
    })
  )
})

class Tenants extends Context.Service<Tenants, CircuitBreaker.KeyedCircuitBreaker>()("test/Tenants") {}

describe("the options", () => {
  it.effect.each([
    ...[0, 1.5, 1_000_001, Number.NaN].map((maxKeys) => [{ maxKeys }, "maxKeys"] as const),
    [{ idle: 0 }, "idle"],
    [{ idle: "25 days" }, "idle"],
    [{ trip: CircuitBreaker.consecutive(0) }, "trip.failures"],
    [{ probe: { effect: () => Effect.void, every: 0 } }, "probe.every"]
  ] as const)("are refused out of their ranges: %j", ([given, option]) =>
    Effect.gen(function* () {
      expect(yield* Effect.flip(make(given))).toMatchObject({
        _tag: "InvalidOption",
        policy: "billing",
        option
      })
    })
  )

  it.effect("may come with a Layer, and from configuration", () =>
    Effect.gen(function* () {
      const overflow = Effect.gen(function* () {
        const breaker = yield* Tenants
        yield* fail(breaker, "a", "b", "c")
        yield* TestClock.adjust("30 seconds")
        yield* fail(breaker, "d")
        const { evicted, untracked } = yield* breaker.snapshot
        return { evicted, untracked }
      })
      const given = { ...brief, trip: CircuitBreaker.consecutive(2), maxKeys: 2, idle: "30 seconds" } as const
      const expected = { evicted: 1, untracked: 1 }
      expect(yield* overflow.pipe(Effect.provide(CircuitBreaker.layerKeyed(Tenants, given)))).toEqual(
        expected
      )
      const provider = ConfigProvider.fromUnknown({ tenants: { failures: 2, maxKeys: "2", idle: 30 } })
      const configured = CircuitBreaker.layerKeyedConfig(Tenants, "billing", "tenants").pipe(
        Layer.provide(ConfigProvider.layer(provider))
      )
      expect(yield* overflow.pipe(Effect.provide(configured))).toEqual(expected)
      const decode = Schema.decodeUnknownEffect(CircuitBreaker.KeyedConfigSchema)
      const error = yield* Effect.flip(decode({ slowCallRate: 0.5, windowCalls: 10 }))
      expect(String(error)).toContain("slowCallRate needs slowerThan")
    })
  )

  it.effect("may switch it off", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ enabled: false })
      expect(breaker.execute("a")(answer)).toBe(answer)
      expect(breaker.executeWith("a", answer, () => Outcome.failure())).toBe(answer)
      yield* fail(breaker, "a", "a")
      expect(yield* breaker.snapshot).toMatchObject({ enabled: false, keys: 0, counts: { total: 0 } })
      expect(yield* breaker.snapshotOf("a")).toBeUndefined()
      expect(yield* breaker.isOpen("a")).toBe(false)
      expect(yield* Stream.runCollect(breaker.transitions)).toEqual([])
      expect(
        yield* Effect.flip(breaker.override("a", "open", { reason: "test", ttl: "1 minute" }))
      ).toMatchObject({ option: "enabled" })
      yield* breaker.reset("a")
      expect(yield* Effect.flip(refused.pipe(breaker.orElse(() => answer)))).toBe("refused")
      expect(yield* circuits).toMatchObject([{ name: "billing", enabled: false, state: "closed" }])
    }).pipe(Effect.provide(Health.layer))
  )
})

describe("wherever a call is interrupted", () => {
  const calls = {
    succeeds: Effect.andThen(Effect.sleep("10 millis"), answer),
    fails: Effect.andThen(Effect.sleep("10 millis"), refused)
  }

  it.each(["closed", "open", "due", "full"] as const)("nothing leaks: %s", (state) => {
    for (const call of Object.values(calls)) {
      const exits: Array<boolean> = []
      const interrupted = interruptEverywhere((world) => {
        const scope = world.value(Scope.make())
        const breaker = world.value(make({ maxKeys: 2, idle: "1 hour" }).pipe(Scope.provide(scope)))
        world.run(breaker.execute("other")(refused))
        if (state !== "closed") world.run(breaker.execute("a")(refused))
        if (state === "due") world.clock.nowMillis += 1000
        return {
          program: breaker.execute(state === "full" ? "new" : "a")(call),
          verify: (exit) => {
            exits.push(Exit.hasInterrupts(exit))
            expect(world.isIdle).toBe(true)
            const { counts, keys } = world.value(breaker.snapshot)
            expect(keys).toBeLessThanOrEqual(2)
            const { failed, ignored, rejected, successful } = counts
            expect(counts.total).toBe(successful + failed + ignored + rejected)
            world.clock.nowMillis += 1000
            expect(Exit.isSuccess(world.run(breaker.execute("a")(answer)))).toBe(true)
            expect(world.value(breaker.snapshotOf("a"))).toMatchObject({ state: "closed" })
          }
        }
      })
      expect(interrupted).toBeGreaterThan(1)
      expect([exits[0], exits.at(-1)]).toEqual([true, false])
    }
  })

  it("no key takes the place of one whose call is about to begin", () => {
    const world = new World()
    const scope = world.value(Scope.make())
    const breaker = world.value(make({ maxKeys: 1 }).pipe(Scope.provide(scope)))
    const both = ["a", "b"].map((key) => Effect.exit(breaker.execute(key)(calls.fails)))
    world.interruptAt(Effect.all(both, { concurrency: 2 }), Number.POSITIVE_INFINITY)
    expect(world.value(breaker.snapshot)).toMatchObject({ keys: 1, evicted: 0, untracked: 1, open: 1 })
  })

  it("a circuit whose call was interrupted makes room once it is idle, at the latest", () => {
    interruptEverywhere((world) => {
      const scope = world.value(Scope.make())
      const breaker = world.value(make({ maxKeys: 1, idle: "1 minute" }).pipe(Scope.provide(scope)))
      return {
        program: breaker.execute("a")(calls.succeeds),
        verify: () => {
          world.clock.nowMillis += 61_000
          world.run(breaker.execute("b")(answer))
          expect(world.value(breaker.snapshot)).toMatchObject({ keys: 1, untracked: 0 })
          expect(world.value(breaker.snapshotOf("b"))).toBeDefined()
        }
      }
    })
  })

  it("a probe leaves its circuit able to close", () => {
    const interrupted = interruptEverywhere((world) => {
      const scope = world.value(Scope.make())
      const probe = { effect: () => Effect.sleep("10 millis"), every: "1 second" } as const
      const breaker = world.value(make({ probe }).pipe(Scope.provide(scope)))
      return {
        program: Effect.andThen(Effect.exit(breaker.execute("a")(refused)), Effect.sleep("3 seconds")).pipe(
          Effect.ensuring(Scope.close(scope, Exit.void))
        ),
        verify: () => {
          expect(world.isIdle).toBe(true)
          world.clock.nowMillis += 1000
          expect(Exit.isSuccess(world.run(breaker.execute("a")(answer)))).toBe(true)
          expect(world.value(breaker.snapshotOf("a"))).toMatchObject({ state: "closed" })
        }
      }
    })
    expect(interrupted).toBeGreaterThan(20)
  })
})
