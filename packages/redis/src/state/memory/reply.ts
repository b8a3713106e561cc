/**
 * What a command answers, in the shapes of RESP2, and the errors, worded as the server words them.
 *
 * A command that is wrong throws its `ReplyError` before it has changed anything; the store catches it and answers with
 * it.
 */

/** A reply of Redis: a text, a whole number, nothing, an error, or a list of these. */
export type Reply = string | number | null | ReplyError | ReadonlyArray<Reply>

/** `Error.stackTraceLimit`, which V8 has and the standard library's types do not. */
const tracing: { readonly prototype: Error; stackTraceLimit?: number | undefined } = Error

/** An error that the server answers with. It has no stack: where in the store it was made tells nobody anything. */
export class ReplyError extends Error {
  constructor(message: string) {
    const limit = tracing.stackTraceLimit
    tracing.stackTraceLimit = 0
    super(message)
    tracing.stackTraceLimit = limit
    this.name = "ReplyError"
  }
}

export const wrongType = (): ReplyError =>
  new ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")

export const wrongNumberOfArguments = (command: string): ReplyError =>
  new ReplyError(`ERR wrong number of arguments for '${command.toLowerCase()}' command`)

export const invalidExpireTime = (command: string): ReplyError =>
  new ReplyError(`ERR invalid expire time in '${command.toLowerCase()}' command`)

export const syntaxError = (): ReplyError => new ReplyError("ERR syntax error")

export const error = (message: string): ReplyError => new ReplyError(`ERR ${message}`)
