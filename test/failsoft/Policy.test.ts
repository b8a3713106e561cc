import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Data, Duration, Effect, Exit, Fiber, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import {
  CircuitBreaker,
  Deadline,
  Health,
  Outcome,
  Policy,
  type PolicyEvent,
  Retry,
  ServiceUnavailable,
  UnavailableReason
} from "failsoft"
import { inTime, noting, reasonOf } from "./calls.ts"
import { circuits } from "./health.ts"
import { hearing, transitionsIn } from "./hearing.ts"

class TooMany extends Data.TaggedError("TooMany")<{ readonly retryAfter: Duration.Duration }> {}

const answer = Effect.succeed("answer")
const steady = Retry.exponential({ base: "1 second", jitter: "none" })

const breakerOf = (policy: Policy.Policy): CircuitBreaker.CircuitBreaker => {
  if (policy.breaker === undefined) throw new Error("the policy has no breaker")
  return policy.breaker
}

const snapshotOf = (policy: Policy.Policy) => breakerOf(policy).snapshot

const because = (events: ReadonlyArray<PolicyEvent.PolicyEvent>) =>
  events.flatMap((event) => (event._tag === "AttemptsExhausted" ? [event.because] : []))

describe("a call that hangs", () => {
  it.effect("opens the circuit, though the deadline is shorter than the attempt timeout", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        deadline: "3 seconds",
        attemptTimeout: "5 seconds",
        breaker: { trip: CircuitBreaker.consecutive(20) }
      })
      const calls = yield* Effect.replicateEffect(Effect.forkChild(policy.execute(Effect.never)), 20)
      yield* TestClock.adjust("3 seconds")
      const exits = yield* Effect.forEach(calls, Fiber.await)
      const three = Duration.seconds(3)
      expect(exits.map(reasonOf)).toEqual(calls.map(() => ({ _tag: "TimedOut", after: three, of: three })))
      expect(yield* snapshotOf(policy)).toMatchObject({ state: "open", counts: { failed: 20, ignored: 0 } })
    })
  )

  it.effect("does not count when the caller's deadline left it less than half its time", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        attemptTimeout: "5 seconds",
        breaker: { trip: CircuitBreaker.consecutive(1) }
      })
      for (let call = 0; call < 20; call++) {
        const [exit, millis] = yield* inTime(policy.execute(Effect.never).pipe(Deadline.within("2 seconds")))
        expect(reasonOf(exit)).toMatchObject({ _tag: "TimedOut", after: Duration.seconds(2) })
        expect(millis).toBe(2000)
      }
      expect(yield* snapshotOf(policy)).toMatchObject({ state: "closed", counts: { failed: 0, ignored: 20 } })
      yield* inTime(policy.execute(Effect.never).pipe(Deadline.within("2500 millis")))
      expect(yield* snapshotOf(policy)).toMatchObject({ state: "open", counts: { failed: 1, ignored: 20 } })
    })
  )

  it.effect("does not count when its caller goes away", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        attemptTimeout: "5 seconds",
        breaker: { trip: CircuitBreaker.consecutive(1) }
      })
      const fiber = yield* Effect.forkChild(policy.execute(Effect.never))
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.interrupt(fiber)
      expect(yield* snapshotOf(policy)).toMatchObject({ state: "closed", counts: { failed: 0, ignored: 1 } })
    })
  )

  it.effect("is tried again in what remains, and counts each time", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.never)
      const policy = yield* Policy.make("billing", {
        deadline: "8 seconds",
        attemptTimeout: "4 seconds",
        retry: { attempts: 3, schedule: steady },
        breaker: {}
      })
      const [exit, millis] = yield* inTime(policy.execute(call))
      expect(at).toEqual([0, 5000])
      expect(millis).toBe(8000)
      expect(reasonOf(exit)).toMatchObject({
        _tag: "TimedOut",
        after: Duration.seconds(3),
        of: Duration.seconds(4)
      })
      expect(yield* snapshotOf(policy)).toMatchObject({ counts: { total: 2, failed: 2 } })
    })
  )

  it.effect("has the whole deadline when there is no attempt timeout", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", { deadline: "3 seconds" })
      const [exit, millis] = yield* inTime(policy.execute(Effect.never))
      expect(millis).toBe(3000)
      expect(reasonOf(exit)).toMatchObject({ _tag: "TimedOut", of: Duration.seconds(3) })
    })
  )

  it.effect.each([
    ["without a retry", {}],
    ["with one", { retry: { attempts: 2 } }]
  ] as const)("can see what remains, %s", ([, given]) =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", { deadline: "3 seconds", ...given })
      const left = Effect.map(Deadline.remaining, Option.map(Duration.toMillis))
      expect(yield* policy.execute(left)).toEqual(Option.some(3000))
      expect(yield* left.pipe(Policy.withPolicy(policy, { retry: false }))).toEqual(Option.some(3000))
    })
  )

  it.effect("gets no more time from a policy than its caller has", () =>
    Effect.gen(function* () {
      const inner = yield* Policy.make("inner", { deadline: "9 seconds" })
      const outer = yield* Policy.make("outer", { deadline: "2 seconds" })
      const [exit, millis] = yield* inTime(Effect.never.pipe(inner.execute, outer.execute))
      expect(millis).toBe(2000)
      expect(reasonOf(exit)).toMatchObject({ _tag: "TimedOut" })
    })
  )
})

