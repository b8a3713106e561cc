import { describe, expect, it } from "@effect/vitest"
import { Data, Deferred, Duration, Effect, Exit, Fiber, Schedule, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Health, Outcome, PolicyEvent, ServiceUnavailable } from "failsoft"
import { circuits } from "./health.ts"
import { hearing, transitionsIn } from "./hearing.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

class NotFound extends Data.TaggedError("NotFound") {}

/** Runs a call some times, one after another, whatever becomes of it. */
const times = <A, E, R>(number: number, call: Effect.Effect<A, E, R>) =>
  Effect.replicateEffect(Effect.exit(call), number)

/** A breaker that opens at the first failure, for a second, and closes at the first successful probe. */
const brief = (given?: Partial<CircuitBreaker.Options>) =>
  CircuitBreaker.make({
    name: "billing",
    trip: CircuitBreaker.consecutive(1),
    openDuration: "1 second",
    halfOpen: { successes: 1 },
    ...given
  })

const stateOf = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.snapshot, ({ state }) => state)

const countsOf = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.map(breaker.snapshot, ({ counts }) => counts)

const millisUntilHalfOpen = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.map(breaker.snapshot, ({ halfOpenIn }) => halfOpenIn && Duration.toMillis(halfOpenIn))

/** Starts a call that ends when told to. */
const start = <A, E>(execute: CircuitBreaker.CircuitBreaker["execute"], end: Deferred.Deferred<A, E>) =>
  Effect.gen(function* () {
    const running = yield* Deferred.make<void>()
    const call = Effect.andThen(Deferred.succeed(running, undefined), Deferred.await(end))
    const fiber = yield* Effect.forkChild(execute(call))
    yield* Effect.raceFirst(Deferred.await(running), Fiber.await(fiber))
    return fiber
  })

describe("a closed circuit", () => {
  it.effect("opens at the fifth failure in a row", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(CircuitBreaker.make({ name: "billing" }))
      yield* times(4, breaker.execute(refused))
      yield* breaker.execute(answer)
      yield* times(4, breaker.execute(refused))
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* times(1, breaker.execute(refused))
      expect(yield* stateOf(breaker)).toBe("open")
      expect(events).toEqual([
        {
          _tag: "CircuitOpened",
          policy: "billing",
          atMillis: 0,
          from: "closed",
          because: { _tag: "Consecutive", failures: 5, threshold: 5 },
          openDuration: Duration.seconds(60),
          openings: 1
        }
      ])
    })
  )

  it.effect("passes answers and errors as they are", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ trip: CircuitBreaker.consecutive(100) })
      expect(yield* breaker.execute(answer)).toBe("answer")
      expect(yield* Effect.flip(breaker.execute(refused))).toBe("refused")
      expect(yield* Effect.exit(breaker.execute(Effect.interrupt)).pipe(Effect.map(Exit.hasInterrupts))).toBe(
        true
      )
    })
  )

  it.effect("is moved neither way by what is ignored", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ trip: CircuitBreaker.consecutive(2) })
      yield* times(1, breaker.execute(refused))
      yield* times(10, breaker.execute(Effect.interrupt))
      expect(yield* breaker.snapshot).toMatchObject({ state: "closed", failuresInARow: 1 })
      yield* breaker.execute(answer)
      expect(yield* breaker.snapshot).toMatchObject({ failuresInARow: 0 })
      yield* times(1, breaker.execute(refused))
      yield* times(10, breaker.execute(Effect.interrupt))
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* times(1, breaker.execute(refused))
      expect(yield* stateOf(breaker)).toBe("open")
    })
  )
})

