/** Commands on texts, and on the 64-bit integers that texts may hold. */
import { endOf, type Unit } from "./expiry.ts"
import { integer, integerReply, maxInteger, minInteger } from "./numbers.ts"
import { error, invalidExpireTime, type Reply, syntaxError, wrongType } from "./reply.ts"
import type { Database, Entry, Now } from "./value.ts"

const textOf = ({ value }: Entry): string => {
  if (value._tag !== "String") throw wrongType()
  return value.text
}

export const get = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const entry = db.find(args[0] ?? "", now.millis)
  return entry === undefined ? null : textOf(entry)
}

/** A key of another type counts as absent here. */
export const mget = (db: Database, args: ReadonlyArray<string>, now: Now): Reply =>
  args.map((key) => {
    const value = db.find(key, now.millis)?.value
    return value?._tag === "String" ? value.text : null
  })

interface SetOptions {
  readonly only: "NX" | "XX" | undefined
  readonly get: boolean
  readonly keepTtl: boolean
  readonly expiry: readonly [unit: Unit, amount: string] | undefined
}

const plain: SetOptions = { only: undefined, get: false, keepTtl: false, expiry: undefined }

const setOptions = (args: ReadonlyArray<string>): SetOptions => {
  let { only, get, keepTtl, expiry } = plain
  for (let index = 2; index < args.length; index++) {
    const option = (args[index] ?? "").toUpperCase()
    switch (option) {
      case "NX":
      case "XX":
        if (only !== undefined && only !== option) throw syntaxError()
        only = option
        break
      case "GET":
        get = true
        break
      case "KEEPTTL":
        if (expiry !== undefined) throw syntaxError()
        keepTtl = true
        break
      case "EX":
      case "PX":
      case "EXAT":
      case "PXAT": {
        const amount = args[++index]
        // The server takes the same unit twice, and the last amount counts.
        if (keepTtl || amount === undefined || (expiry !== undefined && expiry[0] !== option)) {
          throw syntaxError()
        }
        expiry = [option, amount]
        break
      }
      default:
        throw syntaxError()
    }
  }
  return { only, get, keepTtl, expiry }
}

const setEnd = ([unit, text]: readonly [Unit, string], now: Now): number => {
  const amount = integer(text)
  if (amount <= 0n) throw invalidExpireTime("set")
  return endOf("set", unit, amount, now)
}

export const set = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const [key = "", text = ""] = args
  const { only, get, keepTtl, expiry } = args.length === 2 ? plain : setOptions(args)
  const end = expiry === undefined ? undefined : setEnd(expiry, now)
  const old = only !== undefined || get || keepTtl ? db.find(key, now.millis) : undefined
  const oldText = get && old !== undefined ? textOf(old) : null
  if (only === undefined || (only === "XX") === (old !== undefined)) {
    db.put(key, { value: { _tag: "String", text }, expiresAtMillis: keepTtl ? old?.expiresAtMillis : end })
    return get ? oldText : "OK"
  }
  return oldText
}

const add = (db: Database, key: string, by: bigint, now: Now): Reply => {
  const old = db.find(key, now.millis)
  const sum = (old === undefined ? 0n : integer(textOf(old))) + by
  if (sum < minInteger || sum > maxInteger) throw error("increment or decrement would overflow")
  db.put(key, { value: { _tag: "String", text: String(sum) }, expiresAtMillis: old?.expiresAtMillis })
  return integerReply(sum)
}

/** INCR and DECR. */
export const addOne =
  (by: bigint) =>
  (db: Database, [key = ""]: ReadonlyArray<string>, now: Now): Reply =>
    add(db, key, by, now)

export const incrby = (db: Database, [key = "", by = ""]: ReadonlyArray<string>, now: Now): Reply =>
  add(db, key, integer(by), now)

export const decrby = (db: Database, [key = "", by = ""]: ReadonlyArray<string>, now: Now): Reply => {
  const amount = integer(by)
  if (amount === minInteger) throw error("decrement would overflow")
  return add(db, key, -amount, now)
}
