/** How a group of options is read: from JSON, from variables, from one over the other. */
import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Schema } from "effect"
import { PolicyConfig } from "failsoft"

const { ConfigDuration, ConfigNumber, ConfigStruct, readConfig } = PolicyConfig

const Group = ConfigStruct({
  limit: Schema.optionalKey(ConfigNumber),
  queueTimeout: Schema.optionalKey(ConfigDuration),
  retryBudget: Schema.optionalKey(ConfigStruct({ minPerSecond: Schema.optionalKey(ConfigNumber) }))
})

const Required = ConfigStruct({ limit: ConfigNumber })

const json = (value: unknown) => ConfigProvider.fromUnknown(value)
const variables = (env: Record<string, string>) =>
  ConfigProvider.constantCase(ConfigProvider.fromEnv({ env }))

const read = (provider: ConfigProvider.ConfigProvider, path: string | ConfigProvider.Path = "group") =>
  Effect.provideService(readConfig(Group, path), ConfigProvider.ConfigProvider, provider)

describe("a group", () => {
  it.effect("is the same from JSON and from variables, also below names of several words", () =>
    Effect.gen(function* () {
      const whole = { limit: 5, queueTimeout: Duration.seconds(2), retryBudget: { minPerSecond: 3 } }
      const group = { limit: 5, queueTimeout: 2, retryBudget: { minPerSecond: 3 } }
      expect(yield* read(json({ group }))).toEqual(whole)
      const env = {
        GROUP_LIMIT: "5",
        GROUP_QUEUE_TIMEOUT: "2",
        GROUP_RETRY_BUDGET_MIN_PER_SECOND: "3"
      }
      expect(yield* read(variables(env))).toEqual(whole)
    })
  )

  it.effect("is found at a path of several names", () =>
    Effect.gen(function* () {
      expect(yield* read(json({ a: { bC: { limit: 1 } } }), ["a", "bC"])).toEqual({ limit: 1 })
      expect(yield* read(variables({ A_B_C_LIMIT: "1" }), ["a", "bC"])).toEqual({ limit: 1 })
    })
  )

  it.effect("has each field from the first that has it", () =>
    Effect.gen(function* () {
      const over = ConfigProvider.orElse(
        variables({ GROUP_RETRY_BUDGET_MIN_PER_SECOND: "7", GROUP_LIMIT: "9" }),
        json({ group: { limit: 1, queueTimeout: 2 } })
      )
      expect(yield* read(over)).toEqual({
        limit: 9,
        queueTimeout: Duration.seconds(2),
        retryBudget: { minPerSecond: 7 }
      })
    })
  )

  it.effect("has a field from its variable also where the names of others begin with it", () =>
    Effect.gen(function* () {
      const env = { GROUP_LIMIT: "5", GROUP_LIMIT_OLD: "9", GROUP_QUEUE_TIMEOUT_NOTE: "none" }
      expect(yield* read(variables(env))).toEqual({ limit: 5 })
    })
  )

  it.effect.each([
    ["from JSON", json({})],
    ["from no variables", variables({})],
    ["from variables of others", variables({ GROUPS_LIMIT: "1", HOME: "/root" })],
    ["that is empty", json({ group: {} })]
  ] as const)("which is absent %s leaves everything out", ([, provider]) =>
    Effect.gen(function* () {
      expect(yield* read(provider)).toEqual({})
    })
  )
})

describe("a group that is wrong", () => {
  const messageOf = (
    provider: ConfigProvider.ConfigProvider,
    group: Schema.ConstraintDecoder<unknown> = Group
  ) =>
    readConfig(group, "group").pipe(
      Effect.flip,
      Effect.map(({ message }) => message),
      Effect.provideService(ConfigProvider.ConfigProvider, provider)
    )

  it.effect("names everything that is wrong with it", () =>
    Effect.gen(function* () {
      const group = { limit: "many", queueTimout: 2, retryBudget: { minPerSecond: [] } }
      const message = yield* messageOf(json({ group }))
      for (const part of [
        'expected a number, got "many"',
        '["group"]["limit"]',
        "unknown field; allowed: limit, queueTimeout, retryBudget",
        '["group"]["queueTimout"]',
        '["group"]["retryBudget"]["minPerSecond"]'
      ]) {
        expect(message).toContain(part)
      }
    })
  )

  it.effect.each([
    [json({ group: 5 }), '["group"]'],
    [json({ group: [1] }), '["group"]'],
    [json({ group: { retryBudget: "full" } }), '["group"]["retryBudget"]'],
    // Beside a name as it is to be, capitals are not those of variables.
    [json({ group: { limit: 5, QUEUE_TIMEOUT: 2 } }), '["group"]["QUEUE_TIMEOUT"]'],
    [json({ group: { retryBudget: { MIN: 5 } } }), '["group"]["retryBudget"]["MIN"]'],
    [variables({ GROUP_QUEUE_TIMEOUT: "soon" }), '["group"]["queueTimeout"]']
  ] as const)("names where: %#", ([provider, path]) =>
    Effect.gen(function* () {
      expect(yield* messageOf(provider)).toContain(path)
    })
  )

  it.effect("names the field that is missing, also where the whole group is", () =>
    Effect.gen(function* () {
      for (const provider of [json({}), json({ group: {} }), variables({})]) {
        expect(yield* messageOf(provider, Required)).toContain('["group"]["limit"]')
      }
    })
  )

  it.effect("is a ConfigError where its source fails", () =>
    Effect.gen(function* () {
      const broken = ConfigProvider.make(() =>
        Effect.fail(new ConfigProvider.SourceError({ message: "the disk is gone" }))
      )
      const error = yield* Effect.flip(read(broken))
      expect([error._tag, error.message]).toEqual([
        "ConfigError",
        expect.stringContaining("the disk is gone")
      ])
    })
  )
})
