import { describe, expect, it } from "@effect/vitest"
import {
  Cause,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Schedule,
  Scope
} from "effect"
import { TestClock } from "effect/testing"
import { Degradable, type PolicyEvent, type ServiceUnavailable } from "failsoft"
import { inTime, reasonOf } from "./calls.ts"
import {
  type Attempt,
  Greeter,
  greeterLayer,
  makeGreeter,
  primaryOf,
  unavailable,
  wrongPassword
} from "./greeter.ts"
import { hearing } from "./hearing.ts"
import { interruptEverywhere } from "./interruption.ts"

type BuildError = ServiceUnavailable | typeof wrongPassword | "other"

const modes = ["optional", "required", "background"] as const

/** How the attempts to build a primary may come out. */
const primaries: Record<string, readonly [Attempt<BuildError>, ...ReadonlyArray<Attempt<BuildError>>]> = {
  "is there at once": [Effect.void],
  "is there after 2 s": [Effect.sleep("2 seconds")],
  "is refused, and there at the second attempt": [Effect.fail(unavailable), Effect.void],
  "is refused for ever": [Effect.fail(unavailable)],
  hangs: [Effect.never],
  "hangs and cannot be interrupted": [Effect.uninterruptible(Effect.sleep("1 minute"))],
  "dies, and is there at the second attempt": [Effect.die("defect"), Effect.void],
  "interrupts itself, and is there at the second attempt": [Effect.interrupt, Effect.void],
  "is misconfigured": [Effect.fail(wrongPassword)],
  "fails otherwise": [Effect.fail("other")],
  "is misconfigured after 2 s": [Effect.andThen(Effect.sleep("2 seconds"), Effect.fail(wrongPassword))]
}

/** How a start came out: who answers, or what it failed with. */
const outcomeOf = (exit: Exit.Exit<Context.Context<Greeter>, unknown>) =>
  Exit.isSuccess(exit)
    ? Effect.orDie(Context.get(exit.value, Greeter).greet("Ada"))
    : Effect.succeed(reasonOf(exit) ?? Cause.squash(exit.cause))

const timedOut = { _tag: "TimedOut", after: Duration.seconds(5), of: Duration.seconds(5) }
const exhausted = { _tag: "RetriesExhausted", attempts: 3, lastError: unavailable }

const expected: Record<keyof typeof primaries, Record<(typeof modes)[number], readonly [unknown, number]>> = {
  "is there at once": {
    optional: ["live Ada", 0],
    required: ["live Ada", 0],
    background: ["plain Ada", 0]
  },
  "is there after 2 s": {
    optional: ["live Ada", 2000],
    required: ["live Ada", 2000],
    background: ["plain Ada", 0]
  },
  "is refused, and there at the second attempt": {
    optional: ["plain Ada", 0],
    required: ["live Ada", 2000],
    background: ["plain Ada", 0]
  },
  "is refused for ever": {
    optional: ["plain Ada", 0],
    required: [exhausted, 5000],
    background: ["plain Ada", 0]
  },
  hangs: {
    optional: ["plain Ada", 5000],
    required: [timedOut, 5000],
    background: ["plain Ada", 0]
  },
  "hangs and cannot be interrupted": {
    optional: ["plain Ada", 5000],
    required: [timedOut, 5000],
    background: ["plain Ada", 0]
  },
  "dies, and is there at the second attempt": {
    optional: ["plain Ada", 0],
    required: ["live Ada", 2000],
    background: ["plain Ada", 0]
  },
  "interrupts itself, and is there at the second attempt": {
    optional: ["plain Ada", 0],
    required: ["live Ada", 2000],
    background: ["plain Ada", 0]
  },
  "is misconfigured": {
    optional: [wrongPassword, 0],
    required: [wrongPassword, 0],
    background: ["plain Ada", 0]
  },
  "fails otherwise": { optional: ["other", 0], required: ["other", 0], background: ["plain Ada", 0] },
  "is misconfigured after 2 s": {
    optional: [wrongPassword, 2000],
    required: [wrongPassword, 2000],
    background: ["plain Ada", 0]
  }
}

const starts = Object.entries(primaries).flatMap(([primary, attempts]) =>
  modes.map((mode) => ({ primary, attempts, mode, expected: expected[primary]?.[mode] }))
)

