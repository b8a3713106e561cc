import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Duration, Effect, Layer } from "effect"
import { InvalidOption, RateLimiter } from "failsoft"

const algorithm = RateLimiter.gcra({ limit: 10, period: "1 second" })

interface Refusal {
  readonly given: Partial<RateLimiter.KeyedOptions>
  readonly option: string
  readonly value: string
  readonly allowed: string
}

const aMillion = "a whole number from 1 to 1000000"
const duration = "a duration longer than 0 and at most 24d"
const wrongNumbers = [0, -1, 1.5, 1_000_001, Number.NaN, Number.POSITIVE_INFINITY]
const wrongDurations: ReadonlyArray<readonly [Duration.Input, string]> = [
  [0, "0"],
  ["25 days", `"25 days"`],
  [Duration.infinity, "Infinity"],
  [Duration.seconds(-1), "-1s"]
]

const numbered = (option: string, given: (value: number) => Refusal["given"]): ReadonlyArray<Refusal> =>
  wrongNumbers.map((value) => ({ given: given(value), option, value: String(value), allowed: aMillion }))

const lasting = (
  option: string,
  given: (value: Duration.Input) => Refusal["given"]
): ReadonlyArray<Refusal> =>
  wrongDurations.map(([wrong, value]) => ({ given: given(wrong), option, value, allowed: duration }))

const forBoth: ReadonlyArray<Refusal> = [
  ...numbered("algorithm.limit", (limit) => ({
    algorithm: RateLimiter.gcra({ limit, period: "1 second", burst: 1 })
  })),
  ...numbered("algorithm.limit", (limit) => ({
    algorithm: RateLimiter.slidingWindow({ limit, window: "1 second" })
  })),
  ...numbered("algorithm.limit", (limit) => ({
    algorithm: RateLimiter.fixedWindow({ limit, window: "1 second" })
  })),
  ...numbered("algorithm.burst", (burst) => ({
    algorithm: RateLimiter.gcra({ limit: 1, period: "1 second", burst })
  })),
  ...lasting("algorithm.period", (period) => ({ algorithm: RateLimiter.gcra({ limit: 1, period }) })),
  ...lasting("algorithm.window", (window) => ({
    algorithm: RateLimiter.slidingWindow({ limit: 1, window })
  })),
  ...lasting("algorithm.window", (window) => ({ algorithm: RateLimiter.fixedWindow({ limit: 1, window }) })),
  ...lasting("onLimit.delay.maxWait", (maxWait) => ({ onLimit: { delay: { maxWait } } })),
  ...numbered("onLimit.delay.maxWaiting", (maxWaiting) => ({ onLimit: { delay: { maxWaiting } } }))
]

const forKeys = numbered("maxKeys", (maxKeys) => ({ maxKeys }))

const refused = <A>(
  make: Effect.Effect<A, InvalidOption>,
  { allowed, option, value }: Refusal
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(make)
    expect(error).toBeInstanceOf(InvalidOption)
    expect(error).toMatchObject({ policy: "search", option, value, allowed })
  }).pipe(Effect.orDie)

describe("an option out of its range", () => {
  it.effect.each(forBoth)("is refused: $option is $value", (refusal) =>
    Effect.forEach([true, false], (enabled) => {
      const given = { name: "search", algorithm, ...refusal.given, enabled }
      return Effect.all([
        refused(Effect.scoped(RateLimiter.make(given)), refusal),
        refused(Effect.scoped(RateLimiter.makeKeyed(given)), refusal)
      ])
    })
  )

  it.effect.each(forKeys)("is refused by key: $option is $value", (refusal) =>
    refused(Effect.scoped(RateLimiter.makeKeyed({ name: "search", algorithm, ...refusal.given })), refusal)
  )

  it.effect("is refused when it is the name", () =>
    Effect.gen(function* () {
      const errors = [
        yield* Effect.flip(RateLimiter.make({ name: "", algorithm })),
        yield* Effect.flip(RateLimiter.makeKeyed({ name: "", algorithm }))
      ]
      expect(errors.map(({ option }) => option)).toEqual(["name", "name"])
    })
  )

  it.effect("is refused when it is a word that JavaScript let through", () =>
    Effect.gen(function* () {
      const given = JSON.parse(`{ "onLimit": "wait", "whenFull": "forget" }`)
      const wait = RateLimiter.make({ name: "search", algorithm, onLimit: given.onLimit })
      const forget = RateLimiter.makeKeyed({ name: "search", algorithm, whenFull: given.whenFull })
      expect(yield* Effect.flip(wait)).toMatchObject({ option: "onLimit", value: `"wait"` })
      expect(yield* Effect.flip(forget)).toMatchObject({ option: "whenFull", allowed: "reject, admit" })
    })
  )
})

