/** Commands on keys of any type, and those without a key. */
import { error, type Reply, wrongNumberOfArguments } from "./reply.ts"
import type { Database, Now } from "./value.ts"

export const del = (db: Database, keys: ReadonlyArray<string>, now: Now): Reply =>
  keys.filter((key) => db.find(key, now.millis) !== undefined && db.delete(key)).length

/** A key that is named twice counts twice. */
export const exists = (db: Database, keys: ReadonlyArray<string>, now: Now): Reply =>
  keys.filter((key) => db.find(key, now.millis) !== undefined).length

const typeNames = { String: "string", Hash: "hash", SortedSet: "zset" } as const

export const type = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const entry = db.find(args[0] ?? "", now.millis)
  return entry === undefined ? "none" : typeNames[entry.value._tag]
}

export const ping = (_: Database, args: ReadonlyArray<string>): Reply => {
  if (args.length > 1) throw wrongNumberOfArguments("ping")
  return args[0] ?? "PONG"
}

/** Seconds and microseconds since 1970. */
export const time = (_db: Database, _args: ReadonlyArray<string>, { wallMillis }: Now): Reply => [
  String(Math.floor(wallMillis / 1000)),
  String(Math.floor((wallMillis % 1000) * 1000))
]

export const unknown = (command: string): Reply => error(`unknown command '${command.slice(0, 128)}'`)
