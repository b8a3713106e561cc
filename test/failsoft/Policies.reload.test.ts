import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Deferred, Duration, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Health, Policies, Policy, PolicyEvent } from "failsoft"
import { reasonOf } from "./calls.ts"
import { circuits } from "./health.ts"
import { interruptEverywhere } from "./interruption.ts"
import { numbers, scrape, withRegistry } from "./metrics.ts"

class Billing extends Context.Service<Billing, Policy.Policy>()("test/Billing") {}
class Search extends Context.Service<Search, Policy.Policy>()("test/Search") {}

const keys = { billing: Billing, search: Search }

const providerOf = (services: unknown) => ConfigProvider.fromUnknown({ services })

const layerOf = (services: unknown) =>
  Policies.layerConfig(keys, "services").pipe(Layer.provide(ConfigProvider.layer(providerOf(services))))

/** Reloads with a row for billing; search stays without stages. */
const reload = (billing: unknown) =>
  Effect.gen(function* () {
    const policies = yield* Policies.Policies
    return (yield* policies.reload(providerOf({ billing, search: {} }))).billing
  })

/** A test that begins with this row for billing. */
const from = <A, E, R = never>(
  billing: unknown,
  test: (policy: Policy.Policy) => Effect.Effect<A, E, R | Policies.Policies | Billing | Search>
) => Effect.flatMap(Billing, test).pipe(Effect.provide(layerOf({ billing, search: {} })))

const present = <A>(stage: A | undefined): A => {
  if (stage === undefined) throw new Error("the stage is not there")
  return stage
}

const begin = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.forkChild(Effect.exit(call), { startImmediately: true })

const down = Effect.fail("down")

const snapshotOf = (policy: Policy.Policy) => present(policy.breaker).snapshot

const tagOf = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit) ? "answered" : reasonOf(exit)?._tag

describe("a circuit through a reload", () => {
  it.effect("stays open until it was due, and is the same circuit", () =>
    from({ breaker: { failures: 1, openDuration: 10 } }, (policy) =>
      Effect.gen(function* () {
        const { breaker } = policy
        yield* Effect.exit(policy.execute(down))
        yield* TestClock.adjust("4 seconds")
        yield* reload({ breaker: { failures: 2, openDuration: 60 } })
        expect(policy.breaker).toBe(breaker)
        expect(yield* snapshotOf(policy)).toMatchObject({
          state: "open",
          halfOpenIn: Duration.seconds(6),
          counts: { failed: 1 }
        })
        expect(tagOf(yield* Effect.exit(policy.execute(Effect.void)))).toBe("CircuitOpen")
        yield* TestClock.adjust("6 seconds")
        yield* Effect.exit(policy.execute(down))
        expect((yield* snapshotOf(policy)).halfOpenIn).toEqual(Duration.minutes(1))
      })
    )
  )

  it.effect("stays half-open with the probe that runs", () =>
    from({ breaker: { failures: 1, openDuration: 1, successes: 1 } }, (policy) =>
      Effect.gen(function* () {
        yield* Effect.exit(policy.execute(down))
        yield* TestClock.adjust("1 second")
        const answer = yield* Deferred.make<string>()
        const probe = yield* begin(policy.execute(Deferred.await(answer)))
        yield* reload({
          attemptTimeout: 5,
          retry: {},
          bulkhead: { limit: 5 },
          breaker: { failures: 2, successes: 1 }
        })
        expect(tagOf(yield* Effect.exit(policy.execute(Effect.void)))).toBe("CircuitOpen")
        yield* Deferred.succeed(answer, "answer")
        expect(yield* Fiber.join(probe)).toEqual(Exit.succeed("answer"))
        expect((yield* snapshotOf(policy)).state).toBe("closed")
      })
    )
  )

  it.effect("keeps failures in a row and counts, and opens by the threshold of the new table", () =>
    from({ breaker: { failures: 10 } }, (policy) =>
      Effect.gen(function* () {
        yield* Effect.exit(policy.execute(Effect.void))
        yield* Effect.replicateEffect(Effect.exit(policy.execute(down)), 4)
        yield* reload({ breaker: { failures: 5 } })
        expect(yield* snapshotOf(policy)).toMatchObject({ state: "closed", failuresInARow: 4 })
        yield* Effect.exit(policy.execute(down))
        expect(yield* snapshotOf(policy)).toMatchObject({
          state: "open",
          failuresInARow: 5,
          counts: { successful: 1, failed: 5 }
        })
      })
    )
  )

  it.effect("stays overridden", () =>
    from({ breaker: {} }, (policy) =>
      Effect.gen(function* () {
        yield* present(policy.breaker).override("open", { reason: "drill", ttl: "1 minute" })
        yield* reload({ breaker: { failures: 2 }, deadline: 5 })
        expect(tagOf(yield* Effect.exit(policy.execute(Effect.void)))).toBe("CircuitOpen")
      })
    )
  )

  it.effect("is gone with its stage for calls from then on, while calls under way settle into it", () =>
    from({ breaker: { failures: 1 } }, (policy) =>
      Effect.gen(function* () {
        const old = present(policy.breaker)
        const failure = yield* Deferred.make<never, string>()
        const call = yield* begin(policy.execute(Deferred.await(failure)))
        yield* reload({})
        expect(policy.breaker).toBeUndefined()
        yield* Deferred.fail(failure, "down")
        yield* Fiber.join(call)
        expect((yield* old.snapshot).state).toBe("open")
        expect(tagOf(yield* Effect.exit(policy.execute(Effect.void)))).toBe("answered")
        // What comes back is a circuit that knows nothing.
        yield* reload({ breaker: { failures: 1 } })
        expect((yield* snapshotOf(policy)).state).toBe("closed")
      })
    )
  )
})

