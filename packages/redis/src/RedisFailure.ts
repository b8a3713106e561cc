/**
 * Each error of a Redis command as one typed value: what it means, whether the command was sent, whether it may be
 * sent again.
 *
 * Arguments never appear in it: they hold keys and values. The raw error, whose message may repeat them, is not kept.
 *
 * **Example** (An increment whose reply was lost)
 *
 * ```ts import.meta.vitest
 * import { RedisFailure } from "@failsoft/redis"
 *
 * const failure = RedisFailure.from(new Error("Command timed out"), "INCR", ["visits"])
 *
 * failure.class // => "unavailable"
 * failure.sent // => true
 * failure.mayRepeat // => false
 * failure.message // => "INCR failed: TIMED_OUT"
 * ```
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as CommandSafety from "./state/CommandSafety.ts"
import * as ErrorClass from "./state/ErrorClass.ts"

/** The classes of errors, from an unavailable server to a command that was wrong. */
export type Class = ErrorClass.ErrorClass

/** The classes of commands by what becomes of them when they are applied twice. */
export type Safety = CommandSafety.CommandSafety

/** A command failed. */
export class RedisFailure extends Data.TaggedError("RedisFailure")<{
  /** The name of the command. */
  readonly command: string
  /** What the error means. */
  readonly class: Class
  /** A word such as `WRONGTYPE`, `ECONNREFUSED` or `TIMED_OUT`. */
  readonly code: string
  /** Whether the command got as far as the server's socket. */
  readonly sent: boolean
  /** Whether it may have been applied without our knowing. */
  readonly mayBeApplied: boolean
  /** Whether sending it again can do no harm, judged by the command and its arguments. */
  readonly mayRepeat: boolean
}> {
  /** One sentence for people. Holds no arguments. */
  override get message(): string {
    return `${this.command} failed: ${this.code}`
  }
}

/** What becomes of a command that is applied twice. `args` are its arguments, without its name. */
export const safetyOf: (command: string, args: ReadonlyArray<string | number>) => Safety = CommandSafety.of

/**
 * Judges the raw error that a command failed with.
 *
 * `error` is what the client rejected with, or the `RedisError` around it. `args` are only looked at for how safe it is
 * to repeat the command.
 */
export const from = (error: unknown, command: string, args: ReadonlyArray<string | number>): RedisFailure => {
  const judgement = ErrorClass.judge(describe(error))
  return new RedisFailure({
    command: command.toUpperCase(),
    ...judgement,
    mayRepeat: !judgement.mayBeApplied || CommandSafety.mayRepeat(CommandSafety.of(command, args))
  })
}

const describe = (
  error: unknown
): { readonly message: string; readonly name: string; readonly code?: unknown } => {
  if (Cause.isTimeoutError(error)) return { name: "TimeoutError", message: "Command timed out" }
  if (!(error instanceof Error)) return { name: "Error", message: String(error) }
  if ("_tag" in error && error._tag === "RedisError" && error.cause !== undefined)
    return describe(error.cause)
  // node-redis names its reply errors by class and not by name.
  const name = /ErrorReply$|SimpleError$/.test(error.constructor.name) ? "ReplyError" : error.name
  return "code" in error
    ? { name, message: error.message, code: error.code }
    : { name, message: error.message }
}
