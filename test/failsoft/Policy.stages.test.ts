import { describe, expect, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import {
  CircuitBreaker,
  Policy,
  PolicyConfig,
  RateLimiter,
  Retry,
  RetryBudget,
  ServiceUnavailable
} from "failsoft"

const reasonOf = <A, E>(exit: Exit.Exit<A, E>): string => {
  if (Exit.isSuccess(exit)) return "answered"
  const [reason] = exit.cause.reasons
  const error = reason?._tag === "Fail" ? reason.error : undefined
  return error instanceof ServiceUnavailable ? error.reason._tag : String(error)
}

/** Starts calls at once and gives how each ended, in order. */
const all = <A, E, R>(calls: ReadonlyArray<Effect.Effect<A, E, R>>) =>
  Effect.forEach(calls, (call) => Effect.forkChild(Effect.exit(call), { startImmediately: true }))

const reasons = <A, E>(fibers: ReadonlyArray<Fiber.Fiber<Exit.Exit<A, E>>>) =>
  Effect.forEach(fibers, (fiber) => Effect.map(Fiber.join(fiber), reasonOf))

const count = (words: ReadonlyArray<string>): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1
  return counts
}

describe("the order of the stages", () => {
  it.effect("50 queued calls against a dead dependency with threshold 5 let exactly 5 through", () =>
    Effect.gen(function* () {
      let sent = 0
      const dead = Effect.suspend(() => {
        sent++
        return Effect.andThen(Effect.sleep("1 second"), Effect.fail("refused"))
      })
      const policy = yield* Policy.make("billing", {
        bulkhead: { limit: 1, queue: 49 },
        breaker: { trip: CircuitBreaker.consecutive(5) }
      })
      const fibers = yield* all(Array.from({ length: 50 }, () => policy.execute(dead)))
      yield* TestClock.adjust("1 minute")
      expect(count(yield* reasons(fibers))).toEqual({ refused: 5, CircuitOpen: 45 })
      expect(sent).toBe(5)
    })
  )

  it.effect("20 hung calls under a 3 s deadline and a 5 s attempt timeout open the circuit", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        deadline: "3 seconds",
        attemptTimeout: "5 seconds",
        bulkhead: { limit: 20 },
        breaker: { trip: CircuitBreaker.consecutive(5) }
      })
      const fibers = yield* all(Array.from({ length: 20 }, () => policy.execute(Effect.never)))
      yield* TestClock.adjust("3 seconds")
      expect(count(yield* reasons(fibers))).toEqual({ TimedOut: 20 })
      expect((yield* policy.breaker?.snapshot ?? Effect.die("no circuit")).state).toBe("open")
    })
  )

  it.effect("calls that arrive while the circuit is open wait in no queue and take no token", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        rateLimiter: { algorithm: RateLimiter.gcra({ limit: 10, period: "1 minute" }) },
        bulkhead: { limit: 1, queue: 10 },
        breaker: { trip: CircuitBreaker.consecutive(1) }
      })
      yield* Effect.exit(policy.execute(Effect.fail("refused")))
      const left = (yield* policy.rateLimiter?.peek() ?? Effect.die("no limiter")).remaining
      const fibers = yield* all(Array.from({ length: 5 }, () => policy.execute(Effect.never)))
      expect(count(yield* reasons(fibers))).toEqual({ CircuitOpen: 5 })
      expect((yield* policy.rateLimiter?.peek() ?? Effect.die("no limiter")).remaining).toBe(left)
      expect((yield* policy.bulkhead?.snapshot ?? Effect.die("no bulkhead")).counts.admitted).toBe(1)
    })
  )

  it.effect("a probe is never held by a queue", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        bulkhead: { limit: 1, queue: 10 },
        breaker: {
          trip: CircuitBreaker.consecutive(1),
          openDuration: "10 seconds",
          halfOpen: { probes: 1, successes: 1 }
        }
      })
      const snapshot = policy.breaker?.snapshot ?? Effect.die("no circuit")
      const slow = yield* Deferred.make<string>()
      // It holds the only permit from before the opening until long after it is due.
      const holder = yield* Effect.forkChild(policy.execute(Deferred.await(slow)), { startImmediately: true })
      yield* policy.breaker?.execute(Effect.exit(Effect.void)) ?? Effect.void
      yield* Effect.exit(policy.breaker?.execute(Effect.fail("refused")) ?? Effect.void)
      yield* TestClock.adjust("10 seconds")
      const queued = yield* all([
        policy.execute(Effect.succeed("probe")),
        policy.execute(Effect.succeed("next"))
      ])
      // Both wait for a permit, and the slot of the probe is still free.
      expect((yield* policy.bulkhead?.snapshot ?? Effect.die("no bulkhead")).queued).toBe(2)
      expect(yield* policy.breaker?.execute(Effect.succeed("probed beside the queue")) ?? Effect.void).toBe(
        "probed beside the queue"
      )
      expect((yield* snapshot).state).toBe("closed")
      yield* Deferred.succeed(slow, "late")
      expect(yield* Fiber.join(holder)).toBe("late")
      expect(yield* reasons(queued)).toEqual(["answered", "answered"])
    })
  )

  it.effect("local rejections never trip", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 3, window: "1 minute" }) },
        bulkhead: { limit: 1 },
        breaker: { trip: CircuitBreaker.consecutive(1) }
      })
      const fibers = yield* all(Array.from({ length: 10 }, () => policy.execute(Effect.never)))
      const ended = yield* Effect.forEach(fibers.slice(1), (fiber) => Fiber.join(fiber))
      expect(count(ended.map(reasonOf))).toEqual({ BulkheadFull: 9 })
      const { counts, state } = yield* policy.breaker?.snapshot ?? Effect.die("no circuit")
      expect([state, counts.total]).toEqual(["closed", 0])
    })
  )

  it.effect("a call that the bulkhead turns away gives its cost back to the limiter", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 5, window: "1 minute" }) },
        bulkhead: { limit: 1 }
      })
      const limiter = policy.rateLimiter ?? (yield* Effect.die("no limiter"))
      yield* all([policy.execute(Effect.never)])
      expect((yield* limiter.peek()).remaining).toBe(4)
      const turnedAway = yield* Effect.exit(policy.executeWith(Effect.void, { cost: 3 }))
      expect(reasonOf(turnedAway)).toBe("BulkheadFull")
      expect((yield* limiter.peek()).remaining).toBe(4)
      // Over the limit: nothing was taken, and nothing comes back.
      expect(reasonOf(yield* Effect.exit(policy.executeWith(Effect.void, { cost: 5 })))).toBe("RateLimited")
      expect((yield* limiter.peek()).remaining).toBe(4)
    })
  )

  it.effect("a call that failed was made, and its cost does not come back", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 5, window: "1 minute" }) },
        breaker: {}
      })
      const limiter = policy.rateLimiter ?? (yield* Effect.die("no limiter"))
      yield* Effect.exit(policy.execute(Effect.fail("refused")))
      yield* Effect.exit(policy.execute(Effect.die("broken")))
      expect((yield* limiter.peek()).remaining).toBe(3)
    })
  )
})

