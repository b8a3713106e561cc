/**
 * A cache in front of a dependency, that has something to answer while the dependency has not.
 *
 * A value is fresh for its time to live. When that is over it may still be served, marked as stale: while it is refreshed
 * in the background (`staleWhileRevalidate`), and because a refresh failed or takes too long (`staleIfError`,
 * `softTimeout`). Both windows begin when the time to live is over, and no failure makes them longer, so that no value
 * is ever older than its time to live and the longer window together.
 *
 * Callers of one key share one lookup. It runs in a fiber of the cache, in the context in which the cache was made: a caller
 * that leaves does not take it from the others, and the deadline of none of them is its own. Its limit is
 * `hardTimeout`. A caller waits for as long as its own deadline allows.
 *
 * **Gotchas**
 *
 * - Only outages are answered by a stale value: `ServiceUnavailable`, and what `isUnavailable` says. A wrong password, a
 *   limit of ours that was reached, a defect and every other error reach the caller.
 * - What was found for one caller is served to all. Put into the key whatever the answer depends on.
 * - Keys are compared as `Map` does, hence their type: text, numbers and booleans.
 * - A lookup that asks the cache for its own key waits for itself, until `hardTimeout`.
 * - What a lookup acquires without a scope of its own is released with the cache.
 * - `get` does not tell whether a value is stale. `getServed` does.
 *
 * **Example** (A price that outlives its service)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { ServiceUnavailable, StaleCache, UnavailableReason } from "failsoft"
 *
 * let isUp = true
 * const away = new ServiceUnavailable({ service: "prices", reason: UnavailableReason.NotConnected() })
 *
 * const program = Effect.gen(function* () {
 *   const prices = yield* StaleCache.make({
 *     name: "prices",
 *     lookup: (_product: string) => Effect.suspend(() => (isUp ? Effect.succeed(42) : Effect.fail(away))),
 *     timeToLive: "1 minute",
 *     jitter: 0,
 *     staleIfError: "1 hour"
 *   })
 *   yield* prices.get("apples")
 *   isUp = false
 *   yield* TestClock.adjust("10 minutes")
 *   return yield* prices.getServed("apples")
 * }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))
 *
 * await Effect.runPromise(program) // => { value: 42, source: "stale", ageMillis: 600_000 }
 * ```
 */
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Deadline from "./Deadline.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import * as cacheJudge from "./internal/cache/judge.ts"
import * as lookups from "./internal/cache/lookups.ts"
import * as cacheShell from "./internal/cache/shell.ts"
import { ConfigBoolean, ConfigDuration, ConfigNumber, ConfigStruct, readConfig } from "./internal/config.ts"
import * as options from "./internal/options.ts"
import * as Metrics from "./Metrics.ts"
import type * as Served from "./Served.ts"
import type { ServiceUnavailable } from "./ServiceUnavailable.ts"

/** What may be a key: what `Map` finds again by its value. */
export type Key = string | number | bigint | boolean

/** What a cache is made from. `name`, `lookup` and `timeToLive` are required. */
export interface Options<K extends Key, A, E = never, R = never> {
  /** Names the cache, and the service behind it, in errors and logs. */
  readonly name: string
  /** Asks the dependency. What it needs is taken from where the cache is made. */
  readonly lookup: (key: K) => Effect.Effect<A, E, R>
  /**
   * How long a value is fresh, up to 365 days. As a function it is asked for each value: one that is not longer than 0
   * keeps the value from being stored, one that is too long counts as 365 days.
   */
  readonly timeToLive: Duration.Input | ((value: NoInfer<A>, key: NoInfer<K>) => Duration.Input)
  /**
   * The share of each time to live, from 0 to 1, that chance may take away, so that what was stored together is not
   * refreshed together. Default: 0.1.
   */
  readonly jitter?: number | undefined
  /** How long after its time to live a value is served at once, while it is refreshed in the background. Default: not at all. */
  readonly staleWhileRevalidate?: Duration.Input | undefined
  /** How long after its time to live a value is served because its refresh failed by an outage. Default: not at all. */
  readonly staleIfError?: Duration.Input | undefined
  /**
   * Which errors of the lookup are an outage, beside `ServiceUnavailable`. `Misconfigured`, `Unsupported`, `QuotaExceeded`,
   * `Ambiguous` and defects never are. Default: none.
   */
  readonly isUnavailable?: ((error: NoInfer<E>) => boolean) | undefined
  /**
   * How long a lookup may take before those who wait for it are served a stale value, where `staleIfError` allows one;
   * the lookup goes on. Shorter than `hardTimeout`. Default: none.
   */
  readonly softTimeout?: Duration.Input | undefined
  /** How long a lookup may take before it is interrupted and given up, as an outage. Default: `"30 seconds"`. */
  readonly hardTimeout?: Duration.Input | undefined
  /** The share of the time to live, between 0 and 1, after which a hit refreshes in the background. Default: none. */
  readonly eagerRefresh?: number | undefined
  /**
   * Errors of the lookup that are answers, such as "not found": they are held and served for `timeToLive`, in place of
   * what was held. `when` is not asked about the errors of policies, `ServiceUnavailable` and the others. Default: none.
   */
  readonly negative?:
    | { readonly timeToLive: Duration.Input; readonly when: (error: NoInfer<E>) => boolean }
    | undefined
  /** How long a key whose refresh failed is left alone, as long as there is something to serve. Default: `"10 seconds"`. */
  readonly pauseAfterFailure?: Duration.Input | undefined
  /** Values that are held at most, from 1 to 10,000,000. What was used least recently leaves first. Default: 1000. */
  readonly maxEntries?: number | undefined
  /** The sum of `sizeOf` over what is held, at most. Needs `sizeOf`. Default: no bound. */
  readonly maxBytes?: number | undefined
  /** The bytes of a value. What is no finite number from 0 upwards counts as too large. Default: 0. */
  readonly sizeOf?: ((value: NoInfer<A>, key: NoInfer<K>) => number) | undefined
  /** Lookups that may run while nobody waits for them, from 1 to 100,000. Default: 64. */
  readonly maxBackground?: number | undefined
  /** `false` switches the cache off: each `get` runs the lookup, in its caller's fiber. Default: `true`. */
  readonly enabled?: boolean | undefined
}

