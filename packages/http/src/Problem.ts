/**
 * One error model for every endpoint: problem documents (RFC 9457), or the `{"error":{…}}` envelope by choice.
 *
 * Handlers fail with a `Problem`, or with the errors of failsoft, which have a status of their own: what a dependency
 * cannot serve is 503 (504 when it timed out), what it answers that cannot be understood is 502, a caller over its limit
 * is 429. Whatever else gets out is a 500 that
 * says nothing but an incident id, under which the cause is logged.
 *
 * **Gotchas**
 *
 * - `detail` is written by the author of the handler. Never put a caught error's message there.
 * - A `SchemaError` is a 500 unless it came from the request: read requests with `Problem.body` and its siblings.
 *
 * **Example** (A handler that refuses)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { Problem } from "@failsoft/http"
 *
 * const Routes = HttpRouter.add("GET", "/projects/p-1", Effect.fail(Problem.forbidden("not your project")))
 *
 * const { dispose, handler } = HttpRouter.toWebHandler(Layer.merge(Routes, Problem.layer()), { disableLogger: true })
 *
 * const response = await handler(new Request("http://gateway/projects/p-1"))
 * await dispose()
 *
 * response.status // => 403
 * response.headers.get("content-type") // => "application/problem+json"
 * ```
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { Ambiguous, errorName, Misconfigured, QuotaExceeded, ServiceUnavailable, Unsupported } from "failsoft"

/** One field of a request that is not as it should be. */
export interface FieldError {
  /** The path of the field, such as `user.email`; empty for the whole body. */
  readonly field: string
  readonly message: string
}

/** What may be said of a problem beside its status and code. */
export interface Details {
  /** A sentence for the caller, written by the author of the handler. */
  readonly detail?: string | undefined
  /** The fields that are wrong, on a 400. */
  readonly errors?: ReadonlyArray<FieldError> | undefined
  /** When the caller may try again. Sent as `Retry-After` too. */
  readonly retryAfter?: Duration.Duration | undefined
  /** Whether the same request may succeed later. Default: for 429 and 503. */
  readonly retryable?: boolean | undefined
}

/** An answer that is not what the caller wanted. `code` is for programs, `detail` for people. */
export class Problem extends Data.TaggedError("Problem")<{
  readonly status: number
  readonly code: string
  readonly title: string
  readonly details: Details
}> {
  /** One sentence for people. */
  override get message(): string {
    return this.details.detail ?? this.title
  }

  /** The answer where no `Problem.layer` is there to give a better one: without request id, time and path. */
  [HttpServerRespondable.symbol](): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    const { code, details, status, title } = this
    return Effect.succeed(
      HttpServerResponse.jsonUnsafe(
        { type: "about:blank", title, status, code, ...(details.detail && { detail: details.detail }) },
        { status, contentType: "application/problem+json" }
      )
    )
  }
}

const problem = (status: number, code: string, title: string, details: Details = {}): Problem =>
  new Problem({ status, code, title, details })

/** 400: the request cannot be read, or its fields are wrong. */
export const invalidRequest = (errors: ReadonlyArray<FieldError>): Problem =>
  problem(400, "invalid_request", "The request is not valid", {
    errors,
    detail: errors.map(({ field, message }) => (field === "" ? message : `${field}: ${message}`)).join("; ")
  })

/** 401: it is not known who asks. Sent with `WWW-Authenticate: Bearer`. */
export const unauthenticated = (detail?: string): Problem =>
  problem(401, "unauthenticated", "Authentication is required", { detail })

/** 403: the caller may not do this. */
export const forbidden = (detail?: string): Problem =>
  problem(403, "forbidden", "This is not allowed", { detail })

/** 404: there is no such thing. */
export const notFound = (detail?: string): Problem =>
  problem(404, "not_found", "There is no such thing", { detail })

/** 413: the request's body is larger than we read. */
export const contentTooLarge = (): Problem => problem(413, "content_too_large", "The request is too large")

/** 429: this caller is over its limit. */
export const rateLimited = (retryAfter: Duration.Duration): Problem =>
  problem(429, "rate_limited", "Too many requests", { retryAfter })

