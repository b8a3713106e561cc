import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Exit, Layer, Scope } from "effect"
import { Health, Policies, type Policy } from "failsoft"
import { inTime, noting } from "./calls.ts"

class Auth extends Context.Service<Auth, Policy.Policy>()("test/Auth") {}
class Billing extends Context.Service<Billing, Policy.Policy>()("test/Billing") {}
class Chroma extends Context.Service<Chroma, Policy.Policy>()("test/Chroma") {}

const keys = { auth: Auth, billing: Billing, chroma: Chroma }

const table = {
  auth: { attemptTimeout: 5, retry: { attempts: 2, base: 1 }, breaker: { failures: 5 } },
  billing: { attemptTimeout: 5, retry: { attempts: 2 }, breaker: { failures: 10, openDuration: 30 } },
  chroma: { attemptTimeout: "30 seconds", breaker: { failures: 5 } }
}

const environment = {
  SERVICES_AUTH_ATTEMPT_TIMEOUT: "5",
  SERVICES_AUTH_RETRY_ATTEMPTS: "2",
  SERVICES_AUTH_RETRY_BASE: "1",
  SERVICES_AUTH_BREAKER_FAILURES: "5",
  SERVICES_BILLING_ATTEMPT_TIMEOUT: "5",
  SERVICES_BILLING_RETRY_ATTEMPTS: "2",
  SERVICES_BILLING_BREAKER_FAILURES: "10",
  SERVICES_BILLING_BREAKER_OPEN_DURATION: "30",
  SERVICES_CHROMA_ATTEMPT_TIMEOUT: "30 seconds",
  SERVICES_CHROMA_BREAKER_FAILURES: "5"
}

const from = (provider: ConfigProvider.ConfigProvider) =>
  Policies.layerConfig(keys, "services").pipe(Layer.provide(ConfigProvider.layer(provider)))

const fromEnvironment = (env: Record<string, string>) =>
  from(ConfigProvider.constantCase(ConfigProvider.fromEnv({ env })))

/** How many attempts a hung call gets, and how many failures open the circuit. */
const shapeOf = (policy: Policy.Policy) =>
  Effect.gen(function* () {
    const { at, call } = noting(Effect.never)
    yield* inTime(policy.execute(call))
    const attempts = at.length
    const { breaker } = policy
    while (breaker !== undefined && !(yield* breaker.isOpen) && at.length < 50) {
      yield* Effect.exit(breaker.execute(Effect.fail(at.push(0))))
    }
    return { name: policy.name, attempts, failures: at.length }
  })

describe("a table", () => {
  it.effect.each([
    ["JSON", from(ConfigProvider.fromUnknown({ services: table }))],
    ["the environment", fromEnvironment(environment)]
  ] as const)("in %s makes one policy for each key", ([, Live]) =>
    Effect.gen(function* () {
      expect(yield* shapeOf(yield* Auth)).toEqual({ name: "auth", attempts: 2, failures: 5 })
      expect(yield* shapeOf(yield* Billing)).toEqual({ name: "billing", attempts: 2, failures: 10 })
      expect(yield* shapeOf(yield* Chroma)).toEqual({ name: "chroma", attempts: 1, failures: 5 })
    }).pipe(Effect.provide(Live))
  )

  it.effect("keeps the circuits of its policies apart", () =>
    Effect.gen(function* () {
      const [auth, billing] = [yield* Auth, yield* Billing]
      yield* Effect.replicateEffect(Effect.exit(auth.breaker?.execute(Effect.fail("down")) ?? Effect.void), 5)
      expect(yield* auth.breaker?.isOpen ?? Effect.void).toBe(true)
      expect(yield* billing.execute(Effect.succeed("answer"))).toBe("answer")
    }).pipe(Effect.provide(from(ConfigProvider.fromUnknown({ services: table }))))
  )

  it.effect("may have rows that nobody asks for", () => {
    const services = { ...table, git: { attemptTimeout: "soon" } }
    return Effect.gen(function* () {
      expect((yield* Auth).name).toBe("auth")
    }).pipe(Effect.provide(from(ConfigProvider.fromUnknown({ services }))))
  })

  it.effect("shows its circuits in health for as long as its layer lives", () =>
    Effect.gen(function* () {
      const { components } = yield* Health.Health
      const names = Effect.map(components, (all) => all.map(({ name }) => name))
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(from(ConfigProvider.fromUnknown({ services: table })), scope)
      expect(yield* names).toEqual(["auth", "billing", "chroma"])
      yield* Scope.close(scope, Exit.void)
      expect(yield* names).toEqual([])
    }).pipe(Effect.provide(Health.layer))
  )
})

describe("a wrong table", () => {
  const refusal = (services: unknown) =>
    Effect.flip(Layer.build(from(ConfigProvider.fromUnknown({ services }))))

  it.effect("without a row names the row", () =>
    Effect.gen(function* () {
      const error = yield* refusal({ auth: table.auth, billing: table.billing })
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain("chroma")
    })
  )

  it.effect.each([
    [{ attemptTimeout: "soon" }, "attemptTimeout", "soon"],
    [{ retry: { attempts: "many" } }, "attempts", "many"],
    [{ breaker: { openDuration: "1 fortnight" } }, "openDuration", "1 fortnight"],
    ["off", "billing", ""]
  ] as const)("with the row %j names row, field and value", ([billing, field, found]) =>
    Effect.gen(function* () {
      const error = yield* refusal({ ...table, billing })
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain("billing")
      expect(error.message).toContain(field)
      expect(error.message).toContain(found)
    })
  )

  it.effect("with a value out of its range names policy, option, value and range", () =>
    Effect.gen(function* () {
      const error = yield* refusal({ ...table, billing: { breaker: { failures: 0 } } })
      expect(error._tag).toBe("InvalidOption")
      expect(error.message).toBe(
        `billing: option "breaker.trip.failures" is 0, allowed is a whole number from 1 to 1000000`
      )
    })
  )

  it.effect("in the environment names the variable's place", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        Layer.build(fromEnvironment({ ...environment, SERVICES_BILLING_RETRY_ATTEMPTS: "many" }))
      )
      expect(error.message).toContain("billing")
      expect(error.message).toContain("attempts")
      expect(error.message).toContain("many")
    })
  )
})