describe("an open circuit", () => {
  it.effect("rejects calls without running them, and says for how long", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing", trip: CircuitBreaker.consecutive(1) })
      yield* times(1, breaker.execute(refused))
      yield* TestClock.adjust("59 seconds")
      let ran = 0
      const error = yield* Effect.flip(breaker.execute(Effect.sync(() => ran++)))
      expect(ran).toBe(0)
      expect(error).toBeInstanceOf(ServiceUnavailable)
      expect(error).toMatchObject({ service: "billing", reason: { _tag: "CircuitOpen" } })
      expect(error.retryAfter).toEqual(Duration.seconds(1))
      expect(yield* breaker.isOpen).toBe(true)
    })
  )

  it.effect("admits a probe when 60 seconds have passed, and not 1 ms before", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing" })
      yield* times(5, breaker.execute(refused))
      yield* TestClock.adjust(59_999)
      expect((yield* Effect.flip(breaker.execute(answer))).retryAfter).toEqual(Duration.millis(1))
      yield* TestClock.adjust(1)
      expect(yield* breaker.isOpen).toBe(false)
      expect(yield* breaker.execute(answer)).toBe("answer")
    })
  )

  it.effect("reads half-open once it is due, before any call has come", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(brief())
      yield* times(1, breaker.execute(refused))
      yield* TestClock.adjust(999)
      expect(yield* breaker.snapshot).toMatchObject({ state: "open", halfOpenIn: Duration.millis(1) })
      yield* TestClock.adjust(1)
      expect(yield* breaker.snapshot).toMatchObject({ state: "half_open", halfOpenIn: undefined })
      expect(transitionsIn(events)).toEqual(["CircuitOpened"])
    })
  )

  it.effect("makes one error for all rejections of a millisecond", () =>
    Effect.gen(function* () {
      const breaker = yield* brief()
      yield* times(1, breaker.execute(refused))
      const rejection = Effect.flip(breaker.execute(answer))
      const first = yield* rejection
      expect(yield* rejection).toBe(first)
      yield* TestClock.adjust(1)
      const later = yield* rejection
      expect(later).not.toBe(first)
      expect(later.retryAfter).toEqual(Duration.millis(999))
    })
  )

  it.effect(
    "tells of the first rejection at once, of one in each millisecond, and of all by the minute",
    () =>
      Effect.gen(function* () {
        const { events, made: breaker } = yield* hearing(brief({ openDuration: "1 hour" }))
        yield* times(1, breaker.execute(refused))
        const told = () =>
          events.slice(1).map((event) => (event._tag === "CallsRejected" ? event.count : event._tag))
        yield* times(100, breaker.execute(answer))
        expect(told()).toEqual([1])
        yield* TestClock.adjust(1)
        yield* times(50, breaker.execute(answer))
        expect(told()).toEqual([1, "CallRejected"])
        yield* TestClock.adjust(59_999)
        yield* times(10, breaker.execute(answer))
        expect(told()).toEqual([1, "CallRejected", 150])
        expect(yield* countsOf(breaker)).toMatchObject({ rejected: 160 })
      })
  )

  it.effect("tells on closing of the rejections that were not told of", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(brief())
      yield* times(1, breaker.execute(refused))
      yield* times(100, breaker.execute(answer))
      yield* TestClock.adjust("1 second")
      yield* breaker.execute(answer)
      expect(events.slice(-2)).toMatchObject([
        { _tag: "CircuitClosed" },
        { _tag: "CallsRejected", count: 99 }
      ])
    })
  )
})

