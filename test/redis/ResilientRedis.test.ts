/** The commands of `ResilientRedis` on a server that is there, what they fail with, and how it is set up. */
import { describe, expect, it } from "@effect/vitest"
import { Command, IoRedis, ResilientRedis } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import {
  Clock,
  ConfigProvider,
  Context,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Redacted,
  Result
} from "effect"
import { Deadline, Health, InvalidOption, Misconfigured, ServiceUnavailable } from "failsoft"
import {
  becomes,
  brisk,
  brittle,
  callsOf,
  connect,
  layer,
  lose,
  quietly,
  recovered,
  started,
  timeoutMillis,
  told,
  urlOf
} from "./resilient.ts"

const errorOf: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<E, A, R> = Effect.flip

/** What an item of a pipeline failed with. */
const failureOf = (item: Result.Result<unknown, unknown>): unknown =>
  Result.isFailure(item) ? item.failure : undefined

const scored = (member: string, score: number): Command.Scored => ({ member, score })

const toSeconds = (left: Duration.Duration | undefined) =>
  left === undefined ? undefined : Math.round(Duration.toSeconds(left))

const isAround = (left: Duration.Duration | undefined, millis: number) =>
  left !== undefined && Math.abs(Duration.toMillis(left) - millis) < 400

const hasFailedWith = (tag: string) => (exit: Exit.Exit<unknown, { readonly _tag: string }>) =>
  Exit.isFailure(exit) && exit.cause.reasons.some((reason) => "error" in reason && reason.error._tag === tag)

/** Every command in turn, and what each answers on an empty server. */
const everyCommand: ReadonlyArray<
  readonly [
    what: string,
    run: (redis: ResilientRedis.Client) => Effect.Effect<unknown, unknown>,
    answer: unknown
  ]
> = [
  ["get of nothing", (redis) => redis.get("text"), undefined],
  ["set", (redis) => redis.set("text", "one"), true],
  ["get", (redis) => redis.get("text"), "one"],
  ["set if absent, which it is not", (redis) => redis.set("text", "two", { ifAbsent: true }), false],
  ["set if present", (redis) => redis.set("text", "two", { ifPresent: true }), true],
  ["set if present, which it is not", (redis) => redis.set("none", "two", { ifPresent: true }), false],
  ["set for seconds", (redis) => redis.set("text", "two", { expireIn: "100 seconds" }), true],
  ["ttl", (redis) => Effect.map(redis.ttl("text"), toSeconds), 100],
  ["set and keep the end", (redis) => redis.set("text", "three", { keepTtl: true }), true],
  ["ttl that was kept", (redis) => Effect.map(redis.ttl("text"), toSeconds), 100],
  ["set for milliseconds", (redis) => redis.set("text", "three", { expireIn: "100500 millis" }), true],
  ["ttl in milliseconds", (redis) => Effect.map(redis.ttl("text"), (left) => isAround(left, 100_500)), true],
  [
    "set until a moment",
    (redis) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        redis.set("text", "four", { expireAtMillis: now + 50_000 })
      ),
    true
  ],
  ["ttl until a moment", (redis) => Effect.map(redis.ttl("text"), toSeconds), 50],
  ["set without an end", (redis) => redis.set("text", "five"), true],
  ["ttl without an end", (redis) => redis.ttl("text"), Duration.infinity],
  ["ttl of nothing", (redis) => redis.ttl("none"), undefined],
  ["expire", (redis) => redis.expire("text", "200 seconds"), true],
  ["expire of nothing", (redis) => redis.expire("none", "200 seconds"), false],
  ["expire if it has no end", (redis) => redis.expire("text", "300 seconds", "none"), false],
  ["expire if it has one", (redis) => redis.expire("text", "300500 millis", "some"), true],
  ["expire if sooner", (redis) => redis.expire("text", "400 seconds", "sooner"), false],
  ["expire if later", (redis) => redis.expire("text", "400 seconds", "later"), true],
  ["ttl after that", (redis) => Effect.map(redis.ttl("text"), toSeconds), 400],
  ["setGet", (redis) => redis.setGet("text", "six"), "five"],
  ["setGet of nothing", (redis) => redis.setGet("fresh", "1", { expireIn: "1 minute" }), undefined],
  ["setGet if absent", (redis) => redis.setGet("text", "seven", { ifAbsent: true }), "six"],
  ["mget", (redis) => redis.mget(["text", "none", "fresh"]), ["six", undefined, "1"]],
  ["exists", (redis) => redis.exists("text", "none", "fresh", "text"), 3],
  ["incr", (redis) => redis.incr("fresh"), 2],
  ["incr by", (redis) => redis.incr("fresh", 10), 12],
  ["decr", (redis) => redis.decr("fresh"), 11],
  ["decr by", (redis) => redis.decr("fresh", 4), 7],
  ["del", (redis) => redis.del("text", "none", "fresh"), 2],
  ["hset", (redis) => redis.hset("hash", { a: "1", b: "two", "": "empty" }), 3],
  ["hset of one that is there", (redis) => redis.hset("hash", { a: "one", c: "3" }), 1],
  ["hget", (redis) => redis.hget("hash", "a"), "one"],
  ["hget of nothing", (redis) => redis.hget("hash", "none"), undefined],
  ["hgetall", (redis) => redis.hgetall("hash"), { a: "one", b: "two", "": "empty", c: "3" }],
  ["hgetall of nothing", (redis) => redis.hgetall("none"), {}],
  ["hdel", (redis) => redis.hdel("hash", "b", "none"), 1],
  ["zadd", (redis) => redis.zadd("set", [scored("a", 1), scored("b", 2.5), scored("c", 4)]), 3],
  ["zadd only new ones", (redis) => redis.zadd("set", [scored("a", 9), scored("d", 5)], { only: "add" }), 1],
  [
    "zadd only old ones, counting changes",
    (redis) => redis.zadd("set", [scored("a", 0), scored("e", 5)], { only: "change", countChanged: true }),
    1
  ],
  [
    "zadd only greater ones",
    (redis) => redis.zadd("set", [scored("a", 1), scored("b", 1)], { change: "greater", countChanged: true }),
    1
  ],
  [
    "zadd only lesser ones",
    (redis) => redis.zadd("set", [scored("a", 8), scored("b", 2)], { change: "less", countChanged: true }),
    1
  ],
  ["zadd without end", (redis) => redis.zadd("set", [scored("z", Number.POSITIVE_INFINITY)]), 1],
  ["zcard", (redis) => redis.zcard("set"), 5],
  ["zcard of nothing", (redis) => redis.zcard("none"), 0],
  ["zrange by rank", (redis) => redis.zrange("set", 1, -2), ["b", "c", "d"]],
  ["zrange in reverse", (redis) => redis.zrange("set", 0, 1, { reverse: true }), ["z", "d"]],
  ["zrange by score", (redis) => redis.zrange("set", "(1", 4, { by: "score" }), ["b", "c"]],
  [
    "zrange by score without bounds",
    (redis) => redis.zrange("set", "-inf", "+inf", { by: "score" }),
    [..."abcdz"]
  ],
  [
    "zrange by score in reverse, some of it",
    (redis) => redis.zrange("set", "+inf", 2, { by: "score", reverse: true, limit: { offset: 1, count: 2 } }),
    ["d", "c"]
  ],
  [
    "zrangeWithScores",
    (redis) => redis.zrangeWithScores("set", 0, -1),
    [scored("a", 1), scored("b", 2), scored("c", 4), scored("d", 5), scored("z", Number.POSITIVE_INFINITY)]
  ],
  [
    "zrangeWithScores by score",
    (redis) => redis.zrangeWithScores("set", 2, "(5", { by: "score" }),
    [scored("b", 2), scored("c", 4)]
  ],
  ["zremrangebyscore", (redis) => redis.zremrangebyscore("set", 2, "(5"), 2],
  ["zremrangebyscore without bounds", (redis) => redis.zremrangebyscore("set", "-inf", "+inf"), 3],
  ["ping", (redis) => redis.ping, undefined]
]

