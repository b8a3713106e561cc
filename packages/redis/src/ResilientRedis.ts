/**
 * Redis commands that keep answering while Redis is away, and say so.
 *
 * Every command goes through a circuit: one for reads, one for writes, since a server that refuses writes may still serve
 * reads. Commands that may be repeated are retried. What was seen while Redis was there, and what was written since it
 * is away, is held in this process within bounds, and answers in its place:
 *
 * | while Redis is away | strict | `.lenient` |
 * | --- | --- | --- |
 * | read, value held | the value | the value |
 * | read, nothing held | `ServiceUnavailable`, never "absent" | default, nothing, 0 |
 * | last-wins write (`set`, `del`, `expire`, `hset`, `hdel`, `zadd`, `zremrangebyscore`) | held here, its source is `local` | `false` or 0; held all the same |
 * | conditional write, counter | `ServiceUnavailable` | `false` or 0 |
 * | transaction, anything else | `ServiceUnavailable` | not offered |
 *
 * It is the same whether Redis never started or its circuit is open. `…Served` forms tell where a value came from. When
 * Redis is back, what was written here is given up, unless `onReturn` says to send it.
 *
 * **Gotchas**
 *
 * - What is written here while Redis is away is lost with the process, and other processes do not see it.
 * - Given up on return, a deletion that was held is undone: whoever revokes what Redis still has sets `onReturn`.
 * - A write that was sent and not answered is `Ambiguous`: it is neither repeated nor answered from here, unless applying
 *   it twice does no harm.
 * - A wrong password is `Misconfigured`, and in the lenient view a defect: it is no outage.
 *
 * **Example** (A cached value that survives the server)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { IoRedis, ResilientRedis } from "@failsoft/redis"
 * import { RedisServer } from "@failsoft/testing"
 *
 * const program = Effect.gen(function* () {
 *   const server = yield* RedisServer.make()
 *   const Live = ResilientRedis.layer({ connection: IoRedis.layer({ url: server.url }) })
 *
 *   return yield* Effect.gen(function* () {
 *     const redis = yield* ResilientRedis.ResilientRedis
 *     yield* redis.set("greeting", "hello")
 *     yield* server.kill
 *     return yield* redis.getServed("greeting")
 *   }).pipe(Effect.provide(Live))
 * }).pipe(Effect.scoped)
 *
 * const { source, value } = await Effect.runPromise(program)
 *
 * value // => "hello"
 * source // => "stale"
 * ```
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redis from "effect/persistence/Redis"
import type * as Result from "effect/Result"
import type {
  CircuitBreaker,
  InvalidOption,
  Misconfigured,
  Retry,
  ServiceUnavailable,
  Unsupported
} from "failsoft"
import { Degradable, Health, Metrics } from "failsoft"
import type * as Command from "./Command.ts"
import * as IoRedis from "./IoRedis.ts"
import * as clients from "./internal/client.ts"
import * as engines from "./internal/engines.ts"
import { ofTheConnection } from "./internal/metrics.ts"
import { connect, disconnected, makeSlot } from "./internal/transport.ts"
import * as RedisConfig from "./RedisConfig.ts"
import type { Lenient, ReadError, Strict, WithSource, WriteError } from "./RedisViews.ts"

/** What a `ResilientRedis` is made from, apart from its connection. */
export interface Options {
  /** Names it in errors, logs and health; its circuits are this with `-read` and `-write`. Default: `"redis"`. */
  readonly name?: string | undefined
  /**
   * What Redis's absence means: `memory` answers reads and last-wins writes from this process, `readonly` reads only,
   * `fail` neither. Default: `"memory"`.
   */
  readonly whileAway?: "memory" | "readonly" | "fail" | undefined
  /**
   * `local` answers conditional writes and counters from this process too; what is not held counts as absent then, and
   * they are never sent later. Default: `"fail"`.
   */
  readonly conditionalWrites?: "fail" | "local" | undefined
  /**
   * What becomes of what was written here when Redis is back: given up, or sent (the last write of each part of a key, once,
   * with what is left of its time, this many a second). Default: `"discard"`.
   */
  readonly onReturn?: "discard" | { readonly replayPerSecond: number } | undefined
  /** The bounds of what was seen, and of what was written here, each for itself. */
  readonly held?:
    | {
        /** From 1 to 10,000,000. Default: 1,000. */
        readonly maxEntries?: number | undefined
        /** From 1,024 to 2^40. Default: 16 MiB. */
        readonly maxBytes?: number | undefined
        /** What was seen longer ago is not served. Default: `"5 minutes"`. */
        readonly maxStale?: Duration.Input | undefined
      }
    | undefined
  /** Tries of commands that may be repeated. Default: 2, the second after up to 50 ms. */
  readonly retry?: Omit<Retry.Options, "name" | "isTransient"> | undefined
  /** Both circuits. Default: that of `CircuitBreaker`: 5 failures, 60 s, 3 successes. */
  readonly breaker?: Omit<CircuitBreaker.Options, "name" | "classify" | "probe"> | undefined
  /**
   * How often Redis is probed while a circuit is open and due, or writes are held behind a closed one, so that an idle
   * application recovers. Default: `"5 seconds"`.
   */
  readonly probeEvery?: Duration.Input | undefined
  /** The longest that a command may take, with which deadlines are compared. Default: `"5 seconds"`. */
  readonly commandTimeout?: Duration.Input | undefined
}

