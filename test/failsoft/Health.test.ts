import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { CircuitBreaker, Health } from "failsoft"
import { makeGreeter } from "./greeter.ts"
import { circuits } from "./health.ts"

const named = (name: string): Health.Component => ({
  _tag: "Circuit",
  name,
  circuit: Effect.die("not asked")
})

const names = Effect.flatMap(Health.Health, ({ components }) =>
  Effect.map(components, (all) => all.map(({ name }) => name))
)

describe("the registry", () => {
  it.effect("lists components in the order of their registration, for as long as their scopes live", () =>
    Effect.gen(function* () {
      const scopes = [yield* Scope.make(), yield* Scope.make(), yield* Scope.make()] as const
      expect(yield* names).toEqual([])
      for (const [index, scope] of scopes.entries()) {
        yield* Health.register(named(`service ${index}`)).pipe(Effect.provideService(Scope.Scope, scope))
      }
      expect(yield* names).toEqual(["service 0", "service 1", "service 2"])
      yield* Scope.close(scopes[1], Exit.fail("stopped"))
      expect(yield* names).toEqual(["service 0", "service 2"])
    }).pipe(Effect.provide(Health.layer))
  )

  it.effect("keeps two of one name apart", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Health.register(named("billing"))
      yield* Health.register(named("billing")).pipe(Effect.provideService(Scope.Scope, scope))
      expect(yield* names).toEqual(["billing", "billing"])
      yield* Scope.close(scope, Exit.void)
      expect(yield* names).toEqual(["billing"])
    }).pipe(Effect.provide(Health.layer))
  )

  it.effect("computes a report when it is asked for one", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing", trip: CircuitBreaker.consecutive(1) })
      const states = Effect.map(circuits, (all) => all.map(({ state }) => state))
      expect(yield* states).toEqual(["closed"])
      yield* Effect.exit(breaker.execute(Effect.fail("refused")))
      expect(yield* states).toEqual(["open"])
    }).pipe(Effect.provide(Health.layer))
  )

  it.effect("holds circuits and Layers side by side", () =>
    Effect.gen(function* () {
      yield* CircuitBreaker.make({ name: "billing" })
      yield* makeGreeter({})
      const { components } = yield* Health.Health
      const all = yield* components
      expect(all.map(({ _tag, name }) => [_tag, name])).toEqual([
        ["Circuit", "billing"],
        ["Layer", "greeter"]
      ])
    }).pipe(Effect.provide(Health.layer))
  )

  it.effect("shows a breaker that is switched off", () =>
    Effect.gen(function* () {
      yield* CircuitBreaker.make({ name: "billing", enabled: false })
      expect(yield* circuits).toMatchObject([{ enabled: false, state: "closed" }])
    }).pipe(Effect.provide(Health.layer))
  )

  it.effect("is one for each time its layer is built", () =>
    Effect.gen(function* () {
      const build = Effect.map(Layer.build(Layer.fresh(Health.layer)), (context) => context)
      const [one, other] = [yield* build, yield* build]
      yield* Health.register(named("billing")).pipe(Effect.provide(one))
      expect(yield* names.pipe(Effect.provide(one))).toEqual(["billing"])
      expect(yield* names.pipe(Effect.provide(other))).toEqual([])
    })
  )
})

describe("register", () => {
  it.effect("does nothing where there is no registry", () =>
    Effect.gen(function* () {
      expect(yield* Health.register(named("billing"))).toBeUndefined()
    })
  )
})
