import { describe, expect, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  ConfigProvider,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Semaphore
} from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Deadline, Hedge, InvalidOption, Outcome, Policy, RetryBudget } from "failsoft"
import { inTime } from "./calls.ts"

const hedging = (given?: Partial<Hedge.Options>) =>
  Hedge.make({ name: "search", delay: "100 millis", ...given })

const idempotent = { idempotent: true } as const

interface Attempt {
  readonly afterMillis: number
  readonly comesTo?: Effect.Effect<string, string>
}

/**
 * A call whose attempts take the times of the script and come to what it says, each by default to its own number; those beyond
 * the script hang. `begun` and `ended` hold when, `ended` with the attempt's number.
 */
const scripted = (...script: ReadonlyArray<Attempt>) => {
  const begun: Array<number> = []
  const ended: Array<string> = []
  const call = Effect.gen(function* () {
    const number = begun.length
    begun.push(yield* Clock.currentTimeMillis)
    const attempt = script[number]
    if (attempt === undefined) return yield* Effect.never
    if (attempt.afterMillis > 0) yield* Effect.sleep(attempt.afterMillis)
    return yield* attempt.comesTo ?? Effect.succeed(`attempt ${number}`)
  }).pipe(
    Effect.onExit((exit) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const how = Exit.isSuccess(exit) ? "succeeded" : Exit.hasInterrupts(exit) ? "interrupted" : "failed"
        ended.push(`${how} at ${now}`)
      })
    )
  )
  return { begun, ended, call }
}

/** As `inTime` of `calls`, to the millisecond. */
const toTheMillisecond = <A, E, R>(call: Effect.Effect<A, E, R>, stepMillis = 5) =>
  Effect.gen(function* () {
    const from = yield* Clock.currentTimeMillis
    const timed = Effect.all([Effect.exit(call), Effect.map(Clock.currentTimeMillis, (now) => now - from)])
    const fiber = yield* Effect.forkChild(timed, { startImmediately: true })
    while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust(stepMillis)
    return yield* Fiber.join(fiber)
  })

const failing = (error: string) => Effect.fail(error)

