/**
 * A bulkhead lets so many calls run at once, so that a slow dependency cannot take every fiber, socket and byte of
 * memory that the application has.
 *
 * A call that finds a permit free takes it and runs. Otherwise it waits in a bounded queue, or is rejected with
 * `ServiceUnavailable` (`BulkheadFull`) when there is no place, when its priority is not high enough to take one, or when
 * its time in the queue is over. A permit that is given back goes to the next in the queue, before anyone who comes later.
 *
 * **Gotchas**
 *
 * - Higher priorities are always served first: as long as they fill the bulkhead, lower ones wait until their time is over.
 * - Without `queueTimeout` and without a deadline a call waits as long as those before it take.
 * - Put the circuit breaker inside the bulkhead, so that a call which waited meets the circuit as it is now.
 *
 * **Example** (Two at once, and the third is turned away)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { Bulkhead } from "failsoft"
 *
 * const program = Effect.gen(function* () {
 *   const bulkhead = yield* Bulkhead.make({ name: "reports", limit: 2 })
 *   const report = Effect.as(Effect.yieldNow, "report").pipe(
 *     bulkhead.execute,
 *     Effect.catchReason("ServiceUnavailable", "BulkheadFull", () => Effect.succeed("busy"))
 *   )
 *   return yield* Effect.all([report, report, report], { concurrency: "unbounded" })
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => ["report", "report", "busy"]
 * ```
 */
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Deadline from "./Deadline.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import * as bulkheadShell from "./internal/bulkhead/shell.ts"
import { ConfigBoolean, ConfigDuration, ConfigNumber, ConfigStruct, readConfig } from "./internal/config.ts"
import * as options from "./internal/options.ts"
import * as rejections from "./internal/rejections.ts"
import * as Metrics from "./Metrics.ts"
import * as PolicyEvent from "./PolicyEvent.ts"
import { type ServiceUnavailable, UnavailableReason } from "./ServiceUnavailable.ts"

/** What a bulkhead is made from. `name` and `limit` are required: how much a dependency can bear is for you to say. */
export interface Options {
  /** Names the bulkhead, and the service it guards, in errors, logs and metrics. */
  readonly name: string
  /** Calls that may run at once, from 1 to 1,000,000. */
  readonly limit: number
  /** Calls that may wait for a permit, from 0 to 1,000,000. Default: 0. */
  readonly queue?: number | undefined
  /** The longest wait in the queue. Default: none; the deadline bounds the wait in any case. */
  readonly queueTimeout?: Duration.Input | undefined
  /** Levels of priority, from 1 to 16. Default: 1. */
  readonly priorities?: number | undefined
  /** `false` switches the bulkhead off: calls run as if it were not there. Default: `true`. */
  readonly enabled?: boolean | undefined
}

/** What `reconfigure` takes. What it leaves out gets its default, as at `make`. */
export type Settings = Omit<Options, "name" | "enabled">

/** What a keyed bulkhead is made from. `limit` and `queue` are those of each key. */
export interface KeyedOptions extends Options {
  /** Keys that may have calls under way at once, from 1 to 1,000,000. Default: 10,000. */
  readonly maxKeys?: number | undefined
}

/** What a single call may ask of a bulkhead. */
export interface CallOptions {
  /**
   * The level in the queue, from 0, which is served last, to `priorities - 1`. What lies outside counts as the nearest of
   * these, and fractions are rounded down. Default: 0.
   */
  readonly priority?: number | undefined
  /** `false`: the call runs at once or is rejected, as a hedge should be. Default: `true`. */
  readonly queue?: boolean | undefined
}

/** What a bulkhead looks like at one moment. */
export interface Snapshot {
  readonly name: string
  /** `false` when the bulkhead is switched off by configuration: then it counts nothing and rejects nothing. */
  readonly enabled: boolean
  readonly limit: number
  /** Calls that hold a permit. More than `limit` only for a while after it was lowered. */
  readonly inFlight: number
  /** Calls that wait for a permit. */
  readonly queued: number
  readonly counts: Counts
  readonly waits: Waits
}

