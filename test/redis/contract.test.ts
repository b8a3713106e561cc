/** The one contract of `Redis.Redis`, on our layer and on platform-node's. */

import { NodeRedis } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Clock, Effect, Exit, Layer, Queue, Redacted } from "effect"
import { Persistable, Persistence, Redis } from "effect/persistence"
import { contract } from "./contract/contract.ts"
import { queueOf } from "./contract/queues.ts"
import { type Subject, started } from "./contract/subject.ts"

contract("IoRedis.layer", ({ url }, pool) => IoRedis.layer({ url, pool }), { maps: "list" })

contract("NodeRedis.layer", ({ url }, pool) => NodeRedis.layer({ url: Redacted.value(url), ...pool }), {
  maps: "object"
})

describe("beyond the contract, IoRedis.layer", () => {
  it.live("gives up reserving and subscribing at a server that accepts and stays silent", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const proxy = yield* FaultProxy.make(server)
      const url = Redacted.make(`redis://${proxy.host}:${proxy.port}`)
      const layer = IoRedis.layer({ url, connectTimeout: "200 millis", connectAttempts: 1 })
      const redis = yield* Effect.provide(Redis.Redis, yield* Layer.build(layer))
      yield* proxy.setMode(FaultProxy.acceptAndSilent)
      const before = yield* Clock.currentTimeMillis
      expect(yield* Effect.flip(redis.reserve)).toBeInstanceOf(Redis.RedisError)
      expect(yield* Effect.flip(Effect.flatMap(redis.subscribe("news"), Queue.take))).toBeInstanceOf(
        Redis.RedisError
      )
      expect((yield* Clock.currentTimeMillis) - before).toBeLessThan(1_000)
      expect(yield* redis.send("PING")).toBe("PONG")
    })
  )
})

describe("a key prefix of IoRedis.layer", () => {
  const prefixed: Subject = {
    layerOf: ({ url }, pool) => IoRedis.layer({ url, pool, keyPrefix: "app:" }),
    choices: { maps: "list" }
  }

  it.live("is in front of the keys of commands, reserved ones too, and of no other argument", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(prefixed)
      yield* redis.send("MSET", "a", "a", "b", "b")
      expect(yield* redis.send("MGET", "a", "b", "app:a")).toEqual(["a", "b", null])
      expect(yield* server.command("MGET", "app:a", "app:b", "a")).toEqual(["a", "b", null])
      const { send } = yield* redis.reserve
      yield* send("RPUSH", "list", "element")
      // The reply has the name that the server knows.
      expect(yield* send("BLPOP", "list", "0")).toEqual(["app:list", "element"])
    })
  )

  it.live("is in front of a script's keys, and of none that the script makes itself", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(prefixed)
      const script = Redis.script((key: string, value: string) => [key, value], {
        lua: "redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', 'made', ARGV[1]) return {KEYS[1], ARGV[1]}",
        numberOfKeys: 1
      }).withReturnType<readonly [string, string]>()
      expect(yield* redis.eval(script)("key", "value")).toEqual(["app:key", "value"])
      expect(yield* server.command("MGET", "app:key", "made")).toEqual(["value", "value"])
    })
  )

  it.live("is in front of no channel and no pattern", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(prefixed)
      const messages = yield* redis.subscribe("news")
      expect(yield* server.command("PUBLISH", "news", "plain")).toBe(1)
      expect(yield* Queue.take(messages)).toEqual({ channel: "news", message: "plain" })
      yield* redis.send("SET", "key", "value")
      expect(yield* redis.send("KEYS", "key")).toEqual([])
      expect(yield* redis.send("KEYS", "*")).toEqual(["app:key"])
    })
  )

  // What the documentation warns of: they look for keys by pattern, and pass keys from one script to the next.
  it.live(
    "is not for Effect's stores: a cleared store keeps its entries, a queue never hears that a job is done",
    () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(prefixed)
        class Entry extends Persistable.Class<{ payload: { id: number } }>()("Entry", {
          primaryKey: ({ id }) => `${id}`
        }) {}
        const layer = Persistence.layerRedis.pipe(Layer.provide(Layer.succeed(Redis.Redis, redis)))
        const persistence = yield* Effect.provide(Persistence.Persistence, yield* Layer.build(layer))
        const store = yield* persistence.make({ storeId: "entries" })
        yield* store.set(new Entry({ id: 1 }), Exit.void)
        yield* store.clear
        expect(yield* store.get(new Entry({ id: 1 }))).toEqual(Exit.void)

        const queue = yield* queueOf(prefixed, server)
        yield* queue.offer({ name: "job" })
        expect(yield* queue.take(({ name }) => Effect.succeed(name))).toBe("job")
        expect(yield* server.command("HLEN", "app:effectq:jobs:pending")).toBe(1)
      })
  )
})
