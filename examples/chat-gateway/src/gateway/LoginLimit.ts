/**
 * Five tries a minute for each address, so that nobody guesses passwords.
 *
 * The tries are counted in Redis, by all gateways together. While Redis is away each gateway counts by itself: the limit
 * is then five for each process, which is looser, and nobody is locked out. A try whose count failed on the way is counted
 * here as well, so it may be counted twice; that is at worst a try too few.
 *
 * A Redis that refuses us (a password or a right that is wrong) is no outage and would last until somebody looks. So that
 * somebody does, logins fail then, and the log says why.
 */
import { type IoRedis, RedisFailure, ResilientRedis } from "@failsoft/redis"
import { Context, type Duration, Effect, Layer } from "effect"
import { RateLimiter, type Redis } from "effect/persistence"
import { type CircuitBreaker, Degradable, Misconfigured, QuotaExceeded } from "failsoft"
import * as Refusals from "./Refusals.ts"

const triesAMinute = 5

const name = "login-limit"

/** The limit on logins. */
export class LoginLimit extends Context.Service<
  LoginLimit,
  {
    /** Counts a try of this address. Fails when it had too many, and when Redis refuses to count. */
    readonly check: (address: string) => Effect.Effect<void, QuotaExceeded | Misconfigured>
  }
>()("gateway/LoginLimit") {}

/** The limit by Effect's own `RateLimiter`, over a store. */
export const layer = Layer.effect(
  LoginLimit,
  Effect.map(RateLimiter.RateLimiter, (limiter) => {
    const tellRefusals = Refusals.make()
    return {
      check: (address) =>
        limiter
          .consume({ key: `login:${address}`, limit: triesAMinute, window: "1 minute", onExceeded: "fail" })
          .pipe(
            Effect.asVoid,
            Effect.catchTag("RateLimiterError", ({ reason }) =>
              Effect.fail(
                reason._tag === "RateLimitExceeded"
                  ? new QuotaExceeded({ quota: "login", limit: triesAMinute, retryAfter: reason.retryAfter })
                  : new Misconfigured({ service: name, problem: `the server answers ${judge(reason).code}` })
              )
            ),
            tellRefusals
          )
    }
  })
).pipe(Layer.provide(RateLimiter.layer))

/** Where tries are counted: in Redis over the given connection, and in this process while it is away. */
export const layerStore = <E>(given: {
  readonly connection: Layer.Layer<Redis.Redis | IoRedis.IoRedis, E>
  readonly breaker: Omit<CircuitBreaker.Options, "name">
  readonly probeEvery: Duration.Duration
}) =>
  Layer.unwrap(
    Effect.map(ResilientRedis.ResilientRedis, (redis) =>
      Degradable.layer(RateLimiter.RateLimiterStore, {
        name,
        primary: Layer.provide(RateLimiter.layerStoreRedis(), given.connection),
        degraded: RateLimiter.layerStoreMemory,
        // By now the connection, which is shared, has been waited for.
        startup: { timeout: "500 millis" },
        // To count is to write, so a server that only reads must not close the circuit.
        breaker: {
          ...given.breaker,
          probe: {
            effect: redis.set("chat-gateway:probe", "", { expireIn: "1 millis" }),
            every: given.probeEvery
          }
        },
        isUnavailable: (error) =>
          isStoreError(error) && ["unavailable", "write-path"].includes(judge(error.reason).class),
        failover: (error) => isStoreError(error) && judge(error.reason).class !== "misconfigured"
      })
    )
  )

const isStoreError = (
  error: unknown
): error is RateLimiter.RateLimiterError & { readonly reason: RateLimiter.RateLimitStoreError } =>
  error instanceof RateLimiter.RateLimiterError && error.reason._tag === "RateLimitStoreError"

const judge = ({ cause }: RateLimiter.RateLimitStoreError): RedisFailure.RedisFailure =>
  RedisFailure.from(cause, "EVALSHA", [])
