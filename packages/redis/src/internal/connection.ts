/**
 * Connections of ioredis as resources, and commands on them as effects.
 *
 * What ioredis says of a connection that fails comes as an event; the commands that failed for it say only that there is
 * none. So the last event is kept, and a command for which there is no connection fails with the reason.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Redis from "effect/persistence/Redis"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Misconfigured, ServiceUnavailable, UnavailableReason } from "failsoft"
import { Redis as Client, type RedisOptions } from "ioredis"
import * as RedisFailure from "../RedisFailure.ts"
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

/** What a connection is for: blocking commands have no time limits. A subscription is a command, and messages are none. */
type Purpose = "commands" | "subscription" | "blocking"

type Send = Redis.Redis["Service"]["send"]

/** A connection that is ready. */
export interface Connection {
  readonly client: Client
  readonly send: Send
  readonly use: <A>(f: () => Promise<A>) => Effect.Effect<A, Redis.RedisError>
  readonly command: (
    name: string,
    args: ReadonlyArray<string>
  ) => Effect.Effect<unknown, RedisFailure.RedisFailure>
}

const redisError = (cause: unknown): Redis.RedisError => new Redis.RedisError({ cause })

/** How often a server that loads its data is asked whether it has finished. */
const loadingCheckMillis = 500

/** How long the server has to agree to the end of a connection. */
const disconnectMillis = 500

/** The grace that ioredis has to end a command by itself before we do. */
const graceMillis = 50

/** Short, since a probe that finds no connection keeps the circuit open for as long again. */
const longestReconnectWaitMillis = 500

/** Opens a connection that lives as long as the scope and reconnects by itself. */
export const open = Effect.fnUntraced(function* (settings: Settings) {
  const made = yield* connected(settings, "commands")
  return yield* connectionOf(settings, made)
})

/** Opens a connection for one holder: when it drops, it is over. */
export const openReserved = (
  settings: Settings
): Effect.Effect<{ readonly send: Send; readonly close: Effect.Effect<void> }, Redis.RedisError> =>
  Effect.gen(function* () {
    const made = yield* make(settings, "blocking")
    yield* Effect.mapError(connect(settings, made), redisError)
    return { send: sendOn(made), close: made.disconnect }
  })

/**
 * Listens to a channel on a connection of its own, which subscribes again when it has reconnected.
 *
 * The effect it succeeds with fails when the server refuses that.
 */
export const subscribe = (
  settings: Settings,
  channel: string,
  onMessage: (message: Redis.RedisMessage) => void
): Effect.Effect<Effect.Effect<never, Redis.RedisError>, Redis.RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const made = yield* Effect.mapError(connected(settings, "subscription"), redisError)
    const { client } = made
    client.on("message", (from: string, message: string) => onMessage({ channel: from, message }))
    yield* Effect.tryPromise({
      try: () => client.subscribe(channel),
      catch: (error) => redisError(commandError(made, error))
    })
    const refused = yield* Deferred.make<never, Redis.RedisError>()
    client.on("ready", () => {
      client.subscribe(channel).catch((error: unknown) => {
        const cause = commandError(made, error)
        if (isRefusal(cause)) Deferred.doneUnsafe(refused, Effect.fail(redisError(cause)))
        else if (client.status === "ready") client.disconnect(true)
      })
    })
    return Deferred.await(refused)
  })

interface Made {
  readonly client: Client
  /** What the client last said of its connection, since it was last ready. */
  readonly lastError: () => unknown
  readonly disconnect: Effect.Effect<void>
}

const make = (settings: Settings, purpose: Purpose): Effect.Effect<Made> =>
  Effect.gen(function* () {
    const random = yield* Random.Random
    const log = Effect.runForkWith(yield* Effect.context<never>())
    const limits: Pick<RedisOptions, "commandTimeout" | "socketTimeout"> =
      purpose === "blocking"
        ? {}
        : { commandTimeout: settings.commandTimeoutMillis, socketTimeout: settings.commandTimeoutMillis * 2 }
    let wasReady = false
    let troubled = false
    let lastError: unknown
    const client = new Client(settings.url, {
      ...settings.more,
      ...limits,
      lazyConnect: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      // The client does not handle the failure of its own subscribing.
      autoResubscribe: purpose !== "subscription",
      maxLoadingRetryTime: loadingCheckMillis,
      disconnectTimeout: disconnectMillis,
      connectTimeout: settings.connectTimeoutMillis,
      retryStrategy: (times) =>
        purpose !== "blocking" && wasReady
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
      // ioredis would go on with database 0.
      if (nameOfCommand(error) === "select") client.disconnect(true)
      // What fails after a refusal, because of it, is not the reason to tell.
      if (!isNotWritten(error) || !isRefusal(lastError)) lastError = withoutArguments(error)
      // Each try to reconnect fails with an event; one line tells of them all.
      if (wasReady && !troubled)
        log(Effect.logWarning("redis: connection lost").pipe(Effect.annotateLogs({ code: codeOf(error) })))
      troubled = wasReady
    })
    return {
      client,
      lastError: () => lastError,
      disconnect: Effect.sync(() => {
        if (client.status !== "end") client.disconnect()
      })
    }
  })

