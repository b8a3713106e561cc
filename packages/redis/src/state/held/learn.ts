/** Learns from what the server replied while it was there. */
import type { Now, Reply, Value } from "../MemoryStore.ts"
import { apply, entryBytes, forget, type Held, type Known, type Sent } from "./Held.ts"

/** Hashes and sorted sets above this are not held: the work of keeping them would be felt by live calls. */
const maxCollectionBytes = 65_536

/** Learns from the reply to a command that was sent. */
export const learn = (held: Held, command: Sent, reply: Reply, now: Now): void =>
  lessons.get(command.name)?.(held, command, reply, now)

type Lesson = (held: Held, command: Sent, reply: Reply, now: Now) => void

const textsOf = (reply: Reply): ReadonlyArray<string> =>
  Array.isArray(reply) ? reply.flat().map(String) : []

const scoresFirst = (flat: ReadonlyArray<string>): ReadonlyArray<string> =>
  flat.flatMap((member, index) => (index % 2 === 0 ? [flat[index + 1] ?? "", member] : []))

const keep = (held: Held, key: string, known: Known): void => {
  if (known.value?._tag !== "String" && known.bytes > maxCollectionBytes) held.seen.delete(key)
  else held.seen.set(key, known, known.bytes)
}

const textual = (text: string, key: string, now: Now): Known => ({
  value: { _tag: "String", text },
  complete: true,
  bytes: entryBytes + 2 * (key.length + text.length),
  seenAtMillis: now.millis,
  expiresAtMillis: undefined,
  knowsExpiry: false
})

const expiryOf = (known: Known | undefined): Pick<Known, "expiresAtMillis" | "knowsExpiry"> => ({
  expiresAtMillis: known?.expiresAtMillis,
  knowsExpiry: known?.knowsExpiry ?? false
})

const learnText = (held: Held, key: string, reply: Reply, now: Now): void => {
  if (typeof reply !== "string") {
    held.seen.delete(key)
    return
  }
  const known = textual(reply, key, now)
  const before = held.seen.peek(key)
  // The same text keeps the end that is known of it; another was written since, and with it the end.
  const isSame = before?.value?._tag === "String" && before.value.text === reply
  keep(held, key, isSame ? { ...known, ...expiryOf(before) } : known)
}

const learnField = (held: Held, key: string, field: string, reply: Reply, now: Now): void => {
  const before = held.seen.peek(key)
  const fields = before?.value?._tag === "Hash" ? before.value.fields : undefined
  if (typeof reply !== "string") {
    fields?.delete(field)
    if (fields?.size === 0) held.seen.delete(key)
    return
  }
  const old = fields?.get(field)
  const grown = 2 * (reply.length - (old?.length ?? -field.length)) + (old === undefined ? entryBytes : 0)
  const value: Value =
    fields === undefined ? { _tag: "Hash", fields: new Map([[field, reply]]) } : { _tag: "Hash", fields }
  fields?.set(field, reply)
  keep(held, key, {
    value,
    complete: fields !== undefined && before?.complete === true,
    bytes: (fields === undefined ? entryBytes : (before?.bytes ?? entryBytes)) + grown,
    // A whole hash is as old as the last time that it was seen whole.
    seenAtMillis: fields !== undefined && before !== undefined ? before.seenAtMillis : now.millis,
    ...expiryOf(fields === undefined ? undefined : before)
  })
}

/** Learns a whole value by the command that would write it. */
const learnWhole = (held: Held, command: Sent, now: Now): void => {
  const key = command.args[0] ?? ""
  if (command.args.length === 1) {
    held.seen.delete(key)
    return
  }
  const { bytes, value } = apply(held, undefined, command, now)
  const expiry = expiryOf(held.seen.peek(key))
  if (value === undefined) held.seen.delete(key)
  else keep(held, key, { value, bytes, complete: true, seenAtMillis: now.millis, ...expiry })
}

const learnExpiry = (held: Held, key: string, millis: number, now: Now): void => {
  const before = held.seen.peek(key)
  if (before === undefined) return
  if (millis === -2) held.seen.delete(key)
  else {
    const expiresAtMillis = millis === -1 ? undefined : now.millis + millis
    keep(held, key, { ...before, expiresAtMillis, knowsExpiry: true })
  }
}

const learnAbsence: Lesson = (held, { args }, reply) => {
  if (args.length === 1 && Number(reply) === 0) held.seen.delete(args[0] ?? "")
}

