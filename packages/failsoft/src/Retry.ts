/**
 * Tries a call again when it failed for a reason that may pass.
 *
 * `attempts` counts tries in all, the first included. Between them the caller waits, by default twice as long each
 * time and spread by chance, so that callers which failed together do not come back together. No further attempt is
 * made when the wait does not fit the deadline, when the dependency asked for more patience than `maxRetryAfter`, when the
 * `budget` is spent, or when the error is not transient. Then the call fails with `ServiceUnavailable`
 * (`RetriesExhausted`), unless what it last failed with is a `ServiceUnavailable` already.
 *
 * **Gotchas**
 *
 * - Retry only what may be applied twice. A call that charges a card needs an idempotency key first.
 * - Put the circuit breaker inside the retry, so that each attempt counts and an open circuit ends the attempts.
 * - Nested retries multiply: retry at one level.
 *
 * **Example** (A call that succeeds at its second attempt)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { Retry } from "failsoft"
 *
 * let tries = 0
 * const flaky = Effect.suspend(() => (++tries < 2 ? Effect.fail("connection reset") : Effect.succeed("ok")))
 *
 * const program = Effect.gen(function* () {
 *   const retry = yield* Retry.make({ name: "search", attempts: 3, schedule: Retry.exponential({ base: "1 millis" }) })
 *   return yield* flaky.pipe(retry.execute)
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => "ok"
 * ```
 */
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Deadline from "./Deadline.ts"
import type { InvalidOption } from "./InvalidOption.ts"
import { credited, paid, refunding } from "./internal/attempts/paid.ts"
import { isTimeout } from "./internal/attempts/timeouts.ts"
import { transientOf } from "./internal/attempts/transient.ts"
import { type Exponential, type StartWaits, waitsOf } from "./internal/attempts/waits.ts"
import { leastMillis, wallMillis } from "./internal/clock.ts"
import {
  ConfigBoolean,
  ConfigDuration,
  ConfigNumber,
  ConfigStruct,
  ConfigWord,
  readConfig
} from "./internal/config.ts"
import * as options from "./internal/options.ts"
import * as Metrics from "./Metrics.ts"
import * as Outcome from "./Outcome.ts"
import * as PolicyEvent from "./PolicyEvent.ts"
import type { RetryBudget } from "./RetryBudget.ts"
import { errorName, ServiceUnavailable, UnavailableReason } from "./ServiceUnavailable.ts"
import * as Spans from "./Spans.ts"
import type * as Backoff from "./state/Backoff.ts"

export type { Exponential } from "./internal/attempts/waits.ts"

/** How chance spreads delays: `full` (0 to the backoff), `equal` (half of it to all of it), `decorrelated`, `none`. */
export type Jitter = Backoff.Jitter

/** What a retry is made from. Only `name` is required. */
export interface Options {
  /** Names the retry, and the service it calls, in errors and logs. */
  readonly name: string
  /** Tries in all, the first included, from 1 to 100. Default: 3. */
  readonly attempts?: number | undefined
  /** The waits between attempts. A Schedule that ends, ends the attempts. Default: `exponential()`. */
  readonly schedule?: Exponential | Schedule.Schedule<unknown, unknown> | undefined
  /** Which of the caller's own errors may pass. Default: all of them. */
  readonly isTransient?: ((error: unknown) => boolean) | undefined
  /**
   * The longest wait that a dependency may ask for with `retryAfter`. An error that asks for more ends the attempts:
   * coming back earlier would disregard it. Default: `"30 seconds"`.
   */
  readonly maxRetryAfter?: Duration.Input | undefined
  /**
   * What further attempts are paid from. Give the same one to everything that calls the dependency. The retry credits it,
   * once for each call. Default: none, so that only `attempts` bounds them.
   */
  readonly budget?: RetryBudget | undefined
  /** `false` switches retrying off: a call is tried once and keeps its own error. Default: `true`. */
  readonly enabled?: boolean | undefined
}

/** What a single call may ask of a retry. */
export interface CallOptions<E> {
  /** Which of the call's errors may pass, in place of the retry's own answer. */
  readonly isTransient?: ((error: E) => boolean) | undefined
  /** Asked before each wait: `true` ends the attempts, such as when a circuit has opened. */
  readonly stopWhen?: Effect.Effect<boolean> | undefined
}

/** Tries calls again. */
export interface Retry {
  readonly name: string
  /** Runs a call, again if need be. Fails with `ServiceUnavailable` (`RetriesExhausted`) when no attempt is left. */
  readonly execute: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  /** As `execute`, with answers of its own for the call. `withRetry` is its pipeable form. */
  readonly executeWith: <A, E, R>(
    self: Effect.Effect<A, E, R>,
    call: CallOptions<E>
  ) => Effect.Effect<A, E | ServiceUnavailable, R>
}

