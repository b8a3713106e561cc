/**
 * A Layer that supplies a degraded implementation of a service while the real one cannot serve.
 *
 * The primary is built by a fiber of its own, however long that takes, and as often as it takes. Until it is there, and
 * whenever its circuit is open, calls go to the degraded implementation; afterwards the circuit alone switches, call by
 * call. So an application starts whatever its dependency does, and comes back by itself.
 *
 * Members that are effects, streams, or plain functions to these are switched by themselves. A member that needs a scope,
 * is curried, or hands out another service needs a `guard`, because what it hands out must be switched too.
 *
 * **Gotchas**
 *
 * - A call that failed after it was sent is not repeated on the degraded side unless `failover` says so: it may have been
 *   applied.
 * - `isUnavailable` judges what fails at start-up as well. Any other error, such as a wrong password, fails the Layer
 *   while the start waits for it: degrading would hide it. Later it is logged.
 * - What the primary needs from Layers that the application provides is shared with them. What is provided to the primary
 *   itself is built anew at each attempt.
 *
 * **Example** (A greeting that survives its server)
 *
 * ```ts import.meta.vitest
 * import { Context, Effect, Layer } from "effect"
 * import { Degradable, ServiceUnavailable, UnavailableReason } from "failsoft"
 *
 * class Greeter extends Context.Service<Greeter, { readonly greet: (name: string) => Effect.Effect<string> }>()(
 *   "app/Greeter"
 * ) {}
 *
 * const Remote = Layer.effect(
 *   Greeter,
 *   Effect.fail(new ServiceUnavailable({ service: "greeter", reason: UnavailableReason.NotConnected() }))
 * )
 * const Plain = Layer.succeed(Greeter, { greet: (name) => Effect.succeed(`hello ${name}`) })
 *
 * const Live = Degradable.layer(Greeter, { name: "greeter", primary: Remote, degraded: Plain })
 *
 * const program = Effect.gen(function* () {
 *   const greeter = yield* Greeter
 *   return yield* greeter.greet("Ada")
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Live))) // => "hello Ada"
 * ```
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as Deadline from "./Deadline.ts"
import * as Health from "./Health.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import * as builder from "./internal/degradable/builder.ts"
import { switched } from "./internal/degradable/members.ts"
import * as options from "./internal/options.ts"
import * as Metrics from "./Metrics.ts"
import * as Outcome from "./Outcome.ts"
import { Misconfigured, ServiceUnavailable } from "./ServiceUnavailable.ts"

/**
 * How the start waits for the primary.
 *
 * - `optional`: until its first attempt has ended, up to `timeout`; unavailable or late, the Layer starts degraded.
 * - `required`: until it is built, attempt after attempt, up to `timeout`; then the Layer fails with `ServiceUnavailable`.
 * - `background`: not at all; the Layer starts degraded.
 */
export type StartupMode = "optional" | "required" | "background"

/** What a Layer is made from, but for its guards. */
export interface Options<I, E, R, E2, R2, Mode extends StartupMode = StartupMode> {
  /** Names the Layer, and the service that its primary calls, in errors, logs, health and metrics. */
  readonly name: string
  /** The real implementation. */
  readonly primary: Layer.Layer<I, E, R>
  /** The implementation that always works. It is built first, and waited for. */
  readonly degraded: Layer.Layer<I, E2, R2>
  readonly startup?:
    | {
        /** Default: `"optional"`. */
        readonly mode?: Mode | undefined
        /** The longest that the start waits for the primary: longer than 0, at most 24 days. Default: `"5 seconds"`. */
        readonly timeout?: Duration.Input | undefined
      }
    | undefined
  /**
   * The waits between attempts to build the primary; where the Schedule ends, so do the attempts. Default: 1 s, 2 s, 4 s …
   * up to 30 s, each ± 20 %.
   */
  readonly recovery?: Schedule.Schedule<unknown, unknown> | undefined
  /** The circuit in front of the primary. Default: that of `CircuitBreaker`, where `isUnavailable` says what counts. */
  readonly breaker?: BreakerOptions | undefined
  /**
   * Which errors mean that the primary cannot serve, beside `ServiceUnavailable`, which always does. `Misconfigured` never
   * does. Default: none.
   */
  readonly isUnavailable?: Predicate | undefined
  /**
   * Which errors of a call that was sent are answered by the degraded service after all; never `Misconfigured`.
   * Default: none.
   */
  readonly failover?: Predicate | undefined
}

type Predicate = (error: unknown) => boolean
type BreakerOptions = Omit<CircuitBreaker.Options, "name">