const nameOfCommand = (error: unknown): unknown =>
  error instanceof Error && "command" in error && error.command instanceof Object && "name" in error.command
    ? error.command.name
    : undefined

/** ioredis hangs a command's arguments on the errors of replies: keys, values, and the password of a login. */
const withoutArguments = (error: unknown): unknown => {
  if (error instanceof Error) Reflect.deleteProperty(error, "command")
  return error
}

/** The reason why a connect failed: its own rejection says only that there is no connection. */
const connectError = ({ lastError }: Made, error: unknown): unknown => lastError() ?? error

/** A command that was not written says only that; a server that refuses us is the reason to tell. */
const commandError = ({ lastError }: Made, error: unknown): unknown =>
  isNotWritten(error) && judge(lastError()).class === "misconfigured" ? lastError() : withoutArguments(error)

const isNotWritten = (error: unknown): boolean =>
  error instanceof Error && error.message.includes("Stream isn't writeable")

/** Whether the server answered, and waiting does not change its answer. */
const isRefusal = (error: unknown): boolean => ["misconfigured", "caller"].includes(judge(error).class)

const codeOf = (error: unknown): string => judge(error).code

const judge = (error: unknown): ErrorClass.Judgement =>
  ErrorClass.judge(error instanceof Error ? error : { name: "Error", message: "" })

/** One try to connect. Fails with the reason. */
const connect = (settings: Settings, made: Made): Effect.Effect<void, unknown> =>
  Effect.tryPromise({ try: () => made.client.connect(), catch: (error) => connectError(made, error) }).pipe(
    Effect.timeoutOrElse({
      duration: Duration.millis(settings.connectTimeoutMillis),
      orElse: () => Effect.fail(connectError(made, new Error("Command timed out")))
    }),
    Effect.onError(() => made.disconnect)
  )

/**
 * A connection that lives as long as the scope, made in as many tries as the settings say; a refusal that waiting does
 * not mend ends them at once. Each try has a client of its own, since one that gives up is not free for the next at once.
 */
const connected = (
  settings: Settings,
  purpose: Purpose
): Effect.Effect<Made, ServiceUnavailable | Misconfigured, Scope.Scope> =>
  make(settings, purpose).pipe(
    Effect.tap((made) => Effect.addFinalizer(() => made.disconnect)),
    Effect.tap((made) => connect(settings, made)),
    Effect.mapError((error) =>
      isRefusal(error)
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
    })
  )

/** Commands without a time limit: the holder of a reserved connection waits as long as it likes. */
const sendOn =
  (made: Made): Send =>
  <A>(command: string, ...args: ReadonlyArray<string>) =>
    Effect.tryPromise({
      try: () => made.client.call(command.toUpperCase(), ...args) as Promise<A>,
      catch: (error) => redisError(commandError(made, error))
    })

/** Sockets whose writes wait for the commands that are about to follow. */
const corked = new WeakSet<Client["stream"]>()

/**
 * Lets commands that are sent together leave in one write to the socket, since the write is most of what a command costs.
 * The socket holds back no longer than until the promises have run that are due already.
 */
const writeTogether = ({ stream }: Client): void => {
  if (stream === undefined || corked.has(stream)) return
  corked.add(stream)
  stream.cork()
  void Promise.resolve().then(() => {
    corked.delete(stream)
    stream.uncork()
  })
}

const connectionOf = (settings: Settings, made: Made): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const fork = yield* FiberSet.makeRuntime<never>()
    const now = (): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const watch = watchdog.make(settings.commandTimeoutMillis + graceMillis, now, fork)
    const run = <A, E>(f: () => Promise<A>, errorOf: (cause: unknown) => E): Effect.Effect<A, E> =>
      Effect.callback((resume) => {
        const fail = (error: unknown): void => resume(Effect.fail(errorOf(commandError(made, error))))
        const entry = watch.add(now(), () => fail(new Error("Command timed out")))
        const failed = (error: unknown): void => {
          watch.remove(entry)
          fail(error)
        }
        writeTogether(made.client)
        try {
          f().then((value) => {
            watch.remove(entry)
            resume(Effect.succeed(value))
          }, failed)
        } catch (error) {
          failed(error)
        }
      })
    // By the name in small letters ioredis would give some replies another shape than the server does.
    const send: Send = <A>(command: string, ...args: ReadonlyArray<string>) =>
      run(() => made.client.call(command.toUpperCase(), ...args) as Promise<A>, redisError)
    return {
      client: made.client,
      use: (f) => run(f, redisError),
      send,
      command: (name, args) =>
        run(
          () => made.client.call(name, ...args),
          (cause) => RedisFailure.from(cause, name, args)
        )
    }
  })
