import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Duration, Effect, Exit, Layer, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { RateLimiter, Retry, ServiceUnavailable } from "failsoft"
import { hearing } from "./hearing.ts"

const ofTen = {
  gcra: RateLimiter.gcra({ limit: 10, period: "1 second" }),
  "a sliding window": RateLimiter.slidingWindow({ limit: 10, window: "1 second" }),
  "a fixed window": RateLimiter.fixedWindow({ limit: 10, window: "1 second" })
}

const algorithms = Object.entries(ofTen)

const make = (algorithm: RateLimiter.Algorithm, more: Partial<RateLimiter.Options> = {}) =>
  RateLimiter.make({ name: "search", algorithm, ...more })

/** The error of a call that was rejected. */
const rejectionOf = <A, E>(call: Effect.Effect<A, E>) =>
  call.pipe(
    Effect.flip,
    Effect.flatMap((error) =>
      error instanceof ServiceUnavailable ? Effect.succeed(error) : Effect.die("another error")
    )
  )

/** How many of so many calls got through. */
const through = (limiter: RateLimiter.RateLimiter, calls: number) =>
  Effect.map(
    Effect.forEach(Array.from({ length: calls }), () => Effect.isSuccess(limiter.take())),
    (succeeded) => succeeded.filter(Boolean).length
  )

describe.each(algorithms)("a limiter by %s", (_, algorithm) => {
  it.effect("lets its limit through, rejects the rest, and says exactly when the next may come", () =>
    Effect.gen(function* () {
      const limiter = yield* make(algorithm)
      let ran = 0
      const call = Effect.sync(() => ++ran)
      expect(yield* Effect.all(Array.from({ length: 10 }, () => limiter.execute(call)))).toHaveLength(10)
      const { reason, retryAfter, service } = yield* rejectionOf(limiter.execute(call))
      expect([service, reason._tag, ran]).toEqual(["search", "RateLimited", 10])
      if (retryAfter === undefined) return expect.unreachable("it says when")
      yield* TestClock.adjust(Duration.toMillis(retryAfter) - 1)
      expect((yield* rejectionOf(limiter.execute(call))).retryAfter).toEqual(Duration.millis(1))
      yield* TestClock.adjust("1 millis")
      expect(yield* limiter.execute(call)).toBe(11)
    })
  )

  it.effect("lets what a call comes to through as it is", () =>
    Effect.gen(function* () {
      const limiter = yield* make(algorithm)
      expect(yield* limiter.execute(Effect.succeed("found"))).toBe("found")
      expect(yield* Effect.exit(limiter.execute(Effect.fail("not found")))).toEqual(Exit.fail("not found"))
      expect(yield* Effect.exit(limiter.execute(Effect.die("defect")))).toEqual(Exit.die("defect"))
      expect((yield* limiter.peek()).remaining).toBe(7)
    })
  )

  it.effect("takes what a call costs", () =>
    Effect.gen(function* () {
      const limiter = yield* make(algorithm)
      const costing = (cost: number) => Effect.isSuccess(limiter.executeWith(Effect.void, { cost }))
      expect(yield* Effect.all([costing(6), costing(5), costing(4), costing(1), costing(0)])).toEqual([
        true,
        false,
        true,
        false,
        true
      ])
    })
  )

  it.effect.each([11, -1, Number.NaN, Number.POSITIVE_INFINITY])(
    "never lets a cost of %s through, and says so by naming no time",
    (cost) =>
      Effect.gen(function* () {
        const limiter = yield* make(algorithm)
        const call = Effect.succeed("found").pipe(RateLimiter.withRateLimit(limiter, { cost }))
        const error = yield* rejectionOf(call)
        expect([error.reason._tag, error.retryAfter]).toEqual(["RateLimited", undefined])
        expect((yield* limiter.peek(cost)).retryAfter).toBeUndefined()
        expect((yield* limiter.peek()).remaining).toBe(10)
      })
  )

  it.effect("tells what a call would find, and takes nothing", () =>
    Effect.gen(function* () {
      const limiter = yield* make(algorithm)
      const untouched = { remaining: 10, retryAfter: Duration.zero, resetAfter: Duration.zero }
      expect(yield* limiter.peek()).toEqual(untouched)
      yield* limiter.take(8)
      yield* Effect.replicateEffect(limiter.peek(3), 100)
      const { remaining, resetAfter, retryAfter } = yield* limiter.peek(3)
      expect(remaining).toBe(2)
      expect((yield* rejectionOf(limiter.take(3))).retryAfter).toEqual(retryAfter)
      yield* limiter.take(2)
      yield* TestClock.adjust((yield* limiter.peek()).resetAfter)
      expect(yield* limiter.peek()).toEqual(untouched)
      expect(Duration.isGreaterThan(resetAfter, Duration.zero)).toBe(true)
    })
  )

  it.effect("takes a refund, and never holds more than its limit", () =>
    Effect.gen(function* () {
      const limiter = yield* make(algorithm)
      yield* limiter.take(10)
      yield* limiter.refund(4)
      yield* limiter.refund()
      expect(yield* through(limiter, 10)).toBe(5)
      yield* limiter.refund(1000)
      expect((yield* limiter.peek()).remaining).toBe(10)
      expect(yield* through(limiter, 20)).toBe(10)
    })
  )

  it.effect("counts", () =>
    Effect.gen(function* () {
      const limiter = yield* make(algorithm)
      yield* through(limiter, 13)
      yield* limiter.peek()
      expect(yield* limiter.snapshot).toEqual({
        name: "search",
        enabled: true,
        admitted: 10,
        delayed: 0,
        rejected: 3,
        waiting: 0,
        keys: 1,
        letThrough: 0
      })
    })
  )

  it.effect("does not see the wall clock jump", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 day")
      const limiter = yield* make(algorithm)
      yield* limiter.take(10)
      yield* TestClock.setTime(0)
      expect((yield* rejectionOf(limiter.take())).retryAfter).toBeDefined()
      yield* TestClock.adjust("2 seconds")
      expect(yield* through(limiter, 20)).toBe(10)
    })
  )

  it.effect.prop(
    "lets through what its formula allows and nothing more, and finds by peeking what taking finds",
    [
      Schema.Array(
        Schema.Struct({
          afterMillis: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 300 })),
          cost: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4 }))
        })
      ).check(Schema.isMaxLength(60))
    ],
    ([arrivals]) =>
      Effect.gen(function* () {
        const limiter = yield* make(algorithm)
        const admitted: Array<{ readonly at: number; readonly cost: number }> = []
        let now = 0
        for (const { afterMillis, cost } of arrivals) {
          yield* TestClock.adjust(afterMillis)
          now += afterMillis
          const peeked = yield* limiter.peek(cost)
          const exit = yield* Effect.exit(limiter.take(cost))
          expect(Exit.isSuccess(exit)).toBe(Duration.isZero(peeked.retryAfter ?? Duration.infinity))
          expect(Exit.isSuccess(exit)).toBe(peeked.remaining >= cost)
          if (Exit.isSuccess(exit)) admitted.push({ at: now, cost })
        }
        for (const [first, { at: from }] of admitted.entries()) {
          let costs = 0
          for (const { at, cost } of admitted.slice(first)) {
            costs += cost
            const most =
              algorithm._tag === "Gcra"
                ? 10 + (10 * (at - from)) / 1000
                : 10 * (Math.floor(at / 1000) - Math.floor(from / 1000) + 1)
            expect(costs).toBeLessThanOrEqual(most)
          }
        }
      }).pipe(Effect.provide(TestClock.layer())),
    { arbitrary: { runs: 60 } }
  )
})

