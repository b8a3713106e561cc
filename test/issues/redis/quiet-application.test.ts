/**
 * A write that was held during an interruption too short to open the circuit was served from here for ever, if nothing else
 * was asked for: only an answer of Redis could end it, and its own reads never got that far.
 */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { becomes, started, told } from "../../redis/resilient.ts"

it.live("what is held behind a closed circuit is given up when Redis is there", () =>
  Effect.gen(function* () {
    const { events, redis, server } = yield* started({ retry: { enabled: false }, probeEvery: "50 millis" })
    yield* server.kill
    yield* redis.set("k", "held")
    expect(yield* redis.getServed("k")).toEqual({ value: "held", source: "local" })
    yield* server.restart
    yield* server.command("SET", "k", "of another")
    expect(yield* becomes(redis.getServed("k"), ({ source }) => source === "live")).toMatchObject({
      value: "of another"
    })
    expect(told(events, "HeldWritesDiscarded")).toMatchObject([{ count: 1 }])
  })
)
