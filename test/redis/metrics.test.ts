import { it } from "@effect/vitest"
import { Command, ResilientRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { CircuitBreaker, Fallback, Retry } from "failsoft"
import { describe, expect } from "vitest"
import { counted, numbers, scrape, withRegistry } from "../failsoft/metrics.ts"
import { becomes, brittle, connect, lose, quietly } from "./resilient.ts"

/** What a client publishes under its own name, without what is 0. */
const published = Effect.map(counted, (all) =>
  Object.fromEntries(Object.entries(all).filter(([key]) => /\{\w+=redis[,}]/.test(key)))
)

const since = (before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>) =>
  Object.fromEntries(
    Object.entries(after).flatMap(([key, value]) =>
      value === before[key] ? [] : [[key, value - (before[key] ?? 0)]]
    )
  )

const hasty = Retry.exponential({ base: "1 millis", jitter: "none" })

describe("a client of Redis", () => {
  it.live("publishes where its answers came from, and whether it is degraded", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      yield* Effect.gen(function* () {
        const { redis: client } = yield* connect(server.url, brittle)
        yield* client.set("known", "1")
        yield* client.get("known")
        yield* client.lenient.get("unknown")
        yield* client.pipeline([Command.get("known"), Command.get("unknown")])
        expect(yield* published).toEqual({
          "attempts_total{policy=redis,kind=first}": 4,
          "cache_entries{cache=redis}": 1
        })

        yield* lose(server, client)
        const before = yield* published
        expect(yield* client.get("known")).toBe("1")
        yield* client.lenient.get("known")
        yield* Effect.exit(client.get("never asked"))
        // The view that always answers has nothing either, and answers that.
        yield* client.lenient.get("never asked")
        yield* client.set("written", "2")
        // It says that nothing reached the server; what it holds all the same is an answer of its own.
        yield* client.lenient.set("written", "3")
        yield* client.lenient.incr("counter")
        expect(yield* client.get("written")).toBe("3")
        yield* client.pipeline([Command.get("known"), Command.get("written"), Command.get("never asked")])
        expect(since(before, yield* published)).toEqual({
          "attempts_total{policy=redis,kind=first}": 8,
          "fallbacks_total{policy=redis,source=stale}": 3,
          "fallbacks_total{policy=redis,source=local}": 4,
          "fallbacks_total{policy=redis,source=fallback}": 2,
          "cache_requests_total{cache=redis,result=stale}": 3,
          "cache_requests_total{cache=redis,result=hit}": 2,
          "cache_requests_total{cache=redis,result=miss}": 3,
          "cache_entries{cache=redis}": 1
        })
        expect(yield* published).toMatchObject({ "degraded{layer=redis}": 1 })
        // Its circuits have series under names of their own.
        expect(yield* numbers).toMatchObject({
          "breaker_state{policy=redis-read,state=open}": 1,
          "breaker_state{policy=redis-write,state=open}": 1
        })
      }).pipe(Effect.scoped)
      expect(yield* scrape).toEqual([])
    }).pipe(withRegistry)
  )

  it.live("counts the first attempt of every command, and the later ones", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const { redis: client } = yield* connect(server.url, {
        breaker: { trip: CircuitBreaker.consecutive(100) },
        retry: { attempts: 3, schedule: hasty }
      })
      yield* client.set("key", "1")
      yield* client.multi([Command.get("key")])
      yield* client.use("PING", (redis) => redis.send("PING"))
      yield* server.kill
      yield* Effect.exit(client.get("other"))
      expect(yield* published).toMatchObject({
        "attempts_total{policy=redis,kind=first}": 4,
        "attempts_total{policy=redis,kind=retry}": 2
      })
    }).pipe(withRegistry)
  )

  it.live("counts an answer of which a part was written here, and no server knows", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const { redis: client } = yield* connect(server.url, brittle)
      yield* client.set("there", "1")
      // One failure opens the circuit of the writes; the reads have found nothing wrong.
      const broken = Effect.fail(new Redis.RedisError({ cause: new Error("ECONNRESET") }))
      yield* Effect.exit(client.use("BROKEN", () => broken))
      yield* client.set("here", "2")
      const before = yield* published
      expect(yield* client.mgetServed(["there", "here"])).toEqual({ value: ["1", "2"], source: "local" })
      expect(since(before, yield* published)).toEqual({
        "attempts_total{policy=redis,kind=first}": 1,
        "fallbacks_total{policy=redis,source=local}": 1
      })
    }).pipe(withRegistry)
  )

  it.live("is degraded once while it has no connection, whose own policies publish what they count", () =>
    Effect.gen(function* () {
      const connection = Layer.effectContext(
        Effect.andThen(Fallback.make({ name: "proxy", answer: Fallback.value("none") }), Effect.never)
      )
      yield* Layer.build(ResilientRedis.layer({ connection, startup: { mode: "background" } }))
      const seen = yield* becomes(numbers, (all) => "fallbacks_total{policy=proxy,source=local}" in all)
      expect(seen["degraded{layer=redis}"]).toBe(1)
    }).pipe(withRegistry, quietly)
  )

  it.live("publishes nothing when it is switched off", () =>
    Effect.gen(function* () {
      yield* Layer.build(ResilientRedis.layerDisabled())
      expect(yield* scrape).toEqual([])
    }).pipe(withRegistry)
  )
})
