/**
 * The gateway's Redis: one connection, which sessions and the login limit share.
 *
 * The gateway starts without it, degraded, unless `REDIS_REQUIRED` says otherwise, and recovers by itself. A Redis that
 * refuses us, as for a wrong password, stops the start in any case: degrading would hide it for as long as nobody looks.
 *
 * Beside the six variables of `RedisConfig` there are `REDIS_BREAKER_…`, named as the fields of a service's breaker in
 * `services.json`, and `REDIS_PROBE_EVERY`; both hold for every circuit in front of Redis.
 */
import { IoRedis, RedisConfig, ResilientRedis } from "@failsoft/redis"
import { Config, Duration, Effect, Layer, Redacted, Schema } from "effect"
import { RateLimiter, type Redis } from "effect/persistence"
import { CircuitBreaker, type Misconfigured, PolicyConfig, type ServiceUnavailable } from "failsoft"
import * as CacheHealth from "./CacheHealth.ts"
import * as LoginLimit from "./LoginLimit.ts"
import * as Sessions from "./Sessions.ts"

/** The gateway does not start with the Redis that it found. `message` says what to do, and holds no secrets. */
export class RedisUnusable extends Schema.TaggedError<RedisUnusable>()("RedisUnusable", {
  reason: Schema.Literals(["required", "refused"]),
  message: Schema.String
}) {}

const settings = Config.all({
  connection: RedisConfig.fromEnvironment,
  breaker: Config.schema(CircuitBreaker.ConfigSchema, ["redis", "breaker"]).pipe(
    Config.withDefault({}),
    Config.map(CircuitBreaker.fromConfig)
  ),
  probeEvery: Config.schema(PolicyConfig.ConfigDuration, "REDIS_PROBE_EVERY").pipe(
    Config.withDefault(Duration.seconds(5))
  ),
  maxStale: Sessions.lifetime
})

type Connection = Layer.Layer<Redis.Redis | IoRedis.IoRedis, IoRedis.ConnectError | RedisUnusable>

/** Redis for sessions, and the store of the login limit, as the environment has them. */
export const layer = Layer.unwrap(
  Effect.map(settings, ({ breaker, connection: { enabled, required, ...config }, maxStale, probeEvery }) => {
    const options = {
      breaker,
      probeEvery,
      commandTimeout: config.commandTimeout,
      // A session that was begun or revoked in this process alone must not look as if Redis knew of it.
      whileAway: "readonly",
      held: { maxStale },
      // What is held answers at once, so nobody waits for a silent Redis twice.
      retry: { enabled: false }
    } as const
    if (!enabled) {
      const disabled = Layer.provide(ResilientRedis.layerDisabled(options), CacheHealth.layer)
      return Layer.merge(disabled, RateLimiter.layerStoreMemory)
    }
    const giveUp = (error: ServiceUnavailable) => unusable(absent(config.url, error))
    const open: Connection = IoRedis.layer(config)
    // An outage would be tried again. Where Redis is required, the start is over when the tries of a connection are.
    const connection = shared(required ? Layer.catchTag(open, "ServiceUnavailable", giveUp) : open)
    const startup = { mode: required ? "required" : "optional" } as const
    const redis = ResilientRedis.layer({ ...options, connection, startup })
    return LoginLimit.layerStore({ breaker, connection, probeEvery }).pipe(
      Layer.provideMerge(Layer.provide(redis, CacheHealth.layer)),
      Layer.catchTag("Misconfigured", (error) => unusable(refused(config.url, error))),
      // Or when they take too long.
      Layer.catchTag("ServiceUnavailable", giveUp)
    )
  })
)

/** Each degradable Layer builds what its primary needs for itself. This one they build together, once. */
const shared = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> => {
  const memoMap = Layer.makeMemoMapUnsafe()
  return Layer.effectContext(
    Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer, memoMap, scope))
  )
}

const unusable = (error: RedisUnusable) => Layer.effectContext(Effect.fail(error))

const refused = (url: Redacted.Redacted, { problem }: Misconfigured) =>
  new RedisUnusable({
    reason: "refused",
    message:
      `REDIS_URL: Redis at ${serverOf(url)} is there, but ${problem}. ` +
      "Correct the user, the password or the database in REDIS_URL, or set REDIS_ENABLED=false to run without Redis"
  })

const absent = (url: Redacted.Redacted, error: ServiceUnavailable) =>
  new RedisUnusable({
    reason: "required",
    message:
      `REDIS_REQUIRED is true, and Redis at ${serverOf(url)} does not serve (${error.message}). ` +
      "Start it, correct REDIS_URL, or set REDIS_REQUIRED=false to start degraded without it"
  })

/** Where Redis is, without the user, the password and the database. */
const serverOf = (url: Redacted.Redacted): string => {
  const { hostname, port } = new URL(Redacted.value(url))
  return `${hostname}:${port === "" ? 6379 : port}`
}
