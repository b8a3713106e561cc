import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Duration, Effect, Exit, Layer, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, InvalidOption } from "failsoft"

const refused = Effect.fail("refused")

const probing = (every: Duration.Input): Partial<CircuitBreaker.Options> => ({
  probe: { effect: Effect.void, every }
})

interface Refusal {
  readonly given: Partial<CircuitBreaker.Options>
  readonly option: string
  readonly value: string
  readonly allowed: string
}

const wholeNumber = (max: number): string => `a whole number from 1 to ${max}`
const duration = "a duration longer than 0 and at most 24d"

const window = CircuitBreaker.count(20)

/** A rate of each kind in turn, with one option out of its range. */
const rates: ReadonlyArray<Refusal> = [
  ...[0, -0.5, 1.01, 50, Number.NaN].map((threshold) => ({
    given: { trip: CircuitBreaker.failureRate({ threshold, window }) },
    option: "trip.threshold",
    value: String(threshold),
    allowed: "a number above 0 and at most 1"
  })),
  ...[0, 2.5, 21].map((minimumCalls) => ({
    given: {
      trip: CircuitBreaker.slowCallRate({ threshold: 0.5, slowerThan: "1 second", minimumCalls, window })
    },
    option: "trip.minimumCalls",
    value: String(minimumCalls),
    allowed: wholeNumber(20)
  })),
  {
    given: {
      trip: CircuitBreaker.failureRate({
        threshold: 0.5,
        minimumCalls: 1_000_001,
        window: CircuitBreaker.time("10 seconds")
      })
    },
    option: "trip.minimumCalls",
    value: "1000001",
    allowed: wholeNumber(1_000_000)
  },
  ...[0, 1.5, 1_000_001].map((calls) => ({
    given: { trip: CircuitBreaker.failureRate({ threshold: 0.5, window: CircuitBreaker.count(calls) }) },
    option: "trip.window.calls",
    value: String(calls),
    allowed: wholeNumber(1_000_000)
  })),
  {
    given: { trip: CircuitBreaker.failureRate({ threshold: 0.5, window: CircuitBreaker.time(0) }) },
    option: "trip.window.duration",
    value: "0",
    allowed: duration
  },
  ...[0, 0.5, 1001].map((buckets) => ({
    given: {
      trip: CircuitBreaker.failureRate({ threshold: 1, window: CircuitBreaker.time("1 second", buckets) })
    },
    option: "trip.window.buckets",
    value: String(buckets),
    allowed: wholeNumber(1000)
  })),
  {
    given: { trip: CircuitBreaker.slowCallRate({ threshold: 1, slowerThan: "25 days", window }) },
    option: "trip.slowerThan",
    value: `"25 days"`,
    allowed: duration
  },
  {
    given: {
      trip: CircuitBreaker.any(
        CircuitBreaker.consecutive(5),
        CircuitBreaker.failureRate({ threshold: 2, window })
      )
    },
    option: "trip[1].threshold",
    value: "2",
    allowed: "a number above 0 and at most 1"
  },
  ...[0, 17].map((length) => ({
    given: {
      trip: { _tag: "Any", trips: Array.from({ length }, () => CircuitBreaker.consecutive(5)) } as const
    },
    option: "trip",
    value: String(length),
    allowed: "1 to 16 rules"
  }))
]