const everyTwoSeconds = Schedule.spaced("2 seconds")
const silent = Logger.layer([])

describe("the start", () => {
  it.effect.each(starts)("in mode $mode, when the primary $primary", ({ attempts, expected, mode }) =>
    Effect.gen(function* () {
      const { layer, ledger } = primaryOf(attempts)
      const scope = yield* Scope.make()
      const start = Layer.buildWithScope(
        greeterLayer({ primary: layer, startup: { mode }, recovery: everyTwoSeconds }),
        scope
      )
      const [exit, tookMillis] = yield* inTime(start)
      expect([yield* outcomeOf(exit), tookMillis]).toEqual(expected)
      // However it came out, whatever was opened is closed once, as soon as the attempt lets go of it.
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 minute")
      expect(ledger.closed).toBe(ledger.opened)
      const { attempts: made } = ledger
      yield* TestClock.adjust("1 hour")
      expect(ledger.attempts).toBe(made)
    }).pipe(Effect.provide(silent))
  )

  it.effect("waits as long as it is told to, even where nothing can be interrupted", () =>
    Effect.gen(function* () {
      const { layer } = primaryOf([Effect.uninterruptible(Effect.sleep("1 hour"))])
      const start = makeGreeter({ primary: layer, startup: { timeout: "30 seconds" } })
      const [exit, tookMillis] = yield* inTime(Effect.uninterruptible(start))
      expect([Exit.isSuccess(exit), tookMillis]).toEqual([true, 30_000])
    })
  )

  it.effect("takes an error that the application knows for an outage", () =>
    Effect.gen(function* () {
      const isUnavailable = (error: unknown) => error === "other"
      const { layer } = primaryOf<BuildError>([Effect.fail("other")])
      const greeter = yield* makeGreeter({ primary: layer, isUnavailable })
      expect(yield* greeter.greet("Ada")).toBe("plain Ada")
    })
  )

  it.effect("never takes a wrong password for an outage, nor an outage for anything else", () =>
    Effect.gen(function* () {
      const wrong = makeGreeter({
        primary: primaryOf([Effect.fail(wrongPassword)]).layer,
        isUnavailable: () => true
      })
      expect(yield* Effect.flip(wrong)).toBe(wrongPassword)
      const away = makeGreeter({
        primary: primaryOf([Effect.fail(unavailable)]).layer,
        isUnavailable: () => false
      })
      expect(yield* (yield* away).greet("Ada")).toBe("plain Ada")
    })
  )

  it.effect("fails with the error itself when the predicate throws", () =>
    Effect.gen(function* () {
      const isUnavailable = () => {
        throw new Error("a bug")
      }
      const { layer } = primaryOf<BuildError>([Effect.fail("other")])
      expect(yield* Effect.flip(makeGreeter({ primary: layer, isUnavailable }))).toBe("other")
    })
  )

  it.effect("fails when the degraded service cannot be built, and builds no primary", () =>
    Effect.gen(function* () {
      const { layer, ledger } = primaryOf([Effect.void])
      const start = Layer.build(
        Degradable.layer(Greeter, {
          name: "greeter",
          primary: layer,
          degraded: Layer.effect(Greeter, Effect.fail("no disk"))
        })
      )
      expect(yield* Effect.flip(start)).toBe("no disk")
      expect(ledger.attempts).toBe(0)
    })
  )

  it.effect("is over when it is interrupted, and so are the attempts", () =>
    Effect.gen(function* () {
      const { layer, ledger } = primaryOf([Effect.never])
      const fiber = yield* Effect.forkChild(Effect.scoped(makeGreeter({ primary: layer })))
      yield* TestClock.adjust("1 second")
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 0 })
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 hour")
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 1 })
    })
  )
})

