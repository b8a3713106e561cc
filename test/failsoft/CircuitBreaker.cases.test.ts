/**
 * What other circuit breakers got wrong, or were asked about: one test for each sentence, under the sentence itself.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Outcome } from "failsoft"
import { hearing, transitionsIn } from "./hearing.ts"
import { RacingWorld } from "./racing.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

/** A breaker that opens at the first failure, for a second, and closes at the first successful probe. */
const brief = (given?: Partial<CircuitBreaker.Options>) =>
  hearing(
    CircuitBreaker.make({
      name: "billing",
      trip: CircuitBreaker.consecutive(1),
      openDuration: "1 second",
      halfOpen: { successes: 1 },
      ...given
    })
  )

type Hearing = Effect.Success<ReturnType<typeof brief>>

/** Opens a breaker and waits until it is due. */
const due = Effect.fnUntraced(function* ({ events, made }: Hearing) {
  yield* Effect.exit(made.execute(refused))
  yield* TestClock.adjust("1 second")
  events.length = 0
})

const stateOf = ({ made }: Hearing) => Effect.map(made.snapshot, ({ state }) => state)

/** Starts a call that ends when told to. */
const start = <A, E>({ made }: Hearing, end: Deferred.Deferred<A, E>) =>
  Effect.forkChild(Effect.exit(made.execute(Deferred.await(end))), { startImmediately: true })

/** Makes a call that takes its time. */
const taking = Effect.fnUntraced(function* (
  { made }: Hearing,
  takes: Duration.Input,
  call: Effect.Effect<unknown, unknown> = answer
) {
  const fiber = yield* Effect.forkChild(
    Effect.exit(made.execute(Effect.andThen(Effect.sleep(takes), call))),
    {
      startImmediately: true
    }
  )
  yield* TestClock.adjust(takes)
  return yield* Fiber.join(fiber)
})

describe("Call starts before a window rolls and ends after: the new window stays empty.", () => {
  const window = CircuitBreaker.failureRate({
    threshold: 1,
    minimumCalls: 1,
    window: CircuitBreaker.time("10 seconds")
  })

  it.effect.each([
    { how: "the circuit has opened and closed", roll: "probe" },
    { how: "the circuit was reset by hand", roll: "reset" }
  ] as const)("$how", ({ roll }) =>
    Effect.gen(function* () {
      const heard = yield* brief({ trip: window })
      const end = yield* Deferred.make<never, string>()
      const late = yield* start(heard, end)
      if (roll === "reset") yield* heard.made.reset
      else {
        yield* due(heard)
        yield* heard.made.execute(answer)
      }
      expect(yield* heard.made.snapshot).toMatchObject({ state: "closed", rates: [{ calls: 0 }] })
      heard.events.length = 0
      yield* Deferred.fail(end, "late")
      expect(yield* Fiber.join(late)).toEqual(Exit.fail("late"))
      expect(yield* heard.made.snapshot).toMatchObject({
        state: "closed",
        rates: [{ rate: undefined, calls: 0 }]
      })
      expect(heard.events).toEqual([])
    })
  )

  it.effect("a window of time that only moved on holds the call by its end", () =>
    Effect.gen(function* () {
      const heard = yield* brief({
        trip: CircuitBreaker.failureRate({
          threshold: 1,
          minimumCalls: 2,
          window: CircuitBreaker.time("10 seconds")
        })
      })
      yield* taking(heard, "1 minute", refused)
      expect(yield* heard.made.snapshot).toMatchObject({ rates: [{ rate: 1, calls: 1 }] })
      yield* TestClock.adjust("10 seconds")
      expect(yield* heard.made.snapshot).toMatchObject({ rates: [{ rate: undefined, calls: 0 }] })
    })
  )
})