/** Runs something on the side that serves. Handed to guards. */
export interface Switch<S> {
  /**
   * Runs `f` with the primary through its circuit, or with the degraded service while there is no primary or its circuit
   * rejects the call. `f` may compare the service it gets with `degraded`.
   */
  readonly run: <A, E, R>(f: (service: S) => Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** The side that would serve now. */
  readonly side: Effect.Effect<"primary" | "degraded">
  /** The degraded service, which is always there. */
  readonly degraded: S
  /** The primary without its circuit, once it has been built. */
  readonly primary: Effect.Effect<S | undefined>
}

/**
 * The members that need a guard: those that require a `Scope`, those that return neither an effect nor a stream, and
 * those that hand out another service, which is a value with a member that is, or returns, an effect or a stream.
 */
export type Guarded<S> = {
  readonly [K in keyof S]-?: true extends NeedsGuard<S[K]> ? K : never
}[keyof S]

/** Makes a member that switches by itself. */
export type Guard<S, K extends keyof S> = (from: Switch<S>) => S[K]

/**
 * Guards for the members that need one. A service that needs none takes none; otherwise a guard may replace other members
 * too, for what one member hands out may come back through another.
 */
export type Guards<S> = S extends Calls | Effect.Effect<unknown, unknown, unknown> | AnyStream
  ? { readonly "the service must be an object of members": never }
  : [Guarded<S>] extends [never]
    ? { readonly guard?: undefined }
    : {
        readonly guard: { readonly [K in Guarded<S>]: Guard<S, K> } & {
          readonly [K in Exclude<keyof S, Guarded<S>>]?: Guard<S, K>
        }
      }

type Calls = (...args: never) => unknown
type AnyStream = Stream.Stream<unknown, unknown, unknown>

type NeedsGuard<M> =
  M extends Effect.Effect<infer A, infer _E, infer R>
    ? HandsOut<A, R>
    : M extends Stream.Stream<infer A, infer _E, infer R>
      ? HandsOut<A, R>
      : M extends (...args: never) => infer Result
        ? [Result] extends [Effect.Effect<infer A, infer _E, infer R>]
          ? HandsOut<A, R>
          : [Result] extends [Stream.Stream<infer A, infer _E, infer R>]
            ? HandsOut<A, R>
            : true
        : false

/** What the caller of a generic member chooses is no business of the member's: it reads as `unknown`. */
type HandsOut<A, R> = unknown extends R ? IsService<A> : Scope.Scope extends R ? true : IsService<A>

/** An `Exit` and Effect's errors can be yielded, but only say what has happened. */
type IsService<A> = unknown extends A
  ? false
  : A extends Exit.Exit<unknown, unknown> | Error
    ? false
    : Acts<A> extends false
      ? A extends object
        ? { readonly [K in keyof A]-?: Acts<A[K]> }[keyof A]
        : false
      : true

/** Whether a value is, or returns, an effect or a stream; `boolean` for a union of which some part does. */
type Acts<M> = M extends Effect.Effect<unknown, unknown, unknown> | AnyStream
  ? true
  : M extends (...args: never) => infer Result
    ? Result extends Effect.Effect<unknown, unknown, unknown> | AnyStream
      ? true
      : false
    : false

/**
 * A Layer that provides `key` by its primary, and by its degraded implementation while that cannot serve.
 *
 * Fails with what the degraded Layer fails with; with errors of the primary other than outages, as long as the start
 * waits; with `InvalidOption` when an option is out of its range; and in mode `required` with `ServiceUnavailable`.
 */
export function layer<I, S extends object, E, R, E2, R2, const Mode extends StartupMode = "optional">(
  key: Context.Key<I, S>,
  given: Options<I, E, R, E2, R2, Mode> & Guards<S>
): Layer.Layer<
  I,
  | Exclude<E, ServiceUnavailable>
  | E2
  | InvalidOption
  | (Mode extends "required" ? ServiceUnavailable : never),
  R | R2
>
export function layer<I, S extends object, E, R, E2, R2>(
  key: Context.Key<I, S>,
  given: Options<I, E, R, E2, R2> & AnyGuards<S>
): Layer.Layer<I, Exclude<E, ServiceUnavailable> | E2 | InvalidOption | ServiceUnavailable, R | R2> {
  // What is built outlives the deadline of whoever asks for it first.
  return Layer.effect(key, Deadline.unbounded(make(key, given)))
}

interface AnyGuards<S> {
  readonly guard?: Readonly<Record<PropertyKey, ((from: Switch<S>) => unknown) | undefined>> | undefined
}

const make = Effect.fnUntraced(function* <I, S extends object, E, R, E2, R2>(
  key: Context.Key<I, S>,
  given: Options<I, E, R, E2, R2> & AnyGuards<S>
) {
  const name = yield* options.name("name", given.name)
  const mode = yield* options.oneOf(name, "startup.mode", given.startup?.mode ?? "optional", modes)
  const timeoutMillis = yield* options.millis(name, "startup.timeout", given.startup?.timeout ?? "5 seconds")
  const isUnavailable = isUnavailableBy(given.isUnavailable)
  const breaker = yield* makeBreaker(name, isUnavailable, given.breaker)

  const degraded = Context.get(yield* Layer.build(given.degraded), key)
  const primary = yield* builder.make({
    name,
    mode,
    timeoutMillis,
    isUnavailable,
    key,
    layer: given.primary,
    recovery: given.recovery ?? defaultRecovery
  })
  const snapshot = snapshotOf(name, breaker, primary)
  yield* Health.register({ _tag: "Layer", name, layer: snapshot })
  const answers = { degraded: 0 }
  yield* Metrics.register(name, [
    Metrics.series(Metrics.degraded, {}, (_, context) =>
      Effect.runSyncWith(context)(snapshot).degraded ? 1 : 0
    ),
    Metrics.series(Metrics.fallbacks, { source: "local" }, () => answers.degraded)
  ])
  yield* primary.started

  const answerLocally = <A, E, R>(f: (service: S) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    answers.degraded++
    return f(degraded)
  }
  const from = switchOf(degraded, answerLocally, primary.service, breaker, isBy(given.failover))
  const { guard = {} } = given
  const guarded = new Map(Reflect.ownKeys(guard).map((member) => [member, guard[member]?.(from)]))
  return switched({ degraded, present: () => primary.service() ?? degraded, run: from.run }, guarded)
})

const modes: ReadonlyArray<StartupMode> = ["optional", "required", "background"]

const defaultRecovery = Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("30 seconds")]).pipe(
  Schedule.jittered
)

