/** Whether a command was written in small letters decided the shape of its reply. */
import { expect, it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Effect, Layer } from "effect"
import { Redis } from "effect/persistence"

it.live("a command in small letters has the reply of one in capitals, also on a reserved connection", () =>
  Effect.gen(function* () {
    const { url } = yield* RedisServer.make()
    const redis = yield* Effect.provide(Redis.Redis, yield* Layer.build(IoRedis.layer({ url })))
    yield* redis.send("hset", "hash", "field", "value")
    for (const { send } of [redis, yield* redis.reserve]) {
      expect(yield* send("HGETALL", "hash")).toEqual(["field", "value"])
      expect(yield* send("hgetall", "hash")).toEqual(["field", "value"])
    }
  })
)
