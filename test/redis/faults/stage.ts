/**
 * What every fault is played on: a server, a proxy in front of it, and clients of the proxy. Afterwards it is looked at
 * what has to hold whatever the fault: every call settled in time, nothing was rejected unhandled, the clients left
 * nothing behind, and the log shows no key, value or password.
 */
import process from "node:process"
import { inspect } from "node:util"
import { expect, it } from "@effect/vitest"
import { IoRedis, ResilientRedis } from "@failsoft/redis"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Cause, Context, Effect, Exit, Layer, Logger, Redacted, References, Schedule, Scope } from "effect"
import { Redis } from "effect/persistence"
import type { Degradable, InvalidOption, Misconfigured } from "failsoft"
import { make, type Settled, type Settling } from "./settling.ts"

/** How long a command may take, and a try to connect. Short, so that the faults are over soon. */
export const timeoutMillis = 300

/** The deadline of a read, which would otherwise take as long as all its tries. */
export const deadlineMillis = 400

/** What each key, value and password of the tests holds, so that it is known again where it must not be. */
export const secret = /k3y|v4lue|s3cret|wr0ng/

/** A key that is known again in a log. */
export const key = (name: string | number): string => `k3y:${name}`

/** A value that is known again in a log. */
export const value = (name: string | number): string => `v4lue:${name}`

/** How a client differs from the others. */
export interface Given<Mode extends Degradable.StartupMode> extends ResilientRedis.Options {
  readonly commandTimeoutMillis?: number
  readonly password?: string
  readonly mode?: Mode
  readonly startupMillis?: number
}

/** Where a fault is played. */
export interface Stage {
  readonly server: RedisServer.RedisServer
  readonly proxy: FaultProxy.FaultProxy
  readonly settling: Settling
  /** The log so far, a line each, at every level. */
  readonly logged: () => ReadonlyArray<string>
  /** Ends with the fault, before the proxy and the server do. */
  readonly clients: Scope.Scope
  /** A client of the proxy. */
  readonly connect: <const Mode extends Degradable.StartupMode = "optional">(
    given?: Given<Mode>
  ) => Effect.Effect<ResilientRedis.Client, ResilientRedis.StartError<Misconfigured | InvalidOption, Mode>>
  /** A bare connection to the proxy. */
  readonly connection: Effect.Effect<Redis.Redis["Service"], IoRedis.ConnectError>
}

/** How a stage is set. */
export interface Setting extends RedisServer.Options {
  /** Whether calls have to settle in time. Default: `true`. */
  readonly isBounded?: boolean
}

/** A test of one fault. */
export const fault = <E>(
  name: string,
  play: (stage: Stage) => Effect.Effect<void, E, Scope.Scope>,
  setting: Setting = {}
): void => it.live(`fault ${name}`, () => onStage(`fault ${name}`, play, setting), 30_000)

/** Plays a fault, and looks at what has to hold afterwards. */
export const onStage = <E>(
  name: string,
  play: (stage: Stage) => Effect.Effect<void, E, Scope.Scope>,
  { isBounded = true, ...options }: Setting
) =>
  Effect.gen(function* () {
    const settling = make(name)
    const logged: Array<string> = []
    const rejections: Array<unknown> = []
    const before = resources()
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* hearing(rejections)
        const server = yield* RedisServer.make(options)
        const proxy = yield* FaultProxy.make(server)
        const clients = yield* Scope.fork(yield* Effect.scope)
        const password = options.password
        yield* play({
          server,
          proxy,
          settling,
          clients,
          logged: () => logged,
          connect: (given) =>
            Layer.build(layer(proxy, { ...(password === undefined ? {} : { password }), ...given })).pipe(
              Effect.map(Context.get(ResilientRedis.ResilientRedis)),
              Effect.provideService(Scope.Scope, clients)
            ),
          connection: Layer.build(connectionTo(proxy, password)).pipe(
            Effect.map(Context.get(Redis.Redis)),
            Effect.provideService(Scope.Scope, clients)
          )
        })
        yield* Scope.close(clients, Exit.void)
        yield* becomes(proxy.connections, (open) => open === 0)
      })
    ).pipe(Effect.provide(capturing(logged)))
    console.log(settling.line())
    expect(isBounded ? settling.late() : []).toEqual([])
    expect(rejections).toEqual([])
    expect(logged.filter((line) => secret.test(line))).toEqual([])
    yield* becomes(
      Effect.sync(() => resources().filter((resource) => !before.includes(resource))),
      (left) => left.length === 0
    )
  })

