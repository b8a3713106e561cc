/**
 * A rate limiter lets so many calls through in a time, and rejects the others or has them wait for their turn.
 *
 * It bounds how often calls begin, so as to stay within what a dependency allows or what one caller may use. How many run at
 * once is for a bulkhead: nothing comes back to a limiter when a call ends, only when time has passed.
 *
 * There are three algorithms. `gcra` spreads calls at an even pace and allows a burst; `slidingWindow` counts them over the
 * last stretch of time, nearly; `fixedWindow` counts them in one stretch after another. `makeKeyed` holds a limit for
 * each of many keys, such as users or hosts.
 *
 * **Gotchas**
 *
 * - It limits this process. Ten instances let through ten times as much.
 * - A call that is interrupted once it was let through has used its cost. `refund` gives it back if it was not made.
 * - A retry inside a limiter is seen as one call. Put the limiter inside the retry.
 *
 * **Example** (Two calls a second)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { RateLimiter } from "failsoft"
 *
 * const program = Effect.gen(function* () {
 *   const limiter = yield* RateLimiter.make({
 *     name: "search",
 *     algorithm: RateLimiter.gcra({ limit: 2, period: "1 second" })
 *   })
 *   const search = Effect.succeed("found").pipe(
 *     limiter.execute,
 *     Effect.catchReason("ServiceUnavailable", "RateLimited", () => Effect.succeed("too many"))
 *   )
 *   return yield* Effect.all([search, search, search])
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => ["found", "found", "too many"]
 * ```
 */
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Deadline from "./Deadline.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import { monotonicMillis } from "./internal/clock.ts"
import { ConfigBoolean, ConfigStruct, readConfig } from "./internal/config.ts"
import * as limits from "./internal/limiter/limits.ts"
import * as limiterShell from "./internal/limiter/shell.ts"
import * as options from "./internal/options.ts"
import type { Algorithm } from "./Limit.ts"
import * as Metrics from "./Metrics.ts"
import * as PolicyEvent from "./PolicyEvent.ts"
import type { ServiceUnavailable } from "./ServiceUnavailable.ts"
import * as KeyTable from "./state/KeyTable.ts"

export {
  type Algorithm,
  type FixedWindow,
  fixedWindow,
  type Gcra,
  gcra,
  type SlidingWindow,
  slidingWindow
} from "./Limit.ts"

/** What a rate limiter is made from. `name` and `algorithm` are required. */
export interface Options {
  /** Names the limiter, and the service it guards, in errors, logs and metrics. */
  readonly name: string
  /** How many calls in what time. */
  readonly algorithm: Algorithm
  /**
   * What becomes of a call that is over the limit. `"reject"`: it fails at once. `delay`: it waits for its turn, first come
   * first served, unless the wait is longer than `maxWait` (default `"1 second"`, at most 24 days) or than its deadline allows,
   * or `maxWaiting` (default 1,000; 1 to 1,000,000) wait already. Default: `"reject"`.
   */
  readonly onLimit?:
    | "reject"
    | {
        readonly delay: {
          readonly maxWait?: Duration.Input | undefined
          readonly maxWaiting?: number | undefined
        }
      }
    | undefined
  /** `false` switches the limiter off: calls run as if it were not there. Default: `true`. */
  readonly enabled?: boolean | undefined
}

/** What `reconfigure` takes. What it leaves out gets its default, as at `make`. */
export type Settings = Omit<Options, "name" | "enabled">

/** What a keyed rate limiter is made from. */
export interface KeyedOptions extends Options {
  /** Keys that are held at most, 1 to 1,000,000. A key is let go of once its limit is whole again. Default: 10,000. */
  readonly maxKeys?: number | undefined
  /**
   * What becomes of a call of a new key while all that are held are in use: `"reject"` refuses it, so that no limit can be passed
   * by changing keys; `"admit"` lets it through without counting it. Default: `"reject"`.
   */
  readonly whenFull?: "reject" | "admit" | undefined
}