describe("a call that is hedged", () => {
  const cases: ReadonlyArray<{
    readonly it: string
    readonly script: ReadonlyArray<Attempt>
    readonly begun: ReadonlyArray<number>
    readonly ended: ReadonlyArray<string>
    readonly exit: Exit.Exit<string, string>
    readonly after: number
  }> = [
    {
      it: "is made once when it ends at once",
      script: [{ afterMillis: 0 }],
      begun: [0],
      ended: ["succeeded at 0"],
      exit: Exit.succeed("attempt 0"),
      after: 0
    },
    {
      it: "is made once when it ends before the delay",
      script: [{ afterMillis: 95 }],
      begun: [0],
      ended: ["succeeded at 95"],
      exit: Exit.succeed("attempt 0"),
      after: 95
    },
    {
      it: "is answered by the second attempt when that is faster, and the first is interrupted",
      script: [{ afterMillis: 1000 }, { afterMillis: 50 }],
      begun: [0, 100],
      ended: ["succeeded at 150", "interrupted at 150"],
      exit: Exit.succeed("attempt 1"),
      after: 150
    },
    {
      it: "is answered by a second attempt that ends at once",
      script: [{ afterMillis: 1000 }, { afterMillis: 0 }],
      begun: [0, 100],
      ended: ["succeeded at 100", "interrupted at 100"],
      exit: Exit.succeed("attempt 1"),
      after: 100
    },
    {
      it: "is answered by the first attempt when that is faster after all, and the second is interrupted",
      script: [{ afterMillis: 120 }, { afterMillis: 1000 }],
      begun: [0, 100],
      ended: ["succeeded at 120", "interrupted at 120"],
      exit: Exit.succeed("attempt 0"),
      after: 120
    },
    {
      it: "fails at once when it fails at once, and is not made again",
      script: [{ afterMillis: 0, comesTo: failing("refused") }],
      begun: [0],
      ended: ["failed at 0"],
      exit: Exit.fail("refused"),
      after: 0
    },
    {
      it: "fails as soon as the only attempt has failed, and is not made again",
      script: [{ afterMillis: 50, comesTo: failing("refused") }],
      begun: [0],
      ended: ["failed at 50"],
      exit: Exit.fail("refused"),
      after: 50
    },
    {
      it: "waits for the second attempt when the first fails",
      script: [{ afterMillis: 120, comesTo: failing("refused") }, { afterMillis: 300 }],
      begun: [0, 100],
      ended: ["failed at 120", "succeeded at 400"],
      exit: Exit.succeed("attempt 1"),
      after: 400
    },
    {
      it: "waits for the first attempt when the second fails",
      script: [{ afterMillis: 500 }, { afterMillis: 0, comesTo: failing("refused") }],
      begun: [0, 100],
      ended: ["failed at 100", "succeeded at 500"],
      exit: Exit.succeed("attempt 0"),
      after: 500
    },
    {
      it: "fails with the last failure when both have failed",
      script: [
        { afterMillis: 500, comesTo: failing("the first") },
        { afterMillis: 50, comesTo: failing("the second") }
      ],
      begun: [0, 100],
      ended: ["failed at 150", "failed at 500"],
      exit: Exit.fail("the first"),
      after: 500
    },
    {
      it: "dies when its only attempt does",
      script: [{ afterMillis: 50, comesTo: Effect.die("defect") }],
      begun: [0],
      ended: ["failed at 50"],
      exit: Exit.die("defect"),
      after: 50
    },
    {
      it: "outlives an attempt that dies",
      script: [{ afterMillis: 120, comesTo: Effect.die("defect") }, { afterMillis: 100 }],
      begun: [0, 100],
      ended: ["failed at 120", "succeeded at 200"],
      exit: Exit.succeed("attempt 1"),
      after: 200
    }
  ]

  it.effect.each(cases)("$it", ({ after, begun, ended, exit, script }) =>
    Effect.gen(function* () {
      const hedge = yield* hedging()
      const scenario = scripted(...script)
      expect(yield* toTheMillisecond(scenario.call.pipe(Hedge.withHedge(hedge, idempotent)))).toEqual([
        exit,
        after
      ])
      yield* TestClock.adjust("1 hour")
      expect(scenario).toMatchObject({ begun, ended })
    })
  )

  it.effect("is made as often as is allowed, each attempt a delay after the one before", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging({ hedges: 3 })
      const { begun, call, ended } = scripted(
        { afterMillis: 10_000 },
        { afterMillis: 150, comesTo: failing("refused") },
        { afterMillis: 10_000 },
        { afterMillis: 700 }
      )
      const exit = yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)))
      expect(exit).toEqual([Exit.succeed("attempt 3"), 1000])
      expect(begun).toEqual([0, 100, 200, 300])
      expect(ended).toEqual([
        "failed at 250",
        "succeeded at 1000",
        "interrupted at 1000",
        "interrupted at 1000"
      ])
    })
  )

  it.effect("is made all at once when the delay is 0, unless it ends at once", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging({ delay: 0, hedges: 2 })
      const slow = scripted({ afterMillis: 300 }, { afterMillis: 100 }, { afterMillis: 200 })
      expect(yield* toTheMillisecond(slow.call.pipe(Hedge.withHedge(hedge, idempotent)))).toEqual([
        Exit.succeed("attempt 1"),
        100
      ])
      expect(slow.begun).toEqual([0, 0, 0])
      const second = scripted({ afterMillis: 300 }, { afterMillis: 0 })
      yield* toTheMillisecond(second.call.pipe(Hedge.withHedge(hedge, idempotent)))
      expect(second.begun).toEqual([100, 100])
      expect(second.ended).toEqual(["succeeded at 100", "interrupted at 100"])
      const fast = scripted({ afterMillis: 0 })
      yield* fast.call.pipe(Hedge.withHedge(hedge, idempotent))
      expect(fast.begun).toHaveLength(1)
    })
  )

  it.effect("is not made a third time when the second, started with it, ends at once", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", minPerSecond: 10 })
      const hedge = yield* hedging({ delay: 0, hedges: 2, budget })
      let asked = 0
      const mayHedge = Effect.sync(() => ++asked > 0)
      const { begun, call } = scripted({ afterMillis: 300 }, { afterMillis: 0 })
      yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, { idempotent: true, mayHedge })))
      expect([begun, asked]).toEqual([[0, 0], 1])
      expect(yield* budget.snapshot).toMatchObject({ withdrawn: 1, refunded: 0 })
    })
  )

  it("is made all at once without waiting for a timer", () => {
    const hedge = Effect.runSync(Effect.scoped(hedging({ delay: 0, hedges: 2 })))
    let begun = 0
    const hanging = Effect.suspend(() => {
      begun++
      return Effect.never
    })
    const fiber = Effect.runFork(hanging.pipe(Hedge.withHedge(hedge, idempotent)))
    expect(begun).toBe(3)
    fiber.interruptUnsafe()
  })

  it.effect("that fails is won by nobody", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging()
      const { begun, call } = scripted(
        { afterMillis: 120, comesTo: failing("the first") },
        { afterMillis: 50, comesTo: failing("the second") }
      )
      expect(yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)))).toEqual([
        Exit.fail("the second"),
        150
      ])
      expect(begun).toHaveLength(2)
      expect(yield* hedge.snapshot).toMatchObject({ calls: 1, hedges: 1, won: 0 })
    })
  )

  it.effect("is never made twice when the delay is infinite", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging({ delay: Duration.infinity, hedges: 5 })
      const { begun, call } = scripted({ afterMillis: 86_400_000 })
      const [exit] = yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)), 3_600_000)
      expect(exit).toEqual(Exit.succeed("attempt 0"))
      expect(begun).toEqual([0])
      expect((yield* hedge.snapshot).delay).toBeUndefined()
    })
  )

  it.effect("may run something else in its further attempts", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging({ hedges: 2 })
      const original = scripted({ afterMillis: 1000 })
      const variant = scripted({ afterMillis: 1000 }, { afterMillis: 10 })
      const [exit] = yield* toTheMillisecond(
        Hedge.withHedge(original.call, hedge, { idempotent: true, hedged: variant.call })
      )
      expect(exit).toEqual(Exit.succeed("attempt 1"))
      expect([original.begun, variant.begun]).toEqual([[0], [100, 200]])
    })
  )
})