describe("a half-open circuit", () => {
  it.effect("closes after three successful probes, and emits each transition once", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(CircuitBreaker.make({ name: "billing" }))
      yield* times(5, breaker.execute(refused))
      yield* TestClock.adjust("60 seconds")
      yield* times(2, breaker.execute(answer))
      expect(yield* stateOf(breaker)).toBe("half_open")
      yield* breaker.execute(answer)
      expect(yield* stateOf(breaker)).toBe("closed")
      expect(transitionsIn(events)).toEqual(["CircuitOpened", "CircuitHalfOpened", "CircuitClosed"])
      expect(events.at(-1)).toEqual({
        _tag: "CircuitClosed",
        policy: "billing",
        atMillis: 60_000,
        successes: 3
      })
    })
  )

  it.effect("opens again at the first failed probe", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(CircuitBreaker.make({ name: "billing" }))
      yield* times(5, breaker.execute(refused))
      yield* TestClock.adjust("60 seconds")
      yield* times(2, breaker.execute(answer))
      yield* times(1, breaker.execute(refused))
      expect(yield* breaker.snapshot).toMatchObject({ state: "open", halfOpenIn: Duration.seconds(60) })
      expect(transitionsIn(events)).toEqual(["CircuitOpened", "CircuitHalfOpened", "CircuitOpened"])
      expect(events.at(-1)).toMatchObject({
        from: "half_open",
        because: { _tag: "ProbeFailed", slow: false },
        openings: 2
      })
    })
  )

  it.effect("admits one probe at a time", () =>
    Effect.gen(function* () {
      const breaker = yield* brief()
      yield* times(1, breaker.execute(refused))
      yield* TestClock.adjust("1 second")
      const end = yield* Deferred.make<string>()
      const probe = yield* start(breaker.execute, end)
      const rejection = yield* Effect.flip(breaker.execute(answer))
      expect(rejection.reason._tag).toBe("CircuitOpen")
      expect(rejection.retryAfter).toBeUndefined()
      yield* Deferred.succeed(end, "answer")
      yield* Fiber.join(probe)
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("admits as many probes at once as it is told to", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ halfOpen: { probes: 3, successes: 3 } })
      yield* times(1, breaker.execute(refused))
      yield* TestClock.adjust("1 second")
      const end = yield* Deferred.make<string>()
      const probes = yield* Effect.all(Array.from({ length: 3 }, () => start(breaker.execute, end)))
      expect((yield* Effect.flip(breaker.execute(answer))).reason._tag).toBe("CircuitOpen")
      yield* Deferred.succeed(end, "answer")
      yield* Fiber.joinAll(probes)
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("takes the slot of a probe that hangs after maxWait, and not 1 ms before", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ halfOpen: { successes: 2, maxWait: "5 seconds" } })
      yield* times(1, breaker.execute(refused))
      yield* TestClock.adjust("1 second")
      const end = yield* Deferred.make<never, string>()
      const hanging = yield* start(breaker.execute, end)
      yield* TestClock.adjust(4999)
      expect((yield* Effect.flip(breaker.execute(answer))).reason._tag).toBe("CircuitOpen")
      yield* TestClock.adjust(1)
      expect(yield* breaker.execute(answer)).toBe("answer")
      // What lost its slot means nothing any more.
      yield* Deferred.fail(end, "late")
      expect(yield* Effect.flip(Fiber.join(hanging))).toBe("late")
      expect(yield* stateOf(breaker)).toBe("half_open")
      yield* breaker.execute(answer)
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("waits 30 seconds for a probe when it is told nothing else", () =>
    Effect.gen(function* () {
      const breaker = yield* brief()
      yield* times(1, breaker.execute(refused))
      yield* TestClock.adjust("1 second")
      yield* start(breaker.execute, yield* Deferred.make())
      yield* TestClock.adjust(29_999)
      expect((yield* Effect.flip(breaker.execute(answer))).reason._tag).toBe("CircuitOpen")
      yield* TestClock.adjust(1)
      expect(yield* breaker.execute(answer)).toBe("answer")
    })
  )

  it.effect("is not moved by calls that were admitted when it was closed", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ halfOpen: { successes: 2 } })
      const ends = yield* Effect.all([Deferred.make<string>(), Deferred.make<never, string>()])
      const [success, failure] = [
        yield* start(breaker.execute, ends[0]),
        yield* start(breaker.execute, ends[1])
      ]
      yield* times(1, breaker.execute(refused))
      yield* TestClock.adjust("1 second")
      yield* breaker.execute(answer)
      yield* Deferred.succeed(ends[0], "late")
      yield* Fiber.join(success)
      expect(yield* stateOf(breaker)).toBe("half_open")
      yield* Deferred.fail(ends[1], "late")
      yield* Effect.flip(Fiber.join(failure))
      expect(yield* stateOf(breaker)).toBe("half_open")
    })
  )
})