describe("A defect counts once and is re-raised.", () => {
  const defect = new Error("unexpected")

  it.effect.each([
    ["by a row of failures", CircuitBreaker.consecutive(2)],
    [
      "by a rate",
      CircuitBreaker.failureRate({ threshold: 0.1, minimumCalls: 2, window: CircuitBreaker.count(5) })
    ]
  ] as const)("%s", ([, trip]) =>
    Effect.gen(function* () {
      const heard = yield* brief({ trip })
      expect(yield* Effect.exit(heard.made.execute(Effect.die(defect)))).toEqual(Exit.die(defect))
      expect(yield* heard.made.snapshot).toMatchObject({ state: "closed", counts: { total: 1, failed: 1 } })
      const thrown = Effect.sync((): never => {
        throw defect
      })
      expect(yield* Effect.exit(heard.made.execute(thrown))).toEqual(Exit.die(defect))
      expect(yield* heard.made.snapshot).toMatchObject({ state: "open", counts: { total: 2, failed: 2 } })
    })
  )
})

describe("Half-open:", () => {
  it.effect("an interrupted probe leaves it half-open and the next success counts", () =>
    Effect.gen(function* () {
      const heard = yield* brief()
      yield* due(heard)
      const probe = yield* start(heard, yield* Deferred.make())
      yield* Fiber.interrupt(probe)
      expect(yield* stateOf(heard)).toBe("half_open")
      expect(yield* heard.made.execute(answer)).toBe("answer")
      expect(yield* stateOf(heard)).toBe("closed")
      expect(transitionsIn(heard.events)).toEqual(["CircuitHalfOpened", "CircuitClosed"])
    })
  )

  it.effect("a probe that dies opens", () =>
    Effect.gen(function* () {
      const heard = yield* brief()
      yield* due(heard)
      expect(yield* Effect.exit(heard.made.execute(Effect.die("defect")))).toEqual(Exit.die("defect"))
      expect(yield* stateOf(heard)).toBe("open")
      expect(transitionsIn(heard.events)).toEqual(["CircuitHalfOpened", "CircuitOpened"])
    })
  )

  const classify = (exit: Exit.Exit<unknown, unknown>): Outcome.Outcome =>
    Exit.isFailure(exit) && Cause.squash(exit.cause) === "ignore" ? Outcome.ignored : Outcome.fromExit(exit)

  it.effect("an ignored error closes nothing and frees the slot", () =>
    Effect.gen(function* () {
      const heard = yield* brief({ classify })
      yield* due(heard)
      expect(yield* Effect.exit(heard.made.execute(Effect.fail("ignore")))).toEqual(Exit.fail("ignore"))
      expect(yield* stateOf(heard)).toBe("half_open")
      expect(yield* heard.made.execute(answer)).toBe("answer")
    })
  )

  it.effect("four ignored errors, then four successes close", () =>
    Effect.gen(function* () {
      const heard = yield* brief({ classify, halfOpen: { successes: 4 } })
      yield* due(heard)
      yield* Effect.replicateEffect(Effect.exit(heard.made.execute(Effect.fail("ignore"))), 4)
      yield* Effect.replicateEffect(heard.made.execute(answer), 3)
      expect(yield* stateOf(heard)).toBe("half_open")
      yield* heard.made.execute(answer)
      expect(yield* heard.made.snapshot).toMatchObject({
        state: "closed",
        counts: { ignored: 4, successful: 4, rejected: 0 }
      })
    })
  )
})

describe("Exponential(1 s, ×2):", () => {
  const growing = { openDuration: Schedule.exponential("1 second", 2) }

  it.effect("after a failed probe not half-open at +1 s, but at +2 s", () =>
    Effect.gen(function* () {
      const heard = yield* brief(growing)
      yield* due(heard)
      yield* Effect.exit(heard.made.execute(refused))
      yield* TestClock.adjust("1 second")
      expect(yield* stateOf(heard)).toBe("open")
      yield* TestClock.adjust(999)
      expect(yield* stateOf(heard)).toBe("open")
      yield* TestClock.adjust(1)
      expect(yield* stateOf(heard)).toBe("half_open")
    })
  )

  it.effect("after closing, 1 s again", () =>
    Effect.gen(function* () {
      const heard = yield* brief(growing)
      yield* due(heard)
      yield* Effect.exit(heard.made.execute(refused))
      yield* TestClock.adjust("2 seconds")
      yield* heard.made.execute(answer)
      // As long as it was last open: one that closes for a moment only has not recovered.
      yield* TestClock.adjust("2 seconds")
      yield* Effect.exit(heard.made.execute(refused))
      expect(yield* heard.made.snapshot).toMatchObject({ state: "open", halfOpenIn: Duration.seconds(1) })
    })
  )
})