/** A client whose every method is the one of another view, as far as that has it. */
const seenThrough: Readonly<Record<string, (redis: ResilientRedis.Client) => ResilientRedis.Client>> = {
  strict: (redis) => redis,
  "…Served": (redis) => {
    const live = <A>(served: Effect.Effect<{ readonly value: A; readonly source: string }, never>) =>
      Effect.map(served, ({ source, value }) => {
        expect(source).toBe("live")
        return value
      })
    return Object.fromEntries(
      Object.entries(redis).map(([name, member]) => {
        const served = Reflect.get(redis, `${name}Served`)
        return [
          name,
          typeof served === "function" ? (...args: ReadonlyArray<unknown>) => live(served(...args)) : member
        ]
      })
    ) as typeof redis
  },
  lenient: (redis) => ({ ...redis, ...redis.lenient, ping: redis.ping, time: redis.time })
}

describe("every command on a server that is there", () => {
  it.live.each(Object.entries(seenThrough))("answers as Redis does: %s", ([, through]) =>
    Effect.gen(function* () {
      const { redis } = yield* started()
      const client = through(redis)
      const answers: Array<readonly [string, unknown]> = []
      for (const [what, run] of everyCommand) answers.push([what, yield* run(client)])
      expect(answers).toEqual(everyCommand.map(([what, , answer]) => [what, answer]))
    })
  )

  it.live("tells the time of the server, and that it answers", () =>
    Effect.gen(function* () {
      const { redis } = yield* started()
      const now = yield* Clock.currentTimeMillis
      expect(Math.abs((yield* redis.time) - now)).toBeLessThan(2_000)
      expect(Math.abs(((yield* redis.lenient.time) ?? 0) - now)).toBeLessThan(2_000)
      expect(yield* redis.lenient.ping).toBe(true)
      expect(yield* redis.lenient.get("none", "default")).toBe("default")
      expect(yield* redis.lenient.hget("none", "field", 7)).toBe(7)
      expect(yield* redis.lenient.get("none")).toBeUndefined()
    })
  )

  it.live("is the same alone, in a pipeline and in a transaction, with a prefix or without", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      for (const keyPrefix of [undefined, "app:"]) {
        const { redis } = yield* connect(server.url, { ...(keyPrefix === undefined ? {} : { keyPrefix }) })
        yield* redis.hset("h", { f: "v" })
        yield* redis.zadd("z", [scored("m", 1.5)])
        yield* redis.set("k", "v")
        const commands = [
          Command.get("k"),
          Command.mget(["k", "none"]),
          Command.hgetall("h"),
          Command.zrangeWithScores("z", 0, -1),
          Command.ttl("k"),
          Command.ping
        ] as const
        const answers = ["v", ["v", undefined], { f: "v" }, [scored("m", 1.5)], Duration.infinity, true]
        expect(yield* redis.pipeline(commands)).toEqual(answers.map((answer) => Result.succeed(answer)))
        expect(yield* redis.multi(commands)).toEqual(answers.map((answer) => Result.succeed(answer)))
        expect(yield* redis.get("k")).toBe("v")
      }
      expect(yield* server.command("GET", "app:k")).toBe("v")
    })
  )
})

