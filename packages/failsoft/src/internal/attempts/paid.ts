/** What goes through a budget: calls that are credited, and attempts that are paid for. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { ServiceUnavailable } from "../../ServiceUnavailable.ts"

/** As much of a `RetryBudget` as an attempt needs; `After` is what the attempt follows. */
interface Budget<After> extends Refunds<After> {
  readonly withdraw: (after: After) => Effect.Effect<boolean>
}

interface Refunds<After> {
  readonly refund: (after: After) => Effect.Effect<void>
}

/** Credits a call: when it has succeeded, or when it begins. */
export const credited = <A, E, R>(
  budget: { readonly credit: "success" | "request"; readonly depositUnsafe: () => void },
  call: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  budget.credit === "success"
    ? Effect.map(call, (value) => {
        budget.depositUnsafe()
        return value
      })
    : Effect.suspend(() => {
        budget.depositUnsafe()
        return call
      })

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

/** Pays back an attempt that a stage inside turned away: nothing was sent, so the dependency had nothing of it. */
export const refunding = <After, A, E, R>(
  budget: Refunds<After>,
  after: After,
  attempt: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.onExitPrimitive(attempt, (exit) => (wasTurnedAway(exit) ? budget.refund(after) : undefined))

const wasTurnedAway = (exit: Exit.Exit<unknown, unknown>): boolean =>
  exit._tag === "Failure" &&
  exit.cause.reasons.some((reason) => Cause.isFailReason(reason) && isRefusal(reason.error))

const isRefusal = (error: unknown): boolean => {
  if (!(error instanceof ServiceUnavailable)) return false
  switch (error.reason._tag) {
    case "CircuitOpen":
    case "BulkheadFull":
    case "RateLimited":
    case "Throttled":
    case "Shed":
      return true
    default:
      return false
  }
}
