import { expect } from "@effect/vitest"
import { Effect } from "effect"
import { becomes, callsOf, errorOf, fault, key, recovers, type Stage, timeoutMillis } from "./stage.ts"
import { ioredisByDefault, ours, type Subject } from "./subjects.ts"

/** Lets an INCR meet a server that was stopped, and gives what came of it and the value when the server has gone on. */
const incrementAtStopped = ({ server, settling }: Stage, redis: Subject) =>
  Effect.gen(function* () {
    yield* redis.get(key("other"))
    yield* server.stop
    const settled = yield* settling.by("INCR", timeoutMillis, redis.incr(key("n")))
    yield* server.continue
    // What had been sent again would be carried out before this.
    yield* becomes(Effect.exit(redis.get(key("other"))), ({ _tag }) => _tag === "Success")
    const counted = yield* server.command("GET", key("n"))
    return { counted, error: errorOf(settled), sent: yield* callsOf(server, "incr") }
  })

fault("02 SIGSTOP mid-flight", (stage) =>
  Effect.gen(function* () {
    const redis = yield* stage.connect()
    const { counted, error, sent } = yield* incrementAtStopped(stage, ours(redis))
    expect(error).toMatchObject({ _tag: "Ambiguous", operation: "INCR" })
    expect({ counted, sent }).toEqual({ counted: "1", sent: 1 })
    yield* recovers(redis)
  })
)

fault(
  "02 SIGSTOP mid-flight: ioredis's defaults fail this",
  (stage) =>
    Effect.gen(function* () {
      yield* incrementAtStopped(stage, yield* ioredisByDefault(stage))
      expect(stage.settling.late()).toEqual(["INCR had not settled after 400 ms"])
    }),
  { isBounded: false }
)
