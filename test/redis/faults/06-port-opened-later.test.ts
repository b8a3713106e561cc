import { expect } from "@effect/vitest"
import { FaultProxy } from "@failsoft/testing"
import { Effect } from "effect"
import { ServiceUnavailable } from "failsoft"
import { becomes, deadlineMillis, errorOf, fault, key, recovers, value } from "./stage.ts"

fault("06 port closed at boot, opened later", ({ connect, logged, proxy, server, settling }) =>
  Effect.gen(function* () {
    yield* proxy.setMode(FaultProxy.refuse)
    yield* server.command("SET", key("a"), value("a"))
    const { exit } = yield* settling.by("the start", deadlineMillis, connect())
    const redis = yield* exit ?? Effect.die("not started")
    const read = yield* settling.by("GET", 0, redis.get(key("a")))
    expect(errorOf(read)).toBeInstanceOf(ServiceUnavailable)
    expect(yield* redis.lenient.get(key("a"), "default")).toBe("default")
    expect(yield* redis.lenient.ping).toBe(false)

    yield* proxy.setMode(FaultProxy.pass)
    yield* recovers(redis)
    expect(yield* becomes(redis.getServed(key("a")), ({ source }) => source === "live")).toEqual({
      value: value("a"),
      source: "live"
    })
    expect(logged().join("\n")).toMatch(/level=INFO.*redis: back on the primary/)
  })
)
