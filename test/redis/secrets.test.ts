/**
 * Passwords, keys and values appear in nothing that is told: no log line at any level, no error however it is printed, no
 * event, no health. Each fault is played with secrets that are known again.
 */
import { inspect } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import { Command, ResilientRedis } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import {
  Cause,
  ConfigProvider,
  Context,
  Effect,
  Exit,
  Layer,
  Logger,
  type Redacted,
  References,
  type Scope
} from "effect"
import { CircuitBreaker, Deadline, PolicyEvent } from "failsoft"
import { becomes, brisk, layer, recovered, timeoutMillis, urlOf } from "./resilient.ts"

const password = "p4ssword-canary"
const [key, other, value, field] = ["k3y-canary", "0ther-canary", "v4lue-canary", "f1eld-canary"]

const canary = /canary/

type Client = ResilientRedis.Client

/** What is told while a fault is played. */
interface Told {
  /** Every line of the log. */
  readonly lines: Array<string>
  /** Every event, error and health, as it may be printed. */
  readonly prints: Array<string>
  readonly connect: (
    url: Redacted.Redacted,
    given?: Parameters<typeof layer>[1]
  ) => Effect.Effect<Client, unknown, Scope.Scope>
  /** Runs a call and keeps what it failed with, which it has to. */
  readonly failing: (call: Effect.Effect<unknown, unknown>) => Effect.Effect<void>
  /** Runs calls and keeps what they failed with, as far as they did. */
  readonly trying: (...calls: ReadonlyArray<Effect.Effect<unknown, unknown>>) => Effect.Effect<void>
}

const print = (thing: unknown): ReadonlyArray<string> => [
  String(thing),
  JSON.stringify(thing) ?? "",
  inspect(thing, { depth: null, showHidden: true }),
  ...(thing instanceof Error ? [thing.message, thing.stack ?? ""] : [])
]

/** Plays a fault, and looks through all that was told of it. */
const telling = <E>(play: (told: Told) => Effect.Effect<void, E, Scope.Scope>, toldAtLeast = 1) =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const prints: Array<string> = []
    const keep = (exit: Exit.Exit<unknown, unknown>): void => {
      if (Exit.isSuccess(exit)) return
      prints.push(...print(exit.cause), Cause.pretty(exit.cause), ...print(Cause.squash(exit.cause)))
    }
    const trying: Told["trying"] = (...calls) =>
      Effect.forEach(calls, (call) => Effect.map(Effect.exit(call), keep), { discard: true })
    const told: Told = {
      lines,
      prints,
      trying,
      failing: (call) =>
        Effect.map(Effect.exit(call), (exit) => {
          expect(Exit.isFailure(exit)).toBe(true)
          keep(exit)
        }),
      connect: (url, given) =>
        Effect.map(
          Effect.tapCause(Layer.build(layer(url, given)), (cause) =>
            Effect.sync(() => keep(Exit.failCause(cause)))
          ),
          Context.get(ResilientRedis.ResilientRedis)
        )
    }
    yield* Effect.scoped(play(told)).pipe(
      Effect.provideService(PolicyEvent.Listeners, [(event) => prints.push(...print(event))]),
      Effect.provide(Logger.layer([Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))])),
      Effect.provideService(References.MinimumLogLevel, "All")
    )
    expect(prints.length).toBeGreaterThan(0)
    expect(lines.length).toBeGreaterThanOrEqual(toldAtLeast)
    expect([...lines, ...prints].filter((text) => canary.test(text))).toEqual([])
  })

/** Every kind of call, with secrets wherever there is room for one. */
const everyCall = (redis: Client): ReadonlyArray<Effect.Effect<unknown, unknown>> => {
  const pair = { member: value, score: 1 }
  const commands = [
    Command.get(key),
    Command.set(key, value),
    Command.incr(other),
    Command.hset(key, { [field]: value }),
    Command.zadd(other, [pair])
  ]
  return [
    redis.get(key),
    redis.mget([key, other]),
    redis.hget(key, field),
    redis.hgetallServed(key),
    redis.zrangeWithScores(key, 0, -1),
    redis.set(key, value, { expireIn: "1 minute" }),
    redis.setGet(key, value),
    redis.setServed(other, value, { ifAbsent: true }),
    redis.incr(key),
    redis.hset(key, { [field]: value }),
    redis.zadd(key, [pair]),
    redis.expire(other, "1 minute"),
    redis.del(key, other),
    redis.lenient.get(key, "default"),
    redis.lenient.hset(key, { [field]: value }),
    redis.use("EVAL", ({ send }) =>
      send("EVAL", "return redis.call('APPEND', KEYS[1], ARGV[1])", "1", key, value)
    ),
    redis.use("NONESUCH", ({ send }) => send("NONESUCH", key, value)),
    redis.multi(commands),
    Effect.flatMap(redis.pipeline(commands), (items) =>
      Effect.forEach(items, (item) => Effect.fromResult<unknown, unknown>(item))
    )
  ]
}

const protectedServer = RedisServer.make({ password })

const login = `:${password}@`

it("a secret is known again, wherever it is", () => {
  for (const thing of [value, { value }, new Error(value), new Error("other", { cause: { value } })]) {
    expect(print(thing).some((text) => canary.test(text))).toBe(true)
  }
})

