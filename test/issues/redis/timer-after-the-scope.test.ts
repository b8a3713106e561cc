/** The timer that watches commands in flight went on after the scope had closed, and kept the process from ending. */
import process from "node:process"
import { expect, it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Effect, Schedule } from "effect"
import { Redis } from "effect/persistence"

const timers = Effect.sync(
  () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length
)

it.live("a closed scope leaves no timer", () =>
  Effect.gen(function* () {
    const { url } = yield* RedisServer.make()
    const before = yield* timers
    const during = yield* Redis.Redis.pipe(
      Effect.flatMap((redis) => redis.send("PING")),
      Effect.andThen(timers),
      Effect.provide(IoRedis.layer({ url, commandTimeout: "1 minute" }))
    )
    expect(during).toBeGreaterThan(before)
    // The socket takes a moment to close, and a timer with it; one that an earlier file left may end meanwhile.
    const gone = Effect.filterOrFail(timers, (now) => now <= before)
    yield* Effect.retry(gone, Schedule.spaced("10 millis").pipe(Schedule.upTo({ duration: "5 seconds" })))
  })
)