describe("several commands in one go", () => {
  it.live("in a pipeline each have a result of their own", () =>
    Effect.gen(function* () {
      const { redis } = yield* started()
      yield* redis.hset("hash", { f: "v" })
      const [set, wrong, count, read] = yield* redis.pipeline([
        Command.set("k", "v", { expireIn: "1 minute" }),
        Command.incr("hash"),
        Command.incr("n", 3),
        Command.get("k")
      ])
      expect([set, count, read]).toEqual([Result.succeed(true), Result.succeed(3), Result.succeed("v")])
      expect(failureOf(wrong)).toMatchObject({
        _tag: "RedisFailure",
        command: "INCR",
        class: "caller",
        code: "WRONGTYPE"
      })
      expect(yield* redis.pipeline([])).toEqual([])
      expect(yield* redis.multi([])).toEqual([])
    })
  )

  it.live("in a transaction are applied together, whatever one of them answers", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started()
      yield* redis.set("text", "words")
      const [one, wrong, other] = yield* redis.multi([
        Command.incr("one"),
        Command.hget("text", "f"),
        Command.incr("other", 2)
      ])
      expect([one, other]).toEqual([Result.succeed(1), Result.succeed(2)])
      expect(failureOf(wrong)).toMatchObject({ class: "caller", code: "WRONGTYPE" })
      expect(yield* callsOf(server, "exec")).toBe(1)
    })
  )

  it.live("in a transaction that the server cannot read are applied not at all", () =>
    Effect.gen(function* () {
      const { redis } = yield* started({ ...brittle })
      const error = yield* errorOf(redis.multi([Command.incr("n"), Command.mget([]), Command.incr("n")]))
      expect(error).toMatchObject({ _tag: "RedisFailure", class: "caller", code: "EXECABORT" })
      expect(yield* redis.get("n")).toBeUndefined()
      expect((yield* redis.health).circuit_breaker.state).toBe("closed")
    })
  )
})

describe("what is no command", () => {
  it.live("runs through `use`, and its mistakes are the caller's", () =>
    Effect.gen(function* () {
      const { redis } = yield* started({ ...brittle })
      expect(yield* redis.use("RPUSH", ({ send }) => send("RPUSH", "list", "a", "b"))).toBe(2)
      const error = yield* errorOf(redis.use("LPOP", ({ send }) => send("LPOP", "list", "many")))
      expect(error).toMatchObject({ _tag: "RedisFailure", command: "LPOP", class: "caller" })
      expect(yield* redis.use("LLEN", ({ send }) => send("LLEN", "list"))).toBe(2)
    })
  )

  it.live("is Ambiguous when it was sent and not answered, and unavailable when not sent", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(brittle)
      const publish = redis.use("PUBLISH", ({ send }) => send("PUBLISH", "news", "hello"))
      expect(yield* publish).toBe(0)
      yield* server.stop
      expect(yield* errorOf(publish)).toMatchObject({ _tag: "Ambiguous", operation: "PUBLISH" })
      expect(yield* errorOf(publish)).toMatchObject({
        _tag: "ServiceUnavailable",
        reason: { _tag: "CircuitOpen" }
      })
    })
  )
})

