/**
 * Connections of ioredis as resources, and commands on them as effects.
 *
 * What ioredis says of a connection that fails comes as an event; the commands that failed for it say only that there is
 * none. So the last event is kept, and a command for which there is no connection fails with the reason.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Misconfigured, ServiceUnavailable, UnavailableReason } from "failsoft"
import { Redis as Client, type RedisOptions } from "ioredis"
import * as ErrorClass from "../state/ErrorClass.ts"
import * as watchdog from "./watchdog.ts"

/** What of ioredis may be set: nothing that decides whether a command is applied twice, or how long it takes. */
export type More = Pick<
  RedisOptions,
  "tls" | "family" | "keepAlive" | "noDelay" | "connectionName" | "keyPrefix"
>

/** The validated options of a connection. */
export interface Settings {
  readonly url: string
  readonly connectAttempts: number
  readonly connectTimeoutMillis: number
  readonly commandTimeoutMillis: number
  readonly more: More
}

/** What a connection is for: commands have time limits, blocking commands and subscriptions have none. */
type Purpose = "commands" | "waiting"

type Send = Redis.Redis["Service"]["send"]

/** A connection that is ready. */
export interface Connection {
  readonly client: Client
  readonly send: Send
  readonly use: <A>(f: () => Promise<A>) => Effect.Effect<A, Redis.RedisError>
}

/** The grace that ioredis has to end a command by itself before we do. */
const graceMillis = 50

const longestReconnectWaitMillis = 2000

/** Opens a connection that lives as long as the scope and reconnects by itself. */
export const open = Effect.fnUntraced(function* (settings: Settings, purpose: Purpose) {
  const made = yield* acquire(settings, purpose, true)
  yield* connect(settings, made)
  return yield* connectionOf(settings, made)
})

/** Opens a connection for one holder: when it drops, it is over. */
export const openReserved = (
  settings: Settings
): Effect.Effect<{ readonly send: Send; readonly close: Effect.Effect<void> }, Redis.RedisError> =>
  Effect.gen(function* () {
    const made = yield* make(settings, "waiting", false)
    yield* Effect.tryPromise({
      try: () => made.client.connect(),
      catch: (error) => connectError(made, error)
    }).pipe(
      Effect.timeoutOrElse({
        duration: Duration.millis(settings.connectTimeoutMillis),
        orElse: () => Effect.fail(connectError(made, new Error("Command timed out")))
      }),
      Effect.mapError((cause) => new Redis.RedisError({ cause })),
      Effect.onError(() => Effect.sync(() => made.client.disconnect()))
    )
    return { send: sendOn(made), close: Effect.sync(() => made.client.disconnect()) }
  })

/** Listens to a channel on a connection of its own, which subscribes again when it has reconnected. */
export const subscribe = (
  settings: Settings,
  channel: string,
  onMessage: (message: Redis.RedisMessage) => void
): Effect.Effect<Effect.Effect<never>, Redis.RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const made = yield* acquire(settings, "waiting", true)
    const { client } = made
    client.on("message", (from: string, message: string) => onMessage({ channel: from, message }))
    yield* connect(settings, made).pipe(Effect.mapError((cause) => new Redis.RedisError({ cause })))
    yield* Effect.tryPromise({
      try: () => client.subscribe(channel),
      catch: (error) => new Redis.RedisError({ cause: commandError(made, error) })
    })
    return Effect.never
  })

interface Made {
  readonly client: Client
  /** What the client last said of its connection, since it was last ready. */
  readonly lastError: () => unknown
}

const acquire = (
  settings: Settings,
  purpose: Purpose,
  reconnects: boolean
): Effect.Effect<Made, never, Scope.Scope> =>
  Effect.acquireRelease(make(settings, purpose, reconnects), ({ client }) =>
    Effect.sync(() => client.disconnect())
  )

