/**
 * A circuit breaker stops calling a dependency that keeps failing, and finds out by a few probes when it is back.
 *
 * Closed, calls run and their outcomes are watched. After enough failures the circuit opens: calls fail at once with
 * `ServiceUnavailable`, and nothing reaches the dependency. When the open time has passed the circuit is half-open:
 * a few calls run as probes while the others are still rejected. Enough successful probes close it, a failed one
 * opens it again.
 *
 * **Gotchas**
 *
 * - Put a timeout inside the breaker, not around it: what interrupts a call from outside says nothing about the
 *   dependency, so a hang would never be noticed. `Policy` does it in the right order.
 * - Calls that were admitted before the circuit opened run to their end, and settle into nothing.
 * - Only a call can find an open circuit due, unless `probe` is set: then an idle circuit recovers by itself.
 *
 * **Example** (Rejecting calls once a dependency keeps failing)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { CircuitBreaker } from "failsoft"
 *
 * const program = Effect.gen(function* () {
 *   const breaker = yield* CircuitBreaker.make({ name: "billing", trip: CircuitBreaker.consecutive(2) })
 *   const charge = Effect.fail("connection refused").pipe(breaker.execute)
 *
 *   yield* Effect.ignore(charge)
 *   yield* Effect.ignore(charge)
 *   return yield* charge.pipe(
 *     Effect.catchReason("ServiceUnavailable", "CircuitOpen", () => Effect.succeed("rejected without a call"))
 *   )
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => "rejected without a call"
 * ```
 */
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Take from "effect/Take"
import * as Health from "./Health.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import * as keyedBreaker from "./internal/circuit/keyedBreaker.ts"
import * as keyedCircuits from "./internal/circuit/keyedCircuits.ts"
import * as circuitMetrics from "./internal/circuit/metrics.ts"
import { overrideOf, validate } from "./internal/circuit/options.ts"
import * as prober from "./internal/circuit/prober.ts"
import * as circuitShell from "./internal/circuit/shell.ts"
import * as snapshots from "./internal/circuit/snapshot.ts"
import * as trips from "./internal/circuit/trips.ts"
import { ConfigBoolean, ConfigDuration, ConfigNumber, ConfigStruct, readConfig } from "./internal/config.ts"
import * as options from "./internal/options.ts"
import type { KeyedCircuitBreaker } from "./KeyedCircuit.ts"
import * as Outcome from "./Outcome.ts"
import * as PolicyEvent from "./PolicyEvent.ts"
import { ServiceUnavailable } from "./ServiceUnavailable.ts"
import * as Circuit from "./state/Circuit.ts"
import type { TripPolicy } from "./Trip.ts"

export {
  type KeyedCircuitBreaker,
  type KeyedSnapshot,
  type KeyedTransition,
  type KeySnapshot,
  withKey
} from "./KeyedCircuit.ts"

export {
  any,
  consecutive,
  count,
  type FailureRate,
  failureRate,
  type SlowCallRate,
  slowCallRate,
  type Trip,
  type TripPolicy,
  time,
  type Window
} from "./Trip.ts"

