import type { Mode } from "../FaultProxy.ts"

/** From the client to the server, or back. */
export type Direction = "request" | "reply"

/** What has been lost on a connection: nothing, what the server replied, or whatever came from either side. */
export type Lost = "nothing" | "replies" | "everything"

/** The oldest piece that waits to go on in one direction. */
export interface Piece {
  /** Its bytes; 0 for the end of the stream. */
  readonly size: number
  /** How long it has waited. */
  readonly ageMillis: number
  /** Its share of the jitter, from 0 to 1. */
  readonly jitter: number
  /** How many bytes of this direction have gone on since the mode was set. */
  readonly passed: number
  /** How long ago the last of them did. */
  readonly idleMillis: number
}

/**
 * What becomes of a piece now: it waits, it is lost, it ends the connection, or so many of its bytes go on, after which
 * a reset may follow.
 */
export type Step =
  | { readonly _tag: "Wait"; readonly millis: number }
  | { readonly _tag: "Lose"; readonly lost: Lost }
  | { readonly _tag: "Close" }
  | { readonly _tag: "Pass"; readonly bytes: number; readonly reset: boolean }

/**
 * The mode that a connection is in.
 *
 * TCP never leaves out a part of a stream. So a connection that has lost something does not recover with the mode: the
 * next reply would be taken for the lost one.
 */
export const modeOf = (mode: Mode, lost: Lost): Mode => {
  if (lost === "everything") return { _tag: "Blackhole" }
  return lost === "replies" && mode._tag !== "Blackhole" ? { _tag: "DropReplies" } : mode
}

/** What becomes of the oldest piece of a direction. */
export const step = (mode: Mode, direction: Direction, piece: Piece): Step => {
  switch (mode._tag) {
    case "Blackhole":
      if (piece.size > 0) return { _tag: "Lose", lost: "everything" }
      // Nobody hears that the server went away; but a client that did must not hold its connection for ever.
      return direction === "reply" ? wait(Infinity) : { _tag: "Close" }
    case "DropReplies":
      return direction === "reply" && piece.size > 0 ? { _tag: "Lose", lost: "replies" } : pass(piece)
    case "Latency":
      if (direction === "request" && mode.direction === "reply") return pass(piece)
      return passAfter(mode.millis + mode.jitterMillis * piece.jitter - piece.ageMillis, piece)
    case "Drip":
      if (direction === "request" || piece.size === 0) return pass(piece)
      return passAfter(mode.everyMillis - piece.idleMillis, piece, mode.bytes)
    case "ResetMidReply": {
      if (direction === "request" || piece.size === 0) return pass(piece)
      const left = Math.max(0, mode.afterBytes - piece.passed)
      return { ...pass(piece, left), reset: piece.size >= left }
    }
    default:
      return pass(piece)
  }
}

const wait = (millis: number): Step => ({ _tag: "Wait", millis })

const pass = ({ size }: Piece, atMost = Infinity) => ({
  _tag: "Pass" as const,
  bytes: Math.min(size, atMost),
  reset: false
})

const passAfter = (millis: number, piece: Piece, atMost?: number): Step =>
  millis > 0 ? wait(millis) : pass(piece, atMost)
