/** What each command of `ResilientRedis` means while Redis is away, and what becomes of it when Redis is back. */
import { describe, expect, it } from "@effect/vitest"
import { Command, type ResilientRedis } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Clock, Duration, Effect, Exit } from "effect"
import { CircuitBreaker, ServiceUnavailable } from "failsoft"
import {
  becomes,
  brisk,
  brittle,
  callsOf,
  connect,
  lose,
  recovered,
  started,
  told,
  urlOf
} from "./resilient.ts"

type Client = ResilientRedis.Client

/** What is known of a key: something seen before the outage, something written since, or nothing. */
const knowledge = ["seen", "written", "nothing"] as const

interface Operation {
  readonly kind: "read" | "last-wins" | "conditional"
  /** What the key holds, where it is held. */
  readonly holds: "number" | "hash" | "set"
  readonly views: Readonly<
    Record<"strict" | "served" | "lenient", (redis: Client, key: string) => Effect.Effect<unknown, unknown>>
  >
  /** The answer where the key is held. */
  readonly held: unknown
  /** The answer of a last-wins write where nothing is; no answer where nothing can be said. */
  readonly unheld?: unknown
  /** What the lenient view answers instead. */
  readonly nothing: unknown
}

/** The method of that name in the three views. */
const views = (
  run: (view: Pick<Client["lenient"], keyof Client["lenient"]>, key: string) => Effect.Effect<unknown>,
  strict: (redis: Client, key: string) => Effect.Effect<unknown, unknown>,
  served: (redis: Client, key: string) => Effect.Effect<unknown, unknown>
): Operation["views"] => ({ strict, served, lenient: ({ lenient }, key) => run(lenient, key) })

const pair = [
  { member: "a", score: 1 },
  { member: "b", score: 2 }
]

const rounded = (left: Duration.Duration | undefined) =>
  left === undefined ? undefined : `${Math.round(Duration.toMinutes(left))} minutes`

const roundedServed = ({ value, ...rest }: { readonly value: Duration.Duration | undefined }) => ({
  value: rounded(value),
  ...rest
})