const ends: ReadonlyArray<Partial<RateLimiter.KeyedOptions>> = [
  { algorithm: RateLimiter.gcra({ limit: 1, period: "24 days", burst: 1_000_000 }) },
  { algorithm: RateLimiter.gcra({ limit: 1_000_000, period: "1 nanos", burst: 1 }) },
  { algorithm: RateLimiter.slidingWindow({ limit: 1_000_000, window: "24 days" }) },
  { algorithm: RateLimiter.slidingWindow({ limit: 1, window: "1 nanos" }) },
  { algorithm: RateLimiter.fixedWindow({ limit: 1_000_000, window: "24 days" }) },
  { algorithm: RateLimiter.fixedWindow({ limit: 1, window: "1 nanos" }) },
  { onLimit: { delay: {} } },
  { onLimit: { delay: { maxWait: "24 days", maxWaiting: 1_000_000 } } },
  { onLimit: { delay: { maxWait: "1 nanos", maxWaiting: 1 } } },
  { maxKeys: 1, whenFull: "admit" },
  { maxKeys: 1_000_000, whenFull: "reject" }
]

describe("the ends of the ranges", () => {
  it.effect.each(ends)("are allowed, and let a first call through: %j", (given) =>
    Effect.gen(function* () {
      const limiter = yield* RateLimiter.make({ name: "search", algorithm, ...given })
      const keyed = yield* RateLimiter.makeKeyed({ name: "search", algorithm, ...given })
      expect([limiter.name, keyed.name]).toEqual(["search", "search"])
      yield* limiter.take()
      yield* keyed.of("ada").take()
    })
  )
})

class Search extends Context.Service<Search, RateLimiter.RateLimiter>()("test/Search") {}

const fromJson = (search: unknown) => ConfigProvider.layer(ConfigProvider.fromUnknown({ search }))

const fromEnvironment = (env: Record<string, string>) =>
  ConfigProvider.layer(ConfigProvider.constantCase(ConfigProvider.fromEnv({ env })))

const configured = (provider: Layer.Layer<never>) =>
  RateLimiter.layerConfig(Search, "search", "search").pipe(Layer.provide(provider))

/** What can be seen of a limiter's options from outside. */
const shapeFrom = (provider: Layer.Layer<never>) =>
  Effect.gen(function* () {
    const limiter = yield* Search
    const { remaining } = yield* limiter.peek()
    yield* limiter.take(remaining)
    const again = yield* Effect.map(
      limiter.peek(),
      ({ retryAfter }) => retryAfter && Duration.toMillis(retryAfter)
    )
    for (let calls = 0; calls < 5; calls++)
      yield* Effect.forkChild(limiter.take(), { startImmediately: true })
    const { rejected, waiting } = yield* limiter.snapshot
    return { remaining, again, rejected, waiting }
  }).pipe(Effect.provide(configured(provider)))

