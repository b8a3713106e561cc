/** The error of a server that refuses us held the password, and every other reply error the arguments of its command. */
import { inspect } from "node:util"
import { expect, it } from "@effect/vitest"
import { IoRedis, RedisFailure } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { eventually } from "../../testing/sockets.ts"

const connected = Effect.gen(function* () {
  const server = yield* RedisServer.make({ password: "s3cret" })
  const layer = IoRedis.layer({ url: server.url })
  return { server, redis: yield* Effect.provide(Redis.Redis, yield* Layer.build(layer)) }
})

it.live("a refused login does not show the password, on shared and on reserved connections", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* connected
    yield* server.command("CONFIG", "SET", "requirepass", "rotated")
    const reserving = yield* Effect.flip(redis.reserve)
    expect(RedisFailure.from(reserving, "BLPOP", []).code).toBe("WRONGPASS")
    expect(inspect(reserving, { depth: null })).not.toContain("s3cret")

    yield* server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield* eventually(async () => {
      const sending = await Effect.runPromise(Effect.flip(redis.send("GET", "key")))
      expect(RedisFailure.from(sending, "GET", []).code).toBe("WRONGPASS")
      expect(inspect(sending, { depth: null })).not.toContain("s3cret")
    })
  })
)

it.live("a command that was wrong does not show its arguments", () =>
  Effect.gen(function* () {
    const { redis } = yield* connected
    yield* redis.send("LPUSH", "a-key", "a-value")
    const error = yield* Effect.flip(redis.send("SET", "a-key", "a-token", "NONSENSE"))
    expect(String(error.cause)).toContain("syntax error")
    expect(inspect(error, { depth: null })).not.toMatch(/a-key|a-token/)
  })
)
