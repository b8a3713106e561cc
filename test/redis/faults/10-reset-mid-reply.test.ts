import { expect } from "@effect/vitest"
import { RedisFailure } from "@failsoft/redis"
import { FaultProxy } from "@failsoft/testing"
import { Cause, Effect, Exit } from "effect"
import { Deadline } from "failsoft"
import { becomes, deadlineMillis, errorOf, fault, key, recovers, timeoutMillis, value } from "./stage.ts"

const large = value("x".repeat(200_000))

const resetOnce = FaultProxy.resetMidReply({ afterBytes: 50_000, once: true })

const names = Array.from({ length: 100 }, (_, index) => index)

fault("10 RST in mid-bulk reply", ({ connect, proxy, server, settling }) =>
  Effect.gen(function* () {
    const redis = yield* connect()
    for (const name of names) yield* server.command("SET", key(name), value(name))
    yield* server.command("SET", key("large"), large)
    yield* redis.ping

    // A write whose reply is large: it answers with what the key held before.
    yield* proxy.setMode(resetOnce)
    const swapped = yield* settling.by("SET … GET", timeoutMillis, redis.setGet(key("large"), large))
    expect(errorOf(swapped)).toMatchObject({ _tag: "Ambiguous", operation: "SET" })
    expect((yield* proxy.mode)._tag).toBe("Pass")

    // Half of a reply is left in nobody's way: on the next connection each reply is that of its command.
    yield* becomes(Effect.exit(redis.ping), Exit.isSuccess)
    const read = yield* Effect.forEach(
      names,
      (name) =>
        settling.by("GET", deadlineMillis, Deadline.within(redis.getServed(key(name)), deadlineMillis)),
      { concurrency: "unbounded" }
    )
    expect(read.map(({ exit }) => exit)).toEqual(
      names.map((name) => Exit.succeed({ value: value(name), source: "live" }))
    )

    // Half of a value is none, and those behind it are held since they were read.
    yield* proxy.setMode(resetOnce)
    const [cut, ...behind] = yield* Effect.forEach(
      ["large", ...names],
      (name) => settling.by("GET", deadlineMillis, Deadline.within(redis.get(key(name)), deadlineMillis)),
      { concurrency: "unbounded" }
    )
    expect(cut === undefined ? cut : errorOf(cut)).toMatchObject({ _tag: "ServiceUnavailable" })
    expect(behind.map(({ exit }) => exit)).toEqual(names.map((name) => Exit.succeed(value(name))))
    yield* recovers(redis)
    expect(yield* redis.get(key("large"))).toBe(large)
  })
)

fault("10 RST in mid-bulk reply, on a bare connection", ({ connection, proxy, server, settling }) =>
  Effect.gen(function* () {
    const redis = yield* connection
    yield* server.command("SET", key("large"), large)
    yield* proxy.setMode(resetOnce)
    const swap = [key("large"), value("small"), "GET"] as const
    const { exit } = yield* settling.by("SET … GET", timeoutMillis, redis.send("SET", ...swap))
    const error = exit === undefined || Exit.isSuccess(exit) ? undefined : Cause.squash(exit.cause)
    expect(RedisFailure.from(error, "SET", swap)).toMatchObject({
      code: "CONNECTION_LOST",
      mayBeApplied: true,
      mayRepeat: false
    })
    yield* becomes(Effect.exit(redis.send("PING")), Exit.isSuccess)
    const replies = yield* Effect.forEach(names, (name) => redis.send("ECHO", value(name)), {
      concurrency: "unbounded"
    })
    expect(replies).toEqual(names.map(value))
    expect(yield* redis.send("GET", key("large"))).toBe(value("small"))
  })
)
