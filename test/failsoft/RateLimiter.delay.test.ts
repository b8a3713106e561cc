import { describe, expect, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, RateLimiter, ServiceUnavailable } from "failsoft"
import { inTime, reasonOf } from "./calls.ts"

const ofTwo = {
  gcra: RateLimiter.gcra({ limit: 2, period: "1 second" }),
  "a sliding window": RateLimiter.slidingWindow({ limit: 2, window: "1 second" }),
  "a fixed window": RateLimiter.fixedWindow({ limit: 2, window: "1 second" })
}

const delaying = (
  algorithm: RateLimiter.Algorithm,
  delay: { readonly maxWait?: Duration.Input; readonly maxWaiting?: number } = { maxWait: "1 minute" }
) => RateLimiter.make({ name: "search", algorithm, onLimit: { delay } })

/** One at a time: a burst of one, a tenth of a second apart. */
const pace = RateLimiter.gcra({ limit: 10, period: "1 second", burst: 1 })

interface Taken {
  readonly at: number
  readonly cost: number
}

/** How far calls are beyond what the formula of two a second allows, at each of them. */
const excesses = (algorithm: RateLimiter.Algorithm, taken: ReadonlyArray<Taken>): ReadonlyArray<number> =>
  taken.flatMap(({ at }, last) => {
    const so = taken.slice(0, last + 1)
    const sum = (isIn: (at: number) => boolean) =>
      so.filter(({ at }) => isIn(at)).reduce((total, { cost }) => total + cost, 0)
    const begin = Math.floor(at / 1000) * 1000
    switch (algorithm._tag) {
      case "Gcra":
        return so.map(({ at: from }, first) =>
          so.slice(first).reduce((total, { cost }) => total + cost, -2 - (2 * (at - from)) / 1000)
        )
      case "FixedWindow":
        return sum((at) => at >= begin) - 2
      case "SlidingWindow":
        return (
          sum((at) => at >= begin - 1000 && at < begin) * (1 - (at - begin) / 1000) +
          sum((at) => at >= begin) -
          2
        )
    }
  })

/** Calls that note when they ran, and who they were. */
const starting = (limiter: RateLimiter.RateLimiter) => {
  const ran: Array<readonly [who: number, atMillis: number]> = []
  const taken: Array<Taken> = []
  const start = (who: number, cost = 1) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.sync(() => {
        ran.push([who, now])
        taken.push({ at: now, cost })
      })
    ).pipe(RateLimiter.withRateLimit(limiter, { cost }), Effect.forkChild({ startImmediately: true }))
  return { ran, taken, start }
}

