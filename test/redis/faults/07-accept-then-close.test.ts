import { expect } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Deadline } from "failsoft"
import { becomes, deadlineMillis, errorOf, fault, key, recovers, timeoutMillis } from "./stage.ts"

const names = Array.from({ length: 20 }, (_, index) => index)

// The proxy accepts a client before it knows that the server is gone, and closes it then.
fault("07 accept-then-close loop", ({ connect, proxy, server, settling }) =>
  Effect.gen(function* () {
    const redis = yield* connect()
    yield* redis.ping
    const call = (name: number) =>
      Effect.all([
        settling.by("INCR", timeoutMillis, redis.incr(key(name))),
        settling.by("GET", deadlineMillis, Deadline.within(redis.get(key(name)), deadlineMillis))
      ])

    yield* server.stop
    const { toServer } = yield* proxy.stats
    const calling = yield* Effect.forkChild(Effect.forEach(names, call, { concurrency: "unbounded" }))
    yield* becomes(proxy.stats, (stats) => stats.toServer > toServer)
    yield* server.kill
    for (const [counted, read] of yield* Fiber.join(calling)) {
      expect(errorOf(counted)).toMatchObject({ _tag: "Ambiguous" })
      expect(errorOf(read)).toMatchObject({ _tag: "ServiceUnavailable" })
    }

    // Calls go on while the client connects and is closed, again and again.
    const { accepted } = yield* proxy.stats
    const ends = yield* becomes(
      Effect.all([call(0), Effect.map(proxy.stats, (stats) => stats.accepted - accepted)]),
      ([, loops]) => loops >= 3
    )
    expect(ends[0].map(errorOf)).toEqual([
      expect.objectContaining({ _tag: "ServiceUnavailable" }),
      expect.objectContaining({ _tag: "ServiceUnavailable" })
    ])
    yield* server.restart
    yield* recovers(redis)
    expect(yield* redis.incr(key("after"))).toBe(1)
  })
)
