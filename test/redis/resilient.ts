/** A `ResilientRedis` on a real server, and the server in the states that the tests ask for. */
import { inspect } from "node:util"
import { IoRedis, ResilientRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Context, Effect, Layer, Redacted, References, Schedule } from "effect"
import { CircuitBreaker, type Degradable, PolicyEvent } from "failsoft"

/** How long a command may take. */
export const timeoutMillis = 300

/** How a client differs from the others. */
export interface Given<Mode extends Degradable.StartupMode = "optional"> extends ResilientRedis.Options {
  readonly mode?: Mode
  readonly keyPrefix?: string
}

/** One failure opens the circuits for a minute, and nothing is tried twice. */
export const brittle = {
  breaker: { trip: CircuitBreaker.consecutive(1) },
  retry: { enabled: false }
} satisfies ResilientRedis.Options

/** One failure opens the circuits for a moment, and one success closes them. */
export const brisk = {
  breaker: { trip: CircuitBreaker.consecutive(1), openDuration: "200 millis", halfOpen: { successes: 1 } },
  retry: { enabled: false },
  probeEvery: "50 millis"
} satisfies ResilientRedis.Options

/** The Layer of a client with short times. */
export const layer = <const Mode extends Degradable.StartupMode = "optional">(
  url: Redacted.Redacted,
  { keyPrefix, mode, ...options }: Given<Mode> = {}
) =>
  ResilientRedis.layer({
    commandTimeout: timeoutMillis,
    ...options,
    startup: { mode, timeout: "1 second" },
    connection: IoRedis.layer({
      url,
      keyPrefix,
      commandTimeout: timeoutMillis,
      connectTimeout: timeoutMillis,
      connectAttempts: 1
    })
  })

const silence: PolicyEvent.Levels = {
  CircuitOpened: "None",
  CircuitOverridden: "None",
  OverrideEnded: "None",
  CircuitReset: "None",
  CircuitHalfOpened: "None",
  CircuitClosed: "None",
  RetryScheduled: "None",
  AttemptsExhausted: "None",
  CallRejected: "None",
  CallsRejected: "None",
  DegradedStart: "None",
  ReturnedToPrimary: "None",
  HeldWritesDiscarded: "None",
  HeldWritesReplayed: "None",
  RefreshFailed: "None",
  PolicyReloaded: "None"
}

/** Builds what logs nothing: outages are what these tests are about, and no news. */
export const quietly = <A, E, R>(build: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  build.pipe(
    Effect.provideService(References.MinimumLogLevel, "None"),
    Effect.provideService(PolicyEvent.LogLevels, silence)
  )

/** A client and what its policies tell. It ends with the scope. */
export const connect = <const Mode extends Degradable.StartupMode = "optional">(
  url: Redacted.Redacted,
  given?: Given<Mode>
) =>
  Effect.suspend(() => {
    const events: Array<PolicyEvent.PolicyEvent> = []
    return Layer.build(layer(url, given)).pipe(
      quietly,
      Effect.provideService(PolicyEvent.Listeners, [(event) => events.push(event)]),
      Effect.map((context) => ({ redis: Context.get(context, ResilientRedis.ResilientRedis), events }))
    )
  })

/** A server of its own and a client of it. */
export const started = (given?: Given, server?: RedisServer.Options) =>
  Effect.gen(function* () {
    const running = yield* RedisServer.make(server)
    return { server: running, ...(yield* connect(running.url, given)) }
  })

/** Ends the server, and lets one read and one write find that out. */
export const lose = (server: RedisServer.RedisServer, redis: ResilientRedis.Client) =>
  Effect.gen(function* () {
    yield* server.kill
    yield* Effect.exit(redis.ping)
    yield* Effect.exit(redis.incr("lost"))
  })

/** The URL of a place. */
export const urlOf = ({ host, port }: { readonly host: string; readonly port: number }, login = "") =>
  Redacted.make(`redis://${login}${host}:${port}`)

/** Asks until the answer is right; after 5 seconds it dies with the last one. */
export const becomes = <A, E, R>(self: Effect.Effect<A, E, R>, isRight: (answer: A) => boolean) =>
  self.pipe(
    Effect.filterOrFail(isRight, (answer) => new Error(`it stayed ${inspect(answer, { depth: 5 })}`)),
    Effect.retry(Schedule.spaced("10 millis").pipe(Schedule.upTo({ duration: "5 seconds" }))),
    Effect.orDie
  )

/** Waits until both circuits are closed and the connection is there, without asking Redis for anything. */
export const recovered = (redis: ResilientRedis.Client) =>
  becomes(redis.health, ({ degraded_mode }) => !degraded_mode)

/** How often the server has carried out a command since it started, or since its statistics were reset. */
export const callsOf = (server: RedisServer.RedisServer, command: string) =>
  Effect.map(server.command("INFO", "commandstats"), (stats) =>
    Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(String(stats))?.[1] ?? 0)
  )

/** The events of one kind. */
export const told = <Tag extends PolicyEvent.PolicyEvent["_tag"]>(
  events: ReadonlyArray<PolicyEvent.PolicyEvent>,
  tag: Tag
) => events.filter((event): event is Extract<PolicyEvent.PolicyEvent, { _tag: Tag }> => event._tag === tag)
