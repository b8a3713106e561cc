/**
 * The policies of an application, from a table in its configuration.
 *
 * Each policy keeps a key of its own, so that a consumer asks for the one it needs and no name can be misspelt.
 *
 * **Example** (Two policies from JSON)
 *
 * ```ts import.meta.vitest
 * import { ConfigProvider, Context, Effect, Layer } from "effect"
 * import { Policies, type Policy } from "failsoft"
 *
 * class Billing extends Context.Service<Billing, Policy.Policy>()("app/Billing") {}
 * class Search extends Context.Service<Search, Policy.Policy>()("app/Search") {}
 *
 * const table = {
 *   billing: { attemptTimeout: 5, retry: { attempts: 2 }, breaker: { failures: 10, openDuration: 30 } },
 *   search: { attemptTimeout: 30, breaker: { failures: 5 } }
 * }
 *
 * const Live = Policies.layerConfig({ billing: Billing, search: Search }, "services").pipe(
 *   Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ services: table })))
 * )
 *
 * const program = Effect.gen(function* () {
 *   const billing = yield* Billing
 *   return yield* Effect.succeed(42).pipe(billing.execute)
 * }).pipe(Effect.provide(Live))
 *
 * await Effect.runPromise(program) // => 42
 * ```
 */
import type * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Layer from "effect/Layer"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Semaphore from "effect/Semaphore"
import type { InvalidOption } from "./InvalidOption.ts"
import { wallMillis } from "./internal/clock.ts"
import * as reloadable from "./internal/policy/reloadable.ts"
import * as tables from "./internal/policy/table.ts"
import type * as Policy from "./Policy.ts"
import * as PolicyEvent from "./PolicyEvent.ts"

/** What a reload did to one policy. Each stage that it had or has now is in one of the lists. */
export interface Changes {
  readonly added: ReadonlyArray<Policy.Stage>
  readonly removed: ReadonlyArray<Policy.Stage>
  readonly changed: ReadonlyArray<Policy.Stage>
  readonly unchanged: ReadonlyArray<Policy.Stage>
}

/**
 * A table that cannot be used, with everything that is wrong with it: what cannot be read (`ConfigError`, which has all of that)
 * and what is out of its range (`InvalidOption`, the first of each stage that can be read). Nothing was changed.
 */