/** What a cache looks like at one moment. */
export interface Snapshot {
  readonly name: string
  /** `false` when the cache is switched off by configuration: then it holds and counts nothing. */
  readonly enabled: boolean
  /** What is held, also what has expired and was not asked for since. */
  readonly entries: number
  /** The sum of `sizeOf` over what is held. */
  readonly bytes: number
  /** Calls of `get` and `getServed` that were answered by what is held and fresh. */
  readonly hits: number
  /** Those that were answered by what is held and has expired. */
  readonly stale: number
  /** All others: answered by a lookup, failed, or interrupted. */
  readonly misses: number
  /** Lookups that were begun, for whatever reason. */
  readonly lookups: number
  /** Those of them that failed, other than by an answer. */
  readonly failures: number
  /** What was not kept for want of room. */
  readonly evicted: number
  /** Lookups under way, without those whose key was invalidated or set meanwhile. */
  readonly inFlight: number
  /** Lookups under way that nobody waits for. */
  readonly background: number
}

/** A cache in front of one dependency. */
export interface StaleCache<K extends Key, A, E = never> {
  readonly name: string
  /**
   * The value of a key, held or looked up. Fails as the lookup does, and with `ServiceUnavailable` (`TimedOut`) when that
   * takes longer than `hardTimeout`, or than the caller's deadline allows.
   */
  readonly get: (key: K) => Effect.Effect<A, E | ServiceUnavailable>
  /** As `get`, with the source of the value, `live` or `stale`, and its age. */
  readonly getServed: (key: K) => Effect.Effect<Served.Served<A>, E | ServiceUnavailable>
  /** What is held of a key and may be served, also if only because of an outage. Asks nobody, counts nothing. */
  readonly peek: (key: K) => Effect.Effect<Option.Option<Served.Served<A>>>
  /**
   * Looks a key up and gives what comes of it. What is held stays if that fails. Joins a lookup that is under way; to have
   * one that begins now, invalidate first.
   */
  readonly refresh: (key: K) => Effect.Effect<A, E | ServiceUnavailable>
  /** Holds a value. What a lookup under way will find is not stored. */
  readonly set: (key: K, value: A) => Effect.Effect<void>
  /** Forgets a key, for outages as well. What a lookup under way will find reaches those who wait for it, and is not stored. */
  readonly invalidate: (key: K) => Effect.Effect<void>
  /** As `invalidate`, for all keys. */
  readonly invalidateAll: Effect.Effect<void>
  /** Counts and sizes now. */
  readonly snapshot: Effect.Effect<Snapshot>
}

