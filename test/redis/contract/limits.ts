import { describe, expect, it } from "@effect/vitest"
import type { RedisServer } from "@failsoft/testing"
import { Clock, Context, Deferred, Duration, Effect, Fiber, Layer, Result } from "effect"
import { CircuitBreaker, RateLimiter, Redis } from "effect/persistence"
import { connect, type Subject, started, until } from "./subject.ts"

type Consume = Parameters<RateLimiter.RateLimiter["consume"]>[0]

/** A limiter of one more process. */
const limiterOf = (subject: Subject, server: RedisServer.RedisServer) =>
  Effect.gen(function* () {
    const redis = yield* connect(subject, server)
    const store = RateLimiter.layerStoreRedis().pipe(Layer.provide(Layer.succeed(Redis.Redis, redis)))
    const context = yield* Layer.build(RateLimiter.layer.pipe(Layer.provide(store)))
    return Context.get(context, RateLimiter.RateLimiter)
  })

const breakerOf = (subject: Subject, server: RedisServer.RedisServer) =>
  Effect.gen(function* () {
    const redis = yield* connect(subject, server)
    const store = CircuitBreaker.layerStoreRedis().pipe(Layer.provide(Layer.succeed(Redis.Redis, redis)))
    const options = { tripPolicy: CircuitBreaker.consecutive(2), openDuration: "300 millis" } as const
    const context = yield* Layer.build(CircuitBreaker.layer(options).pipe(Layer.provide(store)))
    return Context.get(context, CircuitBreaker.CircuitBreaker)
  })

const isExceeded = (error: RateLimiter.RateLimiterError): boolean => error.reason._tag === "RateLimitExceeded"

const rateLimiter = (subject: Subject): void => {
  describe("Effect's RateLimiter", () => {
    it.live.each(["fixed-window", "token-bucket"] as const)(
      "keeps its limit under concurrent calls of two processes (%s)",
      (algorithm) =>
        Effect.gen(function* () {
          const { server } = yield* started(subject)
          const limiters = [yield* limiterOf(subject, server), yield* limiterOf(subject, server)]
          const call: Consume = { key: "ada", algorithm, limit: 10, window: "1 minute" }
          const results = yield* Effect.forEach(
            Array.from({ length: 60 }, (_, index) => limiters.slice(index % 2)),
            ([limiter]) => Effect.result(limiter?.consume(call) ?? Effect.die("no limiter")),
            { concurrency: "unbounded" }
          )
          const admitted = results.filter(Result.isSuccess).map(({ success }) => success.remaining)
          const refused = results.filter(Result.isFailure).map(({ failure }) => failure)
          expect(admitted.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
          expect(refused).toHaveLength(50)
          expect(refused.every(isExceeded)).toBe(true)
        })
    )

    it.live.each(["fixed-window", "token-bucket"] as const)(
      "admits again when it is time, and not before (%s)",
      (algorithm) =>
        Effect.gen(function* () {
          const { server } = yield* started(subject)
          const limiter = yield* limiterOf(subject, server)
          const consume = limiter.consume({ key: "ada", algorithm, limit: 2, window: "600 millis" })
          const before = yield* Clock.currentTimeMillis
          yield* consume
          yield* consume
          const { reason } = yield* Effect.flip(consume)
          const retryAfter = reason._tag === "RateLimitExceeded" ? Duration.toMillis(reason.retryAfter) : 0
          const refill = algorithm === "fixed-window" ? 600 : 300
          expect(retryAfter).toBeGreaterThan(0)
          expect(retryAfter).toBeLessThanOrEqual(refill)
          yield* until(Effect.result(consume), Result.isSuccess)
          expect((yield* Clock.currentTimeMillis) - before).toBeGreaterThanOrEqual(refill - 5)
        })
    )

    it.live("tells who may wait how long to", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const limiter = yield* limiterOf(subject, server)
        const consume = limiter.consume({ key: "ada", onExceeded: "delay", limit: 1, window: "1 minute" })
        expect(Duration.toMillis((yield* consume).delay)).toBe(0)
        expect(Duration.toSeconds((yield* consume).delay)).toBeCloseTo(60, 0)
        expect(Duration.toSeconds((yield* consume).delay)).toBeCloseTo(120, 0)
      })
    )

    it.live("passes on to all processes what a dependency says with 429", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const [told, asked] = [yield* limiterOf(subject, server), yield* limiterOf(subject, server)]
        const call = { key: "api", tokens: 1, fallbackLimit: 10, fallbackWindow: Duration.minutes(1) }
        const { epoch, phase } = yield* told.adaptiveConsume(call)
        expect(phase).toBe("inactive")
        yield* told.adaptiveFeedback({
          key: "api",
          epoch,
          tokens: 1,
          status: 429,
          retryAfter: Duration.seconds(30)
        })
        const told2 = yield* asked.adaptiveConsume(call)
        expect(told2.phase).toBe("cooldown")
        expect(Duration.toSeconds(told2.delay)).toBeCloseTo(30, 0)
      })
    )
  })
}

const circuitBreaker = (subject: Subject): void => {
  describe("Effect's CircuitBreaker", () => {
    it.live("opens for all processes, lets one of them probe, and closes for all", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const [here, there] = [yield* breakerOf(subject, server), yield* breakerOf(subject, server)]
        const failing = Effect.fail("refused")
        expect(yield* Effect.flip(here.execute(failing, { key: "api" }))).toBe("refused")
        expect(yield* Effect.flip(there.execute(failing, { key: "api" }))).toBe("refused")
        const rejected = yield* Effect.flip(here.execute(Effect.void, { key: "api" }))
        expect(rejected).toMatchObject({ reason: { _tag: "CircuitOpen" } })
        expect((yield* there.state("api"))._tag).toBe("Open")
        expect((yield* there.state("other"))._tag).toBe("Closed")

        const answer = yield* Deferred.make<string>()
        const probing = yield* Effect.forkChild(
          until(
            Effect.exit(here.execute(Deferred.await(answer), { key: "api" })),
            ({ _tag }) => _tag === "Success"
          )
        )
        yield* until(there.state("api"), (state) => state._tag === "HalfOpen" && state.probing)
        expect(yield* Effect.flip(there.execute(Effect.void, { key: "api" }))).toMatchObject({
          reason: { _tag: "CircuitHalfOpen" }
        })
        yield* Deferred.succeed(answer, "well again")
        expect(yield* Fiber.join(probing)).toMatchObject({ value: "well again" })
        expect((yield* there.state("api"))._tag).toBe("Closed")
        expect(yield* there.execute(Effect.succeed("served"), { key: "api" })).toBe("served")
      })
    )
  })
}

/** Effect's limits that processes share: the rate limiter and the circuit breaker. */
export const limits = (subject: Subject): void => {
  rateLimiter(subject)
  circuitBreaker(subject)
}
