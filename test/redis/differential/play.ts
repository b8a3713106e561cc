/**
 * Plays histories on a real server and on the memory store, and compares them reply by reply.
 *
 * The server is asked for its time before each command, and the store is told it; the store's monotonic clock starts at 0
 * with the first command. A command runs between two such readings, so times may differ by the longest gap between two
 * of them, and by a millisecond for each rounding.
 */
import { isDeepStrictEqual } from "node:util"
import * as MemoryStore from "../../../packages/redis/src/state/MemoryStore.ts"
import * as coverage from "./coverage.ts"
import { drawFrom } from "./draw.ts"
import { command, keysOf, preparation, type Sent, specs } from "./generate.ts"

type Reply = MemoryStore.Reply

/** Sends commands in one go and gives their replies, errors among them. */
export type Send = (commands: ReadonlyArray<Sent>) => Promise<ReadonlyArray<Reply>>

const roundSize = 150
const longestWaitMillis = 5000

const time: Sent = { name: "TIME", args: [] }

const millisOf = (reply: Reply | undefined): number => {
  const [seconds, micros] = Array.isArray(reply) ? reply : []
  return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000)
}

/** A command with the server's times before and after it. */
interface Step {
  readonly sent: Sent
  readonly server: Reply
  readonly beforeMillis: number
  readonly afterMillis: number
}

const onServer = async (send: Send, commands: ReadonlyArray<Sent>): Promise<ReadonlyArray<Step>> => {
  const replies = await send([...commands.flatMap((sent) => [time, sent]), time])
  return commands.map((sent, index) => ({
    sent,
    server: replies[2 * index + 1] ?? null,
    beforeMillis: millisOf(replies[2 * index]),
    afterMillis: millisOf(replies[2 * index + 2])
  }))
}

/** Asks the server until the keys are over there. */
const awaitEnd = async (send: Send, keys: ReadonlyArray<string>): Promise<void> => {
  let deadlineMillis: number | undefined
  for (;;) {
    const [now, ...left] = await send([time, ...keys.map((key) => ({ name: "PTTL", args: [key] }))])
    if (left.every((reply) => reply === -2)) return
    deadlineMillis ??= millisOf(now) + longestWaitMillis
    if (millisOf(now) > deadlineMillis) throw new Error(`keys that should end did not: ${left}`)
  }
}

const words = (reply: Reply): string =>
  reply instanceof Error ? `error "${reply.message}"` : JSON.stringify(reply)

const isNear = (one: Reply, other: Reply, tolerance: number): boolean =>
  isDeepStrictEqual(one, other) ||
  (typeof one === "number" &&
    typeof other === "number" &&
    one >= 0 &&
    other >= 0 &&
    Math.abs(one - other) <= tolerance)

/** Whether a number of seconds is what is left, rounded, give or take the tolerance. */
const isSeconds = (reply: Reply, leftMillis: number | undefined, tolerance: number): boolean =>
  typeof reply === "number" &&
  leftMillis !== undefined &&
  reply >= Math.round((leftMillis - tolerance) / 1000) &&
  reply <= Math.round((leftMillis + tolerance) / 1000)

/** Redis 7.0 prints scores with 17 digits, as the store does; later ones print as few as tell them apart. */
const isSameScored = (server: Reply, memory: Reply, exact: boolean): boolean => {
  const plain = (part: Reply): Reply => {
    if (exact) return part === "-0" ? "0" : part
    return typeof part === "string" && /^-?\d/.test(part) ? Number(part) + 0 : part
  }
  // In RESP3, ioredis 6 gives members and scores in pairs to a command whose name is in capitals.
  const all = (reply: Reply): Reply => (Array.isArray(reply) ? reply.flat().map(plain) : plain(reply))
  return isDeepStrictEqual(all(server), exact ? memory : all(memory))
}

const isSame = (
  name: string,
  server: Reply,
  memory: Reply,
  how: {
    readonly toleranceMillis: number
    readonly exactScores: boolean
    /** The time that the key has left in the store. */
    readonly leftMillis: number | undefined
  }
): boolean => {
  if (server instanceof Error || memory instanceof Error) {
    return server instanceof Error && memory instanceof Error && server.message === memory.message
  }
  switch (name) {
    case "TIME":
      return isNear(millisOf(server), millisOf(memory), how.toleranceMillis)
    case "PTTL":
      return isNear(server, memory, how.toleranceMillis)
    case "TTL":
      return (
        [server, memory].every((reply) => isSeconds(reply, how.leftMillis, how.toleranceMillis)) ||
        (how.leftMillis === undefined && server === memory)
      )
    case "ZADD":
    case "ZRANGE":
      return isSameScored(server, memory, how.exactScores)
    default:
      return isDeepStrictEqual(server, memory)
  }
}

