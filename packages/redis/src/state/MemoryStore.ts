/**
 * An interpreter of Redis commands on values in memory.
 *
 * It answers as Redis 7.0 does, word for word, and a test plays the same histories on a real server to see that it does.
 * It knows no clock: each command is told the time. One call of `run` is one step that nothing comes between, so a list
 * of calls is a transaction. It changes in place, for a copy of thousands of entries per command would be felt.
 *
 * Memory is bounded by entries and by bytes; what was used least recently leaves first, and a key that grows beyond all
 * bytes by itself leaves at once. An entry whose time is over takes room until it is asked for or its turn comes.
 *
 * **Known differences**
 *
 * - A key is over at its last millisecond; the server keeps it through that millisecond.
 * - An end further away than 2^53 milliseconds is inexact.
 * - Hashes keep the order of their fields however large they are; large ones have none on the server.
 * - Scores are printed as Redis 7.0 prints them (`0.10000000000000001`); later ones print the shortest form (`0.1`).
 * - A score of -0 is 0; the server forgets the sign in small sets only.
 * - `ZRANGE … BYLEX` and scores in hexadecimal notation are refused.
 * - An unknown command's arguments are not repeated in the error.
 * - Texts are UTF-16, so that no bytes but those of UTF-8 can be held.
 */
import { Lru } from "failsoft"
import * as expiry from "./memory/expiry.ts"
import * as hashes from "./memory/hashes.ts"
import * as keys from "./memory/keys.ts"
import { type Reply, ReplyError, wrongNumberOfArguments } from "./memory/reply.ts"
import * as sortedSets from "./memory/sortedSets.ts"
import * as strings from "./memory/strings.ts"
import { cloneValue, type Database, type Entry, type Now, type Value, weight } from "./memory/value.ts"

export { cloneValue, type Entry, type Now, type Reply, ReplyError, type Value }

export interface MemoryStore {
  /** Runs one command, its name in any case. An error of the command is a reply. */
  readonly run: (name: string, args: ReadonlyArray<string>, now: Now) => Reply
  /** The entry of a key, used now, unless its time is over. Its value changes with later commands: see `cloneValue`. */
  readonly get: (key: string, nowMillis: number) => Entry | undefined
  /** Holds an entry. From here on its value belongs to the store. */
  readonly put: (key: string, entry: Entry) => void
  readonly delete: (key: string) => boolean
  readonly clear: () => void
  readonly size: number
  readonly bytes: number
  /** How many entries left because a bound was reached. */
  readonly evicted: number
}

type Run = (db: Database, args: ReadonlyArray<string>, now: Now) => Reply

interface Command {
  readonly minArgs: number
  readonly maxArgs: number
  readonly run: Run
}

const exactly = (args: number, run: Run): Command => ({ minArgs: args, maxArgs: args, run })
const atLeast = (args: number, run: Run): Command => ({ minArgs: args, maxArgs: Infinity, run })

const commands: ReadonlyMap<string, Command> = new Map([
  ["GET", exactly(1, strings.get)],
  ["SET", atLeast(2, strings.set)],
  ["MGET", atLeast(1, strings.mget)],
  ["INCR", exactly(1, strings.addOne(1n))],
  ["INCRBY", exactly(2, strings.incrby)],
  ["DECR", exactly(1, strings.addOne(-1n))],
  ["DECRBY", exactly(2, strings.decrby)],
  ["DEL", atLeast(1, keys.del)],
  ["EXISTS", atLeast(1, keys.exists)],
  ["TYPE", exactly(1, keys.type)],
  ["EXPIRE", atLeast(2, expiry.expire("expire", "EX"))],
  ["PEXPIRE", atLeast(2, expiry.expire("pexpire", "PX"))],
  ["EXPIREAT", atLeast(2, expiry.expire("expireat", "EXAT"))],
  ["PEXPIREAT", atLeast(2, expiry.expire("pexpireat", "PXAT"))],
  ["TTL", exactly(1, expiry.ttl(1000))],
  ["PTTL", exactly(1, expiry.ttl(1))],
  ["PERSIST", exactly(1, expiry.persist)],
  ["HGET", exactly(2, hashes.hget)],
  ["HGETALL", exactly(1, hashes.hgetall)],
  ["HSET", atLeast(3, hashes.hset)],
  ["HDEL", atLeast(2, hashes.hdel)],
  ["ZADD", atLeast(3, sortedSets.zadd)],
  ["ZCARD", exactly(1, sortedSets.zcard)],
  ["ZRANGE", atLeast(3, sortedSets.zrange)],
  ["ZREMRANGEBYSCORE", exactly(3, sortedSets.zremrangebyscore)],
  ["PING", atLeast(0, keys.ping)],
  ["TIME", exactly(0, keys.time)]
])

export const make = (bounds: Lru.Bounds): MemoryStore => {
  const entries = Lru.make<string, Entry>(bounds)
  let evicted = 0

  const find = (key: string, nowMillis: number): Entry | undefined => {
    const entry = entries.get(key)
    if (entry?.expiresAtMillis === undefined || entry.expiresAtMillis > nowMillis) return entry
    entries.delete(key)
    return undefined
  }

  const hold = (key: string, entry: Entry, bytes: number): void => {
    evicted += entries.set(key, entry, bytes).length
  }

  const database: Database = {
    find,
    put: (key, entry) => hold(key, entry, weight(key, entry.value)),
    putChanged: (key, entry, addedBytes) => hold(key, entry, entries.bytesOf(key) + addedBytes),
    delete: entries.delete
  }

  return {
    run: (name, args, now) => {
      const command = commands.get(name) ?? commands.get(name.toUpperCase())
      if (command === undefined) return keys.unknown(name)
      if (args.length < command.minArgs || args.length > command.maxArgs) return wrongNumberOfArguments(name)
      try {
        return command.run(database, args, now)
      } catch (error) {
        if (error instanceof ReplyError) return error
        throw error
      }
    },
    get: find,
    put: database.put,
    delete: database.delete,
    clear: entries.clear,
    get size() {
      return entries.size
    },
    get bytes() {
      return entries.bytes
    },
    get evicted() {
      return evicted
    }
  }
}
