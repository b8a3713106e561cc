import { expect } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { Deadline } from "failsoft"
import { becomes, deadlineMillis, errorOf, fault, key, timeoutMillis, value } from "./stage.ts"

const names = Array.from({ length: 100 }, (_, index) => index)

fault("03 SIGCONT after a timeout", ({ connect, proxy, server, settling }) =>
  Effect.gen(function* () {
    const redis = yield* connect()
    for (const name of names) yield* server.command("SET", key(name), value(name))
    yield* redis.ping
    const { accepted } = yield* proxy.stats

    yield* server.stop
    const counted = yield* settling.by("INCR", timeoutMillis, redis.incr(key("n")))
    expect(errorOf(counted)).toMatchObject({ _tag: "Ambiguous" })
    yield* server.continue

    // Together, so that they follow the late reply on the wire at once.
    const read = yield* Effect.forEach(
      names,
      (name) =>
        settling.by("GET", deadlineMillis, Deadline.within(redis.getServed(key(name)), deadlineMillis)),
      { concurrency: "unbounded" }
    )
    expect(read.map(({ exit }) => exit)).toEqual(
      names.map((name) => Exit.succeed({ value: value(name), source: "live" }))
    )
    // The late reply came: it was the same connection all along.
    expect(yield* becomes(server.command("GET", key("n")), (count) => count !== null)).toBe("1")
    expect((yield* proxy.stats).accepted).toBe(accepted)
    expect(yield* redis.incr(key("n"))).toBe(2)
  })
)
