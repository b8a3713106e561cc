/**
 * A TCP proxy that breaks connections on purpose, to be put between a client and a server in tests.
 *
 * Most of what goes wrong with a dependency goes wrong between: it cannot be reached, hangs, answers slowly, or goes
 * away in the middle of a reply. The proxy knows nothing of what it carries, so it serves Redis, HTTP and everything
 * else. Its mode can change at any time:
 *
 * | mode | new connections | open connections |
 * | --- | --- | --- |
 * | `pass` | are connected on | flow |
 * | `refuse` | are refused: nothing listens on the port | are reset |
 * | `acceptAndSilent` | are accepted, never connected on, never answered | flow, as in `pass` |
 * | `blackhole` | are connected on | stay open; bytes are lost both ways, and the end of the server is not heard |
 * | `latency` | are connected on | pieces go on in order, each a while after it came |
 * | `drip` | are connected on | replies go on a few bytes at a time |
 * | `dropReplies` | are connected on | requests reach the server, replies are lost |
 * | `resetMidReply` | are connected on | are reset after so many bytes of replies |
 *
 * A change of mode is felt at once by open connections, and by whatever still waits in the proxy.
 *
 * **Gotchas**
 *
 * - TCP never leaves out a part of a stream. So a connection that has lost bytes does not recover when the mode changes:
 *   what came next would be taken for what was lost. It stays in the mode that lost them, as a connection accepted by
 *   `acceptAndSilent` stays silent, until the client closes it or `dropConnections` does. All others recover.
 * - The proxy has accepted a client before it knows whether the server accepts it. Where the server refuses, the client
 *   is connected and then reset; only `refuse` refuses.
 * - At most 1 MiB waits in each direction of a connection; then the proxy stops reading, and the sender feels it. `latency`
 *   lets through no more than that in each delay.
 * - Delays follow Effect's `Clock` and jitter its `Random`, as `make` found them: under a `TestClock` they pass when the
 *   test says so.
 *
 * **Example** (A reply that never comes)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { FaultProxy, RedisServer } from "@failsoft/testing"
 *
 * const program = Effect.gen(function* () {
 *   const redis = yield* RedisServer.make()
 *   const proxy = yield* FaultProxy.make(redis)
 *
 *   yield* proxy.setMode(FaultProxy.dropReplies)
 *   // Clients of `proxy.host` and `proxy.port` wait in vain now, and what they asked for is done all the same.
 *   yield* proxy.setMode(FaultProxy.pass)
 *   return yield* proxy.connections
 * }).pipe(Effect.scoped)
 *
 * await Effect.runPromise(program) // => 0
 * ```
 */
import { createServer, type Server } from "node:net"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { InvalidOption } from "failsoft"
import { type Connection, relay, type Shared, silent } from "./internal/connection.ts"
import { host, ownRandom, reserve } from "./internal/port.ts"

/** What a proxy does with the connections through it. */
export type Mode =
  | { readonly _tag: "Pass" }
  | { readonly _tag: "Refuse" }
  | { readonly _tag: "AcceptAndSilent" }
  | { readonly _tag: "Blackhole" }
  | {
      readonly _tag: "Latency"
      readonly millis: number
      readonly jitterMillis: number
      readonly direction: "reply" | "both"
    }
  | { readonly _tag: "Drip"; readonly bytes: number; readonly everyMillis: number }
  | { readonly _tag: "DropReplies" }
  | { readonly _tag: "ResetMidReply"; readonly afterBytes: number; readonly once: boolean }

/** Connections flow as if there were no proxy. The mode of a new proxy. */
export const pass: Mode = { _tag: "Pass" }

/** Nothing listens on the port, and open connections are reset. Every other mode listens on the same port again. */
export const refuse: Mode = { _tag: "Refuse" }

/** New connections are accepted, never connected on and never answered, whatever they send. Open connections flow. */
export const acceptAndSilent: Mode = { _tag: "AcceptAndSilent" }

/** Connections stay open and carry nothing: what comes from either side is lost. */
export const blackhole: Mode = { _tag: "Blackhole" }

/**
 * Each piece goes on `millis` after it came, and up to `jitterMillis` (default 0) later by chance, in order.
 *
 * `direction` says whether replies alone wait (`"reply"`, the default) or requests as well (`"both"`).
 */
export const latency = (options: {
  readonly millis: number
  readonly jitterMillis?: number | undefined
  readonly direction?: "reply" | "both" | undefined
}): Mode => ({
  _tag: "Latency",
  millis: options.millis,
  jitterMillis: options.jitterMillis ?? 0,
  direction: options.direction ?? "reply"
})

/** Replies go on in pieces of at most `bytes`, with `everyMillis` between them. */
export const drip = (options: { readonly bytes: number; readonly everyMillis: number }): Mode => ({
  _tag: "Drip",
  ...options
})

/** Requests reach the server and are carried out; what it replies is lost. */
export const dropReplies: Mode = { _tag: "DropReplies" }

/**
 * A connection is reset as soon as `afterBytes` bytes of replies, counted from the change to this mode, have gone on.
 *
 * With `once` (default `false`) the first connection that this happens to is the only one: the mode is `pass` then.
 */
