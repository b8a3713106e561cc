/**
 * The gateway's Redis over sockets: the login limit that gateways share, what health says, and what is never said.
 */
import { readFileSync } from "node:fs"
import { describe, expect, it } from "@effect/vitest"
import { RedisServer } from "@failsoft/testing"
import { Effect } from "effect"
import { vi } from "vitest"
import { eventually, logIn, type Running } from "./inProcess.ts"
import {
  begin,
  checkedBy,
  healthOf,
  logOut,
  type RedisHealth,
  readyOf,
  secret,
  startWith,
  untilBack,
  urlOf
} from "./withRedis.ts"

vi.setConfig({ testTimeout: 20_000, maxConcurrency: 4 })

/** Tries from one address at some gateways in turn, and how many of them got in. */
const tries = (gateways: ReadonlyArray<Running>, address: string, count: number) =>
  Effect.map(
    Effect.forEach(Array.from({ length: count }), (_, index) =>
      logIn(gateways[index % gateways.length] ?? Effect.runSync(Effect.die("none")), "lovelace", address)
    ),
    (replies) => {
      for (const { status } of replies) expect([200, 429]).toContain(status)
      return replies.filter(({ status }) => status === 200).length
    }
  )

/** Waits until the circuits have been due, and probed in vain, so often that one which is probed wrongly had closed. */
const untilProbed = ({ log }: Running): Effect.Effect<void> =>
  eventually(() => {
    const probed = log.filter((line) => line.includes("redis-write: circuit open, a probe failed"))
    // Each line is there in three formats.
    expect(probed.length).toBeGreaterThanOrEqual(3 * 4)
    expect(log.join("\n")).toContain("login-limit: circuit half-open, probing")
    expect(log.join("\n")).not.toContain("login-limit: circuit closed")
  })

const circuitOf = (running: Running, name: string): Effect.Effect<unknown> =>
  Effect.map(running.send(`/health/circuit-breaker/${name}`), ({ body }) => body)

describe.concurrent("the login limit", () => {
  it.live("is one for all gateways, one for each while Redis is away, and one for all again", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const [here, there] = [yield* startWith(server), yield* startWith(server)]
      expect(yield* tries([here, there], "203.0.113.1", 8)).toBe(5)
      expect(yield* server.command("GET", "ratelimiter:login:203.0.113.1")).toBe("5")

      yield* server.kill
      // The circuit is closed still: these calls find out, and none of them is lost.
      expect(yield* tries([here, there], "203.0.113.2", 14)).toBe(10)
      expect(yield* circuitOf(here, "login-limit")).toMatchObject({ state: "open" })
      expect(yield* tries([here, there], "203.0.113.3", 14)).toBe(10)
      yield* untilProbed(here)

      yield* server.restart
      yield* untilBack(here)
      yield* untilBack(there)
      expect(yield* tries([here, there], "203.0.113.4", 8)).toBe(5)
    })
  )

  it.live("is each process's own while Redis takes no writes, however well it answers a PING", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server)
      yield* server.command("CONFIG", "SET", "maxmemory", "1")
      expect(yield* tries([gateway], "203.0.113.1", 7)).toBe(5)
      // Redis answers a PING all the while, which says nothing about counting.
      expect(yield* circuitOf(gateway, "login-limit")).toMatchObject({ state: "open" })
      expect(yield* server.command("PING")).toBe("PONG")
      yield* untilProbed(gateway)
      yield* server.command("CONFIG", "SET", "maxmemory", "0")
      yield* untilBack(gateway)
      expect(yield* tries([gateway], "203.0.113.2", 7)).toBe(5)
      expect(yield* server.command("GET", "ratelimiter:login:203.0.113.2")).toBe("5")
    })
  )

  it.live("lets nobody in while Redis denies the right to count, and the log says why", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server)
      yield* server.command("ACL", "SETUSER", "default", "-evalsha", "-eval")
      const statuses = yield* Effect.forEach([1, 2, 3], () => logIn(gateway))
      expect(statuses.map(({ status }) => status)).toEqual([502, 502, 502])
      const errors = gateway.log.filter((line) => line.includes("login-limit is misconfigured"))
      expect(errors.filter((line) => line.startsWith("{"))).toEqual([
        expect.stringContaining("the server answers NOPERM")
      ])
      yield* server.command("ACL", "SETUSER", "default", "+@all")
      expect((yield* logIn(gateway)).status).toBe(200)
    })
  )

  it.live("costs a try one wait at most while Redis is silent", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server)
      yield* server.stop
      const reply = yield* logIn(gateway)
      expect(reply.status).toBe(200)
      // One wait for the limit and one for the session.
      expect(reply.millis).toBeLessThan(2_000)
      yield* server.continue
    })
  )
})

