import { describe, expect, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import { RateLimiter } from "effect/persistence"
import { TestClock } from "effect/testing"
import { InvalidOption } from "failsoft"
import * as rateLimiterStore from "failsoft/interop/rateLimiterStore"

type Store = RateLimiter.RateLimiterStore["Service"]

const storeOf = <E>(layer: Layer.Layer<RateLimiter.RateLimiterStore, E>) =>
  RateLimiter.RateLimiterStore.pipe(Effect.provide(Layer.fresh(layer)))

const stores = {
  "Effect's own": RateLimiter.layerStoreMemory,
  ours: Layer.orDie(rateLimiterStore.layer())
}

const limiterOn = <E>(store: Layer.Layer<RateLimiter.RateLimiterStore, E>) =>
  RateLimiter.RateLimiter.pipe(Effect.provide(RateLimiter.layer.pipe(Layer.provide(Layer.fresh(store)))))

const reasonOf = (exit: Exit.Exit<unknown, RateLimiter.RateLimiterError>) =>
  Exit.isFailure(exit)
    ? exit.cause.reasons.map((it) => (it._tag === "Fail" ? it.error.reason : it._tag))[0]
    : undefined

describe.each(Object.entries(stores))("a store, %s,", (_, store) => {
  const counting = { key: "ada", tokens: 1, refillRate: Duration.millis(100), limit: 3 }

  it.effect("counts what was taken, for as long as it takes to come back", () =>
    Effect.gen(function* () {
      const { fixedWindow } = yield* storeOf(store)
      const take = fixedWindow(counting)
      expect([yield* take, yield* take, yield* take]).toEqual([
        [1, 100],
        [2, 200],
        [3, 300]
      ])
      expect(yield* take).toEqual([4, 300])
      yield* TestClock.adjust(250)
      expect(yield* take).toEqual([4, 50])
      expect(yield* fixedWindow({ ...counting, limit: undefined })).toEqual([4, 150])
      expect(yield* fixedWindow({ ...counting, key: "bob", tokens: 5 })).toEqual([5, 0])
      expect(yield* fixedWindow({ ...counting, key: "eve", tokens: 5, limit: 0 })).toEqual([5, 500])
      yield* TestClock.adjust(150)
      expect(yield* take).toEqual([1, 100])
    })
  )

  const pouring = { ...counting, allowOverflow: false }

  it.effect("refills a bucket by whole tokens, in intervals that go on", () =>
    Effect.gen(function* () {
      const { tokenBucket } = yield* storeOf(store)
      expect(yield* tokenBucket({ ...pouring, tokens: 3 })).toEqual([0, 0])
      yield* TestClock.adjust(130)
      expect(yield* tokenBucket({ ...pouring, tokens: 2 })).toEqual([-1, 30])
      expect(yield* tokenBucket(pouring)).toEqual([0, 30])
      yield* TestClock.adjust(80)
      expect(yield* tokenBucket({ ...pouring, tokens: 4, allowOverflow: true })).toEqual([-3, 10])
      // What is owed has to come before there is anything again.
      expect(yield* tokenBucket(pouring)).toEqual([-4, 10])
      yield* TestClock.adjust(600)
      expect(yield* tokenBucket({ ...pouring, tokens: 0 })).toEqual([3, 0])
      expect(yield* tokenBucket({ ...pouring, tokens: 0.5 })).toEqual([2.5, 0])
    })
  )

  it.effect("learns a limit from answers, and spreads calls by it", () =>
    Effect.gen(function* () {
      const { adaptiveConsume, adaptiveFeedback } = yield* storeOf(store)
      const consume = adaptiveConsume({
        key: "ada",
        tokens: 1,
        fallbackLimit: 10,
        fallbackWindow: Duration.minutes(1)
      })
      const told = (epoch: number, millis: number) =>
        adaptiveFeedback({ key: "ada", epoch, tokens: 1, status: 429, retryAfter: Duration.millis(millis) })
      expect(yield* consume).toEqual({ delay: Duration.zero, epoch: 0, phase: "inactive" })
      yield* told(7, 1000)
      yield* adaptiveFeedback({
        key: "ada",
        epoch: 0,
        tokens: 1,
        status: 200,
        retryAfter: Duration.millis(1)
      })
      expect((yield* consume).phase).toBe("inactive")
      yield* told(0, 1000)
      expect(yield* consume).toEqual({ delay: Duration.seconds(1), epoch: 0, phase: "cooldown" })
      yield* TestClock.adjust(1000)
      for (let calls = 0; calls < 3; calls++) {
        expect(yield* consume).toEqual({ delay: Duration.zero, epoch: 1, phase: "learning" })
      }
      yield* TestClock.adjust(100)
      yield* told(1, 900)
      // Two were accepted within a second.
      const delays = yield* Effect.replicateEffect(consume, 4)
      expect(delays.map(({ delay }) => Duration.toMillis(delay))).toEqual([900, 900, 1900, 1900])
      yield* told(2, 5000)
      expect((yield* consume).phase).toBe("cooldown")
    })
  )

  it.effect("serves Effect's rate limiter, by either algorithm, failing or waiting", () =>
    Effect.gen(function* () {
      const limiter = yield* limiterOn(store)
      for (const algorithm of ["fixed-window", "token-bucket"] as const) {
        const given = { algorithm, key: algorithm, limit: 2, window: "1 second" } as const
        expect((yield* limiter.consume(given)).remaining).toBe(1)
        expect((yield* limiter.consume(given)).remaining).toBe(0)
        expect(reasonOf(yield* Effect.exit(limiter.consume(given)))).toMatchObject({
          _tag: "RateLimitExceeded",
          key: algorithm,
          remaining: 0
        })
        const { delay } = yield* limiter.consume({ ...given, onExceeded: "delay" })
        expect(Duration.toMillis(delay)).toBe(algorithm === "fixed-window" ? 1000 : 500)
      }
    })
  )

  it.effect("serves an HttpClient", () =>
    Effect.gen(function* () {
      const limiter = yield* limiterOn(store)
      const sent: Array<number> = []
      let refuse = 1
      const client = HttpClient.make((request) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          sent.push(now)
          const isRefused = sent.length > 3 && refuse-- > 0
          const response = isRefused
            ? new Response(null, { status: 429, headers: { "retry-after": "3" } })
            : new Response(null, { status: 204 })
          return HttpClientResponse.fromWeb(request, response)
        })
      ).pipe(HttpClient.withRateLimiter({ limiter, key: "api", limit: 2, window: "1 second" }))
      const fiber = yield* Effect.forkChild(
        Effect.forEach([1, 2, 3, 4, 5], () => client.execute(HttpClientRequest.get("http://api.test/"))),
        { startImmediately: true }
      )
      yield* TestClock.adjust("1 minute")
      const responses = yield* Fiber.join(fiber)
      expect(responses.map(({ status }) => status)).toEqual([204, 204, 204, 204, 204])
      expect(sent.slice(0, 4)).toEqual([0, 0, 1000, 1000])
      expect(sent[4]).toBeGreaterThanOrEqual(4000)
    })
  )
})

