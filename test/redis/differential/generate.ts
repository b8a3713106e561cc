/**
 * Histories of commands, drawn at random so that each command meets keys that it knows, keys that were never there, keys
 * whose time is over and keys of another type, with arguments that are right, wrong and just at the edge.
 *
 * The replies must not hang on the millisecond in which a command runs. So a time to live is long over, or far away; no
 * two relative ones are alike, because which of two equal ones ends later is decided by the clock; and only the
 * preparation of a round makes keys that end soon, which nothing touches until they are over.
 */
import type { Draw } from "./draw.ts"

export interface Sent {
  readonly name: string
  readonly args: ReadonlyArray<string>
}

/** What a command works on: values of one type, keys of any type, or nothing. */
export type Subject = "String" | "Hash" | "SortedSet" | "key" | "nothing"

interface Spec {
  readonly on: Subject
  readonly args: (draw: Draw, key: () => string) => ReadonlyArray<string>
}

const minInteger = "-9223372036854775808"
const maxInteger = "9223372036854775807"

const integers = ["0", "1", "-1", "7", "10", "-250", "9007199254740993", "1234567890123456789", maxInteger]
const noIntegers = ["", " 1", "+1", "01", "-0", "1.5", "x", "9223372036854775808", "-", "1e3"]
const texts = ["", "a", "words and words", "ünï€😀", "line\r\nline", "x".repeat(60), "true", "0.5"]
const fields = ["a", "b", "c", "name", "", "ü", "0", "10"]
// In UTF-16 the last character of the first plane comes behind the emoji; in UTF-8 it comes before.
const members = ["a", "aa", "b", "B", "", "é", "\uffff", "\ufb00", "😀", "😀a", "𐀀", "10", "9"]
const scores = [
  ...[
    "0",
    "-0",
    "1",
    "1",
    "1.0",
    "2",
    "-1.5",
    "0.1",
    "+.5",
    "5.",
    "1e21",
    "1e-7",
    "inf",
    "-inf",
    "+Infinity"
  ],
  ...["5e-324", "1.7976931348623157e308", "2.98023223876953125e-8", "123456789012345680", "9007199254740993"],
  ...["99999999999999999", "100000000000000000", "0.0001", "0.00001234", "1e2"]
]
const noScores = ["x", "nan", "", "1e400", " 1", "1e", "1e-400", "--1", "1 ", "in", ".", "0e"]
const noBounds = ["x", "nan", "((1", "1 ", "(", "  ", "[1", "1e"]

const integer = (draw: Draw): string =>
  draw.chance(0.1)
    ? draw.pick(noIntegers)
    : draw.chance(0.1)
      ? minInteger
      : draw.chance(0.5)
        ? String(draw.integer(-50, 50))
        : draw.pick(integers)

const rank = (draw: Draw): string =>
  draw.chance(0.05) ? draw.pick([...noIntegers, minInteger, maxInteger]) : String(draw.integer(-8, 8))

const text = (draw: Draw): string => (draw.chance(0.5) ? integer(draw) : draw.pick(texts))

const score = (draw: Draw): string =>
  draw.chance(0.06)
    ? draw.pick(noScores)
    : draw.chance(0.6)
      ? draw.pick(scores)
      : String((draw.next() - 0.5) * 10 ** draw.integer(-25, 25))

const bound = (draw: Draw): string =>
  draw.chance(0.08)
    ? draw.pick(noBounds)
    : draw.chance(0.1)
      ? draw.pick(["", " 1", "1e400", "-1e400", "(\t2"])
      : `${draw.chance(0.3) ? "(" : ""}${draw.pick(scores)}`

/**
 * A time to live far from over, unlike any other; or one that is over, or none at all.
 *
 * Milliseconds beyond 2^53 are left out: which of two such ends is later, a double cannot say.
 */
