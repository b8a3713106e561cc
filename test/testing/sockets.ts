/**
 * Plain sockets: a client whose every event can be waited for, and a server that does what it is told.
 */
import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { Effect, type Scope } from "effect"
import { vi } from "vitest"

/** A connection, and what became of it. */
export interface Client {
  readonly socket: Socket
  readonly received: () => string
  /** `"open"` until the other side ends it (`"ended"`) or it fails, with the code of the error. */
  readonly state: () => string
  readonly send: (text: string) => Effect.Effect<void>
}

/** Opens a connection that the scope closes. It may fail, which its state tells. */
export const open = (port: number): Effect.Effect<Client, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const socket = connect({ host: "127.0.0.1", port, noDelay: true })
      let received = ""
      let state = "connecting"
      socket.setEncoding("latin1")
      socket.on("data", (text) => {
        received += text
      })
      socket.once("connect", () => {
        state = "open"
      })
      socket.once("end", () => {
        state = "ended"
      })
      socket.on("error", (error) => {
        state = "code" in error ? `${error.code}` : error.message
      })
      return {
        socket,
        received: () => received,
        state: () => state,
        send: (text: string) => Effect.sync(() => void socket.write(text))
      }
    }),
    ({ socket }) => Effect.sync(() => void socket.destroy())
  )

/** A server that the scope closes; a port that is not given is any free one. */
export const listen = (
  serve: (socket: Socket) => void,
  port = 0
): Effect.Effect<number, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const sockets = new Set<Socket>()
        const server = createServer((socket) => {
          sockets.add(socket)
          socket.on("error", () => {})
          serve(socket)
        })
        server.listen(port, "127.0.0.1")
        await once(server, "listening")
        return { server, sockets }
      }),
      ({ server, sockets }) =>
        Effect.promise(async () => {
          const closed = once(server, "close")
          server.close()
          for (const socket of sockets) socket.destroy()
          await closed
        })
    ),
    ({ server }) => (server.address() as AddressInfo).port
  )

/** Sends back whatever comes. */
export const echo = listen((socket) => void socket.pipe(socket))

/** Waits for what a socket or a process brings about. */
export const eventually = (check: () => void | Promise<void>, everyMillis = 5): Effect.Effect<void> =>
  Effect.promise(() => vi.waitFor(check, { timeout: 4_000, interval: everyMillis }))