/** The connections and timers of this process, numbered. */
const resources = (): ReadonlyArray<string> => {
  const counts = new Map<string, number>()
  return process
    .getActiveResourcesInfo()
    .filter((kind) => kind.startsWith("TCP") || kind === "Timeout")
    .map((kind) => {
      const count = (counts.get(kind) ?? 0) + 1
      counts.set(kind, count)
      return `${kind} ${count}`
    })
}

/** Collects, for as long as the scope lives, what is rejected without a handler. */
const hearing = (rejections: Array<unknown>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const hear = (reason: unknown): void => void rejections.push(reason)
      process.on("unhandledRejection", hear)
      return hear
    }),
    (hear) =>
      // Node tells of a rejection when the promises have run that were due.
      Effect.callback<void>((resume) => {
        setImmediate(() => {
          process.off("unhandledRejection", hear)
          resume(Effect.void)
        })
      })
  ).pipe(Effect.asVoid)

/** Writes the whole log to an array. */
export const capturing = (logged: Array<string>): Layer.Layer<never> =>
  Layer.merge(
    Logger.layer([Logger.map(Logger.formatLogFmt, (line) => void logged.push(line))]),
    Layer.succeed(References.MinimumLogLevel, "All")
  )

/** `ResilientRedis` with short times. */
export const layer = <const Mode extends Degradable.StartupMode = "optional">(
  place: { readonly host: string; readonly port: number },
  { commandTimeoutMillis = timeoutMillis, mode, password, startupMillis, ...options }: Given<Mode>
) =>
  ResilientRedis.layer({
    breaker: { openDuration: "500 millis", halfOpen: { successes: 1 } },
    probeEvery: "100 millis",
    ...options,
    commandTimeout: commandTimeoutMillis,
    startup: { mode, timeout: startupMillis ?? deadlineMillis },
    connection: connectionTo(place, password, commandTimeoutMillis)
  })

const connectionTo = (
  { host, port }: { readonly host: string; readonly port: number },
  password?: string,
  commandTimeout = timeoutMillis
) =>
  IoRedis.layer({
    url: Redacted.make(`redis://${password === undefined ? "" : `:${password}@`}${host}:${port}`),
    connectTimeout: timeoutMillis,
    commandTimeout,
    connectAttempts: 1
  })

/** Asks until the answer is right, and fails with the last one when that takes too long. */
export const becomes = <A, E, R>(self: Effect.Effect<A, E, R>, isRight: (answer: A) => boolean) =>
  self.pipe(
    Effect.filterOrFail(isRight, (answer) => new Error(`it stayed ${inspect(answer)}`)),
    Effect.retry(Schedule.spaced("20 millis").pipe(Schedule.upTo({ duration: "8 seconds" })))
  )

/** Waits until a client is served by the server again. */
export const recovers = (redis: ResilientRedis.Client) =>
  becomes(
    Effect.andThen(redis.ping, redis.health),
    ({ circuit_breaker, redis_available }) => redis_available && circuit_breaker.state === "closed"
  )

/** What a call failed with, `undefined` if it did not. What it says is looked through for secrets. */
export const errorOf = ({ exit }: Settled<unknown, unknown>): unknown => {
  if (exit === undefined || Exit.isSuccess(exit)) return undefined
  expect(inspect(exit.cause, { depth: null })).not.toMatch(secret)
  return Cause.squash(exit.cause)
}

/** How often the server has carried out a command. */
export const callsOf = (server: RedisServer.RedisServer, command: string) =>
  Effect.map(server.command("INFO", "commandstats"), (stats) =>
    Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(String(stats))?.[1] ?? 0)
  )
