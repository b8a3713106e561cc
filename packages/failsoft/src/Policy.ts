/**
 * A policy composes what protects the calls to one dependency, in the one order that is right.
 *
 * Outermost first: deadline → retry → circuit breaker → attempt timeout → call. The deadline only says when the caller
 * stops caring. Each attempt passes the circuit by itself, so that an opening ends the attempts, and the timeout sits
 * inside the circuit, so that a hang is seen. Stages that the options do not name are absent, and cost nothing.
 *
 * A policy counts its calls by what became of them, and how long they took: `Metrics.calls` says what each outcome means.
 *
 * **Gotchas**
 *
 * - `execute` adds `ServiceUnavailable` to the errors of the call and leaves them otherwise as they are. Errors that
 *   were retried until the attempts ran out arrive as its `RetriesExhausted`.
 * - A retry stage retries every call of the policy. Give calls that must not run twice `retry: false`.
 *
 * **Example** (A dependency that is down)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { Policy, Retry } from "failsoft"
 *
 * const program = Effect.gen(function* () {
 *   const billing = yield* Policy.make("billing", {
 *     deadline: "8 seconds",
 *     attemptTimeout: "5 seconds",
 *     retry: { attempts: 2, schedule: Retry.exponential({ base: "1 millis" }) },
 *     breaker: {}
 *   })
 *   const balance = Effect.fail("connection refused").pipe(billing.execute)
 *
 *   return yield* balance.pipe(billing.orElse(() => Effect.succeed("unknown, not charged")))
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => "unknown, not charged"
 * ```
 */
import * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { dual, identity } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as Deadline from "./Deadline.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import * as meters from "./internal/meter.ts"
import * as options from "./internal/options.ts"
import * as Metrics from "./Metrics.ts"
import type * as Outcome from "./Outcome.ts"
import { PolicyConfig } from "./PolicyConfig.ts"
import * as Retry from "./Retry.ts"
import { ServiceUnavailable } from "./ServiceUnavailable.ts"

/** The stages of a policy. A stage that is not named is absent. */
export interface Options<R = never> {
  /** When the caller stops caring, for all attempts together. */
  readonly deadline?: Duration.Input | undefined
  /** The longest that one attempt may take. Never longer than `deadline`, which takes its place when it is left out. */
  readonly attemptTimeout?: Duration.Input | undefined
  readonly retry?: Omit<Retry.Options, "name"> | undefined
  readonly breaker?: Omit<CircuitBreaker.Options<R>, "name"> | undefined
  /** `false` switches the whole policy off: calls run as if it were not there. Default: `true`. */
  readonly enabled?: boolean | undefined
}

/** What a single call may ask of a policy, in place of the policy's own answers. */
export interface CallOptions<A, E> {
  /** What the end of an attempt says about the dependency. */
  readonly classify?: ((exit: Exit.Exit<A, E | ServiceUnavailable>) => Outcome.Outcome) | undefined
  /** Which of the call's own errors may pass. */
  readonly isTransient?: ((error: E) => boolean) | undefined
  /** `false` for a call that must not run twice: it is tried once and keeps its own error. Default: `true`. */
  readonly retry?: boolean | undefined
}

/** What protects the calls to one dependency. */
export interface Policy {
  readonly name: string
  /** Runs a call through every stage. Fails with `ServiceUnavailable` when the dependency cannot serve it now. */
  readonly execute: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** As `execute`, with answers of its own for the call. `withPolicy` is its pipeable form. */
  readonly executeWith: <A, E, R>(
    self: Effect.Effect<A, E, R>,
    call: CallOptions<A, E>
  ) => Effect.Effect<A, E | ServiceUnavailable, R>
  /**
   * Answers in another way when the dependency cannot serve a call, and removes `ServiceUnavailable` from its errors.
   * Calls that were answered so are counted, by the circuit those that it rejected.
   */
  readonly orElse: CircuitBreaker.CircuitBreaker["orElse"]
  /** The circuit, if the policy has one. */
  readonly breaker: CircuitBreaker.CircuitBreaker | undefined
}

/**
 * Makes a policy that lives as long as the scope. `name` names it, and the service it guards, in errors, logs and
 * health.
 *
 * Fails with `InvalidOption` when an option of a stage is out of its range.
 */