describe("nothing is told of passwords, keys and values", () => {
  it.live("when Redis cannot be reached, or refuses the password, at the start", () =>
    telling(({ connect, trying }) =>
      Effect.gen(function* () {
        const server = yield* protectedServer
        const proxy = yield* FaultProxy.make(server)
        yield* trying(
          Effect.scoped(connect(urlOf(server, ":wr0ng-canary@"))),
          Effect.scoped(connect(urlOf(server, "us3r-canary:wr0ng-canary@"))),
          Effect.scoped(connect(urlOf(server)))
        )
        yield* proxy.setMode(FaultProxy.acceptAndSilent)
        yield* trying(Effect.scoped(connect(urlOf(proxy, login), { mode: "required" })))
        yield* server.kill
        yield* trying(Effect.scoped(connect(server.url, { mode: "required" })))
        const redis = yield* connect(server.url)
        yield* trying(...everyCall(redis), redis.health)
      })
    )
  )

  it.live("when the environment is wrong", () =>
    telling(
      ({ failing }) =>
        Effect.forEach(
          [`http://${login}redis`, `redis://${login}redis/?db=${value}`, `redis://%zz-canary@redis`],
          (REDIS_URL) =>
            failing(
              Effect.scoped(Layer.build(ResilientRedis.layerConfig())).pipe(
                Effect.provideService(
                  ConfigProvider.ConfigProvider,
                  ConfigProvider.fromEnv({ env: { REDIS_URL, REDIS_MAX_RETRIES: "1" } })
                )
              )
            ),
          { discard: true }
        ),
      0
    )
  )

  it.live("when the password is changed", () =>
    telling(({ connect, failing, trying }) =>
      Effect.gen(function* () {
        const server = yield* protectedServer
        const redis = yield* connect(server.url, brisk)
        yield* redis.set(key, value)
        yield* server.command("CONFIG", "SET", "requirepass", "r0tated-canary")
        yield* server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield* becomes(
          Effect.exit(redis.set(key, value)),
          (exit) => Exit.isFailure(exit) && /WRONGPASS/.test(String(exit))
        )
        yield* trying(...everyCall(redis))
        yield* failing(redis.get(key))
      })
    )
  )

  it.live("when rights are missing", () =>
    telling(
      ({ connect, failing }) =>
        Effect.gen(function* () {
          const server = yield* RedisServer.make()
          const redis = yield* connect(server.url, { keyPrefix: "pr3fix-canary:" })
          yield* server.command("ACL", "SETUSER", "default", "resetkeys", "~nothing")
          yield* Effect.forEach(
            everyCall(redis).filter((_, index) => index !== 16),
            failing
          )
        }),
      0
    )
  )

  it.live("when commands are wrong", () =>
    telling(
      ({ connect, failing, trying }) =>
        Effect.gen(function* () {
          const server = yield* RedisServer.make()
          const redis = yield* connect(server.url)
          yield* redis.set(key, value)
          yield* redis.zadd(other, [{ member: value, score: 1 }])
          yield* failing(redis.hget(key, field))
          yield* failing(redis.incr(key))
          yield* failing(redis.lenient.hset(key, { [field]: value }))
          yield* failing(redis.set(key, value, { ifAbsent: true, ifPresent: true }))
          yield* failing(redis.multi([Command.set(key, value), Command.mget([])]))
          yield* trying(...everyCall(redis))
        }),
      0
    )
  )

  it.live("when the server is full", () =>
    telling(({ connect, failing, trying }) =>
      Effect.gen(function* () {
        const server = yield* RedisServer.make({
          args: ["--maxmemory", "1", "--maxmemory-policy", "noeviction"]
        })
        const redis = yield* connect(server.url)
        yield* failing(redis.set(key, value))
        yield* failing(redis.multi([Command.set(key, value)]))
        yield* trying(...everyCall(redis))
      })
    )
  )

  it.live("through retries, an outage and the way back", () =>
    telling(({ connect, failing, prints, trying }) =>
      Effect.gen(function* () {
        const server = yield* protectedServer
        const redis = yield* connect(server.url, {
          breaker: { ...brisk.breaker, trip: CircuitBreaker.consecutive(3) },
          probeEvery: "50 millis",
          onReturn: { replayPerSecond: 1_000 }
        })
        yield* trying(...everyCall(redis))
        yield* server.kill
        yield* trying(...everyCall(redis))
        yield* failing(redis.get("none"))
        prints.push(...print(yield* redis.health))
        yield* redis.set(key, value)
        yield* redis.del(other)
        yield* redis.hset(other, { [field]: value })
        yield* server.restart
        yield* recovered(redis)
        yield* becomes(
          Effect.sync(() => prints.filter((text) => text.includes("HeldWritesReplayed"))),
          ({ length }) => length > 0
        )
        prints.push(...print(yield* redis.health))
      })
    )
  )

  it.live("when the fate of what was sent is unknown", () =>
    telling(
      ({ connect, failing, prints, trying }) =>
        Effect.gen(function* () {
          const server = yield* protectedServer
          const redis = yield* connect(server.url, {
            retry: { enabled: false },
            breaker: { trip: CircuitBreaker.consecutive(1_000) }
          })
          yield* redis.set(key, value)
          yield* server.stop
          const calls = everyCall(redis)
          yield* Effect.all(
            [
              ...calls.map((call) => trying(call)),
              ...calls.map((call) => trying(Deadline.within(call, "50 millis")))
            ],
            { concurrency: "unbounded" }
          )
          yield* failing(redis.incr(key)).pipe(Effect.timeout(timeoutMillis + 500))
          expect(prints.some((text) => text.includes("Ambiguous"))).toBe(true)
        }),
      0
    )
  )
})