/** `GET /health/redis` as section 4 of the requirements has it, each key in its place. */
const shape = {
  redis_available: true,
  circuit_breaker: {
    state: "closed",
    failure_count: 0,
    total_calls: 0,
    successful_calls: 0,
    failed_calls: 0,
    fallback_calls: 0,
    cache_hits: 0,
    cache_misses: 0,
    cache_size: 0,
    last_failure_time: null
  },
  degraded_mode: false
}

const expectConsistent = ({ circuit_breaker }: RedisHealth): void => {
  expect(Object.keys(circuit_breaker)).toEqual(Object.keys(shape.circuit_breaker))
  const count = (key: string): number => Number(circuit_breaker[key])
  const answered = count("successful_calls") + count("failed_calls") + count("fallback_calls")
  expect(answered).toBeLessThanOrEqual(count("total_calls"))
}

describe.concurrent("health", () => {
  it.live("has the shape of the requirements in each state, and is never stored", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server)
      const reply = yield* gateway.send("/health/redis")
      expect([reply.status, reply.body]).toEqual([200, shape])
      expect(reply.text).toBe(JSON.stringify(shape))
      expect(reply.headers.get("cache-control")).toBe("no-store")

      const session = yield* begin(gateway)
      expect(yield* checkedBy(gateway, session)).toBe("live")
      expect(yield* healthOf(gateway)).toEqual({
        ...shape,
        circuit_breaker: { ...shape.circuit_breaker, total_calls: 2, successful_calls: 2, cache_size: 1 }
      })

      yield* server.kill
      // The connection is seen to be gone before any call.
      yield* eventually(async () => {
        expect(await Effect.runPromise(healthOf(gateway))).toMatchObject({
          redis_available: false,
          degraded_mode: true,
          circuit_breaker: { state: "closed", failed_calls: 0 }
        })
      })
      expect(yield* readyOf(gateway)).toMatchObject({
        status: "degraded",
        checks: { cache: { status: "degraded", enabled: true, initialized: true } }
      })
      for (let calls = 0; calls < 8; calls++) expect(yield* checkedBy(gateway, session)).toBe("stale")
      const open = yield* healthOf(gateway)
      expect(open).toMatchObject({
        redis_available: false,
        degraded_mode: true,
        circuit_breaker: {
          state: expect.stringMatching(/^(half_)?open$/),
          last_failure_time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/)
        }
      })
      expect(Number(open.circuit_breaker.cache_hits)).toBeGreaterThanOrEqual(8)
      expect(Number(open.circuit_breaker.fallback_calls)).toBeGreaterThanOrEqual(1)
      expectConsistent(open)
      const ready = yield* gateway.send("/health/ready")
      expect([ready.status, ready.headers.get("cache-control")]).toEqual([200, "no-store"])

      yield* server.restart
      yield* untilBack(gateway)
      const back = yield* healthOf(gateway)
      expect(back).toMatchObject({ redis_available: true, degraded_mode: false })
      expectConsistent(back)
    })
  )

  it.live("is degraded where Redis never came, and asks nobody", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      yield* server.kill
      const gateway = yield* startWith(server)
      expect(yield* healthOf(gateway)).toEqual({ ...shape, redis_available: false, degraded_mode: true })
      expect(yield* readyOf(gateway)).toMatchObject({
        status: "degraded",
        checks: {
          cache: { status: "degraded", enabled: true, initialized: false },
          "login-limit": { status: "degraded", initialized: false },
          auth: { status: "ok" }
        }
      })
      expect((yield* gateway.send("/readyz")).status).toBe(200)
    })
  )

  it.live("says that Redis is switched off, which is no trouble", () =>
    Effect.gen(function* () {
      const gateway = yield* startWith(yield* RedisServer.make(), { env: { REDIS_ENABLED: "false" } })
      expect(yield* healthOf(gateway)).toEqual({ ...shape, redis_available: false, degraded_mode: true })
      expect(yield* readyOf(gateway)).toMatchObject({
        status: "healthy",
        checks: { cache: { status: "ok", enabled: false } }
      })
      expect(yield* checkedBy(gateway, yield* begin(gateway))).toBe("signature")
      expect(yield* tries([gateway], "203.0.113.1", 7)).toBe(5)
    })
  )

  it.live("answers while Redis is silent, in no time", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server)
      yield* gateway.send("/health/redis")
      const commands = Effect.map(server.command("INFO", "stats"), (info) =>
        Number(/total_commands_processed:(\d+)/.exec(String(info))?.[1])
      )
      const before = yield* commands
      for (const path of ["/health/redis", "/health/ready", "/health/circuit-breaker", "/readyz"]) {
        yield* gateway.send(path)
      }
      // Two more: the INFO of each count, and the login before it.
      expect((yield* commands) - before).toBe(2)
      yield* server.stop
      const { millis } = yield* gateway.send("/health/redis")
      expect(millis).toBeLessThan(400)
      yield* server.continue
    })
  )
})

