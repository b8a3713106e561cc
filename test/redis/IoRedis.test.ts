import { describe, expect, it } from "@effect/vitest"
import { IoRedis, RedisFailure } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Clock, Effect, Exit, Fiber, Layer, Queue, Redacted, Scope } from "effect"
import { RateLimiter, Redis } from "effect/persistence"
import { Misconfigured, ServiceUnavailable } from "failsoft"

const commandTimeoutMillis = 300

const connect = (url: Redacted.Redacted) =>
  Effect.map(
    Layer.build(
      IoRedis.layer({
        url,
        commandTimeout: commandTimeoutMillis,
        connectTimeout: "500 millis",
        connectAttempts: 2
      })
    ),
    (context) => Redis.Redis.pipe(Effect.provideContext(context))
  ).pipe(Effect.flatten)

/** A server behind a proxy with faults, and a connection through it. */
const behindProxy = Effect.gen(function* () {
  const server = yield* RedisServer.make()
  const proxy = yield* FaultProxy.make(server)
  const redis = yield* connect(Redacted.make(`redis://${proxy.host}:${proxy.port}`))
  return { server, proxy, redis }
})

const failureOf = <A>(
  send: Effect.Effect<A, Redis.RedisError>,
  command: string,
  args: ReadonlyArray<string>
) => Effect.map(Effect.flip(send), (error) => RedisFailure.from(error, command, args))

/** The bound on every command: its time, our grace and some for a busy machine. */
const settlesWithin = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const before = yield* Clock.currentTimeMillis
    const result = yield* self
    expect((yield* Clock.currentTimeMillis) - before).toBeLessThan(commandTimeoutMillis + 400)
    return result
  })

const eventually = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.eventually(Effect.tapError(self, () => Effect.sleep("20 millis"))).pipe(Effect.timeout("8 seconds"))

describe("a connection", () => {
  it.live("sends commands, runs scripts, subscribes and reserves", () =>
    Effect.gen(function* () {
      const { url } = yield* RedisServer.make()
      const redis = yield* connect(url)
      expect(yield* redis.send("INCR", "n")).toBe(1)
      expect(yield* redis.send("HSET", "h", "f", "v")).toBe(1)
      expect(yield* redis.send("HGETALL", "h")).toEqual(["f", "v"])

      const double = Redis.script((key: string) => [key], {
        numberOfKeys: 1,
        lua: "return redis.call('GET', KEYS[1]) * 2"
      }).withReturnType<number>()
      expect(yield* redis.eval(double)("n")).toBe(2)
      yield* redis.send("SCRIPT", "FLUSH")
      expect(yield* redis.eval(double)("n")).toBe(2)

      const messages = yield* redis.subscribe("news")
      expect(yield* redis.send("PUBLISH", "news", "hello")).toBe(1)
      expect(yield* Queue.take(messages)).toEqual({ channel: "news", message: "hello" })

      // Longer than a command may take: a reserved connection has no such limit.
      const reserved = yield* redis.reserve
      expect(yield* reserved.send("BLPOP", "empty", "0.5")).toBeNull()
    })
  )

  it.live("serves Effect's rate limiter", () =>
    Effect.gen(function* () {
      const { url } = yield* RedisServer.make()
      const Store = RateLimiter.layerStoreRedis().pipe(Layer.provide(IoRedis.layer({ url })))
      const remaining = Effect.gen(function* () {
        const limiter = yield* RateLimiter.RateLimiter
        return yield* limiter.consume({ key: "ada", limit: 2, window: "1 minute" })
      }).pipe(Effect.provide(RateLimiter.layer.pipe(Layer.provide(Store))))
      expect((yield* remaining).remaining).toBe(1)
      expect((yield* remaining).remaining).toBe(0)
      expect(yield* Effect.flip(remaining)).toMatchObject({ reason: { _tag: "RateLimitExceeded" } })
    })
  )

  it.live("leaves no connection behind when its scope closes", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const scope = yield* Scope.make()
      const redis = yield* connect(server.url).pipe(Effect.provideService(Scope.Scope, scope))
      yield* redis.subscribe("news").pipe(Effect.provideService(Scope.Scope, scope))
      yield* Effect.provideService(redis.reserve, Scope.Scope, scope)
      yield* Scope.close(scope, Exit.void)
      const clients = Effect.map(server.command("INFO", "clients"), String)
      yield* eventually(
        Effect.flatMap(clients, (text) =>
          /connected_clients:1\r/.test(text) ? Effect.void : Effect.fail(text)
        )
      )
    })
  )
})