describe("the caller's own errors", () => {
  it.live("neither trip a circuit nor are answered from here", () =>
    Effect.gen(function* () {
      const { redis } = yield* started(brittle)
      yield* redis.set("text", "words")
      yield* redis.get("text")
      const mistakes: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        redis.hget("text", "f"),
        redis.hset("text", { f: "v" }),
        redis.incr("text"),
        redis.zcard("text")
      ]
      for (const wrong of mistakes) {
        expect(yield* errorOf(wrong)).toMatchObject({ _tag: "RedisFailure", class: "caller" })
      }
      expect(yield* redis.health).toMatchObject({
        redis_available: true,
        degraded_mode: false,
        circuit_breaker: { state: "closed", failed_calls: 0, failure_count: 0, successful_calls: 6 }
      })
      expect(yield* redis.getServed("text")).toEqual({ value: "words", source: "live" })
    })
  )

  it.live("are defects of the lenient view", () =>
    Effect.gen(function* () {
      const { redis } = yield* started()
      yield* redis.set("text", "words")
      expect(Exit.hasDies(yield* Effect.exit(redis.lenient.hget("text", "f")))).toBe(true)
      expect(Exit.hasDies(yield* Effect.exit(redis.lenient.incr("text")))).toBe(true)
    })
  )
})

describe("a server that refuses us as we are set up", () => {
  const refusals: ReadonlyArray<
    readonly [
      what: string,
      refuse: (server: RedisServer.RedisServer) => Effect.Effect<unknown, unknown>,
      code: string
    ]
  > = [
    [
      "by its password, which was changed",
      (server) =>
        Effect.andThen(
          server.command("CONFIG", "SET", "requirepass", "rotated"),
          server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        ),
      "WRONGPASS"
    ],
    [
      "by its rights, which were taken",
      (server) => server.command("ACL", "SETUSER", "default", "-get", "-set", "-incr"),
      "NOPERM"
    ]
  ]

  it.live.each(refusals)(
    "%s, is never answered from here, and a defect of the lenient view",
    ([, refuse, code]) =>
      Effect.gen(function* () {
        const { events, redis, server } = yield* started(brisk, { password: "s3cret" })
        yield* redis.set("k", "v")
        yield* redis.get("k")
        yield* refuse(server)
        yield* becomes(Effect.exit(redis.get("k")), hasFailedWith("Misconfigured"))
        // An answer may not be here by chance, so it is asked more often than it takes to open a circuit.
        for (let index = 0; index < 6; index++) {
          expect(String(yield* errorOf(redis.get("k")))).toContain(code)
          expect(yield* errorOf(redis.set("k", "w"))).toBeInstanceOf(Misconfigured)
          expect(yield* errorOf(redis.incr("n"))).toBeInstanceOf(Misconfigured)
        }
        const [read, written] = yield* redis.pipeline([Command.get("k"), Command.set("k", "w")])
        expect(failureOf(read)).toBeInstanceOf(Misconfigured)
        expect(failureOf(written)).toBeInstanceOf(Misconfigured)
        expect(yield* errorOf(redis.multi([Command.get("k")]))).toBeInstanceOf(Misconfigured)
        expect(Exit.hasDies(yield* Effect.exit(redis.lenient.get("k")))).toBe(true)
        expect(Exit.hasDies(yield* Effect.exit(redis.lenient.set("k", "w")))).toBe(true)
        expect(told(events, "CircuitOpened").filter(({ policy }) => policy === "redis-write")).toEqual([])
      })
  )

  it.live("at the start, is no reason to degrade", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make({ password: "s3cret" })
      expect(yield* errorOf(connect(urlOf(server)))).toBeInstanceOf(Misconfigured)
      expect(yield* errorOf(connect(urlOf(server, ":wr0ng@")))).toBeInstanceOf(Misconfigured)
    })
  )
})

