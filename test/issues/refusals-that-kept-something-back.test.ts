/**
 * A refused table told nothing of options out of range in a row that had anything else wrong with it. A field of a JSON table that
 * was written in capitals was taken for a variable of somebody else, and the stage was gone.
 */
import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Layer } from "effect"
import { Policies, type Policy } from "failsoft"

class Billing extends Context.Service<Billing, Policy.Policy>()("test/Billing") {}

const providerOf = (billing: unknown) => ConfigProvider.fromUnknown({ services: { billing } })

const problemsOf = (billing: unknown) =>
  Effect.gen(function* () {
    const policies = yield* Policies.Policies
    return (yield* Effect.flip(policies.reload(providerOf(billing)))).problems
  }).pipe(
    Effect.provide(
      Policies.layerConfig({ billing: Billing }, "services").pipe(
        Layer.provide(ConfigProvider.layer(providerOf({ breaker: {} })))
      )
    )
  )

describe("a refused table", () => {
  it.effect("tells what is out of range beside what cannot be read", () =>
    Effect.gen(function* () {
      const problems = yield* problemsOf({
        deadline: "soon",
        attemptTimeout: 0,
        retry: { attempts: 0, backof: 1 },
        bulkhead: { limit: 0 },
        breaker: { failures: 0 },
        caches: {}
      })
      expect(
        problems.map((problem) => problem.replace(/(: unknown field|: expected|, allowed).*/, ""))
      ).toEqual([
        "services.billing.caches",
        "services.billing.deadline",
        "services.billing.retry.backof",
        'billing: option "attemptTimeout" is 0',
        'billing: option "bulkhead.limit" is 0',
        'billing: option "breaker.trip.failures" is 0'
      ])
    })
  )

  it.effect.each([
    ["a number", 3],
    ["text", "off"],
    ["a list", [1]],
    ["null", null]
  ] as const)("tells of a row that is %s once", ([, row]) =>
    Effect.gen(function* () {
      expect(yield* problemsOf(row)).toHaveLength(1)
    })
  )

  it.effect("tells of fields in capitals where there are no variables", () =>
    Effect.gen(function* () {
      const problems = yield* problemsOf({ deadline: 5, RETRY: {}, breaker: { FAILURES: 3 } })
      expect(problems.map((problem) => problem.replace(/;.*/, ""))).toEqual([
        "services.billing.RETRY: unknown field",
        "services.billing.breaker.FAILURES: unknown field"
      ])
    })
  )
})
