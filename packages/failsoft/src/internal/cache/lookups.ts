/**
 * The lookups of a cache that are under way: one for each key, each in a fiber of the cache's own.
 *
 * Callers wait for a lookup and do not run it, so that one who leaves takes nothing from the others. A lookup ends once,
 * by what it came to, by its time limit, or because nobody wants it any more; what its fiber does after that is of no
 * interest. A lookup that has been detached from its key, because the key was invalidated or set meanwhile, answers those
 * who wait for it and is not stored.
 *
 * Everything that changes state here is synchronous, and wakes the waiters last, since they go on at once.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Lru from "../../Lru.ts"
import * as PolicyEvent from "../../PolicyEvent.ts"
import { errorName, ServiceUnavailable, UnavailableReason } from "../../ServiceUnavailable.ts"
import * as Freshness from "../../state/Freshness.ts"
import { monotonicMillisOf } from "../clock.ts"
import type { Answer, Found } from "./judge.ts"

/** What is held of one key. */
export interface Entry<A, E> {
  /** Served as it is: making an effect of a value for each hit would be half of what a hit costs. */
  readonly exit: Exit.Exit<A, E>
  readonly lifetime: Freshness.Lifetime
  setback: Freshness.Setback | undefined
}

/** One lookup under way. */
export interface Flight<K, A, E> {
  readonly key: K
  readonly startedAtMillis: number
  readonly landed: Deferred.Deferred<Found<A, E>>
  waiters: number
  /** Whether it goes on without a waiter: it began as a refresh, or a waiter left because it took too long. */
  goesOn: boolean
  isOver: boolean
  worker: Fiber.Fiber<unknown, unknown> | undefined
  timer: Fiber.Fiber<unknown, unknown> | undefined
}

/** What a cache is given. */
export interface Plan<K, A, E> {
  readonly name: string
  /** Runs a lookup, and says what it came to. */
  readonly lookUp: (key: K) => Effect.Effect<Found<A, E>>
  /** What lookups run in, whoever asks. */
  readonly context: Context.Context<never>
  /** What is left of the deadline of a caller. */
  readonly remainingMillis: (fiber: Fiber.Fiber<unknown, unknown>) => number | undefined
  readonly jitter: number
  readonly softMillis: number
  readonly hardMillis: number
  readonly pauseMillis: number
  /** Lookups that may run with nobody waiting for them. */
  readonly maxBackground: number
}

/** What one cache works on. */
export interface Shell<K, A, E> extends Plan<K, A, E> {
  /** The clock and chance of where the cache was made: what is stored by one clock is not read by another. */
  readonly clock: Clock.Clock
  readonly random: Context.Service.Shape<typeof Random.Random>
  readonly scope: Scope.Scope
  readonly emit: PolicyEvent.Emitter["emit"]
  readonly entries: Lru.Lru<K, Entry<A, E>>
  /** The present lookup of each key; those that were detached are not among them. */
  readonly flights: Map<K, Flight<K, A, E>>
  /** Lookups that nobody waits for. */
  background: number
  /** How many lookups are being started or ended by one another, on one stack. */
  depth: number
  readonly counters: {
    hits: number
    misses: number
    stale: number
    lookups: number
    failures: number
    evicted: number
  }
  readonly failedRefreshes: { untold: number; toldAtMillis: number; defectToldAtMillis: number }
}

/** An empty cache. */
export const make = <K, A, E>(
  plan: Plan<K, A, E>,
  bounds: Lru.Bounds
): Effect.Effect<Shell<K, A, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    return {
      ...plan,
      clock: yield* Clock.Clock,
      random: yield* Random.Random,
      scope: yield* Effect.scope,
      emit: (yield* PolicyEvent.emitter).emit,
      entries: Lru.make(bounds),
      flights: new Map(),
      background: 0,
      depth: 0,
      counters: { hits: 0, misses: 0, stale: 0, lookups: 0, failures: 0, evicted: 0 },
      failedRefreshes: {
        untold: 0,
        toldAtMillis: Number.NEGATIVE_INFINITY,
        defectToldAtMillis: Number.NEGATIVE_INFINITY
      }
    }
  })

/** The cache's own time. */
export const nowOf = (shell: { readonly clock: Clock.Clock }): number => monotonicMillisOf(shell.clock)

/** Keeps an answer within the bounds. */
export const store = <K, A, E>(shell: Shell<K, A, E>, key: K, answer: Answer<A, E>): void => {
  const { bytes, exit, windows } = answer
  const ttlMillis =
    shell.jitter === 0
      ? answer.ttlMillis
      : Freshness.jittered(answer.ttlMillis, shell.jitter, shell.random.nextDoubleUnsafe())
  if (ttlMillis > 0) {
    const lifetime = Freshness.begin(windows, ttlMillis, nowOf(shell))
    shell.counters.evicted += shell.entries.set(key, { exit, lifetime, setback: undefined }, bytes).length
  } else shell.entries.delete(key)
}

