/**
 * A stand-in for a service that the gateway calls: a real HTTP server that can be told to misbehave.
 *
 * It answers from its definition's routes until its mode says otherwise; `Mode.names` lists the modes and
 * `Traffic` says what each does to a request. The mode is set here or over a control port of its own, which
 * also answers while the upstream refuses connections.
 */
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import * as Control from "./Control.ts"
import type { Definition } from "./Definition.ts"
import * as Mode from "./Mode.ts"
import * as Traffic from "./Traffic.ts"

const loopback = "127.0.0.1"

/** Where to listen. Port 0 is any free one; the control port is always on loopback. */
export interface Options {
  readonly port?: number
  readonly controlPort?: number
  readonly host?: string
}

/** A running upstream. */
export interface Upstream {
  readonly name: string
  readonly port: number
  readonly controlPort: number
  readonly mode: () => Mode.Mode
  /** Resolves when the mode is in force; rejects when it is unknown, or when the port was taken meanwhile. */
  readonly setMode: (mode: Mode.Name | Mode.Mode) => Promise<void>
  readonly stats: () => Traffic.Stats
  /** Destroys every open socket and stops listening. */
  readonly close: () => Promise<void>
}

/** Starts an upstream; rejects with a message that names it and the port when it cannot listen. */
export const start = async (definition: Definition, options: Options = {}): Promise<Upstream> => {
  const { name } = definition
  const { host = loopback } = options
  const traffic = Traffic.make(definition)
  const server = createServer(traffic.serve)
  const port = await listen(name, server, options.port ?? 0, host)
  let closed = false

  const change = async (next: Mode.Mode): Promise<void> => {
    if (closed) throw new Error(`${name} is closed`)
    if (next.mode !== "refuse" && !server.listening) await listen(name, server, port, host)
    traffic.enter(next)
    if (next.mode === "refuse") await stop(server)
  }

  // One change at a time: coming back while the listener is still closing would find the port taken.
  let changing = Promise.resolve()
  const inTurn = (step: () => Promise<void>): Promise<void> => {
    const done = changing.then(step)
    changing = done.catch(() => {})
    return done
  }

  const setMode = async (mode: Mode.Name | Mode.Mode): Promise<void> => {
    const next = Mode.from(mode)
    await inTurn(() => change(next))
  }
  const control = Control.make({ mode: traffic.mode, setMode, stats: traffic.stats })
  const close = (): Promise<void> =>
    inTurn(async () => {
      closed = true
      traffic.forget()
      await Promise.all([stop(server), stop(control)])
    })

  try {
    const controlPort = await listen(`${name} control`, control, options.controlPort ?? 0, loopback)
    return { name, port, controlPort, mode: traffic.mode, setMode, stats: traffic.stats, close }
  } catch (error) {
    await close()
    throw error
  }
}

const listen = (name: string, server: Server, port: number, host: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      const why = error.code === "EADDRINUSE" ? "the port is already in use" : error.message
      reject(new Error(`${name}: cannot listen on ${host} port ${port}: ${why}`))
    }
    server.once("error", failed)
    server.listen(port, host, () => {
      server.off("error", failed)
      resolve((server.address() as AddressInfo).port)
    })
  })

const stop = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
