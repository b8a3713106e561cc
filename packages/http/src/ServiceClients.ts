/**
 * The service clients of an application, from a table in its configuration.
 *
 * Each client keeps a key of its own, so that a consumer asks for the one it needs and no name can be misspelt.
 *
 * **Example** (Two services from the environment)
 *
 * ```ts import.meta.vitest
 * import { ConfigProvider, Context, Effect, Layer } from "effect"
 * import { FetchHttpClient } from "effect/http"
 * import { type ServiceClient, ServiceClients } from "@failsoft/http"
 *
 * class Auth extends Context.Service<Auth, ServiceClient.ServiceClient>()("app/Auth") {}
 * class Billing extends Context.Service<Billing, ServiceClient.ServiceClient>()("app/Billing") {}
 *
 * const env = {
 *   SERVICES_AUTH_URL: "http://auth.internal",
 *   SERVICES_AUTH_RETRY_ATTEMPTS: "2",
 *   SERVICES_AUTH_ATTEMPT_TIMEOUT: "5",
 *   SERVICES_BILLING_URL: "http://billing.internal",
 *   SERVICES_BILLING_BREAKER_FAILURES: "10",
 *   SERVICES_BILLING_BREAKER_OPEN_DURATION: "30"
 * }
 *
 * const Live = ServiceClients.layerConfig({ auth: Auth, billing: Billing }, "services").pipe(
 *   Layer.provide(FetchHttpClient.layer),
 *   Layer.provide(ConfigProvider.layer(ConfigProvider.constantCase(ConfigProvider.fromEnv({ env }))))
 * )
 *
 * const names = Effect.gen(function* () {
 *   const auth = yield* Auth
 *   const billing = yield* Billing
 *   return [auth.policy.name, billing.policy.name]
 * }).pipe(Effect.provide(Live))
 *
 * await Effect.runPromise(names) // => ["auth", "billing"]
 * ```
 */
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import { InvalidOption, PolicyConfig, type RetryBudget } from "failsoft"
import * as ServiceClient from "./ServiceClient.ts"

/** Keys for service clients by the name of the service. */
export interface Keys {
  readonly [name: string]: Context.Key<unknown, ServiceClient.ServiceClient>
}

/** The options of each service by its name. */
export interface Table {
  readonly [name: string]: ServiceClient.Options
}

/**
 * A Layer that provides one service client for each key, named as in `keys`, from a table of options.
 *
 * Fails with `InvalidOption` when an option is out of its range or a name has no row.
 */
export const layer = <K extends Keys>(
  keys: K,
  table: Table
): Layer.Layer<K[keyof K]["Identifier"], InvalidOption, HttpClient.HttpClient> =>
  Layer.effectContext(
    Effect.map(
      Effect.forEach(Object.entries(keys), ([name, key]) =>
        Effect.map(makeFrom(name, table[name]), (client) => Context.make(key, client))
      ),
      (contexts) => Context.mergeAll(...contexts)
    )
  )

/** What clients of a table have in common. */
export interface Shared {
  /** What the retries and hedges of every client are paid from whose row has no `retryBudget` of its own. Default: none. */
  readonly retryBudget?: RetryBudget.RetryBudget | undefined
}

/**
 * A Layer that provides one service client for each key, named as in `keys`, from the table below `path`.
 *
 * Each name must have a row. `shared` is what a table cannot say. Fails with `ConfigError` when a row has values that cannot be
 * read or fields that there are not, naming all of that row, and with `InvalidOption` when one is out of its range.
 */
export const layerConfig = <K extends Keys>(
  keys: K,
  path: string | ConfigProvider.Path,
  shared: Shared = {}
): Layer.Layer<K[keyof K]["Identifier"], InvalidOption | Config.ConfigError, HttpClient.HttpClient> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const below = typeof path === "string" ? [path] : path
      const table: Record<string, ServiceClient.Options> = {}
      for (const name of Object.keys(keys)) {
        const row = yield* PolicyConfig.readConfig(ServiceClient.ConfigSchema, [...below, name])
        const given = ServiceClient.fromConfig(row)
        table[name] = { ...given, retryBudget: given.retryBudget ?? shared.retryBudget }
      }
      return layer(keys, table)
    })
  )

const makeFrom = (name: string, row: ServiceClient.Options | undefined) =>
  row === undefined
    ? Effect.fail(
        new InvalidOption({ policy: name, option: "url", value: "absent", allowed: "a row in the table" })
      )
    : ServiceClient.make(name, row)
