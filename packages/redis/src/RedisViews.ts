/**
 * The three views of a `ResilientRedis`: strict, with the source of each answer, and lenient.
 *
 * What each answers while Redis is away is in one matrix, on the page of `ResilientRedis`. The arguments and results of
 * the methods are those of `Command`.
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Ambiguous, Misconfigured, Served, ServiceUnavailable } from "failsoft"
import type * as Command from "./Command.ts"
import type { RedisFailure } from "./RedisFailure.ts"

/** What a read may fail with: an outage, a server that refuses us as we are set up, or a command that was wrong. */
export type ReadError = ServiceUnavailable | Misconfigured | RedisFailure

/** What a write may fail with: as a read, or `Ambiguous` when it was sent and nobody knows whether it was applied. */
export type WriteError = ReadError | Ambiguous

/** The strict view: what cannot be said honestly is a typed failure. */
export interface Strict {
  /** The value of a key, `undefined` if it is not there. */
  readonly get: (key: string) => Effect.Effect<string | undefined, ReadError>
  /** The values of keys. */
  readonly mget: (keys: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<string | undefined>, ReadError>
  /** How many of the keys are there. */
  readonly exists: (...keys: Array<string>) => Effect.Effect<number, ReadError>
  /** The time that a key has left: infinite if it has no end, `undefined` if it is not there. */
  readonly ttl: (key: string) => Effect.Effect<Duration.Duration | undefined, ReadError>
  /** A field of a hash. */
  readonly hget: (key: string, field: string) => Effect.Effect<string | undefined, ReadError>
  /** All fields of a hash. */
  readonly hgetall: (key: string) => Effect.Effect<Readonly<Record<string, string>>, ReadError>
  /** How many members a sorted set has. */
  readonly zcard: (key: string) => Effect.Effect<number, ReadError>
  /** Members of a sorted set. */
  readonly zrange: (
    key: string,
    start: Command.ScoreBound,
    stop: Command.ScoreBound,
    options?: Command.ZrangeOptions
  ) => Effect.Effect<ReadonlyArray<string>, ReadError>
  /** Members of a sorted set with their scores. */
  readonly zrangeWithScores: (
    key: string,
    start: Command.ScoreBound,
    stop: Command.ScoreBound,
    options?: Command.ZrangeOptions
  ) => Effect.Effect<ReadonlyArray<Command.Scored>, ReadError>
  /** Writes a key. `false` if a condition was not met. */
  readonly set: (
    key: string,
    value: string,
    options?: Command.SetOptions
  ) => Effect.Effect<boolean, WriteError>
  /** Deletes keys and counts those that were there. */
  readonly del: (...keys: Array<string>) => Effect.Effect<number, WriteError>
  /** Gives a key a time to live. */
  readonly expire: (
    key: string,
    after: Duration.Input,
    condition?: Command.ExpireCondition
  ) => Effect.Effect<boolean, WriteError>
  /** Adds to a key and gives the sum. */
  readonly incr: (key: string, by?: number) => Effect.Effect<number, WriteError>
  /** Takes from a key and gives what is left. */
  readonly decr: (key: string, by?: number) => Effect.Effect<number, WriteError>
  /** Writes fields of a hash and counts the new ones. */
  readonly hset: (key: string, fields: Readonly<Record<string, string>>) => Effect.Effect<number, WriteError>
  /** Deletes fields of a hash and counts those that were there. */
  readonly hdel: (key: string, ...fields: Array<string>) => Effect.Effect<number, WriteError>
  /** Writes members of a sorted set and counts the new ones. */
  readonly zadd: (
    key: string,
    members: ReadonlyArray<Command.Scored>,
    options?: Command.ZaddOptions
  ) => Effect.Effect<number, WriteError>
  /** Deletes members of a sorted set by score and counts them. */
  readonly zremrangebyscore: (
    key: string,
    min: Command.ScoreBound,
    max: Command.ScoreBound
  ) => Effect.Effect<number, WriteError>
}

/** As the strict view, each value with its source: `live`, `stale` (seen before), or `local` (written here). */
export type WithSource = {
  readonly [K in keyof Strict as `${K}Served`]: Strict[K] extends (
    ...args: infer Args
  ) => Effect.Effect<infer A, infer E>
    ? (...args: Args) => Effect.Effect<Served.Served<A>, E>
    : never
}

/**
 * The lenient view: it answers whatever happens, with a default, nothing, `false` or 0 when Redis is away.
 *
 * A write that did not reach Redis answers `false` or 0, though it is held for later reads. A server that refuses us as
 * we are set up and a command that was wrong are defects here: an answer would hide them.
 */
export type Lenient = {
  readonly [K in Exclude<keyof Strict, "get" | "hget">]: Strict[K] extends (
    ...args: infer Args
  ) => Effect.Effect<infer A, infer _E>
    ? (...args: Args) => Effect.Effect<A>
    : never
} & {
  /** The value of a key, else the default. */
  readonly get: <A = undefined>(key: string, orElse?: A) => Effect.Effect<string | A>
  /** A field of a hash, else the default. */
  readonly hget: <A = undefined>(key: string, field: string, orElse?: A) => Effect.Effect<string | A>
  /** Whether Redis answers. */
  readonly ping: Effect.Effect<boolean>
  /** The server's clock in milliseconds since 1970, if it can be asked. */
  readonly time: Effect.Effect<number | undefined>
}