describe("a command whose fate is unknown", () => {
  /** A client behind a proxy that swallows the first replies, and lets the connection go when something is tried again. */
  const forgetful = (attempts: number) =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const proxy = yield* FaultProxy.make(server)
      const { events, redis } = yield* connect(urlOf(proxy), {
        retry: {
          attempts,
          schedule: { _tag: "Exponential", base: "1 second", factor: 1, cap: "1 second", jitter: "none" }
        }
      })
      yield* redis.ping
      yield* server.command("CONFIG", "RESETSTAT")
      const loseReplyOf = <A, E>(call: Effect.Effect<A, E>) =>
        Effect.gen(function* () {
          yield* proxy.setMode(FaultProxy.dropReplies)
          const running = yield* Effect.forkChild(Effect.result(call), { startImmediately: true })
          yield* becomes(
            Effect.sync(
              () => told(events, "RetryScheduled").length + (running.pollUnsafe() === undefined ? 0 : 1)
            ),
            (over) => over > 0
          )
          yield* proxy.setMode(FaultProxy.pass)
          yield* proxy.dropConnections
          return yield* Fiber.join(running)
        })
      return { redis, server, events, loseReplyOf }
    })

  it.live.each([
    ["a read", (redis) => redis.get("k"), "get"],
    ["a last-wins write", (redis) => redis.set("k", "v"), "set"],
    ["a deletion", (redis) => redis.del("k"), "del"]
  ] as ReadonlyArray<
    readonly [string, (redis: ResilientRedis.Client) => Effect.Effect<unknown, unknown>, string]
  >)("is sent again if it is %s", ([, run, name]) =>
    Effect.gen(function* () {
      const { loseReplyOf, redis, server } = yield* forgetful(2)
      expect(Result.isSuccess(yield* loseReplyOf(run(redis)))).toBe(true)
      expect(yield* callsOf(server, name)).toBe(2)
    })
  )

  it.live.each([
    ["a counter", (redis) => redis.incr("k"), "incr"],
    ["setGet", (redis) => redis.setGet("k", "v"), "set"],
    ["a transaction", (redis) => redis.multi([Command.set("k", "v")]), "exec"],
    [
      "a script",
      (redis) => redis.use("EVAL", ({ send }) => send("EVAL", "return redis.call('INCR', 'k')", "0")),
      "eval"
    ]
  ] as ReadonlyArray<
    readonly [string, (redis: ResilientRedis.Client) => Effect.Effect<unknown, unknown>, string]
  >)("is Ambiguous, and sent once, if it is %s", ([, run, name]) =>
    Effect.gen(function* () {
      const { events, loseReplyOf, redis, server } = yield* forgetful(5)
      const outcome = yield* loseReplyOf(run(redis))
      expect(failureOf(outcome)).toMatchObject({ _tag: "Ambiguous" })
      expect(yield* callsOf(server, name)).toBe(1)
      expect(told(events, "RetryScheduled")).toEqual([])
    })
  )

  it.live("in a pipeline is not sent again, and only its writes are Ambiguous", () =>
    Effect.gen(function* () {
      const { loseReplyOf, redis, server } = yield* forgetful(5)
      const [read, written] = Result.getOrThrow(
        yield* loseReplyOf(redis.pipeline([Command.get("other"), Command.set("k", "v")]))
      )
      expect(failureOf(read)).toMatchObject({ _tag: "ServiceUnavailable" })
      expect(failureOf(written)).toMatchObject({ _tag: "Ambiguous" })
      expect(yield* callsOf(server, "set")).toBe(1)
    })
  )

  it.live("is forgotten here, so that no read repeats what may be wrong", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(brittle)
      yield* redis.set("k", "before")
      yield* redis.set("other", "before")
      yield* server.stop
      expect(yield* errorOf(redis.set("k", "after"))).toMatchObject({ _tag: "Ambiguous", operation: "SET" })
      expect(yield* errorOf(redis.get("k"))).toBeInstanceOf(ServiceUnavailable)
      expect(yield* redis.getServed("other")).toMatchObject({ value: "before", source: "stale" })
    })
  )

  it.live("because its caller was interrupted is forgotten too", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(brittle)
      for (const key of ["alone", "piped", "whole", "other"]) yield* redis.set(key, "before")
      yield* server.stop
      const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        redis.set("alone", "after"),
        redis.pipeline([Command.set("piped", "after")]),
        redis.multi([Command.set("whole", "after")])
      ]
      const running = yield* Effect.forEach(calls, (call) =>
        Effect.forkChild(call, { startImmediately: true })
      )
      yield* Fiber.interruptAll(running)
      yield* lose(server, redis)
      for (const key of ["alone", "piped", "whole"]) {
        expect(yield* errorOf(redis.get(key))).toBeInstanceOf(ServiceUnavailable)
      }
      expect(yield* redis.get("other")).toBe("before")
    })
  )
})

describe("a deadline", () => {
  it.live("ends a command at a stopped server, and a write that was sent is Ambiguous", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started({ retry: { enabled: false } })
      yield* redis.set("held", "before")
      yield* server.stop
      const timed = <A, E>(call: Effect.Effect<A, E>) =>
        Effect.gen(function* () {
          const before = yield* Clock.currentTimeMillis
          const result = yield* Effect.result(call.pipe(Deadline.within("100 millis")))
          expect((yield* Clock.currentTimeMillis) - before).toBeLessThan(timeoutMillis - 50)
          return result
        })
      expect(failureOf(yield* timed(redis.get("none")))).toMatchObject({ reason: { _tag: "TimedOut" } })
      expect(failureOf(yield* timed(redis.set("k", "v")))).toMatchObject({ _tag: "Ambiguous" })
      expect(failureOf(yield* timed(redis.incr("n")))).toMatchObject({ _tag: "Ambiguous" })
      expect(failureOf(yield* timed(redis.multi([Command.incr("n")])))).toMatchObject({ _tag: "Ambiguous" })
      expect(
        failureOf(yield* timed(redis.use("PUBLISH", ({ send }) => send("PUBLISH", "news", "hello"))))
      ).toMatchObject({
        _tag: "Ambiguous"
      })
      expect(yield* timed(redis.getServed("held"))).toMatchObject({ success: { source: "stale" } })
      expect(yield* timed(redis.lenient.get("none", "default"))).toEqual(Result.succeed("default"))
      expect(yield* timed(redis.lenient.set("k", "v"))).toEqual(Result.succeed(false))
    })
  )

  it.live("that is spent sends nothing, so a write is neither Ambiguous nor held: Redis may be there", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started({ retry: { enabled: false } })
      yield* server.command("CONFIG", "RESETSTAT")
      for (const call of [redis.set("k", "v"), Effect.asVoid(redis.incr("n"))]) {
        expect(yield* errorOf(Deadline.within(Effect.asVoid(call), 0))).toMatchObject({
          _tag: "ServiceUnavailable",
          reason: { _tag: "TimedOut" }
        })
      }
      expect(yield* redis.getServed("k")).toEqual({ value: undefined, source: "live" })
      expect(yield* callsOf(server, "incr")).toBe(0)
    })
  )
})

