/** What a server that comes back has to bear from the clients that waited for it, and from what they held meanwhile. */
import { expect, it } from "@effect/vitest"
import { ResilientRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Context, Effect, Layer, Random, Schedule } from "effect"
import { becomes, capturing, key, layer, recovers, secret, value } from "./faults/stage.ts"

const clientCount = 50

/** The time between two calls of one client. */
const pauseMillis = 50

const connectAll = (server: RedisServer.RedisServer) =>
  Effect.forEach(
    Array.from({ length: clientCount }),
    () =>
      Effect.map(
        Layer.build(layer(server, { startupMillis: 2_000 })),
        Context.get(ResilientRedis.ResilientRedis)
      ),
    { concurrency: "unbounded" }
  )

/** What one client does all day, whatever becomes of it: it reads and writes a key of its own. */
const work = (redis: ResilientRedis.Client, client: number) =>
  Effect.gen(function* () {
    yield* Effect.sleep(pauseMillis * (yield* Random.next))
    const read = Effect.ignore(redis.get(key(client)))
    const write = Effect.ignore(redis.set(key(client), value(client)))
    const calls = Effect.flatMap(Random.nextBoolean, (isRead) => (isRead ? read : write))
    yield* Effect.repeat(calls, Schedule.fixed(pauseMillis))
  })

/** How many commands have reached the server since it started, also those that it refused. */
const reached = (server: RedisServer.RedisServer) =>
  Effect.map(server.command("INFO", "commandstats"), (stats) =>
    [...String(stats).matchAll(/(?:calls|rejected_calls)=(\d+)/g)].reduce(
      (sum, [, calls]) => sum + Number(calls),
      0
    )
  )

/** How many commands reach the server in a second from now. */
const inOneSecond = (server: RedisServer.RedisServer, before: number) =>
  Effect.map(Effect.andThen(Effect.sleep("1 second"), reached(server)), (after) => after - before)

it.live(
  "50 clients send a server that is back at most twice their normal load, and nothing that they held",
  () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      yield* Effect.gen(function* () {
        const server = yield* RedisServer.make()
        const clients = yield* connectAll(server)
        yield* Effect.forEach(clients, (redis, client) => Effect.forkScoped(work(redis, client)))
        yield* becomes(reached(server), (commands) => commands > 20 * clientCount)
        const normal = yield* inOneSecond(server, yield* reached(server))
        expect(normal).toBeGreaterThan((clientCount * 1000) / pauseMillis / 2)

        yield* server.kill
        const states = Effect.forEach(clients, (redis) =>
          Effect.map(redis.health, ({ circuit_breaker }) => circuit_breaker.state)
        )
        yield* becomes(states, (all) => all.every((state) => state !== "closed"))
        const held = yield* Effect.forEach(clients, (redis, client) =>
          redis.setServed(key(`held ${client}`), value("held"))
        )
        expect(held.map(({ source }) => source)).toEqual(clients.map(() => "local"))

        // The server counts from its start, so what came before it was known to be back is counted too.
        yield* server.restart
        const first = yield* inOneSecond(server, 0)
        console.log(
          `recovery of ${clientCount} clients: ${first} commands in the first second, normally ${normal}`
        )
        expect(first).toBeLessThanOrEqual(2 * normal)

        yield* Effect.forEach(clients, recovers, { concurrency: "unbounded" })
        const names = clients.map((_, client) => key(`held ${client}`))
        expect(yield* server.command("EXISTS", ...names)).toBe(0)
        yield* becomes(
          Effect.sync(() => logged.filter((line) => line.includes("gave up the held writes"))),
          (lines) => lines.length >= clientCount
        )
        // It is in use again, and by all of them.
        yield* becomes(server.command("DBSIZE"), (keys) => keys === clientCount)
      }).pipe(Effect.scoped, Effect.provide(capturing(logged)))
      expect(logged.filter((line) => secret.test(line))).toEqual([])
    }),
  30_000
)
