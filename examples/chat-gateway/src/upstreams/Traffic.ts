/**
 * Answers requests as the mode of the moment says, and counts them.
 *
 * A mode applies to the requests that arrive in it; only leaving `hang` and entering `refuse` touch requests
 * under way. In `drip`, `slow` and `stutter` the work is done when the request arrives and only its answer is late, as
 * with a real service under load: a client that gives up does not undo a charge. All keep the status that
 * the route gives. `stutter` is late with every second request, the first among them.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import { type Definition, health, type Reply, reply, routeOf } from "./Definition.ts"
import type { Mode } from "./Mode.ts"

const json = { "content-type": "application/json" }
const dripMillis = 200

/** What an upstream has seen. Connections that were refused are not seen. */
export interface Stats {
  /** Requests in total. */
  readonly total: number
  /** Requests by route, such as `"GET /health"`; those that no route serves count as `"unmatched"`. */
  readonly routes: Readonly<Record<string, number>>
  /** Requests under way. */
  readonly inflight: number
  /** The most requests that were under way at once. */
  readonly maxInflight: number
  /** Answers whose body the client cut off. A client that leaves before any answer is not among them. */
  readonly bodiesCutOff: number
}

/** The requests of one upstream. */
export interface Traffic {
  readonly serve: (request: IncomingMessage, response: ServerResponse) => void
  readonly mode: () => Mode
  readonly enter: (mode: Mode) => void
  readonly stats: () => Stats
  /** Stops counting the requests under way, whose sockets the upstream is about to destroy itself. */
  readonly forget: () => void
}

/** Starts counting, in mode `ok`. */
export const make = (definition: Definition): Traffic => {
  const routes = { ...health, ...definition.routes() }
  const counts = new Map<string, number>()
  const inflight = new Set<ServerResponse>()
  const hanging = new Set<ServerResponse>()
  let mode: Mode = { mode: "ok" }
  let arrivedInMode = 0
  let total = 0
  let maxInflight = 0
  let bodiesCutOff = 0

  const count = (request: IncomingMessage, response: ServerResponse): void => {
    const route = routeOf(routes, request) ?? "unmatched"
    counts.set(route, (counts.get(route) ?? 0) + 1)
    total++
    inflight.add(response)
    maxInflight = Math.max(maxInflight, inflight.size)
    response.once("close", () => {
      hanging.delete(response)
      const endedByUs = !inflight.delete(response)
      if (!endedByUs && response.headersSent && !response.writableFinished) bodiesCutOff++
    })
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const arrivedIn = mode
    const isLate = arrivedInMode++ % 2 === 0
    switch (arrivedIn.mode) {
      case "hang":
        hanging.add(response)
        // Unread input would hide that the client has left.
        request.resume()
        return
      case "fail":
        return send(response, [500, { error: "failing, as told" }])
      case "unavailable":
        response.setHeader("retry-after", arrivedIn.retryAfterSeconds)
        return send(response, [503, { error: "unavailable, as told" }])
      case "drip":
        return drip(response, await reply(routes, request))
      case "slow":
        return sendLater(response, await reply(routes, request), arrivedIn.delayMillis)
      case "stutter":
        return sendLater(response, await reply(routes, request), isLate ? arrivedIn.delayMillis : 0)
      default:
        return send(response, await reply(routes, request))
    }
  }

  return {
    serve: (request, response) => {
      count(request, response)
      answer(request, response).catch(() => response.destroy())
    },
    mode: () => mode,
    enter: (next) => {
      if (next.mode === "refuse") inflight.clear()
      if (next.mode !== "hang") {
        for (const response of hanging) {
          inflight.delete(response)
          response.destroy()
        }
      }
      mode = next
      arrivedInMode = 0
    },
    stats: () => ({
      total,
      routes: Object.fromEntries(counts),
      inflight: inflight.size,
      maxInflight,
      bodiesCutOff
    }),
    forget: () => inflight.clear()
  }
}

const send = (response: ServerResponse, [status, body]: Reply): void => {
  response.writeHead(status, json).end(JSON.stringify(body))
}

const sendLater = (response: ServerResponse, late: Reply, delayMillis: number): void => {
  const timer = setTimeout(() => send(response, late), delayMillis)
  response.once("close", () => clearTimeout(timer))
}

const drip = (response: ServerResponse, [status, body]: Reply): void => {
  const bytes = Buffer.from(JSON.stringify(body))
  let sent = 0
  const timer = setInterval(() => {
    response.write(bytes.subarray(sent, sent + 1))
    sent++
    if (sent < bytes.length) return
    clearInterval(timer)
    response.end()
  }, dripMillis)
  response.once("close", () => clearInterval(timer))
  response.writeHead(status, json).flushHeaders()
}
