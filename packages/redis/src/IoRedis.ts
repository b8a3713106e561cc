/**
 * Redis through ioredis, with settings that keep an outage short and never apply a command twice.
 *
 * The Layer provides Effect's own `Redis.Redis`, so Effect's rate limiter, caches, queues and breaker stores run on it,
 * and `IoRedis` for what that does not cover. Nothing connects before the Layer is built. While the server is away each
 * command fails at once; the client reconnects by itself.
 *
 * The settings: no offline queue and no resending (a command in flight when the connection drops fails, and is not sent
 * again), a time limit on each command and on a silent socket. Behind them stands one of our own, for a client that
 * forgets a command. Blocking commands and subscriptions have connections of their own, without these limits.
 *
 * **Gotchas**
 *
 * - A failed command may have been applied: `RedisFailure.from` tells. There is no way to take a sent command back, so
 *   neither does interruption.
 * - `keyPrefix` is not for Effect's stores, which have a `prefix` of their own: they look for keys by pattern, and a
 *   `PersistedQueue` passes a key from one script to the next, so that it would never learn that an element is done.
 * - The reply of a command is what the server sends, without the shapes that ioredis gives to some: HGETALL is a list.
 * - This Layer fails when Redis is away. `Degradable.layer` starts without it.
 *
 * **Example** (A counter)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import { Redis } from "effect/persistence"
 * import { IoRedis } from "@failsoft/redis"
 * import { RedisServer } from "@failsoft/testing"
 *
 * const program = Effect.gen(function* () {
 *   const redis = yield* Redis.Redis
 *   yield* redis.send("INCR", "visits")
 *   return yield* redis.send<number>("INCR", "visits")
 * })
 *
 * const Live = Layer.unwrap(Effect.map(RedisServer.make(), ({ url }) => IoRedis.layer({ url })))
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Live))) // => 2
 * ```
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { InvalidOption, Misconfigured, ServiceUnavailable } from "failsoft"
import type { Redis as Client } from "ioredis"
import * as connection from "./internal/connection.ts"
import * as options from "./internal/options.ts"
import * as RedisConfig from "./RedisConfig.ts"
import type * as RedisFailure from "./RedisFailure.ts"

/** What the connection is made from. Only `url` is required. */
export interface Options {
  /** A `redis:` or `rediss:` URL; it may hold a user, a password and the number of a database, and no query. */
  readonly url: Redacted.Redacted
  /** How long one try to connect may take. Default: `"5 seconds"`. */
  readonly connectTimeout?: Duration.Input | undefined
  /** How long a command may take. Default: `"5 seconds"`. */
  readonly commandTimeout?: Duration.Input | undefined
  /** Tries of the first connection before the Layer fails, from 1 to 100. Default: 3. */
  readonly connectAttempts?: number | undefined
  /** Put in front of every key, not of patterns and channels. Not for Effect's stores. Default: none. */
  readonly keyPrefix?: string | undefined
  /** Connections for blocking commands. Default: at most 10, closed when idle for a minute. */
  readonly pool?: Redis.PoolOptions | undefined
  /** More of ioredis, such as `tls`. What decides whether a command is applied twice cannot be set here. */
  readonly client?: Omit<connection.More, "keyPrefix"> | undefined
}

/** The client itself, for what Effect's `Redis` does not cover. */
export class IoRedis extends Context.Service<
  IoRedis,
  {
    /** The ioredis client. What is done with it is not guarded. */
    readonly client: Client
    /** Runs something with the client; a rejection becomes a `RedisError` with the client's error as its cause. */
    readonly use: <A>(f: (client: Client) => Promise<A>) => Effect.Effect<A, Redis.RedisError>
    /** Sends a command, its name in capitals, and judges its failure. */
    readonly command: (
      name: string,
      args: ReadonlyArray<string>
    ) => Effect.Effect<unknown, RedisFailure.RedisFailure>
  }
>()("@failsoft/redis/IoRedis") {}

/** What the Layer may fail with: Redis is away, it refuses us as we are set up, or an option is out of its range. */
export type ConnectError = ServiceUnavailable | Misconfigured | InvalidOption

/**
 * A Layer that connects to Redis and provides Effect's `Redis.Redis`, and `IoRedis` for the rest.
 *
 * Fails with `ServiceUnavailable` (`NotConnected`) when no try to connect succeeds, and with `Misconfigured`, at once,
 * when the server refuses us.
 */
export const layer = (given: Options): Layer.Layer<Redis.Redis | IoRedis, ConnectError> =>
  Layer.effectContext(make(given))

/**
 * A Layer that connects to Redis as the environment has it; see `RedisConfig` for the variables.
 *
 * Fails as `layer` does, and with `ConfigError` when a variable is wrong.
 */
export const layerConfig = (
  given?: Omit<Options, "url" | "connectTimeout" | "commandTimeout" | "connectAttempts">
): Layer.Layer<Redis.Redis | IoRedis, ConnectError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(RedisConfig.fromEnvironment, (config) => layer({ ...given, ...config })))

const make: (
  given: Options
) => Effect.Effect<Context.Context<Redis.Redis | IoRedis>, ConnectError, Scope.Scope> = Effect.fnUntraced(
  function* (given: Options) {
    const settings = yield* validate(given)
    const main = yield* connection.open(settings)
    const redis = yield* Redis.make({
      send: main.send,
      connect: connection.openReserved(settings),
      subscribe: (channel, onMessage) => connection.subscribe(settings, channel, onMessage),
      pool: given.pool
    })
    const reserve = Effect.map(redis.reserve, (reserved) => ({ ...reserved, eval: evalOn(reserved) }))
    return Context.make(Redis.Redis, { ...redis, eval: evalOn(redis), reserve }).pipe(
      Context.add(IoRedis, {
        client: main.client,
        command: main.command,
        use: (f) => main.use(() => f(main.client))
      })
    )
  }
)

/** Effect loads a script that the server has forgotten, once; should it be forgotten again, it is sent along. */
const evalOn =
  (on: Redis.Connection): Redis.Connection["eval"] =>
  (script) =>
  (...params) =>
    Effect.catchIf(
      on.eval(script)(...params),
      ({ cause }) => cause instanceof Error && cause.message.startsWith("NOSCRIPT"),
      () =>
        on.send(
          "EVAL",
          script.lua,
          String(script.numberOfKeys(...params)),
          ...script.params(...params).map(String)
        )
    )

const validate = Effect.fnUntraced(function* (given: Options) {
  const url = Redacted.value(given.url)
  if (!RedisConfig.isRedisUrl(url)) {
    return yield* options.invalid("redis", "url", "not shown", RedisConfig.allowedUrl)
  }
  const connectAttempts = yield* options.integer(
    "redis",
    "connectAttempts",
    given.connectAttempts ?? 3,
    1,
    100
  )
  const settings: connection.Settings = {
    url,
    connectAttempts,
    connectTimeoutMillis: yield* millis("connectTimeout", given.connectTimeout),
    commandTimeoutMillis: yield* millis("commandTimeout", given.commandTimeout),
    more: { ...given.client, ...(given.keyPrefix === undefined ? {} : { keyPrefix: given.keyPrefix }) }
  }
  return settings
})

const millis = (option: string, value: Duration.Input = "5 seconds") =>
  options.millis("redis", option, value, Duration.hours(1))
