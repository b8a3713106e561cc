/**
 * The ten scenarios of REQUIREMENTS.md, by name, on a real server.
 *
 * Where a minute has to pass, the commands run on a `TestClock` and the connection below them on the real one: sockets know
 * no other time. Nothing is tried twice there, since the wait between two tries would never end.
 */
import process from "node:process"
import { describe, expect, it } from "@effect/vitest"
import { IoRedis, ResilientRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Context, Effect, Exit, Layer, Result } from "effect"
import { TestClock } from "effect/testing"
import { Ambiguous, PolicyEvent, ServiceUnavailable } from "failsoft"
import { becomes, callsOf, connect, quietly, recovered, started, timeoutMillis, told } from "./resilient.ts"

const untried = { retry: { enabled: false } } satisfies ResilientRedis.Options

/** A server, and a client with the default circuit whose time is that of the test. */
const timed = (given: ResilientRedis.Options = {}) =>
  Effect.gen(function* () {
    const server = yield* TestClock.withLive(RedisServer.make())
    const connection = yield* IoRedis.layer({ url: server.url, commandTimeout: timeoutMillis }).pipe(
      Layer.build,
      quietly,
      TestClock.withLive
    )
    const events: Array<PolicyEvent.PolicyEvent> = []
    const context = yield* Layer.build(
      // Probes come once an hour beside the first, so it is the calls of the test that find out how Redis is.
      ResilientRedis.layer({
        ...untried,
        probeEvery: "1 hour",
        ...given,
        connection: Layer.succeedContext(connection)
      })
    ).pipe(quietly, Effect.provideService(PolicyEvent.Listeners, [(event) => events.push(event)]))
    const io = Context.get(connection, IoRedis.IoRedis)
    /** Waits until the connection has noticed that the server is there again, which takes real time. */
    const reconnected = TestClock.withLive(
      becomes(
        Effect.sync(() => io.client.status),
        (status) => status === "ready"
      )
    )
    return { server, events, reconnected, redis: Context.get(context, ResilientRedis.ResilientRedis) }
  })

const stateOf = (redis: ResilientRedis.Client) =>
  Effect.map(redis.health, ({ circuit_breaker }) => circuit_breaker.state)

/** Waits in real time for what a socket brings about, and looks at it in the time of the test. */
const eventually = <A>(
  self: Effect.Effect<A>,
  isRight: (answer: A) => boolean,
  tries = 500
): Effect.Effect<A> =>
  Effect.flatMap(self, (answer) =>
    isRight(answer)
      ? Effect.succeed(answer)
      : tries === 0
        ? Effect.die(new Error(`it stayed ${String(answer)}`))
        : Effect.andThen(TestClock.withLive(Effect.sleep("10 millis")), eventually(self, isRight, tries - 1))
  )

const fail = (redis: ResilientRedis.Client, times: number) =>
  Effect.repeat(Effect.exit(redis.get("none")), { times: times - 1 })

it.live("Normal operation", () =>
  Effect.gen(function* () {
    const { events, redis } = yield* started()
    for (let index = 0; index < 100; index++) {
      yield* redis.set(`k${index}`, `${index}`)
      expect(yield* redis.getServed(`k${index}`)).toEqual({ value: `${index}`, source: "live" })
    }
    expect(yield* redis.health).toMatchObject({
      redis_available: true,
      degraded_mode: false,
      circuit_breaker: {
        state: "closed",
        failure_count: 0,
        total_calls: 200,
        successful_calls: 200,
        failed_calls: 0,
        fallback_calls: 0
      }
    })
    expect(events).toEqual([])
  })
)

it.live("Redis fails and the circuit opens after 5 failures", () =>
  Effect.gen(function* () {
    const { events, redis, server } = yield* started(untried)
    yield* redis.ping
    yield* server.kill
    for (let failures = 1; failures <= 4; failures++) {
      expect(yield* Effect.flip(redis.get("k"))).toBeInstanceOf(ServiceUnavailable)
      expect((yield* redis.health).circuit_breaker).toMatchObject({
        state: "closed",
        failure_count: failures
      })
    }
    yield* fail(redis, 1)
    expect((yield* redis.health).circuit_breaker).toMatchObject({ state: "open", failure_count: 5 })
    expect(told(events, "CircuitOpened")).toMatchObject([
      { policy: "redis-read", because: { _tag: "Consecutive", failures: 5, threshold: 5 } }
    ])
    expect(yield* Effect.flip(redis.get("k"))).toMatchObject({ reason: { _tag: "CircuitOpen" } })
  })
)

