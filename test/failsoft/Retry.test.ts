import { describe, expect, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  ConfigProvider,
  Context,
  Data,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Random,
  Schedule
} from "effect"
import { TestClock } from "effect/testing"
import {
  Ambiguous,
  Deadline,
  InvalidOption,
  Misconfigured,
  type PolicyEvent,
  QuotaExceeded,
  Retry,
  ServiceUnavailable,
  UnavailableReason,
  Unsupported
} from "failsoft"
import { inTime, noting } from "./calls.ts"
import { hearing } from "./hearing.ts"
import { World } from "./interruption.ts"

class TooMany extends Data.TaggedError("TooMany")<{ readonly retryAfter: Duration.Duration }> {}

const tooMany = (retryAfter: Duration.Input) =>
  new TooMany({ retryAfter: Duration.fromInputUnsafe(retryAfter) })

const unavailable = (reason: UnavailableReason, retryAfter?: Duration.Duration) =>
  new ServiceUnavailable({ service: "billing", reason, retryAfter })

const steady = Retry.exponential({ base: "1 second", jitter: "none" })

const retrying = (given?: Partial<Retry.Options>) =>
  Retry.make({ name: "billing", schedule: steady, ...given })

/** A call that fails with each error in turn, the last one for ever, and notes when it was tried. */
const failing = <E>(...errors: ReadonlyArray<E>) => {
  let tries = 0
  return noting(Effect.suspend(() => Effect.fail(errors[Math.min(tries++, errors.length - 1)]!)))
}

/** As `failing`, for a call that succeeds after so many failures. */
const succeedingAfter = (failures: number) => {
  const { at, call } = failing("refused")
  return {
    at,
    call: Effect.catchIf(
      call,
      () => at.length > failures,
      () => Effect.succeed("answer")
    )
  }
}

/** How a call ended, while time passes. */
const exitOf = <A, E, R>(call: Effect.Effect<A, E, R>) => Effect.map(inTime(call), ([exit]) => exit)

const random = (draw: number) =>
  Effect.provideService(Random.Random, { nextDoubleUnsafe: () => draw, nextIntUnsafe: () => 0 })

const because = (events: ReadonlyArray<PolicyEvent.PolicyEvent>) =>
  events.flatMap((event) => (event._tag === "AttemptsExhausted" ? [event.because] : []))

describe("attempts", () => {
  it.effect("are three in all, one second and then two apart", () =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const { events, made: retry } = yield* hearing(retrying())
      const exit = yield* exitOf(call.pipe(retry.execute))
      expect(at).toEqual([0, 1000, 3000])
      expect(exit).toEqual(
        Exit.fail(unavailable(UnavailableReason.RetriesExhausted({ attempts: 3, lastError: "refused" })))
      )
      const common = { policy: "billing", of: 3, error: { tag: undefined, name: "string" } }
      expect(events).toEqual([
        { _tag: "RetryScheduled", atMillis: 0, attempt: 1, delay: Duration.seconds(1), ...common },
        { _tag: "RetryScheduled", atMillis: 1000, attempt: 2, delay: Duration.seconds(2), ...common },
        { _tag: "AttemptsExhausted", atMillis: 3000, attempt: 3, because: "attempts", ...common }
      ])
    })
  )

  it.effect.each([1, 2, 5, 100])("are %d when %d are allowed", (attempts) =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const retry = yield* retrying({ attempts })
      yield* exitOf(call.pipe(retry.execute))
      expect(at).toHaveLength(attempts)
    })
  )

  it.effect("end with the first that succeeds", () =>
    Effect.gen(function* () {
      const { at, call } = succeedingAfter(2)
      const { events, made: retry } = yield* hearing(retrying({ attempts: 5 }))
      expect(yield* exitOf(call.pipe(retry.execute))).toEqual(Exit.succeed("answer"))
      expect(at).toEqual([0, 1000, 3000])
      expect(events.map(({ _tag }) => _tag)).toEqual(["RetryScheduled", "RetryScheduled"])
    })
  )

  it.effect("are one, and silent, when it succeeds", () =>
    Effect.gen(function* () {
      const { events, made: retry } = yield* hearing(retrying())
      expect(yield* Effect.succeed("answer").pipe(retry.execute)).toBe("answer")
      expect(events).toEqual([])
    })
  )

  it.effect("carry what they last failed with, and its hint", () =>
    Effect.gen(function* () {
      const last = tooMany("7 seconds")
      const { call } = failing<unknown>(tooMany("1 second"), last)
      const retry = yield* retrying({ attempts: 2 })
      const error = yield* Effect.flip(yield* exitOf(call.pipe(retry.execute)))
      if (!(error instanceof ServiceUnavailable) || error.reason._tag !== "RetriesExhausted") {
        return expect.unreachable()
      }
      expect(error.reason.lastError).toBe(last)
      expect(error.retryAfter).toEqual(Duration.seconds(7))
    })
  )
})