describe("a server that refuses writes", () => {
  const fill = (server: RedisServer.RedisServer) =>
    Effect.andThen(
      server.command("CONFIG", "SET", "maxmemory-policy", "noeviction"),
      server.command("CONFIG", "SET", "maxmemory", "1")
    )

  it.live("because it is full serves reads; writes are unavailable, and held nowhere", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(brittle)
      yield* redis.set("k", "before")
      yield* server.command("SET", "unseen", "theirs")
      yield* fill(server)
      for (let index = 0; index < 3; index++) {
        expect(yield* errorOf(redis.set("k", "after"))).toBeInstanceOf(ServiceUnavailable)
        expect(yield* redis.lenient.set("k", "after")).toBe(false)
        expect(yield* redis.getServed("k")).toEqual({ value: "before", source: "live" })
      }
      expect(yield* errorOf(redis.set("k", "after"))).toMatchObject({ reason: { _tag: "CircuitOpen" } })
      const [seen, written, unseen] = yield* redis.pipeline([
        Command.get("k"),
        Command.set("k", "after"),
        Command.get("unseen")
      ])
      expect(failureOf(written)).toMatchObject({ _tag: "ServiceUnavailable" })
      expect([seen, unseen]).toEqual([Result.succeed("before"), Result.succeed("theirs")])
      expect(yield* redis.health).toMatchObject({ degraded_mode: true, circuit_breaker: { state: "open" } })
    })
  )

  it.live("says so to a pipeline and to a transaction as well", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started({ retry: { enabled: false } })
      yield* fill(server)
      const [written, read] = yield* redis.pipeline([Command.set("k", "v"), Command.get("k")])
      expect(failureOf(written)).toMatchObject({ _tag: "ServiceUnavailable" })
      expect(read).toEqual(Result.succeed(undefined))
      expect(yield* errorOf(redis.multi([Command.set("k", "v")]))).toBeInstanceOf(ServiceUnavailable)
      expect((yield* redis.health).circuit_breaker.failed_calls).toBe(2)
    })
  )

  it.live("as a replica does serves reads", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(brisk)
      yield* server.command("REPLICAOF", "127.0.0.1", "1")
      yield* server.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
      expect(yield* errorOf(redis.set("k", "v"))).toBeInstanceOf(ServiceUnavailable)
      expect(yield* redis.getServed("k")).toEqual({ value: undefined, source: "live" })
      yield* server.command("REPLICAOF", "NO", "ONE")
      yield* recovered(redis)
      expect(yield* redis.setServed("k", "v")).toEqual({ value: true, source: "live" })
    })
  )

  it.live("has its writes back by itself, with no call", () =>
    Effect.gen(function* () {
      const { redis, server } = yield* started(brisk)
      yield* fill(server)
      expect(yield* errorOf(redis.set("k", "v"))).toBeInstanceOf(ServiceUnavailable)
      yield* server.command("CONFIG", "SET", "maxmemory", "0")
      yield* recovered(redis)
      expect(yield* redis.setServed("k", "v")).toEqual({ value: true, source: "live" })
    })
  )

  it.live("by making them wait opens the circuit of the writes alone", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const proxy = yield* FaultProxy.make(server)
      const { events, redis } = yield* connect(urlOf(proxy))
      yield* redis.set("k", "before")
      yield* server.command("CLIENT", "PAUSE", 60_000, "WRITE")
      const writes = Array.from({ length: 5 }, (_, index) => errorOf(redis.incr(`n${index}`)))
      for (const error of yield* Effect.all(writes, { concurrency: "unbounded" })) {
        expect(error).toMatchObject({ _tag: "Ambiguous", operation: "INCR" })
      }
      expect(yield* errorOf(redis.incr("n"))).toMatchObject({ reason: { _tag: "CircuitOpen" } })
      // The writes that wait hold up what comes after them on their connection, which is given up for another soon.
      yield* becomes(proxy.stats, ({ accepted }) => accepted === 2)
      yield* becomes(redis.getServed("k"), ({ source }) => source === "live")
      expect(told(events, "CircuitOpened").map(({ policy }) => policy)).toEqual(["redis-write"])
      expect(yield* errorOf(redis.incr("n"))).toMatchObject({ reason: { _tag: "CircuitOpen" } })
    })
  )
})