describe("permits through a reload", () => {
  it.effect("go to those who wait when there are more of them", () =>
    from({ bulkhead: { limit: 1, queue: 5 } }, (policy) =>
      Effect.gen(function* () {
        const fibers = yield* Effect.replicateEffect(begin(policy.execute(Effect.sleep("1 second"))), 4)
        yield* reload({ bulkhead: { limit: 3, queue: 5 } })
        expect(yield* present(policy.bulkhead).snapshot).toMatchObject({ limit: 3, inFlight: 3, queued: 1 })
        yield* TestClock.adjust("2 seconds")
        expect((yield* Fiber.joinAll(fibers)).map(tagOf)).toEqual(Array(4).fill("answered"))
      })
    )
  )

  it.effect("are taken away from nobody when there are fewer of them", () =>
    from({ bulkhead: { limit: 3, queue: 5 } }, (policy) =>
      Effect.gen(function* () {
        const fibers = yield* Effect.replicateEffect(begin(policy.execute(Effect.sleep("1 second"))), 5)
        yield* reload({ bulkhead: { limit: 1, queue: 1 } })
        expect(yield* present(policy.bulkhead).snapshot).toMatchObject({ limit: 1, inFlight: 3, queued: 2 })
        expect(tagOf(yield* Effect.exit(policy.execute(Effect.void)))).toBe("BulkheadFull")
        yield* TestClock.adjust("3 seconds")
        expect((yield* Fiber.joinAll(fibers)).map(tagOf)).toEqual(Array(5).fill("answered"))
        expect(yield* present(policy.bulkhead).snapshot).toMatchObject({ inFlight: 0, queued: 0 })
      })
    )
  )

  it.effect("come back to a bulkhead that is gone, which serves those who waited there", () =>
    from({ bulkhead: { limit: 1, queue: 5 } }, (policy) =>
      Effect.gen(function* () {
        const old = present(policy.bulkhead)
        const fibers = yield* Effect.replicateEffect(begin(policy.execute(Effect.sleep("1 second"))), 3)
        yield* reload({ retry: {} })
        expect(policy.bulkhead).toBeUndefined()
        const free = yield* Effect.replicateEffect(begin(policy.execute(Effect.sleep("1 second"))), 9)
        yield* TestClock.adjust("1 second")
        expect((yield* Fiber.joinAll(free)).map(tagOf)).toEqual(Array(9).fill("answered"))
        yield* reload({ bulkhead: { limit: 1 } })
        expect(yield* present(policy.bulkhead).snapshot).toMatchObject({ inFlight: 0, queued: 0 })
        yield* TestClock.adjust("2 seconds")
        expect((yield* Fiber.joinAll(fibers)).map(tagOf)).toEqual(Array(3).fill("answered"))
        expect(yield* old.snapshot).toMatchObject({ inFlight: 0, queued: 0, counts: { admitted: 3 } })
        expect((yield* present(policy.bulkhead).snapshot).counts.admitted).toBe(0)
      })
    )
  )
})