const operations: Readonly<Record<string, Operation>> = {
  get: {
    kind: "read",
    holds: "number",
    views: views(
      (lenient, key) => lenient.get(key, "default"),
      (redis, key) => redis.get(key),
      (redis, key) => redis.getServed(key)
    ),
    held: "7",
    nothing: "default"
  },
  mget: {
    kind: "read",
    holds: "number",
    views: views(
      (lenient, key) => lenient.mget([key, key]),
      (redis, key) => redis.mget([key, key]),
      (redis, key) => redis.mgetServed([key, key])
    ),
    held: ["7", "7"],
    nothing: [undefined, undefined]
  },
  exists: {
    kind: "read",
    holds: "number",
    views: views(
      (lenient, key) => lenient.exists(key),
      (redis, key) => redis.exists(key),
      (redis, key) => redis.existsServed(key)
    ),
    held: 1,
    nothing: 0
  },
  ttl: {
    kind: "read",
    holds: "number",
    views: views(
      (lenient, key) => Effect.map(lenient.ttl(key), rounded),
      (redis, key) => Effect.map(redis.ttl(key), rounded),
      (redis, key) => Effect.map(redis.ttlServed(key), roundedServed)
    ),
    held: "60 minutes",
    nothing: undefined
  },
  hget: {
    kind: "read",
    holds: "hash",
    views: views(
      (lenient, key) => lenient.hget(key, "f", "default"),
      (redis, key) => redis.hget(key, "f"),
      (redis, key) => redis.hgetServed(key, "f")
    ),
    held: "v",
    nothing: "default"
  },
  hgetall: {
    kind: "read",
    holds: "hash",
    views: views(
      (lenient, key) => lenient.hgetall(key),
      (redis, key) => redis.hgetall(key),
      (redis, key) => redis.hgetallServed(key)
    ),
    held: { f: "v", g: "w" },
    nothing: {}
  },
  zcard: {
    kind: "read",
    holds: "set",
    views: views(
      (lenient, key) => lenient.zcard(key),
      (redis, key) => redis.zcard(key),
      (redis, key) => redis.zcardServed(key)
    ),
    held: 2,
    nothing: 0
  },
  zrange: {
    kind: "read",
    holds: "set",
    views: views(
      (lenient, key) => lenient.zrange(key, "-inf", "(2", { by: "score" }),
      (redis, key) => redis.zrange(key, "-inf", "(2", { by: "score" }),
      (redis, key) => redis.zrangeServed(key, "-inf", "(2", { by: "score" })
    ),
    held: ["a"],
    nothing: []
  },
  zrangeWithScores: {
    kind: "read",
    holds: "set",
    views: views(
      (lenient, key) => lenient.zrangeWithScores(key, 0, -1),
      (redis, key) => redis.zrangeWithScores(key, 0, -1),
      (redis, key) => redis.zrangeWithScoresServed(key, 0, -1)
    ),
    held: pair,
    nothing: []
  },
  set: {
    kind: "last-wins",
    holds: "number",
    views: views(
      (lenient, key) => lenient.set(key, "8"),
      (redis, key) => redis.set(key, "8"),
      (redis, key) => redis.setServed(key, "8", { expireIn: "1 hour" })
    ),
    held: true,
    unheld: true,
    nothing: false
  },
  del: {
    kind: "last-wins",
    holds: "number",
    views: views(
      (lenient, key) => lenient.del(key),
      (redis, key) => redis.del(key),
      (redis, key) => redis.delServed(key)
    ),
    held: 1,
    unheld: 0,
    nothing: 0
  },
  expire: {
    kind: "last-wins",
    holds: "number",
    views: views(
      (lenient, key) => lenient.expire(key, "1 minute"),
      (redis, key) => redis.expire(key, "1 minute"),
      (redis, key) => redis.expireServed(key, "1500 millis")
    ),
    held: true,
    nothing: false
  },
  hset: {
    kind: "last-wins",
    holds: "hash",
    views: views(
      (lenient, key) => lenient.hset(key, { f: "x", h: "y" }),
      (redis, key) => redis.hset(key, { f: "x", h: "y" }),
      (redis, key) => redis.hsetServed(key, { f: "x", h: "y" })
    ),
    held: 1,
    unheld: 2,
    nothing: 0
  },
  hdel: {
    kind: "last-wins",
    holds: "hash",
    views: views(
      (lenient, key) => lenient.hdel(key, "f", "z"),
      (redis, key) => redis.hdel(key, "f", "z"),
      (redis, key) => redis.hdelServed(key, "f", "z")
    ),
    held: 1,
    unheld: 0,
    nothing: 0
  },
  zadd: {
    kind: "last-wins",
    holds: "set",
    views: views(
      (lenient, key) =>
        lenient.zadd(key, [
          { member: "a", score: 5 },
          { member: "c", score: 3 }
        ]),
      (redis, key) =>
        redis.zadd(key, [
          { member: "a", score: 5 },
          { member: "c", score: 3 }
        ]),
      (redis, key) =>
        redis.zaddServed(key, [
          { member: "a", score: 5 },
          { member: "c", score: 3 }
        ])
    ),
    held: 1,
    unheld: 2,
    nothing: 0
  },
  zremrangebyscore: {
    kind: "last-wins",
    holds: "set",
    views: views(
      (lenient, key) => lenient.zremrangebyscore(key, 1, 1),
      (redis, key) => redis.zremrangebyscore(key, 1, 1),
      (redis, key) => redis.zremrangebyscoreServed(key, 1, 1)
    ),
    held: 1,
    unheld: 0,
    nothing: 0
  },
  "set if absent": {
    kind: "conditional",
    holds: "number",
    views: views(
      (lenient, key) => lenient.set(key, "8", { ifAbsent: true }),
      (redis, key) => redis.set(key, "8", { ifAbsent: true }),
      (redis, key) => redis.setServed(key, "8", { ifAbsent: true })
    ),
    held: false,
    unheld: true,
    nothing: false
  },
  "set if present": {
    kind: "conditional",
    holds: "number",
    views: views(
      (lenient, key) => lenient.set(key, "8", { ifPresent: true }),
      (redis, key) => redis.set(key, "8", { ifPresent: true }),
      (redis, key) => redis.setServed(key, "8", { ifPresent: true })
    ),
    held: true,
    unheld: false,
    nothing: false
  },
  "expire on a condition": {
    kind: "conditional",
    holds: "number",
    views: views(
      (lenient, key) => lenient.expire(key, "2 hours", "later"),
      (redis, key) => redis.expire(key, "2 hours", "later"),
      (redis, key) => redis.expireServed(key, "2 hours", "later")
    ),
    held: true,
    nothing: false
  },
  "zadd of new members": {
    kind: "conditional",
    holds: "set",
    views: views(
      (lenient, key) => lenient.zadd(key, [{ member: "a", score: 5 }], { only: "add" }),
      (redis, key) => redis.zadd(key, [{ member: "a", score: 5 }], { only: "add" }),
      (redis, key) => redis.zaddServed(key, [{ member: "a", score: 5 }], { only: "add" })
    ),
    held: 0,
    unheld: 1,
    nothing: 0
  },
  "zadd of greater scores": {
    kind: "conditional",
    holds: "set",
    views: views(
      (lenient, key) => lenient.zadd(key, [{ member: "c", score: 5 }], { change: "greater" }),
      (redis, key) => redis.zadd(key, [{ member: "c", score: 5 }], { change: "greater" }),
      (redis, key) => redis.zaddServed(key, [{ member: "c", score: 5 }], { change: "greater" })
    ),
    held: 1,
    unheld: 1,
    nothing: 0
  },
  incr: {
    kind: "conditional",
    holds: "number",
    views: views(
      (lenient, key) => lenient.incr(key, 5),
      (redis, key) => redis.incr(key, 5),
      (redis, key) => redis.incrServed(key, 5)
    ),
    held: 12,
    unheld: 5,
    nothing: 0
  },
  decr: {
    kind: "conditional",
    holds: "number",
    views: views(
      (lenient, key) => lenient.decr(key),
      (redis, key) => redis.decr(key),
      (redis, key) => redis.decrServed(key)
    ),
    held: 6,
    unheld: -1,
    nothing: 0
  }
}

