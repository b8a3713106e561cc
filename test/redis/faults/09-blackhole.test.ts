import { expect } from "@effect/vitest"
import { FaultProxy } from "@failsoft/testing"
import { Effect } from "effect"
import { errorOf, fault, key, recovers, type Stage, timeoutMillis, value } from "./stage.ts"
import { ioredisByDefault, ours, type Subject } from "./subjects.ts"

/** Failures in a row that open a circuit. */
const failures = 5

/** What a call may take when it is known that the server is away. */
const rejectionMillis = 5

const laterCalls = 20

/** Lets calls run into nowhere until a circuit would be open, and then some more; gives what these failed with. */
const callIntoNowhere = ({ proxy, settling }: Stage, redis: Subject) =>
  Effect.gen(function* () {
    yield* redis.get(key("a"))
    yield* proxy.setMode(FaultProxy.blackhole)
    const first = yield* Effect.forEach(Array.from({ length: failures }), () =>
      settling.by("a first call", timeoutMillis, redis.incr(key("n")))
    )
    const opening = first.reduce((sum, { millis }) => sum + millis, 0)
    settling.note("opening", failures * timeoutMillis, opening)
    const later = yield* Effect.forEach(Array.from({ length: laterCalls }), () =>
      settling.within("a later call", rejectionMillis, redis.incr(key("n")))
    )
    return later.map(errorOf)
  })

fault("09 blackhole", (stage) =>
  Effect.gen(function* () {
    const redis = yield* stage.connect({ breaker: { openDuration: "2 seconds", halfOpen: { successes: 1 } } })
    yield* stage.server.command("SET", key("a"), value("a"))
    expect(yield* callIntoNowhere(stage, ours(redis))).toEqual(
      Array.from({ length: laterCalls }, () =>
        expect.objectContaining({ reason: expect.objectContaining({ _tag: "CircuitOpen" }) })
      )
    )
    expect(yield* redis.health).toMatchObject({ redis_available: false, degraded_mode: true })
    yield* stage.proxy.setMode(FaultProxy.pass)
    yield* recovers(redis)
    expect(yield* stage.server.command("EXISTS", key("n"))).toBe(0)
  })
)

fault(
  "09 blackhole: ioredis's defaults fail this",
  (stage) =>
    Effect.gen(function* () {
      yield* callIntoNowhere(stage, yield* ioredisByDefault(stage))
      expect(stage.settling.late()).toEqual([
        ...Array.from({ length: failures }, () => "a first call had not settled after 400 ms"),
        expect.stringMatching(/^opening settled in \d+ ms, bound 1600 ms$/),
        ...Array.from({ length: laterCalls }, () => "a later call had not settled after 5 ms")
      ])
    }),
  { isBounded: false }
)
