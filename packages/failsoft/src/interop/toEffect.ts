/**
 * Effect's own `CircuitBreaker` on the circuits of a keyed breaker.
 *
 * Code that takes Effect's service, such as `HttpClient.withCircuitBreaker({ breaker })`, runs unchanged on them: only the Layer
 * that provides the service is another one. It gains time windows, slow calls, several probes, a limit for probes that hang,
 * a ramp, health and events.
 *
 * **Gotchas**
 *
 * - Effect marks its module as experimental, and this one follows it. So nothing else in failsoft imports it.
 * - Effect closes a circuit at the first successful probe. A breaker of failsoft asks for three unless `halfOpen.successes` says 1.
 * - Without a `classify` of the call, the classification of the breaker decides. Its default is Effect's, but for errors that
 *   failsoft itself makes and for errors that carry a `retryAfter`. Interruption alone is ignored in any case.
 * - A call that a ramp rejects fails with `CircuitHalfOpen`, since it is not known when it would be let through.
 * - Openings are in a row until their growth is forgotten, which happens by time alone; Effect waits for the next call as well.
 * - A reset by hand is no transition that Effect has, so `transitions` does not tell of it.
 *
 * **Example** (The same code on another Layer)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { CircuitBreaker as EffectBreaker } from "effect/persistence"
 * import { CircuitBreaker } from "failsoft"
 * import * as ToEffect from "failsoft/interop/toEffect"
 *
 * const charge = Effect.gen(function* () {
 *   const breaker = yield* EffectBreaker.CircuitBreaker
 *   return yield* Effect.fail("refused").pipe(breaker.execute({ key: "payments" }))
 * })
 *
 * const program = Effect.gen(function* () {
 *   yield* Effect.flip(charge)
 *   yield* Effect.flip(charge)
 *   return yield* charge.pipe(
 *     Effect.catchReason("CircuitBreakerError", "CircuitOpen", ({ key }) => Effect.succeed(`${key} is open`))
 *   )
 * }).pipe(Effect.provide(ToEffect.layer({ name: "providers", trip: CircuitBreaker.consecutive(2) })))
 *
 * await Effect.runPromise(program) // => "payments is open"
 * ```
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as EffectBreaker from "effect/persistence/CircuitBreaker"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { KeyedCircuitBreaker, KeyedOptions, KeyedTransition, KeySnapshot } from "../CircuitBreaker.ts"
import { makeKeyed } from "../CircuitBreaker.ts"
import type { InvalidOption } from "../InvalidOption.ts"
import * as Outcome from "../Outcome.ts"
import { ServiceUnavailable } from "../ServiceUnavailable.ts"

/** Effect's breaker on the circuits of a keyed one. */
export const toEffect = (breaker: KeyedCircuitBreaker): EffectBreaker.CircuitBreaker =>
  EffectBreaker.CircuitBreaker.of({
    [EffectBreaker.TypeId]: EffectBreaker.TypeId,
    execute: dual(2, <A, E, R, R2 = never>(self: Effect.Effect<A, E, R>, options: CallOptions<A, E, R2>) =>
      execute(breaker, self, options)
    ),
    state: (key) => Effect.map(breaker.snapshotOf(key), (snapshot) => stateOf(key, snapshot)),
    transitions: breaker.transitions.pipe(Stream.filter(isOfTheRules), Stream.map(transitionOf))
  })

/**
 * A Layer that provides Effect's breaker, with circuits of its own.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const layer = <R = never>(
  options: KeyedOptions<R>
): Layer.Layer<EffectBreaker.CircuitBreaker, InvalidOption, Exclude<R, Scope.Scope>> =>
  Layer.effect(EffectBreaker.CircuitBreaker, Effect.map(makeKeyed(options), toEffect))

/** A Layer that provides Effect's breaker on the circuits of a keyed one that is in the context. */
export const layerFrom = <I>(
  key: Context.Key<I, KeyedCircuitBreaker>
): Layer.Layer<EffectBreaker.CircuitBreaker, never, I> =>
  Layer.effect(EffectBreaker.CircuitBreaker, Effect.map(Effect.service(key), toEffect))

interface CallOptions<A, E, R> {
  readonly key: string
  readonly classify?:
    | ((exit: Exit.Exit<A, E>) => EffectBreaker.Outcome | Effect.Effect<EffectBreaker.Outcome, never, R>)
    | undefined
}

/** What is known of one call: how it ended, and what that says. */
interface Call<A, E> {
  exit: Exit.Exit<A, E> | undefined
  outcome: Outcome.Outcome
}

