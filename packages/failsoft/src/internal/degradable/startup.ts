/**
 * What the start of a Layer waits for, and what is told of how it came out.
 *
 * The answer is given by whoever is first: the fiber that builds, or the end of the wait. So a build that cannot be
 * interrupted holds nobody up, and whatever comes later is told of instead of being lost.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PolicyEvent from "../../PolicyEvent.ts"
import { errorName, ServiceUnavailable, UnavailableReason } from "../../ServiceUnavailable.ts"
import { monotonicMillis, wallMillis } from "../clock.ts"

/** How long the start waits, and for what. */
export interface Waiting {
  readonly name: string
  readonly mode: "optional" | "required" | "background"
  readonly timeoutMillis: number
}

/** The start of one Layer: each attempt to build tells how it ended, and `wait` waits as the mode says. */
export interface Startup<E> {
  readonly built: Effect.Effect<void>
  /** The attempt failed in a way that may pass. */
  readonly unavailable: (error: unknown) => Effect.Effect<void>
  /** The attempt died. Tried again like an outage, but logged. */
  readonly died: (cause: Cause.Cause<unknown>) => Effect.Effect<void>
  /** The attempt failed in a way that needs a person. */
  readonly refused: (cause: Cause.Cause<E>) => Effect.Effect<void>
  readonly wait: Effect.Effect<void, E | ServiceUnavailable>
}

/** A start in which nothing has been told yet. In mode `background` it is over at once. */
export const make = Effect.fnUntraced(function* <E>({ mode, name, timeoutMillis }: Waiting) {
  const { emit } = yield* PolicyEvent.emitter
  const answer = makeAnswer<E | ServiceUnavailable>()
  const logOnce = makeLogOnce(name)
  const beganAtMillis = yield* Effect.withFiber((fiber) => Effect.succeed(monotonicMillis(fiber)))
  const failed = { attempts: 0, lastError: undefined as unknown }

  const hasFailed = (error: unknown): Effect.Effect<void> =>
    Effect.sync(() => {
      failed.attempts++
      failed.lastError = error
    })
  const startDegraded = (because: PolicyEvent.DegradedStart["because"], error?: unknown) =>
    answer.give(
      Exit.void,
      Effect.withFiber((fiber) =>
        emit({
          _tag: "DegradedStart",
          policy: name,
          atMillis: wallMillis(fiber),
          because,
          error: because === "unavailable" ? errorName(error) : undefined
        })
      )
    )
  const unavailable = (error: unknown): Effect.Effect<void> =>
    Effect.andThen(
      hasFailed(error),
      mode === "optional" ? Effect.asVoid(startDegraded("unavailable", error)) : Effect.void
    )
  const expire = Effect.suspend(() =>
    mode === "required"
      ? answer.give(Exit.fail(expired(name, timeoutMillis, failed)))
      : startDegraded("timeout")
  )
  const tellReturn = Effect.withFiber((fiber) =>
    emit({
      _tag: "ReturnedToPrimary",
      policy: name,
      atMillis: wallMillis(fiber),
      attempts: failed.attempts + 1,
      after: Duration.millis(Math.round(monotonicMillis(fiber) - beganAtMillis))
    })
  )

  if (mode === "background") yield* startDegraded("background")
  return {
    built: Effect.flatMap(answer.give(Exit.void), (isFirst) => (isFirst ? Effect.void : tellReturn)),
    unavailable,
    died: (cause) =>
      Effect.andThen(
        Cause.hasInterruptsOnly(cause) ? Effect.void : logOnce(cause),
        unavailable(Cause.squash(cause))
      ),
    refused: (cause) =>
      Effect.andThen(hasFailed(Cause.squash(cause)), answer.give(Exit.failCause(cause))).pipe(
        Effect.flatMap((isFirst) => (isFirst ? Effect.void : logOnce(cause)))
      ),
    wait: Effect.timeoutOrElse(answer.wait, {
      duration: Duration.millis(timeoutMillis),
      orElse: () => Effect.andThen(expire, answer.wait)
    })
  } satisfies Startup<E>
})

/** What the start comes to. Only the first answer counts, and what there is to tell of it is told before it is heard. */
const makeAnswer = <E>() => {
  const answered = Deferred.makeUnsafe<void, E>()
  let isGiven = false
  return {
    wait: Deferred.await(answered),
    /** Whether this is the answer. */
    give: (exit: Exit.Exit<void, E>, tell: Effect.Effect<void> = Effect.void): Effect.Effect<boolean> =>
      Effect.suspend(() => {
        if (isGiven) return Effect.succeed(false)
        isGiven = true
        return Effect.andThen(tell, Deferred.done(answered, exit))
      })
  }
}

/** Once is enough: the attempts go on, and most end as the last one did. */
const makeLogOnce = (name: string) => {
  let isLogged = false
  return (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (isLogged) return Effect.void
      isLogged = true
      return Effect.logError(`${name}: the primary cannot be built, trying on`, cause).pipe(
        Effect.annotateLogs({ service: name, policy: name })
      )
    })
}

const expired = (
  service: string,
  timeoutMillis: number,
  { attempts, lastError }: { readonly attempts: number; readonly lastError: unknown }
): ServiceUnavailable => {
  const timeout = Duration.millis(timeoutMillis)
  return new ServiceUnavailable({
    service,
    reason:
      attempts === 0
        ? UnavailableReason.TimedOut({ after: timeout, of: timeout })
        : UnavailableReason.RetriesExhausted({ attempts, lastError })
  })
}
