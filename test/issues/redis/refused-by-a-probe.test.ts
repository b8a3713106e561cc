/** Redis came back as one that refuses writes, which only probes heard: writes were held on, at odds with the live reads. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { ServiceUnavailable } from "failsoft"
import { becomes, brisk, lose, started, told } from "../../redis/resilient.ts"

it.live("a server that refuses writes is known by its probe, too", () =>
  Effect.gen(function* () {
    const { events, redis, server } = yield* started(brisk, {
      args: ["--maxmemory", "1", "--maxmemory-policy", "noeviction"]
    })
    yield* lose(server, redis)
    expect(yield* redis.setServed("before", "v")).toEqual({ value: true, source: "local" })
    yield* server.restart
    yield* becomes(
      Effect.sync(() => told(events, "CircuitClosed")),
      ({ length }) => length > 0
    )
    yield* becomes(
      Effect.sync(() => told(events, "CircuitOpened").filter(({ openings }) => openings > 1)),
      ({ length }) => length > 0
    )
    expect(yield* redis.getServed("k")).toEqual({ value: undefined, source: "live" })
    expect(yield* Effect.flip(redis.set("k", "v"))).toBeInstanceOf(ServiceUnavailable)
  })
)