/** Puts something under a key: seen when Redis is there, held when it is not. */
const put = (redis: Client, key: string, holds: Operation["holds"]): Effect.Effect<unknown, unknown> => {
  switch (holds) {
    case "number":
      return redis.set(key, "7", { expireIn: "1 hour" })
    case "hash":
      return Effect.andThen(redis.del(key), redis.hset(key, { f: "v", g: "w" }))
    case "set":
      return Effect.andThen(redis.del(key), redis.zadd(key, pair))
  }
}

const look = (redis: Client, key: string, holds: Operation["holds"]): Effect.Effect<unknown, unknown> => {
  switch (holds) {
    case "number":
      return redis.get(key)
    case "hash":
      return redis.hgetall(key)
    case "set":
      return redis.zrangeWithScores(key, 0, -1)
  }
}

const cells = Object.entries(operations).flatMap(([name, operation]) =>
  (["strict", "served", "lenient"] as const).flatMap((view) =>
    knowledge.map((known) => ({ cell: `${view} ${name}, ${known}`, operation, view, known }))
  )
)

interface Away {
  readonly situation: "never started" | "circuit open"
  readonly whileAway: "memory" | "readonly" | "fail"
  readonly conditionalWrites: "fail" | "local"
}

/** What the matrix of DESIGN.md says that a cell comes to. */
const expected = (
  { conditionalWrites, situation, whileAway }: Away,
  { operation, known, view }: (typeof cells)[number]
): unknown => {
  const unavailable = situation === "never started" ? "NotConnected" : "CircuitOpen"
  const isWritten = known === "written" && whileAway === "memory"
  const isSeen = known === "seen" && whileAway !== "fail" && situation === "circuit open"
  const isHeld = isWritten || isSeen
  const isAnswered =
    operation.kind === "read"
      ? isHeld
      : whileAway === "memory" &&
        (operation.kind === "last-wins" || conditionalWrites === "local") &&
        (isHeld || "unheld" in operation)
  if (view === "lenient") return operation.kind === "read" && isHeld ? operation.held : operation.nothing
  if (!isAnswered) return unavailable
  const value = isHeld ? operation.held : operation.unheld
  const source = operation.kind === "read" && isSeen ? "stale" : "local"
  return view === "strict" ? value : { value, source }
}

/** What a call came to: its answer without the age, or why there is none. */
const outcome = (call: Effect.Effect<unknown, unknown>): Effect.Effect<unknown> =>
  Effect.match(call, {
    onSuccess: (answer) => {
      if (!(answer instanceof Object && "source" in answer && "value" in answer)) return answer
      if (answer.source === "stale") expect(answer).toMatchObject({ ageMillis: expect.any(Number) })
      return { value: answer.value, source: answer.source }
    },
    onFailure: (error) => (error instanceof ServiceUnavailable ? error.reason._tag : error)
  })

/** A client of a Redis that is away: with what was seen, where there was a time to see it. */
const away = ({ conditionalWrites, situation, whileAway }: Away) =>
  Effect.gen(function* () {
    const server = yield* RedisServer.make()
    const options = { ...brittle, whileAway, conditionalWrites }
    if (situation === "never started") {
      yield* server.kill
      // A circuit that never opens, so that each call finds out by itself that there is no connection.
      return (yield* connect(server.url, {
        ...options,
        breaker: { trip: CircuitBreaker.consecutive(1_000_000) }
      })).redis
    }
    const { redis } = yield* connect(server.url, options)
    for (const { cell, known, operation } of cells) {
      if (known !== "seen") continue
      yield* put(redis, cell, operation.holds)
      yield* look(redis, cell, operation.holds)
    }
    yield* lose(server, redis)
    return redis
  })

