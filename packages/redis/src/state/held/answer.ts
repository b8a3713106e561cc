/** Answers reads from what is held. */
import type { Now, Reply } from "../MemoryStore.ts"
import { apply, type Held, isTooOld, type Known, lookup, type Sent } from "./Held.ts"

/** An answer from what is held. */
export interface Answer {
  readonly reply: Reply
  readonly source: "stale" | "local"
  /** Milliseconds since the oldest part of it was seen at the server. */
  readonly ageMillis: number
}

/** The answer to a read, or `undefined` when not all of it is known. */
export const answer = (held: Held, command: Sent, now: Now): Answer | undefined => {
  const single = singles.get(command.name)
  if (single === undefined) return ofKey(held, command, now)
  const answers: Array<Answer> = []
  for (const key of command.args) {
    const one = ofKey(held, { name: single, args: [key] }, now)
    if (one === undefined) return undefined
    answers.push(one)
  }
  return {
    reply: join(
      command,
      answers.map(({ reply }) => reply)
    ),
    source: answers.some(({ source }) => source === "local") ? "local" : "stale",
    ageMillis: Math.max(0, ...answers.map(({ ageMillis }) => ageMillis))
  }
}

/** What is known of the answer to a read, with nothing in the place of what is not. */
export const answerInPart = (held: Held, command: Sent, now: Now): Reply | undefined => {
  const single = singles.get(command.name)
  return single === undefined
    ? undefined
    : join(
        command,
        command.args.map((key) => ofKey(held, { name: single, args: [key] }, now)?.reply ?? null)
      )
}

/** The command for one key of those that are asked for several. */
const singles: ReadonlyMap<string, string> = new Map([
  ["MGET", "GET"],
  ["EXISTS", "EXISTS"]
])

/** The reply for several keys; a list holds nothing for a key of another type. */
const join = ({ name }: Sent, replies: ReadonlyArray<Reply>): Reply =>
  name === "EXISTS"
    ? replies.reduce((sum: number, reply) => sum + Number(reply), 0)
    : replies.map((reply) => (reply instanceof Error ? null : reply))

/** What of a read was written here, when that is known, and what is left to ask the server for. */
export interface Split {
  /** The keys to ask for; `undefined` when nothing is left. */
  readonly asked: ReadonlyArray<string> | undefined
  /** The whole reply, made from that of the server to the read of `asked`. */
  readonly join: (reply: Reply) => Reply
}

/** Splits a read, or gives `undefined` when nothing of it was written here. */
export const split = (held: Held, command: Sent, now: Now): Split | undefined => {
  const single = singles.get(command.name)
  const own = (key: string, read: Sent): Answer | undefined =>
    held.written.peek(key) === undefined ? undefined : ofKey(held, read, now)
  if (single === undefined) {
    const reply = own(command.args[0] ?? "", command)?.reply
    return reply === undefined ? undefined : { asked: undefined, join: () => reply }
  }
  const replies = command.args.map((key) => own(key, { name: single, args: [key] })?.reply)
  const asked = command.args.filter((_, index) => replies[index] === undefined)
  if (asked.length === command.args.length) return undefined
  return {
    asked: asked.length === 0 ? undefined : asked,
    join: (reply) => {
      if (command.name === "EXISTS") return join(command, [reply, ...replies.map((one) => one ?? 0)])
      const live = (Array.isArray(reply) ? reply : []).values()
      return join(
        command,
        replies.map((one) => (one === undefined ? (live.next().value ?? null) : one))
      )
    }
  }
}

const ofKey = (held: Held, command: Sent, now: Now): Answer | undefined => {
  const found = lookup(held, command.args[0] ?? "", now.millis)
  if (found === undefined || !isKnown(found.known, command)) return undefined
  const { known, source } = found
  const seenAtMillis = seenAt(known, command)
  if (isTooOld(held, seenAtMillis, now.millis)) return undefined
  const reply =
    command.name === "GET" && known.value?._tag === "String"
      ? known.value.text
      : apply(held, known, command, now).reply
  return { reply, source, ageMillis: Math.max(0, now.millis - seenAtMillis) }
}

const isKnown = (known: Known, { name, args }: Sent): boolean => {
  if (name === "PING" || name === "TIME") return false
  if (name === "PTTL" || name === "TTL") return known.knowsExpiry && (known.complete || !isEmpty(known))
  if (known.complete) return true
  if (name === "HGET") return known.fieldsSeenAt?.has(args[1] ?? "") === true
  return name === "EXISTS" && !isEmpty(known)
}

/** When what a read is about was seen. */
const seenAt = ({ fieldsSeenAt, seenAtMillis }: Known, { args, name }: Sent): number =>
  (name === "HGET" ? fieldsSeenAt?.get(args[1] ?? "") : undefined) ?? seenAtMillis

const isEmpty = ({ value }: Known): boolean => value === undefined
