/**
 * A hedge makes a second attempt when the first one takes longer than most, and goes on with whichever succeeds first.
 *
 * It cuts off the slow tail: the one call in twenty that hit a busy instance, a lost packet, a collection of garbage. The wait
 * before the second attempt is fixed, or a quantile of what calls took of late, by default the 95th. The attempt that is no
 * longer needed is interrupted, and the caller does not wait for what that has to clean up.
 *
 * **Gotchas**
 *
 * - A hedged call runs twice. So every call says whether it is `idempotent`, and one that is not is never hedged.
 * - When everything is slow, everything is hedged: give it a `budget`.
 * - A first attempt that fails before the second began fails the call at once. Trying again is for `Retry`, around the hedge.
 * - A loser cleans up after its caller has gone on, and may still hold what it took: put a bulkhead inside.
 *
 * **Example** (The second attempt is faster)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { Hedge } from "failsoft"
 *
 * let sent = 0
 * const search = Effect.suspend(() => (++sent === 1 ? Effect.never : Effect.succeed("found")))
 *
 * const program = Effect.gen(function* () {
 *   const hedge = yield* Hedge.make({ name: "search", delay: "10 millis" })
 *   return yield* search.pipe(Hedge.withHedge(hedge, { idempotent: true }))
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => "found"
 * ```
 */
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Deadline from "./Deadline.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import * as alarm from "./internal/attempts/alarm.ts"
import * as hedging from "./internal/attempts/hedging.ts"
import { credited } from "./internal/attempts/paid.ts"
import { started } from "./internal/attempts/started.ts"
import { ConfigBoolean, ConfigDuration, ConfigNumber, ConfigStruct, readConfig } from "./internal/config.ts"
import * as options from "./internal/options.ts"
import * as Metrics from "./Metrics.ts"
import type { RetryBudget } from "./RetryBudget.ts"
import * as Latencies from "./state/Quantile.ts"

/** What a hedge is made from. Only `name` is required. */
export interface Options {
  /** Names the hedge in metrics. */
  readonly name: string
  /**
   * The wait before each further attempt: a duration, or a quantile of what calls took. `0` starts all attempts at once,
   * `Duration.infinity` never makes a second one. Default: `quantile()`.
   */
  readonly delay?: Duration.Input | Quantile | undefined
  /** Attempts beside the first, at most, from 1 to 5. Default: 1. */
  readonly hedges?: number | undefined
  /**
   * What further attempts are paid from. Give the same one to everything that calls the dependency. The hedge credits it, once
   * for each call. Default: none, so that only `delay` and `hedges` bound them.
   */
  readonly budget?: RetryBudget | undefined
  /** `false` switches hedging off. Default: `true`. */
  readonly enabled?: boolean | undefined
}

/** What a call says of itself. `B`, `E` and `R` are of the variant for further attempts. */
export interface CallOptions<B = never, E = never, R = never> {
  /** Whether the call may run twice. Only one that may is ever hedged. */
  readonly idempotent: boolean
  /** What further attempts run in place of the call, such as one that does not queue. Default: the call. */
  readonly hedged?: Effect.Effect<B, E, R> | undefined
  /** Asked before each further attempt: `false` prevents it, such as while a circuit is not closed. Default: `true`. */
  readonly mayHedge?: Effect.Effect<boolean> | undefined
  /** `false` where the call is credited to the budget already, as by a retry around it that shares it. Default: `true`. */
  readonly credit?: boolean | undefined
}

/** What a hedge has done since it was made. */
export interface Snapshot {
  readonly name: string
  /** `false` when the hedge is switched off by configuration. */
  readonly enabled: boolean
  /** The wait before a further attempt now; `undefined` where none would be made. */
  readonly delay: Duration.Duration | undefined
  /** Idempotent calls, each with a first attempt. */
  readonly calls: number
  /** Further attempts. */
  readonly hedges: number
  /** Calls that a further attempt answered. */
  readonly won: number
  /** Further attempts that were due and not made: the budget or the deadline was spent, or `mayHedge` said no. */
  readonly refused: number
}

/** Makes further attempts of slow calls. */
export interface Hedge {
  readonly name: string
  /**
   * Runs a call, and, if it is idempotent and takes too long, further attempts beside it. The first success is the result; when
   * all attempts that were made have failed, the last failure. There is no plain `execute`: a call has to say what it is.
   * `withHedge` is its pipeable form.
   */
  readonly executeWith: <A, E, R, B = never, E2 = never, R2 = never>(
    self: Effect.Effect<A, E, R>,
    call: CallOptions<B, E2, R2>
  ) => Effect.Effect<A | B, E | E2, R | R2>
  /** The wait as it is now, and the counts. */
  readonly snapshot: Effect.Effect<Snapshot>
}