/** What a single call may ask of a limiter. */
export interface CallOptions {
  /**
   * What it takes, 1 by default. 0 takes nothing and is never limited. More than the limit (the burst of `gcra`), or what is no
   * number from 0, can never be admitted: it is rejected without a `retryAfter`.
   */
  readonly cost?: number | undefined
  /** `false`: the call is let through at once or rejected, as a hedge should be, also where others wait. Default: `true`. */
  readonly wait?: boolean | undefined
}

/** What a call would find. */
export interface Reading {
  /** What could be taken at once, in whole units of cost; infinite when the limiter is switched off. */
  readonly remaining: number
  /** Zero when the call would be let through at once, `undefined` when it never would. */
  readonly retryAfter: Duration.Duration | undefined
  /** The time until everything is there again, if nobody comes. */
  readonly resetAfter: Duration.Duration
}

/** What a limiter has done so far. */
export interface Snapshot {
  readonly name: string
  readonly enabled: boolean
  /** Calls that were let through, those that had waited included. */
  readonly admitted: number
  /** Calls that were let through after a wait. */
  readonly delayed: number
  readonly rejected: number
  /** Calls that wait for their turn now. */
  readonly waiting: number
  /** Keys that are held. */
  readonly keys: number
  /** Calls that were let through uncounted, for want of room for their key. */
  readonly letThrough: number
}

/** A rate limiter. */
export interface RateLimiter extends KeyLimiter {
  /**
   * Goes on under other options. What is taken at this moment, in whole units, is taken of the new algorithm as well, whatever
   * its kind, as far as it has so much; the counts stay. Calls that wait keep the turns that they know. Fails with
   * `InvalidOption` when an option is out of its range, and when the limiter is switched off; then nothing changes.
   */
  readonly reconfigure: (given: Settings) => Effect.Effect<void, InvalidOption>
}

/** One key of a keyed rate limiter. */
export interface KeyLimiter {
  readonly name: string
  /** Runs a call when the limit lets it. Fails with `ServiceUnavailable` (`RateLimited`) when it is over the limit. */
  readonly execute: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** As `execute`, with a cost of its own. `withRateLimit` is its pipeable form. */
  readonly executeWith: <A, E, R>(
    self: Effect.Effect<A, E, R>,
    call: CallOptions
  ) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** Takes `cost` (default 1) as a call would: at once, or after a wait where that is allowed. Fails as `execute` does. */
  readonly take: (cost?: number) => Effect.Effect<void, ServiceUnavailable>
  /** What a call of `cost` (default 1) would find. Takes nothing. */
  readonly peek: (cost?: number) => Effect.Effect<Reading>
  /**
   * Gives `cost` (default 1) back that was taken for a call which was not made. Never more than the limit comes of it. A window
   * takes back no more than was taken in it, by whomever; `gcra` takes nothing back while calls wait, since they know their turns.
   * Give it back soon: what time has brought back already would come twice.
   */
  readonly refund: (cost?: number) => Effect.Effect<void>
  /** What it has done so far; of a keyed one, for all its keys. */
  readonly snapshot: Effect.Effect<Snapshot>
}

/** A limit for each of many keys. */
export interface KeyedRateLimiter {
  readonly name: string
  /** Runs a call when the limit of its key lets it. */
  readonly execute: (
    key: string
  ) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** The limiter of one key. Making it takes nothing. */
  readonly of: (key: string) => KeyLimiter
  /** What it has done so far, for all keys. */
  readonly snapshot: Effect.Effect<Snapshot>
}

/**
 * Makes a rate limiter.
 *
 * Fails with `InvalidOption` when an option is out of its range. When the scope ends it tells of the rejections that no log
 * line told yet.
 */
export const make: (given: Options) => Effect.Effect<RateLimiter, InvalidOption, Scope.Scope> =
  Effect.fnUntraced(function* (given: Options) {
    const limiter = yield* makeLimiter(given, onlyKey)
    return {
      ...limiterOf(given, limiter, ""),
      reconfigure: (next) => reconfigure(given, limiter, next)
    }
  })

