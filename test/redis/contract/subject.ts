/** What the contract is checked on: a layer of `Redis.Redis`, and a real server behind it. */
import { RedisServer } from "@failsoft/testing"
import { Effect, Layer, Schedule, type Scope } from "effect"
import { Redis } from "effect/persistence"

/** Makes the layer under test. */
export type LayerOf = (
  server: RedisServer.RedisServer,
  pool: Redis.PoolOptions
) => Layer.Layer<Redis.Redis, unknown>

/** In what layers may differ and keep the contract. */
export interface Choices {
  /** Whether the reply of HGETALL is a list of fields and values, as in RESP2, or an object. */
  readonly maps: "list" | "object"
}

/** A layer under test and its choices. */
export interface Subject {
  readonly layerOf: LayerOf
  readonly choices: Choices
}

type Client = Redis.Redis["Service"]

/** One more client of a server; it ends with the scope. */
export const connect = (
  { layerOf }: Subject,
  server: RedisServer.RedisServer,
  pool: Redis.PoolOptions = {}
): Effect.Effect<Client, never, Scope.Scope> =>
  Effect.orDie(
    Effect.flatMap(Layer.build(layerOf(server, pool)), (context) => Effect.provide(Redis.Redis, context))
  )

/** A server of its own, and a client of it. */
export const started = (subject: Subject, pool?: Redis.PoolOptions) =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make()
    return { server, redis: yield* connect(subject, server, pool) }
  })

/** Waits until an effect succeeds with what is wanted; after 4 seconds it dies with what came instead. */
export const until = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  wanted: (value: A) => boolean
): Effect.Effect<A, never, R> =>
  self.pipe(
    Effect.filterOrFail(wanted, (value) => new Error(`still ${JSON.stringify(value)}`)),
    Effect.retry(Schedule.spaced("10 millis").pipe(Schedule.upTo({ duration: "4 seconds" }))),
    Effect.orDie
  )

/** A number of INFO. */
export const info = (server: RedisServer.RedisServer, name: string) =>
  Effect.map(server.command("INFO"), (text) =>
    Number(new RegExp(`^${name}:(\\d+)\r$`, "m").exec(String(text))?.[1])
  )

/** The clients that the server knows, without the one that asks: a line for each, which begins with its id. */
export const clients = (server: RedisServer.RedisServer) =>
  Effect.map(server.command("CLIENT", "LIST"), (text) =>
    String(text)
      .split("\n")
      .filter((line) => line !== "" && !line.includes("user=failsoft-testing"))
  )
