/** A function that threw instead of rejecting was a defect of `IoRedis.use`. */
import { expect, it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Effect, Layer } from "effect"

it.live("what a function throws is a RedisError of use", () =>
  Effect.gen(function* () {
    const { url } = yield* RedisServer.make()
    const { use } = yield* Effect.provide(IoRedis.IoRedis, yield* Layer.build(IoRedis.layer({ url })))
    const thrown = new Error("no client for this")
    const error = yield* Effect.flip(
      use(() => {
        throw thrown
      })
    )
    expect(error.cause).toBe(thrown)
  })
)
