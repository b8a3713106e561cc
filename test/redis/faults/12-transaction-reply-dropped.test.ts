import { expect } from "@effect/vitest"
import { FaultProxy } from "@failsoft/testing"
import { Effect } from "effect"
import { becomes, errorOf, fault, key, recovers, type Stage, timeoutMillis } from "./stage.ts"
import { ioredisByDefault, ours, type Subject } from "./subjects.ts"

/** As fault 11, with a transaction. */
const loseReply = ({ proxy, server, settling }: Stage, redis: Subject) =>
  Effect.gen(function* () {
    const counted = server.command("MGET", key("n"), key("m"))
    yield* redis.get(key("other"))
    yield* proxy.setMode(FaultProxy.dropReplies)
    const settled = yield* settling.by("MULTI", timeoutMillis, redis.incrBoth(key("n"), key("m")))
    expect(yield* counted).toEqual(["1", "1"])
    yield* server.kill
    yield* proxy.setMode(FaultProxy.pass)
    yield* server.restart
    yield* becomes(Effect.exit(redis.get(key("other"))), ({ _tag }) => _tag === "Success")
    return { error: errorOf(settled), counted: yield* counted }
  })

fault(
  "12 reply of a MULTI dropped, then kill",
  (stage) =>
    Effect.gen(function* () {
      const redis = yield* stage.connect()
      const { counted, error } = yield* loseReply(stage, ours(redis))
      expect(error).toMatchObject({ _tag: "Ambiguous", operation: "EXEC" })
      expect(counted).toEqual(["1", "1"])
      yield* recovers(redis)
    }),
  { keepData: true }
)

fault(
  "12 reply of a MULTI dropped, then kill: ioredis's defaults fail this",
  (stage) =>
    Effect.gen(function* () {
      const { counted } = yield* loseReply(stage, yield* ioredisByDefault(stage))
      expect(stage.settling.late()).toEqual(["MULTI had not settled after 400 ms"])
      expect(counted).toEqual(["2", "2"])
    }),
  { keepData: true, isBounded: false }
)
