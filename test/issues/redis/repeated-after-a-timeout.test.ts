/** An INCR that was sent at its second attempt and ran into the time limit of a call with a deadline was sent again. */
import { expect, it } from "@effect/vitest"
import { IoRedis, ResilientRedis } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Context, Effect, Fiber, Layer, Redacted, Schedule } from "effect"
import { Deadline } from "failsoft"
import { eventually } from "../../testing/sockets.ts"

it.live("a counter whose fate is unknown is not sent again, at any attempt", () =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make()
    const proxy = yield* FaultProxy.make(server)
    const layer = ResilientRedis.layer({
      connection: IoRedis.layer({ url: Redacted.make(`redis://${proxy.host}:${proxy.port}`) }),
      commandTimeout: "200 millis",
      retry: { attempts: 3, schedule: Schedule.spaced("700 millis") }
    })
    const redis = Context.get(yield* Layer.build(layer), ResilientRedis.ResilientRedis)
    const available = (isAvailable: boolean) =>
      eventually(async () => {
        expect((await Effect.runPromise(redis.health)).redis_available).toBe(isAvailable)
      })
    yield* redis.ping
    yield* proxy.dropConnections
    yield* available(false)

    // The first attempt finds no connection, and so is not sent.
    const counting = yield* Effect.forkChild(
      Effect.flip(redis.incr("n")).pipe(Deadline.within("5 seconds")),
      { startImmediately: true }
    )
    yield* available(true)
    yield* proxy.setMode(FaultProxy.dropReplies)
    expect(yield* Fiber.join(counting)).toMatchObject({ _tag: "Ambiguous", operation: "INCR" })
    expect(yield* server.command("GET", "n")).toBe("1")
  })
)