describe("a spent deadline", () => {
  it.effect("starts nothing and gives a probe's slot back", () =>
    Effect.gen(function* () {
      const { at, call } = noting(answer)
      const policy = yield* Policy.make("billing", {
        attemptTimeout: "5 seconds",
        breaker: { trip: CircuitBreaker.consecutive(1), openDuration: "1 second", halfOpen: { successes: 1 } }
      })
      yield* Effect.exit(policy.execute(Effect.fail("refused")))
      yield* TestClock.adjust("1 second")
      const exit = yield* Effect.exit(policy.execute(call).pipe(Deadline.within(0)))
      expect(reasonOf(exit)).toMatchObject({ _tag: "TimedOut", after: Duration.zero })
      expect(at).toEqual([])
      expect(yield* snapshotOf(policy)).toMatchObject({ state: "half_open", counts: { ignored: 1 } })
      expect(yield* policy.execute(call)).toBe("answer")
      expect(yield* snapshotOf(policy)).toMatchObject({ state: "closed" })
    })
  )
})

describe("attempts", () => {
  const retry = { attempts: 2, schedule: steady }

  it.effect("are tries in all, and each counts once in the circuit", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.fail("refused"))
      const policy = yield* Policy.make("billing", { retry, breaker: {} })
      const [exit] = yield* inTime(policy.execute(call))
      expect(at).toEqual([0, 1000])
      expect(reasonOf(exit)).toEqual({ _tag: "RetriesExhausted", attempts: 2, lastError: "refused" })
      expect(yield* snapshotOf(policy)).toMatchObject({ failuresInARow: 2, counts: { total: 2, failed: 2 } })
    })
  )

  it.effect("end when the circuit opens", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.fail("refused"))
      const { events, made: policy } = yield* hearing(
        Policy.make("billing", {
          retry: { ...retry, attempts: 10 },
          breaker: { trip: CircuitBreaker.consecutive(3) }
        })
      )
      const [exit, millis] = yield* inTime(policy.execute(call))
      expect(at).toEqual([0, 1000, 3000])
      expect(millis).toBe(3000)
      expect(reasonOf(exit)).toMatchObject({ _tag: "RetriesExhausted", attempts: 3 })
      expect(because(events)).toEqual(["circuit"])
      expect(yield* snapshotOf(policy)).toMatchObject({ state: "open", counts: { total: 3, rejected: 0 } })
    })
  )

  it.effect("end when another's failure has opened the circuit during a wait", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.fail("refused"))
      const policy = yield* Policy.make("billing", {
        retry,
        breaker: { trip: CircuitBreaker.consecutive(2) }
      })
      const fiber = yield* Effect.forkChild(policy.execute(call))
      yield* TestClock.adjust("500 millis")
      yield* Effect.exit(breakerOf(policy).execute(Effect.fail("refused")))
      yield* TestClock.adjust("1 second")
      expect(reasonOf(yield* Fiber.await(fiber))).toEqual({ _tag: "CircuitOpen" })
      expect(at).toEqual([0])
    })
  )

  it.effect("are none when the circuit is open, and the rejection is not tried again", () =>
    Effect.gen(function* () {
      const { at, call } = noting(answer)
      const policy = yield* Policy.make("billing", {
        retry,
        breaker: { trip: CircuitBreaker.consecutive(1) }
      })
      yield* Effect.exit(breakerOf(policy).execute(Effect.fail("refused")))
      const [exit, millis] = yield* inTime(policy.execute(call))
      expect(reasonOf(exit)).toEqual({ _tag: "CircuitOpen" })
      expect(millis).toBe(0)
      expect(at).toEqual([])
      expect(yield* snapshotOf(policy)).toMatchObject({ counts: { total: 2, failed: 1, rejected: 1 } })
    })
  )

  it.effect("end with a probe that fails", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.fail("refused"))
      const { events, made: policy } = yield* hearing(
        Policy.make("billing", {
          retry: { ...retry, attempts: 5 },
          breaker: { trip: CircuitBreaker.consecutive(1), openDuration: "10 seconds" }
        })
      )
      yield* inTime(policy.execute(call))
      yield* TestClock.adjust("10 seconds")
      yield* inTime(policy.execute(call))
      expect(at).toEqual([0, 10_000])
      expect(transitionsIn(events)).toEqual(["CircuitOpened", "CircuitHalfOpened", "CircuitOpened"])
    })
  )

  it.effect("end when the deadline has no room for the wait, which is then not slept", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.fail("refused"))
      const { events, made: policy } = yield* hearing(
        Policy.make("billing", { deadline: "2500 millis", retry: { ...retry, attempts: 5 } })
      )
      const [exit, millis] = yield* inTime(policy.execute(call))
      expect(at).toEqual([0, 1000])
      expect(millis).toBe(1000)
      expect(reasonOf(exit)).toMatchObject({ _tag: "RetriesExhausted", attempts: 2 })
      expect(because(events)).toEqual(["deadline"])
    })
  )

  it.effect("end when the dependency asks for more patience than is allowed", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.fail(new TooMany({ retryAfter: Duration.seconds(31) })))
      const { events, made: policy } = yield* hearing(Policy.make("billing", { retry, breaker: {} }))
      const [exit, millis] = yield* inTime(policy.execute(call))
      expect(at).toEqual([0])
      expect(millis).toBe(0)
      expect(reasonOf(exit)).toMatchObject({ _tag: "RetriesExhausted", attempts: 1 })
      expect(because(events)).toEqual(["retry-after"])
    })
  )

  it.effect("are one for a defect, which counts once and is raised again", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.die("defect"))
      const policy = yield* Policy.make("billing", { attemptTimeout: "5 seconds", retry, breaker: {} })
      expect(yield* Effect.exit(policy.execute(call))).toEqual(Exit.die("defect"))
      expect(at).toHaveLength(1)
      expect(yield* snapshotOf(policy)).toMatchObject({ counts: { total: 1, failed: 1 } })
    })
  )

  it.effect("are one for a call that must not run twice, which keeps its own error", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.fail("refused"))
      const policy = yield* Policy.make("billing", { deadline: "8 seconds", retry, breaker: {} })
      const [exit, millis] = yield* inTime(call.pipe(Policy.withPolicy(policy, { retry: false })))
      expect(exit).toEqual(Exit.fail("refused"))
      expect(millis).toBe(0)
      expect(at).toHaveLength(1)
      yield* inTime(call.pipe(Policy.withPolicy(policy, { retry: true })))
      expect(at).toHaveLength(3)
    })
  )

  it.effect("stop between two attempts when the caller goes away", () =>
    Effect.gen(function* () {
      const { at, call } = noting(Effect.fail("refused"))
      const policy = yield* Policy.make("billing", { deadline: "8 seconds", retry, breaker: {} })
      const fiber = yield* Effect.forkChild(policy.execute(call))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 minute")
      expect(at).toEqual([0])
      expect(yield* snapshotOf(policy)).toMatchObject({ counts: { total: 1, failed: 1, ignored: 0 } })
    })
  )
})

