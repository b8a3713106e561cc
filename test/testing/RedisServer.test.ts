/**
 * Real servers: how they start, fail to start and end, and that nothing of them is left over.
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { RedisServer } from "@failsoft/testing"
import { Effect, Exit, Fiber, Random, Redacted, Scope } from "effect"
import { afterEach, beforeEach, onTestFinished, vi } from "vitest"
import { findBinary } from "../../packages/testing/src/internal/binary.ts"
import { eventually, listen, open } from "./sockets.ts"

// Longer than the 10 seconds in which a server gives up, so that a failure says why.
vi.setConfig({ testTimeout: 20_000 })

const isAlive = (pid: number | undefined): boolean => {
  try {
    process.kill(pid ?? 0, 0)
  } catch {
    return false
  }
  // An orphan that nobody has reaped yet still has its number.
  const status = `/proc/${pid}/stat`
  return !(existsSync(status) && / Z /.test(readFileSync(status, "utf8")))
}

let scratch = ""

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "failsoft-test-"))
  vi.stubEnv("TMPDIR", scratch)
})

afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(scratch, { recursive: true })
})

describe("a server", () => {
  it.live("answers, and is gone with its scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const redis = yield* Scope.provide(RedisServer.make(), scope)
      const pid = yield* redis.pid
      expect(yield* redis.command("PING")).toBe("PONG")
      expect(yield* redis.command("CONFIG", "GET", "dir")).toEqual([
        "dir",
        join(scratch, readdirSync(scratch)[0] ?? "")
      ])
      expect(redis.host).toBe("127.0.0.1")
      expect(Redacted.value(redis.url)).toBe(`redis://127.0.0.1:${redis.port}`)
      expect(isAlive(pid)).toBe(true)
      expect(yield* redis.log).toContain("Ready to accept connections")

      yield* Scope.close(scope, Exit.void)
      expect(isAlive(pid)).toBe(false)
      expect(yield* redis.pid).toBeUndefined()
      expect(readdirSync(scratch)).toEqual([])
      expect(yield* Effect.flip(redis.restart)).toMatchObject({
        reason: "NotStarted",
        message: expect.stringContaining("its scope is closed")
      })
    })
  )

  it.live("leaves nothing behind, twenty times", () =>
    Effect.gen(function* () {
      const started = Effect.gen(function* () {
        const redis = yield* RedisServer.make()
        return { port: redis.port, pid: yield* redis.pid }
      })
      const servers = yield* Effect.scoped(
        Effect.tap(Effect.all(Effect.replicate(started, 20), { concurrency: 5 }), (all) => {
          expect(all.map(({ pid }) => isAlive(pid))).toEqual(Array(20).fill(true))
          expect(readdirSync(scratch)).toHaveLength(20)
          return Effect.void
        })
      )
      expect(new Set(servers.map(({ port }) => port)).size).toBe(20)
      expect(servers.filter(({ pid }) => isAlive(pid))).toEqual([])
      expect(readdirSync(scratch)).toEqual([])
    })
  )

  it.live("is gone with its scope while it is stopped", () =>
    Effect.gen(function* () {
      const pid = yield* Effect.scoped(
        Effect.gen(function* () {
          const redis = yield* RedisServer.make()
          yield* redis.stop
          return yield* redis.pid
        })
      )
      expect(isAlive(pid)).toBe(false)
      expect(readdirSync(scratch)).toEqual([])
    })
  )

  it.live("leaves nothing behind when it is interrupted while it starts", () =>
    Effect.gen(function* () {
      const starting = yield* Effect.forkChild(Effect.scoped(RedisServer.make()))
      yield* eventually(() => expect(readdirSync(scratch)).toHaveLength(1))
      yield* Fiber.interrupt(starting)
      expect(readdirSync(scratch)).toEqual([])
    })
  )

  it.live("does not outlive a process that is killed", () =>
    Effect.gen(function* () {
      const holder = fork(new URL("./fixtures/holder.ts", import.meta.url), { execArgv: [] })
      onTestFinished(() => void holder.kill("SIGKILL"))
      const [{ pid, folder }] = yield* Effect.promise(() => once(holder, "message"))
      expect([isAlive(pid), existsSync(folder)]).toEqual([true, true])
      holder.kill("SIGKILL")
      yield* eventually(() => expect([isAlive(pid), existsSync(folder)]).toEqual([false, false]))
    })
  )

  it.effect("starts while the test holds the clock", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make()
      expect(yield* redis.command("PING")).toBe("PONG")
    })
  )

  it.live("is provided by a layer", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.RedisServer
      expect(yield* redis.command("CONFIG", "GET", "maxmemory")).toEqual(["maxmemory", "1048576"])
    }).pipe(Effect.provide(RedisServer.layer({ args: ["--maxmemory", "1mb"] })))
  )
})

describe("a process", () => {
  it.live("answers nothing while it is stopped, and what it owes when it continues", () =>
    Effect.gen(function* () {
      const [redis, other] = yield* Effect.all([RedisServer.make(), RedisServer.make()])
      yield* redis.stop
      const client = yield* open(redis.port)
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(client.state()).toBe("open"))
      yield* Effect.all(Effect.replicate(other.command("PING"), 20))
      expect(client.received()).toBe("")
      yield* redis.continue
      yield* eventually(() => expect(client.received()).toBe("+PONG\r\n"))
    })
  )

  it.live("is killed, stopped or not, and comes back empty on the same port", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make()
      yield* redis.command("SET", "key", "value")
      const first = yield* redis.pid
      yield* redis.stop
      yield* redis.kill
      expect(isAlive(first)).toBe(false)
      expect(yield* redis.pid).toBeUndefined()
      expect(yield* Effect.flip(redis.command("GET", "key"))).toMatchObject({
        _tag: "RedisServerError",
        reason: "NotAnswered",
        message: `GET was not answered: connect ECONNREFUSED 127.0.0.1:${redis.port}`
      })
      yield* Effect.all([redis.kill, redis.shutdown, redis.stop, redis.continue])

      yield* redis.restart
      expect(yield* redis.pid).not.toBe(first)
      expect(yield* redis.command("GET", "key")).toBeNull()
    })
  )

  it.live("is shut down, stopped or not", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make()
      const pid = yield* redis.pid
      yield* redis.stop
      yield* redis.shutdown
      expect(isAlive(pid)).toBe(false)
      expect(yield* redis.log).toContain("ready to exit, bye bye")
    })
  )

  it.live("that runs is shut down before it starts again", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make()
      const first = yield* redis.pid
      yield* Effect.all([redis.restart, redis.restart], { concurrency: 2 })
      expect(isAlive(first)).toBe(false)
      expect(yield* redis.command("PING")).toBe("PONG")
    })
  )

  it.live.each(["kill", "shutdown"] as const)("keeps its data over %s where it was asked to", (end) =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make({ keepData: true })
      yield* redis.command("SET", "key", "value")
      yield* redis[end]
      yield* redis.restart
      expect(yield* redis.command("GET", "key")).toBe("value")
    })
  )

  it.live("that crashes is not running any more", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make()
      expect(yield* Effect.flip(redis.command("SHUTDOWN", "NOSAVE"))).toMatchObject({
        reason: "NotAnswered",
        message: "SHUTDOWN was not answered: the server closed the connection"
      })
      yield* eventually(async () => expect(await Effect.runPromise(redis.pid)).toBeUndefined())
      yield* redis.restart
      expect(yield* redis.command("PING")).toBe("PONG")
    })
  )
})

describe("a password", () => {
  const password = `it's "odd" é@:/\n`

  it.live("is asked for, and shown by nothing", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make({ password })
      expect(yield* redis.command("CONFIG", "GET", "requirepass")).toEqual(["requirepass", password])
      const client = yield* open(redis.port)
      yield* client.send("PING\r\nAUTH wrong\r\n")
      yield* eventually(() => expect(client.received()).toMatch(/^-NOAUTH.*\r\n-WRONGPASS.*\r\n$/))

      const url = new URL(Redacted.value(redis.url))
      expect(decodeURIComponent(url.password)).toBe(password)
      expect([url.hostname, url.port]).toEqual(["127.0.0.1", `${redis.port}`])
      const shown = `${redis.url}${JSON.stringify(redis)}${yield* redis.log}`
      expect(shown).not.toContain("odd")
      const commandLine = `/proc/${yield* redis.pid}/cmdline`
      if (existsSync(commandLine)) expect(readFileSync(commandLine, "utf8")).not.toContain("odd")
    })
  )

  it.live("can change, and commands still go through", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make({ password: "old" })
      yield* redis.command("CONFIG", "SET", "requirepass", "new")
      yield* redis.command("ACL", "SETUSER", "default", "-get")
      expect(yield* redis.command("CONFIG", "GET", "requirepass")).toEqual(["requirepass", "new"])
    })
  )
})

describe("a command", () => {
  it.live("succeeds with each kind of reply", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make()
      const big = "é".repeat(1_000_000)
      expect(yield* redis.command("SET", "big", big)).toBe("OK")
      expect(yield* redis.command("GET", "big")).toBe(big)
      expect(yield* redis.command("INCRBY", "n", 41)).toBe(41)
      expect(yield* redis.command("GET", "absent")).toBeNull()
      expect(
        yield* redis.command("EVAL", "return {1, {'a', false}, redis.error_reply('NO way')}", 0)
      ).toEqual([1, ["a", null], new RedisServer.RedisReplyError({ message: "NO way" })])
      expect(yield* redis.command("CLIENT", "LIST")).toContain(`laddr=127.0.0.1:${redis.port}`)
      expect(yield* redis.command("DEBUG", "SLEEP", "0")).toBe("OK")
    })
  )

  it.live("fails with what the server complains of", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make()
      yield* redis.command("SET", "key", "value")
      expect(yield* Effect.flip(redis.command("LPUSH", "key", "secret"))).toEqual(
        new RedisServer.RedisReplyError({
          message: "WRONGTYPE Operation against a key holding the wrong kind of value"
        })
      )
    })
  )

  it.live("leaves no connection behind, also when it is interrupted", () =>
    Effect.gen(function* () {
      const redis = yield* RedisServer.make()
      const connected = Effect.map(
        redis.command("CLIENT", "LIST"),
        (list) => `${list}`.trimEnd().split("\n").length
      )
      const waiting = yield* Effect.forkChild(redis.command("BLPOP", "list", 0))
      yield* eventually(async () => expect(await Effect.runPromise(connected)).toBe(2))
      yield* Fiber.interrupt(waiting)
      yield* eventually(async () => expect(await Effect.runPromise(connected)).toBe(1))
    })
  )
})

describe("no server", () => {
  it.live("is started where the PATH leads to none; the error says how to get one", () =>
    Effect.gen(function* () {
      vi.stubEnv("PATH", scratch)
      const error = yield* Effect.flip(RedisServer.make())
      expect(error).toMatchObject({ _tag: "RedisServerError", reason: "NotFound" })
      expect(error.message).toMatch(
        /^Neither redis-server nor valkey-server is on the PATH\. Install one with: .*\binstall\b.*\bredis/
      )
    })
  )

  it.live("but valkey-server will do", () =>
    Effect.gen(function* () {
      const folder = join(scratch, "bin")
      mkdirSync(folder)
      symlinkSync(findBinary() ?? "", join(folder, "valkey-server"))
      vi.stubEnv("PATH", folder)
      const redis = yield* RedisServer.make()
      expect(yield* redis.command("INFO", "server")).toContain(`executable:${folder}/valkey-server`)
    })
  )

  it.live("is ready that ends at once; the error holds what it said", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        RedisServer.make({ args: ["--maxmemory", "plenty"], password: "secret" })
      )
      expect(error).toMatchObject({ _tag: "RedisServerError", reason: "NotStarted" })
      expect(error.message).toMatch(
        /^The server did not start: it ended with code 1\n.*argument must be a memory value/s
      )
      expect(error.message).not.toContain("secret")
    })
  )

  it.live("fails for a port that somebody else took first", () =>
    Effect.gen(function* () {
      const drawn = Random.withSeed(RedisServer.make(), "seed")
      const port = yield* Effect.scoped(Effect.map(drawn, (redis) => redis.port))
      yield* listen(() => {}, port)
      const redis = yield* drawn
      expect(redis.port).not.toBe(port)
      expect(yield* redis.log).toContain("Address already in use")
    })
  )
})
