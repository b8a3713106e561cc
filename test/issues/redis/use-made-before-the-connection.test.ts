/** An effect of `use` that was made before Redis was there found no connection for ever. */
import { expect, it } from "@effect/vitest"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Effect } from "effect"
import { becomes, connect, urlOf } from "../../redis/resilient.ts"

it.live("`use` looks for the connection when it runs", () =>
  Effect.gen(function* () {
    const proxy = yield* FaultProxy.make(yield* RedisServer.make())
    yield* proxy.setMode(FaultProxy.refuse)
    const { redis } = yield* connect(urlOf(proxy))
    const push = redis.use("RPUSH", ({ send }) => send("RPUSH", "list", "a"))
    yield* proxy.setMode(FaultProxy.pass)
    yield* becomes(redis.health, ({ redis_available }) => redis_available)
    expect(yield* push).toBe(1)
  })
)
