/**
 * Routes behind the two ways in: a real socket, and a handler of web requests. What is logged is kept.
 */
import { createServer } from "node:http"
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, Logger, type LogLevel, References, type Scope } from "effect"
import { HttpRouter, HttpServer } from "effect/http"

/** A reply, its body read. */
export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  /** The body as JSON, or `undefined` when it is none. */
  readonly json: Record<string, unknown> | undefined
}

export interface Line {
  readonly level: LogLevel.LogLevel
  readonly text: string
  readonly annotations: Readonly<Record<string, unknown>>
}

export interface Gateway {
  readonly ask: (path: string, init?: RequestInit) => Effect.Effect<Reply>
  /** As `ask`, without waiting for the body. */
  readonly send: (path: string, init?: RequestInit) => Promise<Response>
  readonly log: ReadonlyArray<Line>
}

const json = (text: string): Record<string, unknown> | undefined => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const gateway = (send: Gateway["send"], log: ReadonlyArray<Line>): Gateway => ({
  log,
  send,
  ask: (path, init) =>
    Effect.promise(async () => {
      const response = await send(path, { signal: AbortSignal.timeout(4_000), ...init })
      const text = await response.text()
      return {
        status: response.status,
        headers: Object.fromEntries(response.headers),
        text,
        json: json(text)
      }
    })
})

const capture = () => {
  const log: Array<Line> = []
  const logger = Logger.make(({ cause, fiber, logLevel, message }) => {
    const text = `${message} ${cause}`
    log.push({ level: logLevel, text, annotations: fiber.getRef(References.CurrentLogAnnotations) })
  })
  return { log, layer: Logger.layer([logger]) }
}

type Routes = Layer.Layer<
  never,
  never,
  HttpRouter.HttpRouter | HttpRouter.Request<"Error", unknown> | HttpRouter.Request<"GlobalError", unknown>
>

/** The ways in, by name. */
export const doors: Readonly<
  Record<string, (routes: Routes) => Effect.Effect<Gateway, unknown, Scope.Scope>>
> = {
  "a web handler": (routes) =>
    Effect.gen(function* () {
      const { layer, log } = capture()
      const { handler } = yield* Effect.acquireRelease(
        Effect.sync(() => HttpRouter.toWebHandler(Layer.merge(routes, layer), { disableLogger: true })),
        ({ dispose }) => Effect.promise(dispose)
      )
      return gateway((path, init) => handler(new Request(`http://gateway${path}`, init)), log)
    }),
  "a socket": (routes) =>
    Effect.gen(function* () {
      const { layer, log } = capture()
      const context = yield* HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })),
        Layer.provide(layer),
        Layer.build
      )
      const url = HttpServer.formatAddress(
        HttpServer.HttpServer.of(yield* Effect.provide(HttpServer.HttpServer, context)).address
      )
      return gateway((path, init) => fetch(`${url}${path}`, init), log)
    })
}
