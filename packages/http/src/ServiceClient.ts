/**
 * An HTTP client for one downstream service, behind a policy of its own.
 *
 * It is an ordinary `HttpClient` whose base URL is the service's: every request passes the stages of its `Policy`, which are
 * retry, circuit breaker and attempt timeout unless the options name more. The body is read within the attempt, up to
 * `maxBodyBytes`, so that a service which answers its headers and then drips is given up like one that hangs.
 *
 * What is retried and hedged: requests that may be applied twice. Those are the idempotent methods, requests with an
 * `Idempotency-Key` header, and requests marked with `idempotent`. What may pass is what Effect's own
 * `HttpClient.isTransientError` and `isTransientResponse` name: transport errors and the statuses 408, 429, 500, 502,
 * 503 and 504. Any other status is an answer, also for the circuit; a 429 says nothing about the service's health.
 *
 * **Gotchas**
 *
 * - A request that may not be retried keeps its own error: `HttpClientError` for what went wrong on the wire, and
 *   `Ambiguous` when it timed out after it was sent, since it may have been applied. Neither is `ServiceUnavailable`, so
 *   a fallback for an outage does not swallow it.
 * - A hedged request may be under way twice at once. Mark a request with `idempotent` only if that does no harm.
 * - For a body that must be streamed, use Effect's own `HttpClient` behind `policy.executeWith`.
 *
 * **Example** (A service that answers 503)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import { HttpClient, HttpClientResponse } from "effect/http"
 * import { Retry } from "failsoft"
 * import { ServiceClient } from "@failsoft/http"
 *
 * const down = Layer.succeed(
 *   HttpClient.HttpClient,
 *   HttpClient.make((request) =>
 *     Effect.succeed(HttpClientResponse.fromWeb(request, new Response(null, { status: 503 })))
 *   )
 * )
 *
 * const program = Effect.gen(function* () {
 *   const billing = yield* ServiceClient.make("billing", {
 *     url: "http://billing.internal",
 *     retry: { attempts: 2, schedule: Retry.exponential({ base: "1 millis" }) }
 *   })
 *   const balance = billing.get("/balance/ada").pipe(Effect.flatMap((response) => response.json))
 *   return yield* balance.pipe(billing.policy.orElse((error) => Effect.succeed(error.message)))
 * }).pipe(Effect.scoped, Effect.provide(down))
 *
 * await Effect.runPromise(program) // => "billing is unavailable: all 2 attempts failed"
 * ```
 */
import * as Cause from "effect/Cause"
import type * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import {
  Ambiguous,
  Deadline,
  InvalidOption,
  Outcome,
  Policy,
  PolicyConfig,
  ServiceUnavailable,
  Spans
} from "failsoft"
import * as attempt from "./internal/attempt.ts"

/** What a service client may fail with. */
export type ServiceClientError = HttpClientError.HttpClientError | ServiceUnavailable | Ambiguous

/** What a service client is made from. Only `url` is required. */
export interface Options {
  /** The base URL, http or https, without credentials, query and fragment; request paths are appended to it. */
  readonly url: string
  /** When the caller stops caring, for all attempts together. What remains is forwarded. Default: none. */
  readonly deadline?: Duration.Input | undefined
  /** The longest that one attempt may take, its body included. Default: `"5 seconds"`. */
  readonly attemptTimeout?: Duration.Input | undefined
  /** Default: 2 attempts, `Retry.exponential()`. With `enabled: false` one attempt, which fails as several would. */
  readonly retry?: Omit<NonNullable<Policy.Options["retry"]>, "isTransient"> | undefined
  /** What retry and hedge are paid from: a budget that others share, or options for one of its own. Default: none. */
  readonly retryBudget?: Policy.Options["retryBudget"]
  /** A further attempt of a request that may be repeated and takes long. Default: none. */
  readonly hedge?: Policy.Options["hedge"]
  /** How often requests may be sent. Each attempt counts. Default: no limit. */
  readonly rateLimiter?: Policy.Options["rateLimiter"]
  /** How many requests may be under way at once. Default: no limit. */
  readonly bulkhead?: Policy.Options["bulkhead"]
  /** Default: `CircuitBreaker`'s own, but for one successful probe that closes the circuit. */
  readonly breaker?: Omit<NonNullable<Policy.Options["breaker"]>, "probe" | "classify"> | undefined
  /** A path that is requested with GET while the circuit is open and due, so that it recovers by itself. Default: none. */
  readonly probePath?: string | undefined
  /** How often `probePath` is requested then. Default: `"5 seconds"`. */
  readonly probeEvery?: Duration.Input | undefined
  /** The largest body that is read, 1 byte to 1 GiB. Default: 10 MiB. */
  readonly maxBodyBytes?: number | undefined
  /** `false` sends every request once, without waiting, counting or giving up. Default: `true`. */
  readonly enabled?: boolean | undefined
}

