/** When a key ends, and the commands that ask for it and change it. */
import { integer, maxInteger, minInteger } from "./numbers.ts"
import { error, invalidExpireTime, type Reply } from "./reply.ts"
import type { Database, Entry, Now } from "./value.ts"

/** How a command says when a key ends: after a time or at one, in seconds or in milliseconds. */
export type Unit = "EX" | "PX" | "EXAT" | "PXAT"

/** The end on the monotonic scale. Throws when it lies beyond what 64 bits of wall-clock milliseconds can say. */
export const endOf = (command: string, unit: Unit, amount: bigint, now: Now): number => {
  const millis = unit.startsWith("EX") ? amount * 1000n : amount
  const isAbsolute = unit.endsWith("AT")
  const wallEnd = isAbsolute ? millis : millis + BigInt(Math.floor(now.wallMillis))
  if (millis < minInteger || millis > maxInteger || wallEnd > maxInteger) throw invalidExpireTime(command)
  return now.millis + (isAbsolute ? Number(millis) - now.wallMillis : Number(millis))
}

const isOver = (endMillis: number, now: Now): boolean => endMillis <= now.millis

const conditions = (words: ReadonlyArray<string>): ReadonlySet<string> => {
  const given = new Set<string>()
  for (const word of words) {
    const condition = word.toUpperCase()
    if (!["NX", "XX", "GT", "LT"].includes(condition)) throw error(`Unsupported option ${word}`)
    given.add(condition)
  }
  if (given.has("NX") && given.size > 1) {
    throw error("NX and XX, GT or LT options at the same time are not compatible")
  }
  if (given.has("GT") && given.has("LT")) {
    throw error("GT and LT options at the same time are not compatible")
  }
  return given
}

/** A key without an end counts as one that ends after every other. */
const allows = (given: ReadonlySet<string>, { expiresAtMillis = Infinity }: Entry, end: number): boolean =>
  !(
    (given.has("NX") && expiresAtMillis !== Infinity) ||
    (given.has("XX") && expiresAtMillis === Infinity) ||
    (given.has("GT") && end <= expiresAtMillis) ||
    (given.has("LT") && end >= expiresAtMillis)
  )

/** EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT. */
export const expire =
  (command: string, unit: Unit) =>
  (db: Database, [key = "", amount = "", ...words]: ReadonlyArray<string>, now: Now): Reply => {
    const given = conditions(words)
    const end = endOf(command, unit, integer(amount), now)
    const entry = db.find(key, now.millis)
    if (entry === undefined || !allows(given, entry, end)) return 0
    if (isOver(end, now)) db.delete(key)
    else db.putChanged(key, { value: entry.value, expiresAtMillis: end }, 0)
    return 1
  }

/** TTL and PTTL: -2 without a key, -1 without an end. */
export const ttl =
  (millisInUnit: number) =>
  (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
    const entry = db.find(args[0] ?? "", now.millis)
    if (entry === undefined) return -2
    if (entry.expiresAtMillis === undefined) return -1
    return Math.round((entry.expiresAtMillis - now.millis) / millisInUnit)
  }

export const persist = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const key = args[0] ?? ""
  const entry = db.find(key, now.millis)
  if (entry?.expiresAtMillis === undefined) return 0
  db.putChanged(key, { value: entry.value, expiresAtMillis: undefined }, 0)
  return 1
}
