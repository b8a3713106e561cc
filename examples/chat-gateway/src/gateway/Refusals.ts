/**
 * Tells that Redis refuses us as we are set up, which lasts until a person mends it: at Error, with the reason, and not
 * for every request.
 */
import { Clock, Duration, Effect } from "effect"
import { Misconfigured } from "failsoft"

const every = Duration.seconds(10)

/** A function that adds the log line to calls; it logs at most one in ten seconds. */
export const make = () => {
  let nextAtMillis = 0
  const tell = (error: unknown) =>
    Effect.flatMap(Clock.currentTimeMillis, (nowMillis) => {
      if (!(error instanceof Misconfigured) || nowMillis < nextAtMillis) return Effect.void
      nextAtMillis = nowMillis + Duration.toMillis(every)
      return Effect.logError(error.message)
    })
  return <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => Effect.tapError(self, tell)
}