describe("a call's own answers", () => {
  it.effect("classify its attempts and say which errors pass, in either order of arguments", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", { retry: { attempts: 3, schedule: steady }, breaker: {} })
      const { at, call } = noting(Effect.fail("empty" as string))
      const own: Policy.CallOptions<never, string> = {
        classify: (exit) => (Exit.isFailure(exit) ? Outcome.ignored : Outcome.success),
        isTransient: (error) => error !== "empty"
      }
      expect(yield* Effect.exit(call.pipe(Policy.withPolicy(policy, own)))).toEqual(Exit.fail("empty"))
      expect(yield* Effect.exit(Policy.withPolicy(call, policy, own))).toEqual(Exit.fail("empty"))
      expect(yield* Effect.exit(policy.executeWith(call, own))).toEqual(Exit.fail("empty"))
      expect(at).toHaveLength(3)
      expect(yield* snapshotOf(policy)).toMatchObject({ counts: { total: 3, ignored: 3 } })
    })
  )

  it.effect("do not make a rejection transient", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        retry: { attempts: 3, schedule: steady },
        breaker: { trip: CircuitBreaker.consecutive(1) }
      })
      yield* Effect.exit(breakerOf(policy).execute(Effect.fail("refused")))
      const [exit, millis] = yield* inTime(
        answer.pipe(Policy.withPolicy(policy, { isTransient: () => true }))
      )
      expect(reasonOf(exit)).toEqual({ _tag: "CircuitOpen" })
      expect(millis).toBe(0)
    })
  )

  it.effect("leave the answer of the policy where they say nothing", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", { breaker: { classify: () => Outcome.ignored } })
      expect(yield* Policy.withPolicy(answer, policy)).toBe("answer")
      expect(yield* answer.pipe(Policy.withPolicy(policy))).toBe("answer")
      expect(yield* snapshotOf(policy)).toMatchObject({ counts: { ignored: 2 } })
    })
  )
})