describe("the windows of a limiter", () => {
  it.effect.each([ofTen["a fixed window"], ofTen["a sliding window"]])(
    "follow each other from when it was made: %j",
    (algorithm) =>
      Effect.gen(function* () {
        yield* TestClock.adjust(12_345)
        const limiter = yield* make(algorithm)
        yield* limiter.take(10)
        const again = algorithm._tag === "FixedWindow" ? 1000 : 1100
        expect((yield* limiter.peek()).retryAfter).toEqual(Duration.millis(again))
      })
  )
})

describe("a limiter that is switched off", () => {
  it.effect("lets everything through and counts nothing", () =>
    Effect.gen(function* () {
      const call = Effect.succeed("found")
      const limiter = yield* make(RateLimiter.gcra({ limit: 1, period: "1 hour" }), { enabled: false })
      expect(limiter.execute(call)).toBe(call)
      expect(limiter.executeWith(call, { cost: 100 })).toBe(call)
      expect(yield* through(limiter, 10)).toBe(10)
      yield* limiter.refund()
      expect((yield* limiter.peek(5)).remaining).toBe(Number.POSITIVE_INFINITY)
      const { admitted, enabled } = yield* limiter.snapshot
      expect({ admitted, enabled }).toEqual({ admitted: 0, enabled: false })
    })
  )

  it.effect("does the same by key", () =>
    Effect.gen(function* () {
      const call = Effect.succeed("found")
      const limiter = yield* RateLimiter.makeKeyed({
        name: "search",
        algorithm: RateLimiter.gcra({ limit: 1, period: "1 hour" }),
        enabled: false
      })
      expect(limiter.execute("ada")(call)).toBe(call)
      expect((yield* limiter.snapshot).enabled).toBe(false)
    })
  )
})