describe("what is held besides", () => {
  it.effect("the bank of a budget stays, and retries of the new table are paid from it", () =>
    from(
      { retryBudget: { ratio: 1, minPerSecond: 0 }, retry: { attempts: 2, base: 1, jitter: "none" } },
      (policy) =>
        Effect.gen(function* () {
          const budget = present(policy.retryBudget)
          yield* Effect.replicateEffect(policy.execute(Effect.void), 4)
          yield* reload({
            retryBudget: { ratio: 0.5, minPerSecond: 0, cap: 3 },
            retry: { attempts: 9, base: 1, jitter: "none" }
          })
          expect(policy.retryBudget).toBe(budget)
          expect((yield* budget.snapshot).left).toBe(3)
          const call = yield* begin(policy.execute(down))
          yield* TestClock.adjust("10 minutes")
          expect(tagOf(yield* Fiber.join(call))).toBe("RetryBudgetExhausted")
          expect(yield* budget.snapshot).toMatchObject({ left: 0, withdrawn: 3, deposited: 4 })
        })
    )
  )

  it.effect("a budget that is switched off and on again is a fresh one, and the retry has it", () =>
    from({ retryBudget: { ratio: 1, minPerSecond: 0 }, retry: { attempts: 2, base: 1 } }, (policy) =>
      Effect.gen(function* () {
        const row = { retry: { attempts: 2, base: 1 }, retryBudget: { ratio: 1, minPerSecond: 0 } }
        const retried = Effect.gen(function* () {
          const call = yield* begin(policy.execute(down))
          yield* TestClock.adjust("1 minute")
          return tagOf(yield* Fiber.join(call))
        })
        expect(yield* retried).toBe("RetryBudgetExhausted")
        yield* reload({ ...row, retryBudget: { ...row.retryBudget, enabled: false } })
        expect(yield* retried).toBe("RetriesExhausted")
        yield* reload(row)
        expect(yield* retried).toBe("RetryBudgetExhausted")
        expect((yield* present(policy.retryBudget).snapshot).refused).toBe(1)
      })
    )
  )

  it.effect("what is taken of a rate limiter stays taken", () =>
    from({ rateLimiter: { limit: 10, period: 60 } }, (policy) =>
      Effect.gen(function* () {
        yield* Effect.replicateEffect(policy.execute(Effect.void), 6)
        yield* reload({ rateLimiter: { algorithm: "fixed-window", limit: 8, window: 60 } })
        const ended = yield* Effect.replicateEffect(Effect.exit(policy.execute(Effect.void)), 3)
        expect(ended.map(tagOf)).toEqual(["answered", "answered", "RateLimited"])
      })
    )
  )

  it.effect("calls have the time that the table gave them when they began", () =>
    from({ attemptTimeout: 10 }, (policy) =>
      Effect.gen(function* () {
        const old = yield* begin(policy.execute(Effect.never))
        yield* reload({ deadline: 2 })
        const young = yield* begin(policy.execute(Effect.never))
        yield* TestClock.adjust("2 seconds")
        expect(tagOf(yield* Fiber.join(young))).toBe("TimedOut")
        expect(old.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust("8 seconds")
        expect(tagOf(yield* Fiber.join(old))).toBe("TimedOut")
      })
    )
  )

  it.effect("a call under way has the attempts of the table under which it began", () =>
    from({ retry: { attempts: 3, base: 1, jitter: "none" } }, (policy) =>
      Effect.gen(function* () {
        let tries = 0
        const counting = Effect.suspend(() => Effect.fail(`try ${++tries}`))
        const call = yield* begin(policy.execute(counting))
        yield* reload({ retry: { attempts: 1 } })
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(call)
        expect(tries).toBe(3)
        yield* Effect.exit(policy.execute(counting))
        expect(tries).toBe(4)
      })
    )
  )
})

describe("effects that were put together before a reload", () => {
  it.effect("follow the table", () =>
    from({ retry: { attempts: 3, base: "1 millis" } }, (policy) =>
      Effect.gen(function* () {
        let tries = 0
        const failing = Effect.suspend(() => Effect.fail(`try ${++tries}`))
        const { execute, orElse } = policy
        const calls = [
          execute(failing),
          failing.pipe(Policy.withPolicy(policy, { isTransient: () => true })),
          execute(failing).pipe(orElse(() => Effect.succeed("fallback")))
        ]
        const triesOf = Effect.forEach(calls, (call) =>
          Effect.gen(function* () {
            tries = 0
            const fiber = yield* begin(call)
            yield* TestClock.adjust("1 second")
            yield* Fiber.join(fiber)
            return tries
          })
        )
        expect(yield* triesOf).toEqual([3, 3, 3])
        yield* reload({ retry: { attempts: 2, base: "1 millis" } })
        expect(yield* triesOf).toEqual([2, 2, 2])
        yield* reload({})
        expect(yield* triesOf).toEqual([1, 1, 1])
        yield* reload({ breaker: { failures: 1 } })
        expect(yield* triesOf).toEqual([1, 0, 0])
        const [, , answered] = calls
        expect(yield* present(answered)).toBe("fallback")
        // The circuit that is there now has counted those whom it turned away.
        expect((yield* snapshotOf(policy)).counts).toMatchObject({ rejected: 3, fallback: 2 })
      })
    )
  )

  it.effect("answer by the options of their own all the same", () =>
    from({ breaker: { failures: 1 } }, (policy) =>
      Effect.gen(function* () {
        const ignored = down.pipe(
          Policy.withPolicy(policy, { classify: () => ({ _tag: "Ignored" }), retry: false })
        )
        yield* Effect.exit(ignored)
        yield* reload({ breaker: { failures: 1 }, retry: { attempts: 5 } })
        yield* Effect.exit(ignored)
        expect((yield* snapshotOf(policy)).counts).toMatchObject({ ignored: 2, failed: 0 })
      })
    )
  )
})

describe("stages that are switched off", () => {
  it.effect("come and go", () =>
    from({ bulkhead: { limit: 1 }, breaker: { failures: 1 } }, (policy) =>
      Effect.gen(function* () {
        const stages = Effect.map(policy.describe, (all) => all.map(({ stage }) => stage))
        const bulkhead = { limit: 1 }
        yield* reload({ bulkhead: { limit: 1, enabled: false }, breaker: { failures: 1, enabled: false } })
        expect(yield* stages).toEqual([])
        expect((yield* snapshotOf(policy)).enabled).toBe(false)
        yield* Effect.replicateEffect(Effect.exit(policy.execute(down)), 3)
        const fibers = yield* Effect.replicateEffect(begin(policy.execute(Effect.never)), 3)
        yield* reload({ bulkhead, breaker: { failures: 1, enabled: true } })
        expect(yield* stages).toEqual(["circuit gate", "bulkhead", "circuit breaker"])
        expect(yield* snapshotOf(policy)).toMatchObject({ enabled: true, state: "closed" })
        expect(yield* present(policy.bulkhead).snapshot).toMatchObject({ enabled: true, inFlight: 0 })
        yield* Effect.forEach(fibers, Fiber.interrupt)
        expect(yield* present(policy.bulkhead).snapshot).toMatchObject({ inFlight: 0 })
      })
    )
  )

  it.effect("are all of them where the policy is, and calls run as if it were not there", () =>
    from({ enabled: false, deadline: 1, retry: {}, bulkhead: { limit: 1 }, breaker: {} }, (policy) =>
      Effect.gen(function* () {
        const row = { deadline: 1, attemptTimeout: 1, bulkhead: { limit: 1 }, breaker: { failures: 1 } }
        expect(yield* policy.describe).toEqual([])
        yield* reload(row)
        yield* Effect.exit(policy.execute(down))
        expect(tagOf(yield* Effect.exit(policy.execute(Effect.void)))).toBe("CircuitOpen")
        yield* reload({ ...row, enabled: false })
        expect(yield* policy.describe).toEqual([])
        const fibers = yield* Effect.replicateEffect(begin(policy.execute(Effect.sleep("1 hour"))), 3)
        yield* TestClock.adjust("1 hour")
        expect((yield* Fiber.joinAll(fibers)).map(tagOf)).toEqual(Array(3).fill("answered"))
      })
    )
  )
})

describe("a table that is wrong", () => {
  const table = {
    billing: { attemptTimeout: 5, retry: { attempts: 2 }, breaker: { failures: 5 } },
    search: { bulkhead: { limit: 2 } }
  }

  const refusal = (services: unknown) =>
    Effect.gen(function* () {
      const policies = yield* Policies.Policies
      const [billing, search] = [yield* Billing, yield* Search]
      const held = [billing.breaker, search.bulkhead]
      const before = yield* policies.describe
      const error = yield* Effect.flip(policies.reload(providerOf(services)))
      expect(yield* policies.describe).toEqual(before)
      expect([billing.breaker, search.bulkhead]).toEqual(held)
      return error
    }).pipe(Effect.provide(layerOf(table)))

  it.effect("is refused as a whole, and says everything that is wrong with it", () =>
    Effect.gen(function* () {
      const error = yield* refusal({
        billing: {
          attemptTimeout: "soon",
          retries: 3,
          retry: { attempts: "many", backof: 1, base: "1 second" },
          breaker: { failureRate: 0.5 }
        },
        search: { deadline: 0, bulkhead: { limit: 0, queue: -1 }, breaker: { failures: 0 } }
      })
      expect(error._tag).toBe("TableRefused")
      expect(error.problems.toSorted()).toEqual(
        [
          `services.billing.attemptTimeout: expected seconds as a bare number, or a number with its unit such as "500 millis", got "soon"`,
          "services.billing.retries: unknown field; allowed: enabled, deadline, attemptTimeout, retry, retryBudget, hedge, rateLimiter, bulkhead, breaker",
          `services.billing.retry.attempts: expected a number, got "many"`,
          "services.billing.retry.backof: unknown field; allowed: enabled, attempts, base, factor, cap, jitter, maxRetryAfter",
          "services.billing.breaker.windowCalls: a rate needs windowCalls or windowDuration",
          `search: option "deadline" is 0, allowed is a duration longer than 0 and at most 24d`,
          `search: option "bulkhead.limit" is 0, allowed is a whole number from 1 to 1000000`,
          `search: option "breaker.trip.failures" is 0, allowed is a whole number from 1 to 1000000`
        ].toSorted()
      )
      expect(error.errors.map(({ _tag }) => _tag)).toEqual([
        "ConfigError",
        "InvalidOption",
        "InvalidOption",
        "InvalidOption"
      ])
      expect(error.message.split("\n")).toHaveLength(9)
      expect(error.message).toMatch(
        /^the table of policies is refused for 8 problems:\n {2}services\.billing/
      )
    })
  )

  it.effect.each([
    ["a missing row", { billing: {} }, "services.search: Missing key"],
    ["a row that is none", { billing: {}, search: "off" }, "services.search: "],
    ["a row that is a list", { billing: {}, search: [1] }, "services.search: "],
    ["a stage that is none", { billing: { breaker: 3 }, search: {} }, "services.billing.breaker: "],
    [
      "a group for a value",
      { billing: { deadline: { after: 3 } }, search: {} },
      "services.billing.deadline: "
    ],
    ["no table", undefined, "services.billing: Missing key"],
    [
      "a wrong value of a good row",
      { billing: { hedge: { hedges: 9 } }, search: {} },
      `billing: option "hedge.hedges"`
    ],
    [
      "a stage that is switched off",
      { billing: { retry: { enabled: false, attempts: 0 } }, search: {} },
      `billing: option "retry.attempts"`
    ]
  ] as const)("is refused for %s", ([, services, problem]) =>
    Effect.gen(function* () {
      const { problems } = yield* refusal(services)
      expect(problems.filter((found) => found.startsWith(problem))).toHaveLength(1)
    })
  )

  it.effect("is refused where it cannot be read at all", () =>
    Effect.gen(function* () {
      const policies = yield* Policies.Policies
      const away = ConfigProvider.make(() =>
        Effect.fail(new ConfigProvider.SourceError({ message: "the file is away" }))
      )
      const error = yield* Effect.flip(policies.reload(away))
      expect(error.message).toContain("1 problem:")
      expect(error.message).toContain("the file is away")
    }).pipe(Effect.provide(layerOf(table)))
  )

  it.effect("does not start either, and says everything that cannot be read", () =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(
        Layer.build(layerOf({ billing: { retries: 3 }, search: { breaker: { failures: "few" } } }))
      )
      expect(message).toContain("retries")
      expect(message).toContain("few")
    })
  )
})

