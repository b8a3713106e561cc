/**
 * What a stand-in upstream serves: routes as data, each a function from a call to a reply.
 *
 * A malformed request is answered with a 4xx that says what is wrong; nothing that a client sends can end the
 * process.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http"

const largestBody = 1_000_000

/** A request that matched a route, its JSON body read. A request without a body has an empty one. */
export interface Call {
  readonly param: (name: string) => string
  readonly headers: IncomingHttpHeaders
  readonly body: Readonly<Record<string, unknown>>
}

/** Status and JSON body. */
export type Reply = readonly [status: number, body: unknown]

/** Handlers by method and path, such as `"GET /projects/:id/owner"`. */
export type Routes = Readonly<Record<string, (call: Call) => Reply>>

/**
 * An upstream by name; `routes` is called at each start, so that each running upstream has data of its own.
 */
export interface Definition {
  readonly name: string
  readonly routes: () => Routes
}

/** Answers every upstream's `GET /health`. */
export const health: Routes = { "GET /health": () => [200, { status: "ok" }] }

/** The key of the route that serves a request, if one does. */
export const routeOf = (routes: Routes, request: IncomingMessage): string | undefined =>
  Object.keys(routes).find((route) => paramsOf(route, request) !== undefined)

/**
 * Reads the request's body and runs its route. Rejects only when the client goes away while sending the body.
 */
export const reply = async (routes: Routes, request: IncomingMessage): Promise<Reply> => {
  const text = await readText(request)
  if (text === undefined) return [413, { error: `the body is larger than ${largestBody} bytes` }]
  const route = routeOf(routes, request)
  const handle = route === undefined ? undefined : routes[route]
  if (route === undefined || handle === undefined) {
    return [404, { error: "no such route", routes: Object.keys(routes) }]
  }
  try {
    const params = paramsOf(route, request)
    const body: unknown = text === "" ? {} : JSON.parse(text)
    if (typeof body !== "object" || body === null || Array.isArray(body)) {
      return [400, { error: "the body must be a JSON object" }]
    }
    const param = (name: string): string => decodeURIComponent(params?.get(name) ?? "")
    return handle({ param, headers: request.headers, body: { ...body } })
  } catch (error) {
    if (error instanceof SyntaxError) return [400, { error: "the body is not JSON" }]
    if (error instanceof URIError) return [400, { error: "the path is not percent-encoded" }]
    return [500, { error: "the stand-in failed" }]
  }
}

/** The request's body as text, or `undefined` when it is too large to keep. */
export const readText = async (request: IncomingMessage): Promise<string | undefined> => {
  const chunks: Array<Buffer> = []
  let size = 0
  // What is too large is still read to its end: a client that has not finished sending would miss the answer.
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size <= largestBody) chunks.push(chunk)
  }
  return size <= largestBody ? Buffer.concat(chunks).toString() : undefined
}

const paramsOf = (route: string, request: IncomingMessage): Map<string, string> | undefined => {
  const path = request.url?.split("?")[0] ?? "/"
  const pattern = route.split("/")
  const parts = `${request.method} ${path}`.split("/")
  const params = new Map<string, string>()
  if (pattern.length !== parts.length) return undefined
  for (const [index, expected] of pattern.entries()) {
    const part = parts[index] ?? ""
    if (expected.startsWith(":") && part !== "") params.set(expected.slice(1), part)
    else if (expected !== part) return undefined
  }
  return params
}
