import * as Data from "effect/Data"

/** The server answered with an error, such as `WRONGTYPE …`. */
export class RedisReplyError extends Data.TaggedError("RedisReplyError")<{ readonly message: string }> {}

/** What a server replies: integers as numbers, strings as UTF-8, and errors inside an array, as EXEC has them, as values. */
export type Reply = string | number | null | RedisReplyError | ReadonlyArray<Reply>