describe("Slow calls at 4 s, 50 % of 5:", () => {
  it.effect("slow, slow, fast, fast, slow opens at 60 %", () =>
    Effect.gen(function* () {
      const heard = yield* brief({
        trip: CircuitBreaker.slowCallRate({
          threshold: 0.5,
          slowerThan: "4 seconds",
          minimumCalls: 5,
          window: CircuitBreaker.count(5)
        })
      })
      for (const takes of ["4 seconds", "4 seconds", 10, 10] as const) yield* taking(heard, takes)
      expect(yield* stateOf(heard)).toBe("closed")
      yield* taking(heard, "4 seconds")
      expect(heard.events).toMatchObject([
        { _tag: "CircuitOpened", because: { _tag: "SlowCallRate", rate: 0.6, threshold: 0.5, calls: 5 } }
      ])
    })
  )
})

describe("A late failure while open changes nothing and emits nothing.", () => {
  it.effect.each(["failure", "success", "interruption"] as const)("a late %s", (kind) =>
    Effect.gen(function* () {
      const heard = yield* brief()
      const end = yield* Deferred.make<string, string>()
      const late = yield* start(heard, end)
      yield* Effect.exit(heard.made.execute(refused))
      yield* TestClock.adjust(400)
      heard.events.length = 0
      const {
        counts: _,
        failuresInARow: __,
        lastFailureAtMillis: ___,
        ...before
      } = yield* heard.made.snapshot
      if (kind === "interruption") yield* Fiber.interrupt(late)
      else yield* kind === "failure" ? Deferred.fail(end, "late") : Deferred.succeed(end, "late")
      yield* Fiber.await(late)
      expect(yield* heard.made.snapshot).toMatchObject(before)
      expect(before).toMatchObject({ state: "open", halfOpenIn: Duration.millis(600) })
      expect(heard.events).toEqual([])
    })
  )
})

describe("A transition to the present state emits nothing.", () => {
  it.effect("opened by many failures that were under way", () =>
    Effect.gen(function* () {
      const heard = yield* brief()
      const end = yield* Deferred.make<never, string>()
      const fibers = yield* Effect.replicateEffect(start(heard, end), 10)
      yield* Deferred.fail(end, "refused")
      yield* Fiber.joinAll(fibers)
      expect(transitionsIn(heard.events)).toEqual(["CircuitOpened"])
    })
  )

  it.effect("half-opened by a second probe", () =>
    Effect.gen(function* () {
      const heard = yield* brief({ halfOpen: { probes: 3, successes: 5 } })
      yield* due(heard)
      const end = yield* Deferred.make<string>()
      const fibers = yield* Effect.replicateEffect(start(heard, end), 3)
      yield* Deferred.succeed(end, "answer")
      yield* Fiber.joinAll(fibers)
      expect(transitionsIn(heard.events)).toEqual(["CircuitHalfOpened"])
    })
  )

  it.effect("closed by a success after the last probe", () =>
    Effect.gen(function* () {
      const heard = yield* brief({ halfOpen: { probes: 2, successes: 1 } })
      yield* due(heard)
      const end = yield* Deferred.make<string>()
      const fibers = yield* Effect.replicateEffect(start(heard, end), 2)
      yield* Deferred.succeed(end, "answer")
      yield* Fiber.joinAll(fibers)
      yield* heard.made.execute(answer)
      expect(transitionsIn(heard.events)).toEqual(["CircuitHalfOpened", "CircuitClosed"])
    })
  )
})

describe("Simultaneous failures neither lose nor double a transition.", () => {
  it.each([1, 5, 50])("consecutive(%d)", (failures) => {
    for (let seed = 0; seed < 50; seed++) {
      const world = new RacingWorld(seed)
      const heard = world.value(Effect.scoped(brief({ trip: CircuitBreaker.consecutive(failures) })))
      world.finish(Array.from({ length: failures }, () => Effect.exit(heard.made.execute(refused))))
      expect(heard.events).toMatchObject([
        { _tag: "CircuitOpened", because: { failures, threshold: failures } }
      ])
    }
  })
})