describe("a call that is not idempotent", () => {
  it.effect.each([
    ["says so", { idempotent: false }],
    ["says nothing", {} as Hedge.CallOptions]
  ] as const)("is never hedged: it %s", ([, options]) =>
    Effect.gen(function* () {
      const hedge = yield* hedging({ delay: 0 })
      const { begun, call } = scripted({ afterMillis: 1000 })
      const exit = yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, options)))
      expect(exit).toEqual([Exit.succeed("attempt 0"), 1000])
      expect(begun).toEqual([0])
      expect(yield* hedge.snapshot).toMatchObject({ calls: 0, hedges: 0 })
    })
  )
})

describe("a hedge that is switched off", () => {
  it.effect("makes no further attempt", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search" })
      const hedge = yield* hedging({ enabled: false, delay: 0, budget })
      const { begun, call } = scripted({ afterMillis: 1000 })
      yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)))
      expect(begun).toEqual([0])
      expect(yield* hedge.snapshot).toEqual({
        name: "search",
        enabled: false,
        delay: undefined,
        calls: 0,
        hedges: 0,
        won: 0,
        refused: 0
      })
      expect((yield* budget.snapshot).deposited).toBe(0)
    })
  )
})

describe("mayHedge", () => {
  it.effect("is asked before each further attempt, and prevents it", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging({ hedges: 3 })
      const asked: Array<number> = []
      const mayHedge = Effect.map(Clock.currentTimeMillis, (now) => {
        asked.push(now)
        return now >= 300
      })
      const { begun, call } = scripted({ afterMillis: 1000 }, { afterMillis: 50 })
      const [exit] = yield* toTheMillisecond(
        call.pipe(Hedge.withHedge(hedge, { idempotent: true, mayHedge }))
      )
      expect(exit).toEqual(Exit.succeed("attempt 1"))
      expect(begun).toEqual([0, 300])
      expect(asked).toEqual([100, 200, 300])
      expect(yield* hedge.snapshot).toMatchObject({ calls: 1, hedges: 1, won: 1, refused: 2 })
    })
  )

  it.effect("that prevents an attempt takes no token", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", minPerSecond: 10 })
      const hedge = yield* hedging({ budget })
      const { call } = scripted({ afterMillis: 1000 })
      yield* toTheMillisecond(
        call.pipe(Hedge.withHedge(hedge, { idempotent: true, mayHedge: Effect.succeed(false) }))
      )
      expect(yield* budget.snapshot).toMatchObject({ withdrawn: 0, refused: 0 })
    })
  )

  it.effect("that dies leaves the call alone", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging()
      const { begun, call } = scripted({ afterMillis: 1000 })
      const exit = yield* toTheMillisecond(
        call.pipe(Hedge.withHedge(hedge, { idempotent: true, mayHedge: Effect.die("defect") }))
      )
      expect(exit).toEqual([Exit.succeed("attempt 0"), 1000])
      expect(begun).toEqual([0])
    })
  )

  it.effect("that takes its time is not waited for, and starts nothing afterwards", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging()
      const { begun, call } = scripted({ afterMillis: 200 })
      const mayHedge = Effect.as(Effect.sleep("1 second"), true)
      const exit = yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, { idempotent: true, mayHedge })))
      expect(exit).toEqual([Exit.succeed("attempt 0"), 200])
      yield* TestClock.adjust("1 hour")
      expect(begun).toEqual([0])
    })
  )
})