describe("a primary that comes late", () => {
  it.effect("is tried again by the schedule, one attempt at a time, and built once", () =>
    Effect.gen(function* () {
      const attempt = Effect.andThen(Effect.sleep("1 second"), Effect.fail(unavailable))
      const { layer, ledger } = primaryOf([attempt, attempt, Effect.void])
      const greeter = yield* makeGreeter({
        primary: layer,
        startup: { mode: "background" },
        recovery: Schedule.spaced("10 seconds")
      })
      const at = (seconds: number) =>
        Effect.gen(function* () {
          yield* TestClock.setTime(seconds * 1000)
          return [ledger.attempts, ledger.opened - ledger.closed, yield* greeter.greet("Ada")]
        })
      expect(yield* at(0)).toEqual([1, 1, "plain Ada"])
      expect(yield* at(1)).toEqual([1, 0, "plain Ada"])
      expect(yield* at(10.999)).toEqual([1, 0, "plain Ada"])
      expect(yield* at(11)).toEqual([2, 1, "plain Ada"])
      expect(yield* at(12)).toEqual([2, 0, "plain Ada"])
      expect(yield* at(22)).toEqual([3, 1, "live Ada"])
      expect(yield* at(3600)).toEqual([3, 1, "live Ada"])
    })
  )

  it.effect("is waited for half a minute at most, unless told otherwise", () =>
    Effect.gen(function* () {
      const at: Array<number> = []
      const attempt = Effect.flatMap(
        Effect.clockWith((clock) => clock.currentTimeMillis),
        (now) => {
          at.push(now)
          return Effect.fail(unavailable)
        }
      )
      yield* makeGreeter({ primary: primaryOf([attempt]).layer })
      yield* TestClock.adjust("10 minutes")
      const waits = at.slice(1).map((now, index) => (now - (at[index] ?? 0)) / 1000)
      const plain = [1, 2, 4, 8, 16, ...waits.slice(5).map(() => 30)]
      expect(waits.length).toBeGreaterThan(15)
      waits.forEach((wait, index) => {
        expect(wait).toBeGreaterThanOrEqual((plain[index] ?? 0) * 0.799)
        expect(wait).toBeLessThanOrEqual((plain[index] ?? 0) * 1.201)
      })
    })
  )

  it.effect("is no longer tried for when the schedule ends", () =>
    Effect.gen(function* () {
      const { layer, ledger } = primaryOf([Effect.fail(unavailable)])
      const recovery = Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 3 }))
      const greeter = yield* makeGreeter({ primary: layer, recovery })
      yield* TestClock.adjust("1 hour")
      expect(ledger).toEqual({ attempts: 4, opened: 4, closed: 4 })
      expect(yield* greeter.greet("Ada")).toBe("plain Ada")
    })
  )

  it.effect("is tried again even when an attempt is cleaned up badly", () =>
    Effect.gen(function* () {
      const untidy = Effect.andThen(
        Effect.addFinalizer(() => Effect.die("clean-up failed")),
        Effect.fail(unavailable)
      )
      const { layer } = primaryOf([untidy, Effect.void])
      const greeter = yield* makeGreeter({ primary: layer, recovery: everyTwoSeconds })
      yield* TestClock.adjust("2 seconds")
      expect(yield* greeter.greet("Ada")).toBe("live Ada")
    })
  )

  it.effect("logs a defect once, and an interruption not at all", () => {
    const lines: Array<unknown> = []
    const logger = Logger.make(({ cause, logLevel, message }) => {
      lines.push([logLevel, message, Cause.squash(cause)])
    })
    return Effect.gen(function* () {
      const { layer } = primaryOf([Effect.interrupt, Effect.die("defect"), Effect.die("defect"), Effect.void])
      const greeter = yield* makeGreeter({ primary: layer, recovery: everyTwoSeconds })
      yield* TestClock.adjust("6 seconds")
      expect(yield* greeter.greet("Ada")).toBe("live Ada")
      expect(lines.slice(1, -1)).toEqual([
        ["Error", ["greeter: the primary cannot be built, trying on"], "defect"]
      ])
    }).pipe(Effect.provide(Logger.layer([logger])))
  })

  it.effect("logs an error that nobody waits for once, however often it comes", () => {
    const lines: Array<unknown> = []
    const logger = Logger.make(({ cause, logLevel, message }) => {
      lines.push([logLevel, message, Cause.squash(cause)])
    })
    return Effect.gen(function* () {
      const { layer, ledger } = primaryOf<BuildError>([Effect.fail(unavailable), Effect.fail(wrongPassword)])
      yield* makeGreeter({ primary: layer, recovery: everyTwoSeconds })
      yield* TestClock.adjust("1 minute")
      expect(ledger.attempts).toBe(31)
      expect(lines.slice(1)).toEqual([
        ["Error", ["greeter: the primary cannot be built, trying on"], wrongPassword]
      ])
    }).pipe(Effect.provide(Logger.layer([logger])))
  })
})

