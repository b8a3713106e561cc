import { describe, expect, it } from "@effect/vitest"
import { Command, MemoryRedis, type RedisFailure, ResilientRedis } from "@failsoft/redis"
import { Context, Duration, Effect, Layer, Result } from "effect"
import { TestClock } from "effect/testing"
import { InvalidOption, Unsupported } from "failsoft"

const make = (given?: MemoryRedis.Options) =>
  Effect.map(Layer.build(MemoryRedis.layer(given)), Context.get(ResilientRedis.ResilientRedis))

describe("time", () => {
  it.effect("is the test's: keys end when it says so", () =>
    Effect.gen(function* () {
      const redis = yield* make()
      yield* redis.set("seconds", "v", { expireIn: "5 seconds" })
      yield* redis.set("millis", "v", { expireIn: "2500 millis" })
      yield* redis.set("moment", "v", { expireAtMillis: 4_000 })
      yield* redis.hset("hash", { f: "v" })
      yield* redis.expire("hash", "6 seconds")
      expect(yield* redis.ttl("seconds")).toEqual(Duration.seconds(5))
      yield* TestClock.adjust("2499 millis")
      expect(yield* redis.exists("seconds", "millis", "moment", "hash")).toBe(4)
      expect(yield* redis.ttl("millis")).toEqual(Duration.millis(1))
      yield* TestClock.adjust("1 millis")
      expect(yield* redis.get("millis")).toBeUndefined()
      yield* TestClock.adjust("1500 millis")
      expect(yield* redis.mget(["seconds", "moment"])).toEqual(["v", undefined])
      yield* TestClock.adjust("2 seconds")
      expect(yield* redis.exists("seconds", "millis", "moment", "hash")).toBe(0)
      expect(yield* redis.ttl("hash")).toBeUndefined()
      expect(yield* redis.time).toBe(6_000)
    })
  )
})

describe("commands", () => {
  it.effect("are answered live, as a client of a server answers them", () =>
    Effect.gen(function* () {
      const redis = yield* make()
      expect(yield* redis.setServed("k", "v", { ifAbsent: true })).toEqual({ value: true, source: "live" })
      expect(yield* redis.lenient.set("k", "w", { ifAbsent: true })).toBe(false)
      expect(yield* redis.setGet("k", "w")).toBe("v")
      expect(yield* redis.incr("n", 4)).toBe(4)
      expect(yield* redis.zadd("z", [{ member: "m", score: 1.5 }])).toBe(1)
      expect(yield* redis.zrangeWithScores("z", 0, -1)).toEqual([{ member: "m", score: 1.5 }])
      expect(yield* redis.ping).toBeUndefined()
      expect(yield* redis.health).toMatchObject({ redis_available: true, degraded_mode: false })
    })
  )

  it.effect("that are wrong fail as at a server", () =>
    Effect.gen(function* () {
      const redis = yield* make()
      yield* redis.set("text", "words")
      const failures: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        redis.hget("text", "f"),
        redis.incr("text"),
        redis.del(),
        redis.set("k", "v", { ifAbsent: true, ifPresent: true })
      ]
      const codes = yield* Effect.forEach(failures, (failure) => Effect.flip(failure))
      expect(codes).toMatchObject([
        { _tag: "RedisFailure", command: "HGET", class: "caller", code: "WRONGTYPE" },
        { command: "INCR", code: "ERR" },
        { command: "DEL", code: "ERR" },
        { command: "SET", code: "ERR" }
      ] satisfies ReadonlyArray<Partial<RedisFailure.RedisFailure>>)
    })
  )

  it.effect("are applied together in a transaction, and nothing comes between", () =>
    Effect.gen(function* () {
      const redis = yield* make()
      const move = redis.multi([
        Command.decr("from"),
        Command.get("from"),
        Command.incr("to"),
        Command.get("to")
      ])
      const moved = yield* Effect.all(
        Array.from({ length: 50 }, () => move),
        { concurrency: "unbounded" }
      )
      const ends = moved.map(([, from, , to]) => [from, to].map((item) => Result.getOrThrow(item)))
      expect(ends.map(([from]) => from)).toEqual(ends.map(([, to]) => `-${to}`))
      expect(new Set(ends.map(([, to]) => to)).size).toBe(50)

      yield* redis.set("text", "words")
      const [wrong, other] = yield* redis.multi([Command.incr("text"), Command.incr("to")])
      expect(Result.isFailure(wrong) && wrong.failure).toMatchObject({ class: "caller", code: "ERR" })
      expect(other).toEqual(Result.succeed(51))
      expect(yield* redis.pipeline([Command.get("to"), Command.del("to")])).toEqual([
        Result.succeed("51"),
        Result.succeed(1)
      ])
    })
  )

  it.effect("beyond those that it knows are Unsupported", () =>
    Effect.gen(function* () {
      const redis = yield* make()
      const error = yield* Effect.flip(redis.use("PUBLISH", ({ send }) => send("PUBLISH", "news", "hello")))
      expect(error).toBeInstanceOf(Unsupported)
      expect(error).toMatchObject({ operation: "PUBLISH" })
    })
  )
})

describe("bounds", () => {
  it.effect("let what was used least recently leave", () =>
    Effect.gen(function* () {
      const redis = yield* make({ maxEntries: 2 })
      for (const key of ["a", "b"]) yield* redis.set(key, key)
      yield* redis.get("a")
      yield* redis.set("c", "c")
      expect(yield* redis.mget(["a", "b", "c"])).toEqual(["a", undefined, "c"])

      const small = yield* make({ maxBytes: 1024 })
      for (const key of ["a", "b", "c"]) yield* small.set(key, "x".repeat(150))
      expect(yield* small.exists("a", "b", "c")).toBe(2)
    })
  )

  it.effect.each([
    [{ maxEntries: 0 }, "maxEntries"],
    [{ maxEntries: 1.5 }, "maxEntries"],
    [{ maxEntries: 10_000_001 }, "maxEntries"],
    [{ maxBytes: 1023 }, "maxBytes"],
    [{ maxBytes: 2 ** 40 + 1 }, "maxBytes"],
    [{ maxBytes: Number.NaN }, "maxBytes"]
  ] as const)("out of their range are named: %j", ([given, option]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(make(given))
      expect(error).toBeInstanceOf(InvalidOption)
      expect(error).toMatchObject({ policy: "memory redis", option })
    })
  )
})

describe("several", () => {
  class Sessions extends Context.Service<Sessions, ResilientRedis.Client>()("test/MemorySessions") {}

  it.effect("under keys of their own share nothing", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(Layer.merge(MemoryRedis.layer(), MemoryRedis.layerOf(Sessions)))
      yield* Context.get(context, ResilientRedis.ResilientRedis).set("k", "v")
      expect(yield* Context.get(context, Sessions).get("k")).toBeUndefined()
    })
  )
})