describe("a hedge with a budget", () => {
  it.effect("pays for each further attempt, and answers with the first when it cannot", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", ratio: 0, minPerSecond: 0.1 })
      const hedge = yield* hedging({ budget, hedges: 2 })
      const first = scripted({ afterMillis: 1000 })
      expect(yield* toTheMillisecond(first.call.pipe(Hedge.withHedge(hedge, idempotent)))).toEqual([
        Exit.succeed("attempt 0"),
        1000
      ])
      const second = scripted({ afterMillis: 1000 }, { afterMillis: 10 })
      expect(yield* toTheMillisecond(second.call.pipe(Hedge.withHedge(hedge, idempotent)))).toEqual([
        Exit.succeed("attempt 0"),
        1000
      ])
      expect([first.begun, second.begun]).toEqual([[0, 100], [1000]])
      expect(yield* hedge.snapshot).toMatchObject({ calls: 2, hedges: 1, won: 0, refused: 3 })
      expect(yield* budget.snapshot).toMatchObject({ withdrawn: 1, refused: 3, refunded: 0 })
    })
  )

  it.effect.each([
    ["success", 2],
    ["request", 4]
  ] as const)("credits it by %s: %d of four calls", ([credit, deposited]) =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", credit })
      const hedge = yield* hedging({ budget })
      yield* Effect.void.pipe(Hedge.withHedge(hedge, idempotent))
      yield* Effect.void.pipe(Hedge.withHedge(hedge, { idempotent: false }))
      yield* Effect.ignore(failing("refused").pipe(Hedge.withHedge(hedge, idempotent)))
      yield* Effect.exit(Effect.interrupt.pipe(Hedge.withHedge(hedge, idempotent)))
      expect((yield* budget.snapshot).deposited).toBe(deposited)
    })
  )

  it.effect("credits a call once, however many attempts it had, and leaves it to others when told to", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", minPerSecond: 10 })
      const hedge = yield* hedging({ budget })
      const { call } = scripted({ afterMillis: 1000 }, { afterMillis: 10 })
      yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)))
      expect((yield* budget.snapshot).deposited).toBe(1)
      yield* Effect.void.pipe(Hedge.withHedge(hedge, { idempotent: true, credit: false }))
      expect((yield* budget.snapshot).deposited).toBe(1)
    })
  )

  it.effect("that is switched off is as good as none", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "search", enabled: false })
      const hedge = yield* hedging({ budget })
      const { begun, call } = scripted({ afterMillis: 1000 }, { afterMillis: 10 })
      yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)))
      expect(begun).toEqual([0, 100])
    })
  )
})