describe.each(Object.entries(ofTwo))("a limiter by %s that has calls wait", (name, algorithm) => {
  it.effect("lets them run in the order in which they came, each at its turn", () =>
    Effect.gen(function* () {
      const { ran, start } = starting(yield* delaying(algorithm))
      yield* Effect.forEach([1, 2, 3, 4, 5, 6], (who) => start(who))
      yield* TestClock.adjust("10 seconds")
      const turns = {
        gcra: [0, 0, 500, 1000, 1500, 2000],
        // One of two that came before still counts in the middle of the second window; then each whole one has to pass.
        "a sliding window": [0, 0, 1500, 2000, 3000, 4000],
        "a fixed window": [0, 0, 1000, 1000, 2000, 2000]
      }
      expect(ran).toEqual(turns[name as keyof typeof turns].map((at, index) => [index + 1, at]))
    })
  )

  it.effect("counts those who wait, and those who have waited", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(algorithm)
      const { start } = starting(limiter)
      yield* Effect.forEach([1, 2, 3, 4], (who) => start(who))
      expect(yield* limiter.snapshot).toMatchObject({ admitted: 2, delayed: 0, waiting: 2, rejected: 0 })
      yield* TestClock.adjust("10 seconds")
      expect(yield* limiter.snapshot).toMatchObject({ admitted: 4, delayed: 2, waiting: 0, rejected: 0 })
    })
  )

  it.effect("rejects at once whoever would wait too long, which takes nothing", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(algorithm, { maxWait: "2 seconds" })
      const { ran, start } = starting(limiter)
      yield* Effect.forEach(
        Array.from({ length: 50 }, (_, who) => who),
        (who) => start(who)
      )
      const { rejected, waiting } = yield* limiter.snapshot
      expect(rejected).toBe(48 - waiting)
      yield* TestClock.adjust("2 seconds")
      expect(ran.length).toBe(2 + waiting)
      yield* TestClock.adjust("10 seconds")
      expect((yield* limiter.peek()).remaining).toBe(2)
    })
  )

  it.effect("finds nobody left, and everything there, when all who waited were interrupted", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(algorithm)
      const { ran, start } = starting(limiter)
      const fibers = yield* Effect.forEach([1, 2, 3, 4, 5, 6], (who) => start(who))
      // In the middle first, then from the front and from the back.
      for (const who of [4, 2, 5, 3]) yield* Fiber.interrupt(fibers[who]!)
      expect(yield* limiter.snapshot).toMatchObject({ admitted: 2, waiting: 0 })
      const { ran: later, start: startLater } = starting(limiter)
      yield* startLater(7)
      yield* startLater(8)
      yield* TestClock.adjust("10 seconds")
      expect(ran).toHaveLength(2)
      const turns = { gcra: [500, 1000], "a sliding window": [1500, 2000], "a fixed window": [1000, 1000] }
      expect(later.map(([, at]) => at)).toEqual(turns[name as keyof typeof turns])
    })
  )

  const Step = Schema.Struct({
    do: Schema.Literals(["call", "call", "interrupt", "pass"]),
    pick: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 400 }))
  })

  it.effect.prop(
    "lets no more run than its formula allows, whoever is interrupted",
    [Schema.Array(Step).check(Schema.isMaxLength(50))],
    ([steps]) =>
      Effect.gen(function* () {
        const limiter = yield* delaying(algorithm, { maxWait: "5 seconds", maxWaiting: 8 })
        const { ran, start, taken } = starting(limiter)
        const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
        for (const { do: step, pick } of steps) {
          if (step === "call") fibers.push(yield* start(fibers.length, (pick % 2) + 1))
          else if (step === "pass") yield* TestClock.adjust(pick)
          else {
            const fiber = fibers[pick % Math.max(1, fibers.length)]
            if (fiber !== undefined) yield* Fiber.interrupt(fiber)
          }
        }
        yield* TestClock.adjust("10 seconds")
        const { admitted, delayed, rejected, waiting } = yield* limiter.snapshot
        expect(waiting).toBe(0)
        expect(admitted).toBe(ran.length)
        expect(delayed).toBeLessThanOrEqual(admitted)
        expect(admitted + rejected).toBeLessThanOrEqual(fibers.length)
        expect(Math.max(0, ...excesses(algorithm, taken))).toBe(0)
        expect(ran.map(([who]) => who)).toEqual(ran.map(([who]) => who).toSorted((one, other) => one - other))
        expect((yield* limiter.peek()).remaining).toBe(2)
      }).pipe(Effect.provide(TestClock.layer())),
    { arbitrary: { runs: 60 } }
  )
})

