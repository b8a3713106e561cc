import { describe, expect, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Metric, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  CircuitBreaker,
  Deadline,
  Outcome,
  Policy,
  Retry,
  ServiceUnavailable,
  UnavailableReason
} from "failsoft"
import { inTime } from "./calls.ts"
import { interruptEverywhere } from "./interruption.ts"
import { counted, numbers, scrape, withRegistry } from "./metrics.ts"

const steady = Retry.exponential({ base: "1 second", jitter: "none" })

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")
const hang = Effect.never

const later = <A, E>(seconds: number, call: Effect.Effect<A, E>) => Effect.delay(call, `${seconds} seconds`)

const callsOf = (outcomes: Readonly<Record<string, number>>) =>
  Object.fromEntries(
    Object.entries(outcomes).map(([outcome, count]) => [
      `calls_total{policy=billing,outcome=${outcome}}`,
      count
    ])
  )

/** Outcome, count and sum of each histogram of durations. */
const durationsOf = Effect.map(scrape, (all) =>
  all.flatMap(({ labels, name, state }) =>
    name === "failsoft_call_duration_seconds" && "sum" in state
      ? [[labels.outcome, state.count, state.sum] as const]
      : []
  )
)

const durations = Effect.map(durationsOf, (all) =>
  Object.fromEntries(all.map(([outcome, count, sum]) => [outcome, [count, sum]]))
)