/** Calls since the bulkhead was made, by what became of them: each is in one of these, once it no longer waits. */
export interface Counts {
  /** Calls that got a permit. */
  readonly admitted: number
  /** Calls that were turned away, at once or to make room for one of a higher priority. */
  readonly rejected: number
  /** Calls whose time in the queue was over. */
  readonly timedOut: number
  /** Calls that were interrupted in the queue. */
  readonly interrupted: number
}

/** Time spent in the queue by those who are in it no longer, whatever became of them. */
export interface Waits {
  readonly count: number
  readonly sumMillis: number
  readonly maxMillis: number
}

/** A bulkhead for one dependency. */
export interface Bulkhead {
  readonly name: string
  /** Runs a call when it gets a permit. Fails with `ServiceUnavailable` (`BulkheadFull`) when it does not. */
  readonly execute: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** As `execute`, with a priority, or without waiting. `withBulkhead` is its pipeable form. */
  readonly executeWith: <A, E, R>(
    self: Effect.Effect<A, E, R>,
    call: CallOptions
  ) => Effect.Effect<A, E | ServiceUnavailable, R>
  /**
   * Changes how many calls may run at once, from 1 to 1,000,000. More permits go to those who wait, at once; with fewer, the
   * calls that run go on, and none is admitted until they are below the limit. Fails with `InvalidOption` when `limit`
   * is out of its range, and when the bulkhead is switched off.
   */
  readonly resize: (limit: number) => Effect.Effect<void, InvalidOption>
  /**
   * Goes on under other options, the limit as `resize` does. Those who wait keep their places, also where the queue is shorter
   * now, and the time that they came with. Fails with `InvalidOption` when an option is out of its range, and when the bulkhead
   * is switched off; then nothing changes.
   */
  readonly reconfigure: (given: Settings) => Effect.Effect<void, InvalidOption>
  /** The limit, the calls and the counts now. */
  readonly snapshot: Effect.Effect<Snapshot>
}

/** What the bulkheads of all keys look like at one moment. Numbers are sums over all keys, but for `limit`. */
export interface KeyedSnapshot extends Snapshot {
  /** Keys that have calls in flight, and perhaps in the queue. */
  readonly keys: number
}

/** What the bulkhead of one key looks like at one moment. Calls are counted for all keys together. */
export interface KeySnapshot {
  readonly key: string
  readonly inFlight: number
  readonly queued: number
}

/** Bulkheads for many keys, such as hosts or tenants. A key that has no call in flight takes no memory. */
export interface KeyedBulkhead {
  readonly name: string
  /** As `execute` of a bulkhead, with the permits of a key. Rejects a new key while `maxKeys` others have calls in flight. */
  readonly execute: (
    key: string
  ) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** As `execute`, with a priority, or without waiting. `withKey` is its pipeable form. */
  readonly executeWith: <A, E, R>(
    key: string,
    self: Effect.Effect<A, E, R>,
    call: CallOptions
  ) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** As `resize` of a bulkhead, for every key. */
  readonly resize: (limit: number) => Effect.Effect<void, InvalidOption>
  /** The limit of each key, and the calls and counts of all now. */
  readonly snapshot: Effect.Effect<KeyedSnapshot>
  /** The calls of one key now; `undefined` if it has none. */
  readonly snapshotOf: (key: string) => Effect.Effect<KeySnapshot | undefined>
}

