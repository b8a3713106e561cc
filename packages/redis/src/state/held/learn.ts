/** Learns from what the server replied while it was there. */
import type { Now, Reply, Value } from "../MemoryStore.ts"
import { apply, entryBytes, fieldsOf, type Held, hasEnded, type Known, keysOf, type Sent } from "./Held.ts"

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

/** What was seen of a key whose time has not run out since. */
const seenOf = (held: Held, key: string, now: Now): Known | undefined => {
  const seen = held.seen.peek(key)
  return seen === undefined || hasEnded(seen, now.millis) ? undefined : seen
}

const keep = (held: Held, key: string, known: Known): void => {
  // What was seen must not come back when what was written here since leaves for want of room.
  const isWritten = held.written.size > 0 && held.written.peek(key) !== undefined
  const isTooLarge = known.value?._tag !== "String" && known.bytes > maxCollectionBytes
  if (isWritten || isTooLarge) held.seen.delete(key)
  else held.seen.set(key, known, known.bytes)
}

const drop: Lesson = (held, command) => {
  for (const key of keysOf(command)) held.seen.delete(key)
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
  const before = seenOf(held, key, now)
  // The same text keeps the end that is known of it; another was written since, and with it the end.
  const isSame = before?.value?._tag === "String" && before.value.text === reply
  keep(held, key, isSame ? { ...known, ...expiryOf(before) } : known)
}

const learnTexts: Lesson = (held, { args }, reply, now) => {
  const replies = Array.isArray(reply) ? reply : [reply]
  for (const [index, key] of args.entries()) learnText(held, key, replies[index] ?? null, now)
}

const learnField: Lesson = (held, { args: [key = "", field = ""] }, reply, now) => {
  const before = seenOf(held, key, now)
  const fields = before?.value?._tag === "Hash" ? before.value.fields : undefined
  if (typeof reply !== "string") {
    fields?.delete(field)
    before?.fieldsSeenAt?.delete(field)
    if (fields?.size === 0) held.seen.delete(key)
    return
  }
  if (before === undefined || fields === undefined) {
    keep(
      held,
      key,
      partial({ _tag: "Hash", fields: new Map([[field, reply]]) }, [field], 2 * entryBytes, now)
    )
    return
  }
  const old = fields.get(field)
  const grown = 2 * (reply.length - (old?.length ?? -field.length)) + (old === undefined ? entryBytes : 0)
  fields.set(field, reply)
  keep(held, key, { ...seenNow(before, [field], now), bytes: before.bytes + grown })
}

/** A hash of which no more is known than some fields. */
const partial = (
  value: Value | undefined,
  fields: ReadonlyArray<string>,
  bytes: number,
  now: Now
): Known => ({
  value,
  bytes,
  complete: false,
  seenAtMillis: now.millis,
  fieldsSeenAt: new Map(fields.map((field) => [field, now.millis])),
  ...expiryOf(undefined)
})

/** Fields that were seen now do not make the whole any younger. */
const seenNow = (known: Known, fields: ReadonlyArray<string>, now: Now): Known => {
  const fieldsSeenAt = known.fieldsSeenAt ?? new Map<string, number>()
  for (const field of fields) fieldsSeenAt.set(field, now.millis)
  return { ...known, fieldsSeenAt, seenAtMillis: known.complete ? known.seenAtMillis : now.millis }
}

/** Learns a whole value by the command that would write it. */
const learnWhole = (held: Held, command: Sent, now: Now): void => {
  const key = command.args[0] ?? ""
  if (command.args.length === 1) {
    held.seen.delete(key)
    return
  }
  const { bytes, value } = apply(held, undefined, command, now)
  const expiry = expiryOf(seenOf(held, key, now))
  keep(held, key, { value, bytes, complete: true, seenAtMillis: now.millis, ...expiry })
}

const learnExpiry = (held: Held, key: string, millis: number, now: Now): void => {
  const before = seenOf(held, key, now)
  if (before === undefined || millis === -2) held.seen.delete(key)
  else {
    const expiresAtMillis = millis === -1 ? undefined : now.millis + millis
    keep(held, key, { ...before, expiresAtMillis, knowsExpiry: true })
  }
}

const learnAbsence: Lesson = (held, command, reply, now) => {
  if (Number(reply) === 0) drop(held, command, reply, now)
}