/**
 * A lookup that asks for another key begins that one on its own stack, and is ended on the stack of that one. The stack has an
 * end, so beyond this many the next waits for its turn.
 */
const maxDepth = 50

/** Begins the lookup of a key that has none under way. Must be uninterruptible; the flight is registered at once. */
export const start = <K, A, E>(
  shell: Shell<K, A, E>,
  key: K,
  waiters: 0 | 1
): Effect.Effect<Flight<K, A, E>> =>
  Effect.suspend(() => {
    const flight: Flight<K, A, E> = {
      key,
      startedAtMillis: nowOf(shell),
      landed: Deferred.makeUnsafe(),
      waiters,
      goesOn: waiters === 0,
      isOver: false,
      worker: undefined,
      timer: undefined
    }
    shell.flights.set(key, flight)
    shell.counters.lookups++
    if (waiters === 0) shell.background++
    const work = Effect.flatMap(shell.lookUp(key), (found) => {
      const settle = Effect.suspend(() => {
        const isUnseen = flight.waiters === 0
        const isNews = land(shell, flight, found)
        if (found._tag === "Answer") return Effect.void
        const defect = isNews || isUnseen ? tellDefect(shell, found.cause) : Effect.void
        return isNews ? Effect.andThen(tellFailure(shell, found.cause), defect) : defect
      })
      return shell.depth < maxDepth ? settle : Effect.andThen(Effect.yieldNow, settle)
    })
    // A refresh begins after its caller has been served, a lookup that is waited for begins at once.
    const begun = fork(shell, enlist(flight, "worker", work), waiters > 0 && shell.depth < maxDepth)
    shell.depth++
    return Effect.flatMap(begun, (fiber) => {
      shell.depth--
      // What ends the fiber before it has landed is an interruption: by the lookup itself, or by the end of the cache.
      fiber.addObserver((exit) => {
        if (Exit.isFailure(exit)) land(shell, flight, { _tag: "Failure", cause: exit.cause, isOutage: false })
      })
      return Effect.as(flight.isOver ? Effect.void : startTimer(shell, flight), flight)
    })
  })

/**
 * Runs a fiber of a flight, which is known to it before it does anything. Whoever starts the fiber may have to wait for
 * their turn after that, and meanwhile the flight may be over.
 */
const enlist = <K, A, E>(
  flight: Flight<K, A, E>,
  as: "worker" | "timer",
  effect: Effect.Effect<void>
): Effect.Effect<void> =>
  Effect.withFiber((fiber: Fiber.Fiber<unknown, unknown>) => {
    if (flight.isOver) return Effect.void
    flight[as] = fiber
    return effect
  })

/** In the cache's context: the caller that happens to begin a lookup has a deadline and a span of its own. */
const fork = <K, A, E>(
  shell: Shell<K, A, E>,
  work: Effect.Effect<void>,
  startImmediately: boolean
): Effect.Effect<Fiber.Fiber<void>> =>
  Effect.forkIn(
    Effect.updateContext(work, (_: Context.Context<never>) => shell.context),
    shell.scope,
    { startImmediately }
  )

const startTimer = <K, A, E>(shell: Shell<K, A, E>, flight: Flight<K, A, E>): Effect.Effect<unknown> => {
  const expire = Effect.suspend(() => {
    // This fiber is the timer, and is not to be interrupted by what it does.
    flight.timer = undefined
    const cause = Cause.fail(timedOut(shell, shell.hardMillis))
    const isNews = land(shell, flight, { _tag: "Failure", cause, isOutage: true })
    flight.worker?.interruptUnsafe()
    return isNews ? tellFailure(shell, cause) : Effect.void
  })
  const timer = Effect.andThen(shell.clock.sleep(Duration.millis(shell.hardMillis)), expire)
  return fork(shell, enlist(flight, "timer", timer), true)
}

/** The lookup took too long: for itself, or for who waited for it. */
export const timedOut = (
  shell: { readonly name: string; readonly hardMillis: number },
  afterMillis: number
): ServiceUnavailable =>
  new ServiceUnavailable({
    service: shell.name,
    reason: UnavailableReason.TimedOut({
      after: Duration.millis(afterMillis),
      of: Duration.millis(shell.hardMillis)
    })
  })

