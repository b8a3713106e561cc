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
import * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { InvalidOption } from "./InvalidOption.ts"
import * as Policy from "./Policy.ts"
import { PolicyConfig } from "./PolicyConfig.ts"

/**
 * A Layer that provides one policy for each key, named as in `keys`, from the table below `path`.
 *
 * Each name must have a row. Fails with `ConfigError` when a value cannot be read, naming the row and the field, and
 * with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <Keys extends { readonly [name: string]: Context.Key<unknown, Policy.Policy> }>(
  keys: Keys,
  path: string | ConfigProvider.Path
): Layer.Layer<Keys[keyof Keys]["Identifier"], InvalidOption | Config.ConfigError> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const rows = Schema.Struct(Object.fromEntries(Object.keys(keys).map((name) => [name, PolicyConfig])))
      const table = yield* Config.schema(rows, path)
      const contexts = yield* Effect.forEach(Object.entries(keys), ([name, key]) =>
        Effect.map(Policy.make(name, Policy.fromConfig(table[name] ?? {})), (policy) =>
          Context.make(key, policy)
        )
      )
      return Context.mergeAll(...contexts)
    })
  )
