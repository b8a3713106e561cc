/** What stages publish that stand alone: circuits, retries, and Layers that fall back. */
import { describe, expect, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Ref } from "effect"
import { TestClock } from "effect/testing"
import {
  CircuitBreaker,
  Degradable,
  Fallback,
  Health,
  Policy,
  Retry,
  ServiceUnavailable,
  UnavailableReason
} from "failsoft"
import { inTime } from "./calls.ts"
import { counted, numbers, scrape, withRegistry } from "./metrics.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

/** The state that is published, if it is one. */
const stateOf = Effect.map(numbers, (all) =>
  Object.entries(all).flatMap(([key, value]) =>
    value === 0 ? [] : (/^breaker_state\{policy=billing,state=(\w+)\}$/.exec(key)?.[1] ?? [])
  )
)

const transitions = Effect.map(counted, (all) =>
  Object.entries(all).flatMap(([key, value]) => {
    const [, from, to] = /^breaker_transitions_total\{policy=billing,from=(\w+),to=(\w+)\}$/.exec(key) ?? []
    return from === undefined ? [] : [`${from} ${to} ${value}`]
  })
)

describe("a circuit breaker that stands alone", () => {
  it.effect("counts its calls by outcome, and the rejections that orElse answered", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing", trip: CircuitBreaker.consecutive(2) })
      const call = (effect: Effect.Effect<string, string>) => Effect.exit(effect.pipe(breaker.execute))
      yield* call(answer)
      yield* call(refused)
      yield* call(Effect.interrupt)
      yield* call(refused)
      yield* call(answer)
      yield* answer.pipe(
        breaker.execute,
        breaker.orElse(() => answer)
      )
      expect(yield* counted).toEqual({
        "calls_total{policy=billing,outcome=success}": 1,
        "calls_total{policy=billing,outcome=failure}": 2,
        "calls_total{policy=billing,outcome=ignored}": 1,
        "calls_total{policy=billing,outcome=rejected}": 2,
        "calls_total{policy=billing,outcome=fallback}": 1,
        "fallbacks_total{policy=billing,source=fallback}": 1,
        "rejections_total{policy=billing,reason=CircuitOpen}": 2,
        "breaker_state{policy=billing,state=open}": 1,
        "breaker_transitions_total{policy=billing,from=closed,to=open}": 1
      })
    }).pipe(withRegistry)
  )

  it.effect("publishes the state that a call would find, which is half-open once it is due", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "30 seconds",
        halfOpen: { successes: 1 }
      })
      const call = (effect: Effect.Effect<string, string>) => Effect.exit(effect.pipe(breaker.execute))
      expect(yield* stateOf).toEqual(["closed"])
      yield* call(refused)
      expect(yield* stateOf).toEqual(["open"])
      yield* TestClock.adjust("29999 millis")
      expect(yield* stateOf).toEqual(["open"])
      yield* TestClock.adjust("1 millis")
      expect(yield* stateOf).toEqual(["half_open"])
      // That is what the clock says; nothing has changed yet.
      expect(yield* transitions).toEqual(["closed open 1"])
      yield* call(refused)
      expect(yield* transitions).toEqual(["closed open 1", "open half_open 1", "half_open open 1"])
      yield* TestClock.adjust("30 seconds")
      yield* call(answer)
      expect(yield* stateOf).toEqual(["closed"])
      expect(yield* transitions).toEqual([
        "closed open 1",
        "open half_open 2",
        "half_open open 1",
        "half_open closed 1"
      ])
    }).pipe(withRegistry)
  )

  it.effect("counts a reset as a change, where it changes anything", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "30 seconds"
      })
      yield* breaker.reset
      expect(yield* transitions).toEqual([])
      yield* Effect.exit(refused.pipe(breaker.execute))
      yield* breaker.reset
      expect(yield* transitions).toEqual(["closed open 1", "open closed 1"])
      yield* Effect.exit(refused.pipe(breaker.execute))
      yield* TestClock.adjust("30 seconds")
      // Due, but nobody came: the circuit is still the open one.
      yield* breaker.reset
      expect(yield* transitions).toEqual(["closed open 2", "open closed 2"])
      yield* Effect.exit(refused.pipe(breaker.execute))
      yield* TestClock.adjust("30 seconds")
      yield* answer.pipe(breaker.execute)
      yield* breaker.reset
      expect(yield* transitions).toEqual([
        "closed open 3",
        "open half_open 1",
        "half_open closed 1",
        "open closed 2"
      ])
      expect(yield* stateOf).toEqual(["closed"])
    }).pipe(withRegistry)
  )

  it.effect("publishes what a person has set for as long as that is in force", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing", trip: CircuitBreaker.consecutive(1) })
      const set = (mode: "open" | "closed" | "observe") =>
        breaker.override(mode, { reason: "a drill", ttl: "10 seconds" })
      const seen = Effect.all([
        stateOf,
        Effect.map(numbers, (all) => all["overrides_active{policy=billing}"])
      ])
      expect(yield* seen).toEqual([["closed"], 0])
      yield* set("open")
      expect(yield* seen).toEqual([["open"], 1])
      yield* TestClock.adjust("10 seconds")
      expect(yield* seen).toEqual([["closed"], 0])
      yield* Effect.exit(refused.pipe(breaker.execute))
      expect(yield* seen).toEqual([["open"], 0])
      yield* set("closed")
      expect(yield* seen).toEqual([["closed"], 1])
      // Observed, the rules have it open; calls run all the same.
      yield* set("observe")
      expect(yield* seen).toEqual([["closed"], 1])
      expect(yield* answer.pipe(breaker.execute)).toBe("answer")
      expect((yield* breaker.snapshot).state).toBe("open")
      yield* TestClock.adjust("10 seconds")
      expect(yield* seen).toEqual([["open"], 0])
    }).pipe(withRegistry)
  )

  it.effect("publishes nothing when it is switched off", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing", enabled: false })
      yield* answer.pipe(breaker.execute)
      expect(yield* scrape).toEqual([])
    }).pipe(withRegistry)
  )
})

