/**
 * Real Redis servers for tests: each on a port and in a folder of its own, ended with its scope.
 *
 * A double answers what its author believes that Redis answers. What a program does when Redis is slow, stopped, killed
 * or loading shows only against the real thing, so this starts the `redis-server` (7.0 or later) or `valkey-server`
 * that the PATH leads to and puts its process into the test's hands.
 *
 * **Gotchas**
 *
 * - `stop` freezes the process as it is: the system still accepts connections on its behalf, and nothing is answered
 *   until `continue`. `kill` loses whatever is not on disk, `shutdown` lets the server end by itself.
 * - `host`, `port` and `url` stay the same over restarts; `pid` does not.
 * - Nothing is kept over a restart unless `keepData` is set.
 * - Waits for the process and for replies end after 10 seconds of real time, also under a `TestClock`.
 *
 * **Example** (A write that outlives the server)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { RedisServer } from "@failsoft/testing"
 *
 * const program = Effect.gen(function* () {
 *   const redis = yield* RedisServer.make({ keepData: true })
 *   yield* redis.command("SET", "greeting", "hello")
 *   yield* redis.kill
 *   yield* redis.restart
 *   return yield* redis.command("GET", "greeting")
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => "hello"
 * ```
 */
import { randomUUID } from "node:crypto"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { findBinary, missing } from "./internal/binary.ts"
import { exchange } from "./internal/exchange.ts"
import * as guard from "./internal/guard.ts"
import { host, type NoPort, ownRandom, reserve } from "./internal/port.ts"
import { limit, within } from "./internal/realTime.ts"
import { RedisReplyError, type Reply } from "./internal/reply.ts"
import * as serverProcess from "./internal/serverProcess.ts"

/** What a server is made from. Nothing is required. */
export interface Options {
  /** What the default user needs to log in. Default: no password. */
  readonly password?: string | undefined
  /** Whether every write is on disk before it is answered, so that `restart` finds it again. Default: `false`. */
  readonly keepData?: boolean | undefined
  /**
   * More arguments of the server, such as `["--maxmemory", "1mb"]`; they win over its other settings. The log must
   * stay on standard output at level `notice` or below: by it the server is known to be ready.
   */
  readonly args?: ReadonlyArray<string> | undefined
}

/** A running server, or one that was ended and can be started again. */
export interface RedisServer {
  readonly host: string
  readonly port: number
  /** `redis://…`, with the password if there is one. */
  readonly url: Redacted.Redacted<string>
  /** The number of its process; `undefined` while none runs. */
  readonly pid: Effect.Effect<number | undefined>
  /** Freezes the process (SIGSTOP). Does nothing while none runs. */
  readonly stop: Effect.Effect<void>
  /** Lets a frozen process go on (SIGCONT). Does nothing while none runs. */
  readonly continue: Effect.Effect<void>
  /** Ends the process at once (SIGKILL), also while it is frozen, and waits until it is gone. */
  readonly kill: Effect.Effect<void>
  /** Asks the process to end (SIGTERM), after it let go on a frozen one, and waits until it is gone. */
  readonly shutdown: Effect.Effect<void, RedisServerError>
  /** Starts the server again on the same port, after a `shutdown` if it runs, and waits until it is ready. */
  readonly restart: Effect.Effect<void, RedisServerError>
  /**
   * Sends one command over a connection of its own and succeeds with its reply.
   *
   * It logs in as a user of its own, so that it goes through whatever becomes of the default user's password and
   * rights. Fails with `RedisReplyError` when the server answers with an error.
   */
  readonly command: (
    name: string,
    ...args: ReadonlyArray<string | number>
  ) => Effect.Effect<Reply, RedisReplyError | RedisServerError>
  /** What the server has printed, over all its restarts: the last 65,536 characters. */
  readonly log: Effect.Effect<string>
}

/** The key under which `layer` provides a server. */
export const RedisServer: Context.Service<RedisServer, RedisServer> = Context.Service(
  "@failsoft/testing/RedisServer"
)

export { RedisReplyError, type Reply }

/**
 * Why a server is not to be had.
 *
 * - `NotFound`: the PATH leads to none. The message holds the command that installs one.
 * - `NotStarted`: it ended or was not ready in time. The message holds the last lines that it printed.
 * - `NotEnded`: it did not end in time.
 * - `NotAnswered`: a command got no reply, and may have been applied.
 */