/** A quantile of what calls took. Made by `quantile`, checked when a hedge is made. */
export interface Quantile {
  readonly _tag: "Quantile"
  readonly q: number
  readonly initial: Duration.Input | undefined
  readonly min: Duration.Input
  readonly max: Duration.Input
}

/**
 * The wait is what a share `q` of the calls did not take longer than: 0.95 by default, from 0.5 to 0.99. So few calls are
 * hedged as long as they take what they always take.
 *
 * It looks at the first attempts of the last 500 to 1,000 calls that succeeded or took too long, and needs 20 of them, or as many
 * as it takes for one to be above the quantile. Until then the wait is `initial`; without it, no call is hedged. `min` (default and
 * least `"1 millis"`) and `max` (default `"1 minute"`) bound it.
 *
 * Source: "The Tail at Scale", Dean and Barroso, 2013.
 */
export const quantile = (given?: {
  readonly q?: number | undefined
  readonly initial?: Duration.Input | undefined
  readonly min?: Duration.Input | undefined
  readonly max?: Duration.Input | undefined
}): Quantile => ({
  _tag: "Quantile",
  q: given?.q ?? 0.95,
  initial: given?.initial,
  min: given?.min ?? "1 millis",
  max: given?.max ?? "1 minute"
})

/**
 * Makes a hedge that publishes what it counts as long as the scope lives.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const make: (given: Options) => Effect.Effect<Hedge, InvalidOption, Scope.Scope> = Effect.fnUntraced(
  function* (given: Options) {
    const name = yield* options.name("name", given.name)
    const shell: Shell = {
      ...(yield* waitOf(name, given.delay ?? quantile())),
      hedges: yield* options.integer(name, "hedges", given.hedges ?? 1, { min: 1, max: 5 }),
      alarm: alarm.make(),
      budget: given.budget?.enabled === true ? given.budget : undefined,
      counts: { calls: 0, hedges: 0, won: 0, refused: 0 }
    }
    const enabled = given.enabled !== false
    if (enabled) {
      yield* Metrics.register(name, [
        Metrics.series(Metrics.attempts, { kind: "hedge" }, () => shell.counts.hedges)
      ])
    }
    return {
      name,
      executeWith: enabled ? (self, call) => execute(shell, self, call) : (self) => self,
      snapshot: Effect.sync(() => {
        const millis = enabled ? shell.delayMillis() : Number.POSITIVE_INFINITY
        const delay = millis === Number.POSITIVE_INFINITY ? undefined : Duration.millis(millis)
        return { name, enabled, delay, ...shell.counts }
      })
    }
  }
)

/** A Layer that provides a hedge under a key of the application's own. */
export const layer = <I>(key: Context.Key<I, Hedge>, given: Options): Layer.Layer<I, InvalidOption> =>
  Layer.effect(key, make(given))

/**
 * The options as configuration holds them, all of them optional: `enabled`, `hedges`, and either `delay`, or `quantile` with
 * `initialDelay`, `minDelay` and `maxDelay`. Bare numbers of durations are seconds.
 */
export const ConfigSchema = ConfigStruct({
  enabled: Schema.optionalKey(ConfigBoolean),
  hedges: Schema.optionalKey(ConfigNumber),
  delay: Schema.optionalKey(ConfigDuration),
  quantile: Schema.optionalKey(ConfigNumber),
  initialDelay: Schema.optionalKey(ConfigDuration),
  minDelay: Schema.optionalKey(ConfigDuration),
  maxDelay: Schema.optionalKey(ConfigDuration)
}).check(
  Schema.makeFilter(({ delay, initialDelay, maxDelay, minDelay, quantile }) =>
    delay !== undefined && [quantile, initialDelay, minDelay, maxDelay].some((option) => option !== undefined)
      ? "delay is a fixed wait: quantile, initialDelay, minDelay and maxDelay have no place beside it"
      : undefined
  )
)

/** The options that a decoded configuration stands for. What it leaves out keeps its default. */
export const fromConfig = (config: typeof ConfigSchema.Type): Omit<Options, "name"> => ({
  enabled: config.enabled,
  hedges: config.hedges,
  delay:
    config.delay ??
    quantile({
      q: config.quantile,
      initial: config.initialDelay,
      min: config.minDelay,
      max: config.maxDelay
    })
})

