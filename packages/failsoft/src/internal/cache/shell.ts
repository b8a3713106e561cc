/**
 * Takes a caller through a cache: to what it holds, or to a lookup that it waits for.
 *
 * Each caller is counted once, by what it was answered with: a hit is what is held and fresh, stale what is held and
 * expired, and a miss whatever else, also where nothing came of it.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { Served } from "../../Served.ts"
import type { ServiceUnavailable } from "../../ServiceUnavailable.ts"
import * as Freshness from "../../state/Freshness.ts"
import type { Answer, Found } from "./judge.ts"
import {
  detach,
  type Entry,
  type Flight,
  join,
  leave,
  nowOf,
  type Shell,
  start,
  store,
  timedOut
} from "./lookups.ts"

/** What callers are given: the value alone, or with its source. */
export interface View<A, E, B> {
  readonly held: (entry: Entry<A, E>, nowMillis: number) => Exit.Exit<B, E>
  readonly live: (exit: Exit.Exit<A, E>) => Exit.Exit<B, E>
}

/** The value alone. */
export const plain = <A, E>(): View<A, E, A> => ({ held: (entry) => entry.exit, live: (exit) => exit })

/** The value with its source and age. */
export const served = <A, E>(): View<A, E, Served<A>> => ({
  held: ({ exit, lifetime }, nowMillis) => Exit.map(exit, (value) => servedOf(value, lifetime, nowMillis)),
  live: (exit) => Exit.map(exit, (value) => ({ value, source: "live", ageMillis: 0 }))
})

const servedOf = <A>(value: A, lifetime: Freshness.Lifetime, nowMillis: number): Served<A> => ({
  value,
  source: nowMillis < lifetime.expiresAtMillis ? "live" : "stale",
  ageMillis: Freshness.ageMillis(lifetime, nowMillis)
})

/** Answers by what is held, or by a lookup. */
export const get = <K, A, E, B>(
  shell: Shell<K, A, E>,
  key: K,
  view: View<A, E, B>
): Effect.Effect<B, E | ServiceUnavailable> =>
  Effect.suspend(() => {
    const entry = shell.entries.get(key)
    if (entry === undefined) return ask(shell, key, view)
    const nowMillis = nowOf(shell)
    if (nowMillis < entry.lifetime.eagerAtMillis) {
      shell.counters.hits++
      return view.held(entry, nowMillis)
    }
    const freshness = Freshness.at(entry.lifetime, nowMillis)
    switch (Freshness.move(freshness, entry.setback, nowMillis)) {
      case "serve":
        return serve(shell, entry, view, nowMillis)
      case "serve and refresh":
        return Effect.andThen(refreshBehind(shell, key), serve(shell, entry, view, nowMillis))
      case "look up":
        if (freshness === "gone") shell.entries.delete(key)
        return ask(shell, key, view)
    }
  })

/** Begins a refresh that nobody waits for, if there is room. */
const refreshBehind = <K, A, E>(shell: Shell<K, A, E>, key: K): Effect.Effect<unknown> =>
  Effect.uninterruptible(
    Effect.suspend(() =>
      shell.background >= shell.maxBackground || shell.flights.has(key) ? Effect.void : start(shell, key, 0)
    )
  )

/** Answers by a lookup; by what is held where the lookup takes too long, or fails in a way that this may stand in for. */
const ask = <K, A, E, B>(
  shell: Shell<K, A, E>,
  key: K,
  view: View<A, E, B>
): Effect.Effect<B, E | ServiceUnavailable> => {
  let isServed = false
  const fromHeld = (otherwise: () => Exit.Exit<B, E | ServiceUnavailable>) => {
    const nowMillis = nowOf(shell)
    const entry = usable(shell, key, nowMillis)
    if (entry === undefined) return otherwise()
    isServed = true
    return serve(shell, entry, view, nowMillis)
  }
  const count = () => {
    if (!isServed) shell.counters.misses++
  }
  return waitFor<K, A, E, B>(shell, key, {
    mayBeHeld: true,
    answered: (found) => {
      if (found._tag === "Answer") return view.live(found.exit)
      const failed = () => Exit.failCause(found.cause)
      return found.isOutage ? fromHeld(failed) : failed()
    },
    tooLong: (afterMillis) => fromHeld(() => Exit.fail(timedOut(shell, afterMillis))),
    count
  })
}

/** Answers by a lookup alone. */
export const refresh = <K, A, E>(shell: Shell<K, A, E>, key: K): Effect.Effect<A, E | ServiceUnavailable> =>
  waitFor<K, A, E, A>(shell, key, {
    mayBeHeld: false,
    answered: (found) => (found._tag === "Answer" ? found.exit : Exit.failCause(found.cause)),
    tooLong: (afterMillis) => Exit.fail(timedOut(shell, afterMillis)),
    count: () => {}
  })

/** What a caller makes of how its wait ended. */
interface Caller<A, E, B> {
  /** Whether it takes an expired value instead of waiting longer. */
  readonly mayBeHeld: boolean
  readonly answered: (found: Found<A, E>) => Exit.Exit<B, E | ServiceUnavailable>
  readonly tooLong: (afterMillis: number) => Exit.Exit<B, E | ServiceUnavailable>
  /** Called once, however it ends. */
  readonly count: () => void
}

