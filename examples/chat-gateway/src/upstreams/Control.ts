/**
 * The switch of a stand-in upstream: a second listener, on loopback, that answers whatever the upstream
 * itself does.
 *
 * `PUT /mode` with a plain name or JSON, `GET /mode`, `GET /stats`.
 */
import { createServer, type IncomingMessage, type Server } from "node:http"
import * as Definition from "./Definition.ts"
import * as Mode from "./Mode.ts"

/** What the switch acts on. */
export interface Switchable {
  readonly mode: () => Mode.Mode
  readonly setMode: (mode: Mode.Mode) => Promise<void>
  readonly stats: () => unknown
}

/** Makes the control server; the caller decides where it listens. */
export const make = (upstream: Switchable): Server =>
  createServer((request, response) => {
    answer(upstream, request).then(
      ([status, body]) => {
        response.writeHead(status, { "content-type": "application/json" })
        response.end(`${JSON.stringify(body)}\n`)
      },
      () => response.destroy()
    )
  })

const answer = async (upstream: Switchable, request: IncomingMessage): Promise<Definition.Reply> => {
  const text = await Definition.readText(request)
  switch (`${request.method} ${request.url}`) {
    case "GET /mode":
      return [200, upstream.mode()]
    case "GET /stats":
      return [200, upstream.stats()]
    case "PUT /mode":
      return await switchTo(upstream, text ?? "")
    default:
      return [404, { error: "no such route", routes: ["GET /mode", "PUT /mode", "GET /stats"] }]
  }
}

const switchTo = async (upstream: Switchable, text: string): Promise<Definition.Reply> => {
  let mode: Mode.Mode
  try {
    mode = Mode.parse(text)
  } catch (error) {
    return [400, { error: messageOf(error) }]
  }
  try {
    await upstream.setMode(mode)
    return [200, upstream.mode()]
  } catch (error) {
    // Its port was taken while it refused connections: it goes on refusing, and says so.
    return [409, { error: messageOf(error) }]
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
