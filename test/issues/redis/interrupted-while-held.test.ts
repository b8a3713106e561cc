/** A write that was interrupted under way left an older one of the same key held, which was served on and sent later. */
import { expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { ServiceUnavailable } from "failsoft"
import { becomes, brisk, started } from "../../redis/resilient.ts"

it.live("a write whose fate is unknown is newer than what is held", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* started({
      ...brisk,
      // One place for the probe of the circuit, and one for the call.
      breaker: { ...brisk.breaker, halfOpen: { probes: 2, successes: 2 } }
    })
    yield* redis.ping
    yield* server.stop
    yield* Effect.exit(redis.incr("n"))
    yield* redis.set("k", "older")
    yield* becomes(redis.health, ({ circuit_breaker }) => circuit_breaker.state === "half_open")
    const writing = yield* Effect.forkChild(redis.set("k", "newer"), { startImmediately: true })
    expect(writing.pollUnsafe()).toBeUndefined()
    yield* Fiber.interrupt(writing)
    yield* server.kill
    expect(yield* Effect.flip(redis.get("k"))).toBeInstanceOf(ServiceUnavailable)
  })
)
