/** How `IoRedis.layer` starts, or fails to, whatever it finds: in bounded time, with a typed error that tells no secret. */
import { inspect } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Clock, Effect, Fiber, Layer, Redacted, type Scope } from "effect"
import { Redis } from "effect/persistence"
import { Misconfigured, ServiceUnavailable } from "failsoft"
import { eventually, listen } from "../testing/sockets.ts"

const connectTimeoutMillis = 300
const connectAttempts = 2

/** Each try in its time, the wait between the two, and some for a busy machine. */
const boundMillis = connectAttempts * connectTimeoutMillis + 100 + 500

interface Place {
  readonly host: string
  readonly port: number
}

const start = ({ host, port }: Place, login = ":s3cret@", scheme = "redis") =>
  Layer.build(
    IoRedis.layer({
      url: Redacted.make(`${scheme}://${login}${host}:${port}`),
      connectTimeout: connectTimeoutMillis,
      commandTimeout: connectTimeoutMillis,
      connectAttempts
    })
  )

const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const before = yield* Clock.currentTimeMillis
    const value = yield* self
    return { value, millis: (yield* Clock.currentTimeMillis) - before }
  })

const protectedServer = RedisServer.make({ password: "s3cret" })

const behindProxy = (mode: FaultProxy.Mode) =>
  Effect.gen(function* () {
    const proxy = yield* FaultProxy.make(yield* protectedServer)
    yield* proxy.setMode(mode)
    return proxy
  })

const local = (port: number): Place => ({ host: "127.0.0.1", port })

describe("start-up with Redis running", () => {
  it.live("is quick, and serves at once", () =>
    Effect.gen(function* () {
      const server = yield* protectedServer
      const { millis, value } = yield* timed(start(server))
      expect(millis).toBeLessThan(connectTimeoutMillis)
      expect(
        yield* Effect.provide(
          Redis.Redis.use(({ send }) => send("PING")),
          value
        )
      ).toBe("PONG")
    })
  )

  it.live("succeeds at a later try when Redis comes while it tries", () =>
    Effect.gen(function* () {
      const proxy = yield* behindProxy(FaultProxy.acceptAndSilent)
      const starting = yield* Effect.forkChild(start(proxy), { startImmediately: true })
      yield* eventually(() => Effect.runPromise(proxy.connections).then((open) => expect(open).toBe(1)))
      yield* proxy.setMode(FaultProxy.pass)
      const context = yield* Fiber.join(starting)
      expect(
        yield* Effect.provide(
          Redis.Redis.use(({ send }) => send("PING")),
          context
        )
      ).toBe("PONG")
    })
  )
})