export type Reason = "NotFound" | "NotStarted" | "NotEnded" | "NotAnswered"

/** The server could not be started, ended or asked. */
export class RedisServerError extends Data.TaggedError("RedisServerError")<{
  readonly reason: Reason
  readonly message: string
  readonly cause?: unknown
}> {}

/** Starts a server that ends with the scope, and succeeds when it accepts connections. */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<RedisServer, RedisServerError, Scope.Scope> {
  const binary = findBinary()
  if (binary === undefined) {
    return yield* new RedisServerError({ reason: "NotFound", message: missing() })
  }
  const { folder, watch } = yield* Effect.mapError(guard.make, ({ cause }) =>
    notStarted("no scratch folder could be made", cause)
  )
  const server = yield* Effect.acquireRelease(
    Effect.sync(() => serverProcess.make({ binary, args: options.args ?? [], folder, watch })),
    ({ close }) => close
  )
  const operator = { name: "failsoft-testing", password: randomUUID() }
  const startOn = (port: number) => server.start(configuration(port, operator, options))
  const port = yield* reserve.pipe(
    Effect.tap(startOn),
    Effect.retry({ times: 10, while: (error) => error._tag === "NotReady" && error.portTaken }),
    Effect.mapError(describe),
    Effect.provideService(Random.Random, yield* ownRandom)
  )
  const lock = yield* Semaphore.make(1)
  const shutdown = Effect.suspend(() => {
    server.signal("SIGTERM")
    server.signal("SIGCONT")
    return within(server.exited, () => Effect.fail(notEnded()))
  })
  return RedisServer.of({
    host,
    port,
    url: Redacted.make(`redis://${credentials(options)}${host}:${port}`, { label: "redis-url" }),
    pid: Effect.sync(server.pid),
    stop: Effect.sync(() => server.signal("SIGSTOP")),
    continue: Effect.sync(() => server.signal("SIGCONT")),
    kill: server.kill,
    shutdown,
    restart: shutdown.pipe(
      Effect.andThen(Effect.mapError(startOn(port), describe)),
      Semaphore.withPermit(lock)
    ),
    command: (name, ...args) =>
      within(
        exchange(port, [
          ["AUTH", operator.name, operator.password],
          [name, ...args.map(String)]
        ]),
        () => Effect.fail(notAnswered(name, `nothing came within ${limit}`))
      ).pipe(Effect.catchTag("NoReply", ({ cause }) => Effect.fail(notAnswered(name, cause)))),
    log: Effect.sync(server.log)
  })
})

/** A Layer that provides a server under the key `RedisServer`. */
export const layer = (options?: Options): Layer.Layer<RedisServer, RedisServerError> =>
  Layer.effect(RedisServer, make(options))

const configuration = (
  port: number,
  operator: { readonly name: string; readonly password: string },
  { password = "", keepData = false }: Options
): string => `
bind ${host}
port ${port}
save ""
appendonly ${keepData ? "yes" : "no"}
appendfsync always
enable-debug-command local
requirepass ${quoted(password)}
user ${operator.name} on >${operator.password} ~* &* +@all
`

/** Every byte in the server's own notation, so that a password may hold quotes, spaces and line ends. */
const quoted = (text: string): string => `"${Buffer.from(text).toString("hex").replace(/../g, "\\x$&")}"`

const credentials = ({ password = "" }: Options): string =>
  password === "" ? "" : `:${encodeURIComponent(password)}@`

const toldLines = 10

const notStarted = (why: string, cause?: unknown): RedisServerError =>
  new RedisServerError({ reason: "NotStarted", message: `The server did not start: ${why}`, cause })

const describe = (error: serverProcess.NotReady | NoPort): RedisServerError =>
  error._tag === "NoPort"
    ? notStarted("no port could be reserved", error.cause)
    : notStarted([error.why, ...error.output.trimEnd().split("\n").slice(-toldLines)].join("\n"))

const notEnded = (): RedisServerError =>
  new RedisServerError({
    reason: "NotEnded",
    message: `The server did not end within ${limit} of SIGTERM`
  })

// A command's arguments may be secrets; its name is none.
const notAnswered = (name: string, cause: unknown): RedisServerError =>
  new RedisServerError({
    reason: "NotAnswered",
    message: `${name} was not answered: ${cause instanceof Error ? cause.message : cause}`,
    cause
  })