describe("the end", () => {
  const release = (primary: Attempt) =>
    Effect.gen(function* () {
      const { layer, ledger } = primaryOf([primary])
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(greeterLayer({ primary: layer, startup: { mode: "background" } }), scope)
      return { ledger, scope }
    })

  it.effect("comes before the first attempt, and none is made", () =>
    Effect.gen(function* () {
      const { ledger, scope } = yield* release(Effect.void)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 hour")
      expect(ledger).toEqual({ attempts: 0, opened: 0, closed: 0 })
    })
  )

  it.effect("comes at once while an attempt hangs, which is interrupted", () =>
    Effect.gen(function* () {
      const { ledger, scope } = yield* release(Effect.never)
      yield* TestClock.adjust("1 second")
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 0 })
      const [, tookMillis] = yield* inTime(Scope.close(scope, Exit.void))
      expect(tookMillis).toBe(0)
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 1 })
      yield* TestClock.adjust("1 hour")
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 1 })
    })
  )

  it.effect("comes at once while an attempt cannot be interrupted, which is closed when it ends", () =>
    Effect.gen(function* () {
      const { ledger, scope } = yield* release(Effect.uninterruptible(Effect.sleep("1 minute")))
      yield* TestClock.adjust("1 second")
      const [, tookMillis] = yield* inTime(Scope.close(scope, Exit.void))
      expect(tookMillis).toBe(0)
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 0 })
      yield* TestClock.adjust("59 seconds")
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 1 })
      yield* TestClock.adjust("1 hour")
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 1 })
    })
  )

  it.effect("comes between two attempts, and no other is made", () =>
    Effect.gen(function* () {
      const { layer, ledger } = primaryOf([Effect.fail(unavailable)])
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(greeterLayer({ primary: layer, recovery: everyTwoSeconds }), scope)
      yield* TestClock.adjust("3 seconds")
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 hour")
      expect(ledger).toEqual({ attempts: 2, opened: 2, closed: 2 })
    })
  )

  it.effect("closes what was built, once, and waits for it", () =>
    Effect.gen(function* () {
      const slow = Effect.addFinalizer(() => Effect.sleep("3 seconds"))
      const { ledger, scope } = yield* release(slow)
      yield* TestClock.adjust("1 second")
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 0 })
      const [, tookMillis] = yield* inTime(Scope.close(scope, Exit.void))
      expect(tookMillis).toBe(3000)
      yield* Scope.close(scope, Exit.void)
      expect(ledger).toEqual({ attempts: 1, opened: 1, closed: 1 })
    })
  )

  it.effect("leaves calls that are under way to the primary, and gives later ones to the degraded side", () =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<string>()
      const { layer } = primaryOf([Effect.void], () => Deferred.await(end))
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(greeterLayer({ primary: layer }), scope)
      const { greet } = Context.get(context, Greeter)
      const call = yield* Effect.forkChild(greet("Ada"), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      expect(yield* greet("Grace")).toBe("plain Grace")
      yield* Deferred.succeed(end, "live after all")
      expect(yield* Fiber.join(call)).toBe("live after all")
    })
  )
})