describe("every cell of the matrix", () => {
  const situations = (["never started", "circuit open"] as const).flatMap((situation) =>
    (["memory", "readonly", "fail"] as const).flatMap((whileAway) =>
      (["fail", "local"] as const).map(
        (conditionalWrites): Away => ({ situation, whileAway, conditionalWrites })
      )
    )
  )

  it.live.each(situations)(
    "$situation, whileAway $whileAway, conditionalWrites $conditionalWrites",
    (given) =>
      Effect.gen(function* () {
        const redis = yield* away(given)
        const actual: Record<string, unknown> = {}
        for (const { cell, known, operation, view } of cells) {
          if (known === "written") yield* Effect.exit(put(redis, cell, operation.holds))
          actual[cell] = yield* outcome(operation.views[view](redis, cell))
        }
        expect(actual).toEqual(Object.fromEntries(cells.map((cell) => [cell.cell, expected(given, cell)])))
      })
  )

  it.live.each(situations)(
    "what has no degraded form: $situation, whileAway $whileAway, conditionalWrites $conditionalWrites",
    (given) =>
      Effect.gen(function* () {
        const redis = yield* away(given)
        const reason = given.situation === "never started" ? "NotConnected" : "CircuitOpen"
        expect(yield* outcome(redis.ping)).toBe(reason)
        expect(yield* outcome(redis.time)).toBe(reason)
        expect(yield* outcome(redis.multi([Command.set("k", "v")]))).toBe(reason)
        expect(yield* outcome(redis.multi([Command.get("k")]))).toBe(reason)
        expect(yield* outcome(redis.use("PUBLISH", ({ send }) => send("PUBLISH", "news", "hello")))).toBe(
          reason
        )
        expect(yield* redis.lenient.ping).toBe(false)
        expect(yield* redis.lenient.time).toBeUndefined()
        // The old value of a key is for whoever is sure to have replaced it.
        const isLocal = given.whileAway === "memory" && given.conditionalWrites === "local"
        expect(yield* outcome(redis.setGet("fresh", "v"))).toBe(isLocal ? undefined : reason)
      })
  )

  it.live.each(situations)(
    "each item of a pipeline: $situation, whileAway $whileAway, conditionalWrites $conditionalWrites",
    (given) =>
      Effect.gen(function* () {
        const redis = yield* away(given)
        const items = yield* redis.pipeline([
          Command.set("k", "v"),
          Command.get("k"),
          Command.incr("n"),
          Command.get("strict get, seen")
        ])
        const reason = given.situation === "never started" ? "NotConnected" : "CircuitOpen"
        const isSeen = given.situation === "circuit open" && given.whileAway !== "fail"
        const holds = given.whileAway === "memory"
        expect(
          yield* Effect.forEach(items, (item) => outcome(Effect.fromResult<unknown, unknown>(item)))
        ).toEqual([
          holds ? true : reason,
          holds ? "v" : reason,
          holds && given.conditionalWrites === "local" ? 1 : reason,
          isSeen ? "7" : reason
        ])
      })
  )
})

describe("the lenient view", () => {
  it.live("holds what did not reach Redis all the same, and answers what is known of several keys", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(brittle)
      yield* redis.mget(["seen"])
      yield* redis.set("seen", "1")
      yield* lose(server, redis)
      expect(yield* redis.lenient.set("k", "v")).toBe(false)
      expect(yield* redis.getServed("k")).toEqual({ value: "v", source: "local" })
      expect(yield* redis.lenient.mget(["k", "none", "seen"])).toEqual(["v", undefined, "1"])
      expect(yield* redis.lenient.exists("k", "none", "seen", "k")).toBe(3)
      expect(yield* redis.lenient.del("seen")).toBe(0)
      expect(yield* redis.existsServed("seen", "k")).toEqual({ value: 1, source: "local" })
    })
  )
})

