/**
 * `set` with `ifAbsent` whose first reply was lost was sent again, found the key that it had made itself, and said that
 * somebody else had.
 */
import { expect, it } from "@effect/vitest"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Effect, Fiber, Schedule } from "effect"
import { becomes, connect, told, urlOf } from "../../redis/resilient.ts"

it.live("a condition that was not met at the second attempt may have been met by the first", () =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make()
    const proxy = yield* FaultProxy.make(server)
    const { events, redis } = yield* connect(urlOf(proxy), {
      retry: { attempts: 2, schedule: Schedule.spaced("500 millis") }
    })
    yield* redis.ping
    yield* proxy.setMode(FaultProxy.dropReplies)
    const locking = yield* Effect.forkChild(Effect.flip(redis.set("lock", "mine", { ifAbsent: true })), {
      startImmediately: true
    })
    yield* becomes(
      Effect.sync(() => told(events, "RetryScheduled")),
      ({ length }) => length === 1
    )
    yield* proxy.setMode(FaultProxy.pass)
    yield* proxy.dropConnections
    expect(yield* Fiber.join(locking)).toMatchObject({ _tag: "Ambiguous", operation: "SET" })
    expect(yield* server.command("GET", "lock")).toBe("mine")
  })
)
