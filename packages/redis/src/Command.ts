/**
 * Redis commands as values: a name, arguments, and how the reply is read.
 *
 * `ResilientRedis` has a method for each. As values they go into pipelines and transactions, where each result has the
 * type of its command.
 *
 * **Example** (Two commands in one round trip)
 *
 * ```ts import.meta.vitest
 * import { Effect, Result } from "effect"
 * import { Command, MemoryRedis, ResilientRedis } from "@failsoft/redis"
 *
 * const program = Effect.gen(function* () {
 *   const redis = yield* ResilientRedis.ResilientRedis
 *   const [, visits] = yield* redis.pipeline([Command.set("name", "Ada"), Command.incr("visits")])
 *   return Result.getOrElse(visits, () => 0)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(MemoryRedis.layer()))) // => 1
 * ```
 */
import * as Duration from "effect/Duration"
import type { Reply } from "./state/MemoryStore.ts"

interface Base<A> {
  /** The command's name in capitals. */
  readonly name: string
  /** Its arguments, as they are sent. */
  readonly args: ReadonlyArray<string>
  /** What the lenient view answers when it knows nothing. */
  readonly nothing: A
  /** Reads a reply of the server. */
  readonly decode: (reply: Reply) => A
}

/** A command that changes nothing. */
export interface Read<A> extends Base<A> {
  readonly kind: "read"
}

/** A command that changes something. */
export interface Write<A> extends Base<A> {
  readonly kind: "write"
}

/** A command whose reply is an `A`. */
export type Command<A> = Read<A> | Write<A>

/** The bound of a range of scores: a number, `"(5"` for one that does not belong to it, or an infinity. */
export type ScoreBound = number | `(${number}` | "-inf" | "+inf"

/** A member of a sorted set. */
export interface Scored {
  readonly member: string
  readonly score: number
}

/** How `set` writes. At most one of the first five may be given, and one of `ifAbsent` and `ifPresent`. */
export interface SetOptions {
  /** The key ends after this time, to the millisecond (`EX`, `PX`). */
  readonly expireIn?: Duration.Input | undefined
  /** The key ends at this moment, in milliseconds since 1970 by the server's clock (`EXAT`, `PXAT`). */
  readonly expireAtMillis?: number | undefined
  /** The key keeps the end it has (`KEEPTTL`). */
  readonly keepTtl?: boolean | undefined
  /** Writes only a key that is not there (`NX`). */
  readonly ifAbsent?: boolean | undefined
  /** Writes only a key that is there (`XX`). */
  readonly ifPresent?: boolean | undefined
}

/** When `expire` sets a time: `none` if the key has none, `some` if it has one, `later` or `sooner` than it has. */
export type ExpireCondition = "none" | "some" | "later" | "sooner"

/** How `zadd` writes. */
export interface ZaddOptions {
  /** Only adds (`NX`), or only changes (`XX`) members. */
  readonly only?: "add" | "change" | undefined
  /** Changes a member only to a greater (`GT`) or lesser (`LT`) score. */
  readonly change?: "greater" | "less" | undefined
  /** Counts changed members as well as added ones (`CH`). */
  readonly countChanged?: boolean | undefined
}

/** Which members `zrange` gives: by rank from 0 (negative from the end), or by score. */
export interface ZrangeOptions {
  readonly by?: "rank" | "score" | undefined
  /** From the greatest to the least; `start` is then the greatest. */
  readonly reverse?: boolean | undefined
  /** Skips `offset` of the members by score and gives at most `count` of them. */
  readonly limit?: { readonly offset: number; readonly count: number } | undefined
}

const read = <A>(
  name: string,
  args: ReadonlyArray<string>,
  nothing: A,
  decode: (reply: Reply) => A
): Read<A> => ({ kind: "read", name, args, nothing, decode })

const write = <A>(
  name: string,
  args: ReadonlyArray<string>,
  nothing: A,
  decode: (reply: Reply) => A
): Write<A> => ({ kind: "write", name, args, nothing, decode })