describe("a table in the environment", () => {
  it.effect("may be reloaded from other variables", () =>
    Effect.gen(function* () {
      const environment = (env: Record<string, string>) =>
        ConfigProvider.constantCase(ConfigProvider.fromEnv({ env }))
      const policies = yield* Policies.Policies
      const { billing } = yield* policies.reload(
        environment({
          SERVICES_SEARCH_ENABLED: "true",
          SERVICES_BILLING_ATTEMPT_TIMEOUT: "5",
          SERVICES_BILLING_RETRY_BUDGET_RATIO: "0.2",
          SERVICES_BILLING_BULKHEAD_LIMIT: "4",
          SERVICES_BILLING_BULKHEAD_QUEUE_TIMEOUT: "3",
          SERVICES_BILLING_RATE_LIMITER_LIMIT: "10",
          SERVICES_BILLING_RATE_LIMITER_PERIOD: "1"
        })
      )
      expect(billing).toEqual({
        added: ["rate limiter", "bulkhead", "attempt timeout"],
        removed: ["retry"],
        changed: [],
        unchanged: []
      })
      const policy = yield* Billing
      expect((yield* present(policy.retryBudget).snapshot).enabled).toBe(true)
      expect(yield* policy.describe).toContainEqual({
        stage: "bulkhead",
        options: { limit: "4", queueTimeout: "3s" }
      })
    }).pipe(Effect.provide(layerOf({ billing: { retry: {} }, search: {} })))
  )
})

