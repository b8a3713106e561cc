/** What policies ask of the context. These are checked by the compiler alone, and never run. */
import { Context, Effect, type Layer, type Scope } from "effect"
import {
  CircuitBreaker,
  Health,
  type InvalidOption,
  Policy,
  PolicyEvent,
  type ServiceUnavailable
} from "failsoft"
import { expectTypeOf } from "vitest"

class Connection extends Context.Service<Connection, { readonly ping: Effect.Effect<void> }>()(
  "types/Connection"
) {}

class Key extends Context.Service<Key, Policy.Policy>()("types/Key") {}

class BreakerKey extends Context.Service<BreakerKey, CircuitBreaker.CircuitBreaker>()("types/BreakerKey") {}

const probe = { effect: Effect.flatMap(Connection, ({ ping }) => ping), every: "5 seconds" } as const

declare const scopedPing: Effect.Effect<void, never, Scope.Scope | Connection>

export const whatAProbeNeedsIsNeededToMakeIt = (): void => {
  expectTypeOf(CircuitBreaker.make({ name: "redis", probe })).toEqualTypeOf<
    Effect.Effect<CircuitBreaker.CircuitBreaker, InvalidOption, Connection | Scope.Scope>
  >()
  expectTypeOf(CircuitBreaker.layer(BreakerKey, { name: "redis", probe })).toEqualTypeOf<
    Layer.Layer<BreakerKey, InvalidOption, Connection>
  >()
  expectTypeOf(Policy.make("redis", { breaker: { probe } })).toEqualTypeOf<
    Effect.Effect<Policy.Policy, InvalidOption, Connection | Scope.Scope>
  >()
  expectTypeOf(Policy.layer(Key, "redis", { breaker: { probe } })).toEqualTypeOf<
    Layer.Layer<Key, InvalidOption, Connection>
  >()
  expectTypeOf(
    CircuitBreaker.layer(BreakerKey, { name: "redis", probe: { effect: scopedPing, every: "5 seconds" } })
  ).toEqualTypeOf<Layer.Layer<BreakerKey, InvalidOption, Connection>>()
}

export const aProbeNeedsNothingOfTheCalls = (breaker: CircuitBreaker.CircuitBreaker): void => {
  expectTypeOf(breaker.execute(Effect.succeed(1))).toEqualTypeOf<Effect.Effect<number, ServiceUnavailable>>()
}

export const healthIsNotNeeded = (): void => {
  expectTypeOf<Effect.Services<ReturnType<typeof CircuitBreaker.make<never>>>>().toEqualTypeOf<Scope.Scope>()
  expectTypeOf(Health.register({ _tag: "Circuit", name: "redis", circuit: Effect.never })).toEqualTypeOf<
    Effect.Effect<void, never, Scope.Scope>
  >()
}

export const aListenerBringsItsOwn = (): void => {
  expectTypeOf(PolicyEvent.layerListener(() => Effect.flatMap(Connection, ({ ping }) => ping))).toEqualTypeOf<
    Layer.Layer<never, never, Connection>
  >()
  expectTypeOf(PolicyEvent.layerListener(() => Effect.fail("webhook down"))).toEqualTypeOf<
    Layer.Layer<never>
  >()
}
