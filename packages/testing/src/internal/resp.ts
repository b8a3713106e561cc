import { RedisReplyError, type Reply } from "./reply.ts"

/** A command as RESP 2. */
export const encode = (args: ReadonlyArray<string>): string =>
  `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join("")}`

/** A reply and where the next one begins. */
export interface Decoded {
  readonly reply: Reply
  readonly end: number
}

/** Reads the reply that begins at `start`; `undefined` while it is incomplete. Throws on what is not RESP 2. */
export const decode = (bytes: Buffer, start = 0): Decoded | undefined => {
  const lineEnd = bytes.indexOf("\r\n", start)
  if (lineEnd === -1) return undefined
  const line = bytes.toString("utf8", start + 1, lineEnd)
  const end = lineEnd + 2
  const type = bytes.toString("latin1", start, start + 1)
  switch (type) {
    case "+":
      return { reply: line, end }
    case "-":
      return { reply: new RedisReplyError({ message: line }), end }
    case ":":
      return { reply: Number(line), end }
    case "$":
      return bulk(bytes, end, Number(line))
    case "*":
      return array(bytes, end, Number(line))
    default:
      throw new Error(`a reply of RESP 2 does not begin with "${type}"`)
  }
}

const bulk = (bytes: Buffer, start: number, length: number): Decoded | undefined => {
  if (length === -1) return { reply: null, end: start }
  const end = start + length + 2
  return bytes.length < end ? undefined : { reply: bytes.toString("utf8", start, end - 2), end }
}

const array = (bytes: Buffer, start: number, length: number): Decoded | undefined => {
  if (length === -1) return { reply: null, end: start }
  const replies: Array<Reply> = []
  let end = start
  while (replies.length < length) {
    const decoded = decode(bytes, end)
    if (decoded === undefined) return undefined
    replies.push(decoded.reply)
    end = decoded.end
  }
  return { reply: replies, end }
}
