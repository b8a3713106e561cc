/**
 * Starts the processes of the example and ends them: each is a resource of a `Scope`.
 *
 * A child is a Node process with an IPC channel, over which it says that it is ready (see `Parent`). Closing
 * the scope ends it, and so does the end of this process, even by SIGKILL, because the channel closes with
 * it.
 */
import { type ChildProcess, fork } from "node:child_process"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { Deferred, Effect, Option, Predicate, Schema, type Scope } from "effect"

const readyWithin = "10 seconds"
const endsWithin = "2 seconds"
const keptErrorLines = 50

/** What to start. */
export interface Options<A> {
  /** Stands before each line that the process prints. */
  readonly name: string
  readonly file: string | URL
  readonly args?: ReadonlyArray<string>
  /** Set on top of this process's environment. */
  readonly env?: Readonly<Record<string, string>>
  /** What the process tells when it is ready. */
  readonly ready: Schema.ConstraintDecoder<A>
  /** Takes each line that the process prints, its name in front; by default they go to stderr. */
  readonly print?: (line: string) => void
}

/** How a process ended: its exit code, or the signal that ended it. */
export interface Ended {
  readonly code: number | null
  readonly signal: string | null
}

/** A process that is ready. */
export interface Process<A> {
  readonly name: string
  readonly pid: number
  readonly ready: A
  /** Ends the process with SIGKILL and waits until it is gone. */
  readonly kill: Effect.Effect<void>
  /** Waits for the end of the process. */
  readonly exited: Effect.Effect<Ended>
}

/** A process did not get ready: it ended, said nothing in time, or said something else than expected. */
export class ProcessFailed extends Schema.TaggedError<ProcessFailed>()("ProcessFailed", {
  process: Schema.String,
  message: Schema.String,
  /** The last lines that it wrote to stderr. */
  stderr: Schema.String
}) {}

/** Starts a process, and succeeds when it is ready. */
export const spawn = Effect.fnUntraced(function* <A>(
  options: Options<A>
): Effect.fn.Return<Process<A>, ProcessFailed, Scope.Scope> {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => start(options)),
    end
  )
  const failed = (why: string): Effect.Effect<never, ProcessFailed> =>
    Effect.suspend(() => {
      const stderr = child.errorLines.join("\n")
      const message = `${options.name} ${why}${stderr === "" ? "" : `: ${stderr}`}`
      return Effect.fail(new ProcessFailed({ process: options.name, message, stderr }))
    })
  const endedEarly = Deferred.await(child.closed).pipe(
    Effect.flatMap(({ code, signal }) => failed(`ended with ${signal ?? `code ${code}`} before it was ready`))
  )
  const message = yield* Effect.raceFirst(Deferred.await(child.ready), endedEarly).pipe(
    Effect.timeoutOrElse({
      duration: readyWithin,
      orElse: () => failed(`was not ready within ${readyWithin}`)
    }),
    Effect.onError(() => end(child))
  )
  const ready = yield* Schema.decodeUnknownEffect(options.ready)(message).pipe(
    Effect.catch((error) => failed(`said something unexpected when it was ready: ${error.message}`)),
    Effect.onError(() => end(child))
  )
  return {
    name: options.name,
    pid: child.process.pid ?? 0,
    ready,
    kill: kill(child),
    exited: Deferred.await(child.exited)
  }
})

/** Where a stand-in upstream listens, and its switch. */
export const Ports = Schema.Struct({ port: Schema.Port, controlPort: Schema.Port })

/** Starts a stand-in upstream; a port that is not given is any free one. */
export const spawnUpstream = (
  name: string,
  options: Partial<typeof Ports.Type> & Pick<Options<unknown>, "print"> = {}
): Effect.Effect<Process<typeof Ports.Type>, ProcessFailed, Scope.Scope> => {
  const { port = 0, controlPort = 0, ...rest } = options
  return spawn({
    ...rest,
    name,
    file: new URL("./upstreams/main.ts", import.meta.url),
    args: [name, "--port", `${port}`, "--control-port", `${controlPort}`],
    ready: Ports
  })
}

interface Child {
  readonly process: ChildProcess
  readonly ready: Deferred.Deferred<unknown>
  readonly exited: Deferred.Deferred<Ended>
  /** Completed after `exited`, when all that the process printed has been read. */
  readonly closed: Deferred.Deferred<Ended>
  readonly errorLines: Array<string>
}

const start = <A>({ name, file, args = [], env, print = printToStderr }: Options<A>): Child => {
  const child: Child = {
    process: fork(file, args, {
      env: { ...process.env, ...env },
      execArgv: [],
      // A process group of its own: Ctrl-C reaches this process alone, which then ends its children in order.
      // Were they to get it too, the gateway would see its upstreams fail while it still answers.
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "ipc"]
    }),
    ready: Deferred.makeUnsafe(),
    exited: Deferred.makeUnsafe(),
    closed: Deferred.makeUnsafe(),
    errorLines: []
  }
  child.process.on("message", (message) => {
    if (!Predicate.hasProperty(message, "ready") || message.ready !== true) return
    Deferred.doneUnsafe(child.ready, Effect.succeed(message))
  })
  child.process.once("exit", (code, signal) => complete(child.exited, { code, signal }))
  child.process.once("close", (code, signal) => complete(child.closed, { code, signal }))
  child.process.on("error", (error) => {
    if (child.process.pid !== undefined) return
    // It never ran, so neither "exit" nor "close" will come.
    child.errorLines.push(error.message)
    complete(child.exited, { code: null, signal: null })
    complete(child.closed, { code: null, signal: null })
  })
  onLine(child.process.stdout, (line) => print(`[${name}] ${line}`))
  onLine(child.process.stderr, (line) => {
    print(`[${name}] ${line}`)
    child.errorLines.push(line)
    if (child.errorLines.length > keptErrorLines) child.errorLines.shift()
  })
  return child
}

const complete = (deferred: Deferred.Deferred<Ended>, ended: Ended): void => {
  Deferred.doneUnsafe(deferred, Effect.succeed(ended))
}

const printToStderr = (line: string): void => {
  process.stderr.write(`${line}\n`)
}

const onLine = (stream: Readable | null, f: (line: string) => void): void => {
  if (stream !== null) createInterface({ input: stream, crlfDelay: Infinity }).on("line", f)
}

const end = (child: Child): Effect.Effect<void> =>
  signal(child, "SIGTERM").pipe(Effect.flatMap((ended) => (ended ? Effect.void : kill(child))))

const kill = (child: Child): Effect.Effect<void> => Effect.asVoid(signal(child, "SIGKILL"))

/** Succeeds with whether the process ended in time. Signalling one that has ended does nothing. */
const signal = (child: Child, name: NodeJS.Signals): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    child.process.kill(name)
    return Deferred.await(child.exited).pipe(Effect.timeoutOption(endsWithin), Effect.map(Option.isSome))
  })
