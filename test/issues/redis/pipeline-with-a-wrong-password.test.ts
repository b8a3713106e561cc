/** While the server refused our password, a pipeline was answered from here, and its circuit opened as at an outage. */
import { expect, it } from "@effect/vitest"
import { Command } from "@failsoft/redis"
import { Effect, Result } from "effect"
import { CircuitBreaker, Misconfigured } from "failsoft"
import { becomes, started } from "../../redis/resilient.ts"

it.live("a pipeline without a connection says why there is none", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* started(
      { breaker: { trip: CircuitBreaker.consecutive(1_000) }, retry: { enabled: false } },
      { password: "s3cret" }
    )
    yield* redis.set("k", "v")
    yield* server.command("CONFIG", "SET", "requirepass", "rotated")
    yield* server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield* becomes(Effect.result(redis.get("k")), Result.isFailure)
    for (let index = 0; index < 5; index++) {
      for (const item of yield* redis.pipeline([Command.get("k"), Command.set("k", "w")])) {
        expect(Result.isFailure<unknown, unknown>(item) && item.failure).toBeInstanceOf(Misconfigured)
      }
    }
    expect(yield* Effect.flip(redis.multi([Command.get("k")]))).toBeInstanceOf(Misconfigured)
    expect((yield* redis.health).circuit_breaker.state).toBe("closed")
  })
)
