/** What commands of Redis answer and fail with. Checked by the compiler alone, and never run. */

import { Command, IoRedis, MemoryRedis, type RedisFailure, ResilientRedis } from "@failsoft/redis"
import { type Config, Context, type Duration, Effect, type Layer, type Result } from "effect"
import type { Redis } from "effect/persistence"
import {
  type Ambiguous,
  type Degradable,
  type InvalidOption,
  type Misconfigured,
  type Served,
  ServiceUnavailable,
  type Unsupported
} from "failsoft"
import { expectTypeOf } from "vitest"

declare const redis: ResilientRedis.Client

type ReadError = ServiceUnavailable | Misconfigured | RedisFailure.RedisFailure
type WriteError = ReadError | Ambiguous

type Reading<A> = Effect.Effect<A, ReadError>
type Writing<A> = Effect.Effect<A, WriteError>

export const aReadIsNeverAmbiguous = (): void => {
  expectTypeOf(redis.get("k")).toEqualTypeOf<Reading<string | undefined>>()
  expectTypeOf(redis.mget(["k"])).toEqualTypeOf<Reading<ReadonlyArray<string | undefined>>>()
  expectTypeOf(redis.exists("k")).toEqualTypeOf<Reading<number>>()
  expectTypeOf(redis.ttl("k")).toEqualTypeOf<Reading<Duration.Duration | undefined>>()
  expectTypeOf(redis.hget("k", "f")).toEqualTypeOf<Reading<string | undefined>>()
  expectTypeOf(redis.hgetall("k")).toEqualTypeOf<Reading<Readonly<Record<string, string>>>>()
  expectTypeOf(redis.zcard("k")).toEqualTypeOf<Reading<number>>()
  expectTypeOf(redis.zrange("k", 0, -1)).toEqualTypeOf<Reading<ReadonlyArray<string>>>()
  expectTypeOf(redis.zrangeWithScores("k", 0, -1)).toEqualTypeOf<Reading<ReadonlyArray<Command.Scored>>>()
  expectTypeOf(redis.ping).toEqualTypeOf<Reading<void>>()
  expectTypeOf(redis.time).toEqualTypeOf<Reading<number>>()
}

export const aWriteMayBe = (): void => {
  expectTypeOf(redis.set("k", "v")).toEqualTypeOf<Writing<boolean>>()
  expectTypeOf(redis.setGet("k", "v")).toEqualTypeOf<Writing<string | undefined>>()
  expectTypeOf(redis.del("k")).toEqualTypeOf<Writing<number>>()
  expectTypeOf(redis.expire("k", "1 second")).toEqualTypeOf<Writing<boolean>>()
  expectTypeOf(redis.incr("k")).toEqualTypeOf<Writing<number>>()
  expectTypeOf(redis.decr("k")).toEqualTypeOf<Writing<number>>()
  expectTypeOf(redis.hset("k", {})).toEqualTypeOf<Writing<number>>()
  expectTypeOf(redis.hdel("k", "f")).toEqualTypeOf<Writing<number>>()
  expectTypeOf(redis.zadd("k", [])).toEqualTypeOf<Writing<number>>()
  expectTypeOf(redis.zremrangebyscore("k", 0, 1)).toEqualTypeOf<Writing<number>>()
}

export const theSourceComesWithTheSameErrors = (): void => {
  expectTypeOf(redis.getServed("k")).toEqualTypeOf<Reading<Served.Served<string | undefined>>>()
  expectTypeOf(redis.incrServed("k", 2)).toEqualTypeOf<Writing<Served.Served<number>>>()
  expectTypeOf<
    keyof ResilientRedis.Client & `${string}Served`
  >().toEqualTypeOf<`${Exclude<keyof ResilientRedis.Client["lenient"], "ping" | "time">}Served`>()
}

type Failing<K extends keyof ResilientRedis.Client["lenient"]> = ResilientRedis.Client["lenient"][K] extends
  | Effect.Effect<infer _A, infer E>
  | ((...args: never) => Effect.Effect<infer _B, infer E>)
  ? E
  : never

export const theLenientViewNeverFails = (): void => {
  expectTypeOf<
    { [K in keyof ResilientRedis.Client["lenient"]]: Failing<K> }[keyof ResilientRedis.Client["lenient"]]
  >().toEqualTypeOf<never>()
  expectTypeOf(redis.lenient.get("k")).toEqualTypeOf<Effect.Effect<string | undefined>>()
  expectTypeOf(redis.lenient.get("k", "none")).toEqualTypeOf<Effect.Effect<string>>()
  expectTypeOf(redis.lenient.hget("k", "f", null)).toEqualTypeOf<Effect.Effect<string | null>>()
  expectTypeOf(redis.lenient.set("k", "v")).toEqualTypeOf<Effect.Effect<boolean>>()
  expectTypeOf(redis.lenient.ping).toEqualTypeOf<Effect.Effect<boolean>>()
  expectTypeOf(redis.lenient.time).toEqualTypeOf<Effect.Effect<number | undefined>>()
  // @ts-expect-error what has no honest answer is not offered
  redis.lenient.multi
  // @ts-expect-error what has no honest answer is not offered
  redis.lenient.setGet
}

type ReadItem<A> = Result.Result<A, ReadError>
type WriteItem<A> = Result.Result<A, WriteError>