it.live("degraded mode answers", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* started(untried)
    yield* redis.set("seen", "value")
    yield* redis.hset("hash", { f: "v" })
    yield* redis.hgetall("hash")
    yield* server.kill
    yield* fail(redis, 5)
    expect(yield* redis.lenient.get("seen", "default")).toBe("value")
    expect(yield* redis.lenient.get("unseen", "default")).toBe("default")
    expect(yield* redis.lenient.set("k", "v")).toBe(false)
    expect(yield* redis.lenient.get("k")).toBe("v")
    expect(yield* redis.lenient.exists("seen", "unseen", "k")).toBe(2)
    expect(yield* redis.lenient.del("k")).toBe(0)
    expect(yield* redis.lenient.hget("hash", "f")).toBe("v")
    expect(yield* redis.lenient.hgetall("hash")).toEqual({ f: "v" })
    expect(yield* redis.lenient.hgetall("unseen")).toEqual({})
    expect(yield* redis.lenient.hset("other", { f: "v" })).toBe(0)
    expect(yield* redis.lenient.expire("seen", "1 minute")).toBe(false)
    expect(yield* redis.lenient.ping).toBe(false)
    expect(yield* redis.health).toMatchObject({ redis_available: false, degraded_mode: true })
  })
)

it.effect("an open circuit makes no Redis calls", () =>
  Effect.gen(function* () {
    const { redis, reconnected, server } = yield* timed()
    yield* redis.get("k")
    yield* server.kill
    yield* fail(redis, 5)
    yield* TestClock.withLive(server.restart)
    yield* reconnected
    const before = yield* callsOf(server, "get")
    yield* TestClock.adjust("59 seconds")
    yield* fail(redis, 20)
    expect(yield* callsOf(server, "get")).toBe(before)
    expect((yield* redis.health).circuit_breaker).toMatchObject({ state: "open" })
  })
)

it.effect("half-open after 60 s", () =>
  Effect.gen(function* () {
    const { events, redis, reconnected, server } = yield* timed()
    yield* server.kill
    yield* fail(redis, 5)
    yield* TestClock.withLive(server.restart)
    yield* reconnected
    yield* TestClock.adjust("59999 millis")
    expect(yield* stateOf(redis)).toBe("open")
    expect(yield* Effect.flip(redis.ping)).toMatchObject({ reason: { _tag: "CircuitOpen" } })
    yield* TestClock.adjust("1 millis")
    expect(yield* stateOf(redis)).toBe("half_open")
    // The prober of the circuit, which was due with it, may hold the one place that there is.
    yield* eventually(Effect.exit(redis.ping), Exit.isSuccess)
    expect(told(events, "CircuitHalfOpened")).toMatchObject([{ policy: "redis-read" }])
    expect(yield* stateOf(redis)).toBe("half_open")
  })
)

it.effect("closed after 3 successes", () =>
  Effect.gen(function* () {
    const { events, redis, reconnected, server } = yield* timed()
    yield* server.kill
    yield* fail(redis, 5)
    yield* TestClock.withLive(server.restart)
    yield* reconnected
    yield* TestClock.adjust("60 seconds")
    const closed = Effect.andThen(Effect.exit(redis.ping), stateOf(redis))
    yield* eventually(closed, (state) => state === "closed")
    expect(told(events, "CircuitClosed")).toMatchObject([{ policy: "redis-read", successes: 3 }])
    expect(yield* redis.getServed("k")).toEqual({ value: undefined, source: "live" })
    expect(yield* redis.health).toMatchObject({ redis_available: true, degraded_mode: false })
  })
)

it.live("cache hit and miss", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* started({ ...untried, held: { maxEntries: 2 } })
    for (const key of ["a", "b", "c"]) yield* redis.set(key, key)
    yield* server.kill
    expect(yield* redis.getServed("c")).toMatchObject({
      value: "c",
      source: "stale",
      ageMillis: expect.any(Number)
    })
    expect(yield* redis.get("b")).toBe("b")
    expect(yield* Effect.flip(redis.get("a"))).toBeInstanceOf(ServiceUnavailable)
    expect((yield* redis.health).circuit_breaker).toMatchObject({
      cache_hits: 2,
      cache_misses: 1,
      cache_size: 2
    })
  })
)

