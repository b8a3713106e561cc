/** Effect's own services, made degradable. */
import { describe, expect, it } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Layer, Option, PrimaryKey, Schedule, Schema, Scope } from "effect"
import {
  CircuitBreaker as EffectBreaker,
  KeyValueStore,
  Persistable,
  Persistence,
  RateLimiter
} from "effect/persistence"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Degradable, ServiceUnavailable, UnavailableReason } from "failsoft"

const notConnected = new ServiceUnavailable({ service: "redis", reason: UnavailableReason.NotConnected() })

/** A Layer that cannot be built for the first two times. */
const late = <I, E, R>(layer: Layer.Layer<I, E, R>) => {
  let attempts = 0
  return Layer.unwrap(
    Effect.suspend(() => (attempts++ < 2 ? Effect.fail(notConnected) : Effect.succeed(layer)))
  )
}

const everySecond = { recovery: Schedule.spaced("1 second") }

/** Opens at the first failure, for a second, and closes at the first successful probe. */
const breaker = {
  trip: CircuitBreaker.consecutive(1),
  openDuration: "1 second",
  halfOpen: { successes: 1 }
} as const

describe("RateLimiterStore", () => {
  const { RateLimiterStore, layerStoreMemory } = RateLimiter

  it.effect("counts in process until its primary is there, and on the primary from then on", () =>
    Effect.gen(function* () {
      const store = Degradable.layer(RateLimiterStore, {
        name: "rate-limit-store",
        primary: late(Layer.fresh(layerStoreMemory)),
        degraded: layerStoreMemory,
        ...everySecond
      })
      const limiter = Context.get(
        yield* Layer.build(RateLimiter.layer.pipe(Layer.provide(store))),
        RateLimiter.RateLimiter
      )
      const consume = limiter.consume({ key: "Ada", limit: 2, window: "1 hour", onExceeded: "fail" })
      const remaining = Effect.map(consume, (result) => result.remaining)
      expect([yield* remaining, yield* remaining]).toEqual([1, 0])
      expect((yield* Effect.flip(consume)).reason._tag).toBe("RateLimitExceeded")
      yield* TestClock.adjust("2 seconds")
      // The primary knows nothing of what was counted without it.
      expect([yield* remaining, yield* remaining]).toEqual([1, 0])
      expect((yield* Effect.flip(consume)).reason._tag).toBe("RateLimitExceeded")
    })
  )

  it.effect("counts in process while its primary fails", () =>
    Effect.gen(function* () {
      const server = { isUp: true }
      const memory = Context.get(yield* Layer.build(layerStoreMemory), RateLimiterStore)
      const lost = new RateLimiter.RateLimiterError({
        reason: new RateLimiter.RateLimitStoreError({ message: "connection lost" })
      })
      const whileUp = <A, E>(call: Effect.Effect<A, E>) =>
        Effect.suspend(
          (): Effect.Effect<A, E | RateLimiter.RateLimiterError> => (server.isUp ? call : Effect.fail(lost))
        )
      const store = Degradable.layer(RateLimiterStore, {
        name: "rate-limit-store",
        primary: Layer.succeed(RateLimiterStore, {
          ...memory,
          fixedWindow: (options) => whileUp(memory.fixedWindow(options))
        }),
        degraded: Layer.fresh(layerStoreMemory),
        isUnavailable: (error) => error === lost,
        failover: (error) => error === lost,
        breaker
      })
      const { fixedWindow } = Context.get(yield* Layer.build(store), RateLimiterStore)
      const take = Effect.map(
        fixedWindow({ key: "Ada", tokens: 1, refillRate: Duration.hours(1), limit: 10 }),
        ([count]) => count
      )
      expect([yield* take, yield* take]).toEqual([1, 2])
      server.isUp = false
      expect([yield* take, yield* take]).toEqual([1, 2])
      server.isUp = true
      expect(yield* take).toBe(3)
      yield* TestClock.adjust("1 second")
      expect([yield* take, yield* take]).toEqual([3, 4])
    })
  )
})