describe("the open time", () => {
  const growing = { openDuration: Schedule.exponential("1 second", 2), maxOpenDuration: "5 seconds" } as const

  it.effect("follows a Schedule from opening to opening, up to its longest", () =>
    Effect.gen(function* () {
      const breaker = yield* brief(growing)
      const waits: Array<number | undefined> = []
      for (const millis of [1000, 2000, 4000, 5000, 5000]) {
        yield* times(1, breaker.execute(refused))
        waits.push(yield* millisUntilHalfOpen(breaker))
        yield* TestClock.adjust(millis - 1)
        expect(yield* stateOf(breaker)).toBe("open")
        yield* TestClock.adjust(1)
        expect(yield* stateOf(breaker)).toBe("half_open")
      }
      expect(waits).toEqual([1000, 2000, 4000, 5000, 5000])
    })
  )

  it.effect("begins anew once the circuit has stayed closed as long as it was last open", () =>
    Effect.gen(function* () {
      const breaker = yield* brief(growing)
      const failProbesThenClose = Effect.gen(function* () {
        yield* times(1, breaker.execute(refused))
        yield* TestClock.adjust("1 second")
        yield* times(1, breaker.execute(refused))
        yield* TestClock.adjust("2 seconds")
        yield* breaker.execute(answer)
      })
      yield* failProbesThenClose
      yield* TestClock.adjust(1999)
      yield* times(1, breaker.execute(refused))
      expect(yield* millisUntilHalfOpen(breaker)).toBe(4000)
      yield* TestClock.adjust("4 seconds")
      yield* breaker.execute(answer)
      yield* TestClock.adjust("4 seconds")
      yield* times(1, breaker.execute(refused))
      expect(yield* millisUntilHalfOpen(breaker)).toBe(1000)
    })
  )

  it.effect("follows a Schedule that looks at the time, as if each delay had been waited", () =>
    Effect.gen(function* () {
      const doubling = (nowMillis: number) =>
        Effect.succeed<[number, Duration.Duration]>([0, Duration.millis(nowMillis + 1000)])
      const breaker = yield* brief({ openDuration: Schedule.fromStep(Effect.succeed(doubling)) })
      for (const millis of [1000, 2000, 4000, 8000]) {
        yield* times(1, breaker.execute(refused))
        expect(yield* millisUntilHalfOpen(breaker)).toBe(millis)
        yield* TestClock.adjust(millis)
      }
    })
  )

  it.effect("repeats the last delay of a Schedule that ends", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({
        openDuration: Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 2 }))
      })
      for (const millis of [1000, 2000, 2000]) {
        yield* times(1, breaker.execute(refused))
        expect(yield* millisUntilHalfOpen(breaker)).toBe(millis)
        yield* TestClock.adjust(millis)
      }
    })
  )

  it.effect.each([
    { asked: "30 seconds", open: 30_000 },
    { asked: "500 millis", open: 1000 },
    { asked: "1 hour", open: 300_000 }
  ] as const)("of 1 s becomes $open ms when a failure asks for $asked", ({ asked, open }) =>
    Effect.gen(function* () {
      const breaker = yield* brief()
      const limited = Effect.fail({ retryAfter: Duration.fromInputUnsafe(asked) })
      yield* times(1, breaker.execute(limited))
      expect(yield* millisUntilHalfOpen(breaker)).toBe(open)
    })
  )

  it.effect("is never lengthened beyond maxOpenDuration", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ maxOpenDuration: "10 seconds" })
      yield* times(
        1,
        CircuitBreaker.withBreaker(refused, breaker, {
          classify: () => Outcome.failure({ retryAfter: "1 hour" })
        })
      )
      expect(yield* millisUntilHalfOpen(breaker)).toBe(10_000)
    })
  )

  it.effect("holds when a classification asks for a time that is no number", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({
        classify: () => ({ _tag: "Failure", retryAfterMillis: Number("soon") })
      })
      yield* times(1, breaker.execute(refused))
      expect(yield* breaker.snapshot).toMatchObject({ state: "open", halfOpenIn: Duration.seconds(1) })
    })
  )

  it.effect("is not changed when the wall clock is set back", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(10_000_000)
      const breaker = yield* brief()
      yield* times(1, breaker.execute(refused))
      yield* TestClock.adjust(400)
      yield* TestClock.setTime(5000)
      expect(yield* breaker.snapshot).toMatchObject({
        state: "open",
        halfOpenIn: Duration.millis(600),
        lastFailureAtMillis: 10_000_000
      })
      yield* TestClock.adjust(599)
      expect(yield* stateOf(breaker)).toBe("open")
      yield* TestClock.adjust(1)
      expect(yield* breaker.execute(answer)).toBe("answer")
      yield* times(1, breaker.execute(refused))
      expect(yield* breaker.snapshot).toMatchObject({ lastFailureAtMillis: 5600 })
    })
  )

  it.effect("is exact on a clock that counts from 1970", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_763_690_000_007)
      const breaker = yield* brief({ openDuration: "1001 millis" })
      for (let round = 0; round < 20; round++) {
        yield* times(1, breaker.execute(refused))
        yield* TestClock.adjust(251)
        expect(yield* millisUntilHalfOpen(breaker)).toBe(750)
        yield* TestClock.adjust(749)
        expect(yield* stateOf(breaker)).toBe("open")
        yield* TestClock.adjust(1)
        expect(yield* breaker.execute(answer)).toBe("answer")
      }
    })
  )

  it.effect("is exact to the microsecond", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ openDuration: "1 millis" })
      yield* times(1, breaker.execute(refused))
      yield* TestClock.adjust("999 micros")
      expect(yield* stateOf(breaker)).toBe("open")
      yield* TestClock.adjust("1 micros")
      expect(yield* stateOf(breaker)).toBe("half_open")
    })
  )

  it.effect("ends at once when time jumps ahead", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ openDuration: "60 seconds" })
      yield* times(1, breaker.execute(refused))
      yield* TestClock.setTime(86_400_000)
      expect(yield* breaker.execute(answer)).toBe("answer")
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )
})