describe("what a reload tells", () => {
  const first = { deadline: 9, retry: { attempts: 2 }, bulkhead: { limit: 5 }, breaker: { failures: 5 } }
  const second = { deadline: 9, hedge: {}, bulkhead: { limit: 6 }, breaker: { failures: 5 } }

  it.effect("is what became of each stage, and what the stages are now", () =>
    from(first, () =>
      Effect.gen(function* () {
        const policies = yield* Policies.Policies
        const changes = yield* policies.reload(providerOf({ billing: second, search: {} }))
        expect(changes).toEqual({
          billing: {
            added: ["hedge"],
            removed: ["retry"],
            changed: ["bulkhead"],
            unchanged: ["deadline", "circuit gate", "circuit breaker", "attempt timeout"]
          },
          search: { added: [], removed: [], changed: [], unchanged: [] }
        })
        const { billing } = yield* policies.describe
        expect(billing).toEqual(yield* (yield* Billing).describe)
        expect(present(billing).map(({ stage }) => stage)).toEqual([
          "deadline",
          "hedge",
          "circuit gate",
          "bulkhead",
          "circuit breaker",
          "attempt timeout"
        ])
      })
    )
  )

  it.effect("is one event for each policy that is another now, to the listeners of the Layer", () => {
    const events: Array<PolicyEvent.PolicyEvent> = []
    const program = from(first, () => Effect.all([reload(second), reload(second)], { discard: true }))
    return Effect.gen(function* () {
      yield* program
      expect(events).toEqual([
        {
          _tag: "PolicyReloaded",
          policy: "billing",
          atMillis: 0,
          added: ["hedge"],
          removed: ["retry"],
          changed: ["bulkhead"]
        }
      ])
    }).pipe(Effect.provideService(PolicyEvent.Listeners, [(event) => events.push(event)]))
  })

  it.effect("also by a circuit that came with it", () => {
    const events: Array<string> = []
    const program = from({}, (policy) =>
      // Whoever reloads need not hear what the policies tell.
      reload({ breaker: { failures: 1 } }).pipe(
        Effect.provideService(PolicyEvent.Listeners, []),
        Effect.andThen(Effect.exit(policy.execute(down)))
      )
    )
    return Effect.gen(function* () {
      yield* program
      expect(events).toEqual(["PolicyReloaded", "CircuitOpened"])
    }).pipe(Effect.provideService(PolicyEvent.Listeners, [(event) => events.push(event._tag)]))
  })
})

