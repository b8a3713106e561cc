/** A transaction that a full server refused was taken for a mistake of the caller's, and counted as a success of the server. */
import { expect, it } from "@effect/vitest"
import { Command } from "@failsoft/redis"
import { Effect } from "effect"
import { ServiceUnavailable } from "failsoft"
import { brittle, started } from "../../redis/resilient.ts"

it.live("a transaction that finds no room is unavailable, and opens the circuit of the writes", () =>
  Effect.gen(function* () {
    const { redis } = yield* started(brittle, {
      args: ["--maxmemory", "1", "--maxmemory-policy", "noeviction"]
    })
    const error = yield* Effect.flip(redis.multi([Command.set("k", "v")]))
    expect(error).toBeInstanceOf(ServiceUnavailable)
    expect(error).toMatchObject({ reason: { lastError: { code: "OOM" } } })
    expect((yield* redis.health).circuit_breaker).toMatchObject({ state: "open", failed_calls: 1 })
  })
)
