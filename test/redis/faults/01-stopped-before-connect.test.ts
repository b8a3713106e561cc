import { expect } from "@effect/vitest"
import { Effect } from "effect"
import { ServiceUnavailable } from "failsoft"
import { becomes, deadlineMillis, errorOf, fault, key, recovers, value } from "./stage.ts"

fault("01 SIGSTOP before connect, optional", ({ connect, logged, server, settling }) =>
  Effect.gen(function* () {
    yield* server.stop
    const { exit } = yield* settling.by("the start", deadlineMillis, connect())
    const redis = yield* exit ?? Effect.die("not started")
    expect(logged().join("\n")).toMatch(/level=WARN.*redis: started degraded/)

    const { exit: written } = yield* settling.by("SET", 0, redis.setServed(key("a"), value("a")))
    expect(yield* written ?? Effect.die("not written")).toEqual({ value: true, source: "local" })
    const counted = yield* settling.by("INCR", 0, redis.incr(key("n")))
    expect(errorOf(counted)).toBeInstanceOf(ServiceUnavailable)

    yield* server.continue
    yield* recovers(redis)
    yield* becomes(redis.getServed(key("a")), ({ source }) => source === "live")
    expect(yield* server.command("EXISTS", key("a"))).toBe(0)
    expect(yield* redis.incr(key("n"))).toBe(1)
  })
)

fault("01 SIGSTOP before connect, required", ({ connect, server, settling }) =>
  Effect.gen(function* () {
    yield* server.stop
    const started = yield* settling.by("the start", deadlineMillis, connect({ mode: "required" }))
    expect(errorOf(started)).toBeInstanceOf(ServiceUnavailable)
    yield* server.continue
  })
)
