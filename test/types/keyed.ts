/** What breakers with a circuit for each key do to types. These are checked by the compiler alone, and never run. */
import { Context, type Duration, Effect, type Layer, type Scope, type Stream } from "effect"
import type { CircuitBreaker as EffectBreaker } from "effect/persistence"
import { CircuitBreaker, type InvalidOption, Outcome, type ServiceUnavailable } from "failsoft"
import * as ToEffect from "failsoft/interop/toEffect"
import { expectTypeOf } from "vitest"

class Connection extends Context.Service<
  Connection,
  { readonly ping: (host: string) => Effect.Effect<void> }
>()("types/KeyedConnection") {}

class Hosts extends Context.Service<Hosts, CircuitBreaker.KeyedCircuitBreaker>()("types/Hosts") {}

declare const call: Effect.Effect<number, "refused", Connection>
declare const breaker: CircuitBreaker.KeyedCircuitBreaker

type Guarded = Effect.Effect<number, "refused" | ServiceUnavailable, Connection>

export const aGuardAddsOneError = (): void => {
  expectTypeOf(call.pipe(breaker.execute("a"))).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(CircuitBreaker.withKey(breaker, "a"))).toEqualTypeOf<Guarded>()
  expectTypeOf(CircuitBreaker.withKey(call, breaker, "a")).toEqualTypeOf<Guarded>()
  expectTypeOf(
    call.pipe(
      breaker.execute("a"),
      breaker.orElse(() => Effect.succeed("fallback"))
    )
  ).toEqualTypeOf<Effect.Effect<number | string, "refused", Connection>>()
}

export const aClassificationIsTypedByTheCall = (): void => {
  CircuitBreaker.withKey(call, breaker, "a", {
    classify: (exit) => {
      expectTypeOf(exit).toEqualTypeOf<import("effect").Exit.Exit<number, "refused">>()
      return Outcome.success
    }
  })
  // @ts-expect-error: a classification returns an outcome
  CircuitBreaker.withKey(call, breaker, "a", { classify: () => "Success" })
  // @ts-expect-error: a key is a string
  breaker.execute(1)
}

export const aTransitionHasItsKey = (): void => {
  expectTypeOf(breaker.transitions).toEqualTypeOf<Stream.Stream<CircuitBreaker.KeyedTransition>>()
  expectTypeOf<CircuitBreaker.KeyedTransition["key"]>().toEqualTypeOf<string>()
}

const probe = {
  effect: (host: string) => Effect.flatMap(Connection, ({ ping }) => ping(host)),
  every: "5 seconds"
} as const

export const whatAProbeNeedsIsNeededToMakeIt = (): void => {
  expectTypeOf(CircuitBreaker.makeKeyed({ name: "hosts", probe })).toEqualTypeOf<
    Effect.Effect<CircuitBreaker.KeyedCircuitBreaker, InvalidOption, Connection | Scope.Scope>
  >()
  expectTypeOf(CircuitBreaker.layerKeyed(Hosts, { name: "hosts", probe })).toEqualTypeOf<
    Layer.Layer<Hosts, InvalidOption, Connection>
  >()
  expectTypeOf(ToEffect.layer({ name: "hosts", probe })).toEqualTypeOf<
    Layer.Layer<EffectBreaker.CircuitBreaker, InvalidOption, Connection>
  >()
  expectTypeOf(ToEffect.layerFrom(Hosts)).toEqualTypeOf<
    Layer.Layer<EffectBreaker.CircuitBreaker, never, Hosts>
  >()
}

export const optionsAreThoseOfABreakerAndTwoMore = (): void => {
  const given: CircuitBreaker.KeyedOptions = { name: "hosts", maxKeys: 5, idle: "1 minute" }
  expectTypeOf(given.idle).toEqualTypeOf<Duration.Input | undefined>()
  // @ts-expect-error: a breaker for one dependency has no keys
  CircuitBreaker.make({ name: "hosts", maxKeys: 5 })
}