/**
 * Waits that grow by a factor: 1 s, 2 s, 4 s … by default, each spread by chance.
 *
 * `base` is the first backoff (default `"1 second"`), `factor` what each is multiplied by (1 to 10, default 2), `cap`
 * the longest (default `"30 seconds"`), `jitter` how chance spreads them (default `"full"`).
 *
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
 */
export const exponential = (given?: {
  readonly base?: Duration.Input | undefined
  readonly factor?: number | undefined
  readonly cap?: Duration.Input | undefined
  readonly jitter?: Jitter | undefined
}): Exponential => ({
  _tag: "Exponential",
  base: given?.base ?? "1 second",
  factor: given?.factor ?? 2,
  cap: given?.cap ?? "30 seconds",
  jitter: given?.jitter ?? "full"
})

/**
 * Makes a retry. It lives as long as the scope.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const make: (given: Options) => Effect.Effect<Retry, InvalidOption, Scope.Scope> = Effect.fnUntraced(
  function* (given: Options) {
    const name = yield* options.name("name", given.name)
    const shell: Shell = {
      name,
      attempts: yield* options.integer(name, "attempts", given.attempts ?? 3, { min: 1, max: 100 }),
      maxRetryAfterMillis: yield* options.millis(name, "maxRetryAfter", given.maxRetryAfter ?? "30 seconds"),
      startWaits: yield* waitsOf(name, given.schedule ?? exponential()),
      isTransient: given.isTransient ?? (() => true),
      budget: given.budget?.enabled === true ? given.budget : undefined,
      emit: (yield* PolicyEvent.emitter).emit,
      counts: { first: 0, retry: 0 },
      countsFirst: !(yield* Metrics.isCountedAround(Metrics.attempts, { kind: "first" }))
    }
    if (given.enabled === false) return { name, execute: (self) => self, executeWith: (self) => self }
    yield* Metrics.register(name, [
      Metrics.series(Metrics.attempts, { kind: "first" }, () => shell.counts.first),
      Metrics.series(Metrics.attempts, { kind: "retry" }, () => shell.counts.retry)
    ])
    return {
      name,
      execute: (self) => execute(shell, self, {}),
      executeWith: (self, call) => execute(shell, self, call)
    }
  }
)

/** A Layer that provides a retry under a key of the application's own. */
export const layer = <I>(key: Context.Key<I, Retry>, given: Options): Layer.Layer<I, InvalidOption> =>
  Layer.effect(key, make(given))

/**
 * The options as configuration holds them, all of them optional: `enabled`, `attempts`, `base`, `factor`, `cap`,
 * `jitter` and `maxRetryAfter`. Bare numbers of durations are seconds.
 */
export const ConfigSchema = ConfigStruct({
  enabled: Schema.optionalKey(ConfigBoolean),
  attempts: Schema.optionalKey(ConfigNumber),
  base: Schema.optionalKey(ConfigDuration),
  factor: Schema.optionalKey(ConfigNumber),
  cap: Schema.optionalKey(ConfigDuration),
  jitter: Schema.optionalKey(ConfigWord(["none", "full", "equal", "decorrelated"])),
  maxRetryAfter: Schema.optionalKey(ConfigDuration)
})

/** The options that a decoded configuration stands for. What it leaves out keeps its default. */
export const fromConfig = (config: typeof ConfigSchema.Type): Omit<Options, "name"> => ({
  enabled: config.enabled,
  attempts: config.attempts,
  schedule: exponential(config),
  maxRetryAfter: config.maxRetryAfter
})

/**
 * A Layer that provides a retry whose options are read from configuration below `path`.
 *
 * Fails with `ConfigError` when a value cannot be read, with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <I>(
  key: Context.Key<I, Retry>,
  name: string,
  path: string | ConfigProvider.Path
): Layer.Layer<I, InvalidOption | Config.ConfigError> =>
  Layer.effect(
    key,
    Effect.flatMap(readConfig(ConfigSchema, path), (config) => make({ ...fromConfig(config), name }))
  )

/**
 * Runs a call with a retry, and with answers of its own.
 *
 * `isTransient` is typed by the call's own error and replaces the retry's; `stopWhen` is asked before each wait.
 */
export const withRetry: {
  <E>(
    retry: Retry,
    call?: CallOptions<E>
  ): <A, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    retry: Retry,
    call?: CallOptions<E>
  ): Effect.Effect<A, E | ServiceUnavailable, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    retry: Retry,
    call?: CallOptions<E>
  ): Effect.Effect<A, E | ServiceUnavailable, R> => retry.executeWith(self, call ?? {})
)