describe("rejections", () => {
  const spent = Effect.gen(function* () {
    const heard = yield* hearing(make(RateLimiter.gcra({ limit: 1, period: "1 hour" })))
    yield* heard.made.take()
    return { limiter: heard.made, events: heard.events }
  })

  it.effect("of one millisecond are one value", () =>
    Effect.gen(function* () {
      const { limiter } = yield* spent
      const causeOf = Effect.map(Effect.exit(limiter.take()), (exit) =>
        Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      )
      const [first, second] = [yield* causeOf, yield* causeOf]
      yield* TestClock.adjust("1 millis")
      const later = yield* causeOf
      expect(first).toBeInstanceOf(ServiceUnavailable)
      expect(second).toBe(first)
      expect(later).not.toBe(first)
      expect(later).toMatchObject({ retryAfter: Duration.millis(3_600_000 - 1) })
    })
  )

  it.effect("of calls that cost differently each have their own time", () =>
    Effect.gen(function* () {
      const limiter = yield* make(RateLimiter.gcra({ limit: 10, period: "1 second" }))
      yield* limiter.take(10)
      const timeFor = (cost: number) =>
        Effect.map(rejectionOf(limiter.take(cost)), (error) => error.retryAfter)
      expect(yield* Effect.all([timeFor(1), timeFor(2), timeFor(1), timeFor(11)])).toEqual([
        Duration.millis(100),
        Duration.millis(200),
        Duration.millis(100),
        undefined
      ])
    })
  )

  it.effect("round the time up to whole milliseconds, as peeking does", () =>
    Effect.gen(function* () {
      const limiter = yield* make(RateLimiter.gcra({ limit: 3, period: "1 second" }))
      yield* limiter.take()
      expect((yield* limiter.peek()).resetAfter).toEqual(Duration.millis(334))
      yield* limiter.take(2)
      expect((yield* rejectionOf(limiter.take())).retryAfter).toEqual(Duration.millis(334))
      expect((yield* limiter.peek()).retryAfter).toEqual(Duration.millis(334))
    })
  )

  it.effect("are told at once at first, then one for each millisecond, and in sums by the minute", () =>
    Effect.gen(function* () {
      const { events, limiter } = yield* spent
      const rejected = (calls: number) => Effect.replicateEffect(Effect.ignore(limiter.take()), calls)
      yield* rejected(3)
      yield* TestClock.adjust("1 millis")
      yield* rejected(4)
      yield* TestClock.adjust("59 seconds")
      yield* rejected(1)
      yield* TestClock.adjust("999 millis")
      yield* rejected(2)
      const common = { policy: "search", reason: "RateLimited" }
      expect(events).toEqual([
        { ...common, _tag: "CallsRejected", atMillis: 0, count: 1 },
        { ...common, _tag: "CallRejected", atMillis: 1 },
        { ...common, _tag: "CallRejected", atMillis: 59_001 },
        { ...common, _tag: "CallsRejected", atMillis: 60_000, count: 8 }
      ])
    })
  )

  it.effect("that nobody was told of are told when the limiter goes", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { events, limiter } = yield* Effect.provideService(spent, Scope.Scope, scope)
      yield* Effect.replicateEffect(Effect.ignore(limiter.take()), 5)
      yield* Scope.close(scope, Exit.void)
      expect(events.map((event) => (event._tag === "CallsRejected" ? event.count : event._tag))).toEqual([
        1, 4
      ])
    })
  )

  it.effect("are not told of when there were none", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { events } = yield* Effect.provideService(spent, Scope.Scope, scope)
      yield* Scope.close(scope, Exit.void)
      expect(events).toEqual([])
    })
  )
})

describe("a retry around a limiter", () => {
  it.effect("comes back when it was told to", () =>
    Effect.gen(function* () {
      const limiter = yield* make(RateLimiter.gcra({ limit: 1, period: "2 seconds" }))
      const retry = yield* Retry.make({ name: "search", schedule: Retry.exponential({ base: "1 millis" }) })
      yield* limiter.take()
      const fiber = yield* Effect.forkChild(Effect.succeed("found").pipe(limiter.execute, retry.execute), {
        startImmediately: true
      })
      yield* TestClock.adjust("1999 millis")
      expect(fiber.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      expect(fiber.pollUnsafe()).toEqual(Exit.succeed("found"))
    })
  )
})

describe("a Layer", () => {
  class Limiter extends Context.Service<Limiter, RateLimiter.RateLimiter>()("test/Limiter") {}
  class ByUser extends Context.Service<ByUser, RateLimiter.KeyedRateLimiter>()("test/ByUser") {}
  const given = { name: "search", algorithm: RateLimiter.fixedWindow({ limit: 1, window: "1 minute" }) }

  it.effect("shares one limiter with all who use it", () =>
    Effect.gen(function* () {
      const one = yield* Limiter
      const other = yield* Limiter
      yield* one.take()
      expect(yield* Effect.isSuccess(other.take())).toBe(false)
    }).pipe(Effect.provide(RateLimiter.layer(Limiter, given)))
  )

  it.effect("shares one keyed limiter", () =>
    Effect.gen(function* () {
      const byUser = yield* ByUser
      const call = Effect.succeed("found")
      expect(yield* byUser.execute("ada")(call)).toBe("found")
      expect(yield* Effect.isSuccess(byUser.execute("ada")(call))).toBe(false)
      expect(yield* byUser.execute("bob")(call)).toBe("found")
    }).pipe(Effect.provide(Layer.fresh(RateLimiter.layerKeyed(ByUser, given))))
  )
})
