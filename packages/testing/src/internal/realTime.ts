import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** The longest wait for a process or for a reply. */
export const limit = "10 seconds"

/** Bounds a wait for something outside the program: in real time, also where a test holds the clock. */
export const within = <A, E, E2>(
  self: Effect.Effect<A, E>,
  orElse: () => Effect.Effect<never, E2>
): Effect.Effect<A, E | E2> =>
  self.pipe(
    Effect.timeoutOrElse({ duration: limit, orElse }),
    Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
  )
