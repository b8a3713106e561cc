/**
 * A Redis for the demo that can be killed: a server of its own, if there is a program for one on this machine.
 */
import { RedisServer } from "@failsoft/testing"
import { Effect, Redacted, type Scope } from "effect"

/** What the gateway is told, and the server, unless there is none. */
export interface Redis {
  readonly env: Readonly<Record<string, string>>
  readonly server: RedisServer.RedisServer | undefined
}

/** Starts a server that keeps its data when it is killed. */
export const start: Effect.Effect<Redis, RedisServer.RedisServerError, Scope.Scope> = RedisServer.make({
  keepData: true
}).pipe(
  Effect.map((server) => ({
    server,
    env: {
      REDIS_ENABLED: "true",
      REDIS_REQUIRED: "false",
      REDIS_URL: Redacted.value(server.url),
      REDIS_BREAKER_OPEN_DURATION: "2 seconds",
      REDIS_PROBE_EVERY: "500 millis"
    }
  })),
  Effect.catchIf(
    ({ reason }) => reason === "NotFound",
    () => Effect.succeed({ server: undefined, env: { REDIS_ENABLED: "false", REDIS_REQUIRED: "false" } })
  )
)

/** How many tries to log in Redis has counted for an address. */
export const triesOf = (server: RedisServer.RedisServer, address: string): Effect.Effect<number, unknown> =>
  Effect.map(server.command("GET", `ratelimiter:login:${address}`), Number)
