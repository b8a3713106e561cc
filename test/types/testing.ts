/** How the types of scripts and histories follow from what they hold. Checked by the compiler alone, and never run. */

import {
  Arbitraries,
  forceState,
  History,
  type NotForced,
  PolicyTest,
  ScriptedDependency
} from "@failsoft/testing"
import { type Arbitrary, Context, Data, type Effect, type Layer } from "effect"
import type { CircuitBreaker, Policy, ServiceUnavailable } from "failsoft"
import { expectTypeOf } from "vitest"

class NotFound extends Data.TaggedError("NotFound")<{ readonly id: string }> {}
class ConnectionLost extends Data.TaggedError("ConnectionLost")<{ readonly host: string }> {}

class Billing extends Context.Service<Billing, Policy.Policy>()("types/Billing") {}
class Api extends Context.Service<Api, ScriptedDependency.ScriptedDependency<number, NotFound>>()(
  "types/Api"
) {}

declare const breaker: CircuitBreaker.CircuitBreaker
declare const policy: Policy.Policy
declare const numbers: Arbitrary.Arbitrary<number>
declare const errors: Arbitrary.Arbitrary<NotFound | ConnectionLost>

const { die, during, fail, hang, slow, succeed, times } = ScriptedDependency
const notFound = fail(new NotFound({ id: "1" }))
const connectionLost = fail(new ConnectionLost({ host: "billing" }))

type Made<A, E> = Effect.Effect<ScriptedDependency.ScriptedDependency<A, E>>

export const scriptsSayWhatTheyAnswerAndFailWith = (): void => {
  expectTypeOf(ScriptedDependency.make([hang, die("a bug")])).toEqualTypeOf<Made<never, never>>()
  expectTypeOf(ScriptedDependency.make([times(3, succeed(1)), fail("refused")])).toEqualTypeOf<
    Made<number, string>
  >()
  const both = ScriptedDependency.make([
    during("1 second", slow("1 second", notFound)),
    connectionLost,
    succeed(1),
    succeed("one")
  ])
  expectTypeOf(both).toEqualTypeOf<Made<number | string, NotFound | ConnectionLost>>()
  const named = ScriptedDependency.make<number, NotFound | ConnectionLost>([succeed(1)])
  expectTypeOf(named).toEqualTypeOf<Made<number, NotFound | ConnectionLost>>()
}

export const laterScriptsAreHeldToTheSameTypes = (
  dependency: ScriptedDependency.ScriptedDependency<number, NotFound>
): void => {
  dependency.setScript([succeed(2), notFound, hang])
  // @ts-expect-error: another error than the dependency has
  dependency.setScript([connectionLost])
  // @ts-expect-error: no step at all
  dependency.setScript([])
  expectTypeOf(ScriptedDependency.layer(Api, [succeed(1)])).toEqualTypeOf<Layer.Layer<Api>>()
  // @ts-expect-error: another answer than the key's
  ScriptedDependency.layer(Api, [succeed("one")])
}

export const historiesPassThroughTheErrorsOfTheirGuard = (
  history: History.History<number, NotFound>
): void => {
  expectTypeOf(History.run(history, policy.execute)).toEqualTypeOf<
    Effect.Effect<ReadonlyArray<History.Played<number, NotFound | ServiceUnavailable>>>
  >()
  expectTypeOf(History.run(history, breaker.execute)).toEqualTypeOf<
    Effect.Effect<ReadonlyArray<History.Played<number, NotFound | ServiceUnavailable>>>
  >()
  expectTypeOf(Arbitraries.history({ success: numbers, failure: errors })).toEqualTypeOf<
    Arbitrary.Arbitrary<History.History<number, NotFound | ConnectionLost>>
  >()
}

export const circuitsAndStandInsNeedNothing = (): void => {
  expectTypeOf(forceState(policy, "open")).toEqualTypeOf<Effect.Effect<void, NotForced>>()
  expectTypeOf(forceState(breaker, "closed")).toEqualTypeOf<Effect.Effect<void, NotForced>>()
  expectTypeOf(PolicyTest.layer(Billing, "billing")).toEqualTypeOf<Layer.Layer<Billing>>()
}
