/**
 * The race of a call that did not end at once with the attempts that are made beside it.
 *
 * Everything here happens when something ends: an attempt, the wait for the next one, or the patience of the caller. Each is one
 * step without an effect in between, so they cannot get in each other's way.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Outcome from "../../Outcome.ts"
import type { Quantile } from "../../state/Quantile.ts"
import { leastMillis, monotonicMillis } from "../clock.ts"
import type { Alarm, Wait } from "./alarm.ts"
import { refunding } from "./paid.ts"
import { forkFrom, type Resume } from "./started.ts"
import { isTimeout } from "./timeouts.ts"

/** What the calls of one hedge came to. */
export interface Counts {
  calls: number
  hedges: number
  won: number
  refused: number
}

/** How a call is hedged. */
export interface Plan<A, E, R> {
  /** A further attempt. */
  readonly again: Effect.Effect<A, E, R>
  /** Further attempts at most. */
  readonly hedges: number
  /** The wait before each of them; infinite where there is none. */
  readonly delayMillis: number
  /** What all calls of the hedge wait by. */
  readonly alarm: Alarm
  readonly mayHedge: Effect.Effect<boolean>
  /** What remains of the caller's deadline, if there is one. */
  readonly leftMillis: (fiber: Fiber.Fiber<unknown, unknown>) => number | undefined
  readonly budget:
    | { readonly withdraw: () => Effect.Effect<boolean>; readonly refund: () => Effect.Effect<void> }
    | undefined
  /** What the time of the first attempt is told. */
  readonly latencies: Quantile | undefined
  readonly counts: Counts
}

/** One call on its way. */
interface Race<A, E, R> {
  readonly plan: Plan<A, E, R>
  readonly caller: Fiber.Fiber<unknown, unknown>
  readonly first: Fiber.Fiber<A, E>
  readonly startedAtMillis: number
  readonly running: Set<Fiber.Fiber<A, E>>
  /** For the first further attempt. */
  wait: Wait | undefined
  /** Makes further attempts. */
  timer: Fiber.Fiber<void> | undefined
  /** Whether its caller has its answer, or has stopped waiting for one. */
  isOver: boolean
  answer: Exit.Exit<A, E> | undefined
  resume: Resume<A, E>
}

/** Answers with the first success, or with the failure of the last attempt. Returns what an interrupted caller has to do. */
export const race = <A, E, R>(
  caller: Fiber.Fiber<unknown, unknown>,
  attempt: Fiber.Fiber<A, E>,
  plan: Plan<A, E, R>,
  resume: Resume<A, E>
): Effect.Effect<void> => {
  const race: Race<A, E, R> = {
    plan,
    caller,
    first: attempt,
    startedAtMillis: plan.latencies === undefined ? 0 : monotonicMillis(caller),
    running: new Set(),
    wait: undefined,
    timer: undefined,
    isOver: false,
    answer: undefined,
    resume
  }
  const leave = Effect.suspend(() => (race.isOver ? Effect.void : giveUp(race)))
  watch(race, attempt)
  if (plan.delayMillis !== Number.POSITIVE_INFINITY) {
    const hedges = hedgeInTurn(race, plan.hedges)
    if (plan.delayMillis === 0) race.timer = forkFrom(caller, hedges)
    else {
      race.wait = plan.alarm.set(caller, plan.delayMillis, (ended) => {
        if (Exit.isSuccess(ended)) resume(hedgeFromCaller(race, hedges, leave))
      })
    }
  }
  return leave
}

/**
 * Wakes the caller to start further attempts, and has it wait on. What starts where the alarm rings would have the
 * `AsyncLocalStorage` of whoever set the alarm first.
 */
const hedgeFromCaller = <A, E, R>(
  race: Race<A, E, R>,
  hedges: Effect.Effect<void>,
  leave: Effect.Effect<void>
): Effect.Effect<A, E> =>
  Effect.callback((resume) => {
    // It may have ended before the caller got here.
    if (race.answer !== undefined) return resume(race.answer)
    race.resume = resume
    race.timer = forkFrom(race.caller, hedges)
    return leave
  })

