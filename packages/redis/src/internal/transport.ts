/** What carries commands to a Redis and replies back: ioredis, or nothing at all. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import type { Unsupported } from "failsoft"
import * as IoRedis from "../IoRedis.ts"
import * as RedisFailure from "../RedisFailure.ts"
import type { Reply } from "../state/MemoryStore.ts"

/** A command as it is sent. */
export interface Sent {
  readonly name: string
  readonly args: ReadonlyArray<string>
}

/** What became of one command of several. */
export type Fate = { readonly reply: Reply } | { readonly error: unknown }

/** Carries commands. */
export interface Transport {
  readonly send: (command: Sent) => Effect.Effect<Reply, RedisFailure.RedisFailure>
  /** Sends several in one go, or as one transaction, of which all are applied or none. */
  readonly sendAll: (
    commands: ReadonlyArray<Sent>,
    how: "pipeline" | "transaction"
  ) => Effect.Effect<ReadonlyArray<Fate>, Redis.RedisError>
  /** Whether there is a connection now. Asks nothing. */
  readonly isConnected: Effect.Effect<boolean>
  /** Runs something else on the same connection. */
  readonly use: <A>(
    f: (redis: Redis.Redis["Service"]) => Effect.Effect<A, Redis.RedisError>
  ) => Effect.Effect<A, Redis.RedisError | Unsupported>
}

/** The place of a transport that comes late, and goes. */
export interface Slot {
  current: Transport
  /** Wall-clock time at which it came to what it is. */
  sinceMillis: number
}

/** Carries commands over ioredis for as long as the scope lives. */
export const connect = (
  slot: Slot
): Effect.Effect<void, never, Redis.Redis | IoRedis.IoRedis | Scope.Scope> =>
  Effect.gen(function* () {
    const redis = yield* Redis.Redis
    const { client, command, use } = yield* IoRedis.IoRedis
    const transport: Transport = {
      // A reply of ioredis has the shapes of `Reply`: there are no others in the protocol that it speaks.
      send: ({ args, name }) => command(name, args) as Effect.Effect<Reply, RedisFailure.RedisFailure>,
      isConnected: Effect.sync(() => client.status === "ready"),
      use: (f) => f(redis),
      sendAll: (commands, how) => {
        // Only `call` gives the server's reply as it is.
        const calls = commands.map(({ name, args }) => ["call", name, ...args])
        return use(async (client) => {
          const all = how === "pipeline" ? client.pipeline(calls) : client.multi(calls)
          const results = (await all.exec().catch(rethrowReason)) ?? []
          const [first] = results
          // One error for all of them is told as that of a command would be, and so with the reason for it.
          if (first?.[0] && results.every(([error]) => isNotWritten(error))) throw first[0]
          return results.map(
            ([error, reply]): Fate => (error === null ? { reply: reply as Reply } : { error })
          )
        })
      }
    }
    const put = (next: Transport) =>
      Effect.map(Clock.currentTimeMillis, (nowMillis) => {
        slot.current = next
        slot.sinceMillis = nowMillis
      })
    yield* Effect.acquireRelease(put(transport), () => put(disconnected))
  })

/** A transaction is refused because a command of it was; when the server is why, and not the caller, that is to be told. */
const rethrowReason = (error: unknown): never => {
  const reasons: unknown = error instanceof Error && "previousErrors" in error ? error.previousErrors : []
  throw (Array.isArray(reasons) ? reasons : []).find(isOfServer) ?? error
}

const isOfServer = (error: unknown): boolean => RedisFailure.from(error, "EXEC", []).class !== "caller"

const isNotWritten = (error: unknown): boolean =>
  error instanceof Error && RedisFailure.from(error, "EXEC", []).code === "NOT_CONNECTED"

const notWritten = new Error("Stream isn't writeable: there is no connection")

const notConnected = Effect.fail(new Redis.RedisError({ cause: notWritten }))

/** A place that is empty, or holds a transport that needs no connection. */
export const makeSlot = (current: Transport): Effect.Effect<Slot> =>
  Effect.map(Clock.currentTimeMillis, (sinceMillis) => ({ current, sinceMillis }))

/** Carries nothing: for as long as no connection was made. */
export const disconnected: Transport = {
  send: ({ args, name }) => Effect.suspend(() => Effect.fail(RedisFailure.from(notWritten, name, args))),
  sendAll: () => notConnected,
  isConnected: Effect.succeed(false),
  use: () => notConnected
}
