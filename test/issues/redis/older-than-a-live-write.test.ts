/**
 * A key that was held here and written to Redis while its circuit was half-open was read from here still, in the older
 * version; where held writes are sent, that went to Redis over the newer one.
 */
import { expect, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { becomes, brisk, lose, started, told } from "../../redis/resilient.ts"

it.live("what Redis has got is newer than what is held", () =>
  Effect.gen(function* () {
    const { events, redis, server } = yield* started({
      ...brisk,
      breaker: { ...brisk.breaker, halfOpen: { successes: 5 } },
      probeEvery: "1 minute",
      onReturn: { replayPerSecond: 1_000 }
    })
    yield* lose(server, redis)
    yield* redis.set("k", "older")
    yield* redis.set("other", "held")
    yield* server.restart
    const counted = becomes(Effect.exit(redis.incr("n")), Exit.isSuccess)
    yield* counted
    expect(yield* redis.setServed("k", "newer")).toEqual({ value: true, source: "live" })
    expect(yield* redis.get("k")).toBe("newer")
    yield* Effect.repeat(counted, { times: 3 })
    yield* becomes(
      Effect.sync(() => told(events, "HeldWritesReplayed")),
      ({ length }) => length === 1
    )
    expect(yield* server.command("MGET", "k", "other")).toEqual(["newer", "held"])
  })
)
