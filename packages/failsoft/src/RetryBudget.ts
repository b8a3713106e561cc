/**
 * A retry budget bounds retries and hedges to a share of the calls that work.
 *
 * Attempts say how often one call may be tried; a budget says how much all calls together may add to a dependency's load.
 * Each call that succeeds deposits a part of a token (`ratio`), each retry or hedge withdraws one. When calls no longer
 * succeed nothing is deposited, and soon nothing is retried: the dependency gets its calls once, and has a chance to recover.
 *
 * One budget serves as many retries and hedges as call the same dependency: make it once and give it to all of them.
 *
 * **Gotchas**
 *
 * - A budget credited by requests goes on paying for retries while nothing succeeds, and may keep an overload alive for
 *   ever. Choose `credit: "request"` only where the load is far below what the dependency can take.
 * - Every process has a budget of its own. `minPerSecond` and `cap` times the number of processes is what the dependency sees.
 * - A fresh budget has earned nothing yet, and allows no more than `minPerSecond`.
 *
 * **Example** (Ten successes pay for one retry)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { RetryBudget } from "failsoft"
 *
 * const program = Effect.gen(function* () {
 *   const budget = yield* RetryBudget.make({ name: "search", ratio: 0.1, minPerSecond: 0 })
 *   for (let call = 0; call < 10; call++) yield* budget.deposit
 *   return [yield* budget.withdraw(), yield* budget.withdraw()]
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => [true, false]
 * ```
 */
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { InvalidOption } from "./InvalidOption.ts"
import { monotonicMillis } from "./internal/clock.ts"
import { ConfigBoolean, ConfigNumber, ConfigStruct, ConfigWord, readConfig } from "./internal/config.ts"
import * as options from "./internal/options.ts"
import * as Metrics from "./Metrics.ts"
import * as Budget from "./state/Budget.ts"

/** Which calls are credited: those that succeeded, or all of them, when they are made. */
export type Credit = "success" | "request"

/** What a further attempt follows: a failure, or an attempt that timed out and may still be at work in the dependency. */
export type After = "failure" | "timeout"

/** What a retry budget is made from. Only `name` is required. */
export interface Options {
  /** Names the budget in metrics. */
  readonly name: string
  /** Which calls are credited. Default: `"success"`. */
  readonly credit?: Credit | undefined
  /** The tokens that a credited call deposits: the share of calls that may be retried, from 0 to 1. Default: 0.1. */
  readonly ratio?: number | undefined
  /**
   * Tokens that are there whatever was deposited, for calls that are rare: from 0 to 1,000 a second, to the thousandth. What
   * one second brings (or one token, where that is more) may gather. Default: 1.
   */
  readonly minPerSecond?: number | undefined
  /** The most tokens that deposits may gather, from 1 to 1,000,000. Default: 100. */
  readonly cap?: number | undefined
  /** The tokens that a retry after a timeout takes, from 1 to 100. Default: 2. */
  readonly timeoutCost?: number | undefined
  /** `false` switches the budget off: every retry is allowed and nothing is counted. Default: `true`. */
  readonly enabled?: boolean | undefined
}

/** What `reconfigure` takes. What it leaves out gets its default, as at `make`. */
export type Settings = Omit<Options, "name" | "enabled">

/** What a budget looks like at one moment. The counts are those since it was made. */
export interface Snapshot {
  readonly name: string
  /** `false` when the budget is switched off by configuration. */
  readonly enabled: boolean
  /** The tokens that may be withdrawn now. */
  readonly left: number
  /** The most tokens that there may be: `cap`, and what `minPerSecond` may gather. */
  readonly most: number
  /** `left` as a share of `most`, from 0 to 1. */
  readonly ratio: number
  /** Calls that were credited. */
  readonly deposited: number
  /** Attempts that were paid for, those included that were given back. */
  readonly withdrawn: number
  /** Attempts that were paid for and not made, or turned away before anything was sent. */
  readonly refunded: number
  /** Attempts that were not allowed. */
  readonly refused: number
}

