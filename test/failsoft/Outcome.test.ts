import { Cause, Data, Duration, Exit } from "effect"
import {
  Ambiguous,
  Misconfigured,
  Outcome,
  QuotaExceeded,
  ServiceUnavailable,
  UnavailableReason,
  Unsupported
} from "failsoft"
import { describe, expect, it } from "vitest"

class NotFound extends Data.TaggedError("NotFound") {}

class TooMany extends Data.TaggedError("TooMany")<{ readonly retryAfter: Duration.Duration }> {}

const unavailable = (reason: UnavailableReason, retryAfter?: Duration.Duration) =>
  new ServiceUnavailable({ service: "billing", reason, retryAfter })

const timedOut = (after: Duration.Input, of: Duration.Input) =>
  unavailable(
    UnavailableReason.TimedOut({ after: Duration.fromInputUnsafe(after), of: Duration.fromInputUnsafe(of) })
  )

const both = (...causes: ReadonlyArray<Cause.Cause<unknown>>) =>
  Exit.failCause(Cause.fromReasons(causes.flatMap(({ reasons }) => reasons)))

const failure = { _tag: "Failure", retryAfterMillis: undefined }
const success = { _tag: "Success" }
const ignored = { _tag: "Ignored" }

const ofFailSoft: ReadonlyArray<readonly [string, unknown, unknown]> = [
  ["a circuit that is open", unavailable(UnavailableReason.CircuitOpen()), ignored],
  ["a full bulkhead", unavailable(UnavailableReason.BulkheadFull()), ignored],
  ["a rate limit of ours", unavailable(UnavailableReason.RateLimited(), Duration.seconds(1)), ignored],
  ["throttling", unavailable(UnavailableReason.Throttled()), ignored],
  ["shed load", unavailable(UnavailableReason.Shed()), ignored],
  ["an attempt that had all its time", timedOut("5 seconds", "5 seconds"), failure],
  ["an attempt that had half its time", timedOut("2500 millis", "5 seconds"), failure],
  ["an attempt that had less than half its time", timedOut("2499 millis", "5 seconds"), ignored],
  ["an attempt that was never started", timedOut(0, "5 seconds"), ignored],
  ["a missing connection", unavailable(UnavailableReason.NotConnected()), failure],
  [
    "exhausted retries",
    unavailable(UnavailableReason.RetriesExhausted({ attempts: 2, lastError: "refused" })),
    failure
  ],
  [
    "exhausted retries with a hint",
    unavailable(
      UnavailableReason.RetriesExhausted({ attempts: 2, lastError: "refused" }),
      Duration.seconds(7)
    ),
    { _tag: "Failure", retryAfterMillis: 7000 }
  ],
  ["a spent retry budget", unavailable(UnavailableReason.RetryBudgetExhausted()), failure],
  ["an unknown fate", new Ambiguous({ service: "billing", operation: "charge" }), failure],
  ["an unsupported operation", new Unsupported({ service: "redis", operation: "lock" }), ignored],
  ["a wrong password", new Misconfigured({ service: "redis", problem: "wrong password" }), ignored],
  [
    "a caller over its limit",
    new QuotaExceeded({ quota: "login", limit: 5, retryAfter: Duration.seconds(9) }),
    ignored
  ]
]

const everyKind: ReadonlyArray<readonly [string, Exit.Exit<unknown, unknown>, unknown]> = [
  ["a success", Exit.succeed(1), success],
  ["an error", Exit.fail(new NotFound()), failure],
  ["an error that is text", Exit.fail("refused"), failure],
  ["an error that is nothing", Exit.fail(null), failure],
  [
    "an error with a hint",
    Exit.fail(new TooMany({ retryAfter: Duration.seconds(30) })),
    { _tag: "Failure", retryAfterMillis: 30_000 }
  ],
  ["an error whose hint is no duration", Exit.fail({ retryAfter: 30 }), failure],
  ["a defect", Exit.die("defect"), failure],
  ["interruption", Exit.interrupt(1), ignored],
  ["interruption by many", both(Cause.interrupt(1), Cause.interrupt(2)), ignored],
  ["interruption and an error", both(Cause.interrupt(1), Cause.fail("refused")), failure],
  ["interruption and a defect", both(Cause.interrupt(1), Cause.die("defect")), failure],
  ["a local rejection and a defect", both(Cause.fail(ofFailSoft[0]?.[1]), Cause.die("defect")), failure],
  ...ofFailSoft.map(([name, error, outcome]) => [name, Exit.fail(error), outcome] as const)
]

describe("the default classification", () => {
  it.each(everyKind)("of %s", (_, exit, outcome) => {
    expect(Outcome.fromExit(exit)).toEqual(outcome)
  })
})

describe("a classification by a predicate over errors", () => {
  const notFoundIsAnAnswer = Outcome.fromError((error) => !(error instanceof NotFound))

  it("takes what is no failure as an answer", () => {
    expect(notFoundIsAnAnswer(Exit.fail(new NotFound()))).toEqual(success)
  })

  it("leaves a defect a failure, even beside an answer", () => {
    expect(notFoundIsAnAnswer(both(Cause.fail(new NotFound()), Cause.die("defect")))).toEqual(failure)
  })

  const others = everyKind.filter(([name]) => name !== "an error")
  it.each(others)("leaves %s as it is", (_, exit, outcome) => {
    expect(notFoundIsAnAnswer(exit)).toEqual(outcome)
  })

  it.each(ofFailSoft)("is not asked about %s", (_, error, outcome) => {
    const noneIsAFailure = Outcome.fromError(() => false)
    expect(noneIsAFailure(Exit.fail(error))).toEqual(outcome)
  })
})

describe("a failure", () => {
  it.each([
    ["30 seconds", 30_000],
    [Duration.millis(1.5), 1.5],
    [0, 0],
    [Duration.infinity, Number.POSITIVE_INFINITY]
  ] as const)("carries a hint of %o in milliseconds", (retryAfter, retryAfterMillis) => {
    expect(Outcome.failure({ retryAfter })).toEqual({ _tag: "Failure", retryAfterMillis })
  })

  it("needs none", () => {
    expect(Outcome.failure()).toEqual(failure)
    expect(Outcome.failure({ retryAfter: undefined })).toEqual(failure)
  })
})

describe("retryAfterOf", () => {
  it.each([
    [new TooMany({ retryAfter: Duration.seconds(1) }), Duration.seconds(1)],
    [{ retryAfter: "1 second" }, undefined],
    [{ retryAfter: 1000 }, undefined],
    [{}, undefined],
    ["1 second", undefined],
    [undefined, undefined],
    [null, undefined]
  ])("of %o", (error, retryAfter) => {
    expect(Outcome.retryAfterOf(error)).toEqual(retryAfter)
  })
})