/**
 * Makes a rate limiter that holds a limit for each key.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const makeKeyed: (given: KeyedOptions) => Effect.Effect<KeyedRateLimiter, InvalidOption, Scope.Scope> =
  Effect.fnUntraced(function* (given: KeyedOptions) {
    const { name } = given
    const maxKeys = yield* options.integer(name, "maxKeys", given.maxKeys ?? 10_000, limits.upToAMillion)
    const whenFull = yield* options.oneOf(name, "whenFull", given.whenFull ?? "reject", ["reject", "admit"])
    const limiter = yield* makeLimiter(given, {
      statesOf: (freeAtMillis) => KeyTable.make(maxKeys, freeAtMillis),
      whenFull
    })
    return {
      name,
      execute: (key) => (self) => (limiter === undefined ? self : limiter.execute(key, 1, self, true)),
      of: (key) => limiterOf(given, limiter, key),
      snapshot: snapshotOf(given, limiter)
    }
  })

/** A Layer that provides a rate limiter under a key of the application's own. */
export const layer = <I>(key: Context.Key<I, RateLimiter>, given: Options): Layer.Layer<I, InvalidOption> =>
  Layer.effect(key, make(given))

/** A Layer that provides a keyed rate limiter under a key of the application's own. */
export const layerKeyed = <I>(
  key: Context.Key<I, KeyedRateLimiter>,
  given: KeyedOptions
): Layer.Layer<I, InvalidOption> => Layer.effect(key, makeKeyed(given))

/**
 * The options as configuration holds them: `limit`, with `period` and perhaps `burst` for the `algorithm` `gcra`, which is the
 * default, or with `window` for `sliding-window` and `fixed-window`; `onLimit`, `reject` or `delay`, with `maxWait` and
 * `maxWaiting` for the latter; `enabled`. Bare numbers of durations are seconds.
 */
export const ConfigSchema = ConfigStruct({
  enabled: Schema.optionalKey(ConfigBoolean),
  ...limits.fields
}).check(Schema.makeFilter(limits.misfit))

/** The options that a decoded configuration stands for. What it leaves out keeps its default. */
export const fromConfig = (config: typeof ConfigSchema.Type): Omit<Options, "name"> => ({
  enabled: config.enabled,
  algorithm: limits.fromConfig(config),
  onLimit:
    config.onLimit === "delay"
      ? { delay: { maxWait: config.maxWait, maxWaiting: config.maxWaiting } }
      : "reject"
})

/**
 * A Layer that provides a rate limiter whose options are read from configuration below `path`.
 *
 * Fails with `ConfigError` when a value cannot be read, with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <I>(
  key: Context.Key<I, RateLimiter>,
  name: string,
  path: string | ConfigProvider.Path
): Layer.Layer<I, InvalidOption | Config.ConfigError> =>
  Layer.effect(
    key,
    Effect.flatMap(readConfig(ConfigSchema, path), (config) => make({ ...fromConfig(config), name }))
  )

/** Runs a call through a limiter, with a cost of its own: 1 unless given. */
export const withRateLimit: {
  (
    limiter: KeyLimiter,
    call?: CallOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    limiter: KeyLimiter,
    call?: CallOptions
  ): Effect.Effect<A, E | ServiceUnavailable, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    limiter: KeyLimiter,
    call?: CallOptions
  ): Effect.Effect<A, E | ServiceUnavailable, R> => limiter.executeWith(self, call ?? {})
)

/** Where the states of a limiter are held. */
interface Holding {
  readonly statesOf: <State>(
    freeAtMillis: (state: State) => number,
    initial: State
  ) => KeyTable.KeyTable<State>
  readonly whenFull: "reject" | "admit"
}

