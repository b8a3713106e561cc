/**
 * How to reach Redis and what its absence means, from the environment.
 *
 * | variable | default | meaning |
 * | --- | --- | --- |
 * | `REDIS_URL` | `redis://127.0.0.1:6379` | where Redis is; `rediss:` for TLS; may hold a password, no query |
 * | `REDIS_ENABLED` | `true` | `false`: run without Redis, degraded |
 * | `REDIS_REQUIRED` | `false` | `true`: do not start without Redis |
 * | `REDIS_CONNECT_TIMEOUT` | 5 | how long one try to connect may take |
 * | `REDIS_SOCKET_TIMEOUT` | 5 | how long a command may take |
 * | `REDIS_MAX_RETRIES` | 3 | tries of the first connection before start-up gives up, 1 to 100 |
 *
 * A bare number is seconds, `"500 millis"` works too.
 *
 * **Example** (Two variables set, the others as they are)
 *
 * ```ts import.meta.vitest
 * import { ConfigProvider, Duration, Effect } from "effect"
 * import { RedisConfig } from "@failsoft/redis"
 *
 * const env = { REDIS_REQUIRED: "true", REDIS_SOCKET_TIMEOUT: "500 millis" }
 * const config = Effect.runSync(RedisConfig.fromEnvironment.parse(ConfigProvider.fromEnv({ env })))
 *
 * config.required // => true
 * config.commandTimeout // => Duration.millis(500)
 * config.connectTimeout // => Duration.seconds(5)
 * ```
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { PolicyConfig } from "failsoft"

/** How to reach Redis and what its absence means. */
export interface RedisConfig {
  /** A `redis:` or `rediss:` URL; it may hold a password. */
  readonly url: Redacted.Redacted
  readonly enabled: boolean
  readonly required: boolean
  /** How long one try to connect may take. */
  readonly connectTimeout: Duration.Duration
  /** How long a command may take. */
  readonly commandTimeout: Duration.Duration
  /** Tries of the first connection before start-up gives up. */
  readonly connectAttempts: number
}

/** What a URL has to be like. */
export const allowedUrl = "a URL such as redis://127.0.0.1:6379, without a query"

/** Whether a text is a URL that Redis can be reached by. A query is refused: it could hold settings of the client. */
export const isRedisUrl = (text: string): boolean => {
  const url = URL.parse(text)
  return (
    url !== null &&
    /^rediss?:$/.test(url.protocol) &&
    /^\/?\d*$/.test(url.pathname) &&
    url.search === "" &&
    [url.username, url.password].every(isDecodable)
  )
}

const isDecodable = (text: string): boolean => {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

// The value is not repeated: it may hold a password.
const Url = Schema.String.check(Schema.makeFilter((text) => isRedisUrl(text) || `expected ${allowedUrl}`))

const Attempts = PolicyConfig.ConfigNumber.check(
  Schema.makeFilter(
    (attempts) =>
      (Number.isInteger(attempts) && attempts >= 1 && attempts <= 100) ||
      `expected a whole number from 1 to 100, got ${attempts}`
  )
)

/**
 * The six variables.
 *
 * Fails with `ConfigError`, which names the variable and what is allowed. The URL is never repeated.
 */
export const fromEnvironment: Config.Config<RedisConfig> = Config.all({
  url: Config.schema(Url, "REDIS_URL").pipe(
    Config.withDefault("redis://127.0.0.1:6379"),
    Config.map(Redacted.make)
  ),
  enabled: Config.schema(PolicyConfig.ConfigBoolean, "REDIS_ENABLED").pipe(Config.withDefault(true)),
  required: Config.schema(PolicyConfig.ConfigBoolean, "REDIS_REQUIRED").pipe(Config.withDefault(false)),
  connectTimeout: Config.schema(PolicyConfig.ConfigDuration, "REDIS_CONNECT_TIMEOUT").pipe(
    Config.withDefault(Duration.seconds(5))
  ),
  commandTimeout: Config.schema(PolicyConfig.ConfigDuration, "REDIS_SOCKET_TIMEOUT").pipe(
    Config.withDefault(Duration.seconds(5))
  ),
  connectAttempts: Config.schema(Attempts, "REDIS_MAX_RETRIES").pipe(Config.withDefault(3))
}).pipe(
  Config.mapEffect((config) =>
    config.enabled || !config.required
      ? Effect.succeed(config)
      : Effect.fail(
          new Config.ConfigError(
            new Schema.SchemaError(
              new SchemaIssue.InvalidValue({
                message: "REDIS_REQUIRED is true, so REDIS_ENABLED must not be false"
              })
            )
          )
        )
  )
)