describe("a hedge in a policy", () => {
  const slowThenFast = () => {
    let sent = 0
    return {
      sent: () => sent,
      call: Effect.suspend(() => (++sent === 1 ? Effect.never : Effect.succeed("second")))
    }
  }

  it.effect("is for calls that say that they are idempotent", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("search", {
        attemptTimeout: "2 seconds",
        hedge: { delay: "100 millis" },
        breaker: {}
      })
      const first = slowThenFast()
      const hedged = yield* all([policy.executeWith(first.call, { idempotent: true })])
      yield* TestClock.adjust("100 millis")
      expect(yield* reasons(hedged)).toEqual(["answered"])

      const second = slowThenFast()
      const alone = yield* all([policy.execute(second.call)])
      yield* TestClock.adjust("2 seconds")
      expect(yield* reasons(alone)).toEqual(["TimedOut"])
      expect([first.sent(), second.sent()]).toEqual([2, 1])
    })
  )

  it.effect("waits for no permit", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("search", {
        hedge: { delay: "100 millis" },
        bulkhead: { limit: 1, queue: 10 },
        breaker: {}
      })
      const { call, sent } = slowThenFast()
      const fibers = yield* all([policy.executeWith(call, { idempotent: true })])
      yield* TestClock.adjust("1 second")
      expect(sent()).toBe(1)
      expect((yield* policy.bulkhead?.snapshot ?? Effect.die("no bulkhead")).queued).toBe(0)
      yield* Effect.forEach(fibers, Fiber.interrupt)
    })
  )

  it.effect("is not made while the circuit is half-open", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("search", {
        attemptTimeout: "5 seconds",
        hedge: { delay: "100 millis" },
        breaker: {
          trip: CircuitBreaker.consecutive(1),
          openDuration: "1 second",
          halfOpen: { probes: 5, successes: 1 }
        }
      })
      yield* Effect.exit(policy.execute(Effect.fail("refused")))
      yield* TestClock.adjust("1 second")
      const { call, sent } = slowThenFast()
      const fibers = yield* all([policy.executeWith(call, { idempotent: true })])
      yield* TestClock.adjust("5 seconds")
      expect(yield* reasons(fibers)).toEqual(["TimedOut"])
      expect(sent()).toBe(1)
    })
  )
})

