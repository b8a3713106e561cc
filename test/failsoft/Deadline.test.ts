import { describe, expect, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, ServiceUnavailable, UnavailableReason } from "failsoft"
import { inTime } from "./calls.ts"

const left = Effect.map(Deadline.remaining, Option.map(Duration.toMillis))

const timedOut = (after: Duration.Input, of: Duration.Input) =>
  Exit.fail(
    new ServiceUnavailable({
      service: "billing",
      reason: UnavailableReason.TimedOut({
        after: Duration.fromInputUnsafe(after),
        of: Duration.fromInputUnsafe(of)
      })
    })
  )

describe("what remains", () => {
  it.effect("is nothing to speak of where there is no deadline", () =>
    Effect.gen(function* () {
      expect(yield* Deadline.remaining).toEqual(Option.none())
    })
  )

  it.effect("shrinks as time passes, and never below zero", () =>
    Effect.gen(function* () {
      const seen = yield* Effect.gen(function* () {
        const first = yield* left
        yield* TestClock.adjust("1200 millis")
        const second = yield* left
        yield* TestClock.adjust("1 minute")
        return [first, second, yield* left]
      }).pipe(Deadline.within("3 seconds"))
      expect(seen).toEqual([Option.some(3000), Option.some(1800), Option.some(0)])
    })
  )

  it.effect("is known to fibers that were started within it, and to none beside", () =>
    Effect.gen(function* () {
      const start = Effect.forkChild(left)
      const inside = yield* start.pipe(Deadline.within("3 seconds"))
      expect(yield* Fiber.join(inside)).toEqual(Option.some(3000))
      expect(yield* left).toEqual(Option.none())
    })
  )

  it.effect("is not changed when the wall clock is set back", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(10_000_000)
      const seen = yield* Effect.andThen(TestClock.setTime(5000), left).pipe(Deadline.within("3 seconds"))
      expect(seen).toEqual(Option.some(3000))
    })
  )

  it.effect.each([
    ["2 seconds", "5 seconds", 2000],
    ["5 seconds", "2 seconds", 2000],
    ["5 seconds", 0, 0],
    ["5 seconds", Duration.seconds(-1), 0],
    [Duration.infinity, "1 second", 1000]
  ] as const)("within %o and then within %o is %d ms", ([outer, inner, expected]) =>
    Effect.gen(function* () {
      expect(yield* left.pipe(Deadline.within(inner), Deadline.within(outer))).toEqual(Option.some(expected))
      expect(yield* Deadline.within(Deadline.within(left, inner), outer)).toEqual(Option.some(expected))
    })
  )
})

describe("unbounded", () => {
  it.effect("forgets the deadline, for itself alone", () =>
    Effect.gen(function* () {
      const both = Effect.all([Deadline.unbounded(left), left])
      expect(yield* both.pipe(Deadline.within("3 seconds"))).toEqual([Option.none(), Option.some(3000)])
      expect(yield* Deadline.unbounded(left)).toEqual(Option.none())
    })
  )

  it.effect("may be given a deadline of its own", () =>
    Effect.gen(function* () {
      const later = left.pipe(Deadline.within("9 seconds"), Deadline.unbounded, Deadline.within("3 seconds"))
      expect(yield* later).toEqual(Option.some(9000))
    })
  )
})

describe("within", () => {
  it.effect("ends nothing by itself", () =>
    Effect.gen(function* () {
      const [exit, at] = yield* inTime(
        Effect.delay(Effect.succeed("answer"), "5 seconds").pipe(Deadline.within("1 second"))
      )
      expect(exit).toEqual(Exit.succeed("answer"))
      expect(at).toBe(5000)
    })
  )
})

describe("an attempt", () => {
  it.effect("that ends in time is left alone", () =>
    Effect.gen(function* () {
      const limited = Deadline.attemptTimeout("billing", "5 seconds")
      expect(yield* limited(Effect.succeed("answer"))).toBe("answer")
      expect(yield* Effect.exit(limited(Effect.fail("refused")))).toEqual(Exit.fail("refused"))
      expect(yield* Effect.exit(limited(Effect.die("defect")))).toEqual(Exit.die("defect"))
      const [exit] = yield* inTime(limited(Effect.delay(Effect.succeed("answer"), "4999 millis")))
      expect(exit).toEqual(Exit.succeed("answer"))
    })
  )

  it.effect("that hangs is given up after its timeout", () =>
    Effect.gen(function* () {
      const [exit, at] = yield* inTime(Deadline.attemptTimeout(Effect.never, "billing", "5 seconds"))
      expect(exit).toEqual(timedOut("5 seconds", "5 seconds"))
      expect(at).toBe(5000)
    })
  )

  it.effect("is interrupted when it is given up", () =>
    Effect.gen(function* () {
      const interrupted = yield* Deferred.make<void>()
      const hanging = Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      yield* inTime(hanging.pipe(Deadline.attemptTimeout("billing", "5 seconds")))
      expect(yield* Deferred.isDone(interrupted)).toBe(true)
    })
  )

  it.effect("that hangs is given up when the deadline is spent, and says what it would have had", () =>
    Effect.gen(function* () {
      const [exit, at] = yield* inTime(
        Effect.never.pipe(Deadline.attemptTimeout("billing", "5 seconds"), Deadline.within("2 seconds"))
      )
      expect(exit).toEqual(timedOut("2 seconds", "5 seconds"))
      expect(at).toBe(2000)
    })
  )

  it.effect("is not started when nothing remains", () =>
    Effect.gen(function* () {
      let started = 0
      const call = Effect.sync(() => ++started).pipe(Deadline.attemptTimeout("billing", "5 seconds"))
      const late = Effect.andThen(TestClock.adjust("2 seconds"), call)
      expect(yield* Effect.exit(late.pipe(Deadline.within("2 seconds")))).toEqual(timedOut(0, "5 seconds"))
      expect(started).toBe(0)
    })
  )

  it.effect.each([0, Duration.seconds(-1), -1] as const)(
    "with a timeout of %s is not started, and was given no time",
    (timeout) =>
      Effect.gen(function* () {
        let started = 0
        const call = Effect.sync(() => ++started).pipe(Deadline.attemptTimeout("billing", timeout))
        expect(yield* Effect.exit(call)).toEqual(timedOut(0, 0))
        expect(yield* Effect.exit(call.pipe(Deadline.within("1 minute")))).toEqual(timedOut(0, 0))
        expect(started).toBe(0)
      })
  )

  it.effect(
    "with less left than its timeout has whole milliseconds, as timers have, and no more than its timeout",
    () =>
      Effect.gen(function* () {
        const within = (deadline: Duration.Input, timeout: Duration.Input) =>
          inTime(Effect.never.pipe(Deadline.attemptTimeout("billing", timeout), Deadline.within(deadline)))
        expect(yield* within("2500 micros", "5 millis")).toEqual([timedOut("3 millis", "5 millis"), 3])
        expect((yield* within("2500 micros", "2700 micros"))[0]).toEqual(
          timedOut("2700 micros", "2700 micros")
        )
        expect((yield* within("2500 micros", "2300 micros"))[0]).toEqual(
          timedOut("2300 micros", "2300 micros")
        )
      })
  )

  it.effect("within a deadline that never comes has its whole timeout", () =>
    Effect.gen(function* () {
      const [exit] = yield* inTime(
        Effect.never.pipe(Deadline.attemptTimeout("billing", "5 seconds"), Deadline.within(Duration.infinity))
      )
      expect(exit).toEqual(timedOut("5 seconds", "5 seconds"))
    })
  )
})