describe("KeyValueStore", () => {
  it.effect("is one, and what is made from it is switched as well", () =>
    Effect.gen(function* () {
      const layer = Degradable.layer(KeyValueStore.KeyValueStore, {
        name: "store",
        primary: late(Layer.fresh(KeyValueStore.layerMemory)),
        degraded: KeyValueStore.layerMemory,
        ...everySecond
      })
      const degraded = Context.get(yield* Layer.build(KeyValueStore.layerMemory), KeyValueStore.KeyValueStore)
      const store = Context.get(yield* Layer.build(layer), KeyValueStore.KeyValueStore)
      expect(Reflect.ownKeys(store)).toEqual(Reflect.ownKeys(degraded))
      expect(store).toMatchObject({
        "~effect/persistence/KeyValueStore": "~effect/persistence/KeyValueStore"
      })

      const users = KeyValueStore.toSchemaStore(
        KeyValueStore.prefix(store, "user/"),
        Schema.Struct({ name: Schema.String })
      )
      yield* users.set("1", { name: "Ada" })
      expect([yield* store.get("user/1"), yield* store.size, yield* store.isEmpty]).toEqual([
        '{"name":"Ada"}',
        1,
        false
      ])
      yield* TestClock.adjust("2 seconds")
      expect([yield* store.get("user/1"), yield* store.size, yield* store.isEmpty]).toEqual([
        undefined,
        0,
        true
      ])
      yield* users.set("2", { name: "Grace" })
      yield* store.modify("user/2", (text) => text.replace("Grace", "Grace Hopper"))
      expect(yield* users.get("2")).toEqual(Option.some({ name: "Grace Hopper" }))
      expect(yield* store.keys).toEqual(["user/2"])
    })
  )
})

/** Every method of a store looks for the store anew, on the side that serves. */
const guardedMake =
  (
    from: Degradable.Switch<Persistence.BackingPersistence["Service"]>
  ): Persistence.BackingPersistence["Service"]["make"] =>
  (storeId) => {
    const on = <A, E>(f: (store: Persistence.BackingPersistenceStore) => Effect.Effect<A, E>) =>
      from.run((backing) => Effect.scoped(Effect.flatMap(backing.make(storeId), f)))
    return Effect.succeed({
      get: (key) => on((store) => store.get(key)),
      getMany: (keys) => on((store) => store.getMany(keys)),
      set: (key, value, ttl) => on((store) => store.set(key, value, ttl)),
      setMany: (entries) => on((store) => store.setMany(entries)),
      remove: (key) => on((store) => store.remove(key)),
      clear: on((store) => store.clear)
    })
  }

describe("BackingPersistence", () => {
  class Balance extends Persistable.Class<{ payload: { user: string } }>()("Balance", {
    primaryKey: ({ user }) => user,
    success: Schema.Number,
    error: Schema.String
  }) {}

  it.effect("switches a store that was made while it was degraded", () =>
    Effect.gen(function* () {
      const server = { isUp: true }
      const memory = Context.get(
        yield* Layer.build(Layer.fresh(Persistence.layerBackingMemory)),
        Persistence.BackingPersistence
      )
      const failure = new Persistence.PersistenceError({ message: "connection lost" })
      const backing = Layer.succeed(Persistence.BackingPersistence, {
        make: (storeId) =>
          Effect.map(memory.make(storeId), (store) => ({
            ...store,
            get: (key) => Effect.suspend(() => (server.isUp ? store.get(key) : Effect.fail(failure)))
          }))
      })
      const layer = Degradable.layer(Persistence.BackingPersistence, {
        name: "cache",
        primary: late(backing),
        degraded: Persistence.layerBackingMemory,
        guard: { make: guardedMake },
        isUnavailable: (error) => error instanceof Persistence.PersistenceError,
        breaker,
        ...everySecond
      })
      const persistence = Context.get(
        yield* Layer.build(Persistence.layer.pipe(Layer.provide(layer))),
        Persistence.Persistence
      )
      const store = yield* persistence.make({ storeId: "balances" })
      const ada = new Balance({ user: "Ada" })
      expect(PrimaryKey.value(ada)).toContain("Ada")

      yield* store.set(ada, Exit.succeed(1))
      expect(yield* store.get(ada)).toEqual(Exit.succeed(1))
      yield* TestClock.adjust("2 seconds")
      expect(yield* store.get(ada)).toBeUndefined()
      yield* store.set(ada, Exit.succeed(2))
      expect(yield* store.get(ada)).toEqual(Exit.succeed(2))

      server.isUp = false
      expect(yield* Effect.flip(store.get(ada))).toBe(failure)
      expect(yield* store.get(ada)).toEqual(Exit.succeed(1))
      server.isUp = true
      yield* TestClock.adjust("1 second")
      expect(yield* store.get(ada)).toEqual(Exit.succeed(2))
    })
  )
})

