import { describe, expect, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Logger, Scope, Stream } from "effect"
import { CircuitBreaker as EffectBreaker } from "effect/persistence"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Outcome } from "failsoft"
import * as ToEffect from "failsoft/interop/toEffect"
import fc from "fast-check"
import { interruptEverywhere } from "../interruption.ts"
import { type Implementation, suite } from "./contract.ts"
import { effects, ours } from "./implementations.ts"

describe("Effect's own breaker in memory", () => {
  suite(effects)
})

describe("a keyed breaker as Effect's", () => {
  suite(ours)
})

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

const keyed = (given?: Partial<CircuitBreaker.KeyedOptions>) =>
  CircuitBreaker.makeKeyed({
    name: "providers",
    trip: CircuitBreaker.consecutive(1),
    openDuration: "10 seconds",
    halfOpen: { successes: 1 },
    ...given
  })

const made = (given?: Partial<CircuitBreaker.KeyedOptions>) =>
  Effect.map(keyed(given), (breaker) => ({ breaker, effect: ToEffect.toEffect(breaker) }))

type Step =
  | { readonly do: "call" | "start"; readonly key: string; readonly ends: "success" | "failure" | "ignored" }
  | { readonly do: "end"; readonly which: number }
  | { readonly do: "wait"; readonly seconds: number }

const key = fc.constantFrom("a", "b")

const steps: fc.Arbitrary<ReadonlyArray<Step>> = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constantFrom("call", "start"),
        key,
        ends: fc.constantFrom("success", "failure", "failure", "ignored")
      })
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("end"), which: fc.nat(5) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("wait"), seconds: fc.constantFrom(1, 5, 10, 20) }) }
  ),
  { minLength: 20, maxLength: 60 }
)

const outcomes = {
  success: EffectBreaker.success,
  failure: EffectBreaker.failure(),
  ignored: EffectBreaker.ignored
}

/** All that an implementation answers to a history: ends of calls, states, transitions. */
const play = (implementation: Implementation, history: ReadonlyArray<Step>) =>
  Effect.gen(function* () {
    const breaker = yield* EffectBreaker.CircuitBreaker
    const seen: Array<unknown> = []
    const transitions = yield* Effect.forkChild(
      Stream.runForEach(breaker.transitions, (one) => Effect.sync(() => seen.push(one))),
      {
        startImmediately: true
      }
    )
    const running: Array<{
      readonly end: Deferred.Deferred<void>
      readonly fiber: Fiber.Fiber<string, unknown>
    }> = []
    const run = (step: Extract<Step, { readonly key: string }>, before: Effect.Effect<void>) =>
      Effect.andThen(before, step.ends === "failure" ? refused : answer).pipe(
        breaker.execute({ key: step.key, classify: () => Effect.succeed(outcomes[step.ends]) })
      )
    for (const step of history) {
      if (step.do === "wait") yield* TestClock.adjust(Duration.seconds(step.seconds))
      if (step.do === "call") seen.push(yield* Effect.exit(run(step, Effect.void)))
      if (step.do === "start") {
        const end = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkChild(run(step, Deferred.await(end)), { startImmediately: true })
        running.push({ end, fiber })
      }
      if (step.do === "end") {
        const [call] = running.splice(step.which, 1)
        if (call !== undefined) yield* Deferred.succeed(call.end, undefined)
        if (call !== undefined) seen.push(yield* Fiber.await(call.fiber))
      }
      yield* Effect.yieldNow
      seen.push(yield* breaker.state("a"), yield* breaker.state("b"))
    }
    yield* Fiber.interrupt(transitions)
    // Effect forgets a row of openings at the first call after its time, failsoft when that time is over.
    return JSON.stringify(seen, (name, value) => (name === "consecutiveOpenings" ? undefined : value))
  }).pipe(
    Effect.provide(implementation({ failures: 2, openSeconds: 10 })),
    Effect.scoped,
    Effect.provide([TestClock.layer(), Logger.layer([])]),
    Effect.runPromise
  )

it("does what Effect's own does in random histories", { timeout: 60_000 }, async () => {
  let situations = ""
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      const expected = await play(effects, history)
      expect(await play(ours, history)).toBe(expected)
      situations += expected
    }),
    { numRuns: 300 }
  )
  const count = (what: string) => situations.split(what).length - 1
  expect(count('"to":"Open"')).toBeGreaterThan(200)
  expect(count('"to":"Closed"')).toBeGreaterThan(40)
  expect(count('"_tag":"CircuitOpen"')).toBeGreaterThan(100)
  expect(count('"_tag":"CircuitHalfOpen"')).toBeGreaterThan(20)
})