describe("a thousand calls at once", () => {
  const racers = 1000

  it.effect("make each transition exactly once", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(brief({ trip: CircuitBreaker.consecutive(5) }))
      const race = <A, E>(end: Effect.Effect<A, E>) =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const call = Effect.andThen(Deferred.await(gate), end)
          const fibers = yield* Effect.replicateEffect(Effect.forkChild(breaker.execute(call)), racers)
          yield* Effect.yieldNow
          yield* Deferred.succeed(gate, undefined)
          return yield* Effect.forEach(fibers, Fiber.await)
        })

      yield* race(refused)
      expect(transitionsIn(events)).toEqual(["CircuitOpened"])
      expect(yield* countsOf(breaker)).toMatchObject({ failed: racers, rejected: 0 })
      yield* TestClock.adjust("1 second")
      const exits = yield* race(answer)
      expect(exits.filter(Exit.isSuccess)).toHaveLength(1)
      expect(transitionsIn(events)).toEqual(["CircuitOpened", "CircuitHalfOpened", "CircuitClosed"])
      expect(yield* countsOf(breaker)).toEqual({
        total: 2 * racers,
        successful: 1,
        failed: racers,
        ignored: 0,
        rejected: racers - 1,
        fallback: 0
      })
      yield* race(refused)
      yield* TestClock.adjust("1 second")
      yield* race(refused)
      expect(transitionsIn(events).slice(3)).toEqual(["CircuitOpened", "CircuitHalfOpened", "CircuitOpened"])
    })
  )
})

describe("a classification", () => {
  const notFoundIsAnAnswer = Outcome.fromError((error) => !(error instanceof NotFound))

  it.effect("of the breaker's own decides what counts", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ classify: notFoundIsAnAnswer })
      yield* times(10, breaker.execute(Effect.fail(new NotFound())))
      expect(yield* breaker.snapshot).toMatchObject({
        state: "closed",
        counts: { successful: 10, failed: 0 }
      })
      yield* times(1, breaker.execute(refused))
      expect(yield* stateOf(breaker)).toBe("open")
    })
  )

  it.effect("of a call takes its place, in either order of arguments", () =>
    Effect.gen(function* () {
      const breaker = yield* brief()
      const empty = Effect.succeed({ rows: 0 })
      const classify = (exit: Exit.Exit<{ rows: number }, unknown>): Outcome.Outcome =>
        Exit.isSuccess(exit) && exit.value.rows === 0 ? Outcome.ignored : Outcome.fromExit(exit)
      expect(yield* CircuitBreaker.withBreaker(empty, breaker, { classify })).toEqual({ rows: 0 })
      expect(yield* empty.pipe(CircuitBreaker.withBreaker(breaker, { classify }))).toEqual({ rows: 0 })
      expect(yield* breaker.executeWith(empty, classify)).toEqual({ rows: 0 })
      expect(yield* countsOf(breaker)).toMatchObject({ total: 3, ignored: 3 })
      expect(yield* CircuitBreaker.withBreaker(empty, breaker)).toEqual({ rows: 0 })
      expect(yield* empty.pipe(CircuitBreaker.withBreaker(breaker))).toEqual({ rows: 0 })
      expect(yield* countsOf(breaker)).toMatchObject({ total: 5, ignored: 3, successful: 2 })
    })
  )

  it.effect("that throws changes nothing for the call, and the default one decides", () =>
    Effect.gen(function* () {
      const throwing = (): Outcome.Outcome => {
        throw new Error("a bug in classify")
      }
      const breaker = yield* brief({ classify: throwing, trip: CircuitBreaker.consecutive(3) })
      expect(yield* breaker.execute(answer)).toBe("answer")
      expect(yield* Effect.exit(breaker.execute(refused))).toEqual(Exit.fail("refused"))
      expect(yield* Effect.exit(breaker.execute(Effect.die("defect")))).toEqual(Exit.die("defect"))
      expect(yield* Effect.exit(breaker.execute(Effect.interrupt)).pipe(Effect.map(Exit.hasInterrupts))).toBe(
        true
      )
      expect(yield* countsOf(breaker)).toMatchObject({ total: 4, successful: 1, failed: 2, ignored: 1 })
      yield* times(1, breaker.execute(refused))
      expect(yield* stateOf(breaker)).toBe("open")
      yield* TestClock.adjust("1 second")
      expect(yield* breaker.execute(answer)).toBe("answer")
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )
})