describe("a loser", () => {
  it.effect("cleans up after its caller has gone on, and holds what it took until then", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging()
      const permits = yield* Semaphore.make(2)
      const cleanUp = Effect.sleep("10 minutes")
      const { call } = scripted({ afterMillis: 5000 }, { afterMillis: 50 })
      const guarded = call.pipe(
        Effect.onInterrupt(() => cleanUp),
        Semaphore.withPermit(permits)
      )
      expect(yield* toTheMillisecond(guarded.pipe(Hedge.withHedge(hedge, idempotent)))).toEqual([
        Exit.succeed("attempt 1"),
        150
      ])
      const free = Effect.map(Semaphore.withPermitsIfAvailable(permits, 2)(Effect.void), Option.isSome)
      expect(yield* free).toBe(false)
      yield* TestClock.adjust("599 seconds")
      expect(yield* free).toBe(false)
      yield* TestClock.adjust("1 second")
      expect(yield* free).toBe(true)
    })
  )

  it.effect("that cannot be interrupted goes on to its end, and nobody waits for it or hears of it", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging({ delay: Hedge.quantile({ initial: "100 millis" }) })
      const { call, ended } = scripted(
        { afterMillis: 1000, comesTo: failing("too late") },
        { afterMillis: 50 }
      )
      const guarded = Effect.uninterruptible(call)
      expect(yield* toTheMillisecond(guarded.pipe(Hedge.withHedge(hedge, idempotent)))).toEqual([
        Exit.succeed("attempt 1"),
        150
      ])
      yield* TestClock.adjust("1 hour")
      expect(ended).toEqual(["succeeded at 150", "failed at 1000"])
      expect(yield* hedge.snapshot).toMatchObject({ calls: 1, hedges: 1, won: 1 })
    })
  )

  /** Notes of each attempt how it ended, and whether it was superseded. */
  const noting = <A, E, R>(call: Effect.Effect<A, E, R>) => {
    const noted: Array<string> = []
    return {
      noted,
      call: Effect.onExit(call, (exit) =>
        Effect.sync(() => noted.push(`${exit._tag}${Outcome.isSuperseded(exit) ? ", superseded" : ""}`))
      )
    }
  }

  it.effect("is marked as superseded, and no other is", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging()
      const won = noting(scripted({ afterMillis: 1000 }, { afterMillis: 50 }).call)
      yield* toTheMillisecond(won.call.pipe(Hedge.withHedge(hedge, idempotent)))
      expect(won.noted).toEqual(["Success", "Failure, superseded"])

      const interrupted = noting(scripted().call)
      const fiber = yield* Effect.forkChild(interrupted.call.pipe(Hedge.withHedge(hedge, idempotent)))
      yield* TestClock.adjust("200 millis")
      yield* Fiber.interrupt(fiber)
      expect(interrupted.noted).toEqual(["Failure", "Failure"])
      expect([Exit.fail("refused"), Exit.succeed(1), Exit.interrupt()].some(Outcome.isSuperseded)).toBe(false)
      const dying = Cause.annotate(Cause.interrupt(1), Context.make(Outcome.Superseded, true))
      expect(Outcome.isSuperseded(Exit.failCause(dying))).toBe(true)
      expect(Outcome.isSuperseded(Exit.failCause(Cause.combine(dying, Cause.die("defect"))))).toBe(false)
    })
  )

  it.effect("says nothing to a circuit that counts failures", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "search", trip: CircuitBreaker.consecutive(1) })
      const hedge = yield* hedging()
      const { call } = scripted({ afterMillis: 1000 }, { afterMillis: 50 })
      yield* toTheMillisecond(call.pipe(breaker.execute, Hedge.withHedge(hedge, idempotent)))
      expect((yield* breaker.snapshot).counts).toMatchObject({ successful: 1, ignored: 1, failed: 0 })
    })
  )

  const slowly = (slowerThan: Duration.Input, minimumCalls: number) => ({
    trip: CircuitBreaker.slowCallRate({
      threshold: 0.5,
      slowerThan,
      minimumCalls,
      window: CircuitBreaker.count(10)
    })
  })

  it.effect.each([
    ["150 millis", "open"],
    ["151 millis", "closed"]
  ] as const)("of 150 ms, to a circuit that takes more than %s for slow: it is %s", ([slowerThan, state]) =>
    Effect.gen(function* () {
      const alone = yield* CircuitBreaker.make({ name: "search", ...slowly(slowerThan, 2) })
      const hedge = yield* hedging()
      const first = scripted({ afterMillis: 1000 }, { afterMillis: 50 })
      yield* toTheMillisecond(first.call.pipe(alone.execute, Hedge.withHedge(hedge, idempotent)))
      expect((yield* alone.snapshot).state).toBe(state)

      const policy = yield* Policy.make("search", {
        attemptTimeout: "10 seconds",
        bulkhead: { limit: 2 },
        hedge: { delay: "100 millis" },
        breaker: slowly(slowerThan, 2)
      })
      const second = scripted({ afterMillis: 1000 }, { afterMillis: 50 })
      yield* toTheMillisecond(policy.executeWith(second.call, idempotent))
      expect((yield* policy.breaker!.snapshot).state).toBe(state)
    })
  )

  it.effect("says nothing to a circuit that has begun anew before it has cleaned up", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "search", ...slowly("1 second", 1) })
      const hedge = yield* hedging()
      const { call } = scripted({ afterMillis: 60_000 }, { afterMillis: 50 })
      const slow = Effect.onInterrupt(call, () => Effect.sleep("1 minute"))
      yield* toTheMillisecond(slow.pipe(breaker.execute, Hedge.withHedge(hedge, idempotent)))
      yield* breaker.reset
      yield* TestClock.adjust("1 hour")
      expect(yield* breaker.snapshot).toMatchObject({
        state: "closed",
        counts: { ignored: 1, successful: 1 }
      })
    })
  )

  it.effect("is interrupted also when it was started by what ended the race", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging()
      const signal = yield* Deferred.make<string>()
      const ended: Array<string> = []
      const first = Deferred.await(signal)
      const second = Effect.andThen(Deferred.succeed(signal, "told"), Effect.never).pipe(
        Effect.onInterrupt(() => Effect.sync(() => ended.push("interrupted")))
      )
      const exit = yield* toTheMillisecond(
        first.pipe(Hedge.withHedge(hedge, { idempotent: true, hedged: second }))
      )
      expect(exit).toEqual([Exit.succeed("told"), 100])
      expect(ended).toEqual(["interrupted"])
    })
  )
})