/**
 * Makes a cache that lives as long as the scope: when that ends, lookups are interrupted, and who waits for them with them.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const make: <K extends Key, A, E = never, R = never>(
  given: Options<K, A, E, R>
) => Effect.Effect<StaleCache<K, A, E>, InvalidOption, R | Scope.Scope> = Effect.fnUntraced(function* <
  K extends Key,
  A,
  E,
  R
>(given: Options<K, A, E, R>) {
  const { bounds, limits, rules } = yield* validate(given)
  // Without the deadline of whoever makes the cache: lookups have none but their own limit.
  const context = yield* Deadline.unbounded(Effect.context<R>())
  const { lookup, name } = given
  if (given.enabled === false) return switchedOff(name, lookup, context)

  const plan: lookups.Plan<K, A, E> = {
    ...limits,
    name,
    lookUp: (key) =>
      Effect.suspend(() => lookup(key)).pipe(
        Effect.exit,
        Effect.map((exit) => cacheJudge.exit(rules, key, exit)),
        Effect.matchCause({
          onSuccess: (found) => found,
          onFailure: (cause): cacheJudge.Found<A, E> => ({ _tag: "Failure", cause, isOutage: false })
        }),
        Effect.provideContext(context)
      ),
    context,
    remainingMillis: Deadline.remainingMillis
  }
  const shell = yield* lookups.make(plan, bounds)
  const { counters } = shell
  const published = { hit: () => counters.hits, miss: () => counters.misses, stale: () => counters.stale }
  yield* Metrics.register(name, [
    ...Metrics.each(Metrics.cacheRequests, ({ result }) => published[result]),
    Metrics.series(Metrics.cacheEntries, {}, () => shell.entries.size)
  ])
  const plain = cacheShell.plain<A, E>()
  const served = cacheShell.served<A, E>()
  return {
    name,
    get: (key) => cacheShell.get(shell, key, plain),
    getServed: (key) => cacheShell.get(shell, key, served),
    peek: (key) => Effect.sync(() => cacheShell.peek(shell, key)),
    refresh: (key) => cacheShell.refresh(shell, key),
    set: (key, value) => Effect.sync(() => cacheShell.set(shell, key, cacheJudge.value(rules, key, value))),
    invalidate: (key) => Effect.sync(() => cacheShell.invalidate(shell, key)),
    invalidateAll: Effect.sync(() => cacheShell.invalidateAll(shell)),
    snapshot: Effect.sync(() => snapshotOf(shell))
  } satisfies StaleCache<K, A, E>
})

/** A Layer that provides a cache under a key of the application's own. */
export const layer = <I, K extends Key, A, E = never, R = never>(
  key: Context.Key<I, StaleCache<K, A, E>>,
  given: Options<K, A, E, R>
): Layer.Layer<I, InvalidOption, Exclude<R, Scope.Scope>> => Layer.effect(key, make(given))

/**
 * The options as configuration holds them, all of them optional: every one that is a number, a duration or a switch. Bare
 * numbers of durations are seconds. Functions, and `negative`, are for code.
 */
export const ConfigSchema = ConfigStruct({
  enabled: Schema.optionalKey(ConfigBoolean),
  timeToLive: Schema.optionalKey(ConfigDuration),
  jitter: Schema.optionalKey(ConfigNumber),
  staleWhileRevalidate: Schema.optionalKey(ConfigDuration),
  staleIfError: Schema.optionalKey(ConfigDuration),
  softTimeout: Schema.optionalKey(ConfigDuration),
  hardTimeout: Schema.optionalKey(ConfigDuration),
  eagerRefresh: Schema.optionalKey(ConfigNumber),
  pauseAfterFailure: Schema.optionalKey(ConfigDuration),
  maxEntries: Schema.optionalKey(ConfigNumber),
  maxBytes: Schema.optionalKey(ConfigNumber),
  maxBackground: Schema.optionalKey(ConfigNumber)
})

/** The options that a decoded configuration stands for. What it leaves out is left out: spread it over those of code. */
export const fromConfig = (config: typeof ConfigSchema.Type): typeof ConfigSchema.Type => config

/**
 * A Layer that provides a cache whose options are read from configuration below `path`, over those that are given.
 *
 * Fails with `ConfigError` when a value cannot be read, with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <I, K extends Key, A, E = never, R = never>(
  key: Context.Key<I, StaleCache<K, A, E>>,
  given: Options<K, A, E, R>,
  path: string | ConfigProvider.Path
): Layer.Layer<I, InvalidOption | Config.ConfigError, Exclude<R, Scope.Scope>> =>
  Layer.effect(
    key,
    Effect.flatMap(readConfig(ConfigSchema, path), (config) => make({ ...given, ...fromConfig(config) }))
  )

const snapshotOf = <K, A, E>({
  background,
  counters,
  entries,
  flights,
  name
}: lookups.Shell<K, A, E>): Snapshot => ({
  name,
  enabled: true,
  entries: entries.size,
  bytes: entries.bytes,
  ...counters,
  inFlight: flights.size,
  background
})

/** The lookup alone, in its caller's fiber and by its caller's deadline. */
const switchedOff = <K extends Key, A, E, R>(
  name: string,
  lookup: (key: K) => Effect.Effect<A, E, R>,
  context: Context.Context<R>
): StaleCache<K, A, E> => {
  const run = (key: K): Effect.Effect<A, E> =>
    Effect.withFiber((fiber) => {
      const leftMillis = Deadline.remainingMillis(fiber)
      const found = Effect.suspend(() => lookup(key))
      return Effect.provideContext(
        leftMillis === undefined ? found : Deadline.within(found, Duration.millis(leftMillis)),
        context
      )
    })
  return {
    name,
    get: run,
    getServed: (key) => Effect.map(run(key), (value) => ({ value, source: "live", ageMillis: 0 })),
    peek: () => Effect.succeed(Option.none()),
    refresh: run,
    set: () => Effect.void,
    invalidate: () => Effect.void,
    invalidateAll: Effect.void,
    snapshot: Effect.succeed({
      name,
      enabled: false,
      entries: 0,
      bytes: 0,
      hits: 0,
      stale: 0,
      misses: 0,
      lookups: 0,
      failures: 0,
      evicted: 0,
      inFlight: 0,
      background: 0
    })
  }
}

