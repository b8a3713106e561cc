/**
 * The one shell around a rule that admits or rejects: take, run, settle with the `Exit`, announce.
 *
 * `lean` is for calls that were admitted without taking anything, so that interruption before the call begins has
 * nothing to give back. `masked` is for calls that take something which must come back, such as a probe slot. `held` is
 * for what is taken and given back by plain calls, such as a permit: it costs half of what `masked` does. `settle` must
 * be synchronous or return a step that does not wait, because an interrupted caller waits for it.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"

/** What `take` hands over: the permit, and what to announce once it is certain to be given back. */
export interface Taken<Permit> {
  readonly permit: Permit
  readonly announce: Effect.Effect<void> | undefined
}

/** Runs a call that took nothing and settles it with its exit. */
export const lean: <A, E, R>(
  self: Effect.Effect<A, E, R>,
  settle: (exit: Exit.Exit<A, E>) => Effect.Effect<void> | undefined
) => Effect.Effect<A, E, R> = Effect.onExitPrimitive

/** Takes a permit, runs the call with it and settles it with its exit; interruption at any point gives it back. */
export const masked = <A, E, R, Permit, Rejection>(
  self: Effect.Effect<A, E, R>,
  take: Effect.Effect<Taken<Permit>, Rejection>,
  settle: (permit: Permit, exit: Exit.Exit<A, E>) => Effect.Effect<void> | undefined
): Effect.Effect<A, E | Rejection, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(take, ({ announce, permit }) =>
      Effect.onExitPrimitive(
        announce === undefined ? restore(self) : Effect.andThen(announce, restore(self)),
        (exit) => settle(permit, exit),
        true
      )
    )
  )

/**
 * Runs a call that takes what it needs by itself: `use` takes by a plain call, and notes in the same turn that it did.
 * `giveBack` goes by that note at the end of the call, whatever the end is. The note belongs to one run, so make it in the
 * step that returns this.
 *
 * No mask is needed, because there is no step between taking and noting.
 */
export const held = <A, E, R>(
  use: () => Effect.Effect<A, E, R>,
  giveBack: () => undefined
): Effect.Effect<A, E, R> => Effect.onExitPrimitive(Effect.suspend(use), giveBack)