/**
 * Makes a bulkhead that lives as long as the scope.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const make: (given: Options) => Effect.Effect<Bulkhead, InvalidOption, Scope.Scope> =
  Effect.fnUntraced(function* (given: Options) {
    const shell = yield* shellOf(given)
    const pool = bulkheadShell.open(shell)
    yield* publish(shell, () => [pool])
    const executeWith: Bulkhead["executeWith"] = (self, call) =>
      shell.enabled ? bulkheadShell.execute(shell, pool, self, entryOf(call)) : self
    return {
      name: shell.name,
      execute: (self) => executeWith(self, {}),
      executeWith,
      resize: (limit) => resize(shell, [pool], limit),
      reconfigure: (given) =>
        Effect.map(ifEnabled(shell, validate(shell.name, given)), (settings) =>
          bulkheadShell.reconfigure(shell, pool, settings)
        ),
      snapshot: Effect.sync(() => snapshot(shell, [pool]))
    } satisfies Bulkhead
  })

/**
 * Makes a keyed bulkhead that lives as long as the scope.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const makeKeyed: (given: KeyedOptions) => Effect.Effect<KeyedBulkhead, InvalidOption, Scope.Scope> =
  Effect.fnUntraced(function* (given: KeyedOptions) {
    const shell = yield* shellOf(given)
    const maxKeys = yield* options.integer(shell.name, "maxKeys", given.maxKeys ?? 10_000, many)
    const pools = new Map<string, bulkheadShell.Pool>()
    const keys: bulkheadShell.Keys = { max: maxKeys, pools }
    yield* publish(shell, () => pools.values())
    const executeWith: KeyedBulkhead["executeWith"] = (key, self, call) =>
      shell.enabled ? bulkheadShell.executeKeyed(shell, keys, key, self, entryOf(call)) : self
    return {
      name: shell.name,
      execute: (key) => (self) => executeWith(key, self, {}),
      executeWith,
      resize: (limit) => resize(shell, pools.values(), limit),
      snapshot: Effect.sync(() => ({ ...snapshot(shell, pools.values()), keys: pools.size })),
      snapshotOf: (key) => Effect.sync(() => keySnapshot(key, pools.get(key)))
    } satisfies KeyedBulkhead
  })

/** A Layer that provides a bulkhead under a key of the application's own. */
export const layer = <I>(key: Context.Key<I, Bulkhead>, given: Options): Layer.Layer<I, InvalidOption> =>
  Layer.effect(key, make(given))

/** A Layer that provides a keyed bulkhead under a key of the application's own. */
export const layerKeyed = <I>(
  key: Context.Key<I, KeyedBulkhead>,
  given: KeyedOptions
): Layer.Layer<I, InvalidOption> => Layer.effect(key, makeKeyed(given))

const fields = {
  enabled: Schema.optionalKey(ConfigBoolean),
  limit: ConfigNumber,
  queue: Schema.optionalKey(ConfigNumber),
  queueTimeout: Schema.optionalKey(ConfigDuration),
  priorities: Schema.optionalKey(ConfigNumber)
}

/**
 * The options as configuration holds them: `limit`, which is required, `enabled`, `queue`, `queueTimeout` and `priorities`.
 * Bare numbers of durations are seconds.
 */
export const ConfigSchema = ConfigStruct(fields)

/** The options of a keyed bulkhead as configuration holds them: those of `ConfigSchema`, and `maxKeys`. */
export const KeyedConfigSchema = ConfigStruct({ ...fields, maxKeys: Schema.optionalKey(ConfigNumber) })

/** The options that a decoded configuration stands for. What it leaves out keeps its default. */
export const fromConfig = (config: typeof ConfigSchema.Type): Omit<Options, "name"> => config

/**
 * A Layer that provides a bulkhead whose options are read from configuration below `path`.
 *
 * Fails with `ConfigError` when a value cannot be read, with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <I>(
  key: Context.Key<I, Bulkhead>,
  name: string,
  path: string | ConfigProvider.Path
): Layer.Layer<I, InvalidOption | Config.ConfigError> =>
  Layer.effect(
    key,
    Effect.flatMap(readConfig(ConfigSchema, path), (config) => make({ ...fromConfig(config), name }))
  )

/** As `layerConfig`, for a keyed bulkhead. Its fields are those of `KeyedConfigSchema`. */
export const layerKeyedConfig = <I>(
  key: Context.Key<I, KeyedBulkhead>,
  name: string,
  path: string | ConfigProvider.Path
): Layer.Layer<I, InvalidOption | Config.ConfigError> =>
  Layer.effect(
    key,
    Effect.flatMap(readConfig(KeyedConfigSchema, path), (config) => makeKeyed({ ...config, name }))
  )

/** Runs a call through a bulkhead, with a priority of its own, or without waiting. */
export const withBulkhead: {
  (
    bulkhead: Bulkhead,
    call?: CallOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    bulkhead: Bulkhead,
    call?: CallOptions
  ): Effect.Effect<A, E | ServiceUnavailable, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    bulkhead: Bulkhead,
    call?: CallOptions
  ): Effect.Effect<A, E | ServiceUnavailable, R> => bulkhead.executeWith(self, call ?? {})
)

