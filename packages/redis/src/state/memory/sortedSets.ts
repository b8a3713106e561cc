/** Commands on sorted sets. A set whose last member goes is gone. */
import { bound, integer, score as scoreFrom, scoreReply } from "./numbers.ts"
import * as order from "./order.ts"
import { error, type Reply, syntaxError, wrongType } from "./reply.ts"
import { type Database, type Entry, itemWeight, type Now, type SortedSet } from "./value.ts"

const setOf = ({ value }: Entry): SortedSet => {
  if (value._tag !== "SortedSet") throw wrongType()
  return value
}

const zaddFlags = new Set(["NX", "XX", "GT", "LT", "CH", "INCR"])

interface Addition {
  readonly flags: ReadonlySet<string>
  readonly members: ReadonlyArray<readonly [member: string, score: number]>
}

const additionOf = (args: ReadonlyArray<string>): Addition => {
  const flags = new Set<string>()
  let index = 1
  for (; index < args.length; index++) {
    const word = (args[index] ?? "").toUpperCase()
    if (!zaddFlags.has(word)) break
    flags.add(word)
  }
  const rest = args.length - index
  if (rest === 0 || rest % 2 === 1) throw syntaxError()
  const has = (flag: string): boolean => flags.has(flag)
  if (has("NX") && has("XX")) throw error("XX and NX options at the same time are not compatible")
  if ((has("NX") && (has("GT") || has("LT"))) || (has("GT") && has("LT"))) {
    throw error("GT, LT, and/or NX options at the same time are not compatible")
  }
  if (has("INCR") && rest > 2) throw error("INCR option supports a single increment-element pair")
  const members: Array<readonly [string, number]> = []
  for (; index < args.length; index += 2) {
    members.push([args[index + 1] ?? "", scoreFrom(args[index] ?? "")])
  }
  return { flags, members }
}

/** What becomes of the member's score, or `undefined` when the flags leave it as it is. */
const nextScore = (
  flags: ReadonlySet<string>,
  old: number | undefined,
  given: number
): number | undefined => {
  if (old === undefined) return flags.has("XX") ? undefined : given
  if (flags.has("NX")) return undefined
  const next = flags.has("INCR") ? old + given : given
  if (Number.isNaN(next)) throw error("resulting score is not a number (NaN)")
  if ((flags.has("GT") && next <= old) || (flags.has("LT") && next >= old)) return undefined
  return next
}

export const zadd = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const key = args[0] ?? ""
  const { flags, members } = additionOf(args)
  const entry = db.find(key, now.millis)
  const set: SortedSet = entry === undefined ? { _tag: "SortedSet", scores: new Map() } : setOf(entry)
  let last: number | undefined
  let added = 0
  let changed = 0
  let addedBytes = 0
  for (const [member, given] of members) {
    const old = set.scores.get(member)
    last = nextScore(flags, old, given)
    if (last === undefined || last === old) continue
    order.place(set, member, last)
    if (old === undefined) {
      added += 1
      addedBytes += itemWeight(member)
    } else changed += 1
  }
  if (entry !== undefined) db.putChanged(key, entry, addedBytes)
  else if (added > 0) db.put(key, { value: set, expiresAtMillis: undefined })
  if (flags.has("INCR")) return last === undefined ? null : scoreReply(last)
  return flags.has("CH") ? added + changed : added
}

export const zcard = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const entry = db.find(args[0] ?? "", now.millis)
  return entry === undefined ? 0 : setOf(entry).scores.size
}

export const zremrangebyscore = (
  db: Database,
  [key = "", min = "", max = ""]: ReadonlyArray<string>,
  now: Now
): Reply => {
  const [from, to] = [bound(min), bound(max)]
  const entry = db.find(key, now.millis)
  if (entry === undefined) return 0
  const set = setOf(entry)
  const removed = order.removeBetween(set, ...order.between(set, from, to))
  if (set.scores.size === 0) db.delete(key)
  else db.putChanged(key, entry, -removed.reduce((bytes, member) => bytes + itemWeight(member), 0))
  return removed.length
}

interface RangeOptions {
  readonly by: string | undefined
  readonly reverse: boolean
  readonly withScores: boolean
  readonly offset: number
  /** -1 for all. */
  readonly count: number
}

const rangeOptions = (args: ReadonlyArray<string>): RangeOptions => {
  let by: string | undefined
  let reverse = false
  let withScores = false
  let offset = 0
  let count = -1
  for (let index = 3; index < args.length; index++) {
    const word = (args[index] ?? "").toUpperCase()
    if (word === "WITHSCORES") withScores = true
    else if (word === "LIMIT" && index + 2 < args.length) {
      offset = Number(integer(args[++index] ?? ""))
      count = Number(integer(args[++index] ?? ""))
    } else if (word === "REV" && !reverse) reverse = true
    else if ((word === "BYSCORE" || word === "BYLEX") && by === undefined) by = word
    else throw syntaxError()
  }
  if (by === "BYLEX") throw error("ZRANGE with BYLEX is not supported by the memory store")
  if (by === undefined && count !== -1) {
    throw error("syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
  }
  return { by, reverse, withScores, offset, count }
}

const byRank = (members: ReadonlyArray<string>, start: number, stop: number): ReadonlyArray<string> => {
  const fromStart = (rank: number): number => (rank < 0 ? rank + members.length : rank)
  return members.slice(Math.max(fromStart(start), 0), Math.max(fromStart(stop) + 1, 0))
}

/** A negative offset skips everything, as it does on the server. */
const limited = (members: ReadonlyArray<string>, { count, offset }: RangeOptions): ReadonlyArray<string> =>
  offset < 0 ? [] : members.slice(offset, count < 0 ? undefined : offset + count)

/** How the members of a set are chosen. The arguments are read before the key is looked at. */
const selection = (start: string, stop: string, options: RangeOptions) => {
  const turned = (members: ReadonlyArray<string>): ReadonlyArray<string> =>
    options.reverse ? members.toReversed() : members
  if (options.by === undefined) {
    const [first, last] = [Number(integer(start)), Number(integer(stop))]
    return (set: SortedSet) => byRank(turned(order.membersOf(set)), first, last)
  }
  const [min, max] = options.reverse ? [bound(stop), bound(start)] : [bound(start), bound(stop)]
  return (set: SortedSet) =>
    limited(turned(order.membersOf(set).slice(...order.between(set, min, max))), options)
}

/** Members, or members and their scores in turn. */
export const zrange = (db: Database, args: ReadonlyArray<string>, now: Now): Reply => {
  const [key = "", start = "", stop = ""] = args
  const options = rangeOptions(args)
  const select = selection(start, stop, options)
  const entry = db.find(key, now.millis)
  if (entry === undefined) return []
  const set = setOf(entry)
  const members = select(set)
  return options.withScores
    ? members.flatMap((member) => [member, scoreReply(set.scores.get(member) ?? 0)])
    : members
}
