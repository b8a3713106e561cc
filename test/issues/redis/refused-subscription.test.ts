/** A subscription that the server refused after a reconnect was silent for ever, and an unhandled rejection. */
import { expect, it } from "@effect/vitest"
import { IoRedis, RedisFailure } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Effect, Layer, Queue } from "effect"
import { Redis } from "effect/persistence"

it.live("a subscription that is refused when it comes back fails its queue", () =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make()
    const { subscribe } = yield* Effect.provide(
      Redis.Redis,
      yield* Layer.build(IoRedis.layer({ url: server.url }))
    )
    const messages = yield* subscribe("news")
    // The server drops who listens to what is no longer allowed.
    yield* server.command("ACL", "SETUSER", "default", "resetchannels")
    const error = yield* Effect.flip(Queue.take(messages)).pipe(Effect.timeout("5 seconds"))
    expect(error._tag).toBe("RedisError")
    expect(RedisFailure.from(error, "SUBSCRIBE", ["news"]).code).toBe("NOPERM")
  })
)
