import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Redis } from "effect/persistence"
import { type Subject, started } from "./subject.ts"

/** `send`: replies in their types, errors in the server's words, each reply to its own command. */
export const commands = (subject: Subject): void => {
  describe("send", () => {
    it.live("has strings, integers, nothing and lists as replies", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        expect(yield* redis.send("PING")).toBe("PONG")
        expect(yield* redis.send("SET", "text", "12")).toBe("OK")
        expect(yield* redis.send("GET", "text")).toBe("12")
        expect(yield* redis.send("INCR", "text")).toBe(13)
        expect(yield* redis.send("DECRBY", "text", "20")).toBe(-7)
        expect(yield* redis.send("GET", "missing")).toBeNull()
        expect(yield* redis.send("RPUSH", "list", "a", "b")).toBe(2)
        expect(yield* redis.send("LRANGE", "list", "0", "-1")).toEqual(["a", "b"])
        expect(yield* redis.send("LRANGE", "missing", "0", "-1")).toEqual([])
        expect(yield* redis.send("MGET", "text", "missing")).toEqual(["-7", null])
      })
    )

    it.live("has lists in lists as replies", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        yield* redis.send("XADD", "stream", "1-1", "a", "b")
        yield* redis.send("XADD", "stream", "2-1", "c", "")
        expect(yield* redis.send("XRANGE", "stream", "-", "+")).toEqual([
          ["1-1", ["a", "b"]],
          ["2-1", ["c", ""]]
        ])
      })
    )

    it.live(`has maps as replies (${subject.choices.maps})`, () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        yield* redis.send("HSET", "hash", "a", "b", "c", "d")
        const reply = yield* redis.send("HGETALL", "hash")
        if (subject.choices.maps === "list") expect(reply).toEqual(["a", "b", "c", "d"])
        else expect({ ...Object(reply) }).toEqual({ a: "b", c: "d" })
      })
    )

    it.live.each([
      ["a wrong type", ["INCR", "list"], "WRONGTYPE Operation against a key holding the wrong kind of value"],
      [
        "a wrong argument",
        ["SET", "key", "value", "PX", "soon"],
        "ERR value is not an integer or out of range"
      ],
      ["an unknown command", ["NONSENSE"], "ERR unknown command"]
    ] as const)("fails with a RedisError that has the server's words for %s", ([, [name, ...args], words]) =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        yield* redis.send("RPUSH", "list", "a")
        const error = yield* Effect.flip(redis.send(name, ...args))
        expect(error).toBeInstanceOf(Redis.RedisError)
        expect(error._tag).toBe("RedisError")
        expect(String(error.cause)).toContain(words)
        expect(yield* redis.send("PING")).toBe("PONG")
      })
    )

    it.live.each([
      ["nothing", ""],
      ["text beyond ASCII", "żółw 🐢 漢字 e\u0301"],
      ["control characters", "\r\n$5\r\n\0*1"],
      ["a space", " "]
    ] as const)("carries %s as key and as value", ([, text]) =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        yield* redis.send("SET", text, text)
        expect(yield* redis.send("GET", text)).toBe(text)
        expect(yield* redis.send("STRLEN", text)).toBe(new TextEncoder().encode(text).length)
        expect(yield* redis.send("KEYS", "*")).toEqual([text])
      })
    )

    it.live("carries 5 MB", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        const value = "0123456789".repeat(500_000)
        yield* redis.send("SET", "large", value)
        expect(yield* redis.send("STRLEN", "large")).toBe(5_000_000)
        const back = yield* redis.send<string>("GET", "large")
        expect(back === value).toBe(true)
      })
    )

    it.live("gives each of a thousand concurrent commands its own reply", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        const texts = Array.from({ length: 1_000 }, (_, index) => `text ${index}`)
        const replies = yield* Effect.forEach(
          texts,
          (text, index) =>
            index % 10 === 0
              ? Effect.map(Effect.flip(redis.send("INCRBY", "key", text)), (error) =>
                  String(error.cause).slice(-12)
                )
              : redis.send<string>("ECHO", text),
          { concurrency: "unbounded" }
        )
        expect(replies).toEqual(texts.map((text, index) => (index % 10 === 0 ? "out of range" : text)))
      })
    )

    it.live("can be interrupted at once, and the late replies are nobody's", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        yield* redis.send("SET", "mine", "my own")
        yield* server.stop
        const fibers = yield* Effect.forEach(Array.from({ length: 50 }), (_, index) =>
          Effect.forkChild(redis.send("ECHO", `late ${index}`), { startImmediately: true })
        )
        // No reply can come, and no limit of time ends the commands as soon as this.
        yield* Fiber.interruptAll(fibers).pipe(Effect.timeout("500 millis"))
        const sent = yield* Effect.forkChild(redis.send("GET", "mine"), { startImmediately: true })
        yield* server.continue
        expect(yield* Fiber.join(sent)).toBe("my own")
      })
    )
  })
}