/** What a circuit breaker is made from. Only `name` is required. */
export interface Options<R = never> {
  /** Names the breaker, and the service it guards, in errors, logs, health and metrics. */
  readonly name: string
  /** When a closed circuit opens. Default: `consecutive(5)`. */
  readonly trip?: TripPolicy | undefined
  /**
   * How long it stays open: a duration, or a Schedule whose delays are used opening by opening (the first 64; the
   * last of them serves all later ones). The growth is forgotten once the circuit has stayed closed as long as it
   * was last open. Default: `"60 seconds"`.
   */
  readonly openDuration?: Duration.Input | Schedule.Schedule<unknown, number> | undefined
  /** The longest opening, whether by Schedule or by a failure's `retryAfter`. Default: `"5 minutes"`, or `openDuration` if longer. */
  readonly maxOpenDuration?: Duration.Input | undefined
  readonly halfOpen?:
    | {
        /** Probes that may run at once. Default: 1. */
        readonly probes?: number | undefined
        /** Successful probes that close the circuit. Default: 3. */
        readonly successes?: number | undefined
        /** The age at which a probe that has not ended gives up its slot. Default: `"30 seconds"`. */
        readonly maxWait?: Duration.Input | undefined
      }
    | undefined
  /**
   * How calls come back once half-open has ended well. Default: all at once.
   *
   * For `duration` after the circuit closed it admits a share of the calls, drawn by chance, which grows in a straight
   * line to all of them; the others are rejected. Failures count as ever.
   */
  readonly ramp?:
    | {
        /** Longer than 0, at most 24 days. */
        readonly duration: Duration.Input
        /** The share admitted at first, above 0 and at most 1. Default: 0.1. */
        readonly from?: number | undefined
      }
    | undefined
  /**
   * Asks the dependency how it is, so that an idle circuit recovers without a user's call. Runs as a probe, only while
   * the circuit is open and due or half-open, once every `every`. Default: none.
   */
  readonly probe?:
    | { readonly effect: Effect.Effect<unknown, unknown, R>; readonly every: Duration.Input }
    | undefined
  /** What the end of a call says about the dependency. Default: `Outcome.fromExit`. */
  readonly classify?: ((exit: Exit.Exit<unknown, unknown>) => Outcome.Outcome) | undefined
  /** `false` switches the breaker off: calls run as if it were not there. Default: `true`. */
  readonly enabled?: boolean | undefined
}

/** What `reconfigure` takes. What it leaves out gets its default, as at `make`. */
export type Settings = Pick<Options, "trip" | "openDuration" | "maxOpenDuration" | "halfOpen" | "ramp">

/** What a keyed circuit breaker is made from: the options of a breaker, which hold for the circuit of each key. */
export interface KeyedOptions<R = never> extends Omit<Options<R>, "probe"> {
  /** Keys that have a circuit at most: 1 to 1,000,000. Beyond them a call of a new key may run without one. Default: 10,000. */
  readonly maxKeys?: number | undefined
  /**
   * How long no call has come for a key before what is known of it may be forgotten to make room: longer than 0, at
   * most 24 days. Default: `"10 minutes"`.
   */
  readonly idle?: Duration.Input | undefined
  /**
   * Asks the dependency behind a key how it is, as `Options.probe` does. One fiber waits for each circuit that is not closed.
   * Default: none.
   */
  readonly probe?:
    | {
        readonly effect: (key: string) => Effect.Effect<unknown, unknown, R>
        readonly every: Duration.Input
      }
    | undefined
}

/** What a circuit looks like at one moment. */
export type Snapshot = Health.CircuitSnapshot

/** A circuit breaker for one dependency. */
export interface CircuitBreaker {
  readonly name: string
  /** Runs a call through the circuit. Fails with `ServiceUnavailable` (`CircuitOpen`) when the circuit rejects it. */
  readonly execute: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** As `execute`, with a classification of its own for the call. `withBreaker` is its pipeable form. */
  readonly executeWith: <A, E, R>(
    self: Effect.Effect<A, E, R>,
    classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
  ) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** Whether a call would be rejected because the circuit is open and not due. Takes nothing, changes nothing. */
  readonly isOpen: Effect.Effect<boolean>
  /**
   * Rejects at once while the circuit is open and not due, as `execute` does; else runs the effect, and takes nothing.
   * For what waits before it calls through the circuit, such as in a queue.
   */
  readonly gate: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** Answers a call that this circuit rejected in another way, and counts it. */
  readonly orElse: <B, E2, R2>(
    fallback: (error: ServiceUnavailable) => Effect.Effect<B, E2, R2>
  ) => <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<A | B, Exclude<E, ServiceUnavailable> | E2, R | R2>
  /**
   * Sets the circuit by hand: `open` rejects all calls, `closed` lets all run and never opens, `observe` lets all run while
   * the rules go on. Ends by itself after `ttl` (longer than 0, at most 24 days); a later one takes its place. Fails
   * with `InvalidOption` without a reason or ttl, and when the breaker is switched off.
   */
  readonly override: (
    mode: PolicyEvent.OverrideMode,
    options: { readonly reason: string; readonly ttl: Duration.Input }
  ) => Effect.Effect<void, InvalidOption>
  /** Closes the circuit by hand; an override, the failures in a row, windows and grown open times are forgotten. */
  readonly reset: Effect.Effect<void>
  /**
   * Holds the circuit to other options from now on; `probe` and `classify` stay. An opening lasts as long as it was meant to, and
   * failures in a row, counts, probes under way and an override stay. A window stays as long as a rule reads the same from it.
   * Fails with `InvalidOption` when an option is out of its range, and when the breaker is switched off; then nothing changes.
   */
  readonly reconfigure: (given: Settings) => Effect.Effect<void, InvalidOption>
  /** The state and counts now. */
  readonly snapshot: Effect.Effect<Snapshot>
  /** The transitions from now on. Ends with the breaker's scope. A reader that falls 128 behind loses the oldest. */
  readonly transitions: Stream.Stream<PolicyEvent.Transition>
}

