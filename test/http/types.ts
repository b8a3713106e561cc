/**
 * What the types of `@failsoft/http` promise, checked by the compiler; nothing here runs.
 */
import { HealthRoutes, Problem, ServiceClient, ServiceClients } from "@failsoft/http"
import { type Config, Context, Effect, type Layer, Schema } from "effect"
import { HttpClient, type HttpClientError, type HttpClientResponse, type HttpRouter } from "effect/http"
import type { Ambiguous, Health, InvalidOption, Policy, RetryBudget, ServiceUnavailable } from "failsoft"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const holds = <_ extends true>(): void => {}

declare const client: ServiceClient.ServiceClient
class Auth extends Context.Service<Auth, ServiceClient.ServiceClient>()("types/Auth") {}
class Billing extends Context.Service<Billing, ServiceClient.ServiceClient>()("types/Billing") {}
class Other extends Context.Service<Other, Policy.Policy>()("types/Other") {}

type Response = HttpClientResponse.HttpClientResponse
type Wire = HttpClientError.HttpClientError
type Errors = Wire | ServiceUnavailable | Ambiguous

// Every method fails with exactly three errors, and needs nothing of its caller.
const get = client.get("/")
const post = client.post("/")
const executed = client.execute(null as never)
holds<Equal<typeof get, Effect.Effect<Response, Errors>>>()
holds<Equal<typeof post, Effect.Effect<Response, Errors>>>()
holds<Equal<typeof executed, Effect.Effect<Response, Errors>>>()
holds<Equal<Errors, ServiceClient.ServiceClientError>>()

// A mark changes no type.
const marked = ServiceClient.idempotent(post).pipe(ServiceClient.withPriority(1), ServiceClient.withCost(2))
holds<Equal<typeof marked, typeof post>>()

// A fallback for an outage takes ServiceUnavailable away, and nothing else; its own errors are added.
const fallback = get.pipe(client.policy.orElse(() => Effect.succeed(0)))
holds<Equal<typeof fallback, Effect.Effect<Response | number, Wire | Ambiguous>>>()
const failing = get.pipe(client.policy.orElse(() => Effect.fail("mine" as const)))
holds<Equal<Effect.Error<typeof failing>, Wire | Ambiguous | "mine">>()
const caught = get.pipe(
  Effect.catchTag(["ServiceUnavailable", "HttpClientError", "Ambiguous"], () => Effect.void)
)
holds<Equal<Effect.Error<typeof caught>, never>>()

// It serves as an HttpClient for Effect's own combinators, which keep its errors.
const strict = HttpClient.filterStatusOk(client).get("/")
holds<Equal<typeof strict, Effect.Effect<Response, Errors>>>()

// What layers may fail with, need and provide.
const layer = ServiceClient.layer(Auth, "auth", { url: "http://auth" })
holds<Equal<typeof layer, Layer.Layer<Auth, InvalidOption, HttpClient.HttpClient>>>()
const layerConfig = ServiceClient.layerConfig(Auth, "auth")
holds<
  Equal<typeof layerConfig, Layer.Layer<Auth, InvalidOption | Config.ConfigError, HttpClient.HttpClient>>
>()
const all = ServiceClients.layerConfig({ auth: Auth, billing: Billing }, "services")
holds<
  Equal<typeof all, Layer.Layer<Auth | Billing, InvalidOption | Config.ConfigError, HttpClient.HttpClient>>
>()
declare const retryBudget: RetryBudget.RetryBudget
const paying = ServiceClients.layerConfig({ auth: Auth, billing: Billing }, "services", { retryBudget })
holds<Equal<typeof paying, typeof all>>()
const table = ServiceClients.layer({ auth: Auth, billing: Billing }, { auth: { url: "http://auth" } })
holds<Equal<typeof table, Layer.Layer<Auth | Billing, InvalidOption, HttpClient.HttpClient>>>()

// What cannot be said.
// @ts-expect-error: a key of something else
ServiceClients.layerConfig({ other: Other }, "services")
// @ts-expect-error: no URL
ServiceClient.layer(Auth, "auth", {})
// @ts-expect-error: an option that does not exist
ServiceClient.layer(Auth, "auth", { url: "http://auth", atemptTimeout: "1 second" })
const probe = { effect: Effect.void, every: "1 second" } as const
// @ts-expect-error: the client has a probe of its own
ServiceClient.layer(Auth, "auth", { url: "http://auth", breaker: { probe } })
// @ts-expect-error: what may pass is for HTTP to say
ServiceClient.layer(Auth, "auth", { url: "http://auth", retry: { isTransient: () => true } })

// A request that is read fails with a problem, and nothing else.
const body = Problem.body(Schema.Struct({ email: Schema.String }))
holds<Equal<Effect.Error<typeof body>, Problem.Problem>>()
holds<Equal<Effect.Success<typeof body>, { readonly email: string }>>()
const params = Problem.pathParams(Schema.Struct({ id: Schema.String }))
holds<Equal<Effect.Error<typeof params>, Problem.Problem>>()
holds<Equal<Effect.Services<typeof params>, HttpRouter.RouteContext>>()
const problems = Problem.layer({ format: "envelope" })
holds<Equal<typeof problems, Layer.Layer<never, never, HttpRouter.HttpRouter>>>()

// Health routes say that they may refuse with a problem.
const health = HealthRoutes.layer({ prefix: "/api/v1", critical: ["auth"] })
holds<
  Equal<
    Layer.Services<typeof health>,
    HttpRouter.HttpRouter | Health.Health | HttpRouter.Request<"Error", Problem.Problem>
  >
>()
// @ts-expect-error: a prefix begins with a slash
HealthRoutes.layer({ prefix: "api" })