const learnNumber: Lesson = (held, command, reply, now) => {
  const [key = ""] = command.args
  // Beyond what a number can hold exactly, the text at the server is another one.
  if (!Number.isSafeInteger(reply)) drop(held, command, reply, now)
  else keep(held, key, { ...textual(String(reply), key, now), ...expiryOf(seenOf(held, key, now)) })
}

const learnRange: Lesson = (held, { args: [key = "", ...rest] }, reply, now) => {
  if (rest.join(" ") !== "0 -1 WITHSCORES") return
  learnWhole(held, { name: "ZADD", args: [key, ...scoresFirst(textsOf(reply))] }, now)
}

const conditions = new Set(["NX", "XX", "GT", "LT"])

const learnSet: Lesson = (held, command, reply, now) => {
  const [key = ""] = command.args
  const has = (option: string): boolean => command.args.includes(option, 2)
  // With GET the reply is the text before, and does not tell whether the condition was met.
  if (has("GET") || (reply !== "OK" && has("XX"))) drop(held, command, reply, now)
  if (has("GET") || reply !== "OK") return
  const before = seenOf(held, key, now)
  const args = command.args.filter((arg, index) => index < 2 || !conditions.has(arg))
  const { bytes, expiresAtMillis, value } = apply(held, before, { name: "SET", args }, now)
  const knowsExpiry = !has("KEEPTTL") || before?.knowsExpiry === true
  if (value === undefined) drop(held, command, reply, now)
  else keep(held, key, { ...textual("", key, now), value, bytes, expiresAtMillis, knowsExpiry })
}

const learnExpire: Lesson = (held, command, reply, now) => {
  const [key = "", ...rest] = command.args
  const before = seenOf(held, key, now)
  const isAbsent = Number(reply) === 0 && rest.length === 1
  if (isAbsent || before === undefined) drop(held, command, reply, now)
  else if (Number(reply) === 1) {
    const plain = { ...command, args: command.args.slice(0, 2) }
    const { expiresAtMillis, value } = apply(held, before, plain, now)
    if (value === undefined) drop(held, command, reply, now)
    else keep(held, key, { ...before, expiresAtMillis, knowsExpiry: true })
  }
}

const learnFields: Lesson = (held, command, reply, now) => {
  const [key = ""] = command.args
  const before = seenOf(held, key, now)
  if (before?.value?._tag === "Hash") changeKnown(held, before, command, now)
  else if (command.name === "HSET") {
    const { bytes, value } = apply(held, undefined, command, now)
    keep(held, key, partial(value, fieldsOf(command), bytes, now))
  } else drop(held, command, reply, now)
}

const learnMembers: Lesson = (held, command, reply, now) => {
  const before = seenOf(held, command.args[0] ?? "", now)
  const isPlain = command.name !== "ZADD" || !command.args.slice(1).some((arg) => conditions.has(arg))
  if (isPlain && before?.value?._tag === "SortedSet") changeKnown(held, before, command, now)
  else drop(held, command, reply, now)
}

const changeKnown = (held: Held, before: Known, command: Sent, now: Now): void => {
  const [key = ""] = command.args
  const { bytes, value } = apply(held, before, command, now)
  const fields = fieldsOf(command)
  if (value === undefined) held.seen.delete(key)
  else if (command.name === "HSET") keep(held, key, { ...seenNow(before, fields, now), value, bytes })
  else {
    for (const field of fields) before.fieldsSeenAt?.delete(field)
    keep(held, key, { ...before, value, bytes })
  }
}

/** What each command teaches; the others teach nothing. */
const lessons: ReadonlyMap<string, Lesson> = new Map<string, Lesson>([
  ["GET", learnTexts],
  ["MGET", learnTexts],
  ["SET", learnSet],
  ["DEL", drop],
  ["EXISTS", learnAbsence],
  ["EXPIRE", learnExpire],
  ["PEXPIRE", learnExpire],
  ["PTTL", (held, { args }, reply, now) => learnExpiry(held, args[0] ?? "", Number(reply), now)],
  ["INCR", learnNumber],
  ["INCRBY", learnNumber],
  ["DECR", learnNumber],
  ["DECRBY", learnNumber],
  ["HGET", learnField],
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
