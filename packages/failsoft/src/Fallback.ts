/**
 * A fallback answers anyway when a dependency cannot, and says that it did.
 *
 * It answers `ServiceUnavailable` and nothing else, so that an outage is covered and a wrong password, a refusal or a
 * defect is not. What it answers is up to its maker: a value, another effect, the first of several that works. The
 * error it answers disappears from the type of the call; what the fallback itself may fail with is added.
 *
 * `failOpen` and `failClosed` are for guards: what a caller may do when the service that decides is away.
 *
 * **Gotchas**
 *
 * - Put it outermost: inside a retry it would end the attempts, inside a circuit it would hide the outage.
 * - An answer is not the truth. `executeServed` marks it, so that a caller can show that it is degraded, and so that
 *   nothing stores it as if it were live.
 * - An alternative that depends on the same thing fails with it. Two fallbacks on one Redis are one.
 *
 * **Example** (A search with two alternatives)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { Fallback, Served, ServiceUnavailable, UnavailableReason } from "failsoft"
 *
 * const away = (service: string) =>
 *   Effect.fail(new ServiceUnavailable({ service, reason: UnavailableReason.NotConnected() }))
 *
 * const program = Effect.gen(function* () {
 *   const context = yield* Fallback.make({
 *     name: "context",
 *     answer: Fallback.firstOf(
 *       Fallback.effect(() => away("graph")),
 *       Fallback.value<ReadonlyArray<string>>([])
 *     )
 *   })
 *   return yield* away("chroma").pipe(Effect.map(Served.live), context.executeServed)
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => { value: [], source: "fallback" }
 * ```
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { InvalidOption } from "./InvalidOption.ts"
import * as options from "./internal/options.ts"
import * as Metrics from "./Metrics.ts"
import type * as Served from "./Served.ts"
import { ServiceUnavailable, type UnavailableReason } from "./ServiceUnavailable.ts"

/** What to do about an outage: an effect of a value with its source. It runs once for each call that needs it. */
export type Answer<B, E = never, R = never> = (
  error: ServiceUnavailable
) => Effect.Effect<Served.Served<B>, E, R>

/** What a fallback is made from. There is no `enabled`: the type of a call says that its outage is answered. */
export interface Options<B, E, R> {
  /** Names the fallback in metrics; usually as the policy whose calls it answers. */
  readonly name: string
  /** What answers: `value`, `effect`, `served`, `firstOf`, `when`, `failOpen`, `failClosed`, or a function. */
  readonly answer: Answer<B, E, R>
}

/** What a fallback has done since it was made. */
export interface Snapshot {
  readonly name: string
  /** Calls that it answered, by the source of the answer. */
  readonly answered: { readonly [Source in Exclude<Served.Source, "live">]: number }
  /** Calls that it could not answer either: the answer failed or died. */
  readonly failed: number
}

/** Answers the calls of a dependency that is away. */
export interface Fallback<B, E2, R2> {
  readonly name: string
  /** Runs a call, and answers `ServiceUnavailable`. */
  readonly execute: <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<A | B, Exclude<E, ServiceUnavailable> | E2, R | R2>
  /** As `execute`, for calls that know the source of their value: `Effect.map(call, Served.live)` makes one of any. */
  readonly executeServed: <A, E, R>(
    self: Effect.Effect<Served.Served<A>, E, R>
  ) => Effect.Effect<Served.Served<A | B>, Exclude<E, ServiceUnavailable> | E2, R | R2>
  readonly snapshot: Effect.Effect<Snapshot>
}

/**
 * Makes a fallback that counts as long as the scope lives.
 *
 * Fails with `InvalidOption` when the name is empty.
 */
export const make = <B, E2 = never, R2 = never>(
  given: Options<B, E2, R2>
): Effect.Effect<Fallback<B, E2, R2>, InvalidOption, Scope.Scope> =>
  Effect.gen(function* () {
    const name = yield* options.name("name", given.name)
    const answered = { stale: 0, local: 0, fallback: 0 }
    let failed = 0
    yield* Metrics.register(
      name,
      Metrics.each(
        Metrics.fallbacks,
        ({ source }) =>
          () =>
            answered[source]
      )
    )
    const answer = (error: ServiceUnavailable) =>
      Effect.onExitPrimitive(
        Effect.suspend(() => given.answer(error)),
        (exit) => {
          if (Exit.isFailure(exit)) {
            if (!Exit.hasInterrupts(exit)) failed++
          } else if (exit.value.source !== "live") answered[exit.value.source]++
          return undefined
        }
      )
    const fallback: Fallback<B, E2, R2> = {
      name,
      execute: (self) =>
        ServiceUnavailable.orElse(self, (error) => Effect.map(answer(error), ({ value }) => value)),
      executeServed: <A, E, R>(self: Effect.Effect<Served.Served<A>, E, R>) =>
        ServiceUnavailable.orElse(
          self,
          (error): Effect.Effect<Served.Served<A | B>, E2, R2> => answer(error)
        ),
      snapshot: Effect.sync(() => ({ name, answered: { ...answered }, failed }))
    }
    return fallback
  })

