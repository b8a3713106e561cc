/** Builds the views of a `ResilientRedis` on its engine. */
import * as Effect from "effect/Effect"
import { type Served, ServiceUnavailable } from "failsoft"
import * as Command from "../Command.ts"
import type { Lenient, ReadError, Strict, WithSource, WriteError } from "../RedisViews.ts"
import { answerInPart } from "../state/held/answer.ts"
import { type Engine, nowOf, read, write } from "./engine.ts"
import { isRejection } from "./verdict.ts"

const plain = <A>(value: A): A => value

const withSource = <A>(value: A, source: Served.Source, ageMillis?: number): Served.Served<A> =>
  ageMillis === undefined ? { value, source } : { value, source, ageMillis }

/** The strict view. */
export const strict = (engine: Engine): Strict => {
  const of = <A>(command: Command.Read<A>): Effect.Effect<A, ReadError> => read<A, A>(engine, command, plain)
  const to = <A>(command: Command.Write<A>): Effect.Effect<A, WriteError> =>
    write<A, A>(engine, command, plain)
  return {
    get: (key) => of(Command.get(key)),
    mget: (keys) => of(Command.mget(keys)),
    exists: (...keys) => of(Command.exists(...keys)),
    ttl: (key) => of(Command.ttl(key)),
    hget: (key, field) => of(Command.hget(key, field)),
    hgetall: (key) => of(Command.hgetall(key)),
    zcard: (key) => of(Command.zcard(key)),
    zrange: (key, start, stop, options) => of(Command.zrange(key, start, stop, options)),
    zrangeWithScores: (key, start, stop, options) => of(Command.zrangeWithScores(key, start, stop, options)),
    set: (key, value, options) => to(Command.set(key, value, options)),
    del: (...keys) => to(Command.del(...keys)),
    expire: (key, after, condition) => to(Command.expire(key, after, condition)),
    incr: (key, by) => to(Command.incr(key, by)),
    decr: (key, by) => to(Command.decr(key, by)),
    hset: (key, fields) => to(Command.hset(key, fields)),
    hdel: (key, ...fields) => to(Command.hdel(key, ...fields)),
    zadd: (key, members, options) => to(Command.zadd(key, members, options)),
    zremrangebyscore: (key, min, max) => to(Command.zremrangebyscore(key, min, max))
  }
}

/** The view that tells where each value came from. */
export const served = (engine: Engine): WithSource => {
  const of = <A>(command: Command.Read<A>) => read<A, Served.Served<A>>(engine, command, withSource)
  const to = <A>(command: Command.Write<A>) => write<A, Served.Served<A>>(engine, command, withSource)
  return {
    getServed: (key) => of(Command.get(key)),
    mgetServed: (keys) => of(Command.mget(keys)),
    existsServed: (...keys) => of(Command.exists(...keys)),
    ttlServed: (key) => of(Command.ttl(key)),
    hgetServed: (key, field) => of(Command.hget(key, field)),
    hgetallServed: (key) => of(Command.hgetall(key)),
    zcardServed: (key) => of(Command.zcard(key)),
    zrangeServed: (key, start, stop, options) => of(Command.zrange(key, start, stop, options)),
    zrangeWithScoresServed: (key, start, stop, options) =>
      of(Command.zrangeWithScores(key, start, stop, options)),
    setServed: (key, value, options) => to(Command.set(key, value, options)),
    delServed: (...keys) => to(Command.del(...keys)),
    expireServed: (key, after, condition) => to(Command.expire(key, after, condition)),
    incrServed: (key, by) => to(Command.incr(key, by)),
    decrServed: (key, by) => to(Command.decr(key, by)),
    hsetServed: (key, fields) => to(Command.hset(key, fields)),
    hdelServed: (key, ...fields) => to(Command.hdel(key, ...fields)),
    zaddServed: (key, members, options) => to(Command.zadd(key, members, options)),
    zremrangebyscoreServed: (key, min, max) => to(Command.zremrangebyscore(key, min, max))
  }
}

/** The lenient view. */
export const lenient = (engine: Engine): Lenient => {
  const of = <A>(command: Command.Read<A>): Effect.Effect<A> => leniently(engine, command)
  const to = <A>(command: Command.Write<A>): Effect.Effect<A> => reached(engine, command)
  const orElse =
    <A>(other: A | undefined) =>
    (text: string | undefined): string | A =>
      // Without a default the type of `other` is `undefined` itself.
      text ?? (other as A)
  return {
    get: (key, other) => Effect.map(of(Command.get(key)), orElse(other)),
    hget: (key, field, other) => Effect.map(of(Command.hget(key, field)), orElse(other)),
    mget: (keys) => of(Command.mget(keys)),
    exists: (...keys) => of(Command.exists(...keys)),
    ttl: (key) => of(Command.ttl(key)),
    hgetall: (key) => of(Command.hgetall(key)),
    zcard: (key) => of(Command.zcard(key)),
    zrange: (key, start, stop, options) => of(Command.zrange(key, start, stop, options)),
    zrangeWithScores: (key, start, stop, options) => of(Command.zrangeWithScores(key, start, stop, options)),
    set: (key, value, options) => to(Command.set(key, value, options)),
    del: (...keys) => to(Command.del(...keys)),
    expire: (key, after, condition) => to(Command.expire(key, after, condition)),
    incr: (key, by) => to(Command.incr(key, by)),
    decr: (key, by) => to(Command.decr(key, by)),
    hset: (key, fields) => to(Command.hset(key, fields)),
    hdel: (key, ...fields) => to(Command.hdel(key, ...fields)),
    zadd: (key, members, options) => to(Command.zadd(key, members, options)),
    zremrangebyscore: (key, min, max) => to(Command.zremrangebyscore(key, min, max)),
    ping: of(Command.ping),
    time: of(Command.time)
  }
}

/** A read, answered with nothing where nothing is held. Whatever is no outage is a defect. */
const leniently = <A>(engine: Engine, command: Command.Read<A>): Effect.Effect<A> =>
  Effect.catch(read<A, A>(engine, command, plain), (error) => {
    if (!(error instanceof ServiceUnavailable)) return Effect.die(error)
    return Effect.withFiber((fiber) => {
      if (isRejection(error)) engine.counts.fallbacks++
      engine.answers.fallback++
      const part = engine.whileAway === "fail" ? undefined : answerInPart(engine.held, command, nowOf(fiber))
      return Effect.succeed(part === undefined ? command.nothing : command.decode(part))
    })
  })

/** A write, whose result tells of what reached the server only. */
const reached = <A>(engine: Engine, command: Command.Write<A>): Effect.Effect<A> =>
  Effect.catch(
    write<A, A>(engine, command, (value, source) => (source === "live" ? value : command.nothing)),
    (error) => {
      if (error._tag === "Misconfigured" || error._tag === "RedisFailure") return Effect.die(error)
      if (isRejection(error)) engine.counts.fallbacks++
      engine.answers.fallback++
      return Effect.succeed(command.nothing)
    }
  )
