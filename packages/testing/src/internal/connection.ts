import { connect, type Socket } from "node:net"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Mode, Stats } from "../FaultProxy.ts"
import { type Direction, type Lost, modeOf, step } from "./faults.ts"

/** How many bytes wait in one direction before the proxy stops reading. */
const heldBytes = 1_048_576

/** What the connections of a proxy share. */
export interface Shared {
  readonly target: { readonly host: string; readonly port: number }
  readonly clock: Clock.Clock
  readonly random: () => number
  readonly stats: { -readonly [Key in keyof Stats]: Stats[Key] }
  readonly fork: (effect: Effect.Effect<void>) => void
  readonly mode: () => Mode
  /** Hears that a connection is being reset in the middle of a reply. */
  readonly resetting: (mode: Mode) => void
}

/** An open connection of a client. */
export interface Connection {
  /** Ends both sides with RST. */
  readonly reset: () => void
  /** Hears that the mode has changed. */
  readonly changed: () => void
}

/** Stays open and answers nothing, without a connection to the server, until the client closes it. */
export const silent = (client: Socket, { stats }: Shared): Connection => {
  client.on("data", ({ length }) => {
    stats.lost += length
  })
  client.once("end", () => client.destroy())
  client.on("error", () => {})
  return { reset: () => reset(client), changed: () => {} }
}

/** Connects a client with the server, as the mode of the proxy has it at each moment. */
export const relay = (client: Socket, shared: Shared): Connection => {
  const server = connect({ ...shared.target, allowHalfOpen: true, noDelay: true })
  const link: Link = {
    shared,
    lost: "nothing",
    over: false,
    reset: () => {
      reset(client)
      reset(server)
    }
  }
  const lanes = [makeLane("request", link, client, server), makeLane("reply", link, server, client)]
  const wake = (): void => lanes.forEach(({ latch }) => latch.openUnsafe())

  let serverFailed = false
  const changed = (): void => {
    // In a black hole nobody hears that the server went away.
    if (serverFailed && modeOf(shared.mode(), link.lost)._tag !== "Blackhole") reset(client)
    wake()
  }
  server.on("error", () => {
    serverFailed = true
    changed()
  })
  client.on("error", () => reset(server))
  client.once("close", () => {
    link.over = true
    server.destroy()
    wake()
  })
  lanes.forEach((lane) => shared.fork(run(lane)))
  return { reset: link.reset, changed }
}

const reset = (socket: Socket): void => {
  // Where there is nothing to reset yet, or where our end of the stream is on its way, a socket can only be closed.
  if (socket.connecting || socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

/** What the two directions of a connection share. */
interface Link {
  readonly shared: Shared
  readonly reset: () => void
  lost: Lost
  over: boolean
}

/** One direction of a connection. Only its oldest piece can move, so the order is kept. */
interface Lane {
  readonly direction: Direction
  readonly link: Link
  readonly from: Socket
  readonly to: Socket
  readonly pieces: Array<Piece>
  held: number
  mode: Mode
  passed: number
  passedAtMillis: number
  /** Opens when there is something to look at. */
  readonly latch: Latch.Latch
}

interface Piece {
  /** Empty at the end of the stream. */
  bytes: Buffer
  readonly atMillis: number
  readonly jitter: number
}

const makeLane = (direction: Direction, link: Link, from: Socket, to: Socket): Lane => {
  const lane: Lane = {
    direction,
    link,
    from,
    to,
    pieces: [],
    held: 0,
    mode: link.shared.mode(),
    passed: 0,
    passedAtMillis: -Infinity,
    latch: Latch.makeUnsafe()
  }
  const receive = (bytes: Buffer): void => {
    lane.pieces.push({ bytes, atMillis: nowMillis(link), jitter: link.shared.random() })
    lane.held += bytes.length
    if (lane.held >= heldBytes) from.pause()
    lane.latch.openUnsafe()
  }
  from.on("data", receive)
  from.once("end", () => receive(Buffer.alloc(0)))
  to.on("drain", () => lane.latch.openUnsafe())
  return lane
}

const nowMillis = ({ shared }: Link): number => Number(shared.clock.monotonicTimeNanosUnsafe()) / 1e6

const run = Effect.fnUntraced(function* (lane: Lane) {
  while (!lane.link.over) {
    lane.latch.closeUnsafe()
    const idleMillis = advance(lane)
    yield* Effect.timeoutOption(lane.latch.await, idleMillis)
  }
})

/** Moves whatever can move now; returns how long it will be until anything can that nothing else wakes. */
const advance = (lane: Lane): number => {
  const { link, pieces } = lane
  for (let piece = pieces[0]; piece !== undefined && !link.over; piece = pieces[0]) {
    const mode = modeOf(link.shared.mode(), link.lost)
    if (mode !== lane.mode) {
      lane.mode = mode
      lane.passed = 0
    }
    const now = nowMillis(link)
    const next = step(mode, lane.direction, {
      size: piece.bytes.length,
      ageMillis: now - piece.atMillis,
      jitter: piece.jitter,
      passed: lane.passed,
      idleMillis: now - lane.passedAtMillis
    })
    switch (next._tag) {
      case "Wait":
        return next.millis
      case "Close":
        lane.from.destroy()
        return Infinity
      case "Lose":
        link.lost = next.lost
        link.shared.stats.lost += take(lane, piece, piece.bytes.length).length
        break
      case "Pass":
        if (lane.to.writableNeedDrain) return Infinity
        pass(lane, take(lane, piece, next.bytes), next.reset)
    }
  }
  return Infinity
}

/** Removes so many bytes from the oldest piece, and reads on when there is room. */
const take = (lane: Lane, piece: Piece, size: number): Buffer => {
  const bytes = piece.bytes.subarray(0, size)
  if (size === piece.bytes.length) lane.pieces.shift()
  else piece.bytes = piece.bytes.subarray(size)
  lane.held -= size
  if (lane.held < heldBytes && lane.from.isPaused()) lane.from.resume()
  return bytes
}

const pass = (lane: Lane, bytes: Buffer, thenReset: boolean): void => {
  const { direction, link, to } = lane
  const { stats, resetting } = link.shared
  stats[direction === "request" ? "toServer" : "toClient"] += bytes.length
  lane.passed += bytes.length
  lane.passedAtMillis = nowMillis(link)
  if (thenReset) {
    link.over = true
    resetting(lane.mode)
    if (bytes.length === 0) link.reset()
    // A reset overtakes what has not left the process yet.
    else to.write(bytes, link.reset)
  } else if (bytes.length === 0) to.end()
  else to.write(bytes)
}
