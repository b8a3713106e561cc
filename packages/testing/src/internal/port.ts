import { createSocket } from "node:dgram"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"

/** The address that everything listens on. */
export const host = "127.0.0.1"

/**
 * Below the ports that systems give to outgoing connections. A server that is down for a moment would else find its
 * port taken by any client, even by one that tries to reach it and thereby connects to itself.
 */
const range = { first: 20_000, last: 32_767 }

const tries = 100

/** Chance of its own, from a single draw of the test's: how much of it is used must not shift the test's own draws. */
export const ownRandom: Effect.Effect<typeof Random.Random.Service> = Effect.flatMap(Random.nextInt, (seed) =>
  Random.withSeed(Effect.service(Random.Random), seed)
)

/** No port could be reserved. */
export class NoPort extends Data.TaggedError("NoPort")<{ readonly cause: unknown }> {}

/**
 * Draws a TCP port and keeps every other user of this module, in whatever process, from drawing it until the scope
 * closes: whoever holds the UDP port of the same number has it.
 */
export const reserve: Effect.Effect<number, NoPort, Scope.Scope> = Effect.flatMap(
  Random.nextIntBetween(range.first, range.last),
  (port) =>
    Effect.acquireRelease(
      Effect.callback<() => void, NoPort>((resume) => {
        const socket = createSocket("udp4")
        socket.once("error", (cause) => resume(Effect.fail(new NoPort({ cause }))))
        socket.bind({ address: host, port, exclusive: true }, () => {
          // It must not keep alive a process that has nothing else to do.
          socket.unref()
          resume(Effect.succeed(() => void socket.close()))
        })
      }),
      (release) => Effect.sync(release)
    ).pipe(Effect.as(port))
).pipe(Effect.retry({ times: tries }))
