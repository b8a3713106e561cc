import { expect } from "@effect/vitest"
import { FaultProxy } from "@failsoft/testing"
import { Effect, Fiber } from "effect"
import { Ambiguous, Deadline, ServiceUnavailable } from "failsoft"
import { becomes, callsOf, errorOf, fault, key, recovers } from "./stage.ts"

/** Longer than elsewhere: the server has to carry out all of them before it is killed. */
const commandTimeoutMillis = 1_500

const names = Array.from({ length: 1_000 }, (_, index) => index)

const isIncrement = (name: number): boolean => name % 2 === 0

fault(
  "05 SIGKILL with 1,000 in flight",
  ({ connect, proxy, server, settling }) =>
    Effect.gen(function* () {
      const redis = yield* connect({ commandTimeoutMillis })
      yield* redis.ping
      yield* proxy.setMode(FaultProxy.dropReplies)
      const ends = names.map(() => 0)
      const send = (name: number): Effect.Effect<unknown, unknown> =>
        isIncrement(name) ? redis.incr(key(name)) : redis.get(key(name))
      const call = (name: number) =>
        Effect.onExit(send(name), () =>
          Effect.sync(() => {
            ends[name] = (ends[name] ?? 0) + 1
          })
        ).pipe(Deadline.within(commandTimeoutMillis))

      const calling = yield* Effect.forkChild(
        Effect.forEach(
          names,
          (name) => settling.by(isIncrement(name) ? "INCR" : "GET", commandTimeoutMillis, call(name)),
          { concurrency: "unbounded" }
        )
      )
      yield* becomes(callsOf(server, "incr"), (calls) => calls === names.length / 2)
      yield* server.kill
      const errors = (yield* Fiber.join(calling)).map(errorOf)

      expect(ends).toEqual(names.map(() => 1))
      expect(errors.map((error) => error?.constructor)).toEqual(
        names.map((name) => (isIncrement(name) ? Ambiguous : ServiceUnavailable))
      )
      yield* proxy.setMode(FaultProxy.pass)
      yield* server.restart
      yield* recovers(redis)
      for (const name of names.filter(isIncrement)) {
        expect(yield* server.command("GET", key(name))).toBe("1")
      }
    }),
  { keepData: true }
)
