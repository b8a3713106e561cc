/** Holds writes that the server did not get. */
import type { Now } from "../MemoryStore.ts"
import type { Answer } from "./answer.ts"
import {
  apply,
  entryBytes,
  fieldsOf,
  gone,
  type Held,
  hasEnded,
  type Known,
  keysOf,
  lookup,
  own,
  type Sent,
  type Written
} from "./Held.ts"

/**
 * Applies a write to what is held, or gives `undefined` when nothing honest can be said of its outcome, or when it has no
 * room.
 *
 * A conditional write or a counter depends on what is there: a key of which nothing is known counts as absent then, and
 * the write is not one to be sent later.
 */
export const hold = (held: Held, command: Sent, now: Now, isConditional: boolean): Answer | undefined => {
  if (command.name === "DEL") return holdDeletion(held, command, now)
  const key = command.args[0] ?? ""
  const isExpire = command.name === "EXPIRE" || command.name === "PEXPIRE"
  const found = lookup(held, key, now.millis)?.known
  if (isExpire && !knowsEnough(found, isConditional)) return undefined

  const before = found ?? (isConditional ? gone : undefined)
  const after = apply(held, before, command, now)
  const answer: Answer = { reply: after.reply, source: "local", ageMillis: 0 }
  // What changed nothing must not make a key that may well be there one that is known to be absent.
  const isUnmet = command.name === "SET" || (isExpire && after.reply === 0) || after.value === undefined
  const isUnchanged = (isConditional || isExpire) && isUnmet && after.value === before?.value
  if (after.reply instanceof Error || isUnchanged) return answer
  const isOver = isExpire && after.value === undefined
  if (isOver) return write(held, key, deletion(key), now, gone, !isConditional) ? answer : undefined
  const known: Known = {
    value: after.value,
    // A text is all there is of a key.
    complete: after.value?._tag === "String" || before?.complete === true,
    bytes: after.bytes,
    seenAtMillis: before === undefined || isNew(command, before, after.value) ? own : before.seenAtMillis,
    fieldsSeenAt: fieldsSeenAfter(command, before),
    expiresAtMillis: after.expiresAtMillis,
    knowsExpiry: knowsExpiryAfter(command, before)
  }
  return write(held, key, command, now, known, !isConditional) ? answer : undefined
}

/** Whether the outcome of EXPIRE can be told. */
const knowsEnough = (known: Known | undefined, isConditional: boolean): boolean =>
  known !== undefined &&
  (known.complete || known.value !== undefined) &&
  (known.knowsExpiry || !isConditional)

/** Whether a write has put a value of its own in the place of what was there. */
const isNew = ({ name }: Sent, before: Known, after: Known["value"]): boolean =>
  name === "SET" && after !== before.value

const fieldsSeenAfter = (command: Sent, before: Known | undefined): Known["fieldsSeenAt"] => {
  const fields = fieldsOf(command)
  if (fields.length === 0) return before?.fieldsSeenAt
  return new Map([...(before?.fieldsSeenAt ?? []), ...fields.map((field) => [field, own] as const)])
}

const knowsExpiryAfter = ({ name, args }: Sent, before: Known | undefined): boolean =>
  name === "EXPIRE" || name === "PEXPIRE" || (name === "SET" && !args.includes("KEEPTTL", 2))
    ? true
    : before?.knowsExpiry === true

const holdDeletion = (held: Held, { args }: Sent, now: Now): Answer | undefined => {
  let reply = 0
  let hasRoom = true
  for (const key of args) {
    if (lookup(held, key, now.millis)?.known.value !== undefined) reply++
    hasRoom = write(held, key, deletion(key), now, gone, true) && hasRoom
  }
  return hasRoom ? { reply, source: "local", ageMillis: 0 } : undefined
}

const deletion = (key: string): Sent => ({ name: "DEL", args: [key] })