describe("a retry that stands alone", () => {
  const steady = Retry.exponential({ base: "1 second", jitter: "none" })

  it.effect("counts first attempts and later ones, each when it begins", () =>
    Effect.gen(function* () {
      const retry = yield* Retry.make({ name: "billing", attempts: 3, schedule: steady })
      const call = refused.pipe(retry.execute)
      expect(yield* counted).toEqual({})
      const fiber = yield* Effect.forkChild(Effect.exit(call), { startImmediately: true })
      expect(yield* counted).toEqual({ "attempts_total{policy=billing,kind=first}": 1 })
      yield* TestClock.adjust("999 millis")
      expect(yield* counted).toEqual({ "attempts_total{policy=billing,kind=first}": 1 })
      yield* TestClock.adjust("1 millis")
      expect(yield* counted).toEqual({
        "attempts_total{policy=billing,kind=first}": 1,
        "attempts_total{policy=billing,kind=retry}": 1
      })
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      // The same effect again is another call.
      yield* inTime(call)
      yield* answer.pipe(retry.execute)
      expect(yield* counted).toEqual({
        "attempts_total{policy=billing,kind=first}": 3,
        "attempts_total{policy=billing,kind=retry}": 4
      })
    }).pipe(withRegistry)
  )

  it.effect("publishes nothing when it is switched off", () =>
    Effect.gen(function* () {
      const retry = yield* Retry.make({ name: "billing", enabled: false })
      yield* answer.pipe(retry.execute)
      expect(yield* scrape).toEqual([])
    }).pipe(withRegistry)
  )
})

class Store extends Context.Service<
  Store,
  { readonly read: Effect.Effect<string, string | ServiceUnavailable> }
>()("test/Store") {}

describe("a fallback", () => {
  it.effect("counts its answers by their source", () =>
    Effect.gen(function* () {
      const sources = ["stale", "fallback", "local", "fallback"] as const
      let asked = 0
      const fallback = yield* Fallback.make({
        name: "billing",
        answer: () => Effect.succeed({ value: 1, source: sources[asked++ % 4] ?? "live" })
      })
      const away = Effect.fail(
        new ServiceUnavailable({ service: "billing", reason: UnavailableReason.NotConnected() })
      )
      for (const _ of sources) yield* away.pipe(fallback.execute)
      yield* answer.pipe(fallback.execute)
      expect(yield* counted).toEqual({
        "fallbacks_total{policy=billing,source=stale}": 1,
        "fallbacks_total{policy=billing,source=local}": 1,
        "fallbacks_total{policy=billing,source=fallback}": 2
      })
    }).pipe(withRegistry)
  )
})