describe("the waits", () => {
  it.effect("grow to the cap", () =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const schedule = Retry.exponential({ base: "1 second", factor: 3, cap: "5 seconds", jitter: "none" })
      const retry = yield* retrying({ attempts: 5, schedule })
      yield* exitOf(call.pipe(retry.execute))
      expect(at).toEqual([0, 1000, 4000, 9000, 14_000])
    })
  )

  it.effect.each([
    { jitter: "full", draw: 0, at: [0, 0, 0, 0] },
    { jitter: "full", draw: 0.5, at: [0, 500, 1500, 3500] },
    { jitter: "equal", draw: 0, at: [0, 500, 1500, 3500] },
    { jitter: "equal", draw: 0.5, at: [0, 750, 2250, 5250] },
    { jitter: "decorrelated", draw: 0, at: [0, 1000, 2000, 3000] },
    { jitter: "decorrelated", draw: 0.5, at: [0, 2000, 5500, 11_250] }
  ] as const)("are spread by $jitter jitter: a draw of $draw", ({ jitter, draw, at: expected }) =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const retry = yield* retrying({
        attempts: 4,
        schedule: Retry.exponential({ base: "1 second", jitter })
      })
      yield* exitOf(call.pipe(retry.execute, random(draw)))
      expect(at).toEqual(expected)
    })
  )

  it.effect("are full jitter up to 1 s and 2 s when nothing is said", () =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const retry = yield* Retry.make({ name: "billing" })
      yield* exitOf(call.pipe(retry.execute, random(0.75)))
      expect(at).toEqual([0, 750, 2250])
    })
  )

  it.effect("are those of a Schedule, which ends the attempts when it ends", () =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const schedule = Schedule.spaced("250 millis").pipe(Schedule.upTo({ times: 2 }))
      const { events, made: retry } = yield* hearing(retrying({ attempts: 10, schedule }))
      const error = yield* Effect.flip(yield* exitOf(call.pipe(retry.execute)))
      expect(at).toEqual([0, 250, 500])
      expect(error).toMatchObject({ reason: { _tag: "RetriesExhausted", attempts: 3 } })
      expect(because(events)).toEqual(["schedule"])
    })
  )

  it("of a Schedule that counts time are not stretched when the wall clock is set back", () => {
    const world = new World()
    const schedule = Schedule.spaced("1 second").pipe(Schedule.upTo({ duration: "3500 millis" }))
    const retry = world.value(retrying({ attempts: 50, schedule }))
    const at: Array<number> = []
    const call = Effect.suspend(() => {
      at.push(world.clock.nowMillis)
      world.clock.wallOffsetMillis -= 1000
      return Effect.fail("refused")
    })
    world.run(call.pipe(retry.execute))
    expect(at).toEqual([0, 1000, 2000, 3000, 4000])
  })

  it("of a Schedule may be times of day", () => {
    const world = new World()
    const halfPastNine = 9.5 * 3_600_000
    world.clock.wallOffsetMillis = halfPastNine
    const untilTheHour = (nowMillis: number) =>
      Effect.succeed<[number, Duration.Duration]>([0, Duration.millis(3_600_000 - (nowMillis % 3_600_000))])
    const schedule = Schedule.fromStep(Effect.succeed(untilTheHour))
    const retry = world.value(retrying({ attempts: 3, schedule }))
    const at: Array<number> = []
    const call = Effect.suspend(() => {
      at.push((world.clock.nowMillis + halfPastNine) / 3_600_000)
      return Effect.fail("refused")
    })
    world.run(call.pipe(retry.execute))
    expect(at).toEqual([9.5, 10, 11])
  })

  it.effect("are whole milliseconds, and never shorter than what was drawn or asked for", () =>
    Effect.gen(function* () {
      const { at, call } = failing<unknown>("refused", tooMany("700200 micros"), "refused")
      const { events, made: retry } = yield* hearing(
        retrying({ attempts: 4, schedule: Retry.exponential({ base: "1 second", factor: 1 }) })
      )
      yield* exitOf(call.pipe(retry.execute, random(0.5004)))
      expect(at).toEqual([0, 501, 1202, 1703])
      expect(events).toMatchObject([
        { delay: Duration.millis(501) },
        { delay: Duration.millis(701) },
        { delay: Duration.millis(501) },
        { _tag: "AttemptsExhausted" }
      ])
    })
  )

  it.effect("of one call do not depend on another's", () =>
    Effect.gen(function* () {
      const retry = yield* retrying({
        attempts: 4,
        schedule: Retry.exponential({ base: "1 second", jitter: "decorrelated" })
      })
      const calls = Array.from({ length: 3 }, () => failing("refused"))
      const all = Effect.all(
        calls.map(({ call }) => Effect.exit(call.pipe(retry.execute))),
        { concurrency: "unbounded" }
      )
      yield* exitOf(all.pipe(random(0.5)))
      expect(calls.map(({ at }) => at)).toEqual(calls.map(() => [0, 2000, 5500, 11_250]))
    })
  )
})