describe("listeners", () => {
  const openAndClose = (breaker: CircuitBreaker.CircuitBreaker) =>
    Effect.gen(function* () {
      expect(yield* Effect.exit(breaker.execute(refused))).toEqual(Exit.fail("refused"))
      expect((yield* Effect.flip(breaker.execute(answer)))._tag).toBe("ServiceUnavailable")
      yield* TestClock.adjust("1 second")
      expect(yield* breaker.execute(answer)).toBe("answer")
      expect(yield* stateOf(breaker)).toBe("closed")
    })

  it.effect("that throw are not felt by calls, and do not keep others from hearing", () =>
    Effect.gen(function* () {
      const heard: Array<PolicyEvent.PolicyEvent> = []
      const throwing = (): void => {
        throw new Error("a bug in a listener")
      }
      const breaker = yield* brief().pipe(
        Effect.provideService(PolicyEvent.Listeners, [throwing, (event) => heard.push(event), throwing])
      )
      yield* openAndClose(breaker)
      expect(transitionsIn(heard)).toEqual(["CircuitOpened", "CircuitHalfOpened", "CircuitClosed"])
    })
  )

  const misbehaving: Record<string, Effect.Effect<unknown, string>> = {
    fail: Effect.fail("webhook down"),
    die: Effect.die("a bug in a listener"),
    hang: Effect.never
  }

  it.effect.each(Object.entries(misbehaving))("that %s do not slow or change calls", ([, listener]) =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const Listening = PolicyEvent.layerListener((event) =>
        Effect.andThen(
          Effect.sync(() => told.push(event._tag)),
          listener
        )
      )
      yield* Effect.gen(function* () {
        const breaker = yield* brief()
        yield* openAndClose(breaker)
        // A listener that hangs is given ten seconds for each event.
        yield* TestClock.adjust("1 minute")
        expect(told).toEqual(["CircuitOpened", "CallsRejected", "CircuitHalfOpened", "CircuitClosed"])
      }).pipe(Effect.provide(Listening))
    })
  )
})

describe("transitions", () => {
  it.effect("are streamed from the moment of asking until the scope closes", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const breaker = yield* brief().pipe(Effect.provideService(Scope.Scope, scope))
      yield* times(1, breaker.execute(refused))
      const reading = yield* Effect.forkChild(Stream.runCollect(breaker.transitions))
      yield* TestClock.adjust("1 second")
      yield* breaker.execute(answer)
      yield* times(1, breaker.execute(refused))
      yield* Scope.close(scope, Exit.void)
      expect(transitionsIn(yield* Fiber.join(reading))).toEqual([
        "CircuitHalfOpened",
        "CircuitClosed",
        "CircuitOpened"
      ])
      expect(yield* Stream.runCollect(breaker.transitions)).toEqual([])
    })
  )

  it.effect("are not waited for: a reader that falls behind loses the oldest", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const breaker = yield* brief().pipe(Effect.provideService(Scope.Scope, scope))
      const gate = yield* Deferred.make<void>()
      const reading = yield* breaker.transitions.pipe(
        Stream.mapEffect((transition) => Effect.as(Deferred.await(gate), transition)),
        Stream.runCollect,
        Effect.forkChild
      )
      yield* Effect.yieldNow
      for (let round = 0; round < 100; round++) {
        yield* times(1, breaker.execute(refused))
        yield* TestClock.adjust("1 second")
        yield* breaker.execute(answer)
      }
      yield* Deferred.succeed(gate, undefined)
      yield* Scope.close(scope, Exit.void)
      const read = yield* Fiber.join(reading)
      expect(read.length).toBeGreaterThan(100)
      expect(read.length).toBeLessThan(150)
      expect(read.at(-1)?._tag).toBe("CircuitClosed")
    })
  )
})