describe("orElse", () => {
  it.effect(
    "answers whatever makes the dependency unavailable, and counts rejections that were answered",
    () =>
      Effect.gen(function* () {
        const policy = yield* Policy.make("billing", {
          attemptTimeout: "1 second",
          breaker: { trip: CircuitBreaker.consecutive(1) }
        })
        const instead = policy.orElse((error) => Effect.succeed(error.reason._tag))
        const [timedOut] = yield* inTime(Effect.never.pipe(policy.execute, instead))
        expect(timedOut).toEqual(Exit.succeed("TimedOut"))
        expect(yield* answer.pipe(policy.execute, instead)).toBe("CircuitOpen")
        expect(yield* snapshotOf(policy)).toMatchObject({ counts: { failed: 1, rejected: 1, fallback: 1 } })
      })
  )

  it.effect("needs no circuit", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", { attemptTimeout: "1 second" })
      const [exit] = yield* inTime(
        Effect.never.pipe(
          policy.execute,
          policy.orElse(() => answer)
        )
      )
      expect(exit).toEqual(Exit.succeed("answer"))
    })
  )
})

describe("stages that are not named", () => {
  it.effect("are absent: the call ends as it would without, and at once", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {})
      expect(policy.breaker).toBeUndefined()
      for (const exit of [
        Exit.succeed("answer"),
        Exit.fail("refused"),
        Exit.die("defect"),
        Exit.interrupt(1)
      ]) {
        const { at, call } = noting(exit)
        expect(yield* inTime(call.pipe(policy.execute))).toEqual([exit, 0])
        expect(yield* inTime(call.pipe(Policy.withPolicy(policy, { retry: false })))).toEqual([exit, 0])
        expect(at).toEqual([0, 0])
      }
    })
  )
})

describe("a policy that is switched off", () => {
  const given = {
    enabled: false,
    deadline: "1 second",
    attemptTimeout: "1 second",
    retry: {},
    breaker: { trip: CircuitBreaker.consecutive(1) }
  } as const

  it.effect("leaves the call as it is, and says so in health", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", given)
      expect(policy.execute(answer)).toBe(answer)
      expect(policy.executeWith(answer, { retry: true, classify: () => Outcome.failure() })).toBe(answer)
      const exits = yield* Effect.replicateEffect(Effect.exit(policy.execute(Effect.fail("refused"))), 3)
      expect(exits).toEqual([Exit.fail("refused"), Exit.fail("refused"), Exit.fail("refused")])
      expect(yield* circuits).toMatchObject([{ name: "billing", enabled: false }])
    }).pipe(Effect.provide(Health.layer))
  )

  it.effect("answers an outage of another kind all the same", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", given)
      const unavailable = new ServiceUnavailable({
        service: "billing",
        reason: UnavailableReason.NotConnected()
      })
      expect(
        yield* Effect.fail(unavailable).pipe(
          policy.execute,
          policy.orElse(() => answer)
        )
      ).toBe("answer")
    })
  )

  it.effect("is refused when an option is out of its range, as when it is on", () =>
    Effect.gen(function* () {
      const wrong = [
        { deadline: 0 },
        { attemptTimeout: 0 },
        { retry: { attempts: 0 } },
        { breaker: { openDuration: 0 } }
      ]
      const refused = yield* Effect.forEach(wrong, (option) =>
        Effect.flip(Policy.make("billing", { ...given, ...option }))
      )
      expect(refused.map(({ option }) => option)).toEqual([
        "deadline",
        "attemptTimeout",
        "retry.attempts",
        "breaker.openDuration"
      ])
    })
  )
})

