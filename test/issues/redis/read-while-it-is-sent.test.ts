/** While held writes were on their way to Redis, reads went back to what was there before, deleted keys among it. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { brisk, lose, recovered, started } from "../../redis/resilient.ts"

it.live("a deletion holds until Redis knows of it", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* started(
      { ...brisk, onReturn: { replayPerSecond: 2 } },
      { keepData: true }
    )
    yield* redis.set("session", "ada")
    yield* lose(server, redis)
    yield* redis.set("first", "held")
    yield* redis.del("session")
    yield* server.restart
    yield* recovered(redis)
    expect(yield* redis.getServed("session")).toEqual({ value: undefined, source: "local" })
    expect(yield* server.command("EXISTS", "session")).toBe(1)
  })
)