describe("a line", () => {
  it.effect("is no longer than allowed", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace, { maxWait: "1 minute", maxWaiting: 3 })
      const { ran, start } = starting(limiter)
      const fibers = yield* Effect.forEach([1, 2, 3, 4, 5], (who) => start(who))
      expect(yield* limiter.snapshot).toMatchObject({ waiting: 3, rejected: 1 })
      expect(reasonOf(yield* Fiber.await(fibers[4]!))?._tag).toBe("RateLimited")
      yield* TestClock.adjust("100 millis")
      yield* start(6)
      yield* TestClock.adjust("1 second")
      expect(ran).toEqual([
        [1, 0],
        [2, 100],
        [3, 200],
        [4, 300],
        [6, 400]
      ])
    })
  )

  it.effect("is left at once by who cannot wait until the deadline, and taken up by who can", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace)
      yield* limiter.take()
      const call = Effect.succeed("found").pipe(limiter.execute)
      for (const left of [0, 50, 100, 100.999]) {
        const exit = yield* Effect.exit(call.pipe(Deadline.within(Duration.millis(left))))
        expect([left, reasonOf(exit)?._tag]).toEqual([left, "RateLimited"])
      }
      const error = yield* Effect.flip(call.pipe(Deadline.within("50 millis")))
      expect(error).toEqual(expect.objectContaining({ retryAfter: Duration.millis(100) }))
      expect(yield* limiter.snapshot).toMatchObject({ waiting: 0, rejected: 5 })
      const fiber = yield* Effect.forkChild(call.pipe(Deadline.within("101 millis")))
      yield* TestClock.adjust("100 millis")
      expect(yield* Fiber.join(fiber)).toBe("found")
    })
  )

  it.effect("is not joined for longer than allowed by who has all the time in the world", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace, { maxWait: "50 millis" })
      yield* limiter.take()
      const exit = yield* Effect.exit(limiter.take().pipe(Deadline.within("1 hour")))
      expect(reasonOf(exit)?._tag).toBe("RateLimited")
    })
  )

  it.effect("is no concern of a call whose turn is now, whatever its deadline", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace)
      expect(yield* Effect.succeed("found").pipe(limiter.execute, Deadline.within(0))).toBe("found")
    })
  )

  it.effect("is passed by a call that costs nothing, and never joined by one that costs too much", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace)
      const { ran, start } = starting(limiter)
      yield* start(1)
      yield* start(2)
      yield* start(3, 0)
      const exit = yield* Effect.exit(limiter.take(2))
      expect(reasonOf(exit)?._tag).toBe("RateLimited")
      expect(ran).toEqual([
        [1, 0],
        [3, 0]
      ])
    })
  )

  it.effect("keeps the turns of those behind someone who is interrupted", () =>
    Effect.gen(function* () {
      const { ran, start } = starting(yield* delaying(pace))
      const [, second] = yield* Effect.forEach([1, 2, 3], (who) => start(who))
      yield* Fiber.interrupt(second!)
      // With a burst of one, a place in the middle that went to the end would let two run at 200.
      yield* start(4)
      yield* TestClock.adjust("1 second")
      expect(ran).toEqual([
        [1, 0],
        [3, 200],
        [4, 300]
      ])
    })
  )

  it.effect("gives back the places of all who leave it, whoever came and left in between", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace)
      const { start } = starting(limiter)
      const [, , second, third] = yield* Effect.forEach([0, 1, 2, 3], (who) => start(who))
      yield* Fiber.interrupt(third!)
      const fourth = yield* start(4)
      yield* Fiber.interrupt(second!)
      yield* Fiber.interrupt(fourth)
      expect((yield* limiter.peek()).retryAfter).toEqual(Duration.millis(200))
    })
  )

  it.effect("gives back no place once others were let through after it", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace)
      const clock = yield* Clock.Clock
      // Its timer is late, as one is while the process is busy.
      const late = Object.assign(Object.create(clock), { sleep: () => Effect.never })
      const wait = limiter
        .take()
        .pipe(Effect.provideService(Clock.Clock, late), Effect.forkChild({ startImmediately: true }))
      // It does not get in line behind those whose timers are late.
      const pass = limiter.executeWith(Effect.void, { wait: false })
      yield* limiter.take()
      const first = yield* wait
      yield* TestClock.adjust(250)
      yield* pass
      const second = yield* wait
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(second)
      expect((yield* limiter.peek()).retryAfter).toEqual(Duration.millis(100))

      const third = yield* wait
      yield* TestClock.adjust(200)
      yield* pass
      yield* Fiber.interrupt(third)
      expect((yield* limiter.peek()).retryAfter).toEqual(Duration.millis(100))
    })
  )

  it.effect(
    "takes in whose turn it is behind one whose timer is late, beyond the bound of those who wait",
    () =>
      Effect.gen(function* () {
        const limiter = yield* RateLimiter.make({
          name: "search",
          algorithm: pace,
          onLimit: { delay: { maxWait: "1 second", maxWaiting: 1 } }
        })
        const clock = yield* Clock.Clock
        const late = Object.assign(Object.create(clock), { sleep: () => Effect.never })
        yield* limiter.take()
        const first = yield* limiter
          .take()
          .pipe(Effect.provideService(Clock.Clock, late), Effect.forkChild({ startImmediately: true }))
        yield* TestClock.adjust(250)
        const second = yield* Effect.forkChild(limiter.take(), { startImmediately: true })
        expect(yield* limiter.snapshot).toMatchObject({ waiting: 1, admitted: 1 })
        yield* Fiber.interrupt(first)
        yield* Fiber.join(second)
        expect(yield* limiter.snapshot).toMatchObject({ waiting: 0, admitted: 2, delayed: 0 })
      })
  )

  it.effect("gives back no place that was used", () =>
    Effect.gen(function* () {
      const { ran, start } = starting(yield* delaying(pace))
      const [, , third] = yield* Effect.forEach([1, 2, 3], (who) => start(who))
      yield* TestClock.adjust("100 millis")
      yield* Fiber.interrupt(third!)
      yield* start(4)
      yield* TestClock.adjust("1 second")
      expect(ran).toEqual([
        [1, 0],
        [2, 100],
        [4, 200]
      ])
    })
  )

  it.effect("takes no refund by gcra, for those who wait know their turns", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace)
      const { ran, start } = starting(limiter)
      yield* start(1)
      yield* start(2)
      yield* limiter.refund()
      yield* start(3)
      yield* TestClock.adjust("1 second")
      expect(ran).toEqual([
        [1, 0],
        [2, 100],
        [3, 200]
      ])
    })
  )

  it.effect("says when a turn would be, to who will not wait for it", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace, { maxWait: "150 millis" })
      const { start } = starting(limiter)
      yield* start(1)
      yield* start(2)
      expect((yield* limiter.peek()).retryAfter).toEqual(Duration.millis(200))
      const error = yield* Effect.flip(limiter.take())
      expect(error).toEqual(expect.objectContaining({ retryAfter: Duration.millis(200) }))
    })
  )

  it.effect(
    "of 10,000 is let through to the last, each at its turn",
    () =>
      Effect.gen(function* () {
        const limiter = yield* delaying(RateLimiter.gcra({ limit: 1000, period: "1 second", burst: 1 }), {
          maxWait: "1 minute",
          maxWaiting: 10_000
        })
        const { ran, start } = starting(limiter)
        for (let who = 0; who <= 10_001; who++) yield* start(who)
        expect(yield* limiter.snapshot).toMatchObject({ admitted: 1, waiting: 10_000, rejected: 1 })
        yield* TestClock.adjust("5 seconds")
        expect(ran).toHaveLength(5001)
        yield* TestClock.adjust("5 seconds")
        expect(ran.every(([who, at]) => who === at)).toBe(true)
        expect(yield* limiter.snapshot).toMatchObject({ admitted: 10_001, waiting: 0 })
      }),
    30_000
  )

  it.effect(
    "of 10,000 that are all interrupted leaves no place taken",
    () =>
      Effect.gen(function* () {
        const limiter = yield* delaying(RateLimiter.gcra({ limit: 1000, period: "1 second", burst: 1 }), {
          maxWait: "1 minute",
          maxWaiting: 10_000
        })
        const { start } = starting(limiter)
        const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
        for (let who = 0; who <= 10_000; who++) fibers.push(yield* start(who))
        yield* Fiber.interruptAll(fibers)
        expect(yield* limiter.snapshot).toMatchObject({ admitted: 1, waiting: 0 })
        expect((yield* limiter.peek()).retryAfter).toEqual(Duration.millis(1))
      }),
    30_000
  )

  it.effect(
    "of 10,000 whose first is late goes on behind it, in order",
    () =>
      Effect.gen(function* () {
        const limiter = yield* delaying(RateLimiter.fixedWindow({ limit: 10_000, window: "1 second" }), {
          maxWaiting: 10_000
        })
        const clock = yield* Clock.Clock
        const late: Clock.Clock = Object.assign(Object.create(clock), {
          sleep: (duration: Duration.Duration) => clock.sleep(Duration.sum(duration, Duration.millis(20)))
        })
        const { ran, start } = starting(limiter)
        yield* limiter.take(10_000)
        yield* start(0).pipe(Effect.provideService(Clock.Clock, late))
        for (let who = 1; who < 10_000; who++) yield* start(who)
        yield* TestClock.adjust("1010 millis")
        expect([ran.length, (yield* limiter.snapshot).waiting]).toEqual([0, 10_000])
        yield* TestClock.adjust("10 millis")
        expect(ran.every(([who, at], index) => who === index && at === 1020)).toBe(true)
        expect(yield* limiter.snapshot).toMatchObject({ delayed: 10_000, waiting: 0 })
      }),
    30_000
  )

  it.effect("is not left before the turn though timers fire early", () =>
    Effect.gen(function* () {
      const limiter = yield* delaying(pace)
      const clock = yield* Clock.Clock
      const hasty: Clock.Clock = Object.assign(Object.create(clock), {
        sleep: (duration: Duration.Duration) =>
          clock.sleep(Duration.millis(Math.max(1, Duration.toMillis(duration) - 30)))
      })
      yield* limiter.take()
      const result = yield* inTime(
        Effect.andThen(limiter.take(), Clock.currentTimeMillis).pipe(
          Effect.provideService(Clock.Clock, hasty)
        )
      )
      expect(result[0]).toEqual(expect.objectContaining({ value: 100 }))
    })
  )
})

describe("a limiter that rejects", () => {
  it.effect("has nobody wait", () =>
    Effect.gen(function* () {
      const limiter = yield* RateLimiter.make({ name: "search", algorithm: pace, onLimit: "reject" })
      yield* limiter.take()
      expect(yield* Effect.flip(limiter.take())).toBeInstanceOf(ServiceUnavailable)
      expect((yield* limiter.snapshot).waiting).toBe(0)
    })
  )
})
