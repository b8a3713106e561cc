/**
 * A circuit that an outage had opened stayed half-open when Redis came back and refused our password. One call at a time
 * heard of the refusal; all others were answered from what was held.
 */
import { expect, it } from "@effect/vitest"
import { IoRedis, ResilientRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Context, Effect, Layer } from "effect"
import { CircuitBreaker, Misconfigured } from "failsoft"
import { eventually } from "../../testing/sockets.ts"

it.live("a server that refuses us is misconfigured for every call, whatever the circuit", () =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make({ password: "s3cret" })
    const layer = ResilientRedis.layer({
      connection: IoRedis.layer({ url: server.url, commandTimeout: "300 millis" }),
      breaker: { trip: CircuitBreaker.consecutive(1), openDuration: "100 millis" },
      probeEvery: "50 millis"
    })
    const redis = Context.get(yield* Layer.build(layer), ResilientRedis.ResilientRedis)
    yield* redis.set("seen", "value")
    yield* server.command("CONFIG", "SET", "requirepass", "rotated")
    yield* server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield* eventually(async () => {
      expect((await Effect.runPromise(redis.health)).redis_available).toBe(false)
    })
    // What opens both circuits is an outage still.
    yield* Effect.exit(redis.incr("n"))
    yield* redis.get("seen")
    yield* redis.set("written", "value")
    yield* eventually(async () => {
      expect((await Effect.runPromise(redis.health)).circuit_breaker.state).toBe("half_open")
      expect(await Effect.runPromise(Effect.flip(redis.get("not seen")))).toBeInstanceOf(Misconfigured)
    })

    const calls = Array.from({ length: 5 }, () => [
      redis.get("seen"),
      redis.get("written"),
      redis.set("written", "again"),
      redis.incr("n")
    ])
    const errors = yield* Effect.all(
      calls.flat().map((call) => Effect.flip<unknown, unknown, never>(call)),
      { concurrency: "unbounded" }
    )
    expect(errors.map((error) => error?.constructor)).toEqual(errors.map(() => Misconfigured))

    yield* server.command("CONFIG", "SET", "requirepass", "s3cret")
    yield* eventually(async () => {
      expect(await Effect.runPromise(redis.getServed("seen"))).toEqual({ value: "value", source: "live" })
    })
  })
)
