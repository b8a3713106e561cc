/**
 * A file that stands over variables: a stage that only variables have was refused, since beside the names of the file theirs passed
 * for fields that there are not. Variables in small letters, such as `http_proxy`, were refused wherever a group was read at the root.
 */
import { expect, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect } from "effect"
import { PolicyConfig } from "failsoft"

const read = (provider: ConfigProvider.ConfigProvider, path: ConfigProvider.Path) =>
  Effect.provideService(
    PolicyConfig.readConfig(PolicyConfig.PolicyConfig, path),
    ConfigProvider.ConfigProvider,
    provider
  )

const variables = (env: Record<string, string>) =>
  ConfigProvider.constantCase(ConfigProvider.fromEnv({ env }))

it.effect("a file has its fields from variables where it has none, stage by stage", () =>
  Effect.gen(function* () {
    const file = { billing: { deadline: 3, bulkhead: { limit: 5 } } }
    const env = {
      BILLING_DEADLINE: "9",
      BILLING_ATTEMPT_TIMEOUT: "2",
      BILLING_BULKHEAD_QUEUE: "4",
      BILLING_RETRY_BUDGET_MIN_PER_SECOND: "1",
      BILLING_BREAKER_OPEN_DURATION: "30"
    }
    const over = ConfigProvider.orElse(ConfigProvider.fromUnknown(file), variables(env))
    expect(yield* read(over, ["billing"])).toEqual({
      deadline: Duration.seconds(3),
      attemptTimeout: Duration.seconds(2),
      bulkhead: { limit: 5, queue: 4 },
      retryBudget: { minPerSecond: 1 },
      breaker: { openDuration: Duration.seconds(30) }
    })
  })
)

it.effect("what the file has and there is not is refused all the same", () =>
  Effect.gen(function* () {
    const file = { billing: { deadline: 3, breaker: { FAILURES: 2 }, bulkhed: {} } }
    const over = ConfigProvider.orElse(
      ConfigProvider.fromUnknown(file),
      variables({ BILLING_HEDGE_HEDGES: "2" })
    )
    const { message } = yield* Effect.flip(read(over, ["billing"]))
    expect(message).toContain('["billing"]["bulkhed"]')
    expect(message).toContain('["billing"]["breaker"]["FAILURES"]')
  })
)

it.effect("a group at the root is read from among the variables of others", () =>
  Effect.gen(function* () {
    const env = { _: "/usr/bin/node", http_proxy: "http://proxy", HOME: "/root", DEADLINE: "3" }
    expect(yield* read(variables(env), [])).toEqual({ deadline: Duration.seconds(3) })
  })
)
