import { spawn } from "node:child_process"
import process from "node:process"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { limit, within } from "./realTime.ts"

const keptCharacters = 65_536

/** The server did not get ready; `output` is what it printed. */
export class NotReady extends Data.TaggedError("NotReady")<{
  readonly why: string
  readonly output: string
}> {
  get portTaken(): boolean {
    return this.output.includes("Address already in use")
  }
}

/** What to run. */
export interface Options {
  readonly binary: string
  readonly args: ReadonlyArray<string>
  readonly folder: string
  /** Hears the number of the process when it starts, and nothing when it has ended. */
  readonly watch: (pid: number | undefined) => void
}

/** A server that starts and ends any number of times; at most one process of it runs. */
export interface ServerProcess {
  readonly pid: () => number | undefined
  readonly log: () => string
  /** Starts it with the configuration given, and succeeds when it accepts connections. */
  readonly start: (config: string) => Effect.Effect<void, NotReady>
  readonly signal: (name: NodeJS.Signals) => void
  /** Kills it with whatever it forked, and waits until it is gone. */
  readonly kill: Effect.Effect<void>
  readonly exited: Effect.Effect<void>
  /** Kills it, and keeps it from starting again. */
  readonly close: Effect.Effect<void>
}

interface Running {
  readonly pid: number | undefined
  readonly ready: Deferred.Deferred<void, NotReady>
  readonly exited: Deferred.Deferred<void>
}

interface Heard {
  readonly output: (text: string) => void
  readonly exited: () => void
}

const failed = (why: string, output = ""): Effect.Effect<never, NotReady> =>
  Effect.fail(new NotReady({ why, output }))

const spawnServer = ({ binary, args, folder }: Options, config: string, heard: Heard): Running => {
  // In a process group of its own: Ctrl-C ends it in order, with its scope, and a kill reaches whatever it forked.
  const child = spawn(binary, ["-", ...args], { cwd: folder, detached: true, stdio: "pipe" })
  const running: Running = {
    pid: child.pid,
    ready: Deferred.makeUnsafe(),
    exited: Deferred.makeUnsafe()
  }
  let output = ""
  const hear = (text: string): void => {
    heard.output(text)
    output = `${output}${text}`.slice(-keptCharacters)
    if (output.includes("Ready to accept connections")) Deferred.doneUnsafe(running.ready, Effect.void)
  }
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", hear)
  const exit = (): void => {
    heard.exited()
    Deferred.doneUnsafe(running.exited, Effect.void)
  }
  child.once("exit", exit)
  child.once("close", (code, signal) =>
    Deferred.doneUnsafe(running.ready, failed(`it ended with ${signal ?? `code ${code}`}`, output))
  )
  child.on("error", (error) => {
    if (child.pid !== undefined) return
    // It never ran, so no end of it will be heard.
    exit()
    Deferred.doneUnsafe(running.ready, failed(error.message))
  })
  child.stdin.on("error", () => {})
  // No list of processes shows what comes this way, such as a password.
  child.stdin.end(config)
  return running
}

const send = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended, and that is about to be heard.
  }
}

export const make = (options: Options): ServerProcess => {
  let running: Running | undefined
  let closed = false
  let log = ""

  const start = (config: string): Running => {
    const started = spawnServer(options, config, {
      output: (text) => {
        log = `${log}${text}`.slice(-keptCharacters)
      },
      exited: () => {
        running = undefined
        options.watch(undefined)
      }
    })
    running = started
    options.watch(started.pid)
    return started
  }

  const exited = Effect.suspend(() => (running === undefined ? Effect.void : Deferred.await(running.exited)))

  const kill = Effect.suspend(() => {
    if (running?.pid !== undefined) send(-running.pid, "SIGKILL")
    return exited
  })

  return {
    pid: () => running?.pid,
    log: () => log,
    start: (config) =>
      Effect.uninterruptibleMask((restore) => {
        if (closed) return failed("its scope is closed")
        const notInTime = (): Effect.Effect<never, NotReady> =>
          failed(`it was not ready within ${limit}`, log)
        return restore(within(Deferred.await(start(config).ready), notInTime)).pipe(
          Effect.onError(() => kill)
        )
      }),
    signal: (name) => {
      if (running?.pid !== undefined) send(running.pid, name)
    },
    kill,
    exited,
    close: Effect.suspend(() => {
      closed = true
      return kill
    })
  }
}
