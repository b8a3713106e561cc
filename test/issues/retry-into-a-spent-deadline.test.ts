/**
 * A retry whose wait left a fraction of a millisecond of the deadline paid for an attempt and slept towards it, though an attempt
 * with so little time is not started: the call ended later, and with `TimedOut` in place of what it had failed with.
 */
import { expect, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { Deadline, Policy, Retry } from "failsoft"
import { inTime, noting, reasonOf } from "../failsoft/calls.ts"

it.effect.each([
  [1000.999, [0], 0],
  [1001, [0, 1000], 1]
] as const)("with %s ms left, calls that wait a second are made at %j", ([left, made, withdrawn]) =>
  Effect.gen(function* () {
    const policy = yield* Policy.make("search", {
      attemptTimeout: "5 seconds",
      retry: { attempts: 2, schedule: Retry.exponential({ base: "1 second", jitter: "none" }) },
      retryBudget: { minPerSecond: 1 }
    })
    const { at, call } = noting(Effect.fail("refused"))
    const [exit] = yield* inTime(policy.execute(call).pipe(Deadline.within(Duration.millis(left))))
    expect(at).toEqual(made)
    expect(reasonOf(exit)?._tag).toBe("RetriesExhausted")
    expect((yield* policy.retryBudget!.snapshot).withdrawn).toBe(withdrawn)
  })
)
