import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import { RateLimiter } from "failsoft"
import { reasonOf } from "./calls.ts"

const ofTwo = {
  gcra: RateLimiter.gcra({ limit: 2, period: "1 second" }),
  "a sliding window": RateLimiter.slidingWindow({ limit: 2, window: "1 second" }),
  "a fixed window": RateLimiter.fixedWindow({ limit: 2, window: "1 second" })
}

const keyed = (algorithm: RateLimiter.Algorithm, more: Partial<RateLimiter.KeyedOptions> = {}) =>
  RateLimiter.makeKeyed({ name: "search", algorithm, ...more })

describe.each(Object.entries(ofTwo))("a keyed limiter by %s", (name, algorithm) => {
  it.effect("holds a limit for each key", () =>
    Effect.gen(function* () {
      const limiter = yield* keyed(algorithm)
      const call = (key: string) => Effect.isSuccess(limiter.execute(key)(Effect.succeed("found")))
      const found = yield* Effect.forEach(["ada", "ada", "ada", "bob", "ada", "bob", "bob"], call)
      expect(found).toEqual([true, true, false, true, false, true, false])
      expect(yield* limiter.snapshot).toMatchObject({ keys: 2, admitted: 4, rejected: 3 })
    })
  )

  it.effect("has everything that a limiter has for one key", () =>
    Effect.gen(function* () {
      const limiter = yield* keyed(algorithm)
      const ada = limiter.of("ada")
      yield* ada.take(2)
      expect(reasonOf(yield* Effect.exit(ada.execute(Effect.void)))?._tag).toBe("RateLimited")
      yield* ada.refund()
      expect((yield* ada.peek()).remaining).toBe(1)
      expect((yield* limiter.of("bob").peek()).remaining).toBe(2)
      yield* ada.executeWith(Effect.void, { cost: 1 })
      expect(yield* ada.snapshot).toEqual(yield* limiter.snapshot)
    })
  )

  it.effect("holds no key that was only looked at, that took nothing, or to which something was given", () =>
    Effect.gen(function* () {
      const limiter = yield* keyed(algorithm)
      yield* limiter.of("ada").peek()
      yield* limiter.of("bob").take(0)
      yield* limiter.of("eve").refund()
      yield* Effect.ignore(limiter.of("joe").take(3))
      expect((yield* limiter.snapshot).keys).toBe(0)
    })
  )

  it.effect("refuses a new key while all that it holds are in use, and says when to come back", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust(12_345)
      const limiter = yield* keyed(algorithm, { maxKeys: 2 })
      yield* TestClock.adjust(100)
      yield* limiter.of("ada").take(2)
      yield* limiter.of("bob").take(2)
      const error = yield* Effect.flip(limiter.of("eve").take())
      const until = { gcra: 1000, "a sliding window": 1900, "a fixed window": 900 }
      expect(error.retryAfter).toEqual(Duration.millis(until[name as keyof typeof until]))
      const { remaining, resetAfter, retryAfter } = yield* limiter.of("eve").peek()
      expect([error.retryAfter, remaining, resetAfter]).toEqual([retryAfter, 0, retryAfter])
      expect((yield* limiter.of("eve").peek(0)).retryAfter).toEqual(Duration.zero)
      yield* limiter.of("eve").take(0)
      expect(yield* limiter.snapshot).toMatchObject({ keys: 2, admitted: 3, rejected: 1, letThrough: 0 })
      yield* TestClock.adjust(Duration.toMillis(retryAfter ?? Duration.infinity) - 1)
      expect(yield* Effect.isSuccess(limiter.of("eve").take())).toBe(false)
      yield* TestClock.adjust(1)
      expect((yield* limiter.of("eve").peek()).remaining).toBe(2)
      yield* limiter.of("eve").take()
      expect((yield* limiter.snapshot).keys).toBeLessThanOrEqual(2)
    })
  )

  it.effect("lets a new key through uncounted where that is asked for, and says so", () =>
    Effect.gen(function* () {
      const limiter = yield* keyed(algorithm, { maxKeys: 1, whenFull: "admit" })
      yield* limiter.of("ada").take(2)
      for (let calls = 0; calls < 5; calls++) yield* limiter.of("eve").take()
      expect((yield* limiter.of("eve").peek()).remaining).toBe(2)
      expect(yield* limiter.snapshot).toMatchObject({ keys: 1, admitted: 6, rejected: 0, letThrough: 5 })
      expect(yield* Effect.isSuccess(limiter.of("ada").take())).toBe(false)
    })
  )

  const Step = Schema.Struct({
    key: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })),
    afterMillis: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 400 }))
  })

  it.effect.prop(
    "lets a key through exactly when a limiter of its own would, or not for want of room",
    [Schema.Array(Step).check(Schema.isMaxLength(80))],
    ([steps]) =>
      Effect.gen(function* () {
        const limiter = yield* keyed(algorithm, { maxKeys: 3 })
        const alone = yield* Effect.forEach([0, 1, 2, 3, 4, 5], () =>
          RateLimiter.make({ name: "alone", algorithm })
        )
        for (const { afterMillis, key } of steps) {
          yield* TestClock.adjust(afterMillis)
          const used = yield* Effect.filter(alone, (one) =>
            Effect.map(one.peek(), ({ resetAfter }) => !Duration.isZero(resetAfter))
          )
          const isFull = used.length >= 3 && !used.includes(alone[key]!)
          const exit = yield* Effect.exit(limiter.of(`key ${key}`).take())
          if (isFull) expect(Exit.isSuccess(exit)).toBe(false)
          else expect(Exit.isSuccess(exit)).toBe(yield* Effect.isSuccess(alone[key]!.take()))
          expect((yield* limiter.snapshot).keys).toBeLessThanOrEqual(3)
        }
      }).pipe(Effect.provide(TestClock.layer())),
    { arbitrary: { runs: 60 } }
  )

  it.effect("has the calls of each key wait in a line of their own", () =>
    Effect.gen(function* () {
      const limiter = yield* keyed(algorithm, { onLimit: { delay: { maxWait: "1 minute", maxWaiting: 3 } } })
      const start = (key: string) =>
        Effect.forkChild(limiter.execute(key)(Effect.void), { startImmediately: true })
      yield* limiter.of("ada").take(2)
      yield* limiter.of("bob").take(2)
      const [first, second, third, fourth] = [
        yield* start("ada"),
        yield* start("bob"),
        yield* start("ada"),
        yield* start("bob")
      ]
      expect(reasonOf(yield* Fiber.await(fourth))?._tag).toBe("RateLimited")
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(third)
      const [ada, bob] = [yield* limiter.of("ada").peek(), yield* limiter.of("bob").peek()]
      expect(Duration.isLessThan(ada.retryAfter ?? Duration.zero, bob.retryAfter ?? Duration.zero)).toBe(
        algorithm._tag !== "FixedWindow"
      )
      expect(yield* limiter.snapshot).toMatchObject({ waiting: 1, keys: 2 })
      yield* TestClock.adjust("10 seconds")
      expect(second.pollUnsafe()).toEqual(Exit.void)
      expect(yield* limiter.snapshot).toMatchObject({ waiting: 0, delayed: 1 })
    })
  )
})

describe("a flood of keys", () => {
  it.effect("takes no more room than was set aside, and leaves none taken when it is over", () =>
    Effect.gen(function* () {
      const limiter = yield* keyed(ofTwo.gcra, { maxKeys: 100 })
      let admitted = 0
      for (let number = 0; number < 5000; number++) {
        if (number % 50 === 0) yield* TestClock.adjust(10)
        if (yield* Effect.isSuccess(limiter.of(`key ${number}`).take())) admitted++
      }
      expect((yield* limiter.snapshot).keys).toBe(100)
      // Each key is in use for half a second: that is a hundred twice a second, and so it was.
      expect(admitted).toBeGreaterThanOrEqual(190)
      expect(admitted).toBeLessThanOrEqual(300)
      yield* TestClock.adjust("1 second")
      for (let number = 0; number < 60; number++) yield* limiter.of(`later ${number}`).take()
      expect((yield* limiter.snapshot).keys).toBe(60)
    })
  )
})