describe("a caller that is interrupted", () => {
  it.effect("interrupts every attempt and waits for what they have to clean up", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging({ hedges: 2 })
      const cleaned: Array<number> = []
      const hanging = Effect.never.pipe(
        Effect.onInterrupt(() =>
          Effect.sleep("1 minute").pipe(
            Effect.andThen(Clock.currentTimeMillis),
            Effect.map((now) => cleaned.push(now))
          )
        )
      )
      const fiber = yield* Effect.forkChild(hanging.pipe(Hedge.withHedge(hedge, idempotent)))
      yield* TestClock.adjust("150 millis")
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* TestClock.adjust("59 seconds")
      expect(interruption.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 second")
      expect(interruption.pollUnsafe()).toEqual(Exit.void)
      expect(cleaned).toEqual([60_150, 60_150])
      yield* TestClock.adjust("1 hour")
      expect(cleaned).toHaveLength(2)
    })
  )

  it.effect("where it cannot be interrupted goes on to its end", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging()
      const { call } = scripted({ afterMillis: 1000 }, { afterMillis: 200 })
      const answers: Array<string> = []
      const fiber = yield* Effect.forkChild(
        call.pipe(
          Hedge.withHedge(hedge, idempotent),
          Effect.map((answer) => answers.push(answer)),
          Effect.uninterruptible
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("150 millis")
      yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* TestClock.adjust("150 millis")
      expect(answers).toEqual(["attempt 1"])
    })
  )
})

describe("attempts", () => {
  class Database extends Context.Service<Database, { readonly url: string }>()("test/Database") {}
  const Tenant = Context.Reference("test/Tenant", { defaultValue: () => "nobody" })

  it.effect("have the services, references, span and deadline of their caller", () =>
    Effect.gen(function* () {
      const hedge = yield* hedging()
      const seen: Array<unknown> = []
      const call = Effect.gen(function* () {
        const { url } = yield* Database
        const span = yield* Effect.currentSpan
        const left = Option.map(yield* Deadline.remaining, Duration.toMillis)
        seen.push([url, yield* Tenant, span.name, Option.getOrUndefined(left)])
        yield* Effect.sleep("150 millis")
      })
      yield* toTheMillisecond(
        call.pipe(
          Hedge.withHedge(hedge, idempotent),
          Effect.provideService(Database, { url: "db" }),
          Effect.provideService(Tenant, "ada"),
          Deadline.within("1 second"),
          Effect.withSpan("request")
        )
      )
      expect(seen).toEqual([
        ["db", "ada", "request", 1000],
        ["db", "ada", "request", 900]
      ])
    })
  )
})