const make = (settings: Settings, purpose: Purpose, reconnects: boolean): Effect.Effect<Made> =>
  Effect.gen(function* () {
    const random = yield* Random.Random
    const log = Effect.runForkWith(yield* Effect.context<never>())
    const limits: Pick<RedisOptions, "commandTimeout" | "socketTimeout"> =
      purpose === "commands"
        ? { commandTimeout: settings.commandTimeoutMillis, socketTimeout: settings.commandTimeoutMillis * 2 }
        : {}
    let wasReady = false
    let troubled = false
    let lastError: unknown
    const client = new Client(settings.url, {
      ...settings.more,
      ...limits,
      lazyConnect: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      connectTimeout: settings.connectTimeoutMillis,
      retryStrategy: (times) =>
        reconnects && wasReady
          ? 50 +
            random.nextDoubleUnsafe() * Math.min(longestReconnectWaitMillis, 50 * 2 ** Math.min(times, 10))
          : null
    })
    client.on("ready", () => {
      if (troubled) log(Effect.logInfo("redis: connected again"))
      wasReady = true
      troubled = false
      lastError = undefined
    })
    client.on("error", (error: unknown) => {
      lastError = error
      // Each try to reconnect fails with an event; one line tells of them all.
      if (wasReady && !troubled)
        log(Effect.logWarning("redis: connection lost").pipe(Effect.annotateLogs({ code: codeOf(error) })))
      troubled = wasReady
    })
    return { client, lastError: () => lastError }
  })

/** The reason why a connect failed: its own rejection says only that there is no connection. */
const connectError = ({ lastError }: Made, error: unknown): unknown => lastError() ?? error

/** A command that was not written says only that; a server that refuses us is the reason to tell. */
const commandError = ({ lastError }: Made, error: unknown): unknown =>
  error instanceof Error &&
  error.message.includes("Stream isn't writeable") &&
  judge(lastError()).class === "misconfigured"
    ? lastError()
    : error

const codeOf = (error: unknown): string => judge(error).code

const judge = (error: unknown): ErrorClass.Judgement =>
  ErrorClass.judge(error instanceof Error ? error : { name: "Error", message: "" })

/** Tries to connect as often as the settings say; a refusal that waiting does not mend ends the tries at once. */
const connect = (settings: Settings, made: Made): Effect.Effect<void, ServiceUnavailable | Misconfigured> =>
  Effect.tryPromise({ try: () => made.client.connect(), catch: (error) => connectError(made, error) }).pipe(
    Effect.timeoutOrElse({
      duration: Duration.millis(settings.connectTimeoutMillis),
      orElse: () =>
        Effect.sync(() => made.client.disconnect()).pipe(
          Effect.andThen(Effect.fail(new Error("Command timed out")))
        )
    }),
    Effect.mapError((error) =>
      judge(error).class === "misconfigured"
        ? new Misconfigured({
            service: "redis",
            problem: `the server refuses the connection: ${codeOf(error)}`
          })
        : new ServiceUnavailable({ service: "redis", reason: UnavailableReason.NotConnected() })
    ),
    Effect.retry({
      times: settings.connectAttempts - 1,
      while: (error) => error instanceof ServiceUnavailable,
      schedule: Schedule.exponential("100 millis")
    }),
    Effect.asVoid
  )

/** Commands without a time limit: the holder of a reserved connection waits as long as it likes. */
const sendOn =
  (made: Made): Send =>
  <A>(command: string, ...args: ReadonlyArray<string>) =>
    Effect.tryPromise({
      try: () => made.client.call(command, ...args) as Promise<A>,
      catch: (error) => new Redis.RedisError({ cause: commandError(made, error) })
    })

const connectionOf = (settings: Settings, made: Made): Effect.Effect<Connection> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const now = (): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const watch = watchdog.make(settings.commandTimeoutMillis + graceMillis, now, fork)
    const use = <A>(f: () => Promise<A>): Effect.Effect<A, Redis.RedisError> =>
      Effect.callback((resume) => {
        const fail = (error: unknown): void =>
          resume(Effect.fail(new Redis.RedisError({ cause: commandError(made, error) })))
        const entry = watch.add(now(), () => fail(new Error("Command timed out")))
        f().then(
          (value) => {
            watch.remove(entry)
            resume(Effect.succeed(value))
          },
          (error: unknown) => {
            watch.remove(entry)
            fail(error)
          }
        )
      })
    const send: Send = <A>(command: string, ...args: ReadonlyArray<string>) =>
      use(() => made.client.call(command, ...args) as Promise<A>)
    return { client: made.client, use, send }
  })
