/**
 * Real servers whose every answer is scripted, the transports that reach them, and a transport for controlled time.
 */
import { once } from "node:events"
import { createServer, type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { text } from "node:stream/consumers"
import { NodeHttpClient } from "@effect/platform-node"
import { ServiceClient } from "@failsoft/http"
import { Clock, Effect, Layer, Logger, type Scope } from "effect"
import { FetchHttpClient, HttpClient, type HttpClientRequest, HttpClientResponse } from "effect/http"
import { Retry } from "failsoft"
import { vi } from "vitest"

/** A request as the server saw it. */
export interface Seen {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: string
  /** Whether the client went away before it had the whole answer. */
  readonly abandoned: () => boolean
}

export type Answer = (request: IncomingMessage, response: ServerResponse) => void

/** A running server and what it has seen. */
export interface Server {
  readonly url: string
  readonly requests: ReadonlyArray<Seen>
  /** Connections that are open now. */
  readonly sockets: () => number
  /** Connections that were ever opened. */
  readonly connections: () => number
}

/** Answers the n-th request with the n-th answer; the last one serves all later requests. */
export const serve = (
  ...script: readonly [Answer, ...Array<Answer>]
): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const requests: Array<Seen> = []
        const sockets = new Set<unknown>()
        let connections = 0
        const server = createServer((request, response) => {
          let abandoned = false
          response.once("close", () => {
            abandoned = !response.writableFinished
          })
          text(request).then(
            (body) => {
              const answer = script[Math.min(requests.length, script.length - 1)] ?? script[0]
              const { headers, method = "", url: path = "" } = request
              requests.push({ method, path, headers, body, abandoned: () => abandoned })
              answer(request, response)
            },
            () => response.destroy()
          )
        })
        server.on("connection", (socket) => {
          connections++
          sockets.add(socket)
          socket.once("close", () => sockets.delete(socket))
        })
        server.listen(0, "127.0.0.1")
        await once(server, "listening")
        const { port } = server.address() as AddressInfo
        return {
          server,
          url: `http://127.0.0.1:${port}`,
          requests,
          sockets: () => sockets.size,
          connections: () => connections
        }
      }),
      ({ server }) =>
        Effect.promise(async () => {
          server.close()
          server.closeAllConnections()
          await once(server, "close")
        })
    ),
    ({ server: _, ...seen }) => seen
  )

/** Answers at once. */
export const reply =
  (status: number, body = "", headers: OutgoingHttpHeaders = {}): Answer =>
  (_request, response) => {
    response.writeHead(status, headers).end(body)
  }

export const ok = reply(200, '{"status":"ok"}', { "content-type": "application/json" })

/** Never answers. */
export const hang: Answer = () => {}

/** Answers the headers, then a byte now and then, and never ends. */
export const drip =
  (status = 200): Answer =>
  (_request, response) => {
    response.writeHead(status).flushHeaders()
    const timer = setInterval(() => response.write("."), 20)
    response.once("close", () => clearInterval(timer))
  }

/** Resets the connection before any header. */
export const reset: Answer = (request) => {
  request.socket.resetAndDestroy()
}

/** Sends the headers and a part of the body, then resets the connection. */
export const resetInBody: Answer = (request, response) => {
  response.writeHead(200, { "content-length": "1000" })
  response.write("half", () => request.socket.resetAndDestroy())
}

/** A server that listened and does not any more: connections to it are refused. */
export const refusing: Effect.Effect<string> = Effect.scoped(Effect.map(serve(ok), ({ url }) => url))

/** Waits for what a socket brings about. */
export const eventually = (check: () => void | Promise<void>): Effect.Effect<void> =>
  Effect.promise(() => vi.waitFor(check, { timeout: 4_000, interval: 5 }))

/** The transports that come with Effect. */
export const transports = {
  undici: NodeHttpClient.layerUndici,
  fetch: FetchHttpClient.layer,
  "node:http": NodeHttpClient.layerNodeHttp
}

export const silent = Logger.layer([])

/** Sockets over undici, and nothing in the log. */
export const live = Layer.merge(transports.undici, silent)

/** Waits so short that they need no control of time. */
export const hasty = Retry.exponential({ base: "1 millis", jitter: "none" })

export const makeClient = (url: string, options?: Omit<ServiceClient.Options, "url">) =>
  ServiceClient.make("billing", {
    url,
    ...options,
    retry: { schedule: hasty, ...options?.retry }
  })

/** A request over the scripted transport, and when it was made. */
export interface Sent {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly method: string
  readonly atMillis: number
  readonly deadline: string | undefined
}

/** A transport without sockets, so that all of its time is the test's own: `undefined` never answers. */
export const scripted = (
  ...script: ReadonlyArray<(request: HttpClientRequest.HttpClientRequest) => Response | undefined>
) => {
  const sent: Array<Sent> = []
  const client = HttpClient.make((request) =>
    Effect.flatMap(Clock.currentTimeMillis, (atMillis) => {
      const response = script[Math.min(sent.length, script.length - 1)]?.(request)
      sent.push({
        request,
        method: request.method,
        atMillis,
        deadline: request.headers["x-envoy-expected-rq-timeout-ms"]
      })
      return response === undefined
        ? Effect.never
        : Effect.succeed(HttpClientResponse.fromWeb(request, response))
    })
  )
  return { sent, layer: Layer.merge(Layer.succeed(HttpClient.HttpClient, client), silent) }
}
