/** Where the server denied us the key of the probe, the circuit of the writes stayed half-open until somebody wrote. */
import { it } from "@effect/vitest"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Effect } from "effect"
import { becomes, brisk, connect, recovered, urlOf } from "../../redis/resilient.ts"

it.live("a probe that is denied has been answered", () =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make()
    const proxy = yield* FaultProxy.make(server)
    yield* server.command("ACL", "SETUSER", "default", "resetkeys", "~app:*")
    const { redis } = yield* connect(urlOf(proxy), brisk)
    yield* redis.set("app:k", "v")
    yield* proxy.setMode(FaultProxy.refuse)
    yield* Effect.exit(redis.ping)
    yield* Effect.exit(redis.incr("app:n"))
    yield* becomes(redis.health, ({ circuit_breaker }) => circuit_breaker.state !== "closed")
    yield* proxy.setMode(FaultProxy.pass)
    yield* recovered(redis)
  })
)
