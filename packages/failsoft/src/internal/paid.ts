/** An attempt that is paid for from a budget. */
import * as Effect from "effect/Effect"

/** As much of a `RetryBudget` as an attempt needs; `After` is what the attempt follows. */
interface Budget<After> {
  readonly withdraw: (after: After) => Effect.Effect<boolean>
  readonly refund: (after: After) => Effect.Effect<void>
}

/**
 * Pays for an attempt before the wait for it, so that nobody sleeps towards a refusal and no token is promised twice. Where
 * the attempt does not begin, because its wait was interrupted, the token comes back.
 */
export const paid = <After, A, E, R, E2>(
  budget: Budget<After>,
  after: After,
  wait: Effect.Effect<void>,
  attempt: Effect.Effect<A, E, R>,
  refused: Effect.Effect<never, E2>
): Effect.Effect<A, E | E2, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(budget.withdraw(after), (isPaid): Effect.Effect<A, E | E2, R> => {
      if (!isPaid) return restore(refused)
      let hasBegun = false
      const begun = Effect.suspend(() => {
        hasBegun = true
        return attempt
      })
      return Effect.onExitPrimitive(
        restore(Effect.andThen(wait, begun)),
        () => (hasBegun ? undefined : budget.refund(after)),
        true
      )
    })
  )
