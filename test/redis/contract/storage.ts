import { describe, expect, it } from "@effect/vitest"
import type { RedisServer } from "@failsoft/testing"
import { Context, Duration, Effect, Exit, Layer, Schema } from "effect"
import { Persistable, PersistedCache, Persistence, Redis } from "effect/persistence"
import { connect, type Subject, started, until } from "./subject.ts"

class User extends Persistable.Class<{ payload: { id: number } }>()("User", {
  primaryKey: ({ id }) => `user ${id}`,
  success: Schema.Struct({ name: Schema.String, born: Schema.Date }),
  error: Schema.String
}) {}

const ada = Exit.succeed({ name: "Ada ✓", born: new Date("1815-12-10") })

/** Effect's persistence in one more process. */
const persistenceOf = (subject: Subject, server: RedisServer.RedisServer) =>
  Effect.gen(function* () {
    const redis = yield* connect(subject, server)
    const layer = Persistence.layerRedis.pipe(Layer.provide(Layer.succeed(Redis.Redis, redis)))
    return Context.get(yield* Layer.build(layer), Persistence.Persistence)
  })

/** Effect's stores and its cache of results. */
export const storage = (subject: Subject): void => {
  describe("Effect's Persistence", () => {
    it.live("finds what was set, one and many, and nothing of what was removed", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const store = yield* (yield* persistenceOf(subject, server)).make({ storeId: "users" })
        const other = yield* (yield* persistenceOf(subject, server)).make({ storeId: "users" })
        const [first, second, third] = [new User({ id: 1 }), new User({ id: 2 }), new User({ id: 3 })]
        yield* store.set(first, ada)
        yield* store.setMany([
          [second, ada],
          [third, Exit.fail("unknown")]
        ])
        expect(yield* other.get(first)).toEqual(ada)
        expect(yield* other.getMany([third, new User({ id: 4 }), second])).toEqual([
          Exit.fail("unknown"),
          undefined,
          ada
        ])
        yield* store.remove(first)
        expect(yield* other.get(first)).toBeUndefined()
        expect(yield* server.command("DBSIZE")).toBe(2)
      })
    )

    it.live("forgets when the time is over, entries of one set and of many", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const store = yield* (yield* persistenceOf(subject, server)).make({
          storeId: "users",
          timeToLive: (_, key) => (key instanceof User && key.id < 3 ? "200 millis" : "1 minute")
        })
        const [first, second, third] = [new User({ id: 1 }), new User({ id: 2 }), new User({ id: 3 })]
        yield* store.set(first, ada)
        yield* store.setMany([
          [second, ada],
          [third, ada]
        ])
        expect(yield* store.getMany([first, second, third])).toEqual([ada, ada, ada])
        expect(Number(yield* server.command("PTTL", "users:user 3"))).toBeGreaterThan(50_000)
        yield* until(
          Effect.flatMap(store.getMany([first, second]), (both) => Effect.succeed(both.join())),
          (both) => both === ","
        )
        expect(yield* store.get(third)).toEqual(ada)
      })
    )

    it.live("clears one store, and no other whose name its own could stand for", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const persistence = yield* persistenceOf(subject, server)
        const stores = yield* Effect.forEach(["a*", "a[b]:", "ab", "a*c"], (storeId) =>
          persistence.make({ storeId })
        )
        const keys = Array.from({ length: 200 }, (_, id) => new User({ id }))
        yield* Effect.forEach(stores, (store) => store.setMany(keys.map((key) => [key, ada] as const)))
        expect(yield* server.command("DBSIZE")).toBe(800)
        yield* stores[0]?.clear ?? Effect.die("no store")
        expect(yield* server.command("DBSIZE")).toBe(600)
        const left = yield* Effect.forEach(stores, (store) => store.get(new User({ id: 7 })))
        expect(left).toEqual([undefined, ada, ada, ada])
        yield* stores[1]?.clear ?? Effect.die("no store")
        expect(yield* server.command("DBSIZE")).toBe(400)
      })
    )

    it.live("fails with a PersistenceError where a key is something else", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const store = yield* (yield* persistenceOf(subject, server)).make({ storeId: "users" })
        yield* server.command("RPUSH", "users:user 1", "a")
        const error = yield* Effect.flip(store.get(new User({ id: 1 })))
        expect(error._tag).toBe("PersistenceError")
        expect(String(error.cause)).toContain("WRONGTYPE")
      })
    )
  })

  describe("Effect's PersistedCache", () => {
    const cacheOf = (persistence: Persistence.Persistence["Service"], lookedUp: Array<number>) =>
      PersistedCache.make(
        ({ id }: User) =>
          Effect.suspend(() => {
            lookedUp.push(id)
            return id === 404
              ? Effect.fail("unknown")
              : Effect.succeed({ name: `user ${id}`, born: new Date(id) })
          }),
        { storeId: "users", timeToLive: () => Duration.minutes(1) }
      ).pipe(Effect.provideService(Persistence.Persistence, persistence))

    it.live("looks up once for all who ask, in all processes, failures too", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const lookedUp: Array<number> = []
        const here = yield* cacheOf(yield* persistenceOf(subject, server), lookedUp)
        const there = yield* cacheOf(yield* persistenceOf(subject, server), lookedUp)
        const asked = yield* Effect.forEach(Array.from({ length: 50 }), () => here.get(new User({ id: 7 })), {
          concurrency: "unbounded"
        })
        expect(asked).toEqual(Array.from({ length: 50 }, () => ({ name: "user 7", born: new Date(7) })))
        expect(yield* there.get(new User({ id: 7 }))).toEqual({ name: "user 7", born: new Date(7) })
        expect(yield* Effect.flip(here.get(new User({ id: 404 })))).toBe("unknown")
        expect(yield* Effect.flip(there.get(new User({ id: 404 })))).toBe("unknown")
        expect(lookedUp).toEqual([7, 404])
        expect(Number(yield* server.command("PTTL", "users:user 7"))).toBeGreaterThan(50_000)
      })
    )

    it.live("looks up anew what was invalidated", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const lookedUp: Array<number> = []
        const cache = yield* cacheOf(yield* persistenceOf(subject, server), lookedUp)
        yield* cache.get(new User({ id: 7 }))
        yield* cache.invalidate(new User({ id: 7 }))
        expect(yield* server.command("DBSIZE")).toBe(0)
        yield* cache.get(new User({ id: 7 }))
        expect(lookedUp).toEqual([7, 7])
      })
    )
  })
}
