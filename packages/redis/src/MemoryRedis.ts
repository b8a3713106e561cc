/**
 * Redis in memory: the commands of `ResilientRedis` without a server, as a fast double for tests.
 *
 * It answers as Redis 7.0 does, which a test compares command by command. Its time is Effect's, so `TestClock` decides when
 * keys end. It is bounded: what was used least recently leaves first.
 *
 * **Gotchas**
 *
 * - It is a double and no fallback: `ResilientRedis` holds what it needs by itself.
 * - Scripts, subscriptions and streams are `Unsupported`.
 *
 * **Example** (A key that ends)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { MemoryRedis, ResilientRedis } from "@failsoft/redis"
 *
 * const program = Effect.gen(function* () {
 *   const redis = yield* ResilientRedis.ResilientRedis
 *   yield* redis.set("code", "1234", { expireIn: "5 minutes" })
 *   yield* TestClock.adjust("5 minutes")
 *   return yield* redis.exists("code")
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide([MemoryRedis.layer(), TestClock.layer()]))) // => 0
 * ```
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type InvalidOption, Unsupported } from "failsoft"
import * as client from "./internal/client.ts"
import { nowOf } from "./internal/engine.ts"
import * as engines from "./internal/engines.ts"
import * as options from "./internal/options.ts"
import { makeSlot, type Transport } from "./internal/transport.ts"
import * as RedisFailure from "./RedisFailure.ts"
import * as ResilientRedis from "./ResilientRedis.ts"
import * as MemoryStore from "./state/MemoryStore.ts"

/** The bounds of what is held. */
export interface Options {
  /** From 1 to 10,000,000. Default: 100,000. */
  readonly maxEntries?: number | undefined
  /** From 1,024 to 2^40. Default: 256 MiB. */
  readonly maxBytes?: number | undefined
}

/**
 * A Layer that provides `ResilientRedis` in memory.
 *
 * Fails with `InvalidOption` when a bound is out of its range.
 */
export const layer = (given?: Options): Layer.Layer<ResilientRedis.ResilientRedis, InvalidOption> =>
  layerOf(ResilientRedis.ResilientRedis, given)

/** As `layer`, under a key of the application's own. */
export const layerOf = <I>(
  key: Context.Key<I, ResilientRedis.Client>,
  given?: Options
): Layer.Layer<I, InvalidOption> =>
  Layer.effect(
    key,
    Effect.gen(function* () {
      const { maxBytes = 2 ** 28, maxEntries = 100_000 } = given ?? {}
      yield* options.integer("memory redis", "maxEntries", maxEntries, 1, 10_000_000)
      yield* options.integer("memory redis", "maxBytes", maxBytes, 1024, 2 ** 40)
      const store = MemoryStore.make({ maxEntries, maxBytes })
      const slot = yield* makeSlot(transportOf(store))
      return client.make(yield* engines.make({ whileAway: "fail" }, slot, "off"))
    })
  )

const transportOf = (store: MemoryStore.MemoryStore): Transport => ({
  isConnected: Effect.succeed(true),
  send: ({ args, name }) =>
    Effect.withFiber((fiber) => {
      const reply = store.run(name, args, nowOf(fiber))
      return reply instanceof Error
        ? Effect.fail(RedisFailure.from(reply, name, args))
        : Effect.succeed(reply)
    }),
  sendAll: (commands) =>
    Effect.withFiber((fiber) => {
      const now = nowOf(fiber)
      return Effect.succeed(
        commands.map(({ args, name }) => {
          const reply = store.run(name, args, now)
          return reply instanceof Error ? { error: reply } : { reply }
        })
      )
    }),
  use: () => Effect.fail(new Unsupported({ service: "memory redis", operation: "what is no command" }))
})