describe("several in one application", () => {
  class Sessions extends Context.Service<Sessions, ResilientRedis.Client>()("test/Sessions") {}
  class Carts extends Context.Service<Carts, ResilientRedis.Client>()("test/Carts") {}

  it.live("have circuits of their own, over one connection or several", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const other = yield* RedisServer.make()
      const shared = IoRedis.layer({ url: server.url, commandTimeout: timeoutMillis })
      const context = yield* Layer.build(
        Layer.mergeAll(
          layer(other.url, { ...brittle, name: "default" }),
          ResilientRedis.layerOf(Sessions, { ...brittle, name: "sessions", connection: shared }),
          ResilientRedis.layerOf(Carts, { ...brittle, name: "carts", connection: shared })
        ).pipe(Layer.provideMerge(Layer.merge(Health.layer, shared)))
      ).pipe(quietly)
      const [redis, sessions, carts] = [
        Context.get(context, ResilientRedis.ResilientRedis),
        Context.get(context, Sessions),
        Context.get(context, Carts)
      ]
      const names = Effect.map(Context.get(context, Health.Health).components, (all) =>
        all.map(({ name }) => name).sort()
      )
      expect(yield* names).toEqual(
        ["default", "sessions", "carts"].flatMap((name) => [name, `${name}-read`, `${name}-write`]).sort()
      )
      yield* sessions.set("k", "of both")
      expect(yield* carts.get("k")).toBe("of both")
      expect(yield* redis.get("k")).toBeUndefined()
      // One connection for the two, beside that of the operator who asks.
      expect(String(yield* server.command("INFO", "clients"))).toContain("connected_clients:2\r")

      yield* server.kill
      expect(yield* errorOf(sessions.incr("n"))).toMatchObject({
        service: expect.stringContaining("sessions")
      })
      expect((yield* sessions.health).circuit_breaker.state).toBe("open")
      expect((yield* carts.health).circuit_breaker.state).toBe("closed")
      expect(yield* redis.incr("n")).toBe(1)
    })
  )
})

describe("without a Redis", () => {
  const context = (given: ResilientRedis.Options = {}) =>
    Effect.map(Layer.build(ResilientRedis.layerDisabled(given)), Context.get(ResilientRedis.ResilientRedis))

  it.effect("it is always degraded, and asks nothing", () =>
    Effect.gen(function* () {
      const redis = yield* context()
      expect(yield* errorOf(redis.get("k"))).toMatchObject({ reason: { _tag: "NotConnected" } })
      expect(yield* redis.setServed("k", "v")).toEqual({ value: true, source: "local" })
      expect(yield* redis.getServed("k")).toEqual({ value: "v", source: "local" })
      expect(yield* redis.lenient.set("k", "w")).toBe(false)
      expect(yield* redis.lenient.get("k")).toBe("w")
      expect(yield* errorOf(redis.incr("n"))).toBeInstanceOf(ServiceUnavailable)
      expect(yield* errorOf(redis.use("PUBLISH", ({ send }) => send("PUBLISH", "a", "b")))).toBeInstanceOf(
        ServiceUnavailable
      )
      expect(yield* redis.health).toEqual({
        redis_available: false,
        degraded_mode: true,
        circuit_breaker: {
          state: "closed",
          failure_count: 0,
          total_calls: 0,
          successful_calls: 0,
          failed_calls: 0,
          fallback_calls: 0,
          cache_hits: 2,
          cache_misses: 1,
          cache_size: 1,
          last_failure_time: null
        }
      })
    })
  )
})

describe("options that are out of their range", () => {
  const wrong: ReadonlyArray<readonly [option: string, given: ResilientRedis.Options]> = [
    ["name", { name: "" }],
    ["held.maxEntries", { held: { maxEntries: 0 } }],
    ["held.maxEntries", { held: { maxEntries: 10_000_001 } }],
    ["held.maxEntries", { held: { maxEntries: 1.5 } }],
    ["held.maxBytes", { held: { maxBytes: 1023 } }],
    ["held.maxBytes", { held: { maxBytes: 2 ** 40 + 1 } }],
    ["held.maxStale", { held: { maxStale: 0 } }],
    ["held.maxStale", { held: { maxStale: "25 days" } }],
    ["onReturn.replayPerSecond", { onReturn: { replayPerSecond: 0 } }],
    ["onReturn.replayPerSecond", { onReturn: { replayPerSecond: Number.NaN } }],
    ["onReturn.replayPerSecond", { onReturn: { replayPerSecond: 1_000_001 } }],
    ["commandTimeout", { commandTimeout: 0 }],
    ["commandTimeout", { commandTimeout: Duration.infinity }],
    ["probeEvery", { probeEvery: 0 }],
    ["retry.attempts", { retry: { attempts: 0 } }],
    ["breaker.halfOpen.probes", { breaker: { halfOpen: { probes: 0 } } }],
    ["breaker.trip.failures", { breaker: { trip: { _tag: "Consecutive", failures: 0 } } }]
  ]

  it.live.each(wrong)("are named: %s", ([option, given]) =>
    Effect.gen(function* () {
      const error = yield* errorOf(Layer.build(ResilientRedis.layerDisabled(given)))
      expect(error).toBeInstanceOf(InvalidOption)
      expect(error).toMatchObject({ policy: option === "name" ? "policy" : "redis", option })
      // Nothing is waited for first, though nobody is there who could be connected to.
      const before = yield* Clock.currentTimeMillis
      expect(
        yield* errorOf(connect(Redacted.make("redis://127.0.0.1:1"), { ...given, mode: "required" }))
      ).toEqual(error)
      expect((yield* Clock.currentTimeMillis) - before).toBeLessThan(200)
    })
  )

  it.effect("are words that are none of those allowed, too", () =>
    Effect.gen(function* () {
      const words: ReadonlyArray<readonly [string, object]> = [
        ["whileAway", { whileAway: "panic" }],
        ["conditionalWrites", { conditionalWrites: "maybe" }],
        ["commandTimeout", { commandTimeout: "soon" }],
        ["held.maxStale", { held: { maxStale: "long" } }]
      ]
      for (const [option, given] of words) {
        expect(yield* errorOf(Layer.build(ResilientRedis.layerDisabled(given)))).toMatchObject({
          _tag: "InvalidOption",
          option
        })
      }
    })
  )
})

