/**
 * What users hand to a breaker may throw, die, fail or hang. The caller of a call feels none of it: it has its own result at
 * once, the circuit is where it should be, and the next call works.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Logger, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Outcome, Policy, PolicyEvent, Retry } from "failsoft"
import { transitionsIn } from "./hearing.ts"
import { interruptEverywhere, World } from "./interruption.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

const bug = (): never => {
  throw new Error("a bug of the user's")
}

const brief = (given?: Partial<CircuitBreaker.Options>) =>
  CircuitBreaker.make({
    name: "billing",
    trip: CircuitBreaker.consecutive(1),
    openDuration: "1 second",
    halfOpen: { successes: 1 },
    ...given
  })

/** The exit of a call that has to end without any time passing. */
const atOnce = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const from = yield* Clock.currentTimeMillis
    const exit = yield* Effect.exit(call)
    expect((yield* Clock.currentTimeMillis) - from).toBe(0)
    return exit
  })

const stateOf = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.snapshot, ({ state }) => state)

/** A circuit opens, rejects, is due, opens again, is due, and closes; each call gets its own result at once. */
const outage = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function* () {
    const { counts: before } = yield* breaker.snapshot
    expect(yield* atOnce(breaker.execute(answer))).toEqual(Exit.succeed("answer"))
    for (const failing of [refused, Effect.die("defect")]) {
      expect(yield* atOnce(breaker.execute(failing))).toEqual(yield* Effect.exit(failing))
      expect(yield* stateOf(breaker)).toBe("open")
      const rejected = yield* atOnce(Effect.flip(breaker.execute(answer)))
      expect(rejected).toMatchObject({ value: { reason: { _tag: "CircuitOpen" } } })
      yield* TestClock.adjust((yield* breaker.snapshot).halfOpenIn ?? 0)
    }
    expect(Exit.hasInterrupts(yield* atOnce(breaker.execute(Effect.interrupt)))).toBe(true)
    expect(yield* stateOf(breaker)).toBe("half_open")
    expect(yield* atOnce(breaker.execute(answer))).toEqual(Exit.succeed("answer"))
    const { counts, state } = yield* breaker.snapshot
    expect(state).toBe("closed")
    expect({
      total: counts.total - before.total,
      successful: counts.successful - before.successful,
      failed: counts.failed - before.failed,
      ignored: counts.ignored - before.ignored,
      rejected: counts.rejected - before.rejected
    }).toEqual({ total: 7, successful: 2, failed: 2, ignored: 1, rejected: 2 })
  })

const transitionsOfAnOutage = [
  "CircuitOpened",
  "CircuitHalfOpened",
  "CircuitOpened",
  "CircuitHalfOpened",
  "CircuitClosed"
]

describe("a classification", () => {
  const pretend = (value: unknown) => value as Outcome.Outcome
  const failing =
    (retryAfterMillis: number): typeof Outcome.fromExit =>
    (exit) => {
      const outcome = Outcome.fromExit(exit)
      return outcome._tag === "Failure" ? { _tag: "Failure", retryAfterMillis } : outcome
    }

  const hostile: Record<string, typeof Outcome.fromExit> = {
    throws: bug,
    "throws what is no error": () => {
      throw undefined
    },
    "answers nothing": () => pretend(undefined),
    "answers with an unknown tag": () => pretend({ _tag: "Maybe" }),
    "hints at no number": failing(Number.NaN),
    "hints at a time before now": failing(-60_000),
    "hints at the beginning of time": failing(Number.NEGATIVE_INFINITY),
    "hints at the least time there is": failing(Number.MIN_VALUE),
    "hints at the end of time": failing(Number.POSITIVE_INFINITY)
  }

  it.effect.each(Object.entries(hostile))("that %s is felt by no call", ([name, classify]) =>
    Effect.gen(function* () {
      const breaker = yield* brief({ classify })
      yield* outage(breaker)
      yield* Effect.exit(breaker.execute(refused))
      const { halfOpenIn } = yield* breaker.snapshot
      expect(halfOpenIn).toEqual(
        name === "hints at the end of time" ? Duration.minutes(5) : Duration.seconds(1)
      )
    })
  )

  it.effect.each(Object.entries(hostile))("of a single call that %s is felt by none", ([, classify]) =>
    Effect.gen(function* () {
      const breaker = yield* brief()
      yield* outage({ ...breaker, execute: (self) => breaker.executeWith(self, classify) })
      yield* outage(breaker)
    })
  )

  it.effect("that runs calls of its own, and resets the circuit, leaves a circuit that works", () =>
    Effect.gen(function* () {
      let depth = 0
      const runSync = Effect.runSyncWith(yield* Effect.context())
      const breaker: CircuitBreaker.CircuitBreaker = yield* brief({
        classify: (exit) => {
          depth++
          if (depth === 1) {
            runSync(Effect.exit(breaker.execute(refused)))
            runSync(breaker.reset)
          }
          return Outcome.fromExit(exit)
        }
      })
      // The reset comes before the end of the call that it is in, which so belongs to an earlier circuit.
      expect(yield* atOnce(breaker.execute(refused))).toEqual(Exit.fail("refused"))
      expect(yield* breaker.snapshot).toMatchObject({ state: "closed", counts: { total: 2, failed: 2 } })
      yield* outage(breaker)
    })
  )
})