/** Ends a flight by what it came to. Says whether it was the refresh of something held, and failed. */
const land = <K, A, E>(shell: Shell<K, A, E>, flight: Flight<K, A, E>, found: Found<A, E>): boolean => {
  if (flight.isOver) return false
  const isCurrent = shell.flights.get(flight.key) === flight
  end(shell, flight)
  if (found._tag === "Failure") shell.counters.failures++
  let isNews = false
  if (isCurrent) {
    if (found._tag === "Answer") store(shell, flight.key, found)
    else isNews = pause(shell, flight.key, found.isOutage)
  }
  shell.depth++
  Deferred.doneUnsafe(flight.landed, Exit.succeed(found))
  shell.depth--
  return isNews
}

/** Leaves a key alone for a while after its refresh failed. Says whether there is anything to refresh. */
const pause = <K, A, E>(shell: Shell<K, A, E>, key: K, isOutage: boolean): boolean => {
  const entry = shell.entries.peek(key)
  const nowMillis = nowOf(shell)
  if (entry === undefined || Freshness.at(entry.lifetime, nowMillis) === "gone") return false
  entry.setback = { pauseUntilMillis: nowMillis + shell.pauseMillis, isOutage }
  return true
}

/** Takes a flight off the books. */
const end = <K, A, E>(shell: Shell<K, A, E>, flight: Flight<K, A, E>): void => {
  flight.isOver = true
  if (shell.flights.get(flight.key) === flight) shell.flights.delete(flight.key)
  if (flight.waiters === 0) shell.background--
  flight.timer?.interruptUnsafe()
}

/** Joins a flight as a waiter. */
export const join = <K, A, E>(shell: Shell<K, A, E>, flight: Flight<K, A, E>): void => {
  if (flight.waiters === 0) shell.background--
  flight.waiters++
}

/**
 * A waiter leaves. The last one ends a lookup that nobody wants: at once where nobody has the time, and with an
 * interrupted caller waiting for its finalizers, as for those of any call.
 */
export const leave = <K, A, E>(
  shell: Shell<K, A, E>,
  flight: Flight<K, A, E>,
  isInterrupted: boolean
): Effect.Effect<void> | undefined => {
  flight.waiters--
  if (flight.isOver || flight.waiters > 0) return undefined
  // It counts among those without a waiter now, and leaves their number again where it ends.
  shell.background++
  const isCurrent = shell.flights.get(flight.key) === flight
  if (flight.goesOn && isCurrent && shell.background <= shell.maxBackground) return undefined
  end(shell, flight)
  if (!isInterrupted && isCurrent) pause(shell, flight.key, true)
  if (flight.worker === undefined) return undefined
  if (isInterrupted) return Fiber.interrupt(flight.worker)
  flight.worker.interruptUnsafe()
  return undefined
}

/** Takes a key from its lookup, whose answer is then not stored. Without a waiter it is not wanted at all. */
export const detach = <K, A, E>(shell: Shell<K, A, E>, key: K): void => {
  const flight = shell.flights.get(key)
  if (flight === undefined) return
  shell.flights.delete(key)
  if (flight.waiters > 0) return
  end(shell, flight)
  flight.worker?.interruptUnsafe()
}

/** Failures are told at most once in this time, and so are defects. */
const tellEveryMillis = 1000

/** Tells that what is held could not be refreshed. */
const tellFailure = <K, A, E>(shell: Shell<K, A, E>, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { failedRefreshes } = shell
    const nowMillis = nowOf(shell)
    failedRefreshes.untold++
    if (nowMillis - failedRefreshes.toldAtMillis < tellEveryMillis) return Effect.void
    const told = shell.emit({
      _tag: "RefreshFailed",
      policy: shell.name,
      atMillis: shell.clock.currentTimeMillisUnsafe(),
      count: failedRefreshes.untold,
      error: errorName(Cause.squash(cause))
    })
    failedRefreshes.untold = 0
    failedRefreshes.toldAtMillis = nowMillis
    return told
  })

/** Reports a defect that no caller may have seen. */
const tellDefect = <K, A, E>(shell: Shell<K, A, E>, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.withFiber((fiber: Fiber.Fiber<unknown, unknown>) => {
    const { failedRefreshes } = shell
    const nowMillis = nowOf(shell)
    const level = fiber.getRef(References.UnhandledLogLevel)
    const isTold = nowMillis - failedRefreshes.defectToldAtMillis < tellEveryMillis
    if (level === undefined || isTold || !Cause.hasDies(cause)) return Effect.void
    failedRefreshes.defectToldAtMillis = nowMillis
    return Effect.logWithLevel(level)(`failsoft: the lookup of ${shell.name} died`, cause)
  })