describe("from the environment", () => {
  const configured = (
    env: Readonly<Record<string, string>>,
    given?: Parameters<typeof ResilientRedis.layerConfig>[0]
  ) =>
    Layer.build(ResilientRedis.layerConfig(given)).pipe(
      quietly,
      Effect.map(Context.get(ResilientRedis.ResilientRedis)),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
    )

  it.live("it connects where REDIS_URL says, with the times that are set", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make({ password: "s3cret" })
      const redis = yield* configured(
        {
          REDIS_URL: Redacted.value(server.url),
          REDIS_ENABLED: "true",
          REDIS_REQUIRED: "true",
          REDIS_CONNECT_TIMEOUT: "1",
          REDIS_SOCKET_TIMEOUT: "200 millis",
          REDIS_MAX_RETRIES: "1"
        },
        { name: "cache", keyPrefix: "app:", retry: { enabled: false } }
      )
      yield* redis.set("k", "v")
      expect(yield* server.command("GET", "app:k")).toBe("v")
      yield* server.stop
      const before = yield* Clock.currentTimeMillis
      expect(yield* errorOf(redis.incr("n"))).toMatchObject({ _tag: "Ambiguous", service: "cache" })
      expect((yield* Clock.currentTimeMillis) - before).toBeLessThan(400)
    })
  )

  it.live(
    "it waits for a silent server as long as REDIS_CONNECT_TIMEOUT says, so many times as REDIS_MAX_RETRIES",
    () =>
      Effect.gen(function* () {
        const proxy = yield* FaultProxy.make(yield* RedisServer.make())
        yield* proxy.setMode(FaultProxy.acceptAndSilent)
        const before = yield* Clock.currentTimeMillis
        const redis = yield* configured({
          REDIS_URL: Redacted.value(urlOf(proxy)),
          REDIS_CONNECT_TIMEOUT: "200 millis",
          REDIS_MAX_RETRIES: "2"
        })
        const elapsed = (yield* Clock.currentTimeMillis) - before
        expect(elapsed).toBeGreaterThan(400)
        expect(elapsed).toBeLessThan(1_000)
        expect((yield* proxy.stats).accepted).toBe(2)
        expect(yield* redis.health).toMatchObject({ redis_available: false, degraded_mode: true })
      })
  )

  it.effect("it connects to nothing with REDIS_ENABLED=false", () =>
    Effect.gen(function* () {
      const redis = yield* configured({ REDIS_ENABLED: "false", REDIS_URL: "redis://127.0.0.1:1" })
      expect(yield* redis.setServed("k", "v")).toEqual({ value: true, source: "local" })
      expect(yield* redis.health).toMatchObject({ redis_available: false, degraded_mode: true })
    })
  )

  it.live("it does not start without a server with REDIS_REQUIRED=true", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      yield* server.kill
      const before = yield* Clock.currentTimeMillis
      const error = yield* errorOf(
        configured({ REDIS_URL: Redacted.value(server.url), REDIS_REQUIRED: "true", REDIS_MAX_RETRIES: "1" })
      )
      expect(error).toBeInstanceOf(ServiceUnavailable)
      expect((yield* Clock.currentTimeMillis) - before).toBeLessThan(6_000)
    })
  )

  it.effect("a wrong variable is named", () =>
    Effect.gen(function* () {
      const variables = [
        "REDIS_URL",
        "REDIS_ENABLED",
        "REDIS_REQUIRED",
        "REDIS_CONNECT_TIMEOUT",
        "REDIS_SOCKET_TIMEOUT",
        "REDIS_MAX_RETRIES"
      ]
      for (const variable of variables) {
        expect(String(yield* errorOf(configured({ [variable]: "wr0ng" })))).toContain(variable)
      }
    })
  )
})