describe("an option out of its range", () => {
  it.effect.each([
    [{ deadline: 0 }, "deadline"],
    [{ attemptTimeout: 0 }, "attemptTimeout"],
    [{ retry: { attempts: 0 } }, "retry.attempts"],
    [{ retry: { schedule: Retry.exponential({ factor: 0 }) } }, "retry.schedule.factor"],
    [{ breaker: { openDuration: 0 } }, "breaker.openDuration"],
    [{ breaker: { trip: CircuitBreaker.consecutive(0) } }, "breaker.trip.failures"],
    [{ breaker: { halfOpen: { probes: 0 } } }, "breaker.halfOpen.probes"]
  ] as const)("is refused: %j", ([given, option]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Policy.make("billing", given))
      expect(error).toMatchObject({ _tag: "InvalidOption", policy: "billing", option })
      expect(error.message).toContain(`billing: option "${option}" is `)
    })
  )

  it.effect("is refused when it is the name", () =>
    Effect.gen(function* () {
      expect((yield* Effect.flip(Policy.make("", {}))).option).toBe("name")
    })
  )
})

class Billing extends Context.Service<Billing, Policy.Policy>()("test/Billing") {}

/** What can be seen of a policy's stages from outside. */
const shapeOf = Effect.gen(function* () {
  const policy = yield* Billing
  const hanging = noting(Effect.never)
  const [, millis] = yield* inTime(policy.execute(hanging.call))
  const failing = noting(Effect.fail("refused"))
  let rounds = 0
  while (!(yield* breakerOf(policy).isOpen) && rounds++ < 20) yield* inTime(policy.execute(failing.call))
  return {
    name: policy.name,
    attempts: hanging.at.length,
    millis,
    failures: hanging.at.length + failing.at.length
  }
})

const configured = (provider: ConfigProvider.ConfigProvider, path?: string) =>
  Policy.layerConfig(Billing, "billing", path).pipe(Layer.provide(ConfigProvider.layer(provider)))

const billing = {
  deadline: "10 seconds",
  attemptTimeout: 2,
  retry: { attempts: 2, base: 1, jitter: "none" },
  breaker: { failures: 6, openDuration: 30 }
}

const environment = {
  BILLING_DEADLINE: "10 seconds",
  BILLING_ATTEMPT_TIMEOUT: "2",
  BILLING_RETRY_ATTEMPTS: "2",
  BILLING_RETRY_BASE: "1",
  BILLING_RETRY_JITTER: "none",
  BILLING_BREAKER_FAILURES: "6",
  BILLING_BREAKER_OPEN_DURATION: "30"
}

const fromEnvironment = (env: Record<string, string>) =>
  ConfigProvider.constantCase(ConfigProvider.fromEnv({ env }))

describe("layers", () => {
  const shape = { name: "billing", attempts: 2, millis: 5000, failures: 6 }

  it.effect.each([
    ["JSON below its name", configured(ConfigProvider.fromUnknown({ billing }))],
    ["JSON below another path", configured(ConfigProvider.fromUnknown({ money: billing }), "money")],
    ["the environment", configured(fromEnvironment(environment))],
    [
      "options",
      Policy.layer(Billing, "billing", {
        deadline: "10 seconds",
        attemptTimeout: "2 seconds",
        retry: { attempts: 2, schedule: steady },
        breaker: { trip: CircuitBreaker.consecutive(6), openDuration: "30 seconds" }
      })
    ]
  ] as const)("provide a policy from %s", ([, Live]) =>
    Effect.gen(function* () {
      expect(yield* shapeOf.pipe(Effect.provide(Live))).toEqual(shape)
    })
  )

  it.effect.each([
    ["JSON", configured(ConfigProvider.fromUnknown({ billing: { attemptTimeout: 5 } }))],
    ["the environment", configured(fromEnvironment({ BILLING_ATTEMPT_TIMEOUT: "5" }))]
  ] as const)("leave out the stages that %s does not name", ([, Live]) =>
    Effect.gen(function* () {
      const policy = yield* Billing
      const { at, call } = noting(Effect.never)
      const [, millis] = yield* inTime(policy.execute(call))
      expect(at).toHaveLength(1)
      expect(millis).toBe(5000)
      expect(policy.breaker).toBeUndefined()
    }).pipe(Effect.provide(Live))
  )

  it.effect.each([
    ["a value that cannot be read", { attemptTimeout: "soon" }, "ConfigError", "attemptTimeout"],
    ["a value deep inside", { retry: { attempts: "many" } }, "ConfigError", "attempts"],
    ["a value out of its range", { breaker: { failures: 0 } }, "InvalidOption", "breaker.trip.failures"]
  ] as const)("refuse %s, naming it", ([, row, tag, named]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(ConfigProvider.fromUnknown({ billing: row }))))
      expect(error._tag).toBe(tag)
      expect(error.message).toContain("billing")
      expect(error.message).toContain(named)
    })
  )
})
