import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Redis } from "effect/persistence"
import { type Subject, started } from "./subject.ts"

const texts = (...args: ReadonlyArray<string>): ReadonlyArray<string> => args

const script = (lua: string, numberOfKeys = 0) =>
  Redis.script(texts, { lua, numberOfKeys }).withReturnType<unknown>()

const increment = Redis.script((key: string, by: number) => [key, by], {
  lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
  numberOfKeys: 1
}).withReturnType<number>()

/** `eval`: keys and parameters, replies, scripts that the server has forgotten, scripts that fail. */
export const scripts = (subject: Subject): void => {
  describe("eval", () => {
    it.live("passes keys and parameters", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        const both = script("return {KEYS[1], KEYS[2], ARGV[1], ARGV[2], #KEYS, #ARGV}", 2)
        expect(yield* redis.eval(both)("a", "b", "ü", "")).toEqual(["a", "b", "ü", "", 2, 2])
        const counted = Redis.script((keys: ReadonlyArray<string>, value: string) => [...keys, value], {
          lua: "for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1]) end return #KEYS",
          numberOfKeys: (keys) => keys.length
        }).withReturnType<number>()
        expect(yield* redis.eval(counted)(["x", "y", "z"], "set")).toBe(3)
        expect(yield* redis.send("MGET", "x", "y", "z")).toEqual(["set", "set", "set"])
      })
    )

    it.live.each([
      ["return 7", 7],
      ["return 3.9", 3],
      ["return '3.9'", "3.9"],
      ["return nil", null],
      ["return true", 1],
      ["return false", null],
      ["return redis.status_reply('FINE')", "FINE"],
      ["return {1, 'two', {3, {'four'}}, {}}", [1, "two", [3, ["four"]], []]]
    ] as const)("has the reply of `%s`", ([lua, reply]) =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        expect(yield* redis.eval(script(lua))()).toEqual(reply)
      })
    )

    it.live("has the type that withReturnType says", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        const sum: number = yield* redis.eval(increment)("n", 2)
        expect(sum + (yield* redis.eval(increment)("n", 3))).toBe(7)
      })
    )

    it.live("loads a script that the server has forgotten, and runs it once", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        expect(yield* redis.eval(increment)("n", 1)).toBe(1)
        yield* server.command("SCRIPT", "FLUSH")
        expect(yield* redis.eval(increment)("n", 1)).toBe(2)
        const reserved = yield* redis.reserve
        yield* server.command("SCRIPT", "FLUSH")
        expect(yield* reserved.eval(increment)("n", 1)).toBe(3)
      })
    )

    it.live.each([
      ["returns an error", "return redis.error_reply('SORRY not today')", "SORRY not today"],
      ["calls a command in vain", "return redis.call('INCR', 'list')", "WRONGTYPE"],
      ["throws", "error('oh no')", "oh no"],
      ["is no Lua", "return (", "ERR Error compiling script"]
    ] as const)("fails with a RedisError when the script %s", ([, lua, words]) =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        yield* redis.send("RPUSH", "list", "a")
        const error = yield* Effect.flip(redis.eval(script(lua))())
        expect(error).toBeInstanceOf(Redis.RedisError)
        expect(String(error.cause)).toContain(words)
      })
    )
  })
}