/** An HTTP client for one service, and the policy that it runs its requests through. */
export interface ServiceClient extends HttpClient.HttpClient.With<ServiceClientError> {
  readonly policy: Policy.Policy
}

/** What the requests of the present fiber ask of the policy. */
const Asked = Context.Reference<Pick<Policy.CallOptions<never, never>, "idempotent" | "priority" | "cost">>(
  "@failsoft/http/ServiceClient/Asked",
  { defaultValue: () => ({}) }
)

/**
 * Marks the requests of an effect as idempotent: applying them twice is as good as once, so they may be retried and hedged.
 *
 * For a POST that only asks, such as the check of a token.
 */
export const idempotent = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.updateService(self, Asked, (asked) => ({ ...asked, idempotent: true }))

/** The level that the requests of an effect have in the queue of the bulkhead: see `Bulkhead.CallOptions`. */
export const withPriority: {
  (priority: number): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, priority: number): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, priority: number): Effect.Effect<A, E, R> =>
    Effect.updateService(self, Asked, (asked) => ({ ...asked, priority }))
)

/** What each request of an effect takes from the rate limiter: see `RateLimiter.CallOptions`. */
export const withCost: {
  (cost: number): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, cost: number): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, cost: number): Effect.Effect<A, E, R> =>
    Effect.updateService(self, Asked, (asked) => ({ ...asked, cost }))
)

/** The header that carries what remains of the deadline, in milliseconds. */
const deadlineHeader = "x-envoy-expected-rq-timeout-ms"

/** Kept back from the forwarded deadline, so that the service's answer arrives before we have stopped waiting. */
const deadlineMargin = Duration.millis(10)

/**
 * Makes a client for the service `name` over the `HttpClient` of the context. It lives as long as the scope.
 *
 * Fails with `InvalidOption` when an option is out of its range.
 */
export const make: (
  name: string,
  given: Options
) => Effect.Effect<ServiceClient, InvalidOption, HttpClient.HttpClient | Scope.Scope> = Effect.fnUntraced(
  function* (name: string, given: Options) {
    const url = yield* checkUrl(name, given.url)
    const maxBodyBytes = yield* checkBodyLimit(name, given.maxBodyBytes ?? 10 * 1024 * 1024)
    const attemptTimeout = given.attemptTimeout ?? "5 seconds"
    const http = HttpClient.withScope(
      HttpClient.mapRequest(yield* HttpClient.HttpClient, HttpClientRequest.prependUrl(url))
    )
    const send = attempt.make(http, maxBodyBytes)
    const policy = yield* Policy.make(name, {
      enabled: given.enabled,
      deadline: given.deadline,
      attemptTimeout,
      retry: {
        ...given.retry,
        // Switched off it is one attempt: what an outage is called must not depend on how often it was asked.
        enabled: true,
        attempts: given.retry?.enabled === false ? 1 : (given.retry?.attempts ?? 2),
        isTransient: HttpClient.isTransientError
      },
      retryBudget: given.retryBudget,
      hedge: given.hedge,
      rateLimiter: given.rateLimiter,
      bulkhead: given.bulkhead,
      breaker: {
        ...given.breaker,
        halfOpen: { ...given.breaker?.halfOpen, successes: given.breaker?.halfOpen?.successes ?? 1 },
        classify,
        probe:
          given.probePath === undefined
            ? undefined
            : {
                effect: probe(name, send, given.probePath, attemptTimeout, given.deadline),
                every: given.probeEvery ?? "5 seconds"
              }
      }
    })
    const client = HttpClient.makeWith(
      (request: Effect.Effect<HttpClientRequest.HttpClientRequest>) =>
        Effect.flatMap(request, (request) => execute(policy, send, attemptTimeout, request)),
      Effect.succeed
    )
    return Object.assign(client, { policy })
  }
)

