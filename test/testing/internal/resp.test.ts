import { describe, expect, it } from "vitest"
import { RedisReplyError, type Reply } from "../../../packages/testing/src/internal/reply.ts"
import { decode, encode } from "../../../packages/testing/src/internal/resp.ts"

describe("encode", () => {
  it("counts bytes, not characters", () => {
    expect(encode(["SET", "é", ""])).toBe("*3\r\n$3\r\nSET\r\n$2\r\né\r\n$0\r\n\r\n")
  })
})

describe("decode", () => {
  const replies: ReadonlyArray<readonly [text: string, reply: Reply]> = [
    ["+OK\r\n", "OK"],
    ["-ERR no\r\n", new RedisReplyError({ message: "ERR no" })],
    [":-42\r\n", -42],
    ["$0\r\n\r\n", ""],
    ["$8\r\né\r\né\r\n\r\n", "é\r\né\r\n"],
    ["$-1\r\n", null],
    ["*-1\r\n", null],
    ["*0\r\n", []],
    [
      "*3\r\n*2\r\n:1\r\n$-1\r\n+a\r\n-WRONGTYPE b\r\n",
      [[1, null], "a", new RedisReplyError({ message: "WRONGTYPE b" })]
    ]
  ]

  it.each(replies)("reads %j once it is whole", (text, reply) => {
    const bytes = Buffer.from(`${text}+next\r\n`)
    const end = Buffer.byteLength(text)
    for (let length = 0; length < end; length++) expect(decode(bytes.subarray(0, length))).toBeUndefined()
    expect(decode(bytes)).toEqual({ reply, end })
    expect(decode(bytes, end)).toEqual({ reply: "next", end: bytes.length })
  })

  it("throws on what is no reply", () => {
    expect(() => decode(Buffer.from("HTTP/1.1 200 OK\r\n"))).toThrow('does not begin with "H"')
  })
})