describe("a budget in a policy", () => {
  it.effect("is credited once for a call that retry and hedge share it for", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("search", {
        retryBudget: { ratio: 1, minPerSecond: 0 },
        retry: { attempts: 2, schedule: Retry.exponential({ base: "1 second", jitter: "none" }) },
        hedge: { delay: "10 seconds" }
      })
      const budget = policy.retryBudget ?? (yield* Effect.die("no budget"))
      yield* policy.executeWith(Effect.succeed("found"), { idempotent: true })
      expect((yield* budget.snapshot).deposited).toBe(1)
      yield* policy.executeWith(Effect.succeed("found"), { idempotent: true, retry: false })
      expect((yield* budget.snapshot).deposited).toBe(2)
      yield* policy.execute(Effect.succeed("found"))
      expect((yield* budget.snapshot).deposited).toBe(3)
    })
  )

  it.effect("may be one that others share", () =>
    Effect.gen(function* () {
      const shared = yield* RetryBudget.make({ name: "all", minPerSecond: 0, ratio: 1 })
      const retry = { attempts: 2, schedule: Retry.exponential({ base: "1 millis", jitter: "none" }) }
      const one = yield* Policy.make("one", { retryBudget: shared, retry })
      const other = yield* Policy.make("other", { retryBudget: shared, retry })
      yield* one.execute(Effect.void)
      const first = yield* all([other.execute(Effect.fail("refused"))])
      yield* TestClock.adjust("1 second")
      const second = yield* all([one.execute(Effect.fail("refused"))])
      expect([...(yield* reasons(first)), ...(yield* reasons(second))]).toEqual([
        "RetriesExhausted",
        "RetryBudgetExhausted"
      ])
    })
  )
})

describe("what a policy says of itself", () => {
  it.effect("are its stages in their order, with what they were given", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("search", {
        breaker: { trip: CircuitBreaker.consecutive(3), halfOpen: { probes: 2 } },
        bulkhead: { limit: 4 },
        rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 3, window: "1 minute" }) },
        hedge: { delay: "50 millis" },
        retry: { attempts: 2 },
        retryBudget: {},
        deadline: Duration.seconds(3),
        attemptTimeout: "5 seconds"
      })
      const stages = yield* policy.describe
      expect(stages.map(({ stage }) => stage)).toEqual([
        "deadline",
        "retry",
        "hedge",
        "circuit gate",
        "rate limiter",
        "bulkhead",
        "circuit breaker",
        "attempt timeout"
      ])
      const options = Object.fromEntries(stages.map(({ options, stage }) => [stage, options]))
      expect(options).toMatchObject({
        deadline: { after: "3s" },
        retry: { attempts: "2" },
        "circuit gate": {},
        "rate limiter": { "algorithm.limit": "3" },
        bulkhead: { limit: "4" },
        "circuit breaker": { trip: "Consecutive", "trip.failures": "3", "halfOpen.probes": "2" }
      })
    })
  )

  it.effect("leaves out what is absent or switched off", () =>
    Effect.gen(function* () {
      const none = yield* Policy.make("search", {})
      expect(yield* none.describe).toEqual([])
      const off = yield* Policy.make("search", { enabled: false, breaker: {}, bulkhead: { limit: 1 } })
      expect(yield* off.describe).toEqual([])
      const some = yield* Policy.make("search", { breaker: {}, bulkhead: { limit: 1, enabled: false } })
      expect((yield* some.describe).map(({ stage }) => stage)).toEqual(["circuit breaker"])
    })
  )
})