/** Values are judged by the clock alone, so they may live longer than a timer runs. */
const maxTimeToLive = Duration.days(365)

const validate = Effect.fnUntraced(function* <K extends Key, A, E, R>(given: Options<K, A, E, R>) {
  const name = yield* options.name("name", given.name)
  const duration = (option: string, value: Duration.Input) =>
    options.millis(name, option, value, maxTimeToLive)
  const { timeToLive } = given
  const ttlMillis = typeof timeToLive === "function" ? timeToLive : yield* duration("timeToLive", timeToLive)
  const { hardMillis, softMillis } = yield* timeouts(name, given)
  const rules: cacheJudge.Rules<K, A, E> = {
    ttlMillis,
    maxTtlMillis: Duration.toMillis(maxTimeToLive),
    windows: {
      eagerShare: yield* eagerShare(name, given.eagerRefresh),
      revalidateMillis:
        given.staleWhileRevalidate === undefined
          ? 0
          : yield* duration("staleWhileRevalidate", given.staleWhileRevalidate),
      ifErrorMillis:
        given.staleIfError === undefined ? 0 : yield* duration("staleIfError", given.staleIfError)
    },
    sizeOf: given.sizeOf,
    negative:
      given.negative === undefined
        ? undefined
        : {
            ttlMillis: yield* duration("negative.timeToLive", given.negative.timeToLive),
            when: given.negative.when
          },
    isUnavailable: given.isUnavailable
  }
  const limits = {
    jitter: yield* options.number(name, "jitter", given.jitter ?? 0.1, { min: 0, max: 1 }),
    softMillis,
    hardMillis,
    pauseMillis: yield* options.millis(name, "pauseAfterFailure", given.pauseAfterFailure ?? "10 seconds"),
    maxBackground: yield* options.integer(name, "maxBackground", given.maxBackground ?? 64, {
      min: 1,
      max: 100_000
    })
  }
  return { rules, limits, bounds: yield* boundsOf(name, given) }
})

interface Shared {
  readonly staleIfError?: Duration.Input | undefined
  readonly softTimeout?: Duration.Input | undefined
  readonly hardTimeout?: Duration.Input | undefined
}

const timeouts = Effect.fnUntraced(function* (name: string, given: Shared) {
  const hardMillis = yield* options.millis(name, "hardTimeout", given.hardTimeout ?? "30 seconds")
  if (given.softTimeout === undefined) return { hardMillis, softMillis: Number.POSITIVE_INFINITY }
  const softMillis = yield* options.millis(name, "softTimeout", given.softTimeout)
  if (given.staleIfError === undefined) {
    return yield* options.invalid(
      name,
      "softTimeout",
      given.softTimeout,
      "a duration where staleIfError is given as well"
    )
  }
  if (softMillis >= hardMillis) {
    const most = `a duration shorter than hardTimeout, which is ${Duration.format(Duration.millis(hardMillis))}`
    return yield* options.invalid(name, "softTimeout", given.softTimeout, most)
  }
  return { hardMillis, softMillis }
})

const eagerShare = (name: string, share: number | undefined): Effect.Effect<number, InvalidOption> => {
  if (share === undefined) return Effect.succeed(1)
  return share > 0 && share < 1
    ? Effect.succeed(share)
    : options.invalid(name, "eagerRefresh", share, "a number above 0 and below 1")
}

const boundsOf = Effect.fnUntraced(function* <K extends Key, A, E, R>(
  name: string,
  { maxBytes, maxEntries, sizeOf }: Options<K, A, E, R>
) {
  if (maxBytes !== undefined && sizeOf === undefined) {
    return yield* options.invalid(name, "maxBytes", maxBytes, "a number where sizeOf is given as well")
  }
  return {
    maxEntries: yield* options.integer(name, "maxEntries", maxEntries ?? 1000, { min: 1, max: 10_000_000 }),
    maxBytes:
      maxBytes === undefined
        ? Number.MAX_SAFE_INTEGER
        : yield* options.integer(name, "maxBytes", maxBytes, { min: 1, max: Number.MAX_SAFE_INTEGER })
  }
})