const text = (reply: Reply): string | undefined => (typeof reply === "string" ? reply : undefined)
const count = (reply: Reply): number => Number(reply)
const isOk = (reply: Reply): boolean => reply === "OK"
const isOne = (reply: Reply): boolean => Number(reply) === 1
const list = (reply: Reply): ReadonlyArray<Reply> => (Array.isArray(reply) ? reply : [])
const texts = (reply: Reply): ReadonlyArray<string> => list(reply).map(String)

/** The value of a key, `undefined` if it is not there. */
export const get = (key: string): Read<string | undefined> => read("GET", [key], undefined, text)

/** The values of keys, `undefined` for those that are not there. At least one key. */
export const mget = (keys: ReadonlyArray<string>): Read<ReadonlyArray<string | undefined>> =>
  read(
    "MGET",
    keys,
    keys.map(() => undefined),
    (reply) => list(reply).map(text)
  )

/** Writes a key. `false` if a condition was not met. */
export const set = (key: string, value: string, options?: SetOptions): Write<boolean> =>
  write("SET", [key, value, ...setArguments(options)], false, isOk)

/** Writes a key and gives the value that it had, whether or not a condition was met. */
export const setGet = (key: string, value: string, options?: SetOptions): Write<string | undefined> =>
  write("SET", [key, value, ...setArguments(options), "GET"], undefined, text)

const setArguments = (options: SetOptions = {}): ReadonlyArray<string> => {
  const args: Array<string> = []
  if (options.expireIn !== undefined) {
    const millis = wholeMillis(options.expireIn)
    if (millis % 1000 === 0) args.push("EX", String(millis / 1000))
    else args.push("PX", String(millis))
  }
  if (options.expireAtMillis !== undefined) args.push("PXAT", String(Math.floor(options.expireAtMillis)))
  if (options.keepTtl === true) args.push("KEEPTTL")
  if (options.ifAbsent === true) args.push("NX")
  if (options.ifPresent === true) args.push("XX")
  return args
}

/** Redis counts in whole milliseconds; a time that is not over yet must not become none. */
const wholeMillis = (duration: Duration.Input): number =>
  Math.ceil(Duration.toMillis(Duration.fromInputUnsafe(duration)))

/** Deletes keys, and counts those that were there. At least one key. */
export const del = (...keys: Array<string>): Write<number> => write("DEL", keys, 0, count)

/** How many of the keys are there. At least one key. */
export const exists = (...keys: Array<string>): Read<number> => read("EXISTS", keys, 0, count)

/** Gives a key a time to live. `false` if it is not there, or the condition was not met. */
export const expire = (key: string, after: Duration.Input, condition?: ExpireCondition): Write<boolean> => {
  const millis = wholeMillis(after)
  const when =
    condition === undefined ? [] : [{ none: "NX", some: "XX", later: "GT", sooner: "LT" }[condition]]
  return millis % 1000 === 0
    ? write("EXPIRE", [key, String(millis / 1000), ...when], false, isOne)
    : write("PEXPIRE", [key, String(millis), ...when], false, isOne)
}

/** The time that a key has left: infinite if it has no end, `undefined` if it is not there. */
export const ttl = (key: string): Read<Duration.Duration | undefined> =>
  read("PTTL", [key], undefined, (reply) => {
    const millis = Number(reply)
    return millis === -2 ? undefined : millis === -1 ? Duration.infinity : Duration.millis(millis)
  })

/** Adds `by` (a whole number, 1 by default) to a key and gives the sum; a key that is not there counts as 0. */
export const incr = (key: string, by = 1): Write<number> =>
  by === 1 ? write("INCR", [key], 0, count) : write("INCRBY", [key, String(by)], 0, count)

/** Takes `by` (a whole number, 1 by default) from a key and gives what is left; a key that is not there counts as 0. */
export const decr = (key: string, by = 1): Write<number> =>
  by === 1 ? write("DECR", [key], 0, count) : write("DECRBY", [key, String(by)], 0, count)

/** A field of a hash, `undefined` if it is not there. */
export const hget = (key: string, field: string): Read<string | undefined> =>
  read("HGET", [key, field], undefined, text)