/** What an error means, by a predicate of the application's: one that throws knows nothing of it. */
const isBy =
  (predicate: Predicate | undefined): Predicate =>
  (error) => {
    if (predicate === undefined || error instanceof Misconfigured) return false
    try {
      return predicate(error)
    } catch {
      return false
    }
  }

const isUnavailableBy = (predicate: Predicate | undefined) => {
  const isKnown = isBy(predicate)
  return (error: unknown): error is ServiceUnavailable =>
    error instanceof ServiceUnavailable || isKnown(error)
}

/** The Layer tells of its circuit itself, hence the breaker knows no `Health`. */
const makeBreaker = (
  name: string,
  isUnavailable: Predicate,
  given: BreakerOptions | undefined
): Effect.Effect<CircuitBreaker.CircuitBreaker, InvalidOption, Scope.Scope> =>
  CircuitBreaker.make({
    ...given,
    name,
    classify: given?.classify ?? Outcome.fromError(isUnavailable)
  }).pipe(
    options.ofStage("breaker"),
    // Nor does it count fallbacks: the Layer does, whether the circuit rejected a call or there was no primary yet.
    Effect.provideService(Metrics.CountedAround, [{ entry: Metrics.fallbacks, labels: {} }]),
    Effect.updateContext((context: Context.Context<Scope.Scope>) => Context.omit(Health.Health)(context))
  )

const snapshotOf = <S>(
  name: string,
  breaker: CircuitBreaker.CircuitBreaker,
  primary: Pick<builder.Builder<S, never>, "service" | "sinceMillis">
): Effect.Effect<Health.LayerSnapshot> =>
  Effect.map(breaker.snapshot, (circuit) => {
    const built = primary.service() !== undefined
    return {
      name,
      enabled: true,
      built,
      degraded: !built || Health.stateForCalls(circuit) !== "closed",
      sinceMillis: primary.sinceMillis(),
      circuit
    }
  })

const switchOf = <S>(
  degraded: S,
  answerLocally: Switch<S>["run"],
  primary: () => S | undefined,
  breaker: CircuitBreaker.CircuitBreaker,
  failsOver: Predicate
): Switch<S> => ({
  degraded,
  primary: Effect.sync(primary),
  side: Effect.map(breaker.isOpen, (isOpen) => (isOpen || primary() === undefined ? "degraded" : "primary")),
  run: <A, E, R>(f: (service: S) => Effect.Effect<A, E, R>) =>
    Effect.suspend((): Effect.Effect<A, E, R> => {
      const service = primary()
      if (service === undefined) return answerLocally(f)
      let wasSent = false
      const call = Effect.suspend(() => {
        wasSent = true
        return f(service)
      })
      // Whatever fails before the call was sent is this circuit's rejection; afterwards the same error is the primary's own.
      const isRejection = (_: E | ServiceUnavailable): _ is ServiceUnavailable => !wasSent
      return breaker.execute(call).pipe(
        Effect.catchIf(isRejection, (rejection) =>
          breaker.orElse(() => answerLocally(f))(Effect.fail(rejection))
        ),
        Effect.catchIf(
          (error) => wasSent && failsOver(error),
          () => answerLocally(f)
        )
      )
    })
})