/** A preparation and what came after it: nothing is left of the round before. */
interface Round {
  readonly number: number
  readonly played: Array<{ readonly sent: Sent; readonly server: Reply }>
  longestGapMillis: number
}

/** What went wrong at the last step, and how its keys had come to be what they were. */
const describe = (seed: number, { number, played }: Round, memory: Reply): string => {
  const lines = played.map(
    ({ sent, server }, index) =>
      [keysOf(sent), `${index + 1}. ${sent.name} ${JSON.stringify(sent.args)} → ${words(server)}`] as const
  )
  const [keys, last]: readonly [ReadonlyArray<string>, string] = lines.at(-1) ?? [[], ""]
  const history = lines.filter(([others]) => others.some((key) => keys.includes(key)))
  return [
    `FAILSOFT_SEED=${seed} finds a difference in round ${number} at step ${last}`,
    `server: ${words(played.at(-1)?.server ?? null)}`,
    `memory: ${words(memory)}`,
    ...history.map(([, line]) => line)
  ].join("\n")
}

/** Plays rounds of a seed; throws at the first reply that differs, with all that is needed to see why. */
export const play = async (send: Send, seed: number, rounds: number): Promise<coverage.Coverage> => {
  const draw = drawFrom(seed)
  const counted = coverage.make()
  const store = MemoryStore.make({ maxEntries: 10_000, maxBytes: 100_000_000 })
  const over = new Set<string>()
  let startMillis: number | undefined
  const [information] = await send([{ name: "INFO", args: ["server"] }])
  const exactScores = /redis_version:7\.0\./.test(String(information))

  const classOf = (sent: Sent, key: string, nowMillis: number): coverage.Class => {
    // What is over is still in the store until it is asked for at its time.
    const held = store.get(key, Number.NEGATIVE_INFINITY)
    const entry = store.get(key, nowMillis)
    if (entry !== undefined) {
      const on = specs[sent.name]?.on
      return on === "key" || on === entry.value._tag ? "hit" : "wrong type"
    }
    return held !== undefined || over.has(key) ? "expired" : "absent"
  }

  const compare = (steps: ReadonlyArray<Step>, round: Round): void => {
    for (const { sent, server, beforeMillis, afterMillis } of steps) {
      startMillis ??= beforeMillis
      const now = { millis: beforeMillis - startMillis, wallMillis: beforeMillis }
      const keys = keysOf(sent)
      const classes = keys.map((key) => classOf(sent, key, now.millis))
      const memory = store.run(sent.name, sent.args, now)
      keys.forEach((key, at) => {
        if (store.get(key, now.millis) !== undefined) over.delete(key)
        else if (classes[at] === "expired" || (classes[at] !== "absent" && isTimed(sent))) over.add(key)
      })
      round.longestGapMillis = Math.max(round.longestGapMillis, afterMillis - beforeMillis)
      round.played.push({ sent, server })
      const end = keys.length === 1 ? store.get(keys[0] ?? "", now.millis)?.expiresAtMillis : undefined
      const how = {
        toleranceMillis: round.longestGapMillis + 2,
        exactScores,
        leftMillis: end === undefined ? undefined : end - now.millis
      }
      if (!isSame(sent.name, server, memory, how)) throw new Error(describe(seed, round, memory))
      countStep(sent.name, server, classes)
    }
  }

  const countStep = (name: string, reply: Reply, classes: ReadonlyArray<coverage.Class>): void => {
    counted.count(name, "comparisons")
    if (reply instanceof Error && !reply.message.startsWith("WRONGTYPE")) {
      // What was refused for its arguments, or for what a text holds, counts as nothing else.
      counted.count(name, "errors")
      return
    }
    for (const found of new Set(classes)) counted.count(name, found)
  }

  for (let number = 1; number <= rounds; number++) {
    const round: Round = { number, played: [], longestGapMillis: 0 }
    const prepared = preparation(draw)
    over.clear()
    compare(await onServer(send, prepared.commands), round)
    await awaitEnd(send, prepared.ending)
    const commands = Array.from({ length: roundSize }, () => command(draw))
    compare(await onServer(send, commands), round)
  }
  return counted
}

const isTimed = ({ name }: Sent): boolean => /EXPIRE/.test(name)
