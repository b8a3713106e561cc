/**
 * The gateway with a Redis of its own: what to set, what it says of its Redis, and sessions as callers see them.
 */
import type { RedisServer } from "@failsoft/testing"
import { Effect, Redacted, type Scope } from "effect"
import { expect } from "vitest"
import { bearer, eventually, logIn, type Options, type Reply, type Running, start } from "./inProcess.ts"

/** Where a Redis is, as a variable. */
export const urlOf = ({ url }: Pick<RedisServer.RedisServer, "url">): string => Redacted.value(url)

/** What a gateway sends and keeps back in its logs: if it shows anywhere, something leaks. */
export const secret = "canary-session-secret-4d1f-0123456789"

/** Redis at a URL, with waits that a test can sit through. */
export const redisEnv = (url: string): Readonly<Record<string, string>> => ({
  REDIS_URL: url,
  REDIS_CONNECT_TIMEOUT: "500 millis",
  REDIS_SOCKET_TIMEOUT: "500 millis",
  REDIS_BREAKER_OPEN_DURATION: "300 millis",
  REDIS_PROBE_EVERY: "100 millis",
  SESSION_SECRET: secret
})

/** Starts a gateway that knows a Redis. */
export const startWith = (
  server: Pick<RedisServer.RedisServer, "url">,
  options: Options = {}
): Effect.Effect<Running, never, Scope.Scope> =>
  start({
    trustedProxies: ["127.0.0.1/32"],
    ...options,
    env: { ...redisEnv(urlOf(server)), ...options.env }
  })

/** Begins a session of ada's. */
export const begin = (running: Running): Effect.Effect<string> =>
  Effect.map(logIn(running), ({ body, status }) => {
    expect(status).toBe(200)
    return (body as { readonly session: string }).session
  })

/** What the gateway says of a session: how it was checked, or the status of its refusal. */
export const checkedBy = ({ send }: Running, session: string): Effect.Effect<unknown> =>
  Effect.map(send("/api/v1/session", { headers: bearer(session) }), ({ body, status }) =>
    status === 200 ? (body as { readonly checked: string }).checked : status
  )

/** Ends a session. */
export const logOut = ({ send }: Running, session: string): Effect.Effect<Reply> =>
  send("/api/v1/session", { method: "DELETE", headers: bearer(session) })

/** What `GET /health/redis` answers. */
export const healthOf = ({ send }: Running): Effect.Effect<RedisHealth> =>
  Effect.map(send("/health/redis"), ({ body }) => body as RedisHealth)

export interface RedisHealth {
  readonly redis_available: boolean
  readonly degraded_mode: boolean
  readonly circuit_breaker: { readonly state: string } & Readonly<Record<string, unknown>>
}

interface Ready {
  readonly status: string
  readonly checks: Readonly<Record<string, { readonly status: string }>>
}

/** What `GET /health/ready` answers. */
export const readyOf = ({ send }: Running): Effect.Effect<Ready> =>
  Effect.map(send("/health/ready"), ({ body }) => body as Ready)

/** Waits until every circuit in front of Redis is closed and the connection is there. */
export const untilBack = (running: Running): Effect.Effect<void> =>
  eventually(async () => {
    expect(await Effect.runPromise(readyOf(running))).toMatchObject({ status: "healthy" })
  })