describe("interrupted at any point", () => {
  const attempts: Record<string, readonly [Attempt<BuildError>, ...ReadonlyArray<Attempt<BuildError>>]> = {
    "that is there at once": [Effect.void],
    "that is there after a while": [Effect.sleep("1 second")],
    "that is there at the third attempt": [
      Effect.andThen(Effect.sleep("1 second"), Effect.fail(unavailable)),
      Effect.die("defect"),
      Effect.void
    ],
    "that cannot be interrupted": [Effect.uninterruptible(Effect.sleep("3 seconds"))]
  }

  it.each(modes.flatMap((mode) => Object.keys(attempts).map((primary) => [mode, primary] as const)))(
    "a start in mode %s with a primary %s leaves nothing behind",
    (mode, primary) => {
      const interruptions = interruptEverywhere((world) => {
        const { layer, ledger } = primaryOf(attempts[primary] ?? [Effect.void])
        const greeter = greeterLayer({
          primary: layer,
          startup: { mode, timeout: "2 seconds" },
          recovery: Schedule.spaced("500 millis")
        })
        const program = Effect.scoped(
          Effect.gen(function* () {
            const { greet } = Context.get(yield* Layer.build(greeter), Greeter)
            yield* greet("Ada")
            yield* Effect.sleep("5 seconds")
            yield* greet("Ada")
          })
        )
        return {
          program,
          verify: (_, at) => {
            // An attempt that cannot be interrupted goes on until it ends.
            while (world.clock.wakeNext()) world.run(Effect.void)
            expect([at, ledger.opened, world.isIdle]).toEqual([at, ledger.closed, true])
          }
        }
      })
      expect(interruptions).toBeGreaterThan(20)
    }
  )
})

describe("what is told of a start", () => {
  const told = <E>(given: Parameters<typeof makeGreeter<E>>[0]) =>
    Effect.map(hearing(makeGreeter(given)), ({ events }) => events)

  it.effect("is nothing when the primary is there", () =>
    Effect.gen(function* () {
      const events = yield* told({})
      yield* TestClock.adjust("1 hour")
      expect(events).toEqual([])
    })
  )

  it.effect("is that it went without the primary, and when that came back", () =>
    Effect.gen(function* () {
      const { layer } = primaryOf([Effect.fail(unavailable), Effect.fail(unavailable), Effect.void])
      const events = yield* told({ primary: layer, recovery: everyTwoSeconds })
      expect(events).toEqual([
        {
          _tag: "DegradedStart",
          policy: "greeter",
          atMillis: 0,
          because: "unavailable",
          error: { tag: "ServiceUnavailable", name: "ServiceUnavailable" }
        }
      ])
      yield* TestClock.adjust("1 hour")
      expect(events.slice(1)).toEqual([
        {
          _tag: "ReturnedToPrimary",
          policy: "greeter",
          atMillis: 4000,
          attempts: 3,
          after: Duration.seconds(4)
        }
      ])
    })
  )

  it.effect("is why the start did not wait", () =>
    Effect.gen(function* () {
      const because = (events: ReadonlyArray<PolicyEvent.PolicyEvent>) =>
        events.map((event) => (event._tag === "DegradedStart" ? event.because : event._tag))
      const late = primaryOf([Effect.sleep("1 minute")]).layer
      const [events] = yield* Effect.map(inTime(told({ primary: late })), ([exit]) => [Exit.getSuccess(exit)])
      yield* TestClock.adjust("1 hour")
      expect(because(events?._tag === "Some" ? events.value : [])).toEqual(["timeout", "ReturnedToPrimary"])
      const background = yield* told({ startup: { mode: "background" } })
      yield* TestClock.adjust("1 hour")
      expect(because(background)).toEqual(["background", "ReturnedToPrimary"])
    })
  )

  it.effect("is nothing when it is given up, however the attempt ends then", () => {
    const lines: Array<unknown> = []
    const logger = Logger.make(({ message }) => void lines.push(message))
    return Effect.gen(function* () {
      const late = Effect.uninterruptible(
        Effect.andThen(Effect.sleep("2 seconds"), Effect.fail(wrongPassword))
      )
      for (const attempt of [Effect.never, late]) {
        const { layer } = primaryOf<typeof wrongPassword>([attempt])
        const fiber = yield* Effect.forkChild(Effect.scoped(makeGreeter({ primary: layer })))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust("1 hour")
      }
      expect(lines).toEqual([])
    }).pipe(Effect.provide(Logger.layer([logger])))
  })

  it.effect("is nothing of the kind when a required primary is missing, for then there is no start", () =>
    Effect.gen(function* () {
      const { layer } = primaryOf([Effect.fail(unavailable)])
      const events: Array<PolicyEvent.PolicyEvent> = []
      yield* inTime(Effect.exit(told({ primary: layer, startup: { mode: "required" } })))
      expect(events).toEqual([])
    })
  )
})
