/**
 * The line of calls that wait for their turn at a limiter, first come first served for each key.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { KeyTable } from "../../state/KeyTable.ts"
import { monotonicMillis } from "../clock.ts"

/** The lines of a limiter, and what they are about. */
export interface Lines<State> {
  readonly states: KeyTable<State>
  readonly counters: { admitted: number; delayed: number; waiting: number }
  /** Whoever was last to get in line, by key. */
  readonly lines: Map<string, Waiter<State>>
  readonly originMillis: number
}

/** Milliseconds since the limiter was made: small numbers, which add up exactly. */
export const nowMillis = (
  { originMillis }: { readonly originMillis: number },
  fiber: Fiber.Fiber<unknown, unknown>
): number => Math.round((monotonicMillis(fiber) - originMillis) * 1e3) / 1e3

/** A call that waits for its turn: what it found, what it left behind, and who waits before and after it. */
export interface Waiter<State> {
  readonly key: string
  readonly turnMillis: number
  /** 0 for one whose turn it is already, and who waits for those before it only. Such calls are no waiters of `maxWaiting`. */
  readonly waits: 0 | 1
  readonly after: State
  before: State
  previous: Waiter<State> | undefined
  next: Waiter<State> | undefined
  /** Tells it that nobody is before it any more, if it waits for no more than that. */
  wake: (() => void) | undefined
}

/** Until its turn has come, and nobody is before it: of two timers for the same moment the later one may fire first. */
export const wait = <State>(lines: Lines<State>, waiter: Waiter<State>): Effect.Effect<void> =>
  Effect.andThen(
    sleepUntil(lines, waiter.turnMillis),
    Effect.suspend(() =>
      waiter.previous === undefined
        ? Effect.void
        : Effect.callback<void>((resume) => {
            waiter.wake = () => resume(Effect.void)
          })
    )
  )

/** Timers may fire up to a millisecond early, and nobody is let through before the turn. */
const sleepUntil = <State>(lines: Lines<State>, turnMillis: number): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const leftMillis = turnMillis - nowMillis(lines, fiber)
    return leftMillis <= 0
      ? Effect.void
      : Effect.andThen(Effect.sleep(Duration.millis(Math.ceil(leftMillis))), sleepUntil(lines, turnMillis))
  })

/** Gets in line, behind everyone who is in it. */
export const join = <State>(
  { counters, lines }: Lines<State>,
  key: string,
  before: State,
  after: State,
  now: number,
  waitMillis: number
): Waiter<State> => {
  const previous = lines.get(key)
  const waiter: Waiter<State> = {
    key,
    turnMillis: now + waitMillis,
    waits: waitMillis > 0 ? 1 : 0,
    before,
    after,
    previous,
    next: undefined,
    wake: undefined
  }
  if (previous !== undefined) previous.next = waiter
  lines.set(key, waiter)
  counters.waiting += waiter.waits
  return waiter
}

/**
 * Leaves the line: its turn has come, or it was interrupted.
 *
 * A place is given back when nobody holds a later one. Until then whoever is next keeps it: those who wait know their turns,
 * and a place in the middle that went to someone at the end would let too many through at once.
 */
export const leave = <State>(
  { counters, lines, states }: Lines<State>,
  fiber: Fiber.Fiber<unknown, unknown>,
  waiter: Waiter<State>,
  isItsTurn: boolean
): undefined => {
  const { after, before, key, next, previous, waits } = waiter
  if (previous !== undefined) previous.next = next
  // Not at once: a line that is late would be let through within each other's steps.
  else if (next?.wake !== undefined) fiber.currentDispatcher.scheduleTask(next.wake, 0)
  if (next !== undefined) next.previous = previous
  else if (previous !== undefined) lines.set(key, previous)
  else lines.delete(key)
  counters.waiting -= waits
  if (isItsTurn) {
    counters.admitted++
    counters.delayed += waits
  } else if (next === undefined) {
    if (states.get(key) === after) states.set(key, before)
  } else if (next.before === after) {
    next.before = before
  }
}
