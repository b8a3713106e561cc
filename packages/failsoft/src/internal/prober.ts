/** Asks a dependency how it is while its circuit is due, so that an idle circuit recovers without a user's call. */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Outcome from "../Outcome.ts"
import { ServiceUnavailable, UnavailableReason } from "../ServiceUnavailable.ts"
import * as circuitShell from "./circuitShell.ts"

/**
 * Starts the fiber that probes through one opening: it sleeps until the circuit is due, probes until that opening is
 * over, and ends. A probe that fails opens the circuit anew, which starts the next one.
 */
export const make = <R>(
  shell: circuitShell.Shell,
  probe: { readonly effect: Effect.Effect<unknown, unknown, R>; readonly everyMillis: number },
  classify: (exit: Exit.Exit<unknown, unknown>) => Outcome.Outcome
): Effect.Effect<(openedGeneration: number) => Effect.Effect<unknown>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const context = yield* Effect.context<R>()
    const patience = Duration.millis(shell.config.probeMaxAgeMillis)
    const attempt = circuitShell.execute(
      shell,
      Effect.timeoutOrElse(probe.effect, {
        duration: patience,
        orElse: () =>
          Effect.fail(
            new ServiceUnavailable({
              service: shell.name,
              reason: UnavailableReason.TimedOut({ after: patience, of: patience })
            })
          )
      }),
      classify
    )
    let prober: Fiber.Fiber<unknown> | undefined
    return (openedGeneration) => {
      // Half-open is the generation after the opening; any later one belongs to another opening.
      const isOver = Effect.sync(() => {
        const { _tag, generation } = Ref.getUnsafe(shell.state)
        return _tag === "Closed" || generation > openedGeneration + 1
      })
      // While a call holds the slot there is nothing to probe, and a refusal would count as a caller's.
      const probeIfRoom = Effect.withFiber((fiber) =>
        circuitShell.mayProbe(shell, fiber) ? Effect.exit(attempt) : Effect.void
      )
      // Asked before each probe too, because calls may close the circuit while this fiber sleeps.
      const round = Effect.flatMap(isOver, (over) =>
        over ? Effect.succeed(true) : Effect.andThen(probeIfRoom, isOver)
      )
      // Asked again after the sleep: a timer may fire a fraction early.
      const untilDue: Effect.Effect<void> = Effect.withFiber((fiber) => {
        const dueInMillis = circuitShell.dueInMillis(shell, fiber, openedGeneration)
        return dueInMillis === undefined
          ? Effect.void
          : Effect.andThen(Effect.sleep(Duration.millis(dueInMillis)), untilDue)
      })
      return untilDue.pipe(
        Effect.andThen(
          Effect.repeat(round, {
            until: (over) => over,
            schedule: Schedule.spaced(Duration.millis(probe.everyMillis))
          })
        ),
        // The fiber is the breaker's: the call that opened the circuit has a deadline and a span of its own.
        Effect.updateContext((_: Context.Context<never>) => context),
        Effect.forkIn(scope),
        // The one before may sleep on for as long as its opening was meant to last, or until its next round.
        Effect.tap((started) =>
          Effect.sync(() => {
            prober?.interruptUnsafe()
            prober = started
          })
        )
      )
    }
  })
