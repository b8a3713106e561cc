/** Commands on hashes. A hash whose last field goes is gone. */
import { type Reply, wrongNumberOfArguments, wrongType } from "./reply.ts"
import { type Database, type Entry, type Hash, itemWeight, type Now } from "./value.ts"

const hashOf = ({ value }: Entry): Hash => {
  if (value._tag !== "Hash") throw wrongType()
  return value
}

export const hget = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const entry = db.find(args[0] ?? "", now.millis)
  return entry === undefined ? null : (hashOf(entry).fields.get(args[1] ?? "") ?? null)
}

/** Fields and their texts in turn, in the order in which the fields came. */
export const hgetall = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const entry = db.find(args[0] ?? "", now.millis)
  return entry === undefined ? [] : [...hashOf(entry).fields].flat()
}

export const hset = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  if (args.length % 2 === 0) throw wrongNumberOfArguments("hset")
  const key = args[0] ?? ""
  const entry = db.find(key, now.millis)
  const hash: Hash = entry === undefined ? { _tag: "Hash", fields: new Map() } : hashOf(entry)
  const { fields } = hash
  const before = fields.size
  let addedBytes = 0
  for (let index = 1; index < args.length; index += 2) {
    const [field = "", text = ""] = [args[index], args[index + 1]]
    const old = fields.get(field)
    addedBytes += itemWeight(field, text) - (old === undefined ? 0 : itemWeight(field, old))
    fields.set(field, text)
  }
  if (entry === undefined) db.put(key, { value: hash, expiresAtMillis: undefined })
  else db.putChanged(key, entry, addedBytes)
  return fields.size - before
}

export const hdel = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const key = args[0] ?? ""
  const entry = db.find(key, now.millis)
  if (entry === undefined) return 0
  const { fields } = hashOf(entry)
  const before = fields.size
  let removedBytes = 0
  for (let index = 1; index < args.length; index++) {
    const field = args[index] ?? ""
    const old = fields.get(field)
    if (old === undefined) continue
    removedBytes += itemWeight(field, old)
    fields.delete(field)
  }
  if (fields.size === 0) db.delete(key)
  else db.putChanged(key, entry, -removedBytes)
  return before - fields.size
}
