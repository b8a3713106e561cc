/** The clients that the same check is run on: ours, and ioredis as it comes. */
import { Command, type ResilientRedis } from "@failsoft/redis"
import { Effect, Scope } from "effect"
import { Deadline } from "failsoft"
import { Redis as IoRedis } from "ioredis"
import { deadlineMillis, type Stage } from "./stage.ts"

/** What a check asks of a client. */
export interface Subject {
  readonly get: (key: string) => Effect.Effect<unknown, unknown>
  readonly incr: (key: string) => Effect.Effect<unknown, unknown>
  /** Increments two keys in one transaction. */
  readonly incrBoth: (one: string, other: string) => Effect.Effect<unknown, unknown>
}

/** Ours. */
export const ours = (redis: ResilientRedis.Client): Subject => ({
  get: (key) => Deadline.within(redis.get(key), deadlineMillis),
  incr: (key) => redis.incr(key),
  incrBoth: (one, other) => redis.multi([Command.incr(one), Command.incr(other)])
})

/**
 * ioredis with the settings it comes with: up to 20 retries of each command, an offline queue, what was in flight sent
 * again, and no time limit.
 */
export const ioredisByDefault = ({ clients, proxy }: Stage): Effect.Effect<Subject> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const client = new IoRedis({ host: proxy.host, port: proxy.port })
      client.on("error", () => {})
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  ).pipe(
    Effect.provideService(Scope.Scope, clients),
    Effect.map((client) => ({
      get: (key) => Effect.tryPromise(() => client.get(key)),
      incr: (key) => Effect.tryPromise(() => client.incr(key)),
      incrBoth: (one, other) => Effect.tryPromise(() => client.multi().incr(one).incr(other).exec())
    }))
  )
