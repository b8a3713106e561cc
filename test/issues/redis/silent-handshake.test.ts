/** A subscriber that came back to a server which accepted it and said nothing waited for its greeting for ever. */
import { expect, it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Effect, Layer, Queue, Redacted } from "effect"
import { Redis } from "effect/persistence"
import { eventually } from "../../testing/sockets.ts"

it.live("a subscriber gives up a connection that stays silent, and listens again on another", () =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make()
    const proxy = yield* FaultProxy.make(server)
    const url = Redacted.make(`redis://${proxy.host}:${proxy.port}`)
    const layer = IoRedis.layer({ url, commandTimeout: "200 millis" })
    const { subscribe } = yield* Effect.provide(Redis.Redis, yield* Layer.build(layer))
    const messages = yield* subscribe("news")
    const accepted = Effect.map(proxy.stats, (stats) => stats.accepted)
    const before = yield* accepted

    yield* proxy.setMode(FaultProxy.acceptAndSilent)
    yield* proxy.dropConnections
    // Both connections come back, to silence.
    yield* eventually(() =>
      Effect.runPromise(accepted).then((now) => expect(now).toBeGreaterThan(before + 1))
    )
    yield* proxy.setMode(FaultProxy.pass)
    yield* eventually(async () => {
      expect(await Effect.runPromise(server.command("PUBLISH", "news", "hello"))).toBe(1)
    })
    expect(yield* Queue.take(messages)).toEqual({ channel: "news", message: "hello" })
  })
)