describe("layerConfig", () => {
  it.effect("reads gcra, which need not be named", () =>
    Effect.gen(function* () {
      const given = { limit: 10, period: 5 }
      expect(yield* shapeFrom(fromJson(given))).toEqual({
        remaining: 10,
        again: 500,
        rejected: 5,
        waiting: 0
      })
      expect(yield* shapeFrom(fromJson({ ...given, burst: 3 }))).toMatchObject({ remaining: 3, again: 500 })
      expect(yield* shapeFrom(fromJson({ ...given, algorithm: "gcra" }))).toMatchObject({ again: 500 })
    })
  )

  it.effect("reads windows, which differ in when a call may come again", () =>
    Effect.gen(function* () {
      const given = { limit: 4, window: "1 minute" }
      const fixed = yield* shapeFrom(fromJson({ ...given, algorithm: "fixed-window" }))
      const sliding = yield* shapeFrom(fromJson({ ...given, algorithm: "sliding-window" }))
      expect(fixed).toMatchObject({ remaining: 4, again: 60_000 })
      expect(sliding).toMatchObject({ remaining: 4, again: 75_000 })
    })
  )

  it.effect("reads every option from the environment", () =>
    Effect.gen(function* () {
      const shape = yield* shapeFrom(
        fromEnvironment({
          SEARCH_ENABLED: "true",
          SEARCH_ALGORITHM: "gcra",
          SEARCH_LIMIT: "10",
          SEARCH_PERIOD: "1",
          SEARCH_BURST: "2",
          SEARCH_ON_LIMIT: "delay",
          SEARCH_MAX_WAIT: "250 millis",
          SEARCH_MAX_WAITING: "3"
        })
      )
      expect(shape).toEqual({ remaining: 2, again: 100, rejected: 3, waiting: 2 })
    })
  )

  it.effect("lets a thousand wait for a second unless told otherwise", () =>
    Effect.gen(function* () {
      const shape = yield* shapeFrom(fromJson({ limit: 1, period: "400 millis", onLimit: "delay" }))
      expect(shape).toEqual({ remaining: 1, again: 400, rejected: 3, waiting: 2 })
      expect(
        yield* shapeFrom(fromJson({ limit: 10, period: 1, onLimit: "delay", maxWaiting: 1 }))
      ).toMatchObject({
        rejected: 4,
        waiting: 1
      })
    })
  )

  it.effect("switches the limiter off", () =>
    Effect.gen(function* () {
      const shape = yield* shapeFrom(fromJson({ enabled: false, limit: 1, period: 1 }))
      expect(shape.remaining).toBe(Number.POSITIVE_INFINITY)
    })
  )

  it.effect.each([
    [{ limit: 1 }, "period", "gcra needs a period"],
    [{ limit: 1, period: 1, window: 1 }, "window", "gcra has a period and no window"],
    [{ limit: 1, algorithm: "fixed-window" }, "window", "fixed-window needs a window"],
    [{ limit: 1, algorithm: "sliding-window", window: 1, period: 1 }, "period", "has a window and no period"],
    [{ limit: 1, algorithm: "sliding-window", window: 1, burst: 1 }, "burst", "sliding-window has no burst"],
    [{ limit: 1, period: 1, maxWait: 1 }, "onLimit", "maxWait and maxWaiting need onLimit to be delay"],
    [{ limit: 1, period: 1, onLimit: "reject", maxWaiting: 1 }, "onLimit", "need onLimit to be delay"],
    [{ period: 1 }, "limit", "Missing"],
    [{ limit: 1, period: 1, algorithm: "leaky" }, "algorithm", "gcra, sliding-window, fixed-window"],
    [{ limit: 1, period: "soon" }, "period", "seconds as a bare number"]
  ] as const)("refuses fields that do not make a limit: %j", ([search, field, problem]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(fromJson(search))))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain(`["${field}"]`)
      expect(error.message).toContain(problem)
    })
  )

  it.effect("names an option that is out of its range", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured(fromJson({ limit: 0, period: 1 }))))
      expect(error).toMatchObject({ _tag: "InvalidOption", option: "algorithm.limit", value: "0" })
    })
  )

  it.effect("makes options for a keyed limiter as well", () =>
    Effect.gen(function* () {
      const given = RateLimiter.fromConfig({ limit: 1, period: Duration.seconds(1) })
      const limiter = yield* RateLimiter.makeKeyed({ ...given, name: "search", maxKeys: 5 })
      yield* limiter.of("ada").take()
      expect((yield* limiter.snapshot).keys).toBe(1)
    })
  )
})
