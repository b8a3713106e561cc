import { expect, it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Context, Effect, Layer } from "effect"
import * as MemoryStore from "../../packages/redis/src/state/MemoryStore.ts"
import { play, type Send } from "./differential/play.ts"

const seed = Number(process.env.FAILSOFT_SEED ?? Date.now() % 1_000_000_000)

/** A server of its own, behind the connection that applications have. */
const connect = Effect.gen(function* () {
  const { url } = yield* RedisServer.make()
  const { client } = Context.get(yield* Layer.build(IoRedis.layer({ url })), IoRedis.IoRedis)
  const send: Send = async (commands) => {
    const results = await client.pipeline(commands.map(({ name, args }) => ["call", name, ...args])).exec()
    return (results ?? []).map(([error, reply]) => error ?? (reply as MemoryStore.Reply))
  }
  return send
})

it.live(
  "the memory store answers as a real server does",
  () =>
    Effect.gen(function* () {
      const send = yield* connect
      const coverage = yield* Effect.promise(() => play(send, seed, 400))
      console.log(`FAILSOFT_SEED=${seed}\n${coverage.table()}`)
      expect(coverage.gaps()).toEqual([])
    }),
  60_000
)

it.live("the memory store differs where it says so", () =>
  Effect.gen(function* () {
    const send = yield* connect
    const store = MemoryStore.make({ maxEntries: 100, maxBytes: 1_000_000 })
    const both = (name: string, ...args: ReadonlyArray<string>) =>
      Effect.map(
        Effect.promise(() => send([{ name, args }])),
        ([server]) => ({ server, memory: store.run(name, args, { millis: 0, wallMillis: 0 }) })
      )
    const refused = (message: string) => expect.objectContaining({ message })

    yield* both("ZADD", "z", "0", "a", "0", "b")
    expect(yield* both("ZRANGE", "z", "[a", "[a", "BYLEX")).toEqual({
      server: ["a"],
      memory: refused("ERR ZRANGE with BYLEX is not supported by the memory store")
    })
    expect(yield* both("ZADD", "z", "0x10", "c")).toEqual({
      server: 1,
      memory: refused("ERR value is not a valid float")
    })
    expect(yield* both("NONESUCH", "secret")).toEqual({
      server: refused("ERR unknown command 'NONESUCH', with args beginning with: 'secret' "),
      memory: refused("ERR unknown command 'NONESUCH'")
    })

    const fields = Array.from({ length: 600 }, (_, index) => [`field${index}`, `${index}`])
    yield* both("HSET", "large", ...fields.flat())
    const { memory, server } = yield* both("HGETALL", "large")
    const pairs = (flat: unknown) =>
      Array.isArray(flat)
        ? fields.map((_, index) => flat.slice(2 * index, 2 * index + 2).join("=")).sort()
        : flat
    expect(memory).toEqual(fields.flat())
    expect(server).not.toEqual(memory)
    expect(pairs(server)).toEqual(pairs(memory))
  })
)
