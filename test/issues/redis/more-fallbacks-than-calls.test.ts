/** Each item of a pipeline that its circuit rejected counted as a fallback, so that there were more of them than calls. */
import { expect, it } from "@effect/vitest"
import { Command } from "@failsoft/redis"
import { Effect } from "effect"
import { brittle, lose, started } from "../../redis/resilient.ts"

it.live("a pipeline that is answered from here is one call", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* started(brittle)
    yield* lose(server, redis)
    const { circuit_breaker: before } = yield* redis.health
    yield* redis.pipeline([Command.set("a", "v"), Command.set("b", "v"), Command.set("c", "v")])
    const { circuit_breaker: after } = yield* redis.health
    expect(after.fallback_calls - before.fallback_calls).toBe(1)
    expect(after.total_calls - before.total_calls).toBe(1)
  })
)