/** Holds what is known of a key now, and says whether there is room for it. */
const write = (held: Held, key: string, command: Sent, now: Now, known: Known, isKept: boolean): boolean => {
  const before = held.written.peek(key)
  const writes = before?.writes ?? new Map<string, Sent>()
  if (held.bounds.keepWrites) {
    // A key whose time ran out here is written anew.
    if (before !== undefined && hasEnded(before, now.millis)) keepWrite(writes, deletion(key))
    if (isKept) keepWrite(writes, command)
  }
  held.seen.delete(key)
  const bytes = known.bytes + 2 * key.length + entryBytes * (writes.size + (known.fieldsSeenAt?.size ?? 0))
  const evicted = held.written.set(key, { ...known, writes }, bytes)
  const hasRoom = !evicted.some(([one]) => one === key)
  // What is refused for want of room is no loss that the caller does not hear of, but what was there before it is.
  held.lost += hasRoom || before !== undefined ? evicted.length : evicted.length - 1
  return hasRoom
}

const end = "end"

/** A write takes the place of an earlier one to the same part of the key. */
const keepWrite = (writes: Map<string, Sent>, command: Sent): void => {
  if (replacesAll(command)) writes.clear()
  for (const [part, each] of partsOf(command)) {
    writes.delete(part)
    writes.set(part, each)
  }
}

const replacesAll = ({ name }: Sent): boolean => name === "SET" || name === "DEL"

const partsOf = (command: Sent): ReadonlyArray<readonly [part: string, command: Sent]> => {
  const [key = "", ...rest] = command.args
  switch (command.name) {
    case "HSET":
      return pairs(rest).map(([field, value]) => [
        `field ${field}`,
        { name: "HSET", args: [key, field, value] }
      ])
    case "HDEL":
      return rest.map((field) => [`field ${field}`, { name: "HDEL", args: [key, field] }])
    case "ZADD":
      return pairs(rest[0] === "CH" ? rest.slice(1) : rest).map(([score, member]) => [
        `member ${member}`,
        { name: "ZADD", args: [key, score, member] }
      ])
    case "EXPIRE":
    case "PEXPIRE":
      return [[end, command]]
    case "ZREMRANGEBYSCORE":
      return [[command.args.join(" "), command]]
    default:
      return [["", command]]
  }
}

const pairs = (flat: ReadonlyArray<string>): ReadonlyArray<readonly [string, string]> =>
  flat.flatMap((first, index) => (index % 2 === 0 ? [[first, flat[index + 1] ?? ""] as const] : []))

/** Gives up what was written here before a write that the server has got now. */
export const supersede = (held: Held, command: Sent): void => {
  for (const key of keysOf(command)) {
    if (held.written.delete(key) && held.bounds.keepWrites && !replacesAll(command)) held.lost++
  }
}

/** Gives up all that was written here, and tells of how many keys, with those that were lost before. */
export const discard = (held: Held): number => {
  const count = held.written.size + held.lost
  held.written.clear()
  held.lost = 0
  return count
}

/** What was written here, to be sent: the key that was used least recently. */
export const firstWritten = (held: Held): readonly [key: string, written: Written] | undefined => {
  for (const entry of held.written) return entry
  return undefined
}

/**
 * The commands that make a key at the server what was written here: the last of each part.
 *
 * The time to live has run on since, so what is left of it is sent, after all else that might make the key anew.
 */
export const writesOf = (key: string, written: Written, nowMillis: number): ReadonlyArray<Sent> => {
  if (hasEnded(written, nowMillis)) return [deletion(key)]
  const { expiresAtMillis, knowsExpiry } = written
  const left = expiresAtMillis === undefined ? undefined : String(Math.ceil(expiresAtMillis - nowMillis))
  // The end that the key has at the server stays only where none is known here.
  const ending = left !== undefined ? ["PX", left] : knowsExpiry ? [] : ["KEEPTTL"]
  const parts = [...written.writes].filter(([part]) => part !== end).map(([, command]) => command)
  const hasSet = parts.some(({ name }) => name === "SET")
  return [
    ...parts.map((command) =>
      command.name === "SET" ? { name: "SET", args: [...command.args.slice(0, 2), ...ending] } : command
    ),
    ...(left === undefined || hasSet || !written.writes.has(end)
      ? []
      : [{ name: "PEXPIRE", args: [key, left] }])
  ]
}