const Call = Schema.Struct({
  method: Schema.Literals([
    "fixedWindow",
    "tokenBucket",
    "adaptiveConsume",
    "adaptiveFeedback",
    "adaptiveFeedback"
  ]),
  key: Schema.Literals(["ada", "bob"]),
  afterMillis: Schema.Literals([0, 0, 1, 50, 99, 100, 400, 1000, 70_000]),
  tokens: Schema.Literals([0, 0.5, 1, 1, 2, 5]),
  limit: Schema.Literals([1, 3, 10]),
  refillMillis: Schema.Literals([1, 40, 100]),
  flag: Schema.Boolean,
  epoch: Schema.Literals([0, 1, 2, 3]),
  /** Some answers belong to the epoch of the last call, as most do. */
  isCurrent: Schema.Boolean,
  status: Schema.Literals([429, 429, 429, 200]),
  retryAfterMillis: Schema.Literals([-5, 0, 30, 500, 2000, 4_000_000])
})

const ask = (store: Store, call: typeof Call.Type, epoch: number): Effect.Effect<unknown, unknown> => {
  const { flag, key, limit, method, retryAfterMillis, status, tokens } = call
  const refillRate = Duration.millis(call.refillMillis)
  switch (method) {
    case "fixedWindow":
      return store.fixedWindow({ key, tokens, refillRate, limit: flag ? limit : undefined })
    case "tokenBucket": {
      // The limit of a bucket stays what it is: see below for one that is raised.
      const limits = {
        ada: { limit: 3, refillRate: Duration.millis(100) },
        bob: { limit: 10, refillRate: Duration.millis(40) }
      }
      return store.tokenBucket({ key, tokens, allowOverflow: flag, ...limits[key] })
    }
    case "adaptiveConsume":
      return store.adaptiveConsume({ key, tokens, fallbackLimit: limit, fallbackWindow: refillRate })
    case "adaptiveFeedback": {
      const retryAfter = flag ? Duration.millis(retryAfterMillis) : undefined
      return store.adaptiveFeedback({ key, epoch, tokens, status, retryAfter })
    }
  }
}