const refusals: ReadonlyArray<Refusal> = [
  ...rates,
  ...[0, -1, 1.5, 1_000_001, Number.NaN, Number.POSITIVE_INFINITY].map((failures) => ({
    given: { trip: CircuitBreaker.consecutive(failures) },
    option: "trip.failures",
    value: String(failures),
    allowed: wholeNumber(1_000_000)
  })),
  ...[0, 0.5, 1001].map((probes) => ({
    given: { halfOpen: { probes } },
    option: "halfOpen.probes",
    value: String(probes),
    allowed: wholeNumber(1000)
  })),
  ...[0, 2.5, 1_000_001].map((successes) => ({
    given: { halfOpen: { successes } },
    option: "halfOpen.successes",
    value: String(successes),
    allowed: wholeNumber(1_000_000)
  })),
  { given: { openDuration: 0 }, option: "openDuration", value: "0", allowed: duration },
  { given: { openDuration: "0 seconds" }, option: "openDuration", value: `"0 seconds"`, allowed: duration },
  {
    given: { openDuration: { seconds: 0 } },
    option: "openDuration",
    value: `{"seconds":0}`,
    allowed: duration
  },
  { given: { openDuration: Duration.seconds(-1) }, option: "openDuration", value: "-1s", allowed: duration },
  {
    given: { openDuration: Duration.infinity },
    option: "openDuration",
    value: "Infinity",
    allowed: duration
  },
  { given: { openDuration: "25 days" }, option: "openDuration", value: `"25 days"`, allowed: duration },
  { given: { maxOpenDuration: 0 }, option: "maxOpenDuration", value: "0", allowed: duration },
  {
    given: { openDuration: "10 minutes", maxOpenDuration: "1 minute" },
    option: "maxOpenDuration",
    value: `"1 minute"`,
    allowed: "a duration of at least openDuration, which is 10m"
  },
  { given: { halfOpen: { maxWait: 0 } }, option: "halfOpen.maxWait", value: "0", allowed: duration },
  { given: probing(0), option: "probe.every", value: "0", allowed: duration },
  ...[
    Schedule.recurs(0),
    Schedule.recurs(3),
    Schedule.concat(Schedule.recurs(1), Schedule.spaced("1 second"))
  ].map((openDuration) => ({
    given: { openDuration },
    option: "openDuration",
    value: "a Schedule",
    allowed: "a Schedule whose delays are longer than 0"
  }))
]

describe("an option out of its range", () => {
  it.effect.each(refusals)("is refused: $option is $value", ({ given, option, value, allowed }) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(CircuitBreaker.make({ name: "billing", ...given }))
      expect(error).toBeInstanceOf(InvalidOption)
      expect(error).toMatchObject({ policy: "billing", option, value, allowed })
      expect(error.message).toBe(`billing: option "${option}" is ${value}, allowed is ${allowed}`)
      const off = CircuitBreaker.make({ name: "billing", ...given, enabled: false })
      expect((yield* Effect.flip(off)).option).toBe(option)
    })
  )

  it.effect("is refused when it is the name", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(CircuitBreaker.make({ name: "" }))
      expect(error.message).toBe(`policy: option "name" is "", allowed is a name that is not empty`)
    })
  )
})

const limits: ReadonlyArray<Partial<CircuitBreaker.Options>> = [
  { trip: CircuitBreaker.consecutive(1) },
  { trip: CircuitBreaker.consecutive(1_000_000) },
  {
    trip: CircuitBreaker.any(
      CircuitBreaker.failureRate({ threshold: 0.001, minimumCalls: 1, window: CircuitBreaker.count(1) }),
      CircuitBreaker.failureRate({ threshold: 1, window: CircuitBreaker.count(1_000_000) }),
      CircuitBreaker.failureRate({ threshold: 1, window: CircuitBreaker.time("1 nanos", 1) }),
      CircuitBreaker.slowCallRate({
        threshold: 1,
        slowerThan: "24 days",
        minimumCalls: 1_000_000,
        window: CircuitBreaker.time("24 days", 1000)
      })
    )
  },
  { halfOpen: { probes: 1000, successes: 1_000_000, maxWait: "24 days" } },
  { openDuration: "1 nanos", maxOpenDuration: "1 nanos" },
  { openDuration: "24 days" },
  { openDuration: "1 minute", maxOpenDuration: "1 minute" },
  { openDuration: Schedule.forever.pipe(Schedule.addDelay(() => Effect.succeed("1 millis"))) },
  probing("1 nanos")
]

describe("the ends of the ranges", () => {
  it.effect.each(limits)("are allowed: %o", (given) =>
    Effect.gen(function* () {
      expect((yield* CircuitBreaker.make({ name: "billing", ...given })).name).toBe("billing")
    })
  )
})

class Billing extends Context.Service<Billing, CircuitBreaker.CircuitBreaker>()("test/Billing") {}

