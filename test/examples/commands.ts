/**
 * The commands of the example as a person runs them: what they print, how they end, and the processes they start.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { readdirSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { fileURLToPath } from "node:url"
import { Effect, type Scope } from "effect"
import { expect, vi } from "vitest"

/** A file of the example's sources. */
export const sourceOf = (name: string): string =>
  fileURLToPath(new URL(`../../examples/chat-gateway/src/${name}.ts`, import.meta.url))

/** What `start` runs: six upstreams and the gateway. */
export const processCount = 7

/** Sources that were compiled once load in half the time. */
const compileCache = { NODE_COMPILE_CACHE: join(tmpdir(), "failsoft-compile-cache") }

/** A Redis that happens to run on this machine is none of the tests' business. */
const withoutRedis = { REDIS_ENABLED: "false" }

/** How a command ended, and what it printed. */
export interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
}

/** A command that runs. */
export interface Command {
  readonly pid: number
  /** What it has printed so far. */
  readonly stdout: () => string
  readonly signal: (name: NodeJS.Signals) => void
  /** Waits for its end, and until all that it printed has been read. */
  readonly ended: Effect.Effect<Ended>
}

/** Runs a source of the example with this Node; it is killed with the scope. */
export const run = (
  source: string,
  options: { readonly args?: ReadonlyArray<string>; readonly env?: Readonly<Record<string, string>> } = {}
): Effect.Effect<Command, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(process.execPath, [sourceOf(source), ...(options.args ?? [])], {
        env: { ...process.env, ...compileCache, ...withoutRedis, ...options.env },
        stdio: ["ignore", "pipe", "pipe"]
      })
      let printed = ""
      child.stdout.on("data", (chunk: Buffer) => {
        printed += chunk.toString()
      })
      const outputs = Promise.all([text(child.stdout), text(child.stderr)])
      const end = once(child, "close")
      const ended = Effect.promise(async (): Promise<Ended> => {
        const [stdout, stderr] = await outputs
        await end
        return { code: child.exitCode, signal: child.signalCode, stdout, stderr }
      })
      const command: Command & { readonly child: ChildProcess } = {
        child,
        pid: child.pid ?? 0,
        stdout: () => printed,
        signal: (name) => void child.kill(name),
        ended
      }
      return command
    }),
    ({ child, ended }) =>
      Effect.andThen(
        Effect.sync(() => child.kill("SIGKILL")),
        ended
      )
  )

/** Waits until a command has printed a text. */
export const untilPrinted = (command: Command, text: string): Effect.Effect<void> =>
  Effect.promise(() =>
    vi.waitFor(() => expect(command.stdout()).toContain(text), { timeout: 20_000, interval: 20 })
  )

/** The processes that a process has started, and those that these have started. */
export const descendantsOf = (pid: number): ReadonlyArray<number> => {
  const parents = new Map(
    readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => {
        const parent = statOf(Number(name))?.parent
        return parent === undefined ? [] : [[Number(name), parent] as const]
      })
  )
  const children = [...parents].filter(([, parent]) => parent === pid).map(([child]) => child)
  return children.flatMap((child) => [child, ...descendantsOf(child)])
}

/** Whether a process runs; one that has ended and that nobody has reaped does not. */
export const isAlive = (pid: number): boolean => {
  const state = statOf(pid)?.state
  return state !== undefined && state !== "Z" && state !== "X"
}

/** Waits until none of some processes runs. */
export const untilGone = (pids: ReadonlyArray<number>, timeout: number): Effect.Effect<void> =>
  Effect.promise(() => vi.waitFor(() => expect(pids.filter(isAlive)).toEqual([]), { timeout, interval: 20 }))

/** `/proc` names state and parent after the command, which stands in parentheses. */
const statOf = (pid: number): { readonly state: string; readonly parent: number } | undefined => {
  try {
    const [state = "", parent = ""] =
      readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? []
    return { state, parent: Number(parent) }
  } catch {
    return undefined
  }
}
