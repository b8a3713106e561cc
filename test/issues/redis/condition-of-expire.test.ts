/** EXPIRE on a condition was held here as if there were none, and sent later without it. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { ServiceUnavailable } from "failsoft"
import { brittle, lose, started } from "../../redis/resilient.ts"

it.live("expire on a condition is a conditional write", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* started(brittle)
    yield* redis.set("k", "v")
    yield* lose(server, redis)
    expect(yield* Effect.flip(redis.expire("k", "1 minute", "later"))).toBeInstanceOf(ServiceUnavailable)
    expect(yield* redis.expire("k", "1 minute")).toBe(true)
  })
)
