/**
 * Real processes: how they start, fail to start and end, and that none is left over.
 */
import { fork, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Processes from "failsoft-example-chat-gateway/Processes"
import { expectTypeOf, onTestFinished, vi } from "vitest"

// Longer than the 10 seconds in which `spawn` gives up, so that a failure says why.
vi.setConfig({ testTimeout: 20_000 })

const fixture = (name: string): URL => new URL(`./fixtures/${name}.ts`, import.meta.url)
const main = new URL("../../examples/chat-gateway/src/upstreams/main.ts", import.meta.url)
const quiet = { print: () => {} }

const spawnChild = (behaviour: string, options?: Partial<Processes.Options<{ readonly port: number }>>) =>
  Processes.spawn({
    name: "child",
    file: fixture("child"),
    args: [behaviour],
    ready: Schema.Struct({ port: Schema.Port, colour: Schema.String }),
    ...quiet,
    ...options
  })

const spawnParent = (print: (line: string) => void = () => {}) =>
  Processes.spawn({
    name: "parent",
    file: fixture("parent"),
    ready: Schema.Struct({ pid: Schema.Int, ...Processes.Ports.fields }),
    print
  })

/** Reads a child's number from the line that it prints first. */
const readPid = () => {
  const seen = Deferred.makeUnsafe<number>()
  const print = (line: string): void => {
    const digits = /^\[child\] (\d+)$/.exec(line)?.[1]
    if (digits !== undefined) Deferred.doneUnsafe(seen, Effect.succeed(Number(digits)))
  }
  return { print, pid: Deferred.await(seen) }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  // An orphan that nobody has reaped yet still has its number.
  const status = `/proc/${pid}/stat`
  return !(existsSync(status) && / Z /.test(readFileSync(status, "utf8")))
}

const eventually = (check: () => void | Promise<void>): Effect.Effect<void> =>
  Effect.promise(() => vi.waitFor(check, { timeout: 5_000, interval: 20 }))

const untilGone = (pid: number): Effect.Effect<void> => eventually(() => expect(isAlive(pid)).toBe(false))

const request = (port: number, path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5_000), ...init })

const get = (port: number, path: string): Effect.Effect<unknown> =>
  Effect.promise(async () => (await request(port, path)).json())

const setMode = (controlPort: number, mode: string): Effect.Effect<number> =>
  Effect.promise(async () => (await request(controlPort, "/mode", { method: "PUT", body: mode })).status)

describe("spawn", () => {
  it.live("succeeds when the process is ready, with what it told", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const child = yield* spawnChild("ready", {
        env: { COLOUR: "green" },
        print: (line) => void lines.push(line)
      })
      expect(child).toMatchObject({ name: "child", ready: { port: 80, colour: "green" } })
      expect(isAlive(child.pid)).toBe(true)
      yield* child.kill
      expect(yield* child.exited).toEqual({ code: null, signal: "SIGKILL" })
      expect(isAlive(child.pid)).toBe(false)
      const printed = [`[child] ${child.pid}`, "[child] to stderr"]
      yield* eventually(() => expect(lines.toSorted()).toEqual(printed))
    })
  )

  it.live("fails with the last lines that the process wrote to stderr when it ends before it is ready", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(spawnChild("crash"))
      expect(error).toMatchObject({ _tag: "ProcessFailed", process: "child" })
      expect(error.message).toMatch(/^child ended with code 3 before it was ready: still trying\n/)
      const lines = error.stderr.split("\n")
      expect([lines.length, lines.at(-1)]).toEqual([50, "no database"])
    })
  )

  it.live("fails when the file does not exist", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(spawnChild("ready", { file: fixture("missing") }))
      expect(error.message).toContain("Cannot find module")
    })
  )

  it.live("fails, and ends the process, when it told something else than expected", () =>
    Effect.gen(function* () {
      const { pid, print } = readPid()
      const error = yield* Effect.flip(spawnChild("odd", { print }))
      expect(error.message).toMatch(/^child said something unexpected when it was ready: .*port/s)
      expect(isAlive(yield* pid)).toBe(false)
    })
  )

  it.effect("fails, and ends the process, when it is not ready in time", () =>
    Effect.gen(function* () {
      const { pid, print } = readPid()
      const spawning = yield* Effect.forkChild(Effect.flip(spawnChild("silent", { print })))
      const silent = yield* pid
      yield* TestClock.adjust("9 seconds")
      expect(spawning.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(spawning)
      expect(error.message).toBe("child was not ready within 10 seconds")
      expect(isAlive(silent)).toBe(false)
    })
  )

  it.live("ends the process with its scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const child = yield* spawnChild("ready").pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      expect(yield* child.exited).toEqual({ code: null, signal: "SIGTERM" })
      expect(isAlive(child.pid)).toBe(false)
    })
  )

  it.live("ends a process that ignores SIGTERM with SIGKILL", () =>
    Effect.gen(function* () {
      const child = yield* Effect.scoped(spawnChild("stubborn"))
      expect(yield* child.exited).toEqual({ code: null, signal: "SIGKILL" })
    })
  )

  it.live("leaves no process when it is interrupted", () =>
    Effect.gen(function* () {
      const { pid, print } = readPid()
      const spawning = yield* Effect.forkChild(Effect.scoped(spawnChild("silent", { print })))
      const silent = yield* pid
      expect(isAlive(silent)).toBe(true)
      yield* Fiber.interrupt(spawning)
      expect(isAlive(silent)).toBe(false)
    })
  )

  it("types what the process tells by the schema", () => {
    type Spawned = Effect.Success<ReturnType<typeof spawnParent>>
    expectTypeOf<Spawned["ready"]>().toEqualTypeOf<{
      readonly pid: number
      readonly port: number
      readonly controlPort: number
    }>()
  })
})