describe("numbers through a reload", () => {
  const rows = [
    {
      retry: { attempts: 2, base: "1 millis" },
      breaker: { failures: 50 },
      retryBudget: { minPerSecond: 10 }
    },
    {
      retry: { attempts: 3, base: "1 millis" },
      breaker: { failures: 60 },
      retryBudget: { minPerSecond: 11 }
    },
    {
      retry: { attempts: 2, base: "2 millis" },
      breaker: { failures: 50 },
      retryBudget: { minPerSecond: 10 },
      deadline: 9
    }
  ]

  it.effect("go on, none is lost or published twice", () =>
    Effect.gen(function* () {
      yield* from(rows[0], (policy) =>
        Effect.gen(function* () {
          const series = Effect.map(scrape, (all) =>
            all.map(({ labels, name }) => JSON.stringify([name, labels])).toSorted()
          )
          const names = yield* series
          let before = yield* numbers
          for (const row of [...rows, ...rows, ...rows]) {
            yield* reload(row)
            const call = yield* begin(policy.execute(down))
            yield* TestClock.adjust("1 second")
            yield* Fiber.join(call)
            yield* policy.execute(Effect.void)
            expect(yield* series).toEqual(names)
            const after = yield* numbers
            for (const [key, number] of Object.entries(before)) {
              if (key.includes("_total")) expect(after[key]).toBeGreaterThanOrEqual(number)
            }
            before = after
          }
          expect(before).toMatchObject({
            "calls_total{policy=billing,outcome=success}": 9,
            "calls_total{policy=billing,outcome=failure}": 9,
            "attempts_total{policy=billing,kind=first}": 18,
            "attempts_total{policy=billing,kind=retry}": 12
          })
        })
      )
      expect(yield* scrape).toEqual([])
    }).pipe(withRegistry)
  )

  it.effect("leave with their stages, and begin anew when they come back", () =>
    from({ retry: {}, breaker: { failures: 1 } }, (policy) =>
      Effect.gen(function* () {
        yield* Effect.exit(policy.executeWith(down, { retry: false }))
        yield* reload({ enabled: false, retry: {}, breaker: { failures: 1 } })
        expect(Object.keys(yield* numbers).filter((key) => key.includes("policy=billing"))).toEqual([])
        yield* reload({ breaker: { failures: 1 } })
        const all = yield* numbers
        expect(all["breaker_transitions_total{policy=billing,from=closed,to=open}"]).toBe(0)
        expect(all["attempts_total{policy=billing,kind=retry}"]).toBeUndefined()
      })
    ).pipe(withRegistry)
  )

  it.effect("are of one component of health for each circuit", () =>
    from({ breaker: { failures: 1 } }, (policy) =>
      Effect.gen(function* () {
        const names = Effect.map(circuits, (all) => all.map(({ enabled, name }) => [name, enabled]))
        yield* Effect.exit(policy.execute(down))
        expect(yield* names).toEqual([["billing", true]])
        yield* reload({ breaker: { failures: 2 }, retry: {} })
        expect(yield* names).toEqual([["billing", true]])
        expect((yield* circuits).map(({ state }) => state)).toEqual(["open"])
        yield* reload({ breaker: { failures: 2, enabled: false } })
        expect(yield* names).toEqual([["billing", false]])
        yield* reload({ breaker: { failures: 2 } })
        expect(yield* names).toEqual([["billing", true]])
        yield* reload({})
        expect(yield* names).toEqual([])
        yield* Effect.exit(reload({ breaker: { failures: 0 } }))
        expect(yield* names).toEqual([])
      })
    ).pipe(Effect.provide(Health.layer))
  )
})

