import { describe, expect, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import {
  Deadline,
  type PolicyEvent,
  Retry,
  RetryBudget,
  ServiceUnavailable,
  UnavailableReason
} from "failsoft"
import { inTime, noting, reasonOf } from "./calls.ts"
import { hearing } from "./hearing.ts"

const steady = Retry.exponential({ base: "1 second", factor: 1, jitter: "none" })

const retrying = (budget: RetryBudget.RetryBudget, given?: Partial<Retry.Options>) =>
  Retry.make({ name: "billing", attempts: 3, schedule: steady, budget, ...given })

/** A budget of so many tokens, to which time adds nothing. */
const holding = (tokens: number, given?: Partial<RetryBudget.Options>) =>
  Effect.gen(function* () {
    const budget = yield* RetryBudget.make({ name: "billing", ratio: 0.1, minPerSecond: 0, ...given })
    for (let call = 0; call < tokens * 10; call++) budget.depositUnsafe()
    return budget
  })

const leftOf = (budget: RetryBudget.RetryBudget) => Effect.map(budget.snapshot, ({ left }) => left)

const because = (events: ReadonlyArray<PolicyEvent.PolicyEvent>) =>
  events.flatMap((event) => (event._tag === "AttemptsExhausted" ? [event.because] : []))

const refused = Effect.fail("refused")

describe("a retry with a budget", () => {
  it.effect("pays for each further attempt, and ends when it cannot", () =>
    Effect.gen(function* () {
      const budget = yield* holding(3)
      const { events, made: retry } = yield* hearing(retrying(budget))
      const { at, call } = noting(refused)
      const exits = [
        yield* inTime(call.pipe(retry.execute)),
        yield* inTime(call.pipe(retry.execute)),
        yield* inTime(call.pipe(retry.execute))
      ].map(([exit]) => reasonOf(exit)?._tag)
      expect(exits).toEqual(["RetriesExhausted", "RetryBudgetExhausted", "RetryBudgetExhausted"])
      expect(at).toEqual([0, 1000, 2000, 2000, 3000, 3000])
      expect(because(events)).toEqual(["attempts", "budget", "budget"])
      expect(yield* budget.snapshot).toMatchObject({ left: 0, withdrawn: 3, refused: 2, refunded: 0 })
    })
  )

  it.effect("tells which error it was that could not be paid for, and keeps its hint", () =>
    Effect.gen(function* () {
      const budget = yield* holding(0)
      const { events, made: retry } = yield* hearing(retrying(budget))
      const retryAfter = Duration.seconds(7)
      const timedOut = new ServiceUnavailable({
        service: "search",
        reason: UnavailableReason.TimedOut({ after: Duration.seconds(5), of: Duration.seconds(5) }),
        retryAfter
      })
      const error = yield* Effect.flip(Effect.fail(timedOut).pipe(retry.execute))
      expect(error).toEqual(
        new ServiceUnavailable({
          service: "billing",
          reason: UnavailableReason.RetryBudgetExhausted(),
          retryAfter
        })
      )
      expect(events).toEqual([
        {
          _tag: "AttemptsExhausted",
          policy: "billing",
          atMillis: 0,
          attempt: 1,
          of: 3,
          because: "budget",
          error: { tag: "ServiceUnavailable", name: "ServiceUnavailable" }
        }
      ])
    })
  )

  it.effect("is not gone on with by a retry further out", () =>
    Effect.gen(function* () {
      const spent = yield* retrying(yield* holding(0))
      const outer = yield* Retry.make({ name: "outer", schedule: steady })
      const { at, call } = noting(refused)
      yield* inTime(call.pipe(spent.execute, outer.execute))
      expect(at).toEqual([0])
    })
  )

  it.effect.each([
    ["that timed out", new Cause.TimeoutError()],
    [
      "that a policy gave up",
      new ServiceUnavailable({
        service: "billing",
        reason: UnavailableReason.TimedOut({ after: Duration.seconds(5), of: Duration.seconds(5) })
      })
    ]
  ] as const)("pays more to repeat an attempt %s", ([, error]) =>
    Effect.gen(function* () {
      const budget = yield* holding(5, { timeoutCost: 4 })
      const retry = yield* retrying(budget)
      yield* inTime(Effect.fail(error).pipe(retry.execute))
      expect(yield* leftOf(budget)).toBe(1)
    })
  )

  it.effect("asks for nothing when another reason ends the attempts", () =>
    Effect.gen(function* () {
      const budget = yield* holding(5)
      const retry = yield* retrying(budget, { attempts: 1 })
      yield* Effect.ignore(refused.pipe(retry.execute))
      const patient = yield* retrying(budget)
      yield* Effect.ignore(refused.pipe(patient.execute, Deadline.within("1 second")))
      yield* Effect.ignore(refused.pipe(Retry.withRetry(patient, { stopWhen: Effect.succeed(true) })))
      yield* Effect.ignore(refused.pipe(Retry.withRetry(patient, { isTransient: () => false })))
      expect(yield* budget.snapshot).toMatchObject({ left: 5, withdrawn: 0, refused: 0 })
    })
  )

  it.effect("has paid before it sleeps, and is paid back for a sleep that is interrupted", () =>
    Effect.gen(function* () {
      const budget = yield* holding(2)
      const { events, made: retry } = yield* hearing(retrying(budget))
      const fibers = yield* Effect.forEach([1, 2, 3], () =>
        Effect.forkChild(Effect.exit(refused.pipe(retry.execute)), { startImmediately: true })
      )
      expect(yield* leftOf(budget)).toBe(0)
      // The third was refused without a sleep.
      expect(fibers.map((fiber) => fiber.pollUnsafe() !== undefined)).toEqual([false, false, true])
      expect(because(events)).toEqual(["budget"])
      yield* Fiber.interruptAll(fibers)
      expect(yield* budget.snapshot).toMatchObject({ left: 2, withdrawn: 2, refunded: 2 })
    })
  )

  it.effect("is paid back as much as it paid", () =>
    Effect.gen(function* () {
      const budget = yield* holding(5, { timeoutCost: 4 })
      const retry = yield* retrying(budget)
      const fiber = yield* Effect.forkChild(Effect.fail(new Cause.TimeoutError()).pipe(retry.execute), {
        startImmediately: true
      })
      expect(yield* leftOf(budget)).toBe(1)
      yield* Fiber.interrupt(fiber)
      expect(yield* leftOf(budget)).toBe(5)
    })
  )

  it.effect("is not paid back for an attempt that began", () =>
    Effect.gen(function* () {
      const budget = yield* holding(2)
      const retry = yield* retrying(budget)
      let tries = 0
      const call = Effect.suspend(() => (++tries === 1 ? refused : Effect.never))
      const fiber = yield* Effect.forkChild(call.pipe(retry.execute))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      expect(tries).toBe(2)
      expect(yield* budget.snapshot).toMatchObject({ left: 1, withdrawn: 1, refunded: 0 })
    })
  )

  it.effect("shares it with others", () =>
    Effect.gen(function* () {
      const budget = yield* holding(3)
      const one = yield* retrying(budget)
      const other = yield* retrying(budget)
      const first = noting(refused)
      const second = noting(refused)
      yield* inTime(
        Effect.all(
          [Effect.ignore(first.call.pipe(one.execute)), Effect.ignore(second.call.pipe(other.execute))],
          { concurrency: "unbounded" }
        )
      )
      expect(first.at.length + second.at.length).toBe(5)
    })
  )

  it.effect("that is switched off neither pays nor credits", () =>
    Effect.gen(function* () {
      const budget = yield* holding(0, { enabled: false })
      const { at, call } = noting(refused)
      const retry = yield* retrying(budget)
      const [exit] = yield* inTime(call.pipe(retry.execute))
      expect(reasonOf(exit)?._tag).toBe("RetriesExhausted")
      expect(at).toHaveLength(3)
    })
  )

  it.effect("that is itself switched off leaves the budget alone", () =>
    Effect.gen(function* () {
      const budget = yield* holding(1)
      const retry = yield* retrying(budget, { enabled: false })
      expect(yield* Effect.flip(refused.pipe(retry.execute))).toBe("refused")
      yield* retry.execute(Effect.void)
      expect(yield* budget.snapshot).toMatchObject({ left: 1, deposited: 10, withdrawn: 0 })
    })
  )
})

describe("a retry credits its budget", () => {
  const ends = Effect.gen(function* () {
    let tries = 0
    return {
      "succeeds at once": Effect.succeed("answer"),
      "succeeds at the second attempt": Effect.suspend(() =>
        ++tries < 2 ? refused : Effect.succeed("answer")
      ),
      fails: refused,
      dies: Effect.die("defect"),
      "is interrupted": Effect.interrupt
    } as const
  })

  const creditedBy = (credit: RetryBudget.Credit, end: keyof Effect.Success<typeof ends>) =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "billing", credit, minPerSecond: 10 })
      const retry = yield* retrying(budget)
      const call = (yield* ends)[end]
      const [exit] = yield* inTime(retry.execute<string, string, never>(call))
      if (end.startsWith("succeeds")) expect(exit).toEqual(Exit.succeed("answer"))
      return (yield* budget.snapshot).deposited
    })

  it.effect.each([
    ["succeeds at once", 1],
    ["succeeds at the second attempt", 1],
    ["fails", 0],
    ["dies", 0],
    ["is interrupted", 0]
  ] as const)("by successes: a call that %s deposits %d times", ([end, times]) =>
    Effect.gen(function* () {
      expect(yield* creditedBy("success", end)).toBe(times)
    })
  )

  it.effect.each([
    "succeeds at once",
    "succeeds at the second attempt",
    "fails",
    "dies",
    "is interrupted"
  ] as const)("by requests: a call that %s deposits once", (end) =>
    Effect.gen(function* () {
      expect(yield* creditedBy("request", end)).toBe(1)
    })
  )

  it.effect("by requests before the call is made", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({
        name: "billing",
        credit: "request",
        ratio: 1,
        minPerSecond: 0
      })
      const retry = yield* retrying(budget)
      const { at, call } = noting(refused)
      yield* inTime(call.pipe(retry.execute))
      expect(at).toEqual([0, 1000])
    })
  )
})
