import { expect } from "@effect/vitest"
import { Effect, Exit, Schedule } from "effect"
import { CircuitBreaker, Misconfigured } from "failsoft"
import { becomes, errorOf, fault, key, timeoutMillis, value } from "./stage.ts"

const password = "s3cret"

for (const mode of ["optional", "required"] as const) {
  fault(
    `20 wrong password, ${mode}`,
    ({ connect, logged, proxy, settling }) =>
      Effect.gen(function* () {
        const started = yield* settling.by("the start", timeoutMillis, connect({ mode, password: "wr0ng" }))
        expect(errorOf(started)).toBeInstanceOf(Misconfigured)
        expect(String(errorOf(started))).toContain("WRONGPASS")
        expect((yield* proxy.stats).accepted).toBe(1)
        expect(logged().length).toBeLessThanOrEqual(1)
      }),
    { password }
  )
}

fault(
  "20 password rotated at run time",
  ({ connect, logged, server, settling }) =>
    Effect.gen(function* () {
      // The outage that comes first, until the server is asked again, is not what this is about.
      const redis = yield* connect({ breaker: { trip: CircuitBreaker.consecutive(1_000) } })
      yield* redis.set(key("a"), value("a"))
      yield* server.command("CONFIG", "SET", "requirepass", "s3cret, rotated")
      yield* server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
      const refused = Effect.flip(redis.get(key("a")))
      yield* becomes(refused, (error) => error instanceof Misconfigured)

      // From now on no call is answered from what is held, and the log says no more of it.
      const lines = logged().length
      const { circuit_breaker } = yield* redis.health
      const calls = Effect.gen(function* () {
        const read = yield* settling.by("GET", 0, redis.getServed(key("a")))
        const written = yield* settling.by("SET", 0, redis.setServed(key("a"), value("b")))
        const counted = yield* settling.by("INCR", 0, redis.incr(key("n")))
        expect([read, written, counted].map((call) => errorOf(call)?.constructor)).toEqual([
          Misconfigured,
          Misconfigured,
          Misconfigured
        ])
        const leniently = yield* Effect.exit(redis.lenient.get(key("a"), "default"))
        expect(Exit.hasDies(leniently)).toBe(true)
      })
      yield* Effect.repeat(calls, Schedule.spaced("20 millis").pipe(Schedule.upTo({ duration: "2 seconds" })))
      expect(logged().slice(lines)).toEqual([])
      expect(lines).toBeLessThanOrEqual(20)
      expect((yield* redis.health).circuit_breaker).toMatchObject({
        state: "closed",
        failed_calls: circuit_breaker.failed_calls
      })

      yield* server.command("CONFIG", "SET", "requirepass", password)
      expect(yield* becomes(redis.getServed(key("a")), ({ source }) => source === "live")).toEqual({
        value: value("a"),
        source: "live"
      })
    }),
  { password }
)