/** All fields of a hash; none if it is not there. */
export const hgetall = (key: string): Read<Readonly<Record<string, string>>> =>
  read("HGETALL", [key], {}, (reply) => {
    const flat = texts(reply)
    return Object.fromEntries(
      flat.flatMap((field, index) => (index % 2 === 0 ? [[field, flat[index + 1] ?? ""]] : []))
    )
  })

/** Writes fields of a hash, and counts those that are new. At least one field. */
export const hset = (key: string, fields: Readonly<Record<string, string>>): Write<number> =>
  write("HSET", [key, ...Object.entries(fields).flat()], 0, count)

/** Deletes fields of a hash, and counts those that were there. At least one field. */
export const hdel = (key: string, ...fields: Array<string>): Write<number> =>
  write("HDEL", [key, ...fields], 0, count)

/** Writes members of a sorted set, and counts those that are new. At least one member. */
export const zadd = (key: string, members: ReadonlyArray<Scored>, options?: ZaddOptions): Write<number> => {
  const words = [
    ...(options?.only === undefined ? [] : [options.only === "add" ? "NX" : "XX"]),
    ...(options?.change === undefined ? [] : [options.change === "greater" ? "GT" : "LT"]),
    ...(options?.countChanged === true ? ["CH"] : [])
  ]
  return write(
    "ZADD",
    [key, ...words, ...members.flatMap(({ member, score }) => [scoreText(score), member])],
    0,
    count
  )
}

/** How many members a sorted set has. */
export const zcard = (key: string): Read<number> => read("ZCARD", [key], 0, count)

/** Deletes the members of a sorted set whose scores are from `min` to `max`, and counts them. */
export const zremrangebyscore = (key: string, min: ScoreBound, max: ScoreBound): Write<number> =>
  write("ZREMRANGEBYSCORE", [key, scoreText(min), scoreText(max)], 0, count)

/** Members of a sorted set from `start` to `stop`, both included unless written as `"(5"`. */
export const zrange = (
  key: string,
  start: ScoreBound,
  stop: ScoreBound,
  options?: ZrangeOptions
): Read<ReadonlyArray<string>> => read("ZRANGE", zrangeArguments(key, start, stop, options), [], texts)

/** As `zrange`, with the score of each member. */
export const zrangeWithScores = (
  key: string,
  start: ScoreBound,
  stop: ScoreBound,
  options?: ZrangeOptions
): Read<ReadonlyArray<Scored>> =>
  read("ZRANGE", [...zrangeArguments(key, start, stop, options), "WITHSCORES"], [], (reply) => {
    // Pairs or one list, as the protocol's version has it.
    const flat = list(reply).flat().map(String)
    return flat.flatMap((member, index) =>
      index % 2 === 0 ? [{ member, score: scoreOf(flat[index + 1] ?? "") }] : []
    )
  })

const zrangeArguments = (
  key: string,
  start: ScoreBound,
  stop: ScoreBound,
  options: ZrangeOptions = {}
): ReadonlyArray<string> => [
  key,
  scoreText(start),
  scoreText(stop),
  ...(options.by === "score" ? ["BYSCORE"] : []),
  ...(options.reverse === true ? ["REV"] : []),
  ...(options.limit === undefined ? [] : ["LIMIT", String(options.limit.offset), String(options.limit.count)])
]

const scoreText = (score: ScoreBound): string =>
  score === Number.POSITIVE_INFINITY ? "+inf" : score === Number.NEGATIVE_INFINITY ? "-inf" : String(score)

const scoreOf = (words: string): number =>
  words === "inf" ? Number.POSITIVE_INFINITY : words === "-inf" ? Number.NEGATIVE_INFINITY : Number(words)

/** The server's clock in milliseconds since 1970; `undefined` only in the lenient view. */
export const time: Read<number | undefined> = read("TIME", [], undefined, (reply) => {
  const [seconds, micros] = list(reply)
  return Number(seconds) * 1000 + Number(micros) / 1000
})

/** Whether the server answers. */
export const ping: Read<boolean> = read("PING", [], false, (reply) => reply === "PONG")