/** What a `ResilientRedis` connects with. */
export interface Connection<E, R, Mode extends Degradable.StartupMode> {
  /** How Redis is reached, such as `IoRedis.layer`. It is built for this client alone, again until it succeeds. */
  readonly connection: Layer.Layer<Redis.Redis | IoRedis.IoRedis, E, R>
  /** How the start waits for it; see `Degradable`. Default: `optional`, `"5 seconds"`. */
  readonly startup?:
    | { readonly mode?: Mode | undefined; readonly timeout?: Duration.Input | undefined }
    | undefined
}

/** The results of several commands, each with a fate of its own. */
export type Results<Commands extends ReadonlyArray<Command.Command<unknown>>> = {
  readonly [I in keyof Commands]: Commands[I] extends Command.Read<infer A>
    ? Result.Result<A, ReadError>
    : Commands[I] extends Command.Command<infer A>
      ? Result.Result<A, WriteError>
      : never
}

/** Health as the route `/health/redis` answers it. `circuit_breaker` sums both circuits; its state is the worse one. */
export interface RedisHealth {
  readonly redis_available: boolean
  readonly circuit_breaker: {
    readonly state: "closed" | "open" | "half_open"
    readonly failure_count: number
    readonly total_calls: number
    readonly successful_calls: number
    readonly failed_calls: number
    readonly fallback_calls: number
    readonly cache_hits: number
    readonly cache_misses: number
    readonly cache_size: number
    /** ISO 8601, or `null`. */
    readonly last_failure_time: string | null
  }
  readonly degraded_mode: boolean
}

/** Redis commands that keep answering. */
export interface Client extends Strict, WithSource {
  /** Writes a key and gives what it held before. Counts as a conditional write. */
  readonly setGet: (
    key: string,
    value: string,
    options?: Command.SetOptions
  ) => Effect.Effect<string | undefined, WriteError>
  /** Asks the server for an answer: fails when there is none, whatever is held. */
  readonly ping: Effect.Effect<void, ReadError>
  /** The server's clock, in milliseconds since 1970. */
  readonly time: Effect.Effect<number, ReadError>
  /** Sends commands in one go, without retry. Each has a result of its own. */
  readonly pipeline: <const Commands extends ReadonlyArray<Command.Command<unknown>>>(
    commands: Commands
  ) => Effect.Effect<Results<Commands>>
  /** Sends commands as one transaction (MULTI, EXEC): all are applied, or none. Has no degraded form. */
  readonly multi: <const Commands extends ReadonlyArray<Command.Command<unknown>>>(
    commands: Commands
  ) => Effect.Effect<Results<Commands>, WriteError>
  /**
   * Runs something else of Redis, such as a script or `PUBLISH`, through the circuit of the writes. Not retried, and without
   * a degraded form. `operation` names it in errors.
   */
  readonly use: <A>(
    operation: string,
    f: (redis: Redis.Redis["Service"]) => Effect.Effect<A, Redis.RedisError>
  ) => Effect.Effect<A, WriteError | Unsupported>
  /** The view that answers whatever happens. */
  readonly lenient: Lenient
  /** How it is, computed when asked for, without asking Redis. */
  readonly health: Effect.Effect<RedisHealth>
}

/** Redis commands that keep answering while Redis is away. */
export class ResilientRedis extends Context.Service<ResilientRedis, Client>()(
  "@failsoft/redis/ResilientRedis"
) {}

/**
 * A Layer that provides `ResilientRedis` over a connection, and starts without it unless `startup.mode` is `required`.
 *
 * Fails with `InvalidOption` when an option is out of its range; with errors of the connection that are no outage, such as a
 * wrong password; and in mode `required` with `ServiceUnavailable`.
 */