describe("a dependency's retryAfter", () => {
  it.effect("lengthens a wait and does not shorten it", () =>
    Effect.gen(function* () {
      const { at, call } = failing(tooMany("5 seconds"), tooMany("10 millis"), tooMany("30 seconds"))
      const retry = yield* retrying({ attempts: 4 })
      yield* exitOf(call.pipe(retry.execute))
      expect(at).toEqual([0, 5000, 7000, 37_000])
    })
  )

  it.effect.each([
    ["30001 millis", undefined],
    ["11 seconds", "10 seconds"],
    [Duration.infinity, undefined]
  ] as const)("of %o ends the attempts when the longest allowed is %o", ([asked, maxRetryAfter]) =>
    Effect.gen(function* () {
      const { at, call } = failing(tooMany(asked))
      const { events, made: retry } = yield* hearing(retrying({ maxRetryAfter }))
      const error = yield* Effect.flip(call.pipe(retry.execute))
      expect(at).toEqual([0])
      expect(error).toMatchObject({ reason: { _tag: "RetriesExhausted", attempts: 1 } })
      expect(because(events)).toEqual(["retry-after"])
    })
  )
})

describe("the deadline", () => {
  it.effect.each([
    { deadline: "3001 millis", at: [0, 1000, 3000], why: "attempts" },
    { deadline: "3000 millis", at: [0, 1000], why: "deadline" },
    { deadline: "1001 millis", at: [0, 1000], why: "deadline" },
    { deadline: "1000 millis", at: [0], why: "deadline" },
    { deadline: 0, at: [0], why: "deadline" }
  ] as const)("of $deadline leaves room for the attempts at $at", ({ deadline, at: expected, why }) =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const { events, made: retry } = yield* hearing(retrying())
      const ended = yield* exitOf(
        Effect.exit(call.pipe(retry.execute, Deadline.within(deadline))).pipe(
          Effect.andThen(Clock.currentTimeMillis)
        )
      )
      expect(at).toEqual(expected)
      expect(because(events)).toEqual([why])
      // Nothing sleeps once it is known that no attempt follows.
      expect(ended).toEqual(Exit.succeed(expected.at(-1)))
    })
  )

  it.effect("is kept to the fraction of a millisecond", () =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const retry = yield* retrying({ schedule: Retry.exponential({ base: "1 second" }) })
      yield* exitOf(call.pipe(retry.execute, random(0.5006), Deadline.within("500800 micros")))
      expect(at).toEqual([0])
    })
  )

  it.effect("is kept by a wait that a dependency asked for", () =>
    Effect.gen(function* () {
      const { at, call } = failing(tooMany("20 seconds"))
      const { events, made: retry } = yield* hearing(retrying())
      yield* exitOf(call.pipe(retry.execute, Deadline.within("10 seconds")))
      expect(at).toEqual([0])
      expect(because(events)).toEqual(["deadline"])
    })
  )
})

