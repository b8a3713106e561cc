import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Bulkhead, InvalidOption } from "failsoft"
import { calls, outcomeOf } from "./waiting.ts"

const wholeNumber = (min: number, max: number): string => `a whole number from ${min} to ${max}`

const refusals = [
  ...[0, -1, 1.5, 1_000_001, Number.NaN, Number.POSITIVE_INFINITY].map((limit) => ({
    given: { limit },
    option: "limit",
    value: String(limit),
    allowed: wholeNumber(1, 1_000_000)
  })),
  ...[-1, 0.5, 1_000_001].map((queue) => ({
    given: { queue },
    option: "queue",
    value: String(queue),
    allowed: wholeNumber(0, 1_000_000)
  })),
  ...[0, 1.5, 17].map((priorities) => ({
    given: { priorities },
    option: "priorities",
    value: String(priorities),
    allowed: wholeNumber(1, 16)
  })),
  ...(["0 seconds", "25 days"] as const).map((queueTimeout) => ({
    given: { queueTimeout },
    option: "queueTimeout",
    value: JSON.stringify(queueTimeout),
    allowed: "a duration longer than 0 and at most 24d"
  }))
]

describe("an option out of its range", () => {
  it.effect.each(refusals)("is refused: $option is $value", ({ given, option, value, allowed }) =>
    Effect.gen(function* () {
      const options = { name: "billing", limit: 1, ...given }
      const errors = [
        yield* Effect.flip(Bulkhead.make(options)),
        yield* Effect.flip(Bulkhead.make({ ...options, enabled: false })),
        yield* Effect.flip(Bulkhead.makeKeyed(options))
      ]
      for (const error of errors) {
        expect(error).toBeInstanceOf(InvalidOption)
        expect(error.message).toBe(`billing: option "${option}" is ${value}, allowed is ${allowed}`)
      }
    })
  )

  it.effect("is refused when it is the name", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Bulkhead.make({ name: "", limit: 1 }))
      expect(error.message).toBe(`policy: option "name" is "", allowed is a name that is not empty`)
    })
  )

  it.effect.each([0, 2.5, 1_000_001])("is refused when it is maxKeys: %s", (maxKeys) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Bulkhead.makeKeyed({ name: "billing", limit: 1, maxKeys }))
      expect(error).toMatchObject({ option: "maxKeys", allowed: wholeNumber(1, 1_000_000) })
    })
  )
})

describe("the ends of the ranges", () => {
  it.effect.each([
    { limit: 1, queue: 0, priorities: 1, maxKeys: 1 },
    { limit: 1_000_000, queue: 1_000_000, priorities: 16, maxKeys: 1_000_000 },
    { limit: 1, queueTimeout: "1 nanos" },
    { limit: 1, queueTimeout: "24 days" }
  ] as const)("are allowed: %j", (given) =>
    Effect.gen(function* () {
      expect((yield* Bulkhead.make({ name: "billing", ...given })).name).toBe("billing")
      expect((yield* Bulkhead.makeKeyed({ name: "billing", ...given })).name).toBe("billing")
    })
  )
})

class Billing extends Context.Service<Billing, Bulkhead.Bulkhead>()("test/Billing") {}

class Hosts extends Context.Service<Hosts, Bulkhead.KeyedBulkhead>()("test/Hosts") {}

type Guard = (call: Effect.Effect<string>) => Effect.Effect<string, unknown>

/** What can be seen of the options from outside: who runs, who waits and for how long, and who is served first. */
const shapeOf = (withPriority: (priority: number) => Guard) =>
  Effect.gen(function* () {
    const { begin, order } = calls()
    const begun = yield* Effect.forEach(
      Array.from({ length: 10 }, (_, number) => number),
      (number) => begin(`${number}`, withPriority(0))
    )
    const limit = order.length
    const queue = begun.filter((call) => outcomeOf(call) === undefined).length - limit
    const high = yield* begin("high", withPriority(1))
    const hasPriorities = queue > 0 && outcomeOf(high) === undefined
    let waited = 0
    while (begun.slice(limit).some((call) => outcomeOf(call) === undefined) && waited < 60) {
      yield* TestClock.adjust("1 second")
      waited++
    }
    return { limit, queue, hasPriorities, waited: waited === 60 ? "for ever" : waited }
  })

const ofBilling = Effect.flatMap(Billing, (bulkhead) =>
  shapeOf((priority) => Bulkhead.withBulkhead(bulkhead, { priority }))
)