/** A Layer that provides a service client under a key of the application's own, named `name`. */
export const layer = <I>(
  key: Context.Key<I, ServiceClient>,
  name: string,
  given: Options
): Layer.Layer<I, InvalidOption, HttpClient.HttpClient> => Layer.effect(key, make(name, given))

/**
 * The options as configuration holds them: `url`, which is required, the fields of `PolicyConfig`, `probePath`,
 * `probeEvery` and `maxBodyBytes`. Bare numbers of durations are seconds.
 */
export const ConfigSchema = PolicyConfig.ConfigStruct({
  ...PolicyConfig.PolicyConfig.fields,
  url: Schema.String,
  probePath: Schema.optionalKey(Schema.String),
  probeEvery: Schema.optionalKey(PolicyConfig.ConfigDuration),
  maxBodyBytes: Schema.optionalKey(PolicyConfig.ConfigNumber)
})

/** The options that a decoded configuration stands for. What it leaves out keeps its default. */
export const fromConfig = (config: typeof ConfigSchema.Type): Options => ({
  ...Policy.fromConfig(config),
  url: config.url,
  probePath: config.probePath,
  probeEvery: config.probeEvery,
  maxBodyBytes: config.maxBodyBytes
})

/**
 * A Layer that provides a service client whose options are read from configuration below `path`, by default its name.
 *
 * Fails with `ConfigError` when a value cannot be read, with `InvalidOption` when it is out of its range.
 */
export const layerConfig = <I>(
  key: Context.Key<I, ServiceClient>,
  name: string,
  path: string | ConfigProvider.Path = name
): Layer.Layer<I, InvalidOption | Config.ConfigError, HttpClient.HttpClient> =>
  Layer.effect(
    key,
    Effect.flatMap(PolicyConfig.readConfig(ConfigSchema, path), (config) => make(name, fromConfig(config)))
  )