describe("a stage that is switched off", () => {
  it.effect.each(["bulkhead", "rateLimiter", "breaker", "retry", "hedge"] as const)(
    "%s changes nothing",
    (stage) =>
      Effect.gen(function* () {
        const row = {
          bulkhead: { limit: 1, enabled: stage !== "bulkhead" },
          rateLimiter: { limit: 1, period: 60, enabled: stage !== "rateLimiter" },
          breaker: { failures: 1, enabled: stage !== "breaker" },
          retry: { attempts: 2, enabled: stage !== "retry" },
          hedge: { delay: 1, enabled: stage !== "hedge" }
        }
        const decoded = yield* Schema.decodeUnknownEffect(PolicyConfig.PolicyConfig)(row)
        const policy = yield* Policy.make("search", Policy.fromConfig(decoded))
        const words = (yield* policy.describe).map(({ stage }) => stage)
        const names = {
          bulkhead: "bulkhead",
          rateLimiter: "rate limiter",
          breaker: "circuit breaker",
          retry: "retry",
          hedge: "hedge"
        } as const
        expect(words).not.toContain(names[stage])
        expect(words).toHaveLength(stage === "breaker" ? 4 : 5)
      })
  )
})

describe("bad options of a stage", () => {
  it.effect.each([
    [{ bulkhead: { limit: 0 } }, "bulkhead.limit"],
    [{ hedge: { hedges: 0 } }, "hedge.hedges"],
    [{ retryBudget: { ratio: 2 } }, "retryBudget.ratio"],
    [
      { rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 0, window: "1 second" }) } },
      "rateLimiter."
    ],
    [{ deadline: 0 }, "deadline"]
  ] as const)("%j are refused by the name of %s", ([given, option]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Policy.make("search", given))
      expect(error._tag).toBe("InvalidOption")
      expect(error.option.startsWith(option)).toBe(true)
    })
  )
})

describe("an attempt that lost to its hedge", () => {
  const made = (slowerThan: Duration.Input) =>
    Policy.make("search", {
      hedge: { delay: "1 second" },
      breaker: {
        trip: CircuitBreaker.slowCallRate({
          threshold: 0.5,
          slowerThan,
          minimumCalls: 2,
          window: CircuitBreaker.count(10)
        })
      }
    })

  const lose = Effect.fnUntraced(function* (policy: Policy.Policy) {
    let sent = 0
    const call = Effect.suspend(() => (++sent === 1 ? Effect.never : Effect.succeed("second")))
    const fibers = yield* all([policy.executeWith(call, { idempotent: true })])
    yield* TestClock.adjust("1 second")
    expect(yield* reasons(fibers)).toEqual(["answered"])
    return yield* policy.breaker?.snapshot ?? Effect.die("no circuit")
  })

  it.effect("is slow if it had taken that long, and says nothing else", () =>
    Effect.gen(function* () {
      const policy = yield* made("1 second")
      const first = yield* lose(policy)
      expect(first.counts).toMatchObject({ successful: 1, ignored: 1 })
      // The answer and the slow loser: half of the calls in the window.
      expect(first.state).toBe("open")
    })
  )

  it.effect("says nothing if it had not", () =>
    Effect.gen(function* () {
      const policy = yield* made("2 seconds")
      yield* lose(policy)
      const { rates, state } = yield* lose(policy)
      expect(state).toBe("closed")
      expect(rates).toMatchObject([{ calls: 2, rate: 0 }])
    })
  )
})
