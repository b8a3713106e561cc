import { Deferred, Effect, Exit, Fiber, Logger } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker } from "failsoft"
import fc from "fast-check"
import { expect, it } from "vitest"
import { reasonOf } from "./calls.ts"
import { hearing } from "./hearing.ts"

const options = {
  name: "billing",
  trip: CircuitBreaker.any(
    CircuitBreaker.consecutive(2),
    CircuitBreaker.failureRate({ threshold: 0.5, minimumCalls: 3, window: CircuitBreaker.count(4) })
  ),
  openDuration: "4 seconds",
  halfOpen: { probes: 2, successes: 2, maxWait: "6 seconds" }
} satisfies CircuitBreaker.KeyedOptions

const keys = ["a", "b", "c"] as const

type Step =
  | { readonly do: "call" | "start"; readonly key: (typeof keys)[number]; readonly fails: boolean }
  | { readonly do: "end"; readonly which: number }
  | { readonly do: "wait"; readonly seconds: number }
  | { readonly do: "reset"; readonly key: (typeof keys)[number] }

const steps: fc.Arbitrary<ReadonlyArray<Step>> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom("call", "start"),
        key: fc.constantFrom(...keys),
        fails: fc.boolean()
      })
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("end"), which: fc.nat(9) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait"), seconds: fc.integer({ min: 1, max: 5 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("reset"), key: fc.constantFrom(...keys) }) }
  ),
  { maxLength: 60 }
)

const endOf = (fails: boolean) => (fails ? Effect.fail("refused") : Effect.succeed("answer"))

/** What one guard makes of the steps, step by step. */
const play = (
  history: ReadonlyArray<Step>,
  guard: {
    readonly execute: (key: string) => CircuitBreaker.CircuitBreaker["execute"]
    readonly reset: (key: string) => Effect.Effect<void>
    readonly look: Effect.Effect<unknown>
  }
) =>
  Effect.gen(function* () {
    const seen: Array<unknown> = []
    const running: Array<{
      readonly fails: boolean
      readonly end: Deferred.Deferred<string, string>
      readonly fiber: Fiber.Fiber<string, unknown>
    }> = []
    for (const step of history) {
      if (step.do === "wait") yield* TestClock.adjust(`${step.seconds} seconds`)
      if (step.do === "reset") yield* guard.reset(step.key)
      if (step.do === "call") seen.push(yield* Effect.exit(guard.execute(step.key)(endOf(step.fails))))
      if (step.do === "start") {
        const end = yield* Deferred.make<string, string>()
        const call = guard.execute(step.key)(Deferred.await(end))
        running.push({
          fails: step.fails,
          end,
          fiber: yield* Effect.forkChild(call, { startImmediately: true })
        })
      }
      if (step.do === "end") {
        const [call] = running.splice(step.which, 1)
        if (call !== undefined) yield* Deferred.complete(call.end, endOf(call.fails))
        if (call !== undefined) seen.push(yield* Fiber.await(call.fiber))
      }
      seen.push(yield* guard.look)
    }
    return seen
  }).pipe(Effect.scoped, Effect.provide([TestClock.layer(), Logger.layer([])]))

const shown = ({
  failuresInARow,
  halfOpenIn,
  lastFailureAtMillis,
  rates,
  state
}: Omit<CircuitBreaker.Snapshot, "name" | "enabled" | "counts">) => ({
  failuresInARow,
  halfOpenIn,
  lastFailureAtMillis,
  rates,
  state
})

const untouched = {
  failuresInARow: 0,
  halfOpenIn: undefined,
  lastFailureAtMillis: undefined,
  rates: [{ _tag: "FailureRate", rate: undefined, threshold: 0.5, calls: 0, minimumCalls: 3 }],
  state: "closed"
} as const

it("does with room for all keys what a breaker for each of them does", { timeout: 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      const together = Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.makeKeyed(options)
        return yield* play(history, {
          execute: breaker.execute,
          reset: breaker.reset,
          look: Effect.forEach(keys, (key) =>
            Effect.map(breaker.snapshotOf(key), (snapshot) => (snapshot ? shown(snapshot) : untouched))
          )
        })
      }).pipe(Effect.scoped)
      const apart = Effect.gen(function* () {
        const breakers = {
          a: yield* CircuitBreaker.make(options),
          b: yield* CircuitBreaker.make(options),
          c: yield* CircuitBreaker.make(options)
        }
        const of = (key: string) => breakers[key as keyof typeof breakers]
        return yield* play(history, {
          execute: (key) => of(key).execute,
          reset: (key) => of(key).reset,
          look: Effect.forEach(keys, (key) => Effect.map(of(key).snapshot, shown))
        })
      }).pipe(Effect.scoped)
      expect(await Effect.runPromise(together)).toEqual(await Effect.runPromise(apart))
    }),
    { numRuns: 300 }
  )
})

it("keeps an open circuit open until it is due, however little room there is", {
  timeout: 60_000
}, async () => {
  const crowd = Array.from({ length: 8 }, (_, index) => `key ${index}`)
  const traffic = fc.array(
    fc.record({
      key: fc.constantFrom(...crowd),
      fails: fc.boolean(),
      waitMillis: fc.constantFrom(0, 0, 0, 500)
    }),
    { minLength: 20, maxLength: 200 }
  )
  let rejected = 0
  let untracked = 0
  let evicted = 0
  await fc.assert(
    fc.asyncProperty(traffic, fc.integer({ min: 1, max: 4 }), async (calls, maxKeys) => {
      const program = Effect.gen(function* () {
        const { events, made: breaker } = yield* hearing(
          CircuitBreaker.makeKeyed({
            ...options,
            trip: CircuitBreaker.consecutive(1),
            maxKeys,
            idle: "1 second"
          })
        )
        let nowMillis = 0
        const dueAtMillis = new Map<string | undefined, number>()
        for (const { fails, key, waitMillis } of calls) {
          yield* TestClock.adjust(waitMillis)
          nowMillis += waitMillis
          const exit = yield* Effect.exit(breaker.execute(key)(endOf(fails)))
          const isRejected = reasonOf(exit)?._tag === "CircuitOpen"
          expect(isRejected).toBe(nowMillis < (dueAtMillis.get(key) ?? 0))
          if (isRejected) rejected++
          for (const event of events.splice(0)) {
            if (event._tag === "CircuitOpened") dueAtMillis.set(event.key, nowMillis + 4000)
          }
          const snapshot = yield* breaker.snapshot
          expect(snapshot.keys).toBeLessThanOrEqual(maxKeys)
          expect(snapshot.closed + snapshot.open + snapshot.halfOpen).toBe(snapshot.keys)
        }
        const snapshot = yield* breaker.snapshot
        expect(snapshot.counts.total + snapshot.untracked).toBe(calls.length)
        untracked += snapshot.untracked
        evicted += snapshot.evicted
      }).pipe(Effect.scoped, Effect.provide([TestClock.layer(), Logger.layer([])]))
      expect(await Effect.runPromise(Effect.exit(program))).toEqual(Exit.void)
    }),
    { numRuns: 200 }
  )
  expect([rejected > 300, untracked > 300, evicted > 300]).toEqual([true, true, true])
})