/** Runs a call through the bulkhead of a key, with a priority of its own, or without waiting. */
export const withKey: {
  (
    bulkhead: KeyedBulkhead,
    key: string,
    call?: CallOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    bulkhead: KeyedBulkhead,
    key: string,
    call?: CallOptions
  ): Effect.Effect<A, E | ServiceUnavailable, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    bulkhead: KeyedBulkhead,
    key: string,
    call?: CallOptions
  ): Effect.Effect<A, E | ServiceUnavailable, R> => bulkhead.executeWith(key, self, call ?? {})
)

const many = { min: 1, max: 1_000_000 }

const validate = Effect.fnUntraced(function* (name: string, given: Settings) {
  const settings: bulkheadShell.Settings = {
    limit: yield* options.integer(name, "limit", given.limit, many),
    queue: yield* options.integer(name, "queue", given.queue ?? 0, { ...many, min: 0 }),
    queueTimeoutMillis:
      given.queueTimeout === undefined
        ? Number.POSITIVE_INFINITY
        : yield* options.millis(name, "queueTimeout", given.queueTimeout),
    priorities: yield* options.integer(name, "priorities", given.priorities ?? 1, { min: 1, max: 16 })
  }
  return settings
})

const shellOf = Effect.fnUntraced(function* (given: Options) {
  const name = yield* options.name("name", given.name)
  const { emit } = yield* PolicyEvent.emitter
  const shell: bulkheadShell.Shell = {
    name,
    enabled: given.enabled !== false,
    ...(yield* validate(name, given)),
    leftMillis: Deadline.remainingMillis,
    rejections: rejections.make(name, UnavailableReason.BulkheadFull(), emit),
    counts: { admitted: 0, rejected: 0, timedOut: 0, interrupted: 0 },
    waits: { count: 0, sumMillis: 0, maxMillis: 0 },
    waitTimes: Metrics.durations(Metrics.queueWait)
  }
  yield* Effect.addFinalizer(() => rejections.tellRest(shell.rejections))
  return shell
})

const entryOf = (call: CallOptions): bulkheadShell.Entry => ({
  // `||`, for NaN is no level.
  priority: Math.max(0, Math.floor(call.priority || 0)),
  mayWait: call.queue !== false
})

const resize = (
  shell: bulkheadShell.Shell,
  pools: Iterable<bulkheadShell.Pool>,
  given: number
): Effect.Effect<void, InvalidOption> =>
  Effect.map(ifEnabled(shell, options.integer(shell.name, "limit", given, many)), (limit) =>
    bulkheadShell.resize(shell, pools, limit)
  )

const ifEnabled = <A>(
  { enabled, name }: bulkheadShell.Shell,
  checked: Effect.Effect<A, InvalidOption>
): Effect.Effect<A, InvalidOption> =>
  enabled ? checked : options.invalid(name, "enabled", false, "true, so that there is a limit to change")

const snapshot = (shell: bulkheadShell.Shell, pools: Iterable<bulkheadShell.Pool>): Snapshot => {
  const { enabled, limit, name } = shell
  let inFlight = 0
  let queued = 0
  for (const { permits } of pools) {
    inFlight += permits.inFlight
    queued += permits.queued
  }
  return { name, enabled, limit, inFlight, queued, counts: { ...shell.counts }, waits: { ...shell.waits } }
}

/** Publishes what a bulkhead counts, of a keyed one for all keys; the limit is that of each. */
const publish = (
  shell: bulkheadShell.Shell,
  pools: () => Iterable<bulkheadShell.Pool>
): Effect.Effect<void, never, Scope.Scope> =>
  shell.enabled
    ? Metrics.register(shell.name, [
        Metrics.series(Metrics.inflight, {}, () => snapshot(shell, pools()).inFlight),
        Metrics.series(Metrics.limit, {}, () => shell.limit),
        Metrics.series(Metrics.queueDepth, {}, () => snapshot(shell, pools()).queued),
        Metrics.series(Metrics.queueWait, {}, shell.waitTimes),
        Metrics.series(Metrics.rejections, { reason: "BulkheadFull" }, () => shell.rejections.total)
      ])
    : Effect.void

const keySnapshot = (key: string, pool: bulkheadShell.Pool | undefined): KeySnapshot | undefined =>
  pool && { key, inFlight: pool.permits.inFlight, queued: pool.permits.queued }
