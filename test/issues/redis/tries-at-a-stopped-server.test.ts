/** At a server that accepted and did not answer, only the first of several tries to connect was one. */
import { expect, it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { Redis } from "effect/persistence"
import { eventually } from "../../testing/sockets.ts"

it.live("each try is one, and a server that goes on during the last is connected to", () =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make()
    const proxy = yield* FaultProxy.make(server)
    const url = Redacted.make(`redis://${proxy.host}:${proxy.port}`)
    const layer = IoRedis.layer({ url, connectTimeout: "300 millis", connectAttempts: 3 })
    yield* server.stop
    const starting = yield* Effect.forkChild(Layer.build(layer))
    yield* eventually(async () => {
      expect((await Effect.runPromise(proxy.stats)).accepted).toBe(3)
    })
    yield* server.continue
    const redis = yield* Effect.provide(Redis.Redis, yield* Fiber.join(starting))
    expect(yield* redis.send("PING")).toBe("PONG")
  })
)