describe("CircuitBreakerStore", () => {
  type Store = EffectBreaker.CircuitBreakerStore["Service"]

  /**
   * An admission that the degraded side gave is settled there, and one of the primary's nowhere else. The sign of its
   * generation says whose it is.
   */
  const guard = {
    admit:
      (from: Degradable.Switch<Store>): Store["admit"] =>
      (key) =>
        from.run((store) =>
          Effect.map(store.admit(key), (admission) =>
            store === from.degraded ? { ...admission, generation: -1 - admission.generation } : admission
          )
        ),
    record:
      (from: Degradable.Switch<Store>): Store["record"] =>
      (call) =>
        call.generation < 0
          ? from.degraded.record({ ...call, generation: -1 - call.generation })
          : from.run((store) => (store === from.degraded ? Effect.undefined : store.record(call)))
  }

  it.effect("settles what one side admitted on that side", () =>
    Effect.gen(function* () {
      const memory = Layer.fresh(EffectBreaker.layerStoreMemory())
      const sides = [yield* Layer.build(memory), yield* Layer.build(memory)].map((context) =>
        Context.get(context, EffectBreaker.CircuitBreakerStore)
      )
      const [live, plain] = sides
      if (live === undefined || plain === undefined) return yield* Effect.die("two sides")
      const layer = Degradable.layer(EffectBreaker.CircuitBreakerStore, {
        name: "circuits",
        primary: late(Layer.succeed(EffectBreaker.CircuitBreakerStore, live)),
        degraded: Layer.succeed(EffectBreaker.CircuitBreakerStore, plain),
        guard,
        ...everySecond
      })
      const store = Context.get(yield* Layer.build(layer), EffectBreaker.CircuitBreakerStore)
      const fail = (generation: number) =>
        store.record({
          key: "billing",
          generation,
          outcome: "Failure",
          tripPolicy: { _tag: "Consecutive", failures: 1 },
          openFor: Duration.hours(1)
        })
      const states = Effect.all([live.state("billing"), plain.state("billing")]).pipe(
        Effect.map((all) => all.map(({ _tag }) => _tag))
      )
      const early = yield* Effect.scoped(store.admit("billing"))
      yield* TestClock.adjust("2 seconds")
      // Both sides gave the same number, and know different circuits by it.
      const later = yield* Effect.scoped(store.admit("billing"))
      yield* fail(early.generation)
      expect(yield* states).toEqual(["Closed", "Open"])
      yield* fail(later.generation)
      expect(yield* states).toEqual(["Open", "Open"])
      expect(yield* store.state("billing")).toMatchObject({ _tag: "Open" })
    })
  )

  it.effect("serves Effect's own circuit breaker on either side", () =>
    Effect.gen(function* () {
      const layer = Degradable.layer(EffectBreaker.CircuitBreakerStore, {
        name: "circuits",
        primary: late(Layer.fresh(EffectBreaker.layerStoreMemory())),
        degraded: EffectBreaker.layerStoreMemory(),
        guard,
        ...everySecond
      })
      const context = yield* Layer.build(layer)
      const scope = yield* Scope.make()
      const effects = yield* EffectBreaker.make({
        tripPolicy: { _tag: "Consecutive", failures: 1 },
        openDuration: "1 hour"
      }).pipe(Effect.provide(context), Effect.provideService(Scope.Scope, scope))
      const call = Effect.fail("refused").pipe(effects.execute({ key: "billing" }))
      const answers = Effect.map(Effect.all([Effect.flip(call), Effect.flip(call)]), (errors) =>
        errors.map((error) => (typeof error === "string" ? error : error.reason._tag))
      )
      expect(yield* answers).toEqual(["refused", "CircuitOpen"])
      yield* TestClock.adjust("2 seconds")
      expect(yield* answers).toEqual(["refused", "CircuitOpen"])
      yield* Scope.close(scope, Exit.void)
    })
  )
})