describe("what was deleted during the outage is not brought back", () => {
  it.live("by what had been seen, whether it was deleted, ran out or was revoked", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(brittle)
      for (const key of ["deleted", "short", "ended"]) yield* redis.set(key, "v")
      yield* redis.hset("session", { user: "ada", token: "t" })
      yield* redis.hgetall("session")
      yield* redis.set("ending", "v", { expireIn: "100 millis" })
      yield* lose(server, redis)

      expect(yield* redis.delServed("deleted")).toEqual({ value: 1, source: "local" })
      expect(yield* redis.getServed("deleted")).toEqual({ value: undefined, source: "local" })
      expect(yield* redis.ttlServed("deleted")).toEqual({ value: undefined, source: "local" })
      expect(yield* redis.lenient.get("deleted", "default")).toBe("default")
      expect(yield* redis.hgetallServed("deleted")).toEqual({ value: {}, source: "local" })

      yield* redis.expire("short", "50 millis")
      yield* redis.expire("ended", 0)
      expect(yield* redis.getServed("ended")).toEqual({ value: undefined, source: "local" })
      expect(yield* redis.getServed("short")).toEqual({ value: "v", source: "local" })
      yield* becomes(redis.getServed("short"), ({ value }) => value === undefined)
      expect(yield* redis.existsServed("short")).toEqual({ value: 0, source: "local" })

      expect(yield* redis.hdelServed("session", "token")).toEqual({ value: 1, source: "local" })
      expect(yield* redis.hgetServed("session", "token")).toEqual({ value: undefined, source: "local" })
      expect(yield* redis.hgetallServed("session")).toEqual({ value: { user: "ada" }, source: "local" })

      // Nobody here ended this one, so nothing is said of it when its time has run out.
      yield* becomes(Effect.exit(redis.get("ending")), Exit.isFailure)
      expect(yield* outcome(redis.get("ending"))).toBe("CircuitOpen")
    })
  )
})

describe("what was seen", () => {
  it.live("is served for as long as maxStale, also where a write here went on from it", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started({ ...brittle, held: { maxStale: "250 millis" } })
      const beforeNanos = yield* Clock.monotonicTimeNanos
      yield* redis.set("k", "v")
      yield* redis.hset("session", { user: "ada" })
      yield* redis.hgetall("session")
      yield* lose(server, redis)
      yield* redis.hset("session", { page: "home" })
      expect(yield* redis.getServed("k")).toMatchObject({ value: "v", source: "stale" })
      expect(yield* redis.hgetallServed("session")).toEqual({
        value: { user: "ada", page: "home" },
        source: "local"
      })

      yield* becomes(Effect.exit(redis.get("k")), Exit.isFailure)
      expect((yield* Clock.monotonicTimeNanos) - beforeNanos).toBeGreaterThanOrEqual(250_000_000n)
      expect(yield* redis.lenient.get("k", "default")).toBe("default")
      // It was seen a moment later.
      yield* becomes(Effect.exit(redis.hgetall("session")), Exit.isFailure)
      expect(yield* outcome(redis.hgetall("session"))).toBe("CircuitOpen")
      expect(yield* outcome(redis.hget("session", "user"))).toBe("CircuitOpen")
      expect(yield* redis.hgetServed("session", "page")).toEqual({ value: "home", source: "local" })
    })
  )

  it.live("leaves when there is more of it than fits, and so does what was written", () =>
    Effect.gen(function* () {
      const { events, redis, server } = yield* started({ ...brisk, held: { maxEntries: 2, maxBytes: 4096 } })
      for (const key of ["a", "b", "c"]) yield* redis.set(key, key)
      yield* lose(server, redis)
      expect(yield* redis.lenient.mget(["a", "b", "c"])).toEqual([undefined, "b", "c"])
      for (const key of ["x", "y", "z"]) yield* redis.set(key, key)
      expect(yield* redis.lenient.mget(["x", "y", "z"])).toEqual([undefined, "y", "z"])
      // The two are counted apart: what is written leaves what was seen alone.
      expect(yield* redis.lenient.mget(["b", "c"])).toEqual(["b", "c"])
      expect((yield* redis.health).circuit_breaker.cache_size).toBe(4)
      expect(yield* outcome(redis.set("large", "x".repeat(4096)))).not.toBe(true)
      expect(yield* redis.lenient.get("y")).toBe("y")

      yield* server.restart
      yield* recovered(redis)
      yield* becomes(
        Effect.sync(() => told(events, "HeldWritesDiscarded")),
        ({ length }) => length === 1
      )
      // The two that were held, and the one that had to go.
      expect(told(events, "HeldWritesDiscarded")).toMatchObject([{ policy: "redis", count: 3 }])
    })
  )
})

describe("an open circuit", () => {
  it.live("makes no Redis calls", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(brittle)
      yield* redis.set("seen", "v")
      yield* server.stop
      yield* Effect.all([Effect.exit(redis.get("none")), Effect.exit(redis.incr("n"))], {
        concurrency: "unbounded"
      })
      yield* server.continue
      expect((yield* redis.health).circuit_breaker.state).toBe("open")
      yield* server.command("CONFIG", "RESETSTAT")
      for (let index = 0; index < 10; index++) {
        yield* Effect.exit(redis.ping)
        yield* redis.get("seen")
        yield* Effect.exit(redis.get("none"))
        yield* redis.set("k", "v")
        yield* Effect.exit(redis.incr("n"))
        yield* redis.lenient.mget(["seen", "none"])
        yield* redis.pipeline([Command.get("seen"), Command.set("k", "v")])
        yield* Effect.exit(redis.multi([Command.incr("n")]))
        yield* Effect.exit(redis.use("PUBLISH", ({ send }) => send("PUBLISH", "news", "hello")))
      }
      const commands = [...String(yield* server.command("INFO", "commandstats")).matchAll(/cmdstat_([^:]+)/g)]
      expect(commands.map(([, name]) => name).sort()).toEqual(["auth", "config|resetstat"])
    })
  )
})