/** 503: the request cannot be served now, and may be later. */
export const unavailable = (details: Details = {}): Problem =>
  problem(503, "service_unavailable", "The service is temporarily unavailable", details)

const timedOut = (retryable: boolean): Problem =>
  problem(504, "timed_out", "A service that we depend on did not answer in time", { retryable })

const badGateway = (): Problem =>
  problem(502, "bad_gateway", "A service that we depend on did not answer as it should", {})

const internal = (incident: string): Problem =>
  problem(500, "internal", "Something went wrong here", { detail: `incident ${incident}` })

/** Reads and checks the JSON body of the request; what is wrong with it is a 400 that names the fields. */
export const body = <A, RD>(
  schema: Schema.ConstraintDecoder<A, RD>
): Effect.Effect<A, Problem, RD | HttpServerRequest.HttpServerRequest> =>
  // Not `request.json`, which takes an empty body for null on some platforms and not on others.
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => request.text).pipe(
    Effect.mapError((error) =>
      error.reason._tag === "RequestParseError" && error.reason.reason === "BodyTooLarge"
        ? contentTooLarge()
        : invalidRequest([{ field: "", message: "the body cannot be read" }])
    ),
    Effect.flatMap((text) =>
      Effect.try({
        try: (): unknown => JSON.parse(text),
        catch: () => invalidRequest([{ field: "", message: "the body is not JSON" }])
      })
    ),
    Effect.flatMap((json) => fields(Schema.decodeUnknownEffect(schema)(json, { errors: "all" })))
  )

/** Reads and checks the parameters of the path; what is wrong with them is a 400 that names them. */
export const pathParams = <A, RD>(
  schema: Schema.ConstraintDecoder<A, RD>
): Effect.Effect<A, Problem, RD | HttpRouter.RouteContext> =>
  Effect.flatMap(HttpRouter.params, (params) =>
    fields(Schema.decodeUnknownEffect(schema)(params, { errors: "all" }))
  )

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

const fields = <A, R>(decoded: Effect.Effect<A, Schema.SchemaError, R>): Effect.Effect<A, Problem, R> =>
  Effect.mapError(decoded, ({ issue }) =>
    invalidRequest(
      formatIssue(issue).issues.map(({ message, path }) => ({
        field: (path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join("."),
        message
      }))
    )
  )

/** How problems are written: RFC 9457 documents, or `{"error":{code,message,type,timestamp,request_id,path}}`. */
export type Format = "problem" | "envelope"

/**
 * A Layer that answers every failure of every route with a problem.
 *
 * It also gives each request an id, taken from `X-Request-ID` where that is a plain word of at most 128 characters, which
 * is sent back, logged with every line of the request, and part of the problem. `format` is `"problem"` by default.
 */
export const layer = (options?: {
  readonly format?: Format | undefined
}): Layer.Layer<never, never, HttpRouter.HttpRouter> =>
  HttpRouter.middleware(answered(options?.format ?? "problem"), { global: true })

const answered =
  (format: Format) =>
  <E, R>(
    handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
  ): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest> =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
      Effect.flatMap(requestIdOf(request), (requestId) =>
        handler.pipe(
          Effect.catchCause((cause) => answer(request, requestId, format, cause)),
          Effect.map(HttpServerResponse.setHeader("x-request-id", requestId)),
          Effect.annotateLogs({ requestId })
        )
      )
    )

const requestIdOf = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<string> => {
  const given = request.headers["x-request-id"]
  return given !== undefined && /^[\w.:-]{1,128}$/.test(given) ? Effect.succeed(given) : randomId
}

/** Sixteen hexadecimal digits: enough to find a request in a log, and no secret. */
const randomId: Effect.Effect<string> = Effect.map(Effect.all([Random.next, Random.next]), (draws) =>
  draws
    .map((draw) =>
      Math.floor(draw * 2 ** 32)
        .toString(16)
        .padStart(8, "0")
    )
    .join("")
)

const answer = (
  request: HttpServerRequest.HttpServerRequest,
  requestId: string,
  format: Format,
  cause: Cause.Cause<unknown>
): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  Cause.hasInterruptsOnly(cause)
    ? // With its own reasons: they tell a client that left from a server that stops.
      Effect.failCause(Cause.fromReasons(cause.reasons.filter(Cause.isInterruptReason)))
    : Effect.flatMap(toProblem(cause), (found) => render(request, requestId, format, found))

