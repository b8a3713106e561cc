/**
 * One attempt of a service client: the request, the judgement of its status, and its body.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import * as HttpHeaders from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/**
 * Sends requests one attempt at a time over a client whose requests end with their scope.
 *
 * A transient status is an error, any other an answer whose body is read before the attempt ends. When it ends, its scope
 * aborts what is left of the request, and with it a body that nobody reads.
 */
export const make =
  (http: HttpClient.HttpClient.With<HttpClientError.HttpClientError, Scope.Scope>, maxBodyBytes: number) =>
  (
    request: HttpClientRequest.HttpClientRequest
  ): Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> =>
    Effect.scoped(Effect.flatMap(http.execute(request), (response) => judge(response, maxBodyBytes)))

/** A status that may pass, with what the service asked for in `Retry-After`. */
class TransientStatus extends HttpClientError.HttpClientError {
  readonly retryAfter: Duration.Duration | undefined

  constructor(response: HttpClientResponse.HttpClientResponse, retryAfter: Duration.Duration | undefined) {
    super({ reason: new HttpClientError.StatusCodeError({ request: response.request, response }) })
    this.retryAfter = retryAfter
  }
}

const judge = (
  response: HttpClientResponse.HttpClientResponse,
  maxBodyBytes: number
): Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> =>
  HttpClient.isTransientResponse(response)
    ? Effect.flatMap(retryAfterOf(response), (retryAfter) =>
        Effect.fail(new TransientStatus(response, retryAfter))
      )
    : Effect.map(readBody(response, maxBodyBytes), (body) => withBody(response, body))

const retryAfterOf = (
  response: HttpClientResponse.HttpClientResponse
): Effect.Effect<Duration.Duration | undefined> =>
  Effect.map(Clock.currentTimeMillis, (nowMillis) => {
    const header = response.headers["retry-after"]
    const parsed = header === undefined ? undefined : HttpHeaders.parseRetryAfter(header)
    return parsed !== undefined && Result.isSuccess(parsed)
      ? HttpHeaders.retryAfterDelay(parsed.success, nowMillis)
      : undefined
  })

const readBody = (
  response: HttpClientResponse.HttpClientResponse,
  maxBodyBytes: number
): Effect.Effect<Uint8Array<ArrayBuffer>, HttpClientError.HttpClientError> => {
  const chunks: Array<Uint8Array> = []
  let size = 0
  return response.stream.pipe(
    Stream.catchIf(
      (error) => error.reason._tag === "EmptyBodyError",
      () => Stream.empty
    ),
    Stream.mapError((error) => brokenTransport(response, error)),
    Stream.runForEach((chunk) => {
      size += chunk.byteLength
      if (size > maxBodyBytes) return Effect.fail(bodyTooLarge(response, maxBodyBytes))
      chunks.push(chunk)
      return Effect.void
    }),
    Effect.map(() => concat(chunks, size))
  )
}

/** A connection that breaks while the body arrives is as much a transport error as one that breaks before. */
const brokenTransport = (
  response: HttpClientResponse.HttpClientResponse,
  cause: unknown
): HttpClientError.HttpClientError =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({
      request: response.request,
      cause,
      description: "the connection broke while the body arrived"
    })
  })

const bodyTooLarge = (
  response: HttpClientResponse.HttpClientResponse,
  maxBodyBytes: number
): HttpClientError.HttpClientError =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.DecodeError({
      request: response.request,
      response,
      description: `the body is larger than ${maxBodyBytes} bytes`
    })
  })

const concat = (chunks: ReadonlyArray<Uint8Array>, size: number): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.byteLength
  }
  return bytes
}

/**
 * The status and the URL are set afterwards: the platform's constructor takes no URL, no status beyond 599, and no body,
 * not even an empty one, for a status such as 204.
 */
const withBody = (
  response: HttpClientResponse.HttpClientResponse,
  body: Uint8Array<ArrayBuffer>
): HttpClientResponse.HttpClientResponse => {
  const headers = new Headers(Object.entries(response.headers).filter(([name]) => name !== "set-cookie"))
  for (const cookie of Cookies.toSetCookieHeaders(response.cookies)) headers.append("set-cookie", cookie)
  const answer = new Response(body, { headers })
  const { status, url } = response
  Object.defineProperties(answer, {
    status: { value: status },
    ok: { value: status >= 200 && status <= 299 },
    url: { value: url }
  })
  return HttpClientResponse.fromWeb(response.request, answer)
}