export const make: <R = never>(
  name: string,
  given: Options<R>
) => Effect.Effect<Policy, InvalidOption, R | Scope.Scope> = Effect.fnUntraced(function* <R>(
  name: string,
  given: Options<R>
) {
  yield* options.name("name", name)
  const isOff = given.enabled === false
  const switchedOff = isOff ? { enabled: false } : {}
  const deadline =
    given.deadline === undefined ? undefined : yield* options.millis(name, "deadline", given.deadline)
  const attemptTimeout =
    given.attemptTimeout === undefined
      ? deadline
      : Math.min(
          yield* options.millis(name, "attemptTimeout", given.attemptTimeout),
          deadline ?? Number.POSITIVE_INFINITY
        )
  const breaker =
    given.breaker === undefined
      ? undefined
      : yield* part("breaker", CircuitBreaker.make({ ...given.breaker, ...switchedOff, name }))
  const retry =
    given.retry === undefined
      ? undefined
      : yield* part("retry", Retry.make({ ...given.retry, ...switchedOff, name }))
  const meter = isOff ? undefined : yield* meters.make(name)
  const stages: Stages = {
    meter,
    classify: given.breaker?.classify,
    retry,
    breaker,
    within: deadline === undefined || isOff ? identity : Deadline.within(Duration.millis(deadline)),
    attempt:
      attemptTimeout === undefined || isOff
        ? identity
        : Deadline.attemptTimeout(name, Duration.millis(attemptTimeout))
  }
  return {
    name,
    breaker,
    execute: (self) => execute(stages, self, {}),
    executeWith: (self, call) => execute(stages, self, call),
    orElse: (fallback) => {
      const answer = meter === undefined ? fallback : meters.answering(meter, fallback)
      return breaker === undefined ? ServiceUnavailable.orElse(answer) : breaker.orElse(answer)
    }
  } satisfies Policy
})

/** A Layer that provides a policy under a key of the application's own, named `name`. */
export const layer = <I, R = never>(
  key: Context.Key<I, Policy>,
  name: string,
  given: Options<R>
): Layer.Layer<I, InvalidOption, Exclude<R, Scope.Scope>> => Layer.effect(key, make(name, given))

/** The options that a decoded configuration stands for. What it leaves out keeps its default. */
export const fromConfig = (config: PolicyConfig): Options => ({
  enabled: config.enabled,
  deadline: config.deadline,
  attemptTimeout: config.attemptTimeout,
  retry: config.retry === undefined ? undefined : Retry.fromConfig(config.retry),
  breaker: config.breaker === undefined ? undefined : CircuitBreaker.fromConfig(config.breaker)
})

/**
 * A Layer that provides a policy whose stages are read from configuration below `path`, by default its name.
 *
 * Fails with `ConfigError` when a value cannot be read, with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <I>(
  key: Context.Key<I, Policy>,
  name: string,
  path: string | ConfigProvider.Path = name
): Layer.Layer<I, InvalidOption | Config.ConfigError> =>
  Layer.effect(
    key,
    Effect.flatMap(Config.schema(PolicyConfig, path), (config) => make(name, fromConfig(config)))
  )

/**
 * Runs a call through a policy, with answers of its own.
 *
 * `classify` and `isTransient` are typed by the call; `retry: false` tries it once.
 */
export const withPolicy: {
  <A, E>(
    policy: Policy,
    call?: CallOptions<A, E>
  ): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    policy: Policy,
    call?: CallOptions<A, E>
  ): Effect.Effect<A, E | ServiceUnavailable, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    policy: Policy,
    call?: CallOptions<A, E>
  ): Effect.Effect<A, E | ServiceUnavailable, R> => policy.executeWith(self, call ?? {})
)

/** Makes a stage, which leaves it to the policy to count calls. */
const part = <A, R>(
  stage: string,
  made: Effect.Effect<A, InvalidOption, R>
): Effect.Effect<A, InvalidOption, R> =>
  Effect.provideService(options.ofStage(stage)(made), Metrics.CountedAround, meters.counted)

interface Stages {
  readonly meter: meters.Meter | undefined
  /** What the ends of calls mean, unless a call says otherwise. */
  readonly classify: CircuitBreaker.Options["classify"]
  readonly retry: Retry.Retry | undefined
  readonly breaker: CircuitBreaker.CircuitBreaker | undefined
  readonly within: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly attempt: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
}

const execute = <A, E, R>(
  stages: Stages,
  self: Effect.Effect<A, E, R>,
  call: CallOptions<A, E>
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const { meter } = stages
  const staged = stages.within(tried(stages, self, call))
  return meter === undefined ? staged : meters.measure(meter, staged, call.classify ?? stages.classify)
}

const tried = <A, E, R>(
  { attempt, breaker, retry }: Stages,
  self: Effect.Effect<A, E, R>,
  call: CallOptions<A, E>
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const timed = attempt(self)
  const guarded =
    breaker === undefined
      ? timed
      : call.classify === undefined
        ? breaker.execute(timed)
        : breaker.executeWith(timed, call.classify)
  if (retry === undefined || call.retry === false) return guarded
  return retry.executeWith(guarded, {
    stopWhen: breaker?.isOpen,
    isTransient: isTransientOf(call.isTransient)
  })
}

/** The retry judges what policies fail with by itself, so only the call's own errors get here. */
const isTransientOf = <E>(
  isTransient: ((error: E) => boolean) | undefined
): ((error: E | ServiceUnavailable) => boolean) | undefined =>
  isTransient && ((error) => !(error instanceof ServiceUnavailable) && isTransient(error))
