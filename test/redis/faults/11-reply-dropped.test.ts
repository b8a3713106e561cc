import { expect } from "@effect/vitest"
import { FaultProxy } from "@failsoft/testing"
import { Effect } from "effect"
import { becomes, errorOf, fault, key, recovers, type Stage, timeoutMillis } from "./stage.ts"
import { ioredisByDefault, ours, type Subject } from "./subjects.ts"

/** Loses the reply of an INCR, kills the server, starts it again, and gives what came of it and the value then. */
const loseReply = ({ proxy, server, settling }: Stage, redis: Subject) =>
  Effect.gen(function* () {
    yield* redis.get(key("other"))
    yield* proxy.setMode(FaultProxy.dropReplies)
    const settled = yield* settling.by("INCR", timeoutMillis, redis.incr(key("n")))
    expect(yield* server.command("GET", key("n"))).toBe("1")
    yield* server.kill
    yield* proxy.setMode(FaultProxy.pass)
    yield* server.restart
    // What is sent again is sent before this.
    yield* becomes(Effect.exit(redis.get(key("other"))), ({ _tag }) => _tag === "Success")
    return { error: errorOf(settled), counted: yield* server.command("GET", key("n")) }
  })

fault(
  "11 reply dropped, then kill",
  (stage) =>
    Effect.gen(function* () {
      const redis = yield* stage.connect()
      const { counted, error } = yield* loseReply(stage, ours(redis))
      expect(error).toMatchObject({ _tag: "Ambiguous", operation: "INCR" })
      expect(counted).toBe("1")
      yield* recovers(redis)
    }),
  { keepData: true }
)

fault(
  "11 reply dropped, then kill: ioredis's defaults fail this",
  (stage) =>
    Effect.gen(function* () {
      const { counted } = yield* loseReply(stage, yield* ioredisByDefault(stage))
      expect(stage.settling.late()).toEqual(["INCR had not settled after 400 ms"])
      expect(counted).toBe("2")
    }),
  { keepData: true, isBounded: false }
)