/** A budget that retries and hedges share. */
export interface RetryBudget {
  readonly name: string
  readonly enabled: boolean
  /** Which calls are credited. Whoever holds the budget deposits accordingly: retries and hedges do it by themselves. */
  readonly credit: Credit
  /** Credits one call. */
  readonly deposit: Effect.Effect<void>
  /** As `deposit`, at once, for code on the path of every call. */
  readonly depositUnsafe: () => void
  /** Pays for one attempt, all of it or nothing: `false` when there are too few tokens. `after` is `"failure"` by default. */
  readonly withdraw: (after?: After) => Effect.Effect<boolean>
  /** Whether `withdraw` would succeed now. Takes nothing, and promises nothing: somebody else may be faster. */
  readonly canWithdraw: (after?: After) => Effect.Effect<boolean>
  /** Gives back what was withdrawn for an attempt that was not made, or of which nothing was sent. */
  readonly refund: (after?: After) => Effect.Effect<void>
  /**
   * Goes on under other options. What deposits have gathered stays, as far as `cap` allows, and so does what time has brought.
   * Another `credit` holds for calls that are put through a retry or hedge from then on. Fails with `InvalidOption` when an
   * option is out of its range, and when the budget is switched off; then nothing changes.
   */
  readonly reconfigure: (given: Settings) => Effect.Effect<void, InvalidOption>
  /** What is left, and the counts. */
  readonly snapshot: Effect.Effect<Snapshot>
}

/**
 * Makes a retry budget that publishes what is left of it as long as the scope lives.
 *
 * Fails with `InvalidOption` when an option is out of its range. Sources: the token bucket of the AWS SDKs, filled by
 * successes, charging more after timeouts; the share and the floor of Finagle's `RetryBudget`.
 */
export const make: (given: Options) => Effect.Effect<RetryBudget, InvalidOption, Scope.Scope> =
  Effect.fnUntraced(function* (given: Options) {
    const name = yield* options.name("name", given.name)
    const settings = yield* validate(name, given)
    if (given.enabled === false) return switchedOff(name, settings.credit)
    const shell: Shell = yield* Effect.withFiber((fiber) =>
      Effect.succeed({
        name,
        ...settings,
        state: Budget.initial(settings.config, monotonicMillis(fiber))
      })
    )
    yield* Metrics.register(name, [
      Metrics.series(
        Metrics.retryBudgetRatio,
        {},
        (nowMillis) => Budget.left(shell.config, shell.state, nowMillis) / Budget.most(shell.config)
      )
    ])
    return membersOf(shell)
  })

/** A Layer that provides a retry budget under a key of the application's own. */
export const layer = <I>(key: Context.Key<I, RetryBudget>, given: Options): Layer.Layer<I, InvalidOption> =>
  Layer.effect(key, make(given))

/**
 * The options as configuration holds them, all of them optional: `enabled`, `credit`, `ratio`, `minPerSecond`, `cap` and
 * `timeoutCost`.
 */
export const ConfigSchema = ConfigStruct({
  enabled: Schema.optionalKey(ConfigBoolean),
  credit: Schema.optionalKey(ConfigWord(["success", "request"])),
  ratio: Schema.optionalKey(ConfigNumber),
  minPerSecond: Schema.optionalKey(ConfigNumber),
  cap: Schema.optionalKey(ConfigNumber),
  timeoutCost: Schema.optionalKey(ConfigNumber)
})

/** The options that a decoded configuration stands for. What it leaves out keeps its default. */
export const fromConfig = (config: typeof ConfigSchema.Type): Omit<Options, "name"> => ({
  enabled: config.enabled,
  credit: config.credit,
  ratio: config.ratio,
  minPerSecond: config.minPerSecond,
  cap: config.cap,
  timeoutCost: config.timeoutCost
})