describe("a snapshot", () => {
  it.effect("counts every call once", () =>
    Effect.gen(function* () {
      const breaker = yield* brief({ trip: CircuitBreaker.consecutive(2) })
      yield* TestClock.setTime(1_700_000_000_000)
      yield* times(3, breaker.execute(answer))
      yield* times(2, breaker.execute(Effect.interrupt))
      yield* times(2, breaker.execute(refused))
      yield* times(4, breaker.execute(answer))
      yield* TestClock.adjust(250)
      expect(yield* breaker.snapshot).toEqual({
        name: "billing",
        enabled: true,
        state: "open",
        failuresInARow: 2,
        override: undefined,
        rates: [],
        counts: { total: 11, successful: 3, failed: 2, ignored: 2, rejected: 4, fallback: 0 },
        lastFailureAtMillis: 1_700_000_000_000,
        halfOpenIn: Duration.millis(750)
      })
    })
  )

  it.effect("of a new breaker is empty", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "search" })
      expect(yield* breaker.snapshot).toEqual({
        name: "search",
        enabled: true,
        state: "closed",
        failuresInARow: 0,
        override: undefined,
        rates: [],
        counts: { total: 0, successful: 0, failed: 0, ignored: 0, rejected: 0, fallback: 0 },
        lastFailureAtMillis: undefined,
        halfOpenIn: undefined
      })
    })
  )
})

describe("orElse", () => {
  it.effect("answers rejected calls and counts those alone", () =>
    Effect.gen(function* () {
      const breaker = yield* brief()
      const other = yield* brief({ name: "search" })
      const instead = breaker.orElse((error) => Effect.succeed(`${error.service}: ${error.reason._tag}`))
      yield* times(1, breaker.execute(refused))
      yield* times(1, other.execute(refused))
      expect(yield* breaker.execute(answer).pipe(instead)).toBe("billing: CircuitOpen")
      expect(yield* other.execute(answer).pipe(instead)).toBe("search: CircuitOpen")
      expect(yield* Effect.flip(refused.pipe(instead))).toBe("refused")
      yield* times(1, breaker.execute(answer))
      expect(yield* countsOf(breaker)).toMatchObject({ total: 3, rejected: 2, fallback: 1 })
      expect(yield* countsOf(other)).toMatchObject({ rejected: 1, fallback: 0 })
    })
  )
})

describe("a breaker that is switched off", () => {
  it.effect("runs calls as if it were not there", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(brief({ enabled: false }))
      const exits = yield* times(20, breaker.execute(refused))
      expect(exits).toEqual(Array.from({ length: 20 }, () => Exit.fail("refused")))
      expect(yield* CircuitBreaker.withBreaker(answer, breaker, { classify: () => Outcome.failure() })).toBe(
        "answer"
      )
      expect(breaker.execute(answer)).toBe(answer)
      expect(yield* breaker.snapshot).toMatchObject({ enabled: false, state: "closed", counts: { total: 0 } })
      expect(yield* breaker.isOpen).toBe(false)
      expect(yield* Stream.runCollect(breaker.transitions)).toEqual([])
      expect(
        yield* refused.pipe(
          breaker.orElse(() => answer),
          Effect.flip
        )
      ).toBe("refused")
      expect(events).toEqual([])
    })
  )
})

describe("health", () => {
  it.effect("shows a breaker for as long as it lives", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const breaker = yield* brief().pipe(Effect.provideService(Scope.Scope, scope))
      expect(yield* circuits).toMatchObject([{ name: "billing" }])
      yield* times(1, breaker.execute(refused))
      expect(yield* circuits).toEqual([yield* breaker.snapshot])
      yield* Scope.close(scope, Exit.void)
      expect(yield* circuits).toEqual([])
    }).pipe(Effect.provide(Health.layer))
  )
})
