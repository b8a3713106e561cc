import { describe, expect, it } from "@effect/vitest"
import { RedisServer } from "@failsoft/testing"
import { Effect, Exit, Fiber, Scope } from "effect"
import { clients, connect, info, type Subject, until } from "./subject.ts"

/** What is left when the scope of the layer closes: nothing. */
export const scopes = (subject: Subject): void => {
  describe("the scope", () => {
    it.live("closes every connection, with commands in flight on some", () =>
      Effect.gen(function* () {
        const server = yield* RedisServer.make()
        expect(yield* clients(server)).toEqual([])
        const scope = yield* Scope.make()
        const redis = yield* Scope.provide(connect(subject, server), scope)
        const waiting = yield* Effect.gen(function* () {
          yield* redis.send("PING")
          yield* redis.subscribe("news")
          yield* redis.subscribe("sport")
          yield* redis.reserve
          const { send } = yield* redis.reserve
          return yield* Effect.forkChild(Effect.exit(send("BLPOP", "list", "0")), { startImmediately: true })
        }).pipe(Effect.provideService(Scope.Scope, scope))
        yield* until(info(server, "blocked_clients"), (blocked) => blocked === 1)
        expect(yield* clients(server)).toHaveLength(5)
        yield* Scope.close(scope, Exit.void)
        yield* until(clients(server), (now) => now.length === 0)
        expect(Exit.isFailure(yield* Fiber.join(waiting))).toBe(true)
      })
    )

    it.live("is left by nothing, however often it opens and closes", () =>
      Effect.gen(function* () {
        const server = yield* RedisServer.make()
        yield* Effect.forEach(
          Array.from({ length: 20 }),
          () =>
            Effect.scoped(
              Effect.gen(function* () {
                const redis = yield* connect(subject, server)
                yield* redis.subscribe("news")
                yield* Effect.flatMap(redis.reserve, ({ send }) => send("PING"))
              })
            ),
          { concurrency: 5, discard: true }
        )
        yield* until(clients(server), (now) => now.length === 0)
        expect(yield* server.command("PUBSUB", "CHANNELS")).toEqual([])
      })
    )
  })
}
