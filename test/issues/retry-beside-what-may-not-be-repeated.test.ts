/**
 * Calls that were made at once fail with several errors at once. Where the first of them was one that may pass all of them were made
 * again, also the one that may have been applied.
 */
import { expect, it } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import { Ambiguous, Misconfigured, Retry, ServiceUnavailable, UnavailableReason } from "failsoft"
import { inTime, noting } from "../failsoft/calls.ts"

const away = new ServiceUnavailable({ service: "index", reason: UnavailableReason.NotConnected() })
const applied = new Ambiguous({ service: "billing", operation: "POST request", cause: "timed out" })
const wrong = new Misconfigured({ service: "graph", problem: "the password is wrong" })

const fails = (...reasons: ReadonlyArray<Cause.Reason<unknown>>) =>
  Effect.failCause(Cause.fromReasons(reasons))
const error = Cause.makeFailReason

it.effect.each([
  ["what may have been applied", [error("lost"), error(applied)], 1],
  ["what may have been applied, first", [error(applied), error("lost")], 1],
  ["a wrong password", [error(away), error(wrong)], 1],
  ["a defect", [error("lost"), Cause.makeDieReason("bug")], 1],
  ["another error that may pass", [error("lost"), error(away)], 3],
  ["the interruption of a call beside it", [error("lost"), Cause.makeInterruptReason(1)], 3]
] as const)("an error that may pass beside %s", ([, reasons, attempts]) =>
  Effect.gen(function* () {
    const retry = yield* Retry.make({ name: "billing", attempts: 3 })
    const { at, call } = noting(fails(...reasons))
    const [exit] = yield* inTime(retry.execute(call))
    expect(at).toHaveLength(attempts)
    const left = Exit.isFailure(exit) ? exit.cause.reasons : []
    if (attempts === 1) expect(left).toEqual(reasons)
    else expect(left).toMatchObject([{ error: { reason: { _tag: "RetriesExhausted", attempts } } }])
  })
)