describe("a Layer that falls back", () => {
  it.effect("says whether it is degraded, and counts what its degraded side answers", () =>
    Effect.gen(function* () {
      const isUp = yield* Deferred.make<void>()
      const says = yield* Ref.make<Effect.Effect<string, string | ServiceUnavailable>>(answer)
      const away = Effect.fail(
        new ServiceUnavailable({ service: "store", reason: UnavailableReason.NotConnected() })
      )
      const context = yield* Layer.build(
        Degradable.layer(Store, {
          name: "store",
          primary: Layer.effect(
            Store,
            Effect.as(Deferred.await(isUp), { read: Effect.flatten(Ref.get(says)) })
          ),
          degraded: Layer.succeed(Store, { read: Effect.succeed("degraded") }),
          startup: { mode: "background" },
          breaker: {
            trip: CircuitBreaker.consecutive(2),
            openDuration: "30 seconds",
            halfOpen: { successes: 1 }
          },
          failover: (error) => error === "failover"
        })
      )
      const { read } = Context.get(context, Store)
      const isDegraded = Effect.map(numbers, (all) => all["degraded{layer=store}"])

      expect(yield* isDegraded).toBe(1)
      expect(yield* read).toBe("degraded")
      yield* Deferred.succeed(isUp, undefined)
      yield* TestClock.adjust(0)
      expect(yield* isDegraded).toBe(0)
      expect(yield* read).toBe("answer")
      // Sent, and answered by the other side after all.
      yield* Ref.set(says, Effect.fail("failover"))
      expect(yield* read).toBe("degraded")
      yield* Ref.set(says, away)
      yield* Effect.exit(read)
      yield* Effect.exit(read)
      expect(yield* isDegraded).toBe(1)
      expect(yield* read).toBe("degraded")
      yield* TestClock.adjust("30 seconds")
      expect(yield* isDegraded).toBe(1)
      yield* Ref.set(says, answer)
      expect(yield* read).toBe("answer")
      expect(yield* counted).toEqual({
        "fallbacks_total{policy=store,source=local}": 3,
        "calls_total{policy=store,outcome=success}": 3,
        "calls_total{policy=store,outcome=failure}": 2,
        "calls_total{policy=store,outcome=rejected}": 1,
        "calls_total{policy=store,outcome=fallback}": 1,
        "rejections_total{policy=store,reason=CircuitOpen}": 1,
        "breaker_state{policy=store,state=closed}": 1,
        "breaker_transitions_total{policy=store,from=closed,to=open}": 1,
        "breaker_transitions_total{policy=store,from=open,to=half_open}": 1,
        "breaker_transitions_total{policy=store,from=half_open,to=closed}": 1
      })
    }).pipe(withRegistry)
  )

  it.effect("leaves to policies within it what they count", () =>
    Effect.gen(function* () {
      class Inner extends Context.Service<Inner, { readonly policy: Policy.Policy }>()("test/Inner") {}
      const context = yield* Layer.build(
        Degradable.layer(Store, {
          name: "store",
          primary: Layer.effect(
            Store,
            Effect.map(Inner, ({ policy }) => ({
              read: Effect.fail("x").pipe(
                policy.execute,
                policy.orElse(() => answer)
              )
            }))
          ).pipe(
            Layer.provide(
              Layer.effect(
                Inner,
                Effect.map(Policy.make("inner", {}), (policy) => ({ policy }))
              )
            )
          ),
          degraded: Layer.succeed(Store, { read: Effect.succeed("degraded") })
        })
      )
      yield* Effect.exit(Context.get(context, Store).read)
      expect(yield* counted).toMatchObject({ "calls_total{policy=inner,outcome=failure}": 1 })
      expect((yield* scrape).map(({ labels, name }) => [name, labels.policy])).toContainEqual([
        "failsoft_fallbacks_total",
        "inner"
      ])
    }).pipe(withRegistry, Effect.provide(Health.layer))
  )
})
