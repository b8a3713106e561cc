/**
 * The gateway between real sockets in this process: upstreams that misbehave when told to, and short waits.
 */
import { readFileSync } from "node:fs"
import { createServer, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"
import { NodeHttpClient, NodeHttpServer } from "@effect/platform-node"
import { ConfigProvider, Context, Effect, Layer, Logger, References, Result, type Scope } from "effect"
import { HttpServer } from "effect/http"
import { IpNetwork } from "effect/net"
import * as Gateway from "failsoft-example-chat-gateway/gateway/Gateway"
import type * as Mode from "failsoft-example-chat-gateway/upstreams/Mode"
import * as Upstream from "failsoft-example-chat-gateway/upstreams/Upstream"
import { upstreams as definitions } from "failsoft-example-chat-gateway/upstreams/Upstreams"
import { expect, vi } from "vitest"

export const serviceNames = ["auth", "billing", "chroma", "filesystem", "git", "external"] as const
export type ServiceName = (typeof serviceNames)[number]
export type ByService<A> = Readonly<Record<ServiceName, A>>

/** One row of `services.json`. */
export interface Row {
  readonly url: string
  readonly deadline: number
  readonly attemptTimeout: number
  readonly retry: { readonly attempts: number }
  readonly hedge?: object
  readonly bulkhead: { readonly limit: number; readonly queue: number }
  readonly breaker: { readonly failures: number; readonly openDuration: number }
}

/** The table as it is shipped. */
export const shippedFile = new URL("../../examples/chat-gateway/services.json", import.meta.url)
export const shippedTable: { readonly services: ByService<Row>; readonly retryBudget: object } = JSON.parse(
  readFileSync(shippedFile, "utf8")
)
export const shipped = shippedTable.services

export const byService = <A>(of: (name: ServiceName) => A): ByService<A> => ({
  auth: of("auth"),
  billing: of("billing"),
  chroma: of("chroma"),
  filesystem: of("filesystem"),
  git: of("git"),
  external: of("external")
})

/** The largest answer of a service that is read. */
export const maxBodyBytes = 100_000

/** A cache of contexts that holds every answer for an hour, and asks again each time. */
export const askedEachTime = { timeToLive: "1 millis", staleIfError: 3600, pauseAfterFailure: "1 millis" }

/** Attempts and thresholds as shipped, with waits that a test can sit through. */
const hasty = (name: ServiceName, attemptMillis: number): object => ({
  probePath: "/health",
  probeEvery: "100 millis",
  deadline: `${2 * attemptMillis} millis`,
  attemptTimeout: `${attemptMillis} millis`,
  maxBodyBytes,
  retry: { ...shipped[name].retry, base: "10 millis" },
  ...(shipped[name].hedge === undefined ? {} : { hedge: { delay: `${attemptMillis / 5} millis` } }),
  bulkhead: shipped[name].bulkhead,
  breaker: { failures: shipped[name].breaker.failures, openDuration: "2 seconds" }
})

export interface Options {
  /** Replaces rows of the hasty table; the URL is added. */
  readonly rows?: Partial<ByService<object>>
  /** Takes the place of a stand-in. */
  readonly urls?: Partial<ByService<string>>
  /** How long an attempt may take in the hasty table; a call may take twice as long. */
  readonly attemptMillis?: number
  readonly requestDeadlineMillis?: number
  readonly trustedProxies?: ReadonlyArray<string>
  /** Replaces the shipped one. */
  readonly retryBudget?: object
  /** Replaces `askedEachTime`. */
  readonly contextCache?: object
  /** Variables of Redis and of sessions. Without any the gateway has no Redis, on purpose, and is healthy. */
  readonly env?: Readonly<Record<string, string>>
}

/** An answer of the gateway. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: unknown
  readonly millis: number
}

export interface Running {
  readonly url: string
  readonly port: number
  readonly upstreams: ByService<Upstream.Upstream>
  /** Every line of the log, at every level, in each format. */
  readonly log: ReadonlyArray<string>
  readonly send: (path: string, init?: RequestInit) => Effect.Effect<Reply>
  readonly setMode: (name: ServiceName, mode: Mode.Name | Mode.Mode) => Effect.Effect<void>
}