describe("start-up without Redis", () => {
  const places: ReadonlyArray<readonly [what: string, place: Effect.Effect<Place, unknown, Scope.Scope>]> = [
    ["that refuses connections", Effect.tap(protectedServer, ({ kill }) => kill)],
    ["whose name means nothing", Effect.succeed({ host: "redis.invalid", port: 6379 })],
    ["that cannot be reached: nothing gets through either way", behindProxy(FaultProxy.blackhole)],
    ["that accepts and stays silent", behindProxy(FaultProxy.acceptAndSilent)],
    ["that is stopped", Effect.tap(protectedServer, ({ stop }) => stop)],
    [
      "that closes what it accepts",
      Effect.map(
        listen((socket) => void socket.destroy()),
        local
      )
    ],
    ["that resets in the middle of the greeting", behindProxy(FaultProxy.resetMidReply({ afterBytes: 20 }))],
    [
      "that answers a byte at a time, too slowly",
      behindProxy(FaultProxy.drip({ bytes: 1, everyMillis: 50 }))
    ],
    [
      "that is no Redis",
      Effect.map(
        listen((socket) => void socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")),
        local
      )
    ]
  ]

  it.live.each(places)("%s is NotConnected in bounded time", ([, place]) =>
    Effect.gen(function* () {
      const { millis, value: error } = yield* timed(Effect.flip(start(yield* place)))
      expect(error).toBeInstanceOf(ServiceUnavailable)
      expect(error).toMatchObject({ reason: { _tag: "NotConnected" } })
      expect(millis).toBeLessThan(boundMillis)
      expect(String(error)).toContain("redis is unavailable")
      expect(inspect(error, { depth: null })).not.toContain("s3cret")
    })
  )

  it.live("over TLS that speaks none is NotConnected in bounded time", () =>
    Effect.gen(function* () {
      const server = yield* protectedServer
      const { millis, value: error } = yield* timed(Effect.flip(start(server, ":s3cret@", "rediss")))
      expect(error).toMatchObject({ reason: { _tag: "NotConnected" } })
      expect(millis).toBeLessThan(boundMillis)
    })
  )

  it.live("that has no room for one more client is NotConnected in bounded time", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make({ password: "s3cret", args: ["--maxclients", "1"] })
      yield* start(server)
      const { millis, value: error } = yield* timed(Effect.flip(start(server)))
      expect(error).toMatchObject({ reason: { _tag: "NotConnected" } })
      expect(millis).toBeLessThan(boundMillis)
    })
  )

  it.live("leaves no connection behind", () =>
    Effect.gen(function* () {
      const proxy = yield* behindProxy(FaultProxy.acceptAndSilent)
      yield* Effect.scoped(Effect.flip(start(proxy)))
      expect((yield* proxy.stats).accepted).toBe(connectAttempts)
      yield* eventually(() => Effect.runPromise(proxy.connections).then((open) => expect(open).toBe(0)))
    })
  )
})

describe("start-up with Redis loading its data", () => {
  const loading = Effect.gen(function* () {
    const server = yield* RedisServer.make({
      args: ["--key-load-delay", "300", "--loading-process-events-interval-bytes", "1024"]
    })
    yield* server.command("DEBUG", "POPULATE", 7_000)
    yield* server.command("SAVE")
    const restarting = yield* Effect.forkScoped(server.restart)
    yield* eventually(async () => {
      const reply = await Effect.runPromise(server.command("INFO", "persistence"))
      expect(String(reply)).toContain("\r\nloading:1\r\n")
    })
    return { server, restarting }
  })

  it.live("is NotConnected in bounded time while that lasts, and succeeds soon after", () =>
    Effect.gen(function* () {
      const { restarting, server } = yield* loading
      const { millis, value: error } = yield* timed(Effect.flip(start(server, "")))
      expect(error).toMatchObject({ reason: { _tag: "NotConnected" } })
      expect(millis).toBeLessThan(boundMillis)

      const patient = yield* Effect.forkChild(
        Layer.build(IoRedis.layer({ url: server.url, connectAttempts: 1 }))
      )
      yield* Fiber.join(restarting)
      const { millis: after, value: context } = yield* timed(Fiber.join(patient))
      expect(after).toBeLessThan(1_000)
      expect(
        yield* Effect.provide(
          Redis.Redis.use(({ send }) => send("DBSIZE")),
          context
        )
      ).toBe(7_000)
    })
  )
})

describe("start-up with the wrong credentials", () => {
  it.live.each([
    ["a wrong password", ":wr0ng@", "WRONGPASS"],
    ["an unknown user", "nob0dy:wr0ng@", "WRONGPASS"],
    ["none", "", "NOAUTH"]
  ] as const)("(%s) is misconfigured at the first try", ([, login, code]) =>
    Effect.gen(function* () {
      const proxy = yield* FaultProxy.make(yield* protectedServer)
      const { millis, value: error } = yield* timed(Effect.flip(start(proxy, login)))
      expect(error).toBeInstanceOf(Misconfigured)
      expect(String(error)).toContain(`the server refuses the connection: ${code}`)
      expect(inspect(error, { depth: null })).not.toMatch(/wr0ng|nob0dy|s3cret/)
      expect(millis).toBeLessThan(connectTimeoutMillis)
      expect((yield* proxy.stats).accepted).toBe(1)
    })
  )
})