const toProblem = (cause: Cause.Cause<unknown>): Effect.Effect<Problem> => {
  const failed = cause.reasons.find(Cause.isFailReason)
  const known = failed === undefined ? undefined : fromError(failed.error)
  if (known !== undefined) {
    // A caller learns nothing of a dependency that answers as it should not, so the log has to.
    return known.status === 502
      ? Effect.as(Effect.logWarning("bad gateway", errorName(failed?.error)), known)
      : Effect.succeed(known)
  }
  return Effect.flatMap(randomId, (incident) =>
    Effect.as(Effect.logError(`incident ${incident}`, cause), internal(incident))
  )
}

/** The problem that a known error stands for, or `undefined` for one that nobody is told of. */
export const fromError = (error: unknown): Problem | undefined => {
  if (error instanceof Problem) return error
  if (error instanceof ServiceUnavailable) {
    return error.reason._tag === "TimedOut" ? timedOut(true) : unavailable({ retryAfter: error.retryAfter })
  }
  if (error instanceof QuotaExceeded) return rateLimited(error.retryAfter)
  if (error instanceof Ambiguous) return timedOut(false)
  if (error instanceof Unsupported) return unavailable()
  if (error instanceof Misconfigured) return badGateway()
  if (HttpClientError.isHttpClientError(error)) return isOurs(error) ? undefined : badGateway()
  return HttpServerError.isHttpServerError(error) ? fromServerError(error) : undefined
}

/** A request that could not even be made says nothing about who it was for. */
const isOurs = ({ reason }: HttpClientError.HttpClientError): boolean =>
  reason._tag === "EncodeError" || reason._tag === "InvalidUrlError"

const fromServerError = ({ reason }: HttpServerError.HttpServerError): Problem | undefined => {
  switch (reason._tag) {
    case "RouteNotFound":
      return notFound("there is no such route")
    case "RequestParseError":
      return reason.reason === "BodyTooLarge"
        ? contentTooLarge()
        : invalidRequest([{ field: "", message: "the request cannot be read" }])
    default:
      return undefined
  }
}

/** A dependency may ask for any time, and what it asks for is passed on. */
const maxRetryAfter = Duration.days(1)

const render = (
  request: HttpServerRequest.HttpServerRequest,
  requestId: string,
  format: Format,
  { code, details, status, title }: Problem
): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  Effect.gen(function* () {
    const timestamp = DateTime.formatIso(DateTime.makeUnsafe(yield* Clock.currentTimeMillis))
    const path = request.url.split("?")[0] ?? request.url
    const asked = details.retryAfter ?? (status === 503 ? Duration.seconds(1) : undefined)
    const retryAfter = asked && Duration.min(asked, maxRetryAfter)
    const headers = {
      "cache-control": "no-store",
      ...(status === 401 ? { "www-authenticate": "Bearer" } : {}),
      ...(retryAfter === undefined ? {} : { "retry-after": String(yield* jitteredSeconds(retryAfter)) })
    }
    const written =
      format === "envelope"
        ? {
            error: {
              code,
              message: details.detail ?? title,
              type: code,
              timestamp,
              request_id: requestId,
              path
            }
          }
        : {
            type: "about:blank",
            title,
            status,
            ...(details.detail === undefined ? {} : { detail: details.detail }),
            code,
            retryable: details.retryable ?? (status === 429 || status === 503),
            ...(retryAfter === undefined ? {} : { retryAfterMs: Math.ceil(Duration.toMillis(retryAfter)) }),
            ...(details.errors === undefined ? {} : { errors: details.errors }),
            requestId,
            timestamp,
            path
          }
    return HttpServerResponse.jsonUnsafe(written, {
      status,
      headers,
      contentType: format === "envelope" ? "application/json" : "application/problem+json"
    })
  })

/** Callers that were refused together must not come back together: whole seconds, up to a fifth more than asked. */
const jitteredSeconds = (retryAfter: Duration.Duration): Effect.Effect<number> =>
  Effect.map(Random.next, (random) =>
    Math.max(1, Math.ceil(Duration.toSeconds(retryAfter) * (1 + random / 5)))
  )