describe("errors that may not pass", () => {
  it.effect("arrive as they are, after one attempt and without an event", () =>
    Effect.gen(function* () {
      const { at, call } = failing("not found")
      const { events, made: retry } = yield* hearing(
        retrying({ isTransient: (error) => error !== "not found" })
      )
      expect(yield* Effect.flip(call.pipe(retry.execute))).toBe("not found")
      expect(at).toHaveLength(1)
      expect(events).toEqual([])
    })
  )

  it.effect("end the attempts whenever they come", () =>
    Effect.gen(function* () {
      const { at, call } = failing("refused", "not found")
      const retry = yield* retrying({ isTransient: (error) => error !== "not found" })
      expect(yield* exitOf(call.pipe(retry.execute))).toEqual(Exit.fail("not found"))
      expect(at).toHaveLength(2)
    })
  )

  it.effect("are for the call to say, in either order of arguments", () =>
    Effect.gen(function* () {
      const retry = yield* retrying({ isTransient: () => false })
      const isTransient = (error: TooMany): boolean => Duration.toMillis(error.retryAfter) < 5000
      const piped = failing(tooMany("1 second"), tooMany("9 seconds"))
      expect(yield* exitOf(piped.call.pipe(Retry.withRetry(retry, { isTransient })))).toEqual(
        Exit.fail(tooMany("9 seconds"))
      )
      expect(piped.at).toHaveLength(2)
      const direct = failing(tooMany("1 second"), tooMany("9 seconds"))
      yield* exitOf(Retry.withRetry(direct.call, retry, { isTransient }))
      expect(direct.at).toHaveLength(2)
      const plain = failing(tooMany("1 second"))
      yield* exitOf(Retry.withRetry(plain.call, retry))
      yield* exitOf(plain.call.pipe(Retry.withRetry(retry)))
      expect(plain.at).toHaveLength(2)
    })
  )

  const final: ReadonlyArray<readonly [string, unknown]> = [
    ["an open circuit", unavailable(UnavailableReason.CircuitOpen(), Duration.seconds(1))],
    ["a full bulkhead", unavailable(UnavailableReason.BulkheadFull())],
    ["a rate limit without an end", unavailable(UnavailableReason.RateLimited())],
    ["throttling", unavailable(UnavailableReason.Throttled())],
    ["shed load", unavailable(UnavailableReason.Shed())],
    ["a spent retry budget", unavailable(UnavailableReason.RetryBudgetExhausted())],
    [
      "exhausted retries further in",
      unavailable(UnavailableReason.RetriesExhausted({ attempts: 3, lastError: "refused" }))
    ],
    ["an unknown fate", new Ambiguous({ service: "billing", operation: "charge" })],
    ["an unsupported operation", new Unsupported({ service: "billing", operation: "charge" })],
    ["a wrong password", new Misconfigured({ service: "billing", problem: "wrong password" })],
    [
      "a caller over its limit",
      new QuotaExceeded({ quota: "login", limit: 5, retryAfter: Duration.seconds(1) })
    ]
  ]

  it.effect.each(final)("are what policies fail with: %s", ([, error]) =>
    Effect.gen(function* () {
      const { at, call } = failing(error)
      const retry = yield* retrying({ isTransient: () => true })
      const found = yield* Effect.flip(call.pipe(Retry.withRetry(retry, { isTransient: () => true })))
      expect(found).toBe(error)
      expect(at).toHaveLength(1)
    })
  )

  const passing: ReadonlyArray<readonly [string, ServiceUnavailable]> = [
    [
      "an attempt that timed out",
      unavailable(UnavailableReason.TimedOut({ after: Duration.seconds(5), of: Duration.seconds(5) }))
    ],
    ["a missing connection", unavailable(UnavailableReason.NotConnected())],
    ["a rate limit that ends", unavailable(UnavailableReason.RateLimited(), Duration.seconds(2))]
  ]

  it.effect.each(passing)("are not these of policies: %s, which arrives as it is in the end", ([, error]) =>
    Effect.gen(function* () {
      const { at, call } = failing(error)
      const retry = yield* retrying({ isTransient: () => false })
      expect(yield* Effect.flip(yield* exitOf(call.pipe(retry.execute)))).toBe(error)
      expect(at).toHaveLength(3)
    })
  )
})