/**
 * Makes a circuit breaker that lives as long as the scope.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const make: <R = never>(
  given: Options<R>
) => Effect.Effect<CircuitBreaker, InvalidOption, R | Scope.Scope> = Effect.fnUntraced(function* <R>(
  given: Options<R>
) {
  const { config, probeEveryMillis } = yield* validate(given)
  const { name } = given
  if (given.enabled === false) {
    const off = switchedOff(name)
    yield* Health.register({ _tag: "Circuit", name, circuit: off.snapshot })
    return off
  }

  const classifyByDefault = given.classify ?? Outcome.fromExit
  const shell = yield* shellOf(name, config)
  const cell = circuitShell.cell(shell, Circuit.initial(config))
  if (given.probe !== undefined && probeEveryMillis !== undefined) {
    const { effect } = given.probe
    const probe = { effect: () => effect, everyMillis: probeEveryMillis }
    shell.startProber = yield* prober.make(probe, classifyByDefault)
  }

  const snapshot = Effect.withFiber((fiber) => Effect.succeed(snapshots.snapshot(cell, fiber)))
  yield* Health.register({ _tag: "Circuit", name, circuit: snapshot })
  yield* circuitMetrics.register(shell, snapshots.present(cell))
  return {
    name,
    execute: (self) => circuitShell.execute(cell, self, classifyByDefault),
    executeWith: (self, classify) => circuitShell.execute(cell, self, classify),
    isOpen: Effect.withFiber((fiber) => Effect.succeed(circuitShell.isOpen(cell, fiber))),
    gate: (self) => circuitShell.gate(cell, self),
    orElse: (fallback) =>
      ServiceUnavailable.orElse((error) => {
        if (error.service === name && error.reason._tag === "CircuitOpen") shell.counters.fallback++
        return fallback(error)
      }),
    override: (mode, given) =>
      Effect.flatMap(overrideOf(name, mode, given), (ttlMillis) =>
        Effect.uninterruptible(
          Effect.withFiber((fiber) => circuitShell.override(cell, fiber, mode, given.reason, ttlMillis))
        )
      ),
    reset: circuitShell.reset(cell),
    reconfigure: (given) =>
      Effect.map(validate({ ...given, name }), ({ config }) => circuitShell.reconfigure(cell, config)),
    snapshot,
    transitions: Stream.fromPubSubTake(shell.hub)
  } satisfies CircuitBreaker
})

/**
 * Makes a circuit breaker that has one circuit for each key, such as a host or a tenant, and lives as long as the scope.
 *
 * A circuit is made when the first call of its key comes. When there are `maxKeys`, a new key takes the place of one that
 * knows nothing (closed, no failures, nothing in its windows, no call under way), else of one without calls for `idle`;
 * never of one that is open and not due, has probes under way, or is overridden. It looks at 16 of them. If none of these
 * may go, the call runs without a circuit and is counted as `untracked`: a guard that is full must not become an outage.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const makeKeyed: <R = never>(
  given: KeyedOptions<R>
) => Effect.Effect<KeyedCircuitBreaker, InvalidOption, R | Scope.Scope> = Effect.fnUntraced(function* <R>(
  given: KeyedOptions<R>
) {
  const { name } = given
  const { config, probeEveryMillis } = yield* validate(given)
  const maxKeys = yield* options.integer(name, "maxKeys", given.maxKeys ?? 10_000, { min: 1, max: 1_000_000 })
  const idleMillis = yield* options.millis(name, "idle", given.idle ?? "10 minutes")
  if (given.enabled === false) {
    yield* Health.register({ _tag: "Circuit", name, circuit: switchedOff(name).snapshot })
    return keyedBreaker.switchedOff(name)
  }

  const classify = given.classify ?? Outcome.fromExit
  const shell = yield* shellOf(name, config)
  const keyed = yield* Effect.withFiber((fiber) =>
    Effect.succeed(keyedCircuits.make(shell, maxKeys, idleMillis, fiber))
  )
  if (given.probe !== undefined && probeEveryMillis !== undefined) {
    const probe = { effect: given.probe.effect, everyMillis: probeEveryMillis }
    shell.startProber = yield* prober.make(probe, classify)
  }
  const circuit = Effect.withFiber((fiber) => Effect.succeed(snapshots.asOne(keyed, fiber)))
  yield* Health.register({ _tag: "Circuit", name, circuit })
  yield* circuitMetrics.register(shell, snapshots.presentOfKeys(keyed))
  return keyedBreaker.make(keyed, classify)
})

/** A Layer that provides a circuit breaker under a key of the application's own. */
export const layer = <I, R = never>(
  key: Context.Key<I, CircuitBreaker>,
  given: Options<R>
): Layer.Layer<I, InvalidOption, Exclude<R, Scope.Scope>> => Layer.effect(key, make(given))

