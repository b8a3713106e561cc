/** A URL with a database that the server does not have, or does not let us use, led to database 0 without a word. */
import { expect, it } from "@effect/vitest"
import { IoRedis, RedisFailure } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Effect, Layer, Redacted } from "effect"
import { Redis } from "effect/persistence"
import { InvalidOption, Misconfigured } from "failsoft"
import { eventually } from "../../testing/sockets.ts"

const server = RedisServer.make({ args: ["--databases", "2"] })

const connect = ({ host, port }: RedisServer.RedisServer, database: string) => {
  const layer = IoRedis.layer({ url: Redacted.make(`redis://${host}:${port}/${database}`) })
  return Effect.flatMap(Layer.build(layer), (context) => Effect.provide(Redis.Redis, context))
}

it.live.each([
  ["that the server does not have", "7", "+select"],
  ["that we may not select", "1", "-select"]
] as const)("a database %s is misconfigured", ([, database, rule]) =>
  Effect.gen(function* () {
    const redis = yield* server
    yield* redis.command("ACL", "SETUSER", "default", rule)
    expect(yield* Effect.flip(connect(redis, database))).toBeInstanceOf(Misconfigured)
  })
)

it.live("a database that is no number is an invalid option", () =>
  Effect.gen(function* () {
    expect(yield* Effect.flip(connect(yield* server, "sessions"))).toBeInstanceOf(InvalidOption)
  })
)

it.live("a database that we may no longer select after a reconnect serves no command", () =>
  Effect.gen(function* () {
    const { command, ...rest } = yield* server
    const redis = yield* connect({ command, ...rest }, "1")
    yield* redis.send("SET", "where", "database 1")
    yield* command("SET", "where", "database 0")
    yield* command("ACL", "SETUSER", "default", "-select")
    yield* command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield* eventually(async () => {
      const error = await Effect.runPromise(Effect.flip(redis.send("GET", "where")))
      expect(RedisFailure.from(error, "GET", ["where"])).toMatchObject({
        class: "misconfigured",
        code: "NOPERM"
      })
    })
    yield* command("ACL", "SETUSER", "default", "+select")
    yield* eventually(async () => {
      expect(await Effect.runPromise(redis.send("GET", "where"))).toBe("database 1")
    })
  })
)
