/** Asks a dependency how it is while its circuit is due, so that an idle circuit recovers without a user's call. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Outcome from "../../Outcome.ts"
import { ServiceUnavailable, UnavailableReason } from "../../ServiceUnavailable.ts"
import * as Circuit from "../../state/Circuit.ts"
import { monotonicMillis } from "../clock.ts"
import * as circuitShell from "./shell.ts"
import type { Cell, Shell } from "./tell.ts"

/** What a probe is, by the key of the circuit that it is for, and how long to wait for the next. */
export interface Probe<R> {
  /** The key is empty where there is but one circuit. */
  readonly effect: (key: string) => Effect.Effect<unknown, unknown, R>
  readonly everyMillis: number
}

/**
 * Starts the fiber that probes a circuit through one opening: it sleeps until the circuit is due, probes until that opening
 * is over, and ends. A probe that fails opens the circuit anew, which starts the next one.
 */
export const make = <R>(
  { effect, everyMillis }: Probe<R>,
  classify: (exit: Exit.Exit<unknown, unknown>) => Outcome.Outcome
): Effect.Effect<NonNullable<Shell["startProber"]>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    // The fiber is the breaker's: the call that opened the circuit has a deadline and a span of its own.
    const start = Effect.runForkWith(yield* Effect.context<R>())
    return (cell, openedGeneration) => {
      const rounds = through(cell, attemptOf(cell, effect, classify), openedGeneration, everyMillis)
      // In one step, so that whoever forgets the circuit finds the fiber. It yields first, for this is still the caller's.
      return Effect.sync(() => {
        const started = Fiber.runIn(start(Effect.andThen(Effect.yieldNow, rounds)), scope)
        // The one before may sleep on for as long as its opening was meant to last, or until its next round.
        cell.prober?.interruptUnsafe()
        cell.prober = started
        started.addObserver(() => {
          if (cell.prober === started) cell.prober = undefined
        })
      })
    }
  })

const attemptOf = <R>(
  cell: Cell,
  effect: Probe<R>["effect"],
  classify: (exit: Exit.Exit<unknown, unknown>) => Outcome.Outcome
): Effect.Effect<unknown, unknown, R> => {
  // Each probe anew, for the breaker may be reconfigured between two of them.
  const asked = Effect.suspend(() => {
    const { config, name } = cell.shell
    const patience = Duration.millis(config.probeMaxAgeMillis)
    return Effect.timeoutOrElse(
      Effect.suspend(() => effect(cell.key ?? "")),
      {
        duration: patience,
        orElse: () =>
          Effect.fail(
            new ServiceUnavailable({
              service: name,
              reason: UnavailableReason.TimedOut({ after: patience, of: patience })
            })
          )
      }
    )
  })
  return circuitShell.execute(cell, asked, classify)
}

const through = <R>(
  cell: Cell,
  attempt: Effect.Effect<unknown, unknown, R>,
  openedGeneration: number,
  everyMillis: number
): Effect.Effect<unknown, never, R> => {
  // Half-open is the generation after the opening; any later one belongs to another opening.
  const isOver = Effect.sync(() => {
    const { _tag, generation } = Ref.getUnsafe(cell.state)
    return _tag === "Closed" || generation > openedGeneration + 1
  })
  // While a call holds the slot there is nothing to probe, and a refusal would count as a caller's.
  const probeIfRoom = Effect.withFiber((fiber) =>
    circuitShell.mayProbe(cell, fiber) ? Effect.exit(attempt) : Effect.void
  )
  // Asked before each probe too, because calls may close the circuit while this fiber sleeps.
  const round = Effect.flatMap(isOver, (over) =>
    over ? Effect.succeed(true) : Effect.andThen(probeIfRoom, isOver)
  )
  // Asked again after the sleep: a timer may fire a fraction early.
  const untilDue: Effect.Effect<void> = Effect.withFiber((fiber) => {
    const dueInMillis = dueInMillisOf(cell, fiber, openedGeneration)
    return dueInMillis === undefined
      ? Effect.void
      : Effect.andThen(Effect.sleep(Duration.millis(dueInMillis)), untilDue)
  })
  return Effect.andThen(
    untilDue,
    Effect.repeat(round, {
      until: (over) => over,
      schedule: Schedule.spaced(Duration.millis(everyMillis))
    })
  )
}

/** Time until the opening of that generation is due, or `undefined` when it is due or over. */
const dueInMillisOf = (
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  openedGeneration: number
): number | undefined => {
  const circuit = Ref.getUnsafe(cell.state)
  return circuit.generation === openedGeneration
    ? Circuit.dueInMillis(circuit, monotonicMillis(fiber))
    : undefined
}