/** What can be seen of a breaker's options from outside. */
const shapeOf = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function* () {
    const state = Effect.map(breaker.snapshot, (snapshot) => snapshot.state)
    let failures = 0
    while ((yield* state) === "closed" && failures < 20) {
      yield* Effect.exit(breaker.execute(refused))
      failures++
    }
    const { halfOpenIn } = yield* breaker.snapshot
    yield* TestClock.adjust(halfOpenIn ?? 0)
    let successes = 0
    while ((yield* state) === "half_open" && successes < 20) {
      yield* breaker.execute(Effect.void)
      successes++
    }
    return { name: breaker.name, failures, open: halfOpenIn && Duration.toMillis(halfOpenIn), successes }
  })

describe("layer", () => {
  it.effect("provides a breaker under a key of the application's own", () =>
    Effect.gen(function* () {
      const Live = CircuitBreaker.layer(Billing, {
        name: "billing",
        trip: CircuitBreaker.consecutive(3),
        openDuration: "7 seconds"
      })
      const shape = yield* Effect.flatMap(Billing, shapeOf).pipe(Effect.provide(Live))
      expect(shape).toEqual({ name: "billing", failures: 3, open: 7000, successes: 3 })
    })
  )

  it.effect("fails when an option is out of its range", () =>
    Effect.gen(function* () {
      const Live = CircuitBreaker.layer(Billing, { name: "billing", openDuration: 0 })
      const error = yield* Effect.flip(Layer.build(Live))
      expect(error.option).toBe("openDuration")
    })
  )
})

const fromJson = (billing: unknown) => ConfigProvider.layer(ConfigProvider.fromUnknown({ billing }))

const fromEnvironment = (env: Record<string, string>) =>
  ConfigProvider.layer(ConfigProvider.constantCase(ConfigProvider.fromEnv({ env })))

const configured = (provider: Layer.Layer<never>) =>
  CircuitBreaker.layerConfig(Billing, "billing", "billing").pipe(Layer.provide(provider))

const shapeFrom = (provider: Layer.Layer<never>) =>
  Effect.flatMap(Billing, shapeOf).pipe(Effect.provide(configured(provider)))

const rulesFrom = (provider: Layer.Layer<never>) =>
  Effect.gen(function* () {
    const breaker = yield* Billing
    const { rates } = yield* breaker.snapshot
    const { failures } = yield* shapeOf(breaker)
    return { failures, rates: rates.map(({ calls: _, rate: __, ...rule }) => rule) }
  }).pipe(Effect.provide(configured(provider)))

describe("the rules in layerConfig", () => {
  const table = {
    failures: 15,
    failureRate: 0.5,
    slowCallRate: "0.8",
    slowerThan: "2 seconds",
    minimumCalls: 12,
    windowDuration: 30
  }

  it.effect("are all there, and any of them opens the circuit", () =>
    Effect.gen(function* () {
      expect(yield* rulesFrom(fromJson(table))).toEqual({
        failures: 12,
        rates: [
          { _tag: "FailureRate", threshold: 0.5, minimumCalls: 12 },
          { _tag: "SlowCallRate", threshold: 0.8, minimumCalls: 12 }
        ]
      })
    })
  )

  it.effect("may be a single rate, from the environment as well", () =>
    Effect.gen(function* () {
      const provider = fromEnvironment({ BILLING_FAILURE_RATE: "0.25", BILLING_WINDOW_CALLS: "8" })
      expect(yield* rulesFrom(provider)).toEqual({
        failures: 8,
        rates: [{ _tag: "FailureRate", threshold: 0.25, minimumCalls: 8 }]
      })
    })
  )

  it.effect.each([
    [{ failureRate: 0.5 }, "windowCalls", "a rate needs windowCalls or windowDuration"],
    [{ ...table, windowCalls: 20 }, "windowDuration", "only one of windowCalls and windowDuration"],
    [{ slowCallRate: 0.5, windowCalls: 20 }, "slowerThan", "slowCallRate needs slowerThan"],
    [{ slowerThan: 2, failures: 3 }, "slowCallRate", "slowerThan needs slowCallRate"],
    [{ failures: 3, minimumCalls: 10 }, "failureRate", "need failureRate or slowCallRate"],
    [{ failures: 3, windowCalls: 10 }, "failureRate", "need failureRate or slowCallRate"]
  ] as const)("are refused when they do not go together: %j", ([billing, field, problem]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(fromJson(billing))))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain(`["${field}"]`)
      expect(error.message).toContain(problem)
    })
  )

  it.effect("are named by their place when one is out of its range", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(fromJson({ ...table, failureRate: 50 }))))
      expect(error).toMatchObject({ _tag: "InvalidOption", option: "trip[1].threshold", value: "50" })
    })
  )
})

