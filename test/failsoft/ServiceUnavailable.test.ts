import { inspect } from "node:util"
import { Cause, Data, Duration, Effect, Exit, Schema } from "effect"
import {
  Ambiguous,
  errorName,
  Misconfigured,
  QuotaExceeded,
  ServiceUnavailable,
  type ServiceUnavailableEncoded,
  UnavailableReason,
  Unsupported
} from "failsoft"
import fc from "fast-check"
import { describe, expect, it } from "vitest"

const encode = Schema.encodeSync(ServiceUnavailable.schema)
const decode = Schema.decodeUnknownSync(ServiceUnavailable.schema)

class Refused extends Data.TaggedError("Refused")<{ readonly detail: string }> {}

class Bare extends Data.TaggedError("Bare") {}

class HttpError extends Error {
  override readonly name = "HttpError"
}

const millis = fc.integer({ min: 0, max: 86_400_000 }).map(Duration.millis)

const reasons = fc.oneof(
  fc.constantFrom(
    UnavailableReason.CircuitOpen(),
    UnavailableReason.BulkheadFull(),
    UnavailableReason.RateLimited(),
    UnavailableReason.RetryBudgetExhausted(),
    UnavailableReason.Throttled(),
    UnavailableReason.Shed(),
    UnavailableReason.NotConnected()
  ),
  fc.record({ after: millis, of: millis }).map(UnavailableReason.TimedOut),
  fc
    .record({
      attempts: fc.integer({ min: 1, max: 100 }),
      lastError: fc.constantFrom<unknown>(
        new Refused({ detail: "refused" }),
        new Bare(),
        new HttpError("500"),
        new TypeError("no"),
        "refused",
        7,
        null,
        undefined,
        { status: 500 },
        Object.create(null)
      )
    })
    .map(UnavailableReason.RetriesExhausted)
)

const errors = fc
  .record({ service: fc.string(), reason: reasons, retryAfter: fc.option(millis, { nil: undefined }) })
  .map((fields) => new ServiceUnavailable(fields))

const throughText = (error: ServiceUnavailable): ServiceUnavailable =>
  decode(JSON.parse(JSON.stringify(encode(error))))

const exhausted = (lastError: unknown) =>
  new ServiceUnavailable({
    service: "billing",
    reason: UnavailableReason.RetriesExhausted({ attempts: 2, lastError })
  })

describe("the codec", () => {
  it("brings every error back from JSON text, with the name of its last error", () => {
    fc.assert(
      fc.property(errors, (error) => {
        const back = throughText(error)
        expect(back).toBeInstanceOf(ServiceUnavailable)
        expect(back.service).toBe(error.service)
        expect(back.retryAfter).toEqual(error.retryAfter)
        if (error.reason._tag === "RetriesExhausted" && back.reason._tag === "RetriesExhausted") {
          expect(back.reason.attempts).toBe(error.reason.attempts)
          expect(back.reason.lastError).toEqual(errorName(error.reason.lastError))
        } else {
          expect(back.reason).toEqual(error.reason)
        }
        expect(back.message).toBe(error.message)
      }),
      { numRuns: 1000 }
    )
  })

  it("writes what came back as it was written before", () => {
    fc.assert(
      fc.property(errors, (error) => {
        expect(encode(throughText(error))).toEqual(encode(error))
      }),
      { numRuns: 1000 }
    )
  })

  it("writes durations as milliseconds and leaves out what is absent", () => {
    const reason = UnavailableReason.TimedOut({ after: Duration.seconds(3), of: Duration.seconds(5) })
    expect(
      encode(new ServiceUnavailable({ service: "billing", reason, retryAfter: Duration.seconds(9) }))
    ).toEqual({
      _tag: "ServiceUnavailable",
      service: "billing",
      reason: { _tag: "TimedOut", after: 3000, of: 5000 },
      retryAfter: 9000
    })
    const open = new ServiceUnavailable({ service: "billing", reason: UnavailableReason.CircuitOpen() })
    expect(encode(open)).toEqual({
      _tag: "ServiceUnavailable",
      service: "billing",
      reason: { _tag: "CircuitOpen" }
    } satisfies ServiceUnavailableEncoded)
  })

  it.each([
    {},
    { _tag: "ServiceUnavailable" },
    { _tag: "ServiceUnavailable", service: "billing", reason: { _tag: "Tired" } },
    { _tag: "ServiceUnavailable", service: 7, reason: { _tag: "CircuitOpen" } },
    { _tag: "ServiceUnavailable", service: "billing", reason: { _tag: "TimedOut" } }
  ])("refuses %j", (wire) => {
    expect(() => decode(wire)).toThrow()
  })
})

describe("a secret in the last error", () => {
  const canary = "hunter2-canary"

  class Leaky extends Data.TaggedError("Leaky")<{ readonly detail: string; readonly cause: unknown }> {
    override get message(): string {
      return `password ${this.detail}`
    }
  }

  const leaks: Record<string, unknown> = {
    "in a message": new Error(canary),
    "in a field": new Refused({ detail: canary }),
    "in a message and a cause": new Leaky({ detail: canary, cause: new Error(canary) }),
    "in a cause": new Error("failed", { cause: new Error(canary) }),
    "as text": canary,
    "in a plain object": { password: canary },
    "in a plain object's name": { name: canary },
    "in a plain object's name and tag": { name: canary, tag: canary },
    "beside a tag": { _tag: "Refused", token: canary },
    "in a list": [canary],
    "in a symbol": Symbol(canary),
    "in a function": Object.defineProperty(() => 0, "name", { value: canary })
  }

  it.each(Object.entries(leaks))("%s reaches neither the wire nor the message", (_, lastError) => {
    const error = exhausted(lastError)
    expect(JSON.stringify(encode(error))).not.toContain(canary)
    expect(error.message).not.toContain(canary)
    expect(String(error)).not.toContain(canary)
    expect(Cause.pretty(Cause.fail(error))).not.toContain(canary)
    expect(JSON.stringify(encode(throughText(error)))).not.toContain(canary)
  })

  it.each(Object.entries(leaks))("%s is not told by an error's name", (_, lastError) => {
    expect(JSON.stringify(errorName(lastError))).not.toContain(canary)
  })

  it.each(Object.entries(leaks))("%s is repeated by no serializer", (_, lastError) => {
    expect(JSON.stringify({ error: exhausted(lastError) })).not.toContain(canary)
    expect(inspect(exhausted(lastError), { depth: 10 })).not.toContain(canary)
  })
})