/** A Layer that provides a keyed circuit breaker under a key of the application's own. */
export const layerKeyed = <I, R = never>(
  key: Context.Key<I, KeyedCircuitBreaker>,
  given: KeyedOptions<R>
): Layer.Layer<I, InvalidOption, Exclude<R, Scope.Scope>> => Layer.effect(key, makeKeyed(given))

const fields = {
  enabled: Schema.optionalKey(ConfigBoolean),
  ...trips.fields,
  openDuration: Schema.optionalKey(ConfigDuration),
  maxOpenDuration: Schema.optionalKey(ConfigDuration),
  probes: Schema.optionalKey(ConfigNumber),
  successes: Schema.optionalKey(ConfigNumber),
  maxWait: Schema.optionalKey(ConfigDuration),
  rampDuration: Schema.optionalKey(ConfigDuration),
  rampFrom: Schema.optionalKey(ConfigNumber)
}

const misfit = (config: Schema.Struct.Type<typeof fields>) =>
  trips.misfit(config) ??
  (config.rampFrom !== undefined && config.rampDuration === undefined
    ? { path: ["rampDuration"], issue: "rampFrom needs rampDuration" }
    : undefined)

/**
 * The options as configuration holds them, all of them optional: `enabled`, `openDuration`, `maxOpenDuration`, for half-open
 * `probes`, `successes` and `maxWait`, `rampDuration` and `rampFrom`, and the rules: `failures` (in a row), `failureRate`, and `slowCallRate` with
 * `slowerThan`. Several rules make `any`. The rates share `minimumCalls` and a window, `windowCalls` or `windowDuration`,
 * which they need. Bare numbers of durations are seconds.
 */
export const ConfigSchema = ConfigStruct(fields).check(Schema.makeFilter(misfit))

/** The options of a keyed breaker as configuration holds them: those of `ConfigSchema`, `maxKeys` and `idle`. */
export const KeyedConfigSchema = ConfigStruct({
  ...fields,
  maxKeys: Schema.optionalKey(ConfigNumber),
  idle: Schema.optionalKey(ConfigDuration)
}).check(Schema.makeFilter(misfit))

