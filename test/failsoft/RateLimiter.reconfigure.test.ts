import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { RateLimiter } from "failsoft"

const { fixedWindow, gcra, slidingWindow } = RateLimiter

const make = (algorithm: RateLimiter.Algorithm, onLimit?: RateLimiter.Options["onLimit"]) =>
  RateLimiter.make({ name: "search", algorithm, onLimit })

const remaining = (limiter: RateLimiter.RateLimiter) =>
  Effect.map(limiter.peek(), ({ remaining }) => remaining)

const kinds: ReadonlyArray<readonly [string, (limit: number) => RateLimiter.Algorithm]> = [
  ["gcra", (limit) => gcra({ limit, period: "1 minute" })],
  ["a sliding window", (limit) => slidingWindow({ limit, window: "1 minute" })],
  ["a fixed window", (limit) => fixedWindow({ limit, window: "1 minute" })]
]

const pairs = kinds.flatMap(([from, was]) => kinds.map(([to, will]) => ({ from, to, was, will })))

const begin = <A, E>(call: Effect.Effect<A, E>) => Effect.forkChild(call, { startImmediately: true })

describe("a limiter under new options", () => {
  it.effect.each(pairs)("takes what is taken of $from over to $to", ({ was, will }) =>
    Effect.gen(function* () {
      const limiter = yield* make(was(10))
      yield* limiter.take(4)
      yield* limiter.reconfigure({ algorithm: will(20) })
      expect(yield* remaining(limiter)).toBe(16)
      yield* limiter.reconfigure({ algorithm: was(6) })
      expect(yield* remaining(limiter)).toBe(2)
      yield* limiter.take(2)
      yield* limiter.reconfigure({ algorithm: will(3) })
      expect(yield* remaining(limiter)).toBe(0)
      // It is in debt with no more than there is of it.
      yield* TestClock.adjust("2 minutes")
      expect(yield* remaining(limiter)).toBe(3)
      expect(yield* limiter.snapshot).toMatchObject({ admitted: 2, rejected: 0 })
    })
  )

  it.effect.each(pairs)("lets effects that were put together before follow from $from to $to", (given) =>
    Effect.gen(function* () {
      const limiter = yield* make(given.was(1))
      const call = Effect.exit(limiter.execute(Effect.void))
      yield* limiter.reconfigure({ algorithm: given.will(3) })
      yield* Effect.replicateEffect(call, 4)
      expect(yield* limiter.snapshot).toMatchObject({ admitted: 3, rejected: 1 })
    })
  )

  it.effect("keeps its state to the microsecond where the algorithm is the same", () =>
    Effect.gen(function* () {
      const limiter = yield* make(gcra({ limit: 2, period: "1 second" }))
      yield* limiter.take(2)
      yield* TestClock.adjust("250 millis")
      for (let times = 0; times < 10; times++) {
        yield* limiter.reconfigure({
          algorithm: gcra({ limit: 2, period: "1000 millis" }),
          onLimit: times % 2 === 0 ? { delay: {} } : "reject"
        })
      }
      expect((yield* limiter.peek()).retryAfter).toEqual(Duration.millis(250))
      expect((yield* limiter.peek()).resetAfter).toEqual(Duration.millis(750))
    })
  )

  it.effect("lets calls wait, or no longer, as it is told", () =>
    Effect.gen(function* () {
      const algorithm = gcra({ limit: 1, period: "1 second" })
      const limiter = yield* make(algorithm)
      const call = limiter.execute(Effect.void)
      yield* call
      yield* limiter.reconfigure({ algorithm, onLimit: { delay: { maxWaiting: 1 } } })
      const waiting = yield* begin(call)
      expect((yield* Effect.flip(call)).reason._tag).toBe("RateLimited")
      yield* limiter.reconfigure({ algorithm })
      expect((yield* Effect.flip(call)).reason._tag).toBe("RateLimited")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiting)
      expect(yield* limiter.snapshot).toMatchObject({ admitted: 2, delayed: 1, waiting: 0 })
    })
  )

  it.effect.each(pairs)("keeps the turns of those who wait, from $from to $to", ({ was, will }) =>
    Effect.gen(function* () {
      const limiter = yield* make(was(1), { delay: { maxWait: "5 minutes" } })
      const call = limiter.execute(Effect.void)
      yield* call
      const [first, second] = [yield* begin(call), yield* begin(call)]
      yield* limiter.reconfigure({ algorithm: will(2) })
      expect(yield* remaining(limiter)).toBe(1)
      // Nobody's turn comes back: it was taken of what is no more.
      yield* Fiber.interrupt(second)
      expect(yield* remaining(limiter)).toBe(1)
      expect((yield* limiter.snapshot).waiting).toBe(1)
      yield* TestClock.adjust("3 minutes")
      yield* Fiber.join(first)
      expect(yield* limiter.snapshot).toMatchObject({ admitted: 2, delayed: 1, waiting: 0 })
      expect(yield* remaining(limiter)).toBe(2)
    })
  )

  it.effect("names a wrong option, and changes nothing", () =>
    Effect.gen(function* () {
      const limiter = yield* make(gcra({ limit: 5, period: "1 minute" }))
      const wrong = [
        { algorithm: gcra({ limit: 0, period: "1 minute" }) },
        { algorithm: gcra({ limit: 9, period: "1 minute" }), onLimit: { delay: { maxWaiting: 0 } } }
      ]
      const errors = yield* Effect.forEach(wrong, (given) => Effect.flip(limiter.reconfigure(given)))
      expect(errors.map(({ option }) => option)).toEqual(["algorithm.limit", "onLimit.delay.maxWaiting"])
      expect(yield* remaining(limiter)).toBe(5)
    })
  )

  it.effect("has none when it is switched off", () =>
    Effect.gen(function* () {
      const algorithm = gcra({ limit: 5, period: "1 minute" })
      const limiter = yield* RateLimiter.make({ name: "search", algorithm, enabled: false })
      expect((yield* Effect.flip(limiter.reconfigure({ algorithm }))).option).toBe("enabled")
    })
  )
})
