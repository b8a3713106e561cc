/** Ways to read a key of a Redis, with a number of reads in flight. */
import { NodeRedis } from "@effect/platform-node"
import { IoRedis, ResilientRedis } from "@failsoft/redis"
import type { RedisServer } from "@failsoft/testing"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { CircuitBreaker, Redis } from "effect/persistence"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type { Redis as Client } from "ioredis"

/** Reads the key so often, with so many reads in flight, and resolves with how many found what was written. */
export type Reads = (calls: number, inFlight: number) => Promise<number>

/** A server, and how it is taken away. */
export interface Setting {
  readonly server: RedisServer.RedisServer
  /** Ends with the process that measures. */
  readonly scope: Scope.Scope
}

const key = "bench"
const value = "a value of some twenty letters"

/** Effects without a logger, as an application under load has its logs elsewhere. */
const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Effect.provideService(effect, Logger.CurrentLoggers, new Set()))

const effects =
  <E>(get: Effect.Effect<string | null | undefined, E>): Reads =>
  (calls, inFlight) => {
    let started = 0
    let found = 0
    const worker = Effect.whileLoop({
      while: () => started < calls,
      body: () => {
        started++
        return get
      },
      step: (read) => {
        if (read === value) found++
      }
    })
    return run(
      Effect.as(
        Effect.all(
          Array.from({ length: inFlight }, () => worker),
          { concurrency: "unbounded", discard: true }
        ),
        undefined
      )
    ).then(() => found)
  }

const promises =
  (get: () => Promise<string | null>): Reads =>
  async (calls, inFlight) => {
    let started = 0
    let found = 0
    const worker = async () => {
      while (started < calls) {
        started++
        if ((await get()) === value) found++
      }
    }
    await Promise.all(Array.from({ length: inFlight }, worker))
    return found
  }

const build = <A, E>({ scope }: Setting, layer: Layer.Layer<A, E>): Promise<Context.Context<A>> =>
  run(Layer.buildWithScope(layer, scope))

/** A client with the settings that failsoft uses, made by failsoft, so that they cannot differ. */
const sameClient = async (setting: Setting): Promise<Client> => {
  const context = await build(setting, IoRedis.layer({ url: setting.server.url }))
  const { client } = Context.get(context, IoRedis.IoRedis)
  await client.set(key, value)
  return client
}

/** ioredis by itself, in async functions. */
export const rawIoRedis = async (setting: Setting): Promise<Reads> => {
  const client = await sameClient(setting)
  return promises(() => client.get(key))
}

/** The same client, each read an Effect that guards nothing. */
export const bareEffect = async (setting: Setting): Promise<Reads> => {
  const client = await sameClient(setting)
  return effects(Effect.tryPromise(() => client.get(key)))
}

/** Effect's own Redis service on the Layer of failsoft, without circuits. */
export const effectRedis = async (setting: Setting): Promise<Reads> => {
  const context = await build(setting, IoRedis.layer({ url: setting.server.url }))
  const redis = Context.get(context, Redis.Redis)
  await run(redis.send("SET", key, value))
  return effects(redis.send<string | null>("GET", key))
}

/** `ResilientRedis` as made by default. */
export const resilient = async (setting: Setting): Promise<Reads> => {
  const layer = ResilientRedis.layer({ connection: IoRedis.layer({ url: setting.server.url }) })
  const redis = Context.get(await build(setting, layer), ResilientRedis.ResilientRedis)
  await run(redis.set(key, value))
  return effects(redis.get(key))
}

/** `ResilientRedis` whose server was killed after it had read the key, and whose circuit has opened. */
export const away = async (setting: Setting): Promise<Reads> => {
  const layer = ResilientRedis.layer({ connection: IoRedis.layer({ url: setting.server.url }) })
  const redis = Context.get(await build(setting, layer), ResilientRedis.ResilientRedis)
  await run(redis.set(key, value))
  await run(setting.server.kill)
  while ((await run(redis.health)).circuit_breaker.state !== "open") {
    await run(Effect.ignore(redis.get("another key")))
  }
  return effects(redis.get(key))
}

const nodeRedisOf = async (setting: Setting) => {
  const layer = NodeRedis.layer({ url: Redacted.value(setting.server.url) })
  const redis = Context.get(await build(setting, layer), Redis.Redis)
  await run(redis.send("SET", key, value))
  return redis.send<string | null>("GET", key)
}

/** Effect's Redis over node-redis, without a circuit. */
export const nodeRedis = async (setting: Setting): Promise<Reads> => effects(await nodeRedisOf(setting))

/** Effect's circuit breaker, its store in memory, over Effect's Redis on node-redis. */
export const effectBreaker = async (setting: Setting): Promise<Reads> => {
  const get = await nodeRedisOf(setting)
  const breaker = await run(
    CircuitBreaker.make({ tripPolicy: CircuitBreaker.consecutive(5), openDuration: "60 seconds" }).pipe(
      Effect.provide(CircuitBreaker.layerStoreMemory()),
      Scope.provide(setting.scope)
    )
  )
  return effects(breaker.execute(get, { key: "redis" }))
}

/** Nothing at all: what the loop costs. */
export const nothing = async (): Promise<Reads> => effects(Effect.suspend(() => Effect.succeed(value)))
