/**
 * What an error of Redis, or of the way there, means. Judged by its code, or by the words that ioredis uses.
 */

/**
 * - `unavailable`: the server is away or cannot serve anything now.
 * - `write-path`: it serves reads, and no writes.
 * - `misconfigured`: it refuses us as we are set up; waiting mends nothing.
 * - `transient`: the same command will do in a moment.
 * - `caller`: it answered, and the command was wrong.
 */
export type ErrorClass = "unavailable" | "write-path" | "misconfigured" | "transient" | "caller"

/** What an error says: its class, a code for logs, and whether the command may have been applied. */
export interface Judgement {
  readonly class: ErrorClass
  /** A word such as `WRONGTYPE` or `ECONNREFUSED`; never anything that the command held. */
  readonly code: string
  /** Whether the command got as far as the server's socket. */
  readonly sent: boolean
  /** Whether the server may have applied the command without our knowing. */
  readonly mayBeApplied: boolean
}

const byReplyCode: Readonly<Record<string, ErrorClass>> = {
  LOADING: "unavailable",
  MASTERDOWN: "unavailable",
  CLUSTERDOWN: "unavailable",
  BUSY: "unavailable",
  READONLY: "write-path",
  OOM: "write-path",
  MISCONF: "write-path",
  NOREPLICAS: "write-path",
  NOAUTH: "misconfigured",
  WRONGPASS: "misconfigured",
  NOPERM: "misconfigured",
  NOPROTO: "misconfigured",
  TRYAGAIN: "transient",
  MOVED: "transient",
  ASK: "transient",
  NOSCRIPT: "transient"
}

/** Codes of the network that mean that no byte of the command left this process. */
const neverSent = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"])

/** The words of ioredis, and of our own deadline, for what has no code. */
const byWords: ReadonlyArray<readonly [words: string, code: string, sent: boolean]> = [
  ["Stream isn't writeable", "NOT_CONNECTED", false],
  ["All sentinels", "NO_SENTINEL", false],
  ["Failed to refresh slots cache", "NO_CLUSTER_NODE", false],
  ["Command timed out", "TIMED_OUT", true],
  ["Socket timeout", "TIMED_OUT", true],
  ["max retries per request", "CONNECTION_LOST", true],
  ["Connection is closed", "CONNECTION_LOST", true],
  ["Too many Cluster redirections", "TOO_MANY_REDIRECTIONS", true]
]

/** Judges the error that a command failed with: a reply of the server, an error of the network, or one of the client. */
export const judge = (error: {
  readonly message: string
  readonly name: string
  readonly code?: unknown
}): Judgement => {
  if (error.name === "ReplyError") return judgeReply(error.message)
  if (typeof error.code === "string") {
    const sent = !neverSent.has(error.code)
    return { class: "unavailable", code: error.code, sent, mayBeApplied: sent }
  }
  const [, code, sent] = byWords.find(([words]) => error.message.includes(words)) ?? ["", "UNKNOWN", true]
  return { class: "unavailable", code, sent, mayBeApplied: sent }
}

const judgeReply = (message: string): Judgement => {
  const code = /^[A-Z]+/.exec(message)?.[0] ?? "ERR"
  // The server that is full says so with a plain ERR, and one without a password refuses ours with one.
  const known = /max number of clients/.test(message)
    ? "unavailable"
    : /AUTH .*without any password|no password is set/i.test(message)
      ? "misconfigured"
      : byReplyCode[code]
  return { class: known ?? "caller", code, sent: true, mayBeApplied: false }
}
