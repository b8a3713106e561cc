/**
 * Five tries a minute for each address, so that nobody guesses passwords. The limit is local to the process.
 */
import { Context, Duration, Effect, Layer } from "effect"
import { RateLimiter } from "effect/persistence"
import { QuotaExceeded } from "failsoft"

const triesAMinute = 5

/** The limit on logins. */
export class LoginLimit extends Context.Service<
  LoginLimit,
  {
    /** Counts a try of this address. Fails when it had too many. */
    readonly check: (address: string) => Effect.Effect<void, QuotaExceeded>
  }
>()("gateway/LoginLimit") {}

/** The limit by Effect's own `RateLimiter`. */
export const layer = Layer.effect(
  LoginLimit,
  Effect.map(RateLimiter.RateLimiter, (limiter) => ({
    check: (address) =>
      limiter
        .consume({ key: `login:${address}`, limit: triesAMinute, window: "1 minute", onExceeded: "fail" })
        .pipe(
          Effect.asVoid,
          Effect.catchTag("RateLimiterError", (error) =>
            Effect.fail(
              new QuotaExceeded({
                quota: "login",
                limit: triesAMinute,
                retryAfter:
                  error.reason._tag === "RateLimitExceeded" ? error.reason.retryAfter : Duration.minutes(1)
              })
            )
          )
        )
  }))
).pipe(Layer.provide(RateLimiter.layer), Layer.provide(RateLimiter.layerStoreMemory))