describe("a delay that is a quantile", () => {
  /** A call that takes so long. */
  const taking = (millis: number) => (millis === 0 ? Effect.void : Effect.sleep(millis))

  const learning = (quantile: Parameters<typeof Hedge.quantile>[0], times: ReadonlyArray<number>) =>
    Effect.gen(function* () {
      const hedge = yield* hedging({ delay: Hedge.quantile(quantile) })
      for (const millis of times) {
        yield* toTheMillisecond(taking(millis).pipe(Hedge.withHedge(hedge, idempotent)), 1)
      }
      return hedge
    })

  const delayOf = (hedge: Hedge.Hedge) =>
    Effect.map(hedge.snapshot, ({ delay }) => delay && Duration.toMillis(delay))

  const times = (count: number, millis: number) => Array.from({ length: count }, () => millis)

  it.effect("is not there before enough calls were seen, unless there is an initial one", () =>
    Effect.gen(function* () {
      const hedge = yield* learning({}, times(19, 10))
      expect(yield* delayOf(hedge)).toBeUndefined()
      const { begun, call } = scripted({ afterMillis: 5000 })
      yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)))
      expect(begun).toHaveLength(1)
      const eager = yield* learning({ initial: "30 millis" }, [])
      const hasty = scripted({ afterMillis: 5000 }, { afterMillis: 0 })
      expect(yield* toTheMillisecond(hasty.call.pipe(Hedge.withHedge(eager, idempotent)))).toEqual([
        Exit.succeed("attempt 1"),
        30
      ])
    })
  )

  it.effect("is what most calls do not take longer than, in whole milliseconds", () =>
    Effect.gen(function* () {
      const hedge = yield* learning({ q: 0.9 }, [...times(18, 10), ...times(2, 300)])
      expect(yield* delayOf(hedge)).toBe(11)
      const { begun, call } = scripted({ afterMillis: 5000 }, { afterMillis: 0 })
      expect(yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)), 1)).toEqual([
        Exit.succeed("attempt 1"),
        11
      ])
      expect((begun[1] ?? 0) - (begun[0] ?? 0)).toBe(11)
    })
  )

  it.effect("is the 95th when nothing is said", () =>
    Effect.gen(function* () {
      const hedge = yield* Hedge.make({ name: "search" })
      for (const millis of [...times(18, 10), 60, 300]) {
        yield* toTheMillisecond(taking(millis).pipe(Hedge.withHedge(hedge, idempotent)), 1)
      }
      expect(yield* delayOf(hedge)).toBe(64)
    })
  )

  it.effect("is bounded, and a millisecond at least", () =>
    Effect.gen(function* () {
      const none = times(20, 0)
      expect(yield* delayOf(yield* learning({}, none))).toBe(2)
      expect(yield* delayOf(yield* learning({ min: "25 millis" }, none))).toBe(25)
      expect(yield* delayOf(yield* learning({ max: "50 millis" }, times(20, 200)))).toBe(50)
    })
  )

  it.effect("counts calls that were superseded", () =>
    Effect.gen(function* () {
      const hedge = yield* learning({}, times(20, 10))
      const before = (yield* delayOf(hedge)) ?? 0
      for (let call = 0; call < 40; call++) {
        const { call } = scripted({ afterMillis: 60_000 }, { afterMillis: 1 })
        yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)), 1)
      }
      expect(yield* delayOf(hedge)).toBeGreaterThan(before * 2)
    })
  )

  it.effect("counts calls that timed out, inside or outside", () =>
    Effect.gen(function* () {
      const inside = yield* learning({}, times(20, 10))
      const attempt = Effect.never.pipe(Deadline.attemptTimeout("search", "1 second"))
      for (let call = 0; call < 2; call++) {
        const mayHedge = Effect.succeed(false)
        yield* inTime(attempt.pipe(Hedge.withHedge(inside, { idempotent: true, mayHedge })))
      }
      expect(yield* delayOf(inside)).toBeGreaterThan(1000)
      const outside = yield* learning({}, times(20, 10))
      for (let call = 0; call < 2; call++) {
        yield* inTime(Effect.never.pipe(Hedge.withHedge(outside, idempotent), Effect.timeout("1 second")))
      }
      expect(yield* delayOf(outside)).toBeGreaterThan(1000)
    })
  )

  const unhedged = { idempotent: true, mayHedge: Effect.succeed(false) } as const
  const uncounted: ReadonlyArray<readonly [string, (hedge: Hedge.Hedge) => Effect.Effect<unknown, unknown>]> =
    [
      ["failed at once", (hedge) => failing("refused").pipe(Hedge.withHedge(hedge, unhedged))],
      [
        "failed after a while",
        (hedge) =>
          Effect.andThen(Effect.sleep(500), failing("refused")).pipe(Hedge.withHedge(hedge, unhedged))
      ],
      [
        "was given up early",
        (hedge) => Effect.never.pipe(Hedge.withHedge(hedge, unhedged), Effect.timeout(50))
      ]
    ]

  it.effect.each(uncounted)("does not count what %s", ([, made]) =>
    Effect.gen(function* () {
      const hedge = yield* learning({ q: 0.5 }, times(20, 100))
      const before = yield* delayOf(hedge)
      for (let count = 0; count < 30; count++) yield* toTheMillisecond(made(hedge))
      expect(yield* delayOf(hedge)).toBe(before)
    })
  )

  it.effect("counts each call once, and no further attempt", () =>
    Effect.gen(function* () {
      const hedge = yield* learning({ initial: "10 millis" }, [])
      for (let count = 0; count < 19; count++) {
        const { call } = scripted({ afterMillis: 1000 }, { afterMillis: 5 })
        yield* toTheMillisecond(call.pipe(Hedge.withHedge(hedge, idempotent)))
      }
      expect(yield* delayOf(hedge)).toBe(10)
      yield* toTheMillisecond(taking(15).pipe(Hedge.withHedge(hedge, idempotent)))
      expect(yield* delayOf(hedge)).toBe(16)
    })
  )
})