export const resetMidReply = (options: {
  readonly afterBytes: number
  readonly once?: boolean | undefined
}): Mode => ({ _tag: "ResetMidReply", afterBytes: options.afterBytes, once: options.once ?? false })

/** What has gone through a proxy since it was made. */
export interface Stats {
  /** Connections that clients have opened. */
  readonly accepted: number
  /** Bytes that went on to the server. */
  readonly toServer: number
  /** Bytes that went on to clients. */
  readonly toClient: number
  /** Bytes from either side that went nowhere. */
  readonly lost: number
}

/** A proxy that listens on a port of its own. */
export interface FaultProxy {
  readonly host: string
  readonly port: number
  readonly mode: Effect.Effect<Mode>
  /** Succeeds when the mode is in force: the port is closed, or listens again. */
  readonly setMode: (mode: Mode) => Effect.Effect<void, FaultProxyError | InvalidOption>
  /** How many connections of clients are open. */
  readonly connections: Effect.Effect<number>
  /** Resets every open connection, towards the client and towards the server. */
  readonly dropConnections: Effect.Effect<void>
  readonly stats: Effect.Effect<Stats>
}

/** The proxy cannot listen on its port. */
export class FaultProxyError extends Data.TaggedError("FaultProxyError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** Makes a proxy in front of a server, which need not be there yet. It ends, and its connections, with the scope. */
export const make = Effect.fnUntraced(function* (target: {
  readonly host: string
  readonly port: number
}): Effect.fn.Return<FaultProxy, FaultProxyError, Scope.Scope> {
  const fork = yield* FiberSet.makeRuntime<never>()
  const clock = yield* Clock.Clock
  const random = yield* ownRandom
  const connections = new Set<Connection>()
  let mode: Mode = pass
  let closed = false

  const shared: Shared = {
    target: { host: target.host, port: target.port },
    clock,
    random: () => random.nextDoubleUnsafe(),
    stats: { accepted: 0, toServer: 0, toClient: 0, lost: 0 },
    fork,
    mode: () => mode,
    resetting: (resetBy) => {
      if (resetBy === mode && resetBy._tag === "ResetMidReply" && resetBy.once) change(pass)
    }
  }
  const change = (next: Mode): void => {
    // A copy, so that what is counted from the change on can tell it from the same mode set before.
    mode = { ...next }
    for (const connection of connections) connection.changed()
  }
  const dropConnections = (): void => {
    for (const { reset } of connections) reset()
    connections.clear()
  }
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    if (mode._tag === "Refuse") {
      client.resetAndDestroy()
      return
    }
    const connection = (mode._tag === "AcceptAndSilent" ? silent : relay)(client, shared)
    shared.stats.accepted++
    connections.add(connection)
    client.once("close", () => connections.delete(connection))
  })
  // Failing to accept one client, as when there are too many open files, is no failure of the proxy.
  server.on("error", () => {})
  const close = Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    dropConnections()
  })
  const lock = yield* Semaphore.make(1)
  yield* Effect.addFinalizer(() => {
    closed = true
    return Semaphore.withPermit(lock, close)
  })
  const port = yield* reserve.pipe(
    Effect.mapError(({ cause }) => cannotListen(cause)),
    Effect.tap((port) => listen(server, port)),
    Effect.retry({ times: 10 }),
    Effect.provideService(Random.Random, random)
  )
  const setMode = Effect.fnUntraced(function* (next: Mode) {
    yield* validate(next)
    if (closed) return yield* cannotListen(new Error("its scope is closed"))
    // First, so that no connection is accepted in the mode before.
    change(next)
    if (next._tag === "Refuse") yield* close
    else if (!server.listening)
      yield* Effect.tapError(listen(server, port), () => Effect.sync(() => change(refuse)))
  })
  return {
    host,
    port,
    mode: Effect.sync(() => mode),
    setMode: (next) => Effect.uninterruptible(setMode(next)).pipe(Semaphore.withPermit(lock)),
    connections: Effect.sync(() => connections.size),
    dropConnections: Effect.sync(dropConnections),
    stats: Effect.sync(() => ({ ...shared.stats }))
  }
})

const validate = (mode: Mode): Effect.Effect<void, InvalidOption> =>
  Effect.forEach(
    Object.entries(mode),
    ([option, value]) => {
      const least = option === "bytes" ? 1 : 0
      if (typeof value !== "number" || (Number.isSafeInteger(value) && value >= least)) return Effect.void
      return Effect.fail(
        new InvalidOption({
          policy: "FaultProxy",
          option: `${mode._tag}.${option}`,
          value: `${value}`,
          allowed: `a whole number from ${least}`
        })
      )
    },
    { discard: true }
  )

const listen = (server: Server, port: number): Effect.Effect<void, FaultProxyError> =>
  Effect.callback((resume) => {
    const settle = (effect: Effect.Effect<void, FaultProxyError>): void => {
      server.off("error", failed).off("listening", listening)
      resume(effect)
    }
    const failed = (cause: Error): void => settle(Effect.fail(cannotListen(cause)))
    const listening = (): void => settle(Effect.void)
    server.once("error", failed).once("listening", listening).listen({ host, port })
  })

const cannotListen = (cause: unknown): FaultProxyError =>
  new FaultProxyError({
    message: `The proxy cannot listen: ${cause instanceof Error ? cause.message : cause}`,
    cause
  })