const watch = <A, E, R>(race: Race<A, E, R>, attempt: Fiber.Fiber<A, E>): void => {
  // What it did at once may have ended the race.
  if (race.isOver) {
    attempt.interruptUnsafe(race.caller.id, superseded)
    return
  }
  race.running.add(attempt)
  attempt.addObserver((exit) => {
    race.running.delete(attempt)
    if (race.isOver) return
    if (attempt === race.first) tellEnd(race, exit)
    if (Exit.isSuccess(exit) || race.running.size === 0) settle(race, attempt, exit)
  })
}

const hedgeInTurn = <A, E, R>(race: Race<A, E, R>, left: number): Effect.Effect<void> => {
  const { delayMillis } = race.plan
  return Effect.suspend(() => {
    if (race.isOver) return Effect.void
    if (left === 1) return hedge(race)
    const next = hedgeInTurn(race, left - 1)
    const after = delayMillis === 0 ? next : Effect.andThen(Effect.sleep(Duration.millis(delayMillis)), next)
    return Effect.andThen(hedge(race), after)
  })
}

const hedge = <A, E, R>(race: Race<A, E, R>): Effect.Effect<void> => {
  const { again, budget, counts, leftMillis, mayHedge } = race.plan
  const start = Effect.suspend(() => {
    if (race.isOver) return budget === undefined ? Effect.void : budget.refund()
    counts.hedges++
    watch(race, forkFrom(race.caller, budget === undefined ? again : refunding(budget, undefined, again)))
    return Effect.void
  })
  const refuse = Effect.sync(() => {
    counts.refused++
  })
  // From the token to the attempt nothing may come between.
  const paid = Effect.uninterruptible(
    budget === undefined ? start : Effect.flatMap(budget.withdraw(), (isPaid) => (isPaid ? start : refuse))
  )
  const hasTime = (): boolean => (leftMillis(race.caller) ?? leastMillis) >= leastMillis
  return Effect.flatMap(mayHedge, (may) => (may && hasTime() ? paid : refuse))
}

/** The annotation that tells of a loser that it was one. */
const superseded = Context.make(Outcome.Superseded, true)

/** Ends the race: what still runs is interrupted, and nobody waits for it. */
const settle = <A, E, R>(race: Race<A, E, R>, winner: Fiber.Fiber<A, E>, exit: Exit.Exit<A, E>): void => {
  race.isOver = true
  race.answer = exit
  if (Exit.isSuccess(exit) && winner !== race.first) race.plan.counts.won++
  if (race.running.has(race.first)) tellAtLeast(race)
  race.wait?.cancel()
  race.timer?.interruptUnsafe(race.caller.id)
  for (const loser of race.running) loser.interruptUnsafe(race.caller.id, superseded)
  race.resume(exit)
}

/** The caller was interrupted: so are its attempts, and it waits for them, as it would for a call that is not hedged. */
const giveUp = <A, E, R>(race: Race<A, E, R>): Effect.Effect<void> => {
  race.isOver = true
  if (race.running.has(race.first)) tellAtLeast(race)
  race.wait?.cancel()
  const { running, timer } = race
  return Fiber.interruptAll(timer === undefined ? running : [timer, ...running])
}

const tellEnd = <A, E, R>(race: Race<A, E, R>, exit: Exit.Exit<A, E>): void => {
  if (Exit.isSuccess(exit)) race.plan.latencies?.observe(monotonicMillis(race.caller) - race.startedAtMillis)
  else if (exit.cause.reasons.some((reason) => Cause.isFailReason(reason) && isTimeout(reason.error))) {
    tellAtLeast(race)
  }
}

const tellAtLeast = <A, E, R>({ caller, plan, startedAtMillis }: Race<A, E, R>): void =>
  plan.latencies?.observeAtLeast(monotonicMillis(caller) - startedAtMillis)
