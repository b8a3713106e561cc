/** Holds writes that the server did not get. */
import type { Now } from "../MemoryStore.ts"
import type { Answer } from "./answer.ts"
import { apply, entryBytes, gone, type Held, type Known, lookup, type Sent, type Timed } from "./Held.ts"

/**
 * Applies a write to what is held, or gives `undefined` when nothing honest can be said of its outcome.
 *
 * A conditional write or a counter depends on what is there: a key of which nothing is known counts as absent then, and
 * the write is not one to be sent later.
 */
export const hold = (held: Held, command: Sent, now: Now, isConditional: boolean): Answer | undefined => {
  if (command.name === "DEL") return holdDeletion(held, command, now)
  const key = command.args[0] ?? ""
  const before = lookup(held, key, now.millis)?.known ?? (isConditional ? gone(now.millis) : undefined)
  const isUnknown = before === undefined || (before.value === undefined && !before.complete)
  if (isUnknown && (command.name === "EXPIRE" || command.name === "PEXPIRE")) return undefined

  const after = apply(held, before, command, now)
  if (!(after.reply instanceof Error)) {
    const knowsAll = command.name === "SET" || before?.complete === true
    write(
      held,
      key,
      command,
      now,
      {
        value: after.value,
        complete: knowsAll,
        bytes: after.bytes,
        seenAtMillis: before?.seenAtMillis ?? now.millis,
        expiresAtMillis: after.expiresAtMillis,
        knowsExpiry: knowsExpiryAfter(command, before)
      },
      !isConditional
    )
  }
  return { reply: after.reply, source: "local", ageMillis: 0 }
}

const knowsExpiryAfter = ({ name, args }: Sent, before: Known | undefined): boolean =>
  name === "EXPIRE" || name === "PEXPIRE" || (name === "SET" && !args.includes("KEEPTTL", 2))
    ? true
    : before?.knowsExpiry === true

const holdDeletion = (held: Held, { args }: Sent, now: Now): Answer => {
  let reply = 0
  for (const key of args) {
    if (lookup(held, key, now.millis)?.known.value !== undefined) reply++
    write(held, key, { name: "DEL", args: [key] }, now, gone(now.millis), true)
  }
  return { reply, source: "local", ageMillis: 0 }
}

const write = (held: Held, key: string, command: Sent, now: Now, known: Known, isKept: boolean): void => {
  const writes = held.written.peek(key)?.writes ?? new Map<string, Timed>()
  if (isKept && held.bounds.keepWrites) keepWrite(writes, command, now.millis)
  held.seen.delete(key)
  const bytes = known.bytes + 2 * key.length + entryBytes * writes.size
  held.lost += held.written.set(key, { ...known, writes }, bytes).length
}

/** A write takes the place of an earlier one to the same part of the key. */
const keepWrite = (writes: Map<string, Timed>, command: Sent, atMillis: number): void => {
  if (replacesAll(command)) writes.clear()
  for (const [part, each] of partsOf(command)) {
    writes.delete(part)
    writes.set(part, { command: each, atMillis })
  }
}

const replacesAll = ({ name }: Sent): boolean => name === "SET" || name === "DEL"

const partsOf = (command: Sent): ReadonlyArray<readonly [part: string, command: Sent]> => {
  const [key = "", ...rest] = command.args
  switch (command.name) {
    case "HSET":
      return pairs(rest).map(([field, value]) => [
        `field ${field}`,
        { name: "HSET", args: [key, field, value] }
      ])
    case "HDEL":
      return rest.map((field) => [`field ${field}`, { name: "HDEL", args: [key, field] }])
    case "ZADD":
      return pairs(rest).map(([score, member]) => [
        `member ${member}`,
        { name: "ZADD", args: [key, score, member] }
      ])
    case "EXPIRE":
    case "PEXPIRE":
      return [["end", command]]
    case "ZREMRANGEBYSCORE":
      return [[command.args.join(" "), command]]
    default:
      return [["", command]]
  }
}

const pairs = (flat: ReadonlyArray<string>): ReadonlyArray<readonly [string, string]> =>
  flat.flatMap((first, index) => (index % 2 === 0 ? [[first, flat[index + 1] ?? ""] as const] : []))

/** Gives up all that was written here, and tells of how many keys. */
export const discard = (held: Held): number => {
  const count = held.written.size
  held.written.clear()
  return count
}

/**
 * Gives up all that was written here, as commands to send by key: the last of each part, oldest key first.
 *
 * Times to live have run on since, so they are sent as what is left of them.
 */
export const takeWrites = (held: Held, now: Now): Map<string, ReadonlyArray<Sent>> => {
  const writes = new Map<string, ReadonlyArray<Sent>>()
  for (const [key, written] of held.written) {
    writes.set(
      key,
      [...written.writes.values()].map(({ atMillis, command }) => aged(command, now.millis - atMillis))
    )
  }
  held.written.clear()
  return writes
}

const aged = (command: Sent, elapsedMillis: number): Sent => {
  const [key = "", value = ""] = command.args
  const unitMillis = (word: string | undefined): number => (word === "PX" || word === "PEXPIRE" ? 1 : 1000)
  const left = (amount: string | undefined, word: string | undefined): number =>
    Math.floor(Number(amount) * unitMillis(word) - elapsedMillis)
  const deletion: Sent = { name: "DEL", args: [key] }
  if (command.name === "EXPIRE" || command.name === "PEXPIRE") {
    const millis = left(value, command.name)
    return millis > 0 ? { name: "PEXPIRE", args: [key, String(millis)] } : deletion
  }
  const at =
    command.name === "SET" ? command.args.findIndex((arg, index) => index > 1 && /^[EP]X$/.test(arg)) : -1
  if (at === -1) return command
  const millis = left(command.args[at + 1], command.args[at])
  return millis > 0 ? { name: "SET", args: [key, value, "PX", String(millis)] } : deletion
}