describe("our store", () => {
  it.effect.prop(
    "answers every history as Effect's own does",
    [Schema.Array(Call).check(Schema.isMaxLength(60))],
    ([calls]) =>
      Effect.gen(function* () {
        const [theirs, ours] = [
          yield* storeOf(RateLimiter.layerStoreMemory),
          yield* storeOf(rateLimiterStore.layer())
        ]
        let lastEpoch = 0
        for (const call of calls) {
          yield* TestClock.adjust(call.afterMillis)
          const epoch = call.isCurrent ? lastEpoch : call.epoch
          const expected = yield* ask(theirs, call, epoch)
          expect([call, yield* ask(ours, call, epoch)]).toEqual([call, expected])
          if (call.method === "adaptiveConsume") {
            lastEpoch = (expected as RateLimiter.AdaptiveConsumeResult).epoch
          }
        }
      }).pipe(Effect.provide(TestClock.layer())),
    { arbitrary: { runs: 400 } }
  )

  const Lesson = Schema.Struct({
    do: Schema.Literals(["consume", "consume", "feedback"]),
    tokens: Schema.Literals([0.5, 1, 1, 1, 3]),
    afterMillis: Schema.Literals([0, 0, 0, 0, 100, 500, 1000, 30_000, 60_500, 61_000]),
    retryAfterMillis: Schema.Literals([0, -5, 500, 1000, 1000, 3_600_000, 4_000_000]),
    isCurrent: Schema.Literals([true, true, true, true, false])
  })

  it.effect.prop(
    "learns what Effect's own does",
    [Schema.Array(Lesson).check(Schema.isMinLength(20), Schema.isMaxLength(80))],
    ([lessons]) =>
      Effect.gen(function* () {
        const [theirs, ours] = [
          yield* storeOf(RateLimiter.layerStoreMemory),
          yield* storeOf(rateLimiterStore.layer())
        ]
        let lastEpoch = 0
        for (const lesson of lessons) {
          const { tokens } = lesson
          yield* TestClock.adjust(lesson.afterMillis)
          if (lesson.do === "consume") {
            const consume = (store: Store) =>
              store.adaptiveConsume({
                key: "ada",
                tokens,
                fallbackLimit: 1,
                fallbackWindow: Duration.seconds(1)
              })
            const expected = yield* consume(theirs)
            expect([lesson, yield* consume(ours)]).toEqual([lesson, expected])
            lastEpoch = expected.epoch
          } else {
            const feedback = (store: Store) =>
              store.adaptiveFeedback({
                key: "ada",
                epoch: lesson.isCurrent ? lastEpoch : lastEpoch + 1,
                tokens,
                status: 429,
                retryAfter: Duration.millis(lesson.retryAfterMillis)
              })
            yield* Effect.all([feedback(theirs), feedback(ours)])
          }
        }
      }).pipe(Effect.provide(TestClock.layer())),
    { arbitrary: { runs: 400 } }
  )

  const counting = { tokens: 1, refillRate: Duration.millis(100), limit: 3 }
  const pouring = { ...counting, allowOverflow: false }

  it.effect("refuses a new key when all that it holds are in use, until one is free", () =>
    Effect.gen(function* () {
      const store = yield* rateLimiterStore.make({ maxKeys: 2 })
      for (const take of [
        (key: string) => store.fixedWindow({ ...counting, key }),
        (key: string) => store.tokenBucket({ ...pouring, key })
      ]) {
        yield* take("ada")
        yield* TestClock.adjust(30)
        yield* take("bob")
        const exit = yield* Effect.exit(take("eve"))
        expect(reasonOf(exit)).toMatchObject({
          _tag: "RateLimitExceeded",
          key: "eve",
          retryAfter: Duration.millis(70)
        })
        yield* take("ada")
        yield* TestClock.adjust(100)
        yield* take("eve")
        expect(reasonOf(yield* Effect.exit(take("joe")))).toMatchObject({ retryAfter: Duration.millis(70) })
      }
    })
  )

  it.effect("lets a new key through uncounted where that is asked for", () =>
    Effect.gen(function* () {
      const store = yield* rateLimiterStore.make({ maxKeys: 1, whenFull: "admit" })
      yield* store.tokenBucket({ ...pouring, key: "ada" })
      for (let calls = 0; calls < 5; calls++) {
        expect(yield* store.tokenBucket({ ...pouring, key: "eve" })).toEqual([2, 0])
      }
    })
  )

  it.effect("holds no key that took nothing, and passes over what it has no room to learn", () =>
    Effect.gen(function* () {
      const store = yield* rateLimiterStore.make({ maxKeys: 1 })
      yield* store.tokenBucket({ ...pouring, key: "ada", tokens: 4 })
      yield* store.fixedWindow({ ...counting, key: "ada", tokens: 4 })
      yield* store.tokenBucket({ ...pouring, key: "bob" })
      yield* store.fixedWindow({ ...counting, key: "bob" })
      const told = (key: string) =>
        store.adaptiveFeedback({ key, epoch: 0, tokens: 1, status: 429, retryAfter: Duration.seconds(1) })
      const phaseOf = (key: string) =>
        Effect.map(
          store.adaptiveConsume({ key, tokens: 1, fallbackLimit: 1, fallbackWindow: Duration.seconds(1) }),
          ({ phase }) => phase
        )
      yield* told("ada")
      yield* told("bob")
      expect([yield* phaseOf("ada"), yield* phaseOf("bob")]).toEqual(["cooldown", "inactive"])
      yield* TestClock.adjust("61 seconds")
      yield* told("bob")
      expect([yield* phaseOf("ada"), yield* phaseOf("bob")]).toEqual(["inactive", "cooldown"])
    })
  )

  it.effect(
    "has forgotten a full bucket whose limit is raised, and fills it anew, as Effect's store in Redis does",
    () =>
      Effect.gen(function* () {
        const store = yield* rateLimiterStore.make({ maxKeys: 1 })
        yield* store.tokenBucket({ ...pouring, key: "ada" })
        yield* TestClock.adjust(50)
        expect(yield* store.tokenBucket({ ...pouring, key: "ada", limit: 10, tokens: 0 })).toEqual([2, 50])
        yield* TestClock.adjust(900)
        yield* store.tokenBucket({ ...pouring, key: "bob" })
        expect(yield* store.tokenBucket({ ...pouring, key: "ada", limit: 20, tokens: 0 })).toEqual([20, 0])
      })
  )

  it.effect("needs no room for what takes nothing", () =>
    Effect.gen(function* () {
      const store = yield* rateLimiterStore.make({ maxKeys: 1 })
      yield* store.tokenBucket({ ...pouring, key: "ada" })
      expect(yield* store.tokenBucket({ ...pouring, key: "bob", tokens: 0 })).toEqual([3, 0])
      expect(yield* store.tokenBucket({ ...pouring, key: "bob", tokens: 4 })).toEqual([-1, 0])
    })
  )

  it.effect("locks nobody out when the wall clock is set back", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 day")
      const store = yield* rateLimiterStore.make()
      const take = store.fixedWindow({ ...counting, key: "ada" })
      yield* Effect.replicateEffect(take, 3)
      yield* TestClock.setTime(0)
      yield* TestClock.adjust(300)
      expect(yield* take).toEqual([1, 100])
    })
  )

  it.effect.each([
    [{ maxKeys: 0 }, "maxKeys", "a whole number from 1 to 1000000"],
    [{ maxKeys: 1.5 }, "maxKeys", "a whole number from 1 to 1000000"],
    [{ whenFull: JSON.parse(`"forget"`) }, "whenFull", "reject, admit"]
  ] as const)("refuses an option out of its range: %j", ([given, option, allowed]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(rateLimiterStore.make(given))
      expect(error).toBeInstanceOf(InvalidOption)
      expect(error).toMatchObject({ policy: "rateLimiterStore", option, allowed })
    })
  )
})