/** Starts six upstreams and a gateway that knows them. */
export const start = (given: Options = {}): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function* () {
    const upstreams = yield* startUpstreams
    const services = byService((name) => ({
      ...(given.rows?.[name] ?? hasty(name, given.attemptMillis ?? 500)),
      url: given.urls?.[name] ?? `http://127.0.0.1:${upstreams[name].port}`
    }))
    const log: Array<string> = []
    const keep = (line: string): void => void log.push(line)
    const loggers = [Logger.formatJson, Logger.formatLogFmt, Logger.formatSimple].map(Logger.map(keep))
    const Live = Gateway.layer({
      requestDeadline: given.requestDeadlineMillis ?? 5_000,
      errorFormat: "problem",
      trustedProxies: (given.trustedProxies ?? []).map((network) =>
        Result.getOrThrow(IpNetwork.fromString(network))
      )
    }).pipe(
      Layer.provide(Gateway.application),
      Layer.provideMerge(
        NodeHttpServer.layerServer(() => createServer(), {
          host: "127.0.0.1",
          port: 0,
          gracefulShutdownTimeout: "100 millis"
        })
      ),
      Layer.provide(NodeHttpClient.layerUndici),
      Layer.provide(
        ConfigProvider.layer(
          ConfigProvider.orElse(
            ConfigProvider.constantCase(
              ConfigProvider.fromEnv({ env: given.env ?? { REDIS_ENABLED: "false" } })
            ),
            ConfigProvider.fromUnknown({
              services,
              retryBudget: given.retryBudget ?? shippedTable.retryBudget,
              contextCache: given.contextCache ?? askedEachTime
            })
          )
        )
      ),
      Layer.provide(Logger.layer(loggers)),
      Layer.provide(Layer.succeed(References.MinimumLogLevel, "All"))
    )
    const { address } = Context.get(yield* Effect.orDie(Layer.build(Live)), HttpServer.HttpServer)
    const port = address._tag === "UnixPathAddress" ? 0 : address.port
    const url = `http://127.0.0.1:${port}`
    return {
      url,
      port,
      upstreams,
      log,
      send: (path, init) => Effect.promise((signal) => send(`${url}${path}`, { signal, ...init })),
      setMode: (name, mode) => Effect.promise(() => upstreams[name].setMode(mode))
    }
  })

const startUpstreams = Effect.gen(function* () {
  const running = yield* Effect.forEach(
    definitions,
    (definition) =>
      Effect.acquireRelease(
        Effect.promise(() => Upstream.start(definition)),
        (upstream) => Effect.promise(upstream.close)
      ),
    { concurrency: "unbounded" }
  )
  return byService((name) => {
    const upstream = running.find((upstream) => upstream.name === name)
    if (upstream === undefined) throw new Error(`no upstream ${name}`)
    return upstream
  })
})

const send = async (url: string, init: RequestInit): Promise<Reply> => {
  const from = performance.now()
  const response = await fetch(url, { signal: AbortSignal.timeout(15_000), ...init })
  const text = await response.text()
  const millis = performance.now() - from
  const isJson = /json/.test(response.headers.get("content-type") ?? "")
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: isJson ? JSON.parse(text) : text,
    millis
  }
}

/** A server of the test's own, and its URL. */
export const serve = (answer: RequestListener): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer(answer)
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`))

export const json = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  body: JSON.stringify(body),
  headers: { "content-type": "application/json", ...headers }
})

export const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })

let addresses = 0

/** Logs in from an address that nobody used before, which counts where loopback is a trusted proxy. */
export const logIn = (
  { send }: Running,
  password = "lovelace",
  from = `10.0.${Math.floor(++addresses / 250)}.${(addresses % 250) + 1}`
): Effect.Effect<Reply> =>
  send("/api/v1/login", json({ email: "ada@example.org", password }, { "x-forwarded-for": from }))

/** A token of ada's. */
export const tokenOf = (running: Running): Effect.Effect<string> =>
  Effect.map(logIn(running), ({ body }) => (body as { readonly token: string }).token)

export const stateOf = ({ send }: Running, name: ServiceName): Effect.Effect<string> =>
  Effect.map(
    send(`/health/circuit-breaker/${name}`),
    ({ body }) => (body as { readonly state: string }).state
  )

/** Waits for what timers and sockets bring about. */
export const eventually = (check: () => void | Promise<void>, timeout = 10_000): Effect.Effect<void> =>
  Effect.promise(() => vi.waitFor(check, { timeout, interval: 20 }))

export const untilState = (running: Running, name: ServiceName, state: string): Effect.Effect<void> =>
  eventually(async () => expect(await Effect.runPromise(stateOf(running, name)), name).toBe(state))

/** Requests that an upstream has seen, but for probes of its health. */
export const callsOf = ({ upstreams }: Running, name: ServiceName): number => {
  const { routes, total } = upstreams[name].stats()
  return total - (routes["GET /health"] ?? 0)
}