const execute = <A, E, R, R2>(
  breaker: KeyedCircuitBreaker,
  self: Effect.Effect<A, E, R>,
  { classify, key }: CallOptions<A, E, R2>
): Effect.Effect<A, E | EffectBreaker.CircuitBreakerError, R | R2> =>
  Effect.suspend(() => {
    const call: Call<A, E> = { exit: undefined, outcome: Outcome.ignored }
    const guarded: Effect.Effect<A, E | ServiceUnavailable, R | R2> =
      classify === undefined
        ? breaker.execute(key)(note(call, self))
        : breaker.executeWith(key, judge(call, self, classify), () => call.outcome)
    // The call may fail with `ServiceUnavailable` by itself: only one that has not run was rejected here.
    return Effect.catchCause(
      guarded,
      (cause): Effect.Effect<A, E | EffectBreaker.CircuitBreakerError> =>
        call.exit ??
        Effect.failCause(
          Cause.map(cause, (error: E | ServiceUnavailable) =>
            error instanceof ServiceUnavailable ? rejectionOf(key, error) : error
          )
        )
    )
  })

const note = <A, E, R>(call: Call<A, E>, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.onExit(self, (exit) =>
    Effect.sync(() => {
      call.exit = exit
    })
  )

/** Runs a call and its classification. One that fails, dies or is interrupted leaves the call ignored, and fails it. */
const judge = <A, E, R, R2>(
  call: Call<A, E>,
  self: Effect.Effect<A, E, R>,
  classify: NonNullable<CallOptions<A, E, R2>["classify"]>
): Effect.Effect<A, E, R | R2> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.exit(restore(self)), (exit): Effect.Effect<A, E, R2> => {
      call.exit = exit
      if (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) return exit
      const classified = Effect.suspend(() => {
        const outcome = classify(exit)
        return Effect.isEffect(outcome) ? outcome : Effect.succeed(outcome)
      })
      return Effect.flatMap(Effect.exit(restore(classified)), (result) => {
        if (Exit.isSuccess(result)) call.outcome = outcomeOf(result.value)
        else {
          call.exit = Exit.failCause(
            Exit.isFailure(exit) ? Cause.combine(exit.cause, result.cause) : result.cause
          )
        }
        return call.exit ?? exit
      })
    })
  )

const outcomeOf = (outcome: EffectBreaker.Outcome): Outcome.Outcome => {
  switch (outcome._tag) {
    case "Success":
      return Outcome.success
    case "Ignored":
      return Outcome.ignored
    case "Failure":
      return Outcome.failure({ retryAfter: outcome.retryAfter })
  }
}

const rejectionOf = (key: string, { retryAfter }: ServiceUnavailable): EffectBreaker.CircuitBreakerError =>
  new EffectBreaker.CircuitBreakerError({
    reason:
      retryAfter === undefined
        ? new EffectBreaker.CircuitHalfOpen({ key })
        : new EffectBreaker.CircuitOpen({ key, retryAfter })
  })

/** Effect reads a circuit that is due as open until a call comes. */
const stateOf = (key: string, snapshot: KeySnapshot | undefined): EffectBreaker.State => {
  if (snapshot === undefined || snapshot.state === "closed") return { _tag: "Closed", key }
  const { halfOpenIn, openings: consecutiveOpenings, override, probes } = snapshot
  if (snapshot.state === "half_open" && probes !== undefined && probes.admitted > 0) {
    return { _tag: "HalfOpen", key, probing: probes.running > 0, consecutiveOpenings }
  }
  const retryAfter = (override?.mode === "open" ? override.endsIn : halfOpenIn) ?? Duration.zero
  return { _tag: "Open", key, retryAfter, consecutiveOpenings }
}

type RuleTransition = Exclude<KeyedTransition, { readonly _tag: "CircuitReset" }>

const isOfTheRules = (event: KeyedTransition): event is RuleTransition => event._tag !== "CircuitReset"

const transitionOf = (event: RuleTransition): EffectBreaker.Transition => {
  const { key } = event
  switch (event._tag) {
    case "CircuitOpened":
      return {
        key,
        from: event.from === "closed" ? "Closed" : "HalfOpen",
        to: "Open",
        retryAfter: event.openDuration,
        consecutiveOpenings: event.openings
      }
    case "CircuitHalfOpened":
      return { key, from: "Open", to: "HalfOpen" }
    case "CircuitClosed":
      return { key, from: "HalfOpen", to: "Closed" }
  }
}