/** A Layer that provides a fallback under a key of the application's own. */
export const layer = <I, B, E2 = never, R2 = never>(
  key: Context.Key<I, Fallback<B, E2, R2>>,
  given: Options<B, E2, R2>
): Layer.Layer<I, InvalidOption> => Layer.effect(key, make(given))

/**
 * Runs a call, and answers `ServiceUnavailable` by an answer that nothing counts. `Fallback.make` counts.
 */
export const withAnswer: {
  <B, E2, R2>(
    answer: Answer<B, E2, R2>
  ): <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<A | B, Exclude<E, ServiceUnavailable> | E2, R | R2>
  <A, E, R, B, E2, R2>(
    self: Effect.Effect<A, E, R>,
    answer: Answer<B, E2, R2>
  ): Effect.Effect<A | B, Exclude<E, ServiceUnavailable> | E2, R | R2>
} = dual(
  2,
  <A, E, R, B, E2, R2>(
    self: Effect.Effect<A, E, R>,
    answer: Answer<B, E2, R2>
  ): Effect.Effect<A | B, Exclude<E, ServiceUnavailable> | E2, R | R2> =>
    ServiceUnavailable.orElse(self, (error) => Effect.map(answer(error), ({ value }) => value))
)

/** Answers with a value. */
export const value = <B>(value: B): Answer<B> => {
  const answered = Effect.succeed<Served.Served<B>>({ value, source: "fallback" })
  return () => answered
}

/** Answers with what another effect comes to, made from the error. */
export const effect =
  <B, E, R>(f: (error: ServiceUnavailable) => Effect.Effect<B, E, R>): Answer<B, E, R> =>
  (error) =>
    Effect.map(f(error), (value) => ({ value, source: "fallback" }))

/** Answers with a value whose source is known, such as what a `StaleCache` still has. */
export const served = <B, E, R>(
  f: (error: ServiceUnavailable) => Effect.Effect<Served.Served<B>, E, R>
): Answer<B, E, R> => f

/**
 * For a guard whose service is away: lets the caller through, with the decision that stands for yes.
 *
 * Choose it where refusing everybody is worse than letting some through who should not be: rate limits, charges that
 * can be made later. What was let through is counted as answered.
 */
export const failOpen = <B>(decision: B): Answer<B> => value(decision)

/**
 * For a guard whose service is away: lets nobody through, and fails with the error that stands for no.
 *
 * Choose it where letting through who should not be is worse than refusing everybody: permissions, identities. What
 * was refused is counted as failed.
 */
export const failClosed =
  <E>(refusal: E): Answer<never, E> =>
  () =>
    Effect.fail(refusal)

/** Answers outages of the given reasons only; others stay `ServiceUnavailable`. */
export const when =
  <B, E, R>(
    reasons: ReadonlyArray<UnavailableReason["_tag"]>,
    answer: Answer<B, E, R>
  ): Answer<B, E | ServiceUnavailable, R> =>
  (error) =>
    reasons.includes(error.reason._tag) ? answer(error) : Effect.fail(error)

/**
 * Answers with the first alternative that can: the next is asked when one fails with `ServiceUnavailable`.
 *
 * Any other failure is the answer. Each alternative is given the error of the call, and not that of the one before.
 */
export function firstOf<B1, E1, R1, B2, E2, R2>(
  first: Answer<B1, E1, R1>,
  second: Answer<B2, E2, R2>
): Answer<B1 | B2, Exclude<E1, ServiceUnavailable> | E2, R1 | R2>
export function firstOf<B1, E1, R1, B2, E2, R2, B3, E3, R3>(
  first: Answer<B1, E1, R1>,
  second: Answer<B2, E2, R2>,
  third: Answer<B3, E3, R3>
): Answer<B1 | B2 | B3, Exclude<E1 | E2, ServiceUnavailable> | E3, R1 | R2 | R3>
export function firstOf(
  first: Answer<unknown, unknown, unknown>,
  ...others: ReadonlyArray<Answer<unknown, unknown, unknown>>
): Answer<unknown, unknown, unknown> {
  return (error) =>
    others.reduce((asked, next) => ServiceUnavailable.orElse(asked, () => next(error)), first(error))
}