describe("an option out of its range", () => {
  it.effect.each([
    [{ hedges: 0 }, "hedges", "0", "a whole number from 1 to 5"],
    [{ hedges: 6 }, "hedges", "6", "a whole number from 1 to 5"],
    [{ delay: "25 days" }, "delay", `"25 days"`, "a duration from 0 to 24d, or infinity"],
    [{ delay: -1 }, "delay", "-1", "a duration from 0 to 24d, or infinity"],
    [{ delay: Hedge.quantile({ q: 0.4 }) }, "delay.q", "0.4", "a number from 0.5 to 0.99"],
    [{ delay: Hedge.quantile({ q: 1 }) }, "delay.q", "1", "a number from 0.5 to 0.99"],
    [{ delay: Hedge.quantile({ min: 0 }) }, "delay.min", "0", "a duration from 1ms to 24d"],
    [
      { delay: Hedge.quantile({ max: Duration.infinity }) },
      "delay.max",
      "Infinity",
      "a duration from 1ms to 24d"
    ],
    [
      { delay: Hedge.quantile({ min: "1 second", max: 500 }) },
      "delay.max",
      "500",
      "a duration from 1s to 24d"
    ],
    [{ delay: Hedge.quantile({ initial: 0 }) }, "delay.initial", "0", "a duration from 1ms to 24d"]
  ] as const)("is refused: %o", ([given, option, value, allowed]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(hedging(given))
      expect(error).toBeInstanceOf(InvalidOption)
      expect(error).toMatchObject({ policy: "search", option, value, allowed })
      expect((yield* Effect.flip(hedging({ enabled: false, ...given }))).option).toBe(option)
    })
  )

  it.effect("is refused when it is the name", () =>
    Effect.gen(function* () {
      expect((yield* Effect.flip(hedging({ name: "" }))).option).toBe("name")
    })
  )
})

class Search extends Context.Service<Search, Hedge.Hedge>()("test/SearchHedge") {}

const configured = (provider: ConfigProvider.ConfigProvider) =>
  Hedge.layerConfig(Search, "search", "hedge").pipe(Layer.provide(ConfigProvider.layer(provider)))

const begunBy = (Live: Layer.Layer<Search, unknown>) =>
  Effect.gen(function* () {
    const { begun, call } = scripted({ afterMillis: 1000 })
    yield* toTheMillisecond(call.pipe(Hedge.withHedge(yield* Search, idempotent)))
    return begun
  }).pipe(Effect.provide(Live))

describe("layers", () => {
  it.effect("provide a hedge under a key of the application's own", () =>
    Effect.gen(function* () {
      expect(yield* begunBy(Hedge.layer(Search, { name: "search", delay: "300 millis" }))).toEqual([0, 300])
    })
  )

  it.effect.each([
    [{ hedges: 2, delay: "300 millis" }, [0, 300, 600]],
    [{ delay: 0.5 }, [0, 500]],
    [{ quantile: 0.9, initialDelay: 0.25, minDelay: "10 millis", maxDelay: 1 }, [0, 250]],
    [{ enabled: false, delay: 0.25 }, [0]],
    [{}, [0]]
  ] as const)("read %j from JSON", ([hedge, begun]) =>
    Effect.gen(function* () {
      expect(yield* begunBy(configured(ConfigProvider.fromUnknown({ hedge })))).toEqual(begun)
    })
  )

  it.effect("read every option from the environment", () =>
    Effect.gen(function* () {
      const env = {
        HEDGE_ENABLED: "true",
        HEDGE_HEDGES: "2",
        HEDGE_QUANTILE: "0.9",
        HEDGE_INITIAL_DELAY: "0.2",
        HEDGE_MIN_DELAY: "10 millis",
        HEDGE_MAX_DELAY: "1"
      }
      const provider = ConfigProvider.constantCase(ConfigProvider.fromEnv({ env }))
      expect(yield* begunBy(configured(provider))).toEqual([0, 200, 400])
    })
  )

  it.effect.each([
    [{ delay: 1, quantile: 0.9 }, "delay is a fixed wait"],
    [{ delay: 1, initialDelay: 1 }, "delay is a fixed wait"],
    [{ delay: 1, minDelay: 1 }, "delay is a fixed wait"],
    [{ delay: 1, maxDelay: 1 }, "delay is a fixed wait"],
    [{ hedges: "some" }, "hedges"],
    [{ delay: "soon" }, "delay"]
  ] as const)("refuse %j, naming the field", ([hedge, message]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(ConfigProvider.fromUnknown({ hedge }))))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain(message)
    })
  )

  it.effect("refuse a value out of its range, naming the option", () =>
    Effect.gen(function* () {
      const provider = ConfigProvider.fromUnknown({ hedge: { quantile: 2 } })
      expect(yield* Effect.flip(Layer.build(configured(provider)))).toMatchObject({
        _tag: "InvalidOption",
        policy: "search",
        option: "delay.q"
      })
    })
  )
})
