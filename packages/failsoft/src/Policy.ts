/**
 * A policy composes what protects the calls to one dependency, in the one order that is right.
 *
 * Outermost first: deadline → retry → hedge → circuit gate → rate limiter → bulkhead → circuit breaker → attempt timeout →
 * call. The deadline only says when the caller stops caring. Each attempt passes the circuit by itself, so that an opening
 * ends the attempts, and the timeout sits inside the circuit, so that a hang is seen. The gate rejects at once what would
 * else queue towards an open circuit. Stages that the options do not name are absent, and cost nothing.
 *
 * A policy counts its calls by what became of them, and how long they took: `Metrics.calls` says what each outcome means.
 *
 * **Gotchas**
 *
 * - `execute` adds `ServiceUnavailable` to the errors of the call and leaves them otherwise as they are. Errors that
 *   were retried until the attempts ran out arrive as its `RetriesExhausted`.
 * - A retry stage retries every call of the policy. Give calls that must not run twice `retry: false`.
 * - A hedge stage hedges only calls that say `idempotent: true`.
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
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Bulkhead from "./Bulkhead.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as Hedge from "./Hedge.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import { readConfig } from "./internal/config.ts"
import * as options from "./internal/options.ts"
import { describe } from "./internal/policy/describe.ts"
import * as pipeline from "./internal/policy/stages.ts"
import type * as Outcome from "./Outcome.ts"
import { PolicyConfig } from "./PolicyConfig.ts"
import * as RateLimiter from "./RateLimiter.ts"
import * as Retry from "./Retry.ts"
import * as RetryBudget from "./RetryBudget.ts"
import type { ServiceUnavailable } from "./ServiceUnavailable.ts"

/** The stages of a policy. A stage that is not named is absent. */
export interface Options<R = never> {
  /** When the caller stops caring, for all attempts together. */
  readonly deadline?: Duration.Input | undefined
  /** The longest that one attempt may take. Never longer than `deadline`, which takes its place when it is left out. */
  readonly attemptTimeout?: Duration.Input | undefined
  readonly retry?: Omit<Retry.Options, "name"> | undefined
  /** What retry and hedge are paid from, where they name no budget: one that others share, or options for one of its own. */
  readonly retryBudget?: RetryBudget.RetryBudget | Omit<RetryBudget.Options, "name"> | undefined
  readonly hedge?: Omit<Hedge.Options, "name"> | undefined
  readonly rateLimiter?: Omit<RateLimiter.Options, "name"> | undefined
  readonly bulkhead?: Omit<Bulkhead.Options, "name"> | undefined
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
  /** `true` for a call that may run twice at once: only such a call is hedged. Default: `false`. */
  readonly idempotent?: boolean | undefined
  /** The level in the bulkhead's queue, see `Bulkhead.CallOptions`. Default: 0, the lowest. */
  readonly priority?: number | undefined
  /** What it takes from the rate limiter. Default: 1. */
  readonly cost?: number | undefined
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
  /** The bulkhead, if the policy has one. */
  readonly bulkhead: Bulkhead.Bulkhead | undefined
  /** The rate limiter, if the policy has one. */
  readonly rateLimiter: RateLimiter.RateLimiter | undefined
  /** The budget of retry and hedge, if the policy has one. */
  readonly retryBudget: RetryBudget.RetryBudget | undefined
  /** The stages, outermost first, with the options that were given. For people, and for tests of a configuration. */
  readonly describe: Effect.Effect<ReadonlyArray<StageDescription>>
}

/** A stage of a policy, and the options that it was given, as text. */
export interface StageDescription {
  readonly stage: Stage
  /** By name, such as `halfOpen.probes`. Defaults that were left alone are not here. */
  readonly options: Readonly<Record<string, string>>
}

/** What a call passes on its way, outermost first. */
export type Stage =
  | "deadline"
  | "retry"
  | "hedge"
  | "circuit gate"
  | "rate limiter"
  | "bulkhead"
  | "circuit breaker"
  | "attempt timeout"

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
  const stages = yield* pipeline.make(name, given)
  const { breaker, bulkhead, rateLimiter, retryBudget } = stages
  return {
    name,
    breaker,
    bulkhead,
    rateLimiter,
    retryBudget,
    describe: Effect.sync(() => describe(given)),
    execute: (self) => pipeline.execute(stages, self, {}),
    executeWith: (self, call) => pipeline.execute(stages, self, call),
    orElse: pipeline.orElse(stages)
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
  retry: config.retry && Retry.fromConfig(config.retry),
  retryBudget: config.retryBudget && RetryBudget.fromConfig(config.retryBudget),
  hedge: config.hedge && Hedge.fromConfig(config.hedge),
  rateLimiter: config.rateLimiter && RateLimiter.fromConfig(config.rateLimiter),
  bulkhead: config.bulkhead && Bulkhead.fromConfig(config.bulkhead),
  breaker: config.breaker && CircuitBreaker.fromConfig(config.breaker)
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
    Effect.flatMap(readConfig(PolicyConfig, path), (config) => make(name, fromConfig(config)))
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
