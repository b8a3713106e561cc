/** Answers reads from what is held. */
import type { Now, Reply } from "../MemoryStore.ts"
import { apply, type Held, type Known, lookup, type Sent } from "./Held.ts"

/** An answer from what is held. */
export interface Answer {
  readonly reply: Reply
  readonly source: "stale" | "local"
  /** Milliseconds since the oldest part of it was seen at the server. */
  readonly ageMillis: number
}

/** The answer to a read, or `undefined` when not all of it is known. */
export const answer = (held: Held, command: Sent, now: Now): Answer | undefined => {
  switch (command.name) {
    case "MGET":
      return ofEach(held, "GET", command.args, now, (replies) => replies)
    case "EXISTS":
      return ofEach(held, "EXISTS", command.args, now, (replies) =>
        replies.reduce((sum: number, reply) => sum + Number(reply), 0)
      )
    case "PING":
    case "TIME":
      return undefined
    default:
      return ofKey(held, command, now)
  }
}

/** What is known of the answer to a read, with nothing in the place of what is not. */
export const answerInPart = (held: Held, command: Sent, now: Now): Reply | undefined => {
  const of = (name: string): ReadonlyArray<Reply | undefined> =>
    command.args.map((key) => ofKey(held, { name, args: [key] }, now)?.reply)
  switch (command.name) {
    case "MGET":
      return of("GET").map((reply) => (typeof reply === "string" ? reply : null))
    case "EXISTS":
      return of("EXISTS").reduce((sum: number, reply) => sum + Number(reply ?? 0), 0)
    default:
      return undefined
  }
}

const ofEach = (
  held: Held,
  name: string,
  keys: ReadonlyArray<string>,
  now: Now,
  join: (replies: ReadonlyArray<Reply>) => Reply
): Answer | undefined => {
  const answers: Array<Answer> = []
  for (const key of keys) {
    const one = ofKey(held, { name, args: [key] }, now)
    if (one === undefined) return undefined
    answers.push(one)
  }
  return {
    // A list holds nothing for a key of another type.
    reply: join(answers.map(({ reply }) => (reply instanceof Error ? null : reply))),
    source: answers.some(({ source }) => source === "local") ? "local" : "stale",
    ageMillis: Math.max(0, ...answers.map(({ ageMillis }) => ageMillis))
  }
}

const ofKey = (held: Held, command: Sent, now: Now): Answer | undefined => {
  const found = lookup(held, command.args[0] ?? "", now.millis)
  if (found === undefined || !isKnown(found.known, command)) return undefined
  const { known, source } = found
  const reply =
    command.name === "GET" && known.value?._tag === "String"
      ? known.value.text
      : apply(held, known, command, now).reply
  return { reply, source, ageMillis: now.millis - known.seenAtMillis }
}

const isKnown = (known: Known, { name, args }: Sent): boolean => {
  if (name === "PTTL" || name === "TTL") return known.knowsExpiry && (known.complete || !isEmpty(known))
  if (known.complete) return true
  if (name === "HGET") return known.value?._tag === "Hash" && known.value.fields.has(args[1] ?? "")
  return name === "EXISTS" && !isEmpty(known)
}

const isEmpty = ({ value }: Known): boolean => value === undefined