describe("an error's name", () => {
  it.each([
    [new Refused({ detail: "no" }), { tag: "Refused", name: "Refused" }],
    [new HttpError("500"), { tag: undefined, name: "HttpError" }],
    [new TypeError("no"), { tag: undefined, name: "TypeError" }],
    [{ _tag: "Refused" }, { tag: "Refused", name: "Object" }],
    [Object.create(null), { tag: undefined, name: "Object" }],
    ["refused", { tag: undefined, name: "string" }],
    [7, { tag: undefined, name: "number" }],
    [null, { tag: undefined, name: "object" }],
    [undefined, { tag: undefined, name: "undefined" }]
  ])("of %o", (error, name) => {
    expect(errorName(error)).toEqual(name)
  })
})

describe("ServiceUnavailable", () => {
  it("captures no stack, and leaves the limit for others as it was", () => {
    const before = Error.stackTraceLimit
    const open = new ServiceUnavailable({ service: "billing", reason: UnavailableReason.CircuitOpen() })
    expect(open.stack ?? "").not.toMatch(/\n\s+at /)
    expect(Error.stackTraceLimit).toBe(before)
    expect(new Error("other").stack).toMatch(/\n\s+at /)
  })

  it.each([
    [UnavailableReason.CircuitOpen(), Duration.seconds(30), "circuit open, retry after 30s"],
    [UnavailableReason.BulkheadFull(), undefined, "bulkhead full"],
    [UnavailableReason.RateLimited(), Duration.millis(250), "rate limited, retry after 250ms"],
    [
      UnavailableReason.TimedOut({ after: Duration.seconds(5), of: Duration.seconds(5) }),
      undefined,
      "timed out after 5s"
    ],
    [UnavailableReason.RetriesExhausted({ attempts: 1, lastError: 0 }), undefined, "the attempt failed"],
    [UnavailableReason.RetriesExhausted({ attempts: 3, lastError: 0 }), undefined, "all 3 attempts failed"],
    [UnavailableReason.RetryBudgetExhausted(), undefined, "the attempt failed and the retry budget is spent"],
    [UnavailableReason.Throttled(), undefined, "throttled"],
    [UnavailableReason.Shed(), undefined, "load was shed"],
    [UnavailableReason.NotConnected(), undefined, "not connected"]
  ])("says in one sentence what is wrong: %o", (reason, retryAfter, sentence) => {
    const error = new ServiceUnavailable({ service: "billing", reason, retryAfter })
    expect(error.message).toBe(`billing is unavailable: ${sentence}`)
  })
})

describe("orElse", () => {
  const open = new ServiceUnavailable({ service: "billing", reason: UnavailableReason.CircuitOpen() })
  const instead = (error: ServiceUnavailable) => Effect.succeed(`instead of ${error.service}`)

  it("answers for an outage, in either order of arguments", () => {
    expect(Effect.runSync(Effect.fail(open).pipe(ServiceUnavailable.orElse(instead)))).toBe(
      "instead of billing"
    )
    expect(Effect.runSync(ServiceUnavailable.orElse(Effect.fail(open), instead))).toBe("instead of billing")
  })

  const others: ReadonlyArray<Exit.Exit<never, unknown>> = [
    Exit.fail(new Ambiguous({ service: "billing", operation: "charge" })),
    Exit.fail(new Unsupported({ service: "billing", operation: "charge" })),
    Exit.fail(new Misconfigured({ service: "billing", problem: "wrong password" })),
    Exit.fail(new QuotaExceeded({ quota: "login", limit: 5, retryAfter: Duration.seconds(1) })),
    Exit.fail({ _tag: "ServiceUnavailable", service: "of another library" }),
    Exit.die(open),
    Exit.interrupt(1)
  ]

  it.each(others)("lets everything else pass: %o", (exit) => {
    expect(Effect.runSyncExit(exit.pipe(ServiceUnavailable.orElse(instead)))).toEqual(exit)
  })

  it("leaves an answer as it is", () => {
    expect(Effect.runSync(Effect.succeed("answer").pipe(ServiceUnavailable.orElse(instead)))).toBe("answer")
  })
})

describe("the siblings", () => {
  it.each([
    [
      new Ambiguous({ service: "billing", operation: "charge", cause: "hunter2" }),
      "billing: charge was sent and may have been applied"
    ],
    [new Unsupported({ service: "redis", operation: "lock" }), "redis: lock has no degraded form"],
    [
      new Misconfigured({ service: "redis", problem: "wrong password" }),
      "redis is misconfigured: wrong password"
    ],
    [
      new QuotaExceeded({ quota: "login", limit: 5, retryAfter: Duration.seconds(12) }),
      "over the limit of 5 for login, retry after 12s"
    ]
  ])("say in one sentence what is wrong", (error, message) => {
    expect(error.message).toBe(message)
  })
})