const amount = (draw: Draw, unit: string): string => {
  if (draw.chance(0.1)) {
    return draw.pick([
      ...noIntegers,
      minInteger,
      ...(unit === "PXAT" ? [] : [maxInteger, "9223372036854775000"])
    ])
  }
  if (draw.chance(0.15)) return draw.pick(["0", "-1", "-1000"])
  const isAbsolute = unit.endsWith("AT")
  if (isAbsolute && draw.chance(0.3)) return draw.pick(["1", "1000", "1000000000"])
  // In the year 2100, where a few are alike.
  const seconds = isAbsolute ? 4_102_444_800 + draw.integer(0, 5) : 7 * draw.fresh()
  return String(unit.startsWith("EX") ? seconds : seconds * 1000 + (unit === "PX" ? draw.integer(0, 999) : 0))
}

const words = (draw: Draw, from: ReadonlyArray<string>): ReadonlyArray<string> =>
  draw.chance(0.4) ? [] : draw.some(1, 2, () => draw.pick(from))

const cased = (draw: Draw, words: ReadonlyArray<string>): ReadonlyArray<string> =>
  draw.chance(0.2) ? words.map((word) => word.toLowerCase()) : words

const setOptions = (draw: Draw): ReadonlyArray<string> => {
  const options = draw.some(0, 2, () => {
    const option = draw.pick([
      "NX",
      "XX",
      "GET",
      "KEEPTTL",
      "KEEPTTL",
      "EX",
      "PX",
      "EXAT",
      "PXAT",
      "EX",
      "PXAT",
      "ODD"
    ])
    const isTime = /^[EP]X/.test(option)
    return isTime ? [option, ...(draw.chance(0.05) ? [] : [amount(draw, option)])] : [option]
  })
  return cased(draw, options.flat())
}

const expire =
  (unit: string): Spec["args"] =>
  (draw, key) => [
    key(),
    amount(draw, unit),
    ...cased(draw, words(draw, ["NX", "XX", "GT", "LT", "GT", "LT", ...(draw.chance(0.1) ? ["ODD"] : [])]))
  ]

const zadd: Spec["args"] = (draw, key) => {
  const flags = words(draw, ["NX", "XX", "GT", "LT", "CH", "INCR", "INCR"])
  const isSum = flags.includes("INCR")
  // Infinities of both signs meet in a sum only if they are drawn often.
  const any = (): string => (isSum && draw.chance(0.3) ? draw.pick(["inf", "-inf"]) : score(draw))
  const pairs = draw.some(1, draw.chance(isSum ? 0.9 : 0.5) ? 1 : 3, () => [any(), draw.pick(members)])
  return [key(), ...cased(draw, flags), ...pairs.flat()]
}

const zrange: Spec["args"] = (draw, key) => {
  const byScore = draw.chance(0.6)
  const ends = byScore ? [bound(draw), bound(draw)] : [rank(draw), rank(draw)]
  const limit = draw.chance(byScore ? 0.4 : 0.03) ? ["LIMIT", rank(draw), rank(draw)] : []
  const options = [
    ...(byScore ? ["BYSCORE"] : []),
    ...(draw.chance(0.4) ? ["REV"] : []),
    ...(draw.chance(0.5) ? ["WITHSCORES"] : []),
    ...(draw.chance(0.03) ? [draw.pick(["ODD", "REV", "LIMIT"])] : [])
  ]
  return [key(), ...ends, ...cased(draw, [...options, ...limit])]
}

/** Every command of the store. */
export const specs: Readonly<Record<string, Spec>> = {
  GET: { on: "String", args: (_, key) => [key()] },
  SET: { on: "String", args: (draw, key) => [key(), text(draw), ...setOptions(draw)] },
  MGET: { on: "String", args: (draw, key) => draw.some(1, 3, key) },
  INCR: { on: "String", args: (_, key) => [key()] },
  INCRBY: { on: "String", args: (draw, key) => [key(), integer(draw)] },
  DECR: { on: "String", args: (_, key) => [key()] },
  DECRBY: { on: "String", args: (draw, key) => [key(), integer(draw)] },
  DEL: { on: "key", args: (draw, key) => draw.some(1, 2, key) },
  EXISTS: { on: "key", args: (draw, key) => draw.some(1, 3, key) },
  TYPE: { on: "key", args: (_, key) => [key()] },
  EXPIRE: { on: "key", args: expire("EX") },
  PEXPIRE: { on: "key", args: expire("PX") },
  EXPIREAT: { on: "key", args: expire("EXAT") },
  PEXPIREAT: { on: "key", args: expire("PXAT") },
  TTL: { on: "key", args: (_, key) => [key()] },
  PTTL: { on: "key", args: (_, key) => [key()] },
  PERSIST: { on: "key", args: (_, key) => [key()] },
  HGET: { on: "Hash", args: (draw, key) => [key(), draw.pick(fields)] },
  HGETALL: { on: "Hash", args: (_, key) => [key()] },
  HSET: {
    on: "Hash",
    args: (draw, key) => [key(), ...draw.some(1, 3, () => [draw.pick(fields), text(draw)]).flat()]
  },
  HDEL: { on: "Hash", args: (draw, key) => [key(), ...draw.some(1, 3, () => draw.pick(fields))] },
  ZADD: { on: "SortedSet", args: zadd },
  ZCARD: { on: "SortedSet", args: (_, key) => [key()] },
  ZRANGE: { on: "SortedSet", args: zrange },
  ZREMRANGEBYSCORE: { on: "SortedSet", args: (draw, key) => [key(), bound(draw), bound(draw)] },
  PING: { on: "nothing", args: (draw) => (draw.chance(0.5) ? [] : [text(draw)]) },
  TIME: { on: "nothing", args: () => [] }
}

