/** A budget without options was not in the description of a policy: a reload that brought it, or took it away, told nothing. */
import { expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Layer } from "effect"
import { Policies, type Policy } from "failsoft"

class Billing extends Context.Service<Billing, Policy.Policy>()("test/Billing") {}

const providerOf = (billing: unknown) => ConfigProvider.fromUnknown({ services: { billing } })

it.effect("a budget that comes or goes changes the stages that it pays for", () =>
  Effect.gen(function* () {
    const policies = yield* Policies.Policies
    const reload = (row: unknown) =>
      Effect.map(policies.reload(providerOf(row)), ({ billing }) => billing?.changed)
    const stages = { retry: {}, hedge: {} }
    expect(yield* reload({ ...stages, retryBudget: {} })).toEqual(["retry", "hedge"])
    expect(yield* reload({ ...stages, retryBudget: { enabled: true } })).toEqual([])
    expect(yield* reload({ ...stages, retryBudget: { enabled: false } })).toEqual(["retry", "hedge"])
    // One that is switched off is as good as none.
    expect(yield* reload(stages)).toEqual([])
  }).pipe(
    Effect.provide(
      Policies.layerConfig({ billing: Billing }, "services").pipe(
        Layer.provide(ConfigProvider.layer(providerOf({ retry: {}, hedge: {} })))
      )
    )
  )
)