/** For the limiter that has one state. */
const onlyKey: Holding = {
  statesOf: <State>(_: unknown, initial: State): KeyTable.KeyTable<State> => {
    let held = initial
    return {
      size: 1,
      freeAtMillis: Number.NEGATIVE_INFINITY,
      get: () => held,
      set: (_, state) => {
        held = state
      },
      hasRoom: () => true
    }
  },
  whenFull: "reject"
}

/** What does the work of a limiter; `undefined` when it is switched off. */
const makeLimiter = Effect.fnUntraced(function* (given: Options, { statesOf, whenFull }: Holding) {
  const name = yield* options.name("name", given.name)
  const line = yield* limits.line(name, given.onLimit ?? "reject")
  const build = yield* limits.validate(name, given.algorithm)
  if (given.enabled === false) return undefined
  const { emit } = yield* PolicyEvent.emitter
  const originMillis = yield* Effect.withFiber((fiber) => Effect.succeed(monotonicMillis(fiber)))
  const shell = build((algorithm, config) =>
    limiterShell.make({
      line,
      name,
      algorithm,
      config,
      states: statesOf(algorithm.freeAtMillis(config), algorithm.initial),
      whenFull,
      remainingMillis: Deadline.remainingMillis,
      originMillis,
      emit
    })
  )
  yield* Effect.addFinalizer(() => shell.tellRest)
  yield* Metrics.register(name, [
    Metrics.series(Metrics.rejections, { reason: "RateLimited" }, () => shell.counts().rejected)
  ])
  return shell
})

const reconfigure = Effect.fnUntraced(function* (
  { name }: Options,
  limiter: limiterShell.Limiter | undefined,
  given: Settings
) {
  const line = yield* limits.line(name, given.onLimit ?? "reject")
  const build = yield* limits.validate(name, given.algorithm)
  if (limiter === undefined) {
    return yield* options.invalid(name, "enabled", false, "true, so that there is a limit to change")
  }
  yield* build((algorithm, config) => {
    const states = onlyKey.statesOf(algorithm.freeAtMillis(config), algorithm.initial)
    return limiter.replace({ algorithm, config, states, line })
  })
})

const limiterOf = (given: Options, limiter: limiterShell.Limiter | undefined, key: string): KeyLimiter => {
  const { name } = given
  const snapshot = snapshotOf(given, limiter)
  if (limiter === undefined) {
    return {
      name,
      execute: (self) => self,
      executeWith: (self) => self,
      take: () => Effect.void,
      peek: () => Effect.succeed(unlimited),
      refund: () => Effect.void,
      snapshot
    }
  }
  return {
    name,
    execute: (self) => limiter.execute(key, 1, self, true),
    executeWith: (self, { cost = 1, wait = true }) => limiter.execute(key, cost, self, wait),
    take: (cost = 1) => limiter.execute(key, cost, Effect.void, true),
    peek: (cost = 1) => Effect.map(limiter.peek(key, cost), readingOf),
    refund: (cost = 1) => limiter.refund(key, cost),
    snapshot
  }
}

const unlimited: Reading = {
  remaining: Number.POSITIVE_INFINITY,
  retryAfter: Duration.zero,
  resetAfter: Duration.zero
}

const readingOf = ({ remaining, resetAfterMillis, retryAfterMillis }: limiterShell.Found): Reading => ({
  remaining,
  retryAfter: retryAfterMillis === undefined ? undefined : Duration.millis(Math.ceil(retryAfterMillis)),
  resetAfter: Duration.millis(Math.ceil(resetAfterMillis))
})

const nothingYet: limiterShell.Counts = {
  admitted: 0,
  delayed: 0,
  rejected: 0,
  waiting: 0,
  keys: 0,
  letThrough: 0
}

const snapshotOf = ({ name }: Options, limiter: limiterShell.Limiter | undefined): Effect.Effect<Snapshot> =>
  Effect.sync(() => ({ name, enabled: limiter !== undefined, ...(limiter?.counts() ?? nothingYet) }))