const names = Object.keys(specs)

const numbered = (prefix: string, count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`)

const kinds = {
  String: numbered("text:", 6),
  Hash: numbered("hash:", 6),
  SortedSet: numbered("set:", 6)
}
const short = numbered("short:", 16)
const absent = numbered("absent:", 16)
const all = [...Object.values(kinds).flat(), ...short, ...absent]

/** The keys that a command names. */
export const keysOf = ({ name, args }: Sent): ReadonlyArray<string> =>
  specs[name]?.on === "nothing" ? [] : ["MGET", "DEL", "EXISTS"].includes(name) ? args : args.slice(0, 1)

const create = (draw: Draw, kind: keyof typeof kinds, key: string): Sent => {
  switch (kind) {
    case "String":
      return { name: "SET", args: [key, text(draw)] }
    case "Hash":
      return {
        name: "HSET",
        args: [key, ...fields.slice(draw.integer(0, 7)).flatMap((field) => [field, text(draw)])]
      }
    case "SortedSet": {
      // Above 128 members the server keeps them in another way.
      const many = draw.chance(0.1) ? numbered("member:", 200) : members.slice(draw.integer(0, 8))
      return { name: "ZADD", args: [key, ...many.flatMap((member) => [draw.pick(scores), member])] }
    }
  }
}

/** Puts every key into a known state: some of each type, some that end within milliseconds, some that are not there. */
export const preparation = (
  draw: Draw
): { readonly commands: ReadonlyArray<Sent>; readonly ending: ReadonlyArray<string> } => ({
  commands: [
    { name: "DEL", args: [...all, "extra"] },
    ...(["String", "Hash", "SortedSet"] as const).flatMap((kind) =>
      kinds[kind].map((key) => create(draw, kind, key))
    ),
    ...Object.values(kinds).flatMap((keys) =>
      keys.slice(0, 3).map((key) => ({ name: "PEXPIRE", args: [key, String(7000 * draw.fresh())] }))
    ),
    ...short.flatMap((key) => [
      create(draw, draw.pick(["String", "Hash", "SortedSet"] as const), key),
      { name: "PEXPIRE", args: [key, String(draw.integer(1, 2))] }
    ])
  ],
  ending: short
})

/** A command with a key that it knows, one of another type, one that is over, or one that was never there. */
export const command = (draw: Draw): Sent => {
  const name = draw.pick(names)
  const spec = specs[name]
  if (spec === undefined) throw new Error(`${name} is not known`)
  const own = spec.on === "String" || spec.on === "Hash" || spec.on === "SortedSet" ? kinds[spec.on] : all
  const key = (): string =>
    draw.pick(draw.chance(0.4) ? own : draw.chance(0.3) ? all : draw.chance(0.5) ? short : absent)
  const args = spec.args(draw, key)
  const wrongly = draw.chance(0.06)
  return {
    name,
    args: !wrongly
      ? args
      : draw.chance(0.5)
        ? args.slice(0, draw.integer(0, Math.max(0, args.length - 1)))
        : [...args, "extra", "extra"]
  }
}
