/** The sending of held writes had the deadline of the call that had set it going, and lost what came after it. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { CircuitBreaker, Deadline } from "failsoft"
import { becomes, started, told } from "../../redis/resilient.ts"

it.live("held writes are sent whatever the deadline of the call that found Redis back", () =>
  Effect.gen(function* () {
    const { events, redis, server } = yield* started({
      breaker: { trip: CircuitBreaker.consecutive(1_000) },
      retry: { enabled: false },
      onReturn: { replayPerSecond: 20 }
    })
    yield* server.kill
    for (const key of ["a", "b", "c", "d"]) yield* redis.set(key, "held")
    yield* server.restart
    yield* becomes(
      Deadline.within(redis.setServed("other", "live"), "100 millis"),
      ({ source }) => source === "live"
    )
    yield* becomes(
      Effect.sync(() => told(events, "HeldWritesReplayed")),
      ({ length }) => length > 0
    )
    expect(told(events, "HeldWritesReplayed")).toMatchObject([{ count: 4, lost: 0 }])
    expect(yield* server.command("EXISTS", "a", "b", "c", "d")).toBe(4)
  })
)
