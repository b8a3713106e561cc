import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { Redis } from "effect/persistence"
import { clients, info, type Subject, started, until } from "./subject.ts"

const isBlocked = (line: string): boolean => line.includes("cmd=blpop")

const idOf = (line: string): string => /^id=(\d+)/.exec(line)?.[1] ?? ""

/** `reserve`: connections for one holder each, from a bounded pool. */
export const reservations = (subject: Subject): void => {
  describe("reserve", () => {
    it.live("gives a connection on which BLPOP holds up nobody else", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        const [first, second] = [yield* redis.reserve, yield* redis.reserve]
        const vain = yield* Effect.forkChild(first.send("BLPOP", "list 1", "0"))
        const waiting = yield* Effect.forkChild(second.send("BLPOP", "list 2", "0"))
        yield* until(info(server, "blocked_clients"), (blocked) => blocked === 2)
        expect(yield* redis.send("RPUSH", "list 2", "element")).toBe(1)
        expect(yield* Fiber.join(waiting)).toEqual(["list 2", "element"])
        expect(vain.pollUnsafe()).toBeUndefined()
      })
    )

    it.live("has nothing as the reply of a BLPOP that waited in vain", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        const { send } = yield* redis.reserve
        expect(yield* send("BLPOP", "empty", "0.2")).toBeNull()
      })
    )

    it.live("gives a connection whose transaction holds no command of others", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        const { send } = yield* redis.reserve
        expect(yield* send("MULTI")).toBe("OK")
        expect(yield* send("SET", "key", "transaction")).toBe("QUEUED")
        expect(yield* redis.send("SET", "key", "other")).toBe("OK")
        expect(yield* send("GET", "key")).toBe("QUEUED")
        expect(yield* redis.send("GET", "key")).toBe("other")
        expect(yield* send("EXEC")).toEqual(["OK", "transaction"])
      })
    )

    it.live("runs scripts on the reserved connection", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        const reserved = yield* redis.reserve
        yield* reserved.send("SELECT", "3")
        const set = Redis.script((key: string) => [key], {
          lua: "redis.call('SET', KEYS[1], '1')",
          numberOfKeys: 1
        })
        yield* reserved.eval(set)("key")
        expect(yield* reserved.send("EXISTS", "key")).toBe(1)
        expect(yield* redis.send("EXISTS", "key")).toBe(0)
      })
    )

    it.live("uses a connection again that was given back in order", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        const id = Effect.scoped(Effect.flatMap(redis.reserve, ({ send }) => send("CLIENT", "ID")))
        expect(yield* id).toBe(yield* id)
        expect(yield* redis.send("CLIENT", "ID")).not.toBe(yield* id)
      })
    )

    it.live("opens no more connections than the pool may have", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject, { maxConnections: 2, acquireTimeout: "150 millis" })
        const others = (yield* clients(server)).length
        const scope = yield* Scope.make()
        yield* Scope.provide(redis.reserve, scope)
        yield* redis.reserve
        const refused = yield* Effect.flip(redis.reserve)
        expect(refused).toBeInstanceOf(Redis.RedisError)
        expect(String(refused.cause)).toContain("TimeoutError")
        expect(yield* clients(server)).toHaveLength(others + 2)
        yield* Scope.close(scope, Exit.void)
        const { send } = yield* redis.reserve
        expect(yield* send("PING")).toBe("PONG")
        expect(yield* clients(server)).toHaveLength(others + 2)
      })
    )

    it.live("lets who comes when all are taken wait for the next one", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject, { maxConnections: 3 })
        const turn = Effect.scoped(Effect.flatMap(redis.reserve, ({ send }) => send("INCR", "turns")))
        const turns = yield* Effect.forEach(Array.from({ length: 50 }), () => turn, {
          concurrency: "unbounded"
        })
        expect(new Set(turns).size).toBe(50)
      })
    )

    it.live("closes a connection whose command was interrupted, which then takes nothing any more", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        const waiting = yield* Effect.forkChild(
          Effect.scoped(Effect.flatMap(redis.reserve, ({ send }) => send("BLPOP", "list", "0")))
        )
        yield* until(info(server, "blocked_clients"), (blocked) => blocked === 1)
        const [holder = ""] = (yield* clients(server)).filter(isBlocked).map(idOf)
        expect(holder).not.toBe("")
        yield* Fiber.interrupt(waiting)
        yield* until(clients(server), (now) => !now.map(idOf).includes(holder))
        yield* redis.send("RPUSH", "list", "element")
        expect(yield* redis.send("LLEN", "list")).toBe(1)
      })
    )

    it.live("closes a connection whose command failed", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        yield* redis.send("SET", "text", "a")
        const holder = yield* Effect.scoped(
          Effect.gen(function* () {
            const { send } = yield* redis.reserve
            const id = String(yield* send("CLIENT", "ID"))
            expect((yield* clients(server)).map(idOf)).toContain(id)
            const error = yield* Effect.flip(send("LPOP", "text"))
            expect(String(error.cause)).toContain("WRONGTYPE")
            return id
          })
        )
        yield* until(clients(server), (now) => !now.map(idOf).includes(holder))
      })
    )

    it.live("fails the command whose connection was killed, and gives a new connection next", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        const waiting = yield* Effect.forkChild(
          Effect.flip(Effect.scoped(Effect.flatMap(redis.reserve, ({ send }) => send("BLPOP", "list", "0"))))
        )
        yield* until(info(server, "blocked_clients"), (blocked) => blocked === 1)
        const id = /^id=(\d+)/.exec(
          (yield* clients(server)).find((line) => line.includes("cmd=blpop")) ?? ""
        )?.[1]
        yield* server.command("CLIENT", "KILL", "ID", String(id))
        expect(yield* Fiber.join(waiting)).toBeInstanceOf(Redis.RedisError)
        const { send } = yield* redis.reserve
        expect(yield* send("PING")).toBe("PONG")
      })
    )
  })
}
