import { connect } from "node:net"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { host } from "./port.ts"
import { RedisReplyError, type Reply } from "./reply.ts"
import { decode, encode } from "./resp.ts"

/** The connection failed before there was a reply. */
export class NoReply extends Data.TaggedError("NoReply")<{ readonly cause: unknown }> {}

/** Sends commands over a connection of their own; succeeds with the last reply, fails with the first error. */
export const exchange = (
  port: number,
  commands: ReadonlyArray<ReadonlyArray<string>>
): Effect.Effect<Reply, RedisReplyError | NoReply> =>
  Effect.callback((resume) => {
    const socket = connect({ host, port })
    let bytes = Buffer.alloc(0)
    let replies = 0
    const settle = (effect: Effect.Effect<Reply, RedisReplyError | NoReply>): void => {
      socket.destroy()
      resume(effect)
    }
    const fail = (cause: unknown): void => settle(Effect.fail(new NoReply({ cause })))
    const read = (): Effect.Effect<Reply, RedisReplyError> | undefined => {
      for (let decoded = decode(bytes); decoded !== undefined; decoded = decode(bytes)) {
        bytes = bytes.subarray(decoded.end)
        replies++
        if (decoded.reply instanceof RedisReplyError) return Effect.fail(decoded.reply)
        if (replies === commands.length) return Effect.succeed(decoded.reply)
      }
      return undefined
    }
    socket.on("data", (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      try {
        const outcome = read()
        if (outcome !== undefined) settle(outcome)
      } catch (cause) {
        fail(cause)
      }
    })
    socket.on("error", fail)
    socket.on("end", () => fail(new Error("the server closed the connection")))
    socket.write(commands.map(encode).join(""))
    return Effect.sync(() => void socket.destroy())
  })