/**
 * A Layer that provides a hedge whose options are read from configuration below `path`.
 *
 * Fails with `ConfigError` when a value cannot be read, with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <I>(
  key: Context.Key<I, Hedge>,
  name: string,
  path: string | ConfigProvider.Path
): Layer.Layer<I, InvalidOption | Config.ConfigError> =>
  Layer.effect(
    key,
    Effect.flatMap(readConfig(ConfigSchema, path), (config) => make({ ...fromConfig(config), name }))
  )

/** Runs a call with a hedge. Without `idempotent: true` it is not hedged. */
export const withHedge: {
  <B = never, E2 = never, R2 = never>(
    hedge: Hedge,
    call: CallOptions<B, E2, R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | B, E | E2, R | R2>
  <A, E, R, B = never, E2 = never, R2 = never>(
    self: Effect.Effect<A, E, R>,
    hedge: Hedge,
    call: CallOptions<B, E2, R2>
  ): Effect.Effect<A | B, E | E2, R | R2>
} = dual(
  3,
  <A, E, R, B = never, E2 = never, R2 = never>(
    self: Effect.Effect<A, E, R>,
    hedge: Hedge,
    call: CallOptions<B, E2, R2>
  ): Effect.Effect<A | B, E | E2, R | R2> => hedge.executeWith(self, call)
)

/** The wait before a further attempt. */
interface Wait {
  /** Infinite where there is none. */
  readonly delayMillis: () => number
  /** What it is learned from; `undefined` where it is fixed. */
  readonly latencies: Latencies.Quantile | undefined
}

/** What one hedge works with. */
interface Shell extends Wait {
  readonly hedges: number
  readonly alarm: alarm.Alarm
  readonly budget: RetryBudget | undefined
  readonly counts: hedging.Counts
}

const always = Effect.succeed(true)

const execute = <A, E, R, B, E2, R2>(
  shell: Shell,
  self: Effect.Effect<A, E, R>,
  call: CallOptions<B, E2, R2>
): Effect.Effect<A | B, E | E2, R | R2> => {
  const { budget } = shell
  const run = call.idempotent === true ? hedged(shell, self, call) : self
  return budget === undefined || call.credit === false ? run : credited(budget, run)
}

const hedged = <A, E, R, B, E2, R2>(
  shell: Shell,
  self: Effect.Effect<A | B, E | E2, R | R2>,
  { hedged, mayHedge = always }: CallOptions<B, E2, R2>
): Effect.Effect<A | B, E | E2, R | R2> => {
  const { budget, counts, hedges, latencies } = shell
  return Effect.withFiber((caller) =>
    started(
      caller,
      self,
      (attempt, resume) => {
        counts.calls++
        const plan = {
          again: hedged ?? self,
          hedges,
          delayMillis: shell.delayMillis(),
          alarm: shell.alarm,
          mayHedge,
          leftMillis: Deadline.remainingMillis,
          budget,
          latencies,
          counts
        }
        return hedging.race(caller, attempt, plan, resume)
      },
      (exit) => {
        counts.calls++
        // A call that did not have to wait took no time that a clock would show.
        if (Exit.isSuccess(exit)) latencies?.observe(0)
      }
    )
  )
}

const isQuantile = (delay: Duration.Input | Quantile): delay is Quantile =>
  typeof delay === "object" && "_tag" in delay && delay._tag === "Quantile"

const waitOf = (name: string, delay: Duration.Input | Quantile): Effect.Effect<Wait, InvalidOption> =>
  isQuantile(delay)
    ? waitOfQuantile(name, delay)
    : Effect.map(waitMillis(name, "delay", delay, { min: 0, orNever: true }), (millis) => ({
        delayMillis: () => millis,
        latencies: undefined
      }))

const waitOfQuantile = Effect.fnUntraced(function* (name: string, given: Quantile) {
  const q = yield* options.number(name, "delay.q", given.q, { min: 0.5, max: 0.99 })
  const min = yield* waitMillis(name, "delay.min", given.min, { min: 1 })
  const max = yield* waitMillis(name, "delay.max", given.max, { min })
  const initial =
    given.initial === undefined
      ? Number.POSITIVE_INFINITY
      : yield* waitMillis(name, "delay.initial", given.initial, { min: 1 })
  const latencies = Latencies.make(q)
  const delayMillis = (): number => {
    const estimate = latencies.estimate()
    // A timer fires up to a millisecond early.
    return estimate === undefined ? initial : Math.min(max, Math.max(min, Math.ceil(estimate)))
  }
  return { delayMillis, latencies } satisfies Wait
})

/** The longest that a timer can wait. */
const longest = Duration.days(24)

const waitMillis = (
  name: string,
  option: string,
  value: Duration.Input,
  { min, orNever = false }: { readonly min: number; readonly orNever?: boolean }
): Effect.Effect<number, InvalidOption> => {
  const duration = Option.getOrUndefined(Duration.fromInput(value))
  const millis = duration === undefined ? Number.NaN : Duration.toMillis(duration)
  const least = min === 0 ? "0" : Duration.format(Duration.millis(min))
  return (millis >= min && millis <= Duration.toMillis(longest)) ||
    (orNever && millis === Number.POSITIVE_INFINITY)
    ? Effect.succeed(millis)
    : options.invalid(
        name,
        option,
        value,
        `a duration from ${least} to ${Duration.format(longest)}${orNever ? ", or infinity" : ""}`
      )
}
