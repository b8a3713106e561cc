/** A script that the server forgot again, between loading it anew and running it, failed with NOSCRIPT. */
import { expect, it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Effect, Layer } from "effect"
import { Redis } from "effect/persistence"

it.live("a script runs once while the server keeps forgetting it, also on a reserved connection", () =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make()
    const redis = yield* Effect.provide(Redis.Redis, yield* Layer.build(IoRedis.layer({ url: server.url })))
    const increment = Redis.script((key: string, by: number) => [key, by], {
      lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
      numberOfKeys: 1
    })
    const reserved = yield* redis.reserve
    const run = Effect.forEach(
      Array.from({ length: 400 }),
      (_, index) => (index % 2 === 0 ? redis : reserved).eval(increment)("n", 2),
      { concurrency: 20, discard: true }
    )
    yield* Effect.raceFirst(Effect.forever(server.command("SCRIPT", "FLUSH")), run)
    expect(yield* redis.send("GET", "n")).toBe("800")
  })
)