describe("several reloads at once", () => {
  it.effect("follow each other, in the order in which they were asked for", () =>
    from({}, (policy) =>
      Effect.gen(function* () {
        const policies = yield* Policies.Policies
        const gate = yield* Deferred.make<void>()
        const slow = providerOf({ billing: { bulkhead: { limit: 1 } }, search: { bulkhead: { limit: 1 } } })
        const held: ConfigProvider.ConfigProvider = ConfigProvider.make((path) =>
          Effect.andThen(Deferred.await(gate), slow.load(path))
        )
        const first = yield* begin(policies.reload(held))
        const second = yield* begin(
          policies.reload(
            providerOf({ billing: { bulkhead: { limit: 2 } }, search: { bulkhead: { limit: 2 } } })
          )
        )
        yield* TestClock.adjust("1 second")
        expect(second.pollUnsafe()).toBeUndefined()
        yield* Deferred.succeed(gate, undefined)
        expect(Exit.isSuccess(yield* Fiber.join(first))).toBe(true)
        const changes = yield* Effect.flatten(Fiber.join(second))
        expect(changes.billing).toMatchObject({ changed: ["bulkhead"], added: [] })
        expect((yield* present(policy.bulkhead).snapshot).limit).toBe(2)
        expect((yield* present((yield* Search).bulkhead).snapshot).limit).toBe(2)
      })
    )
  )

  it.effect("do not wait for one that was interrupted while it read", () =>
    from({}, (policy) =>
      Effect.gen(function* () {
        const policies = yield* Policies.Policies
        const hanging = yield* begin(policies.reload(ConfigProvider.make(() => Effect.never)))
        yield* Fiber.interrupt(hanging)
        yield* reload({ bulkhead: { limit: 2 } })
        expect((yield* present(policy.bulkhead).snapshot).limit).toBe(2)
      })
    )
  )
})