describe("layerConfig", () => {
  it.effect("reads every option from JSON", () =>
    Effect.gen(function* () {
      const shape = yield* shapeFrom(
        fromJson({
          enabled: true,
          failures: 2,
          openDuration: 30,
          maxOpenDuration: "10 minutes",
          probes: 2,
          successes: 1,
          maxWait: "500 millis"
        })
      )
      expect(shape).toEqual({ name: "billing", failures: 2, open: 30_000, successes: 1 })
    })
  )

  it.effect("reads every option from the environment", () =>
    Effect.gen(function* () {
      const shape = yield* shapeFrom(
        fromEnvironment({
          BILLING_ENABLED: "true",
          BILLING_FAILURES: "4",
          BILLING_OPEN_DURATION: "1.5",
          BILLING_MAX_OPEN_DURATION: "1 hour",
          BILLING_PROBES: "2",
          BILLING_SUCCESSES: "2",
          BILLING_MAX_WAIT: "2 minutes"
        })
      )
      expect(shape).toEqual({ name: "billing", failures: 4, open: 1500, successes: 2 })
    })
  )

  it.effect.each([
    ["an empty object", fromJson({})],
    ["an environment that says nothing else", fromEnvironment({ BILLING_ENABLED: "true" })]
  ] as const)("keeps the defaults for %s", ([, provider]) =>
    Effect.gen(function* () {
      expect(yield* shapeFrom(provider)).toEqual({ name: "billing", failures: 5, open: 60_000, successes: 3 })
    })
  )

  it.effect.each([
    ["JSON", fromJson({ enabled: false })],
    ["the environment", fromEnvironment({ BILLING_ENABLED: "false" })]
  ] as const)("switches the breaker off from %s", ([, provider]) =>
    Effect.gen(function* () {
      const { enabled } = yield* Effect.flatMap(Billing, (breaker) => breaker.snapshot).pipe(
        Effect.provide(configured(provider))
      )
      expect(enabled).toBe(false)
    })
  )

  it.effect.each([
    ["30", 30_000],
    ["0.25", 250],
    ["30 seconds", 30_000],
    ["1 second", 1000],
    ["500 millis", 500],
    ["2 minutes", 120_000],
    ["1 hour", 3_600_000],
    ["1 day", 86_400_000]
  ] as const)("reads %s as %d ms", ([text, open]) =>
    Effect.gen(function* () {
      expect(yield* shapeFrom(fromEnvironment({ BILLING_OPEN_DURATION: text }))).toMatchObject({ open })
      expect(yield* shapeFrom(fromJson({ openDuration: text }))).toMatchObject({ open })
    })
  )

  it.effect.each([
    ["soon", `"soon"`],
    ["-5", `"-5"`],
    ["1 fortnight", `"1 fortnight"`],
    ["Infinity", `"Infinity"`],
    ["5;rm", `"5;rm"`]
  ] as const)("refuses the duration %j, naming the field and what was found", ([text, found]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(fromJson({ openDuration: text }))))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain("openDuration")
      expect(error.message).toContain(`got ${found}`)
      expect(error.message).toContain("seconds as a bare number")
    })
  )

  it.effect.each([
    [{ failures: "many" }, "failures", "many"],
    [{ enabled: "maybe" }, "enabled", "maybe"],
    [{ successes: [] }, "successes", ""],
    [{ openDuration: { seconds: 5 } }, "openDuration", ""]
  ] as const)("refuses %j, naming the field", ([billing, field, found]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(fromJson(billing))))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain(field)
      expect(error.message).toContain(found)
    })
  )

  it.effect(
    "names the option, its value and the range when a value can be read but is out of its range",
    () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(Layer.build(configured(fromEnvironment({ BILLING_FAILURES: "0" }))))
        expect(exit).toEqual(
          Exit.fail(
            new InvalidOption({
              policy: "billing",
              option: "trip.failures",
              value: "0",
              allowed: "a whole number from 1 to 1000000"
            })
          )
        )
      })
  )
})