describe("when Redis is back", () => {
  it.live("what was written here is given up, nothing of it is sent, and reads are live", () =>
    Effect.gen(function* () {
      const { events, redis, server } = yield* started(brisk, { keepData: true })
      yield* redis.set("seen", "before")
      yield* redis.hset("kept", { f: "v" })
      yield* lose(server, redis)
      yield* redis.set("seen", "after")
      yield* redis.set("new", "after")
      yield* redis.hset("hash", { f: "v" })
      yield* redis.zadd("scores", pair)
      yield* redis.del("kept")
      yield* server.restart
      yield* recovered(redis)
      yield* becomes(
        Effect.sync(() => told(events, "HeldWritesDiscarded")),
        ({ length }) => length > 0
      )
      expect(told(events, "HeldWritesDiscarded")).toMatchObject([{ policy: "redis", count: 5 }])
      expect(yield* redis.getServed("seen")).toEqual({ value: "before", source: "live" })
      expect(yield* redis.getServed("new")).toEqual({ value: undefined, source: "live" })
      expect(yield* redis.hgetallServed("kept")).toEqual({ value: { f: "v" }, source: "live" })
      expect(yield* redis.setServed("new", "later")).toEqual({ value: true, source: "live" })
      for (const name of ["hset", "zadd", "del"]) expect(yield* callsOf(server, name)).toBe(0)
      expect(yield* server.command("EXISTS", "hash", "scores")).toBe(0)
      expect((yield* redis.health).circuit_breaker).toMatchObject({ state: "closed" })
      expect(told(events, "HeldWritesDiscarded")).toHaveLength(1)
    })
  )

  it.live("it is found out by probes, with no call at all", () =>
    Effect.gen(function* () {
      const { events, redis, server } = yield* started(brisk)
      yield* lose(server, redis)
      expect((yield* redis.health).circuit_breaker.state).toBe("open")
      yield* server.restart
      yield* recovered(redis)
      const closed = told(events, "CircuitClosed").map(({ policy }) => policy)
      expect(closed.sort()).toEqual(["redis-read", "redis-write"])
      expect(yield* callsOf(server, "ping")).toBeGreaterThan(0)
      // The probe of the writes leaves nothing behind.
      yield* becomes(server.command("DBSIZE"), (size) => size === 0)
    })
  )

  it.live("it is found out by a Redis that was away from the start, too", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const proxy = yield* FaultProxy.make(server)
      yield* proxy.setMode(FaultProxy.refuse)
      const { events, redis } = yield* connect(urlOf(proxy), brisk)
      expect(told(events, "DegradedStart")).toHaveLength(1)
      yield* redis.set("k", "v")
      yield* proxy.setMode(FaultProxy.pass)
      yield* recovered(redis)
      yield* becomes(redis.getServed("k"), ({ source }) => source === "live")
      expect(yield* redis.get("k")).toBeUndefined()
      expect(told(events, "HeldWritesDiscarded")).toMatchObject([{ count: 1 }])
    })
  )
})