it.effect("failed recovery re-opens", () =>
  Effect.gen(function* () {
    const { events, redis, server } = yield* timed()
    yield* server.kill
    yield* fail(redis, 5)
    yield* TestClock.adjust("60 seconds")
    // The prober asks by itself, as soon as it is due.
    yield* eventually(
      Effect.sync(() => told(events, "CircuitOpened").length),
      (openings) => openings === 2
    )
    expect(told(events, "CircuitOpened")).toMatchObject([
      { from: "closed", openings: 1 },
      { from: "half_open", openings: 2 }
    ])
    expect(yield* stateOf(redis)).toBe("open")
    yield* TestClock.adjust("59 seconds")
    expect(yield* stateOf(redis)).toBe("open")
  })
)

it.effect("sessions work through an outage", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* timed({ held: { maxStale: "15 minutes" } })
    const sessions = ["ada", "bob"].map((user) => ({ key: `session:${user}`, user }))
    for (const { key, user } of sessions) {
      yield* redis.hset(key, { user, token: `token of ${user}` })
      yield* redis.expire(key, "30 minutes")
      yield* redis.hgetall(key)
    }
    yield* server.kill
    yield* fail(redis, 5)
    yield* TestClock.adjust("10 minutes")
    for (const { key, user } of sessions) {
      expect(yield* redis.hgetallServed(key)).toEqual({
        value: { user, token: `token of ${user}` },
        source: "stale",
        ageMillis: 600_000
      })
    }
    // Each request says when it was, which makes the rest of the session no younger.
    yield* redis.hset("session:ada", { lastSeen: "now" })
    yield* redis.del("session:bob")
    expect(yield* redis.hgetServed("session:ada", "user")).toMatchObject({ value: "ada", source: "local" })
    expect(yield* redis.hgetallServed("session:bob")).toEqual({ value: {}, source: "local" })
    expect(yield* redis.existsServed("session:bob")).toEqual({ value: 0, source: "local" })
    yield* TestClock.adjust("6 minutes")
    expect(yield* Effect.flip(redis.hget("session:ada", "user"))).toBeInstanceOf(ServiceUnavailable)
    expect(yield* redis.existsServed("session:bob")).toEqual({ value: 0, source: "local" })
  })
)

describe("load", () => {
  it.live("10,000 calls with 64 in flight while the server is killed and restarted all settle", () =>
    Effect.gen(function* () {
      const rejections: Array<unknown> = []
      const hear = (reason: unknown) => rejections.push(reason)
      yield* Effect.acquireRelease(
        Effect.sync(() => process.on("unhandledRejection", hear)),
        () => Effect.sync(() => process.off("unhandledRejection", hear))
      )
      const server = yield* RedisServer.make()
      const { redis } = yield* connect(server.url, {
        breaker: { openDuration: "100 millis", halfOpen: { successes: 1 } },
        probeEvery: "50 millis"
      })
      const failures: Array<unknown> = []
      let begun = 0
      let settled = 0
      let isBack = false
      const call = (index: number): Effect.Effect<unknown, unknown> =>
        index % 4 === 0
          ? redis.incr("n")
          : index % 4 === 1
            ? redis.set(`k${index % 100}`, "v")
            : redis.get(`k${index % 100}`)
      const worker: Effect.Effect<void> = Effect.suspend(() => {
        if (begun >= 10_000 && isBack) return Effect.void
        return Effect.result(call(begun++)).pipe(
          Effect.flatMap((result) => {
            settled++
            if (Result.isFailure(result)) failures.push(result.failure)
            return worker
          })
        )
      })
      const faults = Effect.gen(function* () {
        yield* becomes(
          Effect.sync(() => settled),
          (count) => count > 2_000
        )
        const inFlight = begun - settled
        yield* server.kill
        yield* becomes(
          Effect.sync(() => failures.length),
          (count) => count > 0
        )
        yield* server.restart
        isBack = true
        return inFlight
      })
      const workers = Array.from({ length: 64 }, () => worker)
      const [inFlight] = yield* Effect.all([faults, ...workers], { concurrency: "unbounded" })
      expect(inFlight).toBeGreaterThan(0)
      expect(inFlight).toBeLessThanOrEqual(64)
      expect(settled).toBe(begun)
      for (const error of failures) {
        expect(error instanceof ServiceUnavailable || error instanceof Ambiguous).toBe(true)
      }
      yield* recovered(redis)
      expect(yield* redis.setServed("k", "v")).toEqual({ value: true, source: "live" })
      expect(rejections).toEqual([])
    })
  )
})