describe.concurrent("one gateway", () => {
  it.live("has one connection to Redis for all that it does there, and closes it when it ends", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const others = Effect.map(
        server.command("CLIENT", "LIST"),
        (list) =>
          String(list)
            .trim()
            .split("\n")
            .filter((line) => !line.includes("cmd=client")).length
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          const gateway = yield* startWith(server)
          yield* checkedBy(gateway, yield* begin(gateway))
          expect(yield* others).toBe(1)
          yield* server.kill
          yield* begin(gateway)
          yield* server.restart
          yield* untilBack(gateway)
          yield* begin(gateway)
          expect(yield* others).toBe(1)
        })
      )
      yield* eventually(async () => expect(await Effect.runPromise(others)).toBe(0))
    })
  )

  it.live("gets along with the rights that the page on troubleshooting names", () =>
    Effect.gen(function* () {
      const page = readFileSync(new URL("../../docs/troubleshooting.md", import.meta.url), "utf8")
      const [, commands = "", keys = ""] = /The gateway needs (.*?),? on (.*?)\. It works/s.exec(page) ?? []
      const wordsIn = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, word]) => word ?? "")
      const rights = [
        ...wordsIn(commands).map((word) => `+${word.replace(" ", "|").toLowerCase()}`),
        ...wordsIn(keys).map((key) => `~${key}`)
      ]
      const server = yield* RedisServer.make()
      yield* server.command("ACL", "SETUSER", "least", "on", ">word", "-@all", ...rights)
      const REDIS_URL = `redis://least:word@${server.host}:${server.port}`
      const gateway = yield* startWith(server, { env: { REDIS_URL } })
      yield* server.command("SCRIPT", "FLUSH")
      const session = yield* begin(gateway)
      expect(yield* checkedBy(gateway, session)).toBe("live")
      expect((yield* logOut(gateway, session)).status).toBe(204)
      expect(yield* server.command("ACL", "LOG")).toEqual([])
      yield* server.kill
      yield* tries([gateway], "203.0.113.9", 6)
      yield* checkedBy(gateway, yield* begin(gateway))
      yield* server.restart
      // What is set up by a command is gone with the server.
      yield* server.command("ACL", "SETUSER", "least", "on", ">word", "-@all", ...rights)
      yield* untilBack(gateway)
      expect(yield* server.command("ACL", "LOG")).toEqual([])
    })
  )

  it.live("says no secret, whatever becomes of its Redis", () =>
    Effect.gen(function* () {
      const password = "canary-redis-password-9e2b"
      const server = yield* RedisServer.make({ password })
      const gateway = yield* startWith(server)
      const session = yield* begin(gateway)
      const said: Array<string> = []
      const ask = Effect.gen(function* () {
        for (const reply of [
          yield* gateway.send("/api/v1/session", { headers: { authorization: `Bearer ${session}` } }),
          yield* logOut(gateway, `${session}x`),
          yield* gateway.send("/health/redis"),
          yield* gateway.send("/health/ready"),
          yield* gateway.send("/health/circuit-breaker")
        ]) {
          said.push(JSON.stringify([...reply.headers]), reply.text)
        }
      })
      yield* ask
      yield* server.command("ACL", "SETUSER", "default", "-hgetall")
      yield* ask
      yield* server.kill
      yield* Effect.repeat(ask, { times: 6 })
      yield* eventually(() => expect(gateway.log.join()).toContain("circuit open"))
      const all = [...said, ...gateway.log].join("\n")
      const signature = session.split(".")[2] ?? ""
      for (const word of [password, secret, urlOf(server), signature]) expect(all).not.toContain(word)
    })
  )
})