describe("what only ours can do", () => {
  it.effect("takes the slot from a probe whose classification hangs", () =>
    Effect.gen(function* () {
      const { effect } = yield* made({ halfOpen: { successes: 1, maxWait: "30 seconds" } })
      yield* Effect.exit(effect.execute(refused, { key: "a" }))
      yield* TestClock.adjust("10 seconds")
      const hanging = effect.execute(answer, { key: "a", classify: () => Effect.never })
      yield* Effect.forkChild(hanging, { startImmediately: true })
      yield* TestClock.adjust("30 seconds")
      expect(yield* effect.state("a")).toMatchObject({ _tag: "HalfOpen", probing: false })
      expect(yield* effect.execute(answer, { key: "a" })).toBe("answer")
      expect(yield* effect.state("a")).toEqual({ _tag: "Closed", key: "a" })
    })
  )

  it.effect("takes the classification of the breaker for a call that has none", () =>
    Effect.gen(function* () {
      const { effect } = yield* made({
        classify: (exit) => (Exit.isSuccess(exit) ? Outcome.failure() : Outcome.success)
      })
      yield* Effect.exit(effect.execute(refused, { key: "a" }))
      expect((yield* effect.state("a"))._tag).toBe("Closed")
      yield* effect.execute(answer, { key: "a" })
      expect((yield* effect.state("a"))._tag).toBe("Open")
    })
  )

  it.effect("shows what people do to a circuit as its state, and as no transition", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { breaker, effect } = yield* made().pipe(Scope.provide(scope))
      const heard = yield* Effect.forkChild(Stream.runCollect(effect.transitions), { startImmediately: true })
      yield* breaker.override("a", "open", { reason: "moved", ttl: "1 minute" })
      const open = { _tag: "Open", key: "a", retryAfter: Duration.minutes(1), consecutiveOpenings: 0 }
      expect(yield* effect.state("a")).toEqual(open)
      expect(yield* Effect.flip(effect.execute(answer, { key: "a" }))).toMatchObject({
        reason: { _tag: "CircuitOpen", retryAfter: Duration.minutes(1) }
      })
      yield* breaker.reset("a")
      expect(yield* effect.state("a")).toEqual({ _tag: "Closed", key: "a" })
      yield* Scope.close(scope, Exit.void)
      expect(yield* Fiber.join(heard)).toEqual([])
    })
  )

  it.effect("rejects in a ramp as a half-open circuit does", () =>
    Effect.gen(function* () {
      const { effect } = yield* made({ ramp: { duration: "1 minute", from: Number.MIN_VALUE } })
      yield* Effect.exit(effect.execute(refused, { key: "a" }))
      yield* TestClock.adjust("10 seconds")
      yield* effect.execute(answer, { key: "a" })
      expect(yield* Effect.flip(effect.execute(answer, { key: "a" }))).toMatchObject({
        reason: { _tag: "CircuitHalfOpen", key: "a" }
      })
    })
  )

  class Providers extends Context.Service<Providers, CircuitBreaker.KeyedCircuitBreaker>()(
    "test/Providers"
  ) {}

  it.effect("stands on circuits that others use as well", () =>
    Effect.gen(function* () {
      const effect = yield* EffectBreaker.CircuitBreaker
      const breaker = yield* Providers
      yield* Effect.exit(effect.execute(refused, { key: "a" }))
      expect(yield* breaker.isOpen("a")).toBe(true)
    }).pipe(
      Effect.provide(ToEffect.layerFrom(Providers).pipe(Layer.provideMerge(Layer.effect(Providers, keyed()))))
    )
  )

  it.effect("is refused when an option is wrong", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(ToEffect.layer({ name: "providers", maxKeys: 0 })))
      expect(error).toMatchObject({ _tag: "InvalidOption", option: "maxKeys" })
    })
  )
})

describe("wherever a call is interrupted", () => {
  const ends = Effect.andThen(Effect.sleep("10 millis"), answer)
  const classifications = {
    none: undefined,
    pure: () => EffectBreaker.success,
    "an effect": () => Effect.as(Effect.sleep("10 millis"), EffectBreaker.failure()),
    "an effect that dies": () => Effect.andThen(Effect.sleep("10 millis"), Effect.die("defect"))
  }

  it.each(
    Object.entries(classifications).flatMap(([name, classify]) =>
      (["closed", "open", "due"] as const).map((state) => ({ name, classify, state }))
    )
  )("nothing leaks: $state, classified by $name", ({ classify, state }) => {
    const interrupted = interruptEverywhere((world) => {
      const scope = world.value(Scope.make())
      const { breaker, effect } = world.value(made().pipe(Scope.provide(scope)))
      if (state !== "closed") world.run(effect.execute(refused, { key: "a" }))
      if (state === "due") world.clock.nowMillis += 10_000
      return {
        program: effect.execute(ends, { key: "a", classify }),
        verify: () => {
          expect(world.isIdle).toBe(true)
          const { counts } = world.value(breaker.snapshot)
          expect(counts.total).toBe(counts.successful + counts.failed + counts.ignored + counts.rejected)
          world.clock.nowMillis += 10_000
          expect(Exit.isSuccess(world.run(effect.execute(answer, { key: "a" })))).toBe(true)
          expect(world.value(effect.state("a"))._tag).toBe("Closed")
        }
      }
    })
    expect(interrupted).toBeGreaterThan(2)
  })
})