export class TableRefused extends Data.TaggedError("TableRefused")<{
  readonly errors: ReadonlyArray<Config.ConfigError | InvalidOption>
}> {
  /** Each problem as one sentence, which names the row and the field. */
  get problems(): ReadonlyArray<string> {
    return this.errors.flatMap((error) =>
      error._tag === "ConfigError" && error.cause._tag === "SchemaError"
        ? standard(error.cause.issue).issues.map(
            ({ message, path = [] }) => `${path.map(String).join(".")}: ${message}`
          )
        : error.message
    )
  }

  /** For people: how many problems there are, and each on a line of its own. */
  override get message(): string {
    const { problems } = this
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`
    return `the table of policies is refused for ${count}:\n${problems.map((problem) => `  ${problem}`).join("\n")}`
  }
}

const standard = SchemaIssue.makeFormatterStandardSchemaV1()

/** The table that is in force, as a whole. */
export class Policies extends Context.Service<
  Policies,
  {
    /**
     * Reads the table again, from this provider and below the same path, and brings every policy to it while calls run.
     *
     * The policies stay the same objects, and effects that were put together before follow. A stage goes on with what it holds:
     * a circuit with its state and counts, a bulkhead with the calls in flight and those that wait, a limiter with what is taken,
     * a budget with what it has gathered. Calls on their way end in the stages in which they began. Reloads wait for each other.
     *
     * The result has what became of each policy. Fails with `TableRefused` when anything in the table is wrong, and then
     * nothing has changed. An interruption comes before the first change or after the last.
     */
    readonly reload: (
      provider: ConfigProvider.ConfigProvider
    ) => Effect.Effect<Readonly<Record<string, Changes>>, TableRefused>
    /** The stages of each policy, as `Policy.describe` has them. */
    readonly describe: Effect.Effect<Readonly<Record<string, ReadonlyArray<Policy.StageDescription>>>>
  }
>()("failsoft/Policies") {}

/**
 * A Layer that provides one policy for each key, named as in `keys`, from the table below `path`, and `Policies` to reload it.
 *
 * Each name must have a row; other rows are not looked at. Fails with `ConfigError` when a value cannot be read or a field is not
 * known, naming every row and field, and with `InvalidOption` when a value is out of its range.
 */
export const layerConfig = <Keys extends { readonly [name: string]: Context.Key<unknown, Policy.Policy> }>(
  keys: Keys,
  path: string | ConfigProvider.Path
): Layer.Layer<Keys[keyof Keys]["Identifier"] | Policies, InvalidOption | Config.ConfigError> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const names = Object.keys(keys)
      const below = typeof path === "string" ? [path] : path
      const { error, rows } = yield* tables.read(yield* ConfigProvider.ConfigProvider, names, below)
      if (error !== undefined) return yield* Effect.fail(error)
      const made = yield* Effect.forEach(Object.entries(keys), ([name, key]) =>
        Effect.map(reloadable.make(name, rows[name] ?? {}), (policy) => ({ key, name, ...policy }))
      )
      const policies = made.map(({ key, policy }) => Context.make(key, policy))
      return Context.mergeAll(Context.make(Policies, yield* serviceOf(made, below)), ...policies)
    })
  )

const serviceOf = Effect.fnUntraced(function* (
  policies: ReadonlyArray<reloadable.Reloadable & { readonly name: string }>,
  path: ConfigProvider.Path
) {
  const { emit } = yield* PolicyEvent.emitter
  const lock = Semaphore.makeUnsafe(1)
  const names = policies.map(({ name }) => name)

  const checked = Effect.fnUntraced(function* (provider: ConfigProvider.ConfigProvider) {
    const { error, rows } = yield* tables.read(provider, names, path)
    const wrong = yield* Effect.forEach(Object.entries(rows), ([name, row]) => tables.check(name, row))
    const errors = [...(error === undefined ? [] : [error]), ...wrong.flat()]
    return errors.length === 0 ? rows : yield* new TableRefused({ errors })
  })

  const apply = Effect.fnUntraced(function* (rows: tables.Table["rows"]) {
    const changes: Record<string, Changes> = {}
    for (const { apply, name, policy } of policies) {
      const before = yield* policy.describe
      yield* Effect.orDie(apply(rows[name] ?? {}))
      const { unchanged, ...what } = changesBetween(before, yield* policy.describe)
      changes[name] = { ...what, unchanged }
      if (Object.values(what).every((stages) => stages.length === 0)) continue
      yield* Effect.withFiber((fiber) =>
        emit({ _tag: "PolicyReloaded", policy: name, atMillis: wallMillis(fiber), ...what })
      )
    }
    return changes
  }, Effect.uninterruptible)

  return {
    reload: (provider: ConfigProvider.ConfigProvider) =>
      lock.withPermit(Effect.flatMap(checked(provider), apply)),
    describe: Effect.map(
      Effect.forEach(policies, ({ name, policy }) =>
        Effect.map(policy.describe, (all) => [name, all] as const)
      ),
      (entries) => Object.fromEntries(entries)
    )
  }
})

const changesBetween = (
  before: ReadonlyArray<Policy.StageDescription>,
  after: ReadonlyArray<Policy.StageDescription>
): Changes => {
  const was = new Map(before.map(({ options, stage }) => [stage, options]))
  const is = new Map(after.map(({ options, stage }) => [stage, options]))
  const kept = [...is.keys()].filter((stage) => was.has(stage))
  const isSame = (stage: Policy.Stage) => Equal.equals(was.get(stage), is.get(stage))
  return {
    added: [...is.keys()].filter((stage) => !was.has(stage)),
    removed: [...was.keys()].filter((stage) => !is.has(stage)),
    changed: kept.filter((stage) => !isSame(stage)),
    unchanged: kept.filter(isSame)
  }
}