/** The options that a decoded configuration stands for. What it leaves out keeps its default. */
export const fromConfig = (config: typeof ConfigSchema.Type): Omit<Options, "name" | "probe"> => ({
  enabled: config.enabled,
  trip: trips.fromConfig(config),
  openDuration: config.openDuration,
  maxOpenDuration: config.maxOpenDuration,
  halfOpen: { probes: config.probes, successes: config.successes, maxWait: config.maxWait },
  ramp: config.rampDuration && { duration: config.rampDuration, from: config.rampFrom }
})

/**
 * A Layer that provides a circuit breaker whose options are read from configuration below `path`.
 *
 * Fails with `ConfigError` when a value cannot be read, with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <I>(
  key: Context.Key<I, CircuitBreaker>,
  name: string,
  path: string | ConfigProvider.Path
): Layer.Layer<I, InvalidOption | Config.ConfigError> =>
  Layer.effect(
    key,
    Effect.flatMap(readConfig(ConfigSchema, path), (config) => make({ ...fromConfig(config), name }))
  )

/** As `layerConfig`, for a keyed circuit breaker. Its fields are those of `KeyedConfigSchema`. */
export const layerKeyedConfig = <I>(
  key: Context.Key<I, KeyedCircuitBreaker>,
  name: string,
  path: string | ConfigProvider.Path
): Layer.Layer<I, InvalidOption | Config.ConfigError> =>
  Layer.effect(
    key,
    Effect.flatMap(readConfig(KeyedConfigSchema, path), (config) =>
      makeKeyed({ ...fromConfig(config), maxKeys: config.maxKeys, idle: config.idle, name })
    )
  )

/**
 * Runs a call through a breaker, with a classification of its own.
 *
 * `classify` is typed by the call's own exit. It replaces the breaker's; without it the breaker's is used.
 */
export const withBreaker: {
  <A, E>(
    breaker: CircuitBreaker,
    options?: { readonly classify?: ((exit: Exit.Exit<A, E>) => Outcome.Outcome) | undefined }
  ): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    breaker: CircuitBreaker,
    options?: { readonly classify?: ((exit: Exit.Exit<A, E>) => Outcome.Outcome) | undefined }
  ): Effect.Effect<A, E | ServiceUnavailable, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    breaker: CircuitBreaker,
    options?: { readonly classify?: ((exit: Exit.Exit<A, E>) => Outcome.Outcome) | undefined }
  ): Effect.Effect<A, E | ServiceUnavailable, R> =>
    options?.classify === undefined ? breaker.execute(self) : breaker.executeWith(self, options.classify)
)

const shellOf = Effect.fnUntraced(function* (name: string, config: Circuit.CircuitConfig) {
  const hub = yield* PubSub.sliding<Take.Take<PolicyEvent.Transition>>(128)
  yield* Effect.addFinalizer(() => PubSub.end(hub, Exit.void))
  const { emit } = yield* PolicyEvent.emitter
  return circuitShell.make(name, config, hub, emit)
})

const switchedOff = (name: string): CircuitBreaker => ({
  name,
  execute: (self) => self,
  executeWith: (self) => self,
  isOpen: Effect.succeed(false),
  gate: (self) => self,
  orElse: (fallback) => ServiceUnavailable.orElse(fallback),
  override: () => options.invalid(name, "enabled", false, "true, so that there is a circuit to override"),
  reset: Effect.void,
  reconfigure: () =>
    options.invalid(name, "enabled", false, "true, so that there is a circuit to reconfigure"),
  snapshot: Effect.succeed({
    name,
    enabled: false,
    state: "closed",
    override: undefined,
    failuresInARow: 0,
    ramp: undefined,
    rates: [],
    counts: { total: 0, successful: 0, failed: 0, ignored: 0, rejected: 0, fallback: 0 },
    lastFailureAtMillis: undefined,
    halfOpenIn: undefined
  }),
  transitions: Stream.empty
})