/** A deadline that is nearer than this leaves no time for a lookup. */
const leastMillis = 1

/** Waits for the lookup of a key, and begins it if there is none. */
const waitFor = <K, A, E, B>(
  shell: Shell<K, A, E>,
  key: K,
  caller: Caller<A, E, B>
): Effect.Effect<B, E | ServiceUnavailable> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber: Fiber.Fiber<unknown, unknown>) => {
      const nowMillis = nowOf(shell)
      const leftMillis = shell.remainingMillis(fiber) ?? Number.POSITIVE_INFINITY
      const present = shell.flights.get(key)
      const isSlow =
        caller.mayBeHeld &&
        present !== undefined &&
        softAt(shell, present) <= nowMillis &&
        usable(shell, key, nowMillis) !== undefined
      if (leftMillis < leastMillis || isSlow) {
        const exit = caller.tooLong(0)
        caller.count()
        return exit
      }
      if (present !== undefined) join(shell, present)
      return Effect.flatMap(
        present === undefined ? start(shell, key, 1) : Effect.succeed(present),
        (flight) =>
          Effect.onExitPrimitive(
            restore(awaitFlight(shell, flight, caller, nowMillis, nowMillis + leftMillis)),
            (exit) => {
              caller.count()
              return leave(shell, flight, Exit.hasInterrupts(exit))
            },
            true
          )
      )
    })
  )

/** When those who wait for a flight take an expired value instead. */
const softAt = <K, A, E>(shell: Shell<K, A, E>, flight: Flight<K, A, E>): number =>
  flight.startedAtMillis + shell.softMillis

const awaitFlight = <K, A, E, B>(
  shell: Shell<K, A, E>,
  flight: Flight<K, A, E>,
  caller: Caller<A, E, B>,
  sinceMillis: number,
  deadlineMillis: number
): Effect.Effect<B, E | ServiceUnavailable> =>
  Effect.suspend(() => {
    const nowMillis = nowOf(shell)
    const soft = softAt(shell, flight)
    const isSoft =
      caller.mayBeHeld &&
      nowMillis < soft &&
      soft < deadlineMillis &&
      usable(shell, flight.key, soft) !== undefined
    const untilMillis = isSoft ? soft : deadlineMillis
    const landed = Deferred.await(flight.landed)
    if (untilMillis === Number.POSITIVE_INFINITY) return Effect.flatMap(landed, caller.answered)
    return Effect.flatMap(
      Effect.timeoutOption(landed, Duration.millis(Math.ceil(untilMillis - nowMillis))),
      Option.match({
        onSome: caller.answered,
        onNone: () => {
          // What was held may have been forgotten meanwhile: then there is more time.
          if (isSoft && usable(shell, flight.key, nowOf(shell)) === undefined) {
            return awaitFlight(shell, flight, caller, sinceMillis, deadlineMillis)
          }
          flight.goesOn = true
          return caller.tooLong(nowOf(shell) - sinceMillis)
        }
      })
    )
  })

/** What is held and may be served, without a lookup. */
export const peek = <K, A, E>(shell: Shell<K, A, E>, key: K): Option.Option<Served<A>> => {
  const entry = shell.entries.peek(key)
  const nowMillis = nowOf(shell)
  return entry === undefined ||
    Exit.isFailure(entry.exit) ||
    Freshness.at(entry.lifetime, nowMillis) === "gone"
    ? Option.none()
    : Option.some(servedOf(entry.exit.value, entry.lifetime, nowMillis))
}

/** Holds an answer that came from elsewhere, and is newer than what a lookup under way will find. */
export const set = <K, A, E>(shell: Shell<K, A, E>, key: K, answer: Answer<A, E>): void => {
  detach(shell, key)
  store(shell, key, answer)
}

/** Forgets a key, and what a lookup under way will find for it. */
export const invalidate = <K, A, E>(shell: Shell<K, A, E>, key: K): void => {
  detach(shell, key)
  shell.entries.delete(key)
}

/** Forgets everything. */
export const invalidateAll = <K, A, E>(shell: Shell<K, A, E>): void => {
  for (const key of [...shell.flights.keys()]) detach(shell, key)
  shell.entries.clear()
}

const serve = <K, A, E, B>(
  shell: Shell<K, A, E>,
  entry: Entry<A, E>,
  view: View<A, E, B>,
  nowMillis: number
): Exit.Exit<B, E> => {
  if (nowMillis < entry.lifetime.expiresAtMillis) shell.counters.hits++
  else shell.counters.stale++
  return view.held(entry, nowMillis)
}

/** What is held of a key and may be served at a moment. */
const usable = <K, A, E>(shell: Shell<K, A, E>, key: K, atMillis: number): Entry<A, E> | undefined => {
  const entry = shell.entries.peek(key)
  return entry === undefined || Freshness.at(entry.lifetime, atMillis) === "gone" ? undefined : entry
}
