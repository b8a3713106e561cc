/** A read of several keys, one of them held here, was answered from here for the others as well, though Redis was there. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { becomes, brisk, lose, started, told } from "../../redis/resilient.ts"

it.live("Redis is asked for what is not held here", () =>
  Effect.gen(function* () {
    const { events, redis, server } = yield* started(
      { ...brisk, onReturn: { replayPerSecond: 1 } },
      { keepData: true }
    )
    yield* redis.set("seen", "before")
    yield* redis.set("deleted", "before")
    yield* lose(server, redis)
    yield* redis.set("first", "held")
    yield* redis.set("held", "held")
    yield* redis.del("deleted")
    yield* server.restart
    yield* server.command("SET", "seen", "after")
    yield* becomes(
      Effect.sync(() => told(events, "CircuitClosed")),
      ({ length }) => length === 2
    )
    expect(yield* redis.mgetServed(["held", "seen", "deleted", "none"])).toEqual({
      value: ["held", "after", undefined, undefined],
      source: "local"
    })
    expect(yield* redis.existsServed("held", "seen", "deleted", "none")).toEqual({
      value: 2,
      source: "local"
    })
  })
)
