/**
 * The six services behind the gateway, each a client with a policy of its own, from the table `services.json`.
 *
 * Their retries and hedges are paid from one budget: what the gateway adds to the load of an outage is bounded, however many
 * of them are in trouble. An environment variable replaces any field of the table, such as `SERVICES_BILLING_BREAKER_OPEN_DURATION=5`.
 */

import { readFile } from "node:fs/promises"
import { ServiceClient, ServiceClients } from "@failsoft/http"
import { ConfigProvider, Context, Effect, Layer, Schema } from "effect"
import { HttpClientError, HttpClientResponse } from "effect/http"
import { PolicyConfig, RetryBudget, type ServiceUnavailable, StaleCache } from "failsoft"

/** Who people are and who owns what. */
export class AuthService extends Context.Service<AuthService, ServiceClient.ServiceClient>()(
  "gateway/AuthService"
) {}

/** Balances and charges. */
export class BillingService extends Context.Service<BillingService, ServiceClient.ServiceClient>()(
  "gateway/BillingService"
) {}

/** Vector search. */
export class ChromaService extends Context.Service<ChromaService, ServiceClient.ServiceClient>()(
  "gateway/ChromaService"
) {}

/** The files of projects. */
export class FilesystemService extends Context.Service<FilesystemService, ServiceClient.ServiceClient>()(
  "gateway/FilesystemService"
) {}

/** The commits of projects. */
export class GitService extends Context.Service<GitService, ServiceClient.ServiceClient>()(
  "gateway/GitService"
) {}

/** Data of others. */
export class ExternalService extends Context.Service<ExternalService, ServiceClient.ServiceClient>()(
  "gateway/ExternalService"
) {}

const keys = {
  auth: AuthService,
  billing: BillingService,
  chroma: ChromaService,
  filesystem: FilesystemService,
  git: GitService,
  external: ExternalService
}

/** Every service, in the order of the table. */
export const serviceNames = Object.keys(keys)

/** What the retries and hedges of all services are paid from. */
export class Retries extends Context.Service<Retries, RetryBudget.RetryBudget>()("gateway/Retries") {}

/** The clients, from the configuration of the context. */
export const layer = Layer.unwrap(
  Effect.map(Retries, (retryBudget) => ServiceClients.layerConfig(keys, "services", { retryBudget }))
).pipe(Layer.provide(RetryBudget.layerConfig(Retries, "gateway", "retryBudget")))

/** What remains of a client's errors once its outage is handled: a request or an answer that we do not understand. */
export type WireError = Exclude<ServiceClient.ServiceClientError, ServiceUnavailable>

/** What a service answered, or `undefined` when it is not a 200 or cannot be read. */
export const answerOf =
  <A>(schema: Schema.ConstraintDecoder<A>) =>
  <E, R>(
    call: Effect.Effect<HttpClientResponse.HttpClientResponse, E, R>
  ): Effect.Effect<A | undefined, E, R> =>
    call.pipe(
      Effect.flatMap((response) =>
        response.status === 200
          ? Effect.catch(HttpClientResponse.schemaBodyJson(schema)(response), () => Effect.undefined)
          : Effect.undefined
      ),
      Effect.catchIf(isUnreadable, () => Effect.undefined)
    )

/** Whether an answer came whose body is larger than the client reads. */
const isUnreadable = (error: unknown): boolean =>
  HttpClientError.isHttpClientError(error) && error.reason._tag === "DecodeError"

/** The services by their names, and what they share; of that, what is left out keeps its defaults. */
const Table = PolicyConfig.ConfigStruct({
  services: Schema.Record(Schema.String, ServiceClient.ConfigSchema),
  retryBudget: Schema.optionalKey(RetryBudget.ConfigSchema),
  contextCache: Schema.optionalKey(StaleCache.ConfigSchema)
})

/** The table cannot be used: it is missing, is not JSON, or has an entry that is wrong. */
export class InvalidTable extends Schema.TaggedError<InvalidTable>()("InvalidTable", {
  file: Schema.String,
  message: Schema.String
}) {}

/**
 * Reads the table of services, over which environment variables prevail.
 *
 * The file is checked as a whole first, so that a misspelt field is an error and not a default.
 */
export const layerTable = (file: string): Layer.Layer<never, InvalidTable> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const text = yield* Effect.tryPromise({
        try: () => readFile(file, "utf8"),
        catch: () => new InvalidTable({ file, message: `${file}: the table of services cannot be read` })
      })
      const table = yield* Schema.decodeUnknownEffect(Schema.fromJsonString(Table))(text, {
        errors: "all",
        onExcessProperty: "error"
      }).pipe(Effect.mapError((error) => new InvalidTable({ file, message: `${file}: ${error.message}` })))
      const unknown = Object.keys(table.services).filter((name) => !serviceNames.includes(name))
      if (unknown.length > 0) {
        const allowed = serviceNames.join(", ")
        return yield* new InvalidTable({
          file,
          message: `${file}: unknown services ${unknown.join(", ")}; allowed: ${allowed}`
        })
      }
      return ConfigProvider.layer(
        ConfigProvider.orElse(
          ConfigProvider.constantCase(ConfigProvider.fromEnv()),
          ConfigProvider.fromUnknown(JSON.parse(text))
        )
      )
    })
  )