declare const either: Command.Command<number>

export const resultsAreTypedByTheirCommands = (): void => {
  expectTypeOf(
    redis.pipeline([Command.get("k"), Command.incr("n"), Command.hgetall("h"), Command.set("k", "v"), either])
  ).toEqualTypeOf<
    Effect.Effect<
      readonly [
        ReadItem<string | undefined>,
        WriteItem<number>,
        ReadItem<Readonly<Record<string, string>>>,
        WriteItem<boolean>,
        WriteItem<number>
      ]
    >
  >()
  expectTypeOf(redis.multi([Command.ttl("k"), Command.del("k")])).toEqualTypeOf<
    Writing<readonly [ReadItem<Duration.Duration | undefined>, WriteItem<number>]>
  >()
  const many: ReadonlyArray<Command.Read<string | undefined>> = []
  expectTypeOf(redis.pipeline(many)).toEqualTypeOf<
    Effect.Effect<ReadonlyArray<ReadItem<string | undefined>>>
  >()
  // @ts-expect-error a text is no command
  redis.pipeline(["GET"])
}

export const whatIsNoCommandMayBeUnsupported = (): void => {
  expectTypeOf(redis.use("PUBLISH", ({ send }) => send<number>("PUBLISH", "a", "b"))).toEqualTypeOf<
    Effect.Effect<number, WriteError | Unsupported>
  >()
  // @ts-expect-error the errors of what runs are those of Redis
  redis.use("PUBLISH", () => Effect.fail("no"))
}

export const whoHandlesAnOutageSeesItDisappear = (): void => {
  const orElse = ServiceUnavailable.orElse(() => Effect.succeed(0))
  expectTypeOf(redis.get("k").pipe(orElse)).toEqualTypeOf<
    Effect.Effect<string | number | undefined, Misconfigured | RedisFailure.RedisFailure>
  >()
  expectTypeOf(redis.incr("k").pipe(orElse)).toEqualTypeOf<
    Effect.Effect<number, Misconfigured | RedisFailure.RedisFailure | Ambiguous>
  >()
}

class Sessions extends Context.Service<Sessions, ResilientRedis.Client>()("types/Sessions") {}

declare const connection: Layer.Layer<Redis.Redis | IoRedis.IoRedis, IoRedis.ConnectError, Sessions>
declare const mode: Degradable.StartupMode

export const anOutageIsNoErrorOfTheLayerUnlessItIsRequired = (): void => {
  type Started = Layer.Layer<ResilientRedis.ResilientRedis, Misconfigured | InvalidOption, Sessions>
  type Required = Layer.Layer<
    ResilientRedis.ResilientRedis,
    Misconfigured | InvalidOption | ServiceUnavailable,
    Sessions
  >
  expectTypeOf(ResilientRedis.layer({ connection })).toEqualTypeOf<Started>()
  expectTypeOf(ResilientRedis.layer({ connection, startup: { mode: "background" } })).toEqualTypeOf<Started>()
  expectTypeOf(
    ResilientRedis.layer({ connection, startup: { timeout: "1 second" } })
  ).toEqualTypeOf<Started>()
  expectTypeOf(ResilientRedis.layer({ connection, startup: { mode: "required" } })).toEqualTypeOf<Required>()
  expectTypeOf(ResilientRedis.layer({ connection, startup: { mode } })).toEqualTypeOf<Required>()
  expectTypeOf(
    ResilientRedis.layerOf(Sessions, { connection: IoRedis.layerConfig(), startup: { mode: "required" } })
  ).toEqualTypeOf<
    Layer.Layer<Sessions, Misconfigured | InvalidOption | ServiceUnavailable | Config.ConfigError>
  >()
}

export const theOtherLayersNeedNothing = (): void => {
  expectTypeOf(ResilientRedis.layerDisabled()).toEqualTypeOf<
    Layer.Layer<ResilientRedis.ResilientRedis, InvalidOption>
  >()
  expectTypeOf(ResilientRedis.layerConfig()).toEqualTypeOf<
    Layer.Layer<
      ResilientRedis.ResilientRedis,
      Config.ConfigError | InvalidOption | Misconfigured | ServiceUnavailable
    >
  >()
  expectTypeOf(MemoryRedis.layer()).toEqualTypeOf<Layer.Layer<ResilientRedis.ResilientRedis, InvalidOption>>()
  expectTypeOf(MemoryRedis.layerOf(Sessions)).toEqualTypeOf<Layer.Layer<Sessions, InvalidOption>>()
}

export const optionsAreNamedAsTheyAre = (): void => {
  // @ts-expect-error there is no such answer to an outage
  ResilientRedis.layerDisabled({ whileAway: "panic" })
  // @ts-expect-error the circuits have names of their own
  ResilientRedis.layerDisabled({ breaker: { name: "other" } })
  // @ts-expect-error what may be repeated is not for the application to say
  ResilientRedis.layerDisabled({ retry: { isTransient: () => true } })
  // @ts-expect-error the time of a command comes from the environment
  ResilientRedis.layerConfig({ commandTimeout: "1 second" })
  // @ts-expect-error a key ends after a time, or at one
  Command.set("k", "v", { ttl: "1 second" })
  // @ts-expect-error an exclusive bound begins with a parenthesis
  Command.zrange("k", "[5", 6)
}