/** What one retry works with. */
interface Shell {
  readonly name: string
  readonly attempts: number
  readonly maxRetryAfterMillis: number
  readonly startWaits: StartWaits
  readonly isTransient: (error: unknown) => boolean
  readonly budget: RetryBudget | undefined
  readonly emit: PolicyEvent.Emitter["emit"]
  readonly counts: { first: number; retry: number }
  /** Unless something around this counts the first attempts. */
  readonly countsFirst: boolean
}

/** One call on its way through its attempts. The waits begin at the first failure: most calls have none. */
interface Run<A, E, R> {
  readonly shell: Shell
  readonly self: Effect.Effect<A, E, R>
  readonly call: CallOptions<E>
}

const execute = <A, E, R>(
  shell: Shell,
  self: Effect.Effect<A, E, R>,
  call: CallOptions<E>
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const attempts = attempt({ shell, self, call }, 1, shell.startWaits)
  const { budget, counts, countsFirst } = shell
  const credits = budget === undefined ? attempts : credited(budget, attempts)
  if (!countsFirst) return credits
  return Effect.suspend(() => {
    counts.first++
    return credits
  })
}

const attempt = <A, E, R>(
  run: Run<A, E, R>,
  number: number,
  startWaits: StartWaits,
  self = run.self
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  Effect.catchCause(self, (cause) => {
    const failed = transientOf(cause, run.call.isTransient ?? run.shell.isTransient)
    return failed === undefined
      ? Effect.failCause(cause)
      : Effect.flatMap(startWaits, (waits) => afterFailure(run, number, waits, failed.error))
  })

const afterFailure = <A, E, R>(
  run: Run<A, E, R>,
  number: number,
  waits: Effect.Success<StartWaits>,
  error: E
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  Effect.flatMap(waitMillisOf(run, number, waits, error), (wait) => {
    const { shell } = run
    if (typeof wait === "string") return giveUp(shell, number, error, wait)
    const delay = Duration.millis(wait)
    const pause = Effect.withFiber((fiber) =>
      shell.emit({
        _tag: "RetryScheduled",
        policy: shell.name,
        atMillis: wallMillis(fiber),
        attempt: number,
        of: shell.attempts,
        delay,
        error: errorName(error)
      })
    ).pipe(Effect.andThen(Effect.sleep(delay)))
    const again = (self = run.self) =>
      Effect.withFiber((fiber) => {
        shell.counts.retry++
        Spans.resent(fiber, number)
        return attempt(run, number + 1, Effect.succeed(waits), self)
      })
    const { budget } = shell
    if (budget === undefined) return Effect.andThen(pause, again())
    const after = isTimeout(error) ? "timeout" : "failure"
    const refused = giveUp(shell, number, error, "budget")
    return paid(budget, after, pause, again(refunding(budget, after, run.self)), refused)
  })

/** How long to wait before the next attempt, or why there is none. */
const waitMillisOf = <A, E, R>(
  run: Run<A, E, R>,
  number: number,
  waits: Effect.Success<StartWaits>,
  error: E
): Effect.Effect<number | PolicyEvent.GaveUp> =>
  Effect.gen(function* () {
    const { call, shell } = run
    if (number >= shell.attempts) return "attempts"
    if (call.stopWhen !== undefined && (yield* call.stopWhen)) return "circuit"
    const scheduled = yield* waits(number, error)
    if (scheduled === undefined) return "schedule"
    const asked = Duration.toMillis(Outcome.retryAfterOf(error) ?? Duration.zero)
    if (asked > shell.maxRetryAfterMillis) return "retry-after"
    const wait = Math.ceil(Math.max(scheduled, asked))
    const left = yield* Effect.withFiber((fiber) => Effect.succeed(Deadline.remainingMillis(fiber)))
    return left !== undefined && left - wait < leastMillis ? "deadline" : wait
  })

const giveUp = (
  shell: Shell,
  attempts: number,
  error: unknown,
  because: PolicyEvent.GaveUp
): Effect.Effect<never, ServiceUnavailable> =>
  Effect.withFiber((fiber) =>
    Effect.andThen(
      shell.emit({
        _tag: "AttemptsExhausted",
        policy: shell.name,
        atMillis: wallMillis(fiber),
        attempt: attempts,
        of: shell.attempts,
        because,
        error: errorName(error)
      }),
      Effect.fail(errorOf(shell, attempts, error, because))
    )
  )

/** A spent budget is told whatever the last error was: a retry further out must not go on where this one may not. */
const errorOf = (
  { name }: Shell,
  attempts: number,
  error: unknown,
  because: PolicyEvent.GaveUp
): ServiceUnavailable => {
  if (because !== "budget" && error instanceof ServiceUnavailable) return error
  return new ServiceUnavailable({
    service: name,
    reason:
      because === "budget"
        ? UnavailableReason.RetryBudgetExhausted()
        : UnavailableReason.RetriesExhausted({ attempts, lastError: error }),
    retryAfter: Outcome.retryAfterOf(error)
  })
}