describe("defects and interruption", () => {
  it.effect("are raised again after one attempt", () =>
    Effect.gen(function* () {
      const { events, made: retry } = yield* hearing(retrying())
      let attempts = 0
      const count = Effect.sync(() => ++attempts)
      const dying = Effect.andThen(count, Effect.die("defect"))
      expect(yield* Effect.exit(dying.pipe(retry.execute))).toEqual(Exit.die("defect"))
      const interrupting = Effect.andThen(count, Effect.interrupt)
      expect(Exit.hasInterrupts(yield* Effect.exit(interrupting.pipe(retry.execute)))).toBe(true)
      expect(attempts).toBe(2)
      expect(events).toEqual([])
    })
  )

  it.effect("are raised again when an error came with them", () =>
    Effect.gen(function* () {
      const retry = yield* retrying()
      const { at, call } = failing("refused")
      const exit = yield* exitOf(call.pipe(Effect.ensuring(Effect.die("defect")), retry.execute))
      expect(at).toHaveLength(1)
      expect(Exit.isFailure(exit) && exit.cause.reasons.some(Cause.isDieReason)).toBe(true)
    })
  )

  it.effect("end a wait at once", () =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const retry = yield* retrying()
      const fiber = yield* Effect.forkChild(call.pipe(retry.execute))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 hour")
      expect(at).toEqual([0])
    })
  )
})

describe("stopWhen", () => {
  it.effect("ends the attempts before a wait", () =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const { events, made: retry } = yield* hearing(retrying({ attempts: 10 }))
      const stopWhen = Effect.sync(() => at.length >= 3)
      const error = yield* Effect.flip(yield* exitOf(call.pipe(Retry.withRetry(retry, { stopWhen }))))
      expect(at).toEqual([0, 1000, 3000])
      expect(error).toMatchObject({ reason: { _tag: "RetriesExhausted", attempts: 3, lastError: "refused" } })
      expect(because(events)).toEqual(["circuit"])
    })
  )
})

describe("a retry that is switched off", () => {
  it.effect("tries once and leaves the error as it is", () =>
    Effect.gen(function* () {
      const { at, call } = failing("refused")
      const { events, made: retry } = yield* hearing(retrying({ enabled: false }))
      expect(yield* Effect.flip(call.pipe(retry.execute))).toBe("refused")
      expect(yield* Effect.flip(call.pipe(Retry.withRetry(retry, { isTransient: () => true })))).toBe(
        "refused"
      )
      expect(at).toHaveLength(2)
      expect(events).toEqual([])
    })
  )
})

const exponential = (given: Parameters<typeof Retry.exponential>[0]) => ({
  schedule: Retry.exponential(given)
})
const duration = "a duration longer than 0 and at most 24d"