describe("an upstream process", () => {
  it.live("serves, is killed, and comes back on the same port", () =>
    Effect.gen(function* () {
      const first = yield* Processes.spawnUpstream("billing", quiet)
      expect(yield* get(first.ready.port, "/health")).toEqual({ status: "ok" })
      expect(yield* get(first.ready.controlPort, "/mode")).toEqual({ mode: "ok" })
      yield* first.kill
      const second = yield* Processes.spawnUpstream("billing", { ...first.ready, ...quiet })
      expect(second.ready).toEqual(first.ready)
      expect(yield* get(second.ready.port, "/health")).toEqual({ status: "ok" })
    })
  )

  it.live("ends with a message when its port is in use", () =>
    Effect.gen(function* () {
      const { ready } = yield* Processes.spawnUpstream("billing", quiet)
      for (const taken of [{ port: ready.port }, { controlPort: ready.controlPort }]) {
        const error = yield* Effect.flip(Processes.spawnUpstream("git", { ...taken, ...quiet }))
        expect(error.message).toContain("git ended with code 1")
        expect(error.stderr).toMatch(
          /^git( control)?: cannot listen on 127.0.0.1 port \d+: the port is already in use$/
        )
      }
    })
  )

  it.live.each([
    {
      args: ["mail"],
      says: 'unknown upstream "mail"; allowed: auth, billing, chroma, filesystem, git, external'
    },
    { args: [], says: 'unknown upstream ""; allowed: auth, ' },
    { args: ["git", "--port", "70000"], says: '--port is "70000"; allowed: a whole number from 0 to 65535' },
    { args: ["git", "--control-port", "x"], says: '--control-port is "x"; allowed: ' },
    { args: ["git", "--colour"], says: "Unknown option '--colour'" }
  ])("ends with a message when started with $args", ({ args, says }) =>
    Effect.gen(function* () {
      const options = { name: "git", file: main, args, ready: Processes.Ports, ...quiet }
      const error = yield* Effect.flip(Processes.spawn(options))
      expect(error.message).toContain("ended with code 1")
      expect(error.stderr).toContain(says)
    })
  )

  it.live.each(["ok", "hang", "refuse", "drip", "slow"])(
    "ends on SIGTERM in mode %s, sockets open or not",
    (mode) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const { exited, ready } = yield* Processes.spawnUpstream("git", quiet).pipe(Scope.provide(scope))
        expect(yield* setMode(ready.controlPort, mode)).toBe(200)
        const answer = Promise.allSettled([
          request(ready.port, "/health").then((response) => response.text())
        ])
        if (mode !== "refuse") {
          yield* eventually(async () => {
            const stats = await request(ready.controlPort, "/stats")
            expect(await stats.json()).toMatchObject({ total: 1 })
          })
        }
        yield* Scope.close(scope, Exit.void)
        expect(yield* exited).toEqual({ code: 0, signal: null })
        yield* Effect.promise(() => answer)
      })
  )

  it.live("ends on SIGINT", () =>
    Effect.gen(function* () {
      const { exited, pid } = yield* Processes.spawnUpstream("git", quiet)
      process.kill(pid, "SIGINT")
      expect(yield* exited).toEqual({ code: 0, signal: null })
    })
  )

  it.each([
    ["while it loads", main, "git"],
    ["before it listens for that", fixture("child"), "late"]
  ])("ends when its parent goes away %s", async (_, file, argument) => {
    const child = fork(file, [argument], { execArgv: [], stdio: "ignore" })
    onTestFinished(() => void child.kill("SIGKILL"))
    child.disconnect()
    expect(await once(child, "exit", { signal: AbortSignal.timeout(5_000) })).toEqual([0, null])
  })

  it("prints one line when it has no parent", async () => {
    const child = spawn(process.execPath, [fileURLToPath(main), "git"], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    onTestFinished(() => void child.kill("SIGKILL"))
    const [line] = await once(child.stdout, "data", { signal: AbortSignal.timeout(5_000) })
    expect(String(line)).toMatch(/^git listens on 127.0.0.1 port \d+, its switch on port \d+\n$/)
    child.kill("SIGTERM")
    expect(await once(child, "exit", { signal: AbortSignal.timeout(5_000) })).toEqual([0, null])
  })
})

describe("a supervisor", () => {
  it.live("killed with SIGKILL leaves no child, even one that hangs", () =>
    Effect.gen(function* () {
      const parent = yield* spawnParent()
      expect(isAlive(parent.ready.pid)).toBe(true)
      expect(yield* setMode(parent.ready.controlPort, "hang")).toBe(200)
      yield* parent.kill
      yield* untilGone(parent.ready.pid)
    })
  )

  it.live("ends its child without a word on Ctrl-C, which the whole process group gets", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const parent = yield* spawnParent((line) => void lines.push(line))
      process.kill(-parent.pid, "SIGINT")
      yield* parent.exited
      yield* untilGone(parent.ready.pid)
      expect(lines).toEqual([])
    })
  )
})
