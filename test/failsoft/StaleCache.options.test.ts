import { describe, expect, it } from "@effect/vitest"
import { Config, ConfigProvider, Context, type Duration, Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { InvalidOption, StaleCache } from "failsoft"

type Options = StaleCache.Options<string, number>

const given = (options?: Partial<Options>): Options => ({
  name: "prices",
  lookup: (key) => Effect.succeed(key.length),
  timeToLive: "1 minute",
  ...options
})

interface Refusal {
  readonly given: Partial<Options>
  readonly option: string
  readonly value: string
  readonly allowed: string
}

const year = "a duration longer than 0 and at most 365d"
const timer = "a duration longer than 0 and at most 24d"
const negative = (timeToLive: Duration.Input) => ({ negative: { timeToLive, when: () => true } })

const refusals: ReadonlyArray<Refusal> = [
  { given: { timeToLive: 0 }, option: "timeToLive", value: "0", allowed: year },
  { given: { timeToLive: "366 days" }, option: "timeToLive", value: `"366 days"`, allowed: year },
  ...[-0.1, 1.1, Number.NaN].map((jitter) => ({
    given: { jitter },
    option: "jitter",
    value: String(jitter),
    allowed: "a number from 0 to 1"
  })),
  { given: { staleWhileRevalidate: 0 }, option: "staleWhileRevalidate", value: "0", allowed: year },
  { given: { staleIfError: -1 }, option: "staleIfError", value: "-1", allowed: year },
  ...[0, 1, -1, Number.NaN].map((eagerRefresh) => ({
    given: { eagerRefresh },
    option: "eagerRefresh",
    value: String(eagerRefresh),
    allowed: "a number above 0 and below 1"
  })),
  { given: { hardTimeout: "25 days" }, option: "hardTimeout", value: `"25 days"`, allowed: timer },
  { given: { softTimeout: 0, staleIfError: 1 }, option: "softTimeout", value: "0", allowed: timer },
  {
    given: { softTimeout: "1 second" },
    option: "softTimeout",
    value: `"1 second"`,
    allowed: "a duration where staleIfError is given as well"
  },
  {
    given: { softTimeout: "30 seconds", staleIfError: 1 },
    option: "softTimeout",
    value: `"30 seconds"`,
    allowed: "a duration shorter than hardTimeout, which is 30s"
  },
  { given: negative(0), option: "negative.timeToLive", value: "0", allowed: year },
  { given: { pauseAfterFailure: 0 }, option: "pauseAfterFailure", value: "0", allowed: timer },
  ...[0, 1.5, 10_000_001].map((maxEntries) => ({
    given: { maxEntries },
    option: "maxEntries",
    value: String(maxEntries),
    allowed: "a whole number from 1 to 10000000"
  })),
  {
    given: { maxBytes: 0, sizeOf: () => 1 },
    option: "maxBytes",
    value: "0",
    allowed: "a whole number from 1 to 9007199254740991"
  },
  {
    given: { maxBytes: 1000 },
    option: "maxBytes",
    value: "1000",
    allowed: "a number where sizeOf is given as well"
  },
  ...[0, 0.5, 100_001].map((maxBackground) => ({
    given: { maxBackground },
    option: "maxBackground",
    value: String(maxBackground),
    allowed: "a whole number from 1 to 100000"
  }))
]

describe("an option out of its range", () => {
  it.effect.each(refusals)("is named: $option of $value", (refusal) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(StaleCache.make(given(refusal.given)))
      const { allowed, option, value } = refusal
      expect(error).toEqual(new InvalidOption({ policy: "prices", option, value, allowed }))
      // Switched off, it is refused all the same: it would be on the day that it is switched on.
      expect(yield* Effect.flip(StaleCache.make(given({ ...refusal.given, enabled: false })))).toEqual(error)
    })
  )

  it.effect("is a name that is empty", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(StaleCache.make(given({ name: "" })))
      expect(error).toMatchObject({ policy: "policy", option: "name" })
    })
  )
})