describe("a server that cannot be reached", () => {
  it.live("is NotConnected, in bounded time, without the URL's password", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make({ password: "s3cret" })
      yield* server.kill
      const error = yield* Effect.flip(connect(server.url))
      expect(error).toBeInstanceOf(ServiceUnavailable)
      expect(error).toMatchObject({ reason: { _tag: "NotConnected" } })
      expect(JSON.stringify(error) + String(error)).not.toContain("s3cret")
    })
  )

  it.live("that accepts and stays silent is NotConnected within the time of its tries", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const proxy = yield* FaultProxy.make(server)
      yield* proxy.setMode(FaultProxy.acceptAndSilent)
      const before = yield* Clock.currentTimeMillis
      const error = yield* Effect.flip(connect(Redacted.make(`redis://${proxy.host}:${proxy.port}`)))
      expect(error).toMatchObject({ reason: { _tag: "NotConnected" } })
      expect((yield* Clock.currentTimeMillis) - before).toBeLessThan(2_000)
    })
  )

  it.live.each([
    ["no password", (port: number) => `redis://127.0.0.1:${port}`, "NOAUTH"],
    ["a wrong password", (port: number) => `redis://:wr0ng@127.0.0.1:${port}`, "WRONGPASS"]
  ] as const)("for want of the right password (%s) is misconfigured, at the first try", ([, urlOf, code]) =>
    Effect.gen(function* () {
      const { port } = yield* RedisServer.make({ password: "s3cret" })
      const error = yield* Effect.flip(connect(Redacted.make(urlOf(port))))
      expect(error).toBeInstanceOf(Misconfigured)
      expect(String(error)).toContain(code)
      expect(String(error)).not.toContain("wr0ng")
    })
  )
})

describe("an outage", () => {
  it.live("of a stopped server: the fate of an INCR is unknown, and its late reply is nobody's", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* behindProxy
      yield* redis.send("SET", "other", "theirs")
      yield* server.stop
      const failure = yield* settlesWithin(failureOf(redis.send("INCR", "n"), "INCR", ["n"]))
      expect(failure).toMatchObject({ code: "TIMED_OUT", mayBeApplied: true, mayRepeat: false })
      yield* server.continue
      expect(yield* eventually(redis.send("GET", "other"))).toBe("theirs")
    })
  )

  it.live("of a killed server: commands fail at once as not sent, and the client comes back by itself", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const redis = yield* connect(server.url)
      yield* redis.send("PING")
      yield* server.kill
      const failure = yield* settlesWithin(
        Effect.flatMap(Effect.ignore(redis.send("PING")), () =>
          failureOf(redis.send("INCR", "n"), "INCR", ["n"])
        )
      )
      expect(failure).toMatchObject({ class: "unavailable", sent: false, mayRepeat: true })
      yield* server.restart
      expect(yield* eventually(redis.send("INCR", "n"))).toBe(1)
    })
  )

  it.live("that drops a reply: the command is applied once, and its fate is unknown", () =>
    Effect.gen(function* () {
      const { proxy, redis, server } = yield* behindProxy
      yield* redis.send("SET", "n", "0")
      yield* proxy.setMode(FaultProxy.dropReplies)
      const failure = yield* settlesWithin(failureOf(redis.send("INCR", "n"), "INCR", ["n"]))
      expect(failure).toMatchObject({ mayBeApplied: true, mayRepeat: false })
      yield* proxy.setMode(FaultProxy.pass)
      yield* proxy.dropConnections
      yield* eventually(redis.send("PING"))
      expect(yield* server.command("GET", "n")).toBe("1")
    })
  )

  it.live("with a thousand commands in flight settles each of them", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* behindProxy
      yield* redis.send("PING")
      yield* server.stop
      const sent = yield* Effect.forEach(
        Array.from({ length: 1_000 }, (_, index) => String(index)),
        (key) => Effect.forkChild(Effect.exit(redis.send("GET", key)), { startImmediately: true })
      )
      yield* server.kill
      const exits = yield* settlesWithin(Effect.forEach(sent, Fiber.join))
      expect(exits.filter(Exit.isFailure)).toHaveLength(1_000)
    })
  )

  it.live("of a password that was changed is misconfigured, not an outage", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make({ password: "s3cret" })
      const redis = yield* connect(server.url)
      yield* redis.send("PING")
      yield* server.command("CONFIG", "SET", "requirepass", "rotated")
      yield* server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
      const refused = Effect.flatMap(failureOf(redis.send("GET", "k"), "GET", ["k"]), (failure) =>
        failure.class === "misconfigured" ? Effect.succeed(failure) : Effect.fail(failure)
      )
      expect((yield* eventually(refused)).code).toBe("WRONGPASS")
    })
  )
})