describe("what is to be sent on return", () => {
  const replaying = (perSecond: number, options?: RedisServer.Options) =>
    started({ ...brisk, onReturn: { replayPerSecond: perSecond } }, { keepData: true, ...options })

  const replayed = (events: Parameters<typeof told>[0]) =>
    becomes(
      Effect.sync(() => told(events, "HeldWritesReplayed")),
      ({ length }) => length > 0
    )

  it.live("is the last write of each part of a key, with what is left of its time, once", () =>
    Effect.gen(function* () {
      const { events, redis, server } = yield* replaying(1_000)
      yield* redis.set("gone", "before")
      yield* redis.hset("hash", { a: "0", b: "0", c: "0" })
      yield* redis.zadd("scores", pair)
      yield* lose(server, redis)
      for (const value of ["1", "2", "3"]) yield* redis.set("k", value, { expireIn: "10 seconds" })
      yield* redis.del("gone")
      yield* redis.set("over", "v", { expireIn: "50 millis" })
      yield* redis.hset("hash", { a: "1", b: "1" })
      yield* redis.hset("hash", { a: "2" })
      yield* redis.hdel("hash", "c")
      yield* redis.expire("hash", "1 minute")
      yield* redis.zadd("scores", [{ member: "a", score: 9 }], { countChanged: true })
      yield* redis.zremrangebyscore("scores", 2, 2)
      const awayMillis = 200
      yield* Effect.sleep(awayMillis)
      yield* server.restart
      yield* server.command("CONFIG", "RESETSTAT")
      yield* recovered(redis)

      // SET k, DEL gone, DEL over, HSET a, HSET b, HDEL c, PEXPIRE hash, ZADD a, ZREMRANGEBYSCORE.
      expect(yield* replayed(events)).toMatchObject([{ policy: "redis", count: 9, lost: 0 }])
      expect(yield* server.command("GET", "k")).toBe("3")
      const left = Number(yield* server.command("PTTL", "k"))
      expect(left).toBeLessThanOrEqual(10_000 - awayMillis)
      expect(left).toBeGreaterThan(5_000)
      expect(yield* server.command("EXISTS", "gone", "over")).toBe(0)
      expect(yield* server.command("HGETALL", "hash")).toEqual(["a", "2", "b", "1"])
      expect(Number(yield* server.command("PTTL", "hash"))).toBeLessThanOrEqual(60_000 - awayMillis)
      expect(yield* server.command("ZRANGE", "scores", 0, -1, "WITHSCORES")).toEqual(["a", "9"])
      expect(yield* redis.getServed("k")).toEqual({ value: "3", source: "live" })

      // Once: whatever is written from now on brings nothing of it back.
      yield* server.command("DEL", "k", "hash")
      yield* redis.set("other", "v")
      yield* redis.get("other")
      expect(yield* server.command("EXISTS", "k", "hash")).toBe(0)
      expect(yield* callsOf(server, "hset")).toBe(2)
      expect(told(events, "HeldWritesReplayed")).toHaveLength(1)
      expect(told(events, "HeldWritesDiscarded")).toEqual([])
    })
  )

  it.live("keeps to its rate, and is answered from here until it was sent", () =>
    Effect.gen(function* () {
      const { events, redis, server } = yield* replaying(20)
      yield* lose(server, redis)
      const keys = ["a", "b", "c", "d", "e", "f"]
      for (const key of keys) yield* redis.set(key, key)
      yield* server.restart
      yield* recovered(redis)
      expect(yield* redis.getServed("f")).toEqual({ value: "f", source: "local" })
      const [{ atMillis, count } = { atMillis: 0, count: 0 }] = yield* replayed(events)
      expect(count).toBe(6)
      const closedAt =
        told(events, "CircuitClosed").find(({ policy }) => policy === "redis-write")?.atMillis ?? 0
      expect(atMillis - closedAt).toBeGreaterThanOrEqual(6 * 50 - 20)
      expect(yield* redis.mgetServed(keys)).toEqual({ value: keys, source: "live" })
    })
  )

  it.live("does not overwrite what was written to Redis meanwhile", () =>
    Effect.gen(function* () {
      const { events, redis, server } = yield* started({
        ...brisk,
        breaker: { ...brisk.breaker, halfOpen: { successes: 4 } },
        probeEvery: "1 minute",
        onReturn: { replayPerSecond: 10 }
      })
      yield* lose(server, redis)
      for (const key of ["half-open", "sent", "closed", "last"]) yield* redis.set(key, "held")
      yield* server.restart
      // The circuit is half-open, so nothing is sent yet.
      const counted = becomes(Effect.exit(redis.incr("n")), Exit.isSuccess)
      yield* counted
      expect(yield* redis.setServed("half-open", "newer")).toEqual({ value: true, source: "live" })
      expect(yield* redis.get("half-open")).toBe("newer")
      yield* Effect.repeat(counted, { times: 2 })
      // Ten a second go now; the last is still held here.
      expect(yield* redis.setServed("last", "newer")).toEqual({ value: true, source: "live" })
      expect(yield* replayed(events)).toMatchObject([{ count: 2, lost: 0 }])
      expect(yield* server.command("MGET", "half-open", "sent", "closed", "last")).toEqual([
        "newer",
        "held",
        "held",
        "newer"
      ])
    })
  )

  it.live("is nothing of conditional writes that were answered from here", () =>
    Effect.gen(function* () {
      const { events, redis, server } = yield* started({
        ...brisk,
        conditionalWrites: "local",
        onReturn: { replayPerSecond: 1_000 }
      })
      yield* lose(server, redis)
      expect(yield* redis.incr("n", 5)).toBe(5)
      expect(yield* redis.set("once", "v", { ifAbsent: true })).toBe(true)
      expect(yield* redis.set("once", "v", { ifAbsent: true })).toBe(false)
      expect(yield* redis.setGet("old", "v")).toBeUndefined()
      expect(yield* redis.zadd("scores", pair, { only: "add" })).toBe(2)
      yield* redis.set("k", "v")
      yield* server.restart
      yield* recovered(redis)
      expect(yield* replayed(events)).toMatchObject([{ count: 1, lost: 0 }])
      expect(yield* server.command("EXISTS", "n", "once", "old", "scores")).toBe(0)
      expect(yield* server.command("GET", "k")).toBe("v")
    })
  )

  it.live("stays here when Redis goes away again, and what Redis refuses is lost", () =>
    Effect.gen(function* () {
      const { events, redis, server } = yield* replaying(10)
      yield* redis.set("text", "words")
      yield* lose(server, redis)
      yield* redis.hset("text", { f: "v" }).pipe(Effect.flip)
      yield* redis.del("text")
      yield* redis.hset("text", { f: "v" })
      for (const key of ["b", "c", "d"]) yield* redis.set(key, "held")
      yield* server.restart
      yield* recovered(redis)
      yield* becomes(callsOf(server, "del"), (calls) => calls === 1)
      // Another process has it now as a text again, which no HSET goes with.
      yield* server.command("SET", "text", "words")
      yield* becomes(callsOf(server, "hset"), (calls) => calls === 1)
      yield* server.kill
      yield* Effect.exit(redis.incr("n"))
      expect(yield* redis.getServed("d")).toEqual({ value: "held", source: "local" })
      yield* server.restart
      yield* recovered(redis)
      yield* becomes(server.command("EXISTS", "b", "c", "d"), (count) => count === 3)
      const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((total, number) => total + number, 0)
      const totals = Effect.sync(() => {
        const all = told(events, "HeldWritesReplayed")
        return [sum(all.map(({ count }) => count)), sum(all.map(({ lost }) => lost))]
      })
      yield* becomes(totals, (counts) => sum(counts) === 5)
      expect(yield* totals).toEqual([4, 1])
    })
  )
})