const ofHosts = Effect.flatMap(Hosts, (keyed) =>
  shapeOf((priority) => Bulkhead.withKey(keyed, "host", { priority }))
)

describe("layer", () => {
  const options = { name: "billing", limit: 2, queue: 3, queueTimeout: "7 seconds", priorities: 2 } as const
  const shape = { limit: 2, queue: 3, hasPriorities: true, waited: 7 }

  it.effect("provides a bulkhead under a key of the application's own", () =>
    Effect.gen(function* () {
      expect(yield* ofBilling.pipe(Effect.provide(Bulkhead.layer(Billing, options)))).toEqual(shape)
      expect(yield* ofHosts.pipe(Effect.provide(Bulkhead.layerKeyed(Hosts, options)))).toEqual(shape)
    })
  )

  it.effect("has defaults for all but the limit", () =>
    Effect.gen(function* () {
      const Live = Bulkhead.layer(Billing, { name: "billing", limit: 2 })
      expect(yield* ofBilling.pipe(Effect.provide(Live))).toEqual({
        limit: 2,
        queue: 0,
        hasPriorities: false,
        waited: 0
      })
      const Waiting = Bulkhead.layer(Billing, { name: "billing", limit: 2, queue: 3 })
      expect(yield* ofBilling.pipe(Effect.provide(Waiting))).toEqual({
        limit: 2,
        queue: 3,
        hasPriorities: false,
        waited: "for ever"
      })
    })
  )

  it.effect("fails when an option is out of its range", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(Bulkhead.layer(Billing, { name: "billing", limit: 0 })))
      expect(error.option).toBe("limit")
    })
  )
})

describe("layerConfig", () => {
  const fromJson = (billing: unknown) => ConfigProvider.layer(ConfigProvider.fromUnknown({ billing }))

  const fromEnvironment = (env: Record<string, string>) =>
    ConfigProvider.layer(ConfigProvider.constantCase(ConfigProvider.fromEnv({ env })))

  const configured = (provider: Layer.Layer<never>) =>
    Bulkhead.layerConfig(Billing, "billing", "billing").pipe(Layer.provide(provider))

  const configuredKeyed = (provider: Layer.Layer<never>) =>
    Bulkhead.layerKeyedConfig(Hosts, "billing", "billing").pipe(Layer.provide(provider))

  const table = { limit: 2, queue: "3", queueTimeout: 7, priorities: 2 }
  const shape = { limit: 2, queue: 3, hasPriorities: true, waited: 7 }

  it.effect("reads every option from JSON and from the environment", () =>
    Effect.gen(function* () {
      const env = {
        BILLING_ENABLED: "true",
        BILLING_LIMIT: "2",
        BILLING_QUEUE: "3",
        BILLING_QUEUE_TIMEOUT: "7 seconds",
        BILLING_PRIORITIES: "2"
      }
      for (const provider of [fromJson(table), fromEnvironment(env)]) {
        expect(yield* ofBilling.pipe(Effect.provide(configured(provider)))).toEqual(shape)
        expect(yield* ofHosts.pipe(Effect.provide(configuredKeyed(provider)))).toEqual(shape)
      }
    })
  )

  it.effect("switches off", () =>
    Effect.gen(function* () {
      const provider = fromJson({ limit: 1, enabled: "false" })
      const { limit } = yield* ofBilling.pipe(Effect.provide(configured(provider)))
      expect(limit).toBe(10)
    })
  )

  it.effect("reads how many keys there may be", () =>
    Effect.gen(function* () {
      const keyed = yield* Hosts
      yield* Effect.forkChild(keyed.execute("a")(Effect.never), { startImmediately: true })
      const error = yield* Effect.flip(keyed.execute("b")(Effect.void))
      expect(error.reason._tag).toBe("BulkheadFull")
    }).pipe(Effect.provide(configuredKeyed(fromJson({ limit: 1, maxKeys: 1 }))))
  )

  it.effect.each([
    [{}, "limit"],
    [{ limit: "many" }, "a number"],
    [{ limit: 1, queueTimeout: "soon" }, "seconds as a bare number"]
  ] as const)("fails for %j", ([billing, problem]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(fromJson(billing))))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain(problem)
    })
  )

  it.effect("fails with the option that is out of its range", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(fromJson({ limit: 0 }))))
      expect(error).toMatchObject({ _tag: "InvalidOption", policy: "billing", option: "limit" })
    })
  )
})