/**
 * A Layer that provides a retry budget whose options are read from configuration below `path`.
 *
 * Fails with `ConfigError` when a value cannot be read, with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <I>(
  key: Context.Key<I, RetryBudget>,
  name: string,
  path: string | ConfigProvider.Path
): Layer.Layer<I, InvalidOption | Config.ConfigError> =>
  Layer.effect(
    key,
    Effect.flatMap(readConfig(ConfigSchema, path), (config) => make({ ...fromConfig(config), name }))
  )

/** What the options of a budget come to. */
interface Held {
  credit: Credit
  config: Budget.BudgetConfig
  timeoutCost: number
}

/** What one budget works with. */
interface Shell extends Held {
  readonly name: string
  /** Read and written within one step, so no two calls take the same token. */
  state: Budget.Budget
}

const validate = Effect.fnUntraced(function* (name: string, given: Settings) {
  const held: Held = {
    credit: yield* options.oneOf(name, "credit", given.credit ?? "success", ["success", "request"]),
    config: Budget.configOf({
      ratio: yield* options.number(name, "ratio", given.ratio ?? 0.1, { min: 0, max: 1 }),
      minPerSecond: yield* options.number(name, "minPerSecond", given.minPerSecond ?? 1, {
        min: 0,
        max: 1000
      }),
      cap: yield* options.number(name, "cap", given.cap ?? 100, { min: 1, max: 1_000_000 })
    }),
    timeoutCost: yield* options.integer(name, "timeoutCost", given.timeoutCost ?? 2, { min: 1, max: 100 })
  }
  return held
})

const membersOf = (shell: Shell): RetryBudget => {
  const { name } = shell
  const counts = { deposited: 0, withdrawn: 0, refunded: 0, refused: 0 }
  const costOf = (after: After | undefined): number => (after === "timeout" ? shell.timeoutCost : 1)
  const depositUnsafe = (): void => {
    counts.deposited++
    shell.state = Budget.deposit(shell.config)(shell.state)
  }
  const now = <A>(f: (nowMillis: number) => A): Effect.Effect<A> =>
    Effect.withFiber((fiber: Fiber.Fiber<unknown, unknown>) => Effect.succeed(f(monotonicMillis(fiber))))
  return {
    name,
    enabled: true,
    get credit() {
      return shell.credit
    },
    deposit: Effect.sync(depositUnsafe),
    depositUnsafe,
    withdraw: (after) =>
      now((nowMillis) => {
        const [taken, next] = Budget.withdraw(shell.config, costOf(after), nowMillis)(shell.state)
        shell.state = next
        counts[taken ? "withdrawn" : "refused"]++
        return taken
      }),
    canWithdraw: (after) =>
      now((nowMillis) => Budget.withdraw(shell.config, costOf(after), nowMillis)(shell.state)[0]),
    refund: (after) =>
      now((nowMillis) => {
        counts.refunded++
        shell.state = Budget.refund(shell.config, costOf(after), nowMillis)(shell.state)
      }),
    reconfigure: (given) =>
      Effect.flatMap(validate(name, given), (held) =>
        now((nowMillis) => {
          shell.state = Budget.reconfigured(shell.config, held.config, shell.state, nowMillis)
          Object.assign(shell, held)
        })
      ),
    snapshot: now((nowMillis) => {
      const left = Budget.left(shell.config, shell.state, nowMillis)
      const most = Budget.most(shell.config)
      return { name, enabled: true, left, most, ratio: left / most, ...counts }
    })
  }
}

const switchedOff = (name: string, credit: Credit): RetryBudget => ({
  name,
  enabled: false,
  credit,
  deposit: Effect.void,
  depositUnsafe: () => {},
  withdraw: () => Effect.succeed(true),
  canWithdraw: () => Effect.succeed(true),
  refund: () => Effect.void,
  reconfigure: () =>
    options.invalid(name, "enabled", false, "true, so that there is a budget to reconfigure"),
  snapshot: Effect.succeed({
    name,
    enabled: false,
    left: 0,
    most: 0,
    ratio: 1,
    deposited: 0,
    withdrawn: 0,
    refunded: 0,
    refused: 0
  })
})