describe("health", () => {
  it.live("sums both circuits, and counts what was answered from here", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started({
        ...brittle,
        breaker: { trip: CircuitBreaker.consecutive(2) }
      })
      yield* redis.set("k", "v")
      yield* redis.get("k")
      expect(yield* redis.health).toEqual({
        redis_available: true,
        degraded_mode: false,
        circuit_breaker: {
          state: "closed",
          failure_count: 0,
          total_calls: 2,
          successful_calls: 2,
          failed_calls: 0,
          fallback_calls: 0,
          cache_hits: 0,
          cache_misses: 0,
          cache_size: 1,
          last_failure_time: null
        }
      })
      yield* server.kill
      yield* Effect.exit(redis.ping)
      const failed = yield* becomes(redis.health, ({ redis_available }) => !redis_available)
      expect(failed.circuit_breaker).toMatchObject({ state: "closed", failure_count: 1, failed_calls: 1 })
      expect(failed.degraded_mode).toBe(true)
      yield* redis.get("k")
      // From here on the circuit of the reads rejects.
      yield* redis.get("k")
      yield* redis.lenient.get("none")
      yield* Effect.exit(redis.get("none"))
      yield* redis.pipeline([Command.get("k"), Command.get("k"), Command.get("none")])
      const { circuit_breaker, ...rest } = yield* redis.health
      expect(rest).toEqual({ redis_available: false, degraded_mode: true })
      expect(circuit_breaker).toMatchObject({
        state: "open",
        failure_count: 2,
        total_calls: 8,
        successful_calls: 2,
        failed_calls: 2,
        fallback_calls: 3,
        cache_hits: 4,
        cache_misses: 4,
        cache_size: 1,
        last_failure_time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      })
    })
  )

  it.live("never counts more than there was, whatever happened", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started({ ...brisk, conditionalWrites: "local" })
      const many = [Command.get("a"), Command.set("b", "v"), Command.incr("c"), Command.hgetall("d")] as const
      for (let round = 0; round < 3; round++) {
        yield* redis.pipeline(many)
        yield* lose(server, redis)
        for (let index = 0; index < 20; index++) {
          yield* redis.pipeline(many)
          yield* redis.lenient.mget(["a", "b"])
          yield* redis.lenient.set("b", "w")
          yield* Effect.exit(redis.multi(many))
        }
        yield* server.restart
        yield* recovered(redis)
        const { failed_calls, fallback_calls, successful_calls, total_calls } = (yield* redis.health)
          .circuit_breaker
        expect(fallback_calls).toBeGreaterThan(0)
        expect(successful_calls + failed_calls + fallback_calls).toBeLessThanOrEqual(total_calls)
      }
    })
  )
})