describe("a policy", () => {
  it.effect("publishes all its series at 0 when it is made, and none when its scope has ended", () =>
    Effect.gen(function* () {
      const make = Policy.make("billing", { deadline: "8 seconds", retry: {}, breaker: {} })
      const before = yield* Effect.scoped(Effect.andThen(make, numbers))
      const outcomes = ["success", "failure", "ignored", "timeout", "rejected", "fallback"]
      expect(yield* Effect.scoped(Effect.andThen(make, durationsOf))).toEqual(
        outcomes.map((outcome) => [outcome, 0, 0])
      )
      expect(before).toEqual({
        ...Object.fromEntries(
          outcomes.map((outcome) => [`calls_total{policy=billing,outcome=${outcome}}`, 0])
        ),
        "attempts_total{policy=billing,kind=first}": 0,
        "attempts_total{policy=billing,kind=retry}": 0,
        "fallbacks_total{policy=billing,source=fallback}": 0,
        "rejections_total{policy=billing,reason=CircuitOpen}": 0,
        "overrides_active{policy=billing}": 0,
        "breaker_state{policy=billing,state=closed}": 1,
        "breaker_state{policy=billing,state=open}": 0,
        "breaker_state{policy=billing,state=half_open}": 0,
        "breaker_transitions_total{policy=billing,from=closed,to=open}": 0,
        "breaker_transitions_total{policy=billing,from=open,to=half_open}": 0,
        "breaker_transitions_total{policy=billing,from=half_open,to=open}": 0,
        "breaker_transitions_total{policy=billing,from=half_open,to=closed}": 0,
        "breaker_transitions_total{policy=billing,from=open,to=closed}": 0
      })
      expect(yield* scrape).toEqual([])
    }).pipe(withRegistry)
  )

  it.effect("that is switched off publishes nothing", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", { enabled: false, retry: {}, breaker: {} })
      yield* Effect.exit(refused.pipe(policy.execute))
      expect(yield* scrape).toEqual([])
    }).pipe(withRegistry)
  )

  it.effect("counts and times each call once, by what became of it", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", {
        deadline: "20 seconds",
        attemptTimeout: "4 seconds",
        retry: { attempts: 2, schedule: steady },
        breaker: {
          trip: CircuitBreaker.consecutive(6),
          openDuration: "60 seconds",
          halfOpen: { successes: 1 }
        }
      })
      const { execute, orElse } = policy
      const judged = (call: Effect.Effect<string, string>, classify: (exit: unknown) => Outcome.Outcome) =>
        Effect.exit(call.pipe(Policy.withPolicy(policy, { classify, isTransient: () => false })))

      yield* inTime(later(1.5, answer).pipe(execute))
      // Two attempts of half a second, and a wait of one second between them.
      yield* inTime(later(0.5, refused).pipe(execute))
      yield* inTime(hang.pipe(execute))
      // Its fallback takes two seconds more, which are no time of the call. The circuit opens.
      yield* inTime(
        later(0.5, refused).pipe(
          execute,
          orElse(() => later(2, answer))
        )
      )
      yield* Effect.exit(answer.pipe(execute))
      yield* answer.pipe(
        execute,
        orElse(() => answer)
      )
      // A fallback that fails has not answered; the next one does.
      yield* answer.pipe(
        execute,
        orElse((error) => Effect.fail(error)),
        orElse(() => answer)
      )
      yield* TestClock.adjust("60 seconds")
      yield* answer.pipe(execute)
      const interrupted = yield* Effect.forkChild(hang.pipe(execute), { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.interrupt(interrupted)
      yield* Effect.exit(Effect.die("defect").pipe(execute))
      // An error may be an answer, a value a failure, and either may say nothing.
      yield* judged(refused, () => Outcome.success)
      yield* judged(answer, () => Outcome.failure())
      yield* judged(answer, () => Outcome.ignored)
      const bug = (): never => {
        throw new Error("a bug")
      }
      yield* judged(answer, bug)
      yield* judged(refused, bug)
      yield* Effect.exit(answer.pipe(execute, Deadline.within(0)))

      expect(yield* durations).toEqual({
        success: [4, 1.5],
        failure: [5, 4],
        timeout: [2, 9],
        rejected: [3, 0],
        ignored: [2, 3],
        fallback: [3, 2]
      })
      expect(yield* counted).toEqual({
        ...callsOf({ success: 4, failure: 5, timeout: 2, rejected: 3, ignored: 2, fallback: 3 }),
        "attempts_total{policy=billing,kind=first}": 16,
        "attempts_total{policy=billing,kind=retry}": 3,
        "fallbacks_total{policy=billing,source=fallback}": 3,
        "rejections_total{policy=billing,reason=CircuitOpen}": 3,
        "breaker_state{policy=billing,state=closed}": 1,
        "breaker_transitions_total{policy=billing,from=closed,to=open}": 1,
        "breaker_transitions_total{policy=billing,from=open,to=half_open}": 1,
        "breaker_transitions_total{policy=billing,from=half_open,to=closed}": 1
      })
    }).pipe(withRegistry)
  )

  it.effect("judges by the classification of its circuit, unless the call has one of its own", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.make("billing", { breaker: { classify: () => Outcome.ignored } })
      yield* answer.pipe(policy.execute)
      yield* Effect.exit(refused.pipe(policy.execute))
      yield* answer.pipe(Policy.withPolicy(policy, { classify: () => Outcome.success }))
      expect(yield* counted).toMatchObject(callsOf({ ignored: 2, success: 1 }))
    }).pipe(withRegistry)
  )

  it.effect("counts calls that are tried once as first attempts, like any other", () =>
    Effect.gen(function* () {
      const retrying = yield* Policy.make("billing", { retry: { attempts: 2, schedule: steady } })
      const plain = yield* Policy.make("search", {})
      yield* Effect.exit(refused.pipe(Policy.withPolicy(retrying, { retry: false })))
      yield* inTime(refused.pipe(retrying.execute))
      yield* Effect.exit(refused.pipe(plain.execute))
      expect(yield* counted).toMatchObject({
        "attempts_total{policy=billing,kind=first}": 2,
        "attempts_total{policy=billing,kind=retry}": 1,
        "attempts_total{policy=search,kind=first}": 1
      })
    }).pipe(withRegistry)
  )

  const soon = Duration.seconds(1)
  it.effect.each([
    { reason: UnavailableReason.CircuitOpen(), own: "rejected", foreign: "ignored" },
    { reason: UnavailableReason.BulkheadFull(), own: "rejected", foreign: "ignored" },
    { reason: UnavailableReason.RateLimited(), own: "rejected", foreign: "ignored" },
    { reason: UnavailableReason.Throttled(), own: "rejected", foreign: "ignored" },
    { reason: UnavailableReason.Shed(), own: "rejected", foreign: "ignored" },
    { reason: UnavailableReason.TimedOut({ after: soon, of: soon }), own: "timeout", foreign: "failure" },
    {
      reason: UnavailableReason.TimedOut({ after: Duration.zero, of: soon }),
      own: "timeout",
      foreign: "ignored"
    },
    {
      reason: UnavailableReason.RetriesExhausted({ attempts: 2, lastError: "refused" }),
      own: "failure",
      foreign: "failure"
    },
    { reason: UnavailableReason.RetryBudgetExhausted(), own: "failure", foreign: "failure" },
    { reason: UnavailableReason.NotConnected(), own: "failure", foreign: "failure" }
  ] as const)(
    "takes $reason._tag of its own for $own, and of another for $foreign",
    ({ foreign, own, reason }) =>
      Effect.gen(function* () {
        const policy = yield* Policy.make("billing", {})
        const unavailable = (service: string) => new ServiceUnavailable({ service, reason })
        const ofBilling = Effect.fail(unavailable("billing"))
        yield* Effect.exit(ofBilling.pipe(policy.execute))
        yield* Effect.exit(Effect.fail(unavailable("ledger")).pipe(policy.execute))
        // A defect counts whatever came with it.
        const died = Cause.combine(Cause.fail(unavailable("billing")), Cause.die("defect"))
        yield* Effect.exit(Effect.failCause(died).pipe(policy.execute))
        const expected: Record<string, number> = { failure: 1 }
        for (const outcome of [own, foreign]) expected[outcome] = (expected[outcome] ?? 0) + 1
        expect(yield* counted).toEqual({
          ...callsOf(expected),
          "attempts_total{policy=billing,kind=first}": 3
        })
      }).pipe(withRegistry)
  )

  it.effect("is summed with another of its name, and what it counted stays when it goes", () =>
    Effect.gen(function* () {
      const stays = yield* Policy.make("billing", { breaker: { trip: CircuitBreaker.consecutive(1) } })
      const goes = yield* Scope.make()
      const other = yield* Scope.provide(Policy.make("billing", { breaker: {} }), goes)
      yield* answer.pipe(stays.execute)
      yield* answer.pipe(other.execute)
      yield* Effect.exit(refused.pipe(stays.execute))
      const both = {
        ...callsOf({ success: 2, failure: 1 }),
        "attempts_total{policy=billing,kind=first}": 3,
        "breaker_transitions_total{policy=billing,from=closed,to=open}": 1,
        "breaker_state{policy=billing,state=closed}": 1,
        "breaker_state{policy=billing,state=open}": 1
      }
      expect(yield* counted).toEqual(both)
      yield* Scope.close(goes, Exit.void)
      const { "breaker_state{policy=billing,state=closed}": _, ...rest } = both
      expect(yield* counted).toEqual(rest)
    }).pipe(withRegistry)
  )

  it("counts every call that is interrupted anywhere once at most, and leaves no series", () => {
    let seen = 0
    const interrupted = interruptEverywhere((world) => {
      const registry: Metric.MetricRegistry = new Map()
      const inRegistry = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.provideService(effect, Metric.MetricRegistry, registry)
      const scope = Scope.makeUnsafe()
      const policy = world.value(
        inRegistry(
          Scope.provide(
            Policy.make("billing", {
              attemptTimeout: "10 seconds",
              retry: { schedule: steady },
              breaker: {}
            }),
            scope
          )
        )
      )
      return {
        program: later(1, answer).pipe(policy.execute),
        verify: (exit) => {
          const { "attempts_total{policy=billing,kind=first}": begun = 0, ...all } = world.value(
            inRegistry(counted)
          )
          const ended = Object.entries(all).filter(([key]) => key.startsWith("calls_total"))
          // Who is interrupted on the way back from a success has had one.
          const [outcome] = ended
          expect(ended.length).toBeLessThanOrEqual(1)
          if (Exit.isSuccess(exit)) expect(Object.fromEntries(ended)).toEqual(callsOf({ success: 1 }))
          if (outcome !== undefined)
            expect(callsOf({ success: 1, ignored: 1 })).toMatchObject({ [outcome[0]]: outcome[1] })
          expect(begun).toBeGreaterThanOrEqual(ended.length)
          seen += ended.length
          world.value(Scope.close(scope, Exit.void))
          expect(registry.size).toBe(0)
        }
      }
    })
    expect(interrupted).toBeGreaterThan(10)
    expect(seen).toBeGreaterThan(10)
  })

  it.effect("leaves an empty registry behind 1,000 that came and went, and no name taken", () =>
    Effect.gen(function* () {
      const indices = (length: number) => Array.from({ length }, (_, index) => index)
      const make = (index: number) =>
        Policy.make(`p${index}`, { deadline: "1 second", retry: {}, breaker: {} })
      // Twenty at a time, and once more than have a place.
      yield* Effect.forEach(indices(50), (round) =>
        Effect.scoped(Effect.forEach(indices(20), (index) => make(round * 20 + index)))
      )
      yield* Effect.scoped(Effect.forEach(indices(120), make))
      expect(yield* scrape).toEqual([])
      yield* Effect.forEach(indices(100), (index) => Policy.make(`q${index}`, {}))
      expect((yield* scrape).filter(({ labels }) => labels.policy === "_other")).toEqual([])
    }).pipe(withRegistry)
  )
})
