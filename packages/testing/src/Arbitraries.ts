/**
 * Arbitraries of what dependencies do, for properties of the services that call them.
 *
 * They are values of `effect/Arbitrary`: for `it.effect.prop` and `it.prop` of `@effect/vitest`, and for
 * `Arbitrary.checkEffect` anywhere. What they generate is plain data, so that a history which once failed can be pasted into
 * a test of its own.
 *
 * **Example** (A circuit breaker sends a call once, or rejects it)
 *
 * ```ts import.meta.vitest
 * import { Arbitrary, Effect, Logger, Schema } from "effect"
 * import { TestClock } from "effect/testing"
 * import { CircuitBreaker } from "failsoft"
 * import { Arbitraries, History } from "@failsoft/testing"
 *
 * const histories = Arbitraries.history({
 *   success: Arbitrary.schema(Schema.Int),
 *   failure: Arbitrary.Constant("refused")
 * })
 *
 * const property = (history: History.History<number, string>) =>
 *   Effect.gen(function* () {
 *     const breaker = yield* CircuitBreaker.make({ name: "billing" })
 *     const calls = yield* History.run(history, breaker.execute)
 *     const { counts } = yield* breaker.snapshot
 *     const sent = calls.filter(({ reached }) => reached === 1)
 *     return sent.length + counts.rejected === calls.length
 *   }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.provide(Logger.layer([])))
 *
 * const result = await Effect.runPromise(Arbitrary.checkEffect(histories, property, { runs: 20 }))
 *
 * Arbitrary.formatCheckFailure(result) // => undefined
 * ```
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { Outcome } from "failsoft"
import type * as History from "./History.ts"
import * as ScriptedDependency from "./ScriptedDependency.ts"

/** What a dependency may answer and fail with. */
export interface Answers<A, E> {
  readonly success: Arbitrary.Arbitrary<A>
  readonly failure: Arbitrary.Arbitrary<E>
}

/** Whole numbers that shrink to `minimum`. */
const integer = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

/** One of several, which shrinks to those listed before it. */
const oneOf = <A>(
  first: Arbitrary.Arbitrary<A>,
  ...others: ReadonlyArray<Arbitrary.Arbitrary<A>>
): Arbitrary.Arbitrary<A> =>
  Arbitrary.flatMap(integer(0, others.length), (chosen) => others[chosen - 1] ?? first)

/** Half seconds: round, so that ends of steps, timeouts and openings fall together now and then. */
const halfSeconds = (most: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.map(integer(1, most), (count) => count * 500)

/** Every outcome; a failure carries a `retryAfter` of up to ten minutes half of the time. Shrinks to `Success`. */
export const outcome: Arbitrary.Arbitrary<Outcome.Outcome> = oneOf(
  Arbitrary.Constant(Outcome.success),
  Arbitrary.Constant(Outcome.ignored),
  Arbitrary.Constant(Outcome.failure()),
  Arbitrary.map(halfSeconds(1200), (retryAfter) => Outcome.failure({ retryAfter }))
)

const defect = "a defect"

/** Every way in which a call can end: success, failure, defect, interruption. Shrinks to a success. */
export const exit = <A, E>({ failure, success }: Answers<A, E>): Arbitrary.Arbitrary<Exit.Exit<A, E>> =>
  oneOf<Exit.Exit<A, E>>(
    Arbitrary.map(success, Exit.succeed),
    Arbitrary.map(failure, Exit.fail),
    Arbitrary.Constant(Exit.die(defect)),
    Arbitrary.Constant(Exit.interrupt())
  )

/** Everything that a dependency may do with a call. Slow is up to a minute. Shrinks to an immediate success. */
export const step = <A, E>({
  failure,
  success
}: Answers<A, E>): Arbitrary.Arbitrary<ScriptedDependency.Step<A, E>> => {
  const succeed = Arbitrary.map(success, ScriptedDependency.succeed)
  const fail = Arbitrary.map(failure, ScriptedDependency.fail)
  const slow = <B, E2>(then: Arbitrary.Arbitrary<ScriptedDependency.Step<B, E2>>) =>
    Arbitrary.map(Arbitrary.all([halfSeconds(120), then]), ([millis, step]) =>
      ScriptedDependency.slow(millis, step)
    )
  return oneOf<ScriptedDependency.Step<A, E>>(
    succeed,
    fail,
    slow(succeed),
    slow(fail),
    Arbitrary.Constant(ScriptedDependency.hang),
    Arbitrary.Constant(ScriptedDependency.die(defect))
  )
}

/** At most so many moments, so that a history stays readable and a property fast. */
const mostMoments = 20

/**
 * Histories of a dependency and of those who call it: up to 20 moments of up to a minute, each with up to 5 calls or none.
 *
 * A failing history shrinks to fewer moments, fewer calls, shorter times and answers at once.
 */
export const history = <A, E>(answers: Answers<A, E>): Arbitrary.Arbitrary<History.History<A, E>> =>
  Arbitrary.array(
    Arbitrary.map(
      Arbitrary.all([step(answers), halfSeconds(120), integer(0, 5)]),
      ([step, lastsMillis, calls]) => ({ step, lastsMillis, calls })
    ),
    { maxLength: mostMoments }
  )