const learnNumber: Lesson = (held, { args: [key = ""] }, reply, now) =>
  keep(held, key, { ...textual(String(reply), key, now), ...expiryOf(held.seen.peek(key)) })

const learnRange: Lesson = (held, { args: [key = "", ...rest] }, reply, now) => {
  if (rest.join(" ") !== "0 -1 WITHSCORES") return
  learnWhole(held, { name: "ZADD", args: [key, ...scoresFirst(textsOf(reply))] }, now)
}

const conditions = new Set(["NX", "XX", "GT", "LT"])

const learnSet: Lesson = (held, command, reply, now) => {
  const key = command.args[0] ?? ""
  if (reply !== "OK") {
    if (command.args.includes("GET", 2)) forget(held, command)
    return
  }
  const before = held.seen.peek(key)
  const args = command.args.filter((arg, index) => index < 2 || !conditions.has(arg))
  const { bytes, expiresAtMillis, value } = apply(held, before, { name: "SET", args }, now)
  const knowsExpiry = !args.includes("KEEPTTL", 2) || before?.knowsExpiry === true
  keep(held, key, { value, bytes, expiresAtMillis, knowsExpiry, complete: true, seenAtMillis: now.millis })
}

const learnExpire: Lesson = (held, command, reply, now) => {
  const key = command.args[0] ?? ""
  const before = held.seen.peek(key)
  if (Number(reply) !== 1 || before === undefined) return
  const args = command.args.slice(0, 2)
  const { expiresAtMillis, value } = apply(held, before, { name: command.name, args }, now)
  if (value === undefined) forget(held, command)
  else keep(held, key, { ...before, expiresAtMillis, knowsExpiry: true })
}

const learnFields: Lesson = (held, command, _reply, now) => {
  const before = held.seen.peek(command.args[0] ?? "")
  if (before !== undefined) changeKnown(held, before, command, now)
  else if (command.name === "HSET") {
    const { bytes, value } = apply(held, undefined, command, now)
    const known = { value, bytes, complete: false, seenAtMillis: now.millis, ...expiryOf(undefined) }
    keep(held, command.args[0] ?? "", known)
  }
}

const learnMembers: Lesson = (held, command, _reply, now) => {
  const before = held.seen.peek(command.args[0] ?? "")
  const isPlain = command.name !== "ZADD" || !command.args.slice(1).some((arg) => conditions.has(arg))
  if (isPlain && before?.complete === true) changeKnown(held, before, command, now)
  else forget(held, command)
}

const changeKnown = (held: Held, before: Known, command: Sent, now: Now): void => {
  const { bytes, value } = apply(held, before, command, now)
  if (value === undefined) forget(held, command)
  else keep(held, command.args[0] ?? "", { ...before, value, bytes })
}

/** What each command teaches; the others teach nothing. */
const lessons: ReadonlyMap<string, Lesson> = new Map<string, Lesson>([
  ["GET", (held, { args }, reply, now) => learnText(held, args[0] ?? "", reply, now)],
  [
    "MGET",
    (held, { args }, reply, now) =>
      args.forEach((key, index) => {
        learnText(held, key, Array.isArray(reply) ? (reply[index] ?? null) : null, now)
      })
  ],
  ["SET", learnSet],
  ["DEL", (held, command) => forget(held, command)],
  ["EXISTS", learnAbsence],
  ["EXPIRE", learnExpire],
  ["PEXPIRE", learnExpire],
  ["PTTL", (held, { args }, reply, now) => learnExpiry(held, args[0] ?? "", Number(reply), now)],
  ["INCR", learnNumber],
  ["INCRBY", learnNumber],
  ["DECR", learnNumber],
  ["DECRBY", learnNumber],
  ["HGET", (held, { args }, reply, now) => learnField(held, args[0] ?? "", args[1] ?? "", reply, now)],
  [
    "HGETALL",
    (held, { args }, reply, now) =>
      learnWhole(held, { name: "HSET", args: [args[0] ?? "", ...textsOf(reply)] }, now)
  ],
  ["HSET", learnFields],
  ["HDEL", learnFields],
  ["ZADD", learnMembers],
  ["ZREMRANGEBYSCORE", learnMembers],
  ["ZCARD", learnAbsence],
  ["ZRANGE", learnRange]
])