it("a reload that is interrupted anywhere changes every policy or none", { timeout: 60_000 }, () => {
  const before = {
    billing: { retry: { attempts: 2 }, bulkhead: { limit: 1 }, breaker: { failures: 1 } },
    search: { retry: { attempts: 2 }, breaker: { failures: 1 } }
  }
  const after = {
    billing: { retry: { attempts: 3 }, breaker: { failures: 2 }, rateLimiter: { limit: 5, period: 1 } },
    search: { deadline: 5, breaker: { failures: 3 } }
  }
  const wanted = Effect.runSync(
    Effect.scoped(
      Effect.flatMap(Layer.build(layerOf(after)), (fresh) => Context.get(fresh, Policies.Policies).describe)
    )
  )
  const seen = new Set<boolean>()
  const interruptions = interruptEverywhere((world) => {
    const context = world.value(Layer.build(layerOf(before)))
    const policies = Context.get(context, Policies.Policies)
    const old = world.value(policies.describe)
    return {
      program: policies.reload(providerOf(after)),
      verify: () => {
        const now = world.value(policies.describe)
        const isNew = JSON.stringify(now) === JSON.stringify(wanted)
        seen.add(isNew)
        if (!isNew) expect(now).toEqual(old)
        const billing = Context.get(context, Billing)
        expect(billing.bulkhead === undefined).toBe(isNew)
        expect(billing.rateLimiter === undefined).toBe(!isNew)
        // And the next one finds nothing in its way.
        world.value(policies.reload(providerOf(before)))
        expect(world.value(policies.describe)).toEqual(old)
      }
    }
  })
  expect(interruptions).toBeGreaterThan(20)
  expect(seen).toEqual(new Set([true, false]))
})