describe("an option out of its range", () => {
  it.effect.each([
    [{ attempts: 0 }, "attempts", "0", "a whole number from 1 to 100"],
    [{ attempts: 101 }, "attempts", "101", "a whole number from 1 to 100"],
    [{ attempts: 2.5 }, "attempts", "2.5", "a whole number from 1 to 100"],
    [{ maxRetryAfter: 0 }, "maxRetryAfter", "0", duration],
    [{ maxRetryAfter: "60 days" }, "maxRetryAfter", `"60 days"`, duration],
    [exponential({ base: 0 }), "schedule.base", "0", duration],
    [exponential({ factor: 0.5 }), "schedule.factor", "0.5", "a number from 1 to 10"],
    [exponential({ factor: 11 }), "schedule.factor", "11", "a number from 1 to 10"],
    [exponential({ factor: Number.NaN }), "schedule.factor", "NaN", "a number from 1 to 10"],
    [exponential({ cap: Duration.infinity }), "schedule.cap", "Infinity", duration],
    [
      { schedule: { ...steady, jitter: "some" as Retry.Jitter } },
      "schedule.jitter",
      `"some"`,
      "none, full, equal, decorrelated"
    ]
  ] as const)("is refused: %o", ([given, option, value, allowed]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Retry.make({ name: "billing", ...given }))
      expect(error).toBeInstanceOf(InvalidOption)
      expect(error).toMatchObject({ policy: "billing", option, value, allowed })
      expect((yield* Effect.flip(Retry.make({ name: "billing", enabled: false, ...given }))).option).toBe(
        option
      )
    })
  )

  it.effect("is refused when it is the name", () =>
    Effect.gen(function* () {
      expect((yield* Effect.flip(Retry.make({ name: "" }))).option).toBe("name")
    })
  )
})

class Search extends Context.Service<Search, Retry.Retry>()("test/Search") {}

const attemptsOf = (Live: Layer.Layer<Search, unknown>) =>
  Effect.gen(function* () {
    const { at, call } = failing("refused")
    const retry = yield* Search
    yield* exitOf(call.pipe(retry.execute))
    return at
  }).pipe(Effect.provide(Live))

const configured = (provider: ConfigProvider.ConfigProvider) =>
  Retry.layerConfig(Search, "search", "search").pipe(Layer.provide(ConfigProvider.layer(provider)))

describe("layers", () => {
  it.effect("provide a retry under a key of the application's own", () =>
    Effect.gen(function* () {
      expect(
        yield* attemptsOf(Retry.layer(Search, { name: "search", attempts: 2, schedule: steady }))
      ).toEqual([0, 1000])
    })
  )

  it.effect("read every option from JSON", () =>
    Effect.gen(function* () {
      const search = {
        enabled: true,
        attempts: 4,
        base: "200 millis",
        factor: 3,
        cap: 1,
        jitter: "none",
        maxRetryAfter: 60
      }
      expect(yield* attemptsOf(configured(ConfigProvider.fromUnknown({ search })))).toEqual([
        0, 200, 800, 1800
      ])
    })
  )

  it.effect("read every option from the environment", () =>
    Effect.gen(function* () {
      const env = {
        SEARCH_ENABLED: "true",
        SEARCH_ATTEMPTS: "4",
        SEARCH_BASE: "0.2",
        SEARCH_FACTOR: "3",
        SEARCH_CAP: "1 second",
        SEARCH_JITTER: "none",
        SEARCH_MAX_RETRY_AFTER: "60"
      }
      const provider = ConfigProvider.constantCase(ConfigProvider.fromEnv({ env }))
      expect(yield* attemptsOf(configured(provider))).toEqual([0, 200, 800, 1800])
    })
  )

  it.effect.each([
    [{ attempts: "many" }, "attempts"],
    [{ jitter: "some" }, "jitter"],
    [{ base: "soon" }, "base"]
  ] as const)("refuse %j, naming the field", ([search, field]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(ConfigProvider.fromUnknown({ search }))))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain(field)
    })
  )

  it.effect("refuse a value out of its range, naming the option", () =>
    Effect.gen(function* () {
      const provider = ConfigProvider.fromUnknown({ search: { attempts: 0 } })
      expect(yield* Effect.flip(Layer.build(configured(provider)))).toMatchObject({
        _tag: "InvalidOption",
        policy: "search",
        option: "attempts"
      })
    })
  )
})