const execute = (
  policy: Policy.Policy,
  send: ReturnType<typeof attempt.make>,
  attemptTimeout: Duration.Input,
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<HttpClientResponse.HttpClientResponse, ServiceClientError> =>
  Effect.flatMap(Asked, (asked): Effect.Effect<HttpClientResponse.HttpClientResponse, ServiceClientError> => {
    let begun = 0
    const call = Effect.suspend(() => {
      const attempt = Effect.flatMap(withDeadline(request, attemptTimeout), send)
      // The transport makes a span for each attempt, which is where OpenTelemetry looks for this.
      return begun++ === 0 ? attempt : Effect.annotateSpans(attempt, Spans.attributes.resendCount, begun - 1)
    })
    const repeatable = mayRepeat(request, asked.idempotent === true)
    const executed = policy.executeWith(call, { ...asked, idempotent: repeatable, retry: repeatable })
    return repeatable
      ? executed
      : Effect.catchIf(
          executed,
          (error): error is ServiceUnavailable => error instanceof ServiceUnavailable,
          (error) =>
            Effect.fail(
              begun > 0 && error.reason._tag === "TimedOut" ? ambiguous(policy.name, request, error) : error
            )
        )
  })

/**
 * A service that is too slow for every call must not pass for well, nor hold the slot of the half-open circuit: a probe has
 * the time that an attempt has. The duration is read only when the policy has found it valid.
 */
const probe = (
  name: string,
  send: ReturnType<typeof attempt.make>,
  path: string,
  attemptTimeout: Duration.Input,
  deadline: Duration.Input | undefined
): Effect.Effect<HttpClientResponse.HttpClientResponse, ServiceClientError> =>
  Effect.suspend(() => {
    const longest = Duration.fromInputUnsafe(attemptTimeout)
    const patience =
      deadline === undefined ? longest : Duration.min(longest, Duration.fromInputUnsafe(deadline))
    return Deadline.attemptTimeout(send(HttpClientRequest.get(path)), name, patience)
  })

const ambiguous = (
  service: string,
  request: HttpClientRequest.HttpClientRequest,
  cause: ServiceUnavailable
): Ambiguous => new Ambiguous({ service, operation: `${request.method} request`, cause })

const idempotentMethods = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PUT", "DELETE"])

/** A stream can be sent once, so not even an idempotent request with one is repeated. */
const mayRepeat = (request: HttpClientRequest.HttpClientRequest, isMarked: boolean): boolean =>
  (request.body._tag === "Raw" ? isHeld(request.body.body) : request.body._tag !== "Stream") &&
  (isMarked || idempotentMethods.has(request.method) || "idempotency-key" in request.headers)

/** Whether a raw body is there as a whole each time. It may be a stream of the platform, which is empty the second time. */
const isHeld = (body: unknown): boolean =>
  typeof body === "string" ||
  ArrayBuffer.isView(body) ||
  [ArrayBuffer, Blob, FormData, URLSearchParams].some((held) => body instanceof held)

const withDeadline = (
  request: HttpClientRequest.HttpClientRequest,
  attemptTimeout: Duration.Input
): Effect.Effect<HttpClientRequest.HttpClientRequest> =>
  Effect.map(
    Deadline.remaining,
    Option.match({
      onNone: () => request,
      onSome: (remaining) => {
        const patience = Duration.min(remaining, Duration.fromInputUnsafe(attemptTimeout))
        const millis = Duration.toMillis(Duration.subtract(patience, deadlineMargin))
        return HttpClientRequest.setHeader(request, deadlineHeader, String(Math.max(1, Math.floor(millis))))
      }
    })
  )

/** Statuses as Effect's own classifier has them; errors that are not of the service's making say nothing. */
const classify = (exit: Exit.Exit<unknown, unknown>): Outcome.Outcome => {
  if (exit._tag === "Success") return Outcome.success
  const failed = exit.cause.reasons.find(Cause.isFailReason)
  if (failed === undefined || !HttpClientError.isHttpClientError(failed.error)) return Outcome.fromExit(exit)
  const { reason } = failed.error
  if (reason._tag === "TransportError") return Outcome.failure()
  if (reason._tag !== "StatusCodeError" || reason.response.status === 429) return Outcome.ignored
  return Outcome.fromExit(exit)
}

/** Paths are appended to it as text, and whether credentials in it are sent is up to the transport. */
const checkUrl = (name: string, url: string): Effect.Effect<string, InvalidOption> => {
  const parsed = URL.parse(url)
  return parsed !== null &&
    /^https?:$/.test(parsed.protocol) &&
    parsed.username + parsed.password === "" &&
    !/[?#]/.test(url)
    ? Effect.succeed(url)
    : Effect.fail(
        new InvalidOption({
          policy: name,
          option: "url",
          // A URL may carry a password or a key.
          value: /[@?]/.test(url) ? "a URL with credentials or a query" : JSON.stringify(url),
          allowed: "an http or https URL without credentials, query and fragment"
        })
      )
}

const checkBodyLimit = (name: string, maxBodyBytes: number): Effect.Effect<number, InvalidOption> =>
  Number.isInteger(maxBodyBytes) && maxBodyBytes >= 1 && maxBodyBytes <= 1024 ** 3
    ? Effect.succeed(maxBodyBytes)
    : Effect.fail(
        new InvalidOption({
          policy: name,
          option: "maxBodyBytes",
          value: String(maxBodyBytes),
          allowed: `a whole number from 1 to ${1024 ** 3}`
        })
      )
