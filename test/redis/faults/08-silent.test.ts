import { expect } from "@effect/vitest"
import { FaultProxy } from "@failsoft/testing"
import { Effect, Exit } from "effect"
import { Deadline } from "failsoft"
import { becomes, deadlineMillis, errorOf, fault, key, recovers, timeoutMillis } from "./stage.ts"

fault("08 accepts and stays silent, at the start", ({ connect, proxy, settling }) =>
  Effect.gen(function* () {
    yield* proxy.setMode(FaultProxy.acceptAndSilent)
    // One try, and neither a command nor the start has to end soon: what ends it is the time limit of connecting.
    const { exit } = yield* settling.by(
      "the start",
      timeoutMillis,
      connect({ commandTimeoutMillis: 5_000, startupMillis: 8_000 })
    )
    const redis = yield* exit ?? Effect.die("not started")
    yield* becomes(proxy.connections, (open) => open === 0)
    yield* proxy.setMode(FaultProxy.pass)
    yield* recovers(redis)
  })
)

fault("08 accepts and stays silent, when a bare connection comes back", ({ connection, proxy, settling }) =>
  Effect.gen(function* () {
    const redis = yield* connection
    yield* proxy.setMode(FaultProxy.acceptAndSilent)
    yield* proxy.dropConnections
    const { accepted } = yield* proxy.stats
    const calls = Effect.gen(function* () {
      const { exit } = yield* settling.by("PING", timeoutMillis, redis.send("PING"))
      expect(exit?._tag).toBe("Failure")
      return (yield* proxy.stats).accepted - accepted
    })
    yield* becomes(calls, (made) => made >= 2)
    yield* proxy.setMode(FaultProxy.pass)
    yield* becomes(Effect.exit(redis.send("PING")), Exit.isSuccess)
  })
)

fault("08 accepts and stays silent, when the client comes back", ({ connect, proxy, settling }) =>
  Effect.gen(function* () {
    const redis = yield* connect()
    yield* redis.ping
    yield* proxy.setMode(FaultProxy.acceptAndSilent)
    yield* proxy.dropConnections
    yield* becomes(redis.health, ({ redis_available }) => !redis_available)
    const { accepted } = yield* proxy.stats
    const calls = Effect.gen(function* () {
      const counted = yield* settling.by("INCR", timeoutMillis, redis.incr(key("n")))
      const read = yield* settling.by(
        "GET",
        deadlineMillis,
        Deadline.within(redis.get(key("n")), deadlineMillis)
      )
      expect([counted, read].map(errorOf)).toEqual([
        expect.objectContaining({ _tag: "ServiceUnavailable" }),
        expect.objectContaining({ _tag: "ServiceUnavailable" })
      ])
      return (yield* proxy.stats).accepted - accepted
    })
    // The second connection is only made when the handshake on the first one was given up.
    yield* becomes(calls, (made) => made >= 2)
    yield* proxy.setMode(FaultProxy.pass)
    yield* recovers(redis)
    expect(yield* redis.incr(key("n"))).toBe(1)
  })
)