export const layer = <E, R, const Mode extends Degradable.StartupMode = "optional">(
  given: Options & Connection<E, R, Mode>
): Layer.Layer<ResilientRedis, StartError<E, Mode>, R> => layerOf(ResilientRedis, given)

/** As `layer`, under a key of the application's own: for several in one application. */
export const layerOf = <I, E, R, const Mode extends Degradable.StartupMode = "optional">(
  key: Context.Key<I, Client>,
  given: Options & Connection<E, R, Mode>
): Layer.Layer<I, StartError<E, Mode>, R> =>
  Layer.effect(
    key,
    Effect.gen(function* () {
      const slot = yield* makeSlot(disconnected)
      // First, so that a wrong option is told before anything is waited for.
      const engine = yield* engines.make(given, slot, "on")
      const client = clients.make(engine)
      yield* clients.register(engine, { enabled: true })
      // The circuits are those of the commands, so what is switched here is only whether there is a connection.
      const connection = Layer.provide(given.connection, Layer.succeed(Metrics.CountedAround, []))
      const started = Degradable.layer(Started, {
        name: engine.name,
        primary: Layer.provide(Layer.effect(Started, Effect.as(connect(slot), {})), connection),
        degraded: Layer.succeed(Started, {}),
        startup: given.startup,
        breaker: { enabled: false }
      })
      // In the health of the application it would tell no more than that a connection was once made.
      yield* Layer.build(started).pipe(
        Effect.provideService(Health.Health, nobody),
        Effect.provideService(Metrics.CountedAround, ofTheConnection)
      )
      return client
    })
  )

const nobody: Health.Health["Service"] = {
  register: () => Effect.void,
  components: Effect.succeed([])
}

/** That the connection has been made, or is being made in the background. */
class Started extends Context.Service<Started, object>()("@failsoft/redis/ResilientRedis/Started") {}

/** What a `ResilientRedis` may fail to start with. */
export type StartError<E, Mode> =
  | Exclude<E, ServiceUnavailable>
  | InvalidOption
  | (Mode extends "required" ? ServiceUnavailable : never)

/**
 * A Layer that provides `ResilientRedis` as the environment has it; see `RedisConfig` for the variables.
 *
 * With `REDIS_ENABLED=false` it connects to nothing and is always degraded; with `REDIS_REQUIRED=true` it does not start
 * without Redis, and gives up after the tries that `REDIS_MAX_RETRIES` allows, or 5 seconds. Fails as `layer` does, and
 * with `ConfigError` when a variable is wrong.
 */
export const layerConfig = (
  given?: Omit<Options, "commandTimeout"> & Omit<IoRedis.Options, keyof RedisConfig.RedisConfig>
): Layer.Layer<ResilientRedis, Config.ConfigError | InvalidOption | Misconfigured | ServiceUnavailable> =>
  Layer.unwrap(
    Effect.map(RedisConfig.fromEnvironment, ({ enabled, required, ...config }) => {
      const options = { ...given, commandTimeout: config.commandTimeout }
      if (!enabled) return layerDisabled(options)
      const connection = IoRedis.layer({ ...given, ...config })
      return required ? layerRequired({ ...options, connection }) : layer({ ...options, connection })
    })
  )

/** As `layer` in mode `required`, but for a connection whose tries are counted: when they are over, so is the start. */
const layerRequired = ({
  connection,
  ...options
}: Options & Connection<IoRedis.ConnectError, never, "required">) => {
  // What is no `ServiceUnavailable` is not tried again.
  const counted = Layer.catchTag(connection, "ServiceUnavailable", (outage) =>
    Layer.effectContext<Redis.Redis | IoRedis.IoRedis, TriesOver, never>(
      Effect.fail(new TriesOver({ outage }))
    )
  )
  return layer({ ...options, connection: counted, startup: { mode: "required" } }).pipe(
    Layer.catchTag("TriesOver", ({ outage }) => Layer.effect(ResilientRedis, Effect.fail(outage)))
  )
}

class TriesOver extends Data.TaggedError("TriesOver")<{ readonly outage: ServiceUnavailable }> {}

/** A Layer that provides `ResilientRedis` without a Redis: it is always degraded. */
export const layerDisabled = (given?: Options): Layer.Layer<ResilientRedis, InvalidOption> =>
  Layer.effect(
    ResilientRedis,
    Effect.gen(function* () {
      const engine = yield* engines.make(given ?? {}, yield* makeSlot(disconnected), "off")
      yield* clients.register(engine, { enabled: false })
      return clients.make(engine)
    })
  )