describe("options at the ends of their ranges", () => {
  it.effect.each<Partial<Options>>([
    { timeToLive: "365 days", jitter: 1, staleIfError: "365 days", staleWhileRevalidate: "365 days" },
    { timeToLive: 1, jitter: 0, eagerRefresh: 0.01, hardTimeout: "24 days", pauseAfterFailure: "24 days" },
    { eagerRefresh: 0.99, softTimeout: 999, hardTimeout: 1000, staleIfError: 1, ...negative("365 days") },
    { maxEntries: 1, maxBytes: 1, sizeOf: () => 1, maxBackground: 1 },
    { maxEntries: 10_000_000, maxBytes: Number.MAX_SAFE_INTEGER, sizeOf: () => 1, maxBackground: 100_000 }
  ])("are accepted", (options) =>
    Effect.gen(function* () {
      const cache = yield* StaleCache.make(given(options))
      expect(yield* cache.get("four")).toBe(4)
    })
  )
})

class Prices extends Context.Service<Prices, StaleCache.StaleCache<string, number>>()("test/Prices") {}
class Source extends Context.Service<Source, { readonly price: number }>()("test/Source") {}

describe("a Layer", () => {
  it.effect("provides a cache whose lookup has what it needs", () =>
    Effect.flatMap(Prices, (prices) => prices.get("apples")).pipe(
      Effect.provide(
        StaleCache.layer(Prices, {
          name: "prices",
          lookup: () => Effect.map(Source, ({ price }) => price),
          timeToLive: "1 minute"
        }).pipe(Layer.provide(Layer.succeed(Source, { price: 42 })))
      ),
      Effect.map((price) => expect(price).toBe(42))
    )
  )

  const configured = (config: unknown, options?: Partial<Options>) =>
    StaleCache.layerConfig(Prices, given(options), "prices").pipe(
      Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ prices: config })))
    )

  it.effect("reads options from configuration, over those of code", () =>
    Effect.gen(function* () {
      const prices = yield* Prices
      yield* prices.get("a")
      yield* TestClock.adjust("119999 millis")
      expect(Option.map(yield* prices.peek("a"), ({ source }) => source)).toEqual(Option.some("live"))
      yield* TestClock.adjust(1)
      expect(Option.map(yield* prices.peek("a"), ({ source }) => source)).toEqual(Option.some("stale"))
      yield* prices.set("b", 1)
      expect(yield* prices.snapshot).toMatchObject({ entries: 1, evicted: 1, bytes: 7 })
      yield* TestClock.adjust("5 minutes")
      expect(Option.isNone(yield* prices.peek("b"))).toBe(true)
    }).pipe(
      Effect.provide(
        configured(
          { timeToLive: "120", jitter: "0", staleIfError: "3 minutes", maxEntries: 1 },
          { timeToLive: "1 second", maxEntries: 50, sizeOf: () => 7 }
        )
      )
    )
  )

  it.effect("is switched off by configuration", () =>
    Effect.gen(function* () {
      const prices = yield* Prices
      expect(yield* prices.get("apples")).toBe(6)
      expect(yield* prices.snapshot).toMatchObject({ enabled: false, entries: 0 })
    }).pipe(Effect.provide(configured({ enabled: "false" })))
  )

  it.effect("takes every option that is no function", () =>
    Effect.gen(function* () {
      const config = {
        enabled: true,
        timeToLive: 60,
        jitter: 0.2,
        staleWhileRevalidate: 5,
        staleIfError: 600,
        softTimeout: "500 millis",
        hardTimeout: 10,
        eagerRefresh: 0.9,
        pauseAfterFailure: 3,
        maxEntries: 10,
        maxBytes: 1000,
        maxBackground: 4
      }
      const provider = ConfigProvider.fromUnknown(config)
      const decoded = yield* Config.schema(StaleCache.ConfigSchema).parse(provider)
      expect(Object.keys(StaleCache.fromConfig(decoded))).toEqual(Object.keys(config))
      yield* StaleCache.make(given({ ...StaleCache.fromConfig(decoded), sizeOf: () => 1 }))
    })
  )

  it.effect.each<readonly [unknown, string]>([
    [{ timeToLive: "soon" }, "seconds as a bare number"],
    [{ eagerRefresh: 2 }, "a number above 0 and below 1"]
  ])("fails when a value cannot be used: %j", ([config, problem]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(config)))
      expect(error.message).toContain(problem)
    })
  )
})
