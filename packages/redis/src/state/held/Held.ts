/**
 * What this process knows of a Redis that it cannot ask now: what it has seen there, and what it wrote meanwhile.
 *
 * The two are kept apart, each within bounds of its own: evicting something seen costs a fallback value, evicting
 * something written loses it. A key that was written or deleted here is no longer known as seen, so nothing that was seen
 * can bring back what was deleted. What is not known is not guessed: "not there" is an answer only where this process
 * deleted the key itself, or its time ran out here.
 *
 * What was seen ages, also where a write here went on from it: a session whose every request writes one field is not held
 * for longer than the rest of it may be. What was written here does not age.
 *
 * It changes in place, as the memory store does whose rules it applies: each function is one step.
 */
import { Lru } from "failsoft"
import * as MemoryStore from "../MemoryStore.ts"

/** A command by name and arguments. */
export interface Sent {
  readonly name: string
  readonly args: ReadonlyArray<string>
}

/** The bounds of what is held. */
export interface Bounds {
  readonly maxEntries: number
  readonly maxBytes: number
  /** What was seen longer ago is not served. */
  readonly maxStaleMillis: number
  /** Whether writes are kept as commands too, to be sent when the server is back. */
  readonly keepWrites: boolean
}

/** What is known of a key. */
export interface Known {
  /** Nothing, when the key was deleted (`complete`), or when no more than a change to it is known. */
  readonly value: MemoryStore.Value | undefined
  /** Whether this is all there is, and not only some fields or members. */
  readonly complete: boolean
  readonly bytes: number
  /** When all of it was seen, or the latest part where it is not complete. `own` for what was written here alone. */
  readonly seenAtMillis: number
  /** When fields of a hash were seen, if not with the whole; `own` for those that were written or deleted here. */
  readonly fieldsSeenAt?: Map<string, number> | undefined
  readonly expiresAtMillis: number | undefined
  readonly knowsExpiry: boolean
}

/** Stands for the time at which something was seen that was written here: it does not age. */
export const own = Number.POSITIVE_INFINITY

/** What was written to a key here. */
export interface Written extends Known {
  /** The last write of each part of the key, in the order of the writes. Kept only where they are to be sent later. */
  readonly writes: Map<string, Sent>
}

/** What is held, and a store for one key at a time to apply commands in. */
export interface Held {
  readonly bounds: Bounds
  readonly seen: Lru.Lru<string, Known>
  readonly written: Lru.Lru<string, Written>
  readonly scratch: MemoryStore.MemoryStore
  /** Keys whose writes were lost before the server was back, such as because a bound was reached. */
  lost: number
}

/** Holds nothing yet. */
export const make = (bounds: Bounds): Held => ({
  bounds,
  seen: Lru.make(bounds),
  written: Lru.make(bounds),
  scratch: MemoryStore.make({ maxEntries: 2, maxBytes: Number.MAX_SAFE_INTEGER }),
  lost: 0
})

/** The least that an entry takes. */
export const entryBytes = 128

/** What is known of a key that was deleted here, or whose time ran out here. */
export const gone: Known = {
  value: undefined,
  complete: true,
  bytes: entryBytes,
  seenAtMillis: own,
  expiresAtMillis: undefined,
  knowsExpiry: true
}

/** What is known of a key now, and where from. Parts of it may be too old to be served. */
export const lookup = (
  held: Held,
  key: string,
  nowMillis: number
): { readonly known: Known; readonly source: "stale" | "local" } | undefined => {
  const written = held.written.size === 0 ? undefined : held.written.get(key)
  if (written !== undefined) {
    return { known: hasEnded(written, nowMillis) ? gone : written, source: "local" }
  }
  // Nothing is learned while the server is away, so what is asked for then need not be kept longer for it.
  const seen = held.seen.peek(key)
  if (seen === undefined) return undefined
  const isOld = seen.fieldsSeenAt === undefined && isTooOld(held, seen.seenAtMillis, nowMillis)
  if (isOld || hasEnded(seen, nowMillis)) {
    held.seen.delete(key)
    return undefined
  }
  return { known: seen, source: "stale" }
}

/** Whether what was seen at that time is too old to be served. */
export const isTooOld = (held: Held, seenAtMillis: number, nowMillis: number): boolean =>
  nowMillis - seenAtMillis > held.bounds.maxStaleMillis

/** Whether the time of a key has run out. */
export const hasEnded = ({ expiresAtMillis }: Known, nowMillis: number): boolean =>
  expiresAtMillis !== undefined && expiresAtMillis <= nowMillis

/** What a command did to a key. */
interface Applied {
  readonly reply: MemoryStore.Reply
  readonly value: MemoryStore.Value | undefined
  readonly bytes: number
  readonly expiresAtMillis: number | undefined
}

/** Applies a command to what is known of its key, and gives the reply and what is known then. */
export const apply = (held: Held, known: Known | undefined, command: Sent, now: MemoryStore.Now): Applied => {
  const { scratch } = held
  const key = command.args[0] ?? ""
  scratch.clear()
  if (known?.value !== undefined) {
    scratch.put(key, { value: known.value, expiresAtMillis: known.expiresAtMillis })
  }
  const reply = scratch.run(command.name, command.args, now)
  const entry = scratch.get(key, now.millis)
  return {
    reply,
    value: entry?.value,
    expiresAtMillis: entry?.expiresAtMillis,
    bytes: entryBytes + scratch.bytes
  }
}

/** Which keys a command is about. */
export const keysOf = ({ name, args }: Sent): ReadonlyArray<string> =>
  name === "MGET" || name === "DEL" || name === "EXISTS" ? args : args.slice(0, 1)

/** The fields of a hash that a command writes or deletes. */
export const fieldsOf = ({ args, name }: Sent): ReadonlyArray<string> =>
  name === "HSET" ? args.slice(1).filter((_, index) => index % 2 === 0) : name === "HDEL" ? args.slice(1) : []

/** Forgets all that is held of the keys of a write whose fate is unknown. */
export const forget = (held: Held, command: Sent): void => {
  for (const key of keysOf(command)) {
    held.seen.delete(key)
    if (held.written.delete(key) && held.bounds.keepWrites) held.lost++
  }
}