describe("a listener", () => {
  const hostile: Record<string, (breaker: () => CircuitBreaker.CircuitBreaker) => PolicyEvent.Listener> = {
    throws: () => bug,
    "throws what is no error": () => () => {
      throw null
    },
    "asks the breaker": (breaker) => () => {
      Effect.runSync(breaker().snapshot)
      Effect.runSync(breaker().isOpen)
    },
    "answers with a promise that is rejected": () => () => {
      Promise.reject(new Error("a bug of the user's")).catch(() => undefined)
    }
  }

  it.effect.each(Object.entries(hostile))(
    "that %s is felt by no call, and by no other listener",
    ([, make]) =>
      Effect.gen(function* () {
        const heard: Array<PolicyEvent.PolicyEvent> = []
        const listener = make(() => breaker)
        const breaker: CircuitBreaker.CircuitBreaker = yield* brief().pipe(
          Effect.provideService(PolicyEvent.Listeners, [listener, (event) => heard.push(event), listener])
        )
        yield* outage(breaker)
        expect(transitionsIn(heard)).toEqual(transitionsOfAnOutage)
      })
  )

  it.effect("that makes calls, overrides and resets from within is told of them in turn, and ends", () =>
    Effect.gen(function* () {
      const heard: Array<string> = []
      const runSync = Effect.runSyncWith(yield* Effect.context())
      const acts: Record<
        string,
        (breaker: CircuitBreaker.CircuitBreaker) => Effect.Effect<unknown, unknown>
      > = {
        CircuitOpened: (breaker) => Effect.andThen(Effect.exit(breaker.execute(answer)), breaker.reset),
        CircuitReset: (breaker) => breaker.override("closed", { reason: "calm", ttl: "1 second" }),
        CircuitOverridden: (breaker) => Effect.exit(breaker.execute(refused))
      }
      const breaker: CircuitBreaker.CircuitBreaker = yield* brief().pipe(
        Effect.provideService(PolicyEvent.Listeners, [
          (event) => {
            heard.push(event._tag)
            const act = acts[event._tag]
            if (act !== undefined) runSync(act(breaker))
          }
        ])
      )
      expect(yield* atOnce(breaker.execute(refused))).toEqual(Exit.fail("refused"))
      expect(heard).toEqual(["CircuitOpened", "CallsRejected", "CircuitReset", "CircuitOverridden"])
      yield* TestClock.adjust("1 second")
      expect(yield* atOnce(breaker.execute(answer))).toEqual(Exit.succeed("answer"))
      expect(heard.at(-1)).toBe("OverrideEnded")
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  const waiting: Record<string, () => Effect.Effect<unknown, string>> = {
    fails: () => Effect.fail("webhook down"),
    dies: () => Effect.die("a bug of the user's"),
    throws: bug,
    hangs: () => Effect.never,
    "is interrupted from within": () => Effect.interrupt,
    "cannot be interrupted for a day": () => Effect.uninterruptible(Effect.sleep("1 day"))
  }

  it.effect.each(Object.entries(waiting))(
    "with a fiber of its own that %s is felt by no call",
    ([, listener]) =>
      Effect.gen(function* () {
        const heard: Array<PolicyEvent.PolicyEvent> = []
        const breaker = yield* brief()
        yield* outage(breaker)
        // The clock stood still but for the two open times.
        expect(yield* Clock.currentTimeMillis).toBe(2000)
        yield* TestClock.adjust("30 days")
        expect(transitionsIn(heard)).toEqual([])
      }).pipe(Effect.provide(PolicyEvent.layerListener(listener)))
  )
})

describe("a logger", () => {
  const hostile: Record<string, Logger.Logger<unknown, unknown>> = {
    throws: Logger.make(bug),
    "throws what is no error": Logger.make(() => {
      throw undefined
    }),
    "answers with an effect that hangs": Logger.make(() => Effect.never),
    "asks for what an event does not have": Logger.make(({ message }) =>
      (message as { at: { all: () => unknown } }).at.all()
    )
  }

  it.effect.each(Object.entries(hostile))("that %s is felt by no call", ([, logger]) =>
    Effect.gen(function* () {
      const heard: Array<PolicyEvent.PolicyEvent> = []
      const breaker = yield* brief().pipe(
        Effect.provideService(PolicyEvent.Listeners, [(event) => heard.push(event)])
      )
      yield* outage(breaker)
      yield* breaker.override("open", { reason: "test", ttl: "1 second" })
      yield* breaker.reset
      yield* outage(breaker)
      expect(transitionsIn(heard)).toEqual([
        ...transitionsOfAnOutage,
        "CircuitReset",
        ...transitionsOfAnOutage
      ])
    }).pipe(Effect.provide(Logger.layer([logger])))
  )

  it("that throws leaks no probe, wherever the call is interrupted", () => {
    const loud = Logger.layer([Logger.make(bug)])
    const interrupted = interruptEverywhere((world) => {
      const breaker = world.value(brief().pipe(Effect.provideService(Scope.Scope, world.value(Scope.make()))))
      world.run(breaker.execute(refused))
      world.clock.nowMillis += 1000
      return {
        program: breaker.execute(answer).pipe(Effect.provide(loud)),
        verify: () => {
          expect(world.run(breaker.execute(answer))).toEqual(Exit.succeed("answer"))
          expect(world.value(breaker.snapshot).state).toBe("closed")
        }
      }
    })
    expect(interrupted).toBeGreaterThan(10)
  })
})

describe("a probe", () => {
  const hostile: Record<string, Effect.Effect<unknown, unknown>> = {
    fails: refused,
    dies: Effect.die("a bug of the user's"),
    throws: Effect.suspend(bug),
    "hangs for ever": Effect.never,
    "is slow": Effect.delay(answer, "20 seconds"),
    "is interrupted from within": Effect.interrupt,
    "cannot be interrupted for a minute": Effect.uninterruptible(Effect.sleep("1 minute"))
  }

  it.effect.each(Object.entries(hostile))("that %s is felt by no call", ([, effect]) =>
    Effect.gen(function* () {
      let isMended = false
      const breaker = yield* brief({
        openDuration: "1 minute",
        halfOpen: { successes: 1, maxWait: "10 seconds" },
        probe: { effect: Effect.suspend(() => (isMended ? answer : effect)), every: "1 second" }
      })
      yield* Effect.exit(breaker.execute(refused))
      for (let second = 0; second < 600; second++) {
        const exit = yield* atOnce(breaker.execute(answer))
        if (Exit.isFailure(exit)) {
          expect(exit).toMatchObject(Exit.fail({ reason: { _tag: "CircuitOpen" } }))
        }
        yield* TestClock.adjust("1 second")
      }
      isMended = true
      yield* TestClock.adjust("2 minutes")
      expect(yield* stateOf(breaker)).toBe("closed")
      expect(yield* atOnce(breaker.execute(answer))).toEqual(Exit.succeed("answer"))
      const { counts } = yield* breaker.snapshot
      expect(counts.total).toBe(counts.successful + counts.failed + counts.ignored + counts.rejected)
    })
  )

  it("that cannot be interrupted and hangs for ever leaves its slot to calls", () => {
    const world = new World()
    const breaker = world.value(
      brief({
        halfOpen: { successes: 1, maxWait: "10 seconds" },
        probe: { effect: Effect.uninterruptible(Effect.never), every: "1 second" }
      }).pipe(Effect.provideService(Scope.Scope, world.value(Scope.make())))
    )
    for (let opening = 0; opening < 3; opening++) {
      world.run(breaker.execute(refused))
      world.run(Effect.sleep("10900 millis"))
      expect(Exit.isFailure(world.run(breaker.execute(answer)))).toBe(true)
      world.run(Effect.sleep("200 millis"))
      expect(world.run(breaker.execute(answer))).toEqual(Exit.succeed("answer"))
      expect(world.value(breaker.snapshot).state).toBe("closed")
    }
  })

  it("that hangs through many openings holds no slot, and no fiber but its own", () => {
    const world = new World()
    const breaker = world.value(
      brief({ probe: { effect: Effect.never, every: "1 second" }, halfOpen: { maxWait: "2 seconds" } }).pipe(
        Effect.provideService(Scope.Scope, world.value(Scope.make()))
      )
    )
    world.run(breaker.execute(refused))
    world.run(Effect.sleep(Duration.millis(3_600_500)))
    expect(world.value(breaker.snapshot).counts).toMatchObject({ failed: 1201, rejected: 0 })
    expect(world.clock.sleepers).toHaveLength(1)
  })

  const whileClosing: ReadonlyArray<readonly [name: string, effect: Effect.Effect<unknown>, waits: number]> =
    [
      ["hangs", Effect.never, 0],
      ["cannot be interrupted for 5 s", Effect.uninterruptible(Effect.sleep("5 seconds")), 5000],
      ["has a finalizer that dies", Effect.onInterrupt(Effect.never, () => Effect.die("a bug")), 0]
    ]

  it.effect.each(whileClosing)(
    "that %s while the scope closes leaves a breaker that works",
    ([, effect, waits]) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const breaker = yield* brief({ probe: { effect, every: "1 second" } }).pipe(
          Effect.provideService(Scope.Scope, scope)
        )
        yield* Effect.exit(breaker.execute(refused))
        yield* TestClock.adjust("1 second")
        const from = yield* Clock.currentTimeMillis
        const closing = yield* Effect.forkChild(
          Effect.andThen(Effect.exit(Scope.close(scope, Exit.void)), Clock.currentTimeMillis),
          { startImmediately: true }
        )
        // An interrupted probe has given its slot back already.
        expect((yield* atOnce(breaker.execute(answer)))._tag).toBe(waits === 0 ? "Success" : "Failure")
        yield* TestClock.adjust("5 seconds")
        expect((yield* Fiber.join(closing)) - from).toBe(waits)
        expect(yield* atOnce(breaker.execute(answer))).toEqual(Exit.succeed("answer"))
        yield* outage(breaker)
      })
  )
})

describe("a Schedule", () => {
  type Step = Effect.Effect<[number, Duration.Duration]>
  const fixed: [number, Duration.Duration] = [0, Duration.seconds(1)]
  const hostile: Record<string, () => Step> = {
    throws: bug,
    dies: () => Effect.die("a bug of the user's"),
    "is interrupted": () => Effect.interrupt,
    hangs: () => Effect.never
  }

  it.effect("of open times is played when the breaker is made, and never again", () =>
    Effect.gen(function* () {
      let steps = 0
      const openDuration = Schedule.fromStep(
        Effect.succeed((): Step => {
          steps++
          return Effect.succeed(fixed)
        })
      )
      const breaker = yield* brief({ openDuration })
      const played = steps
      yield* outage(breaker)
      expect(steps).toBe(played)
    })
  )

  it.effect("of open times that hangs lets whoever makes the breaker go", () =>
    Effect.gen(function* () {
      const openDuration = Schedule.fromStep(Effect.succeed((): Step => Effect.never))
      const making = yield* Effect.forkChild(brief({ openDuration }), { startImmediately: true })
      yield* Fiber.interrupt(making)
      expect(Exit.hasInterrupts(yield* Fiber.await(making))).toBe(true)
    })
  )

  it.effect.each(Object.entries(hostile))("of retries that %s keeps nothing of the circuit", ([, step]) =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        deadline: "1 minute",
        attemptTimeout: "10 seconds",
        retry: { attempts: 3, schedule: Schedule.fromStep(Effect.succeed(step)) },
        breaker: {
          trip: CircuitBreaker.consecutive(2),
          openDuration: "1 second",
          halfOpen: { probes: 1, successes: 1 }
        }
      })
      const breaker = policy.breaker!
      const calls = [
        yield* Effect.forkChild(policy.execute(refused), { startImmediately: true }),
        yield* Effect.forkChild(policy.execute(refused), { startImmediately: true })
      ]
      expect(yield* breaker.snapshot).toMatchObject({ state: "open", counts: { total: 2, failed: 2 } })
      yield* TestClock.adjust("1 second")
      expect(yield* atOnce(policy.execute(answer))).toEqual(Exit.succeed("answer"))
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* Fiber.interruptAll(calls)
      expect(yield* atOnce(policy.execute(answer))).toEqual(Exit.succeed("answer"))
    })
  )

  it.effect.each(Object.entries(hostile).filter(([name]) => name !== "hangs"))(
    "of retries that %s gives the caller its own error at once",
    ([, step]) =>
      Effect.gen(function* () {
        const retry = yield* Retry.make({
          name: "billing",
          schedule: Schedule.fromStep(Effect.succeed(step))
        })
        const exit = yield* atOnce(refused.pipe(retry.execute))
        expect(exit).toMatchObject(
          Exit.fail({ reason: { _tag: "RetriesExhausted", attempts: 1, lastError: "refused" } })
        )
      })
  )
})

describe("a fallback", () => {
  it.effect("that throws counts the rejection once, and the next one as well", () =>
    Effect.gen(function* () {
      const breaker = yield* brief()
      yield* Effect.exit(breaker.execute(refused))
      const instead = breaker.execute(answer).pipe(breaker.orElse((): Effect.Effect<never> => bug()))
      for (const fallback of [1, 2]) {
        expect((yield* atOnce(instead))._tag).toBe("Failure")
        expect((yield* breaker.snapshot).counts).toMatchObject({ rejected: fallback, fallback })
      }
    })
  )
})
