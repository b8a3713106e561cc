/**
 * A deadline says when the caller stops caring. It flows down the fiber, and every stage asks what remains before it
 * starts something that could not finish.
 *
 * `within` sets it and races nothing: what ends a call that hangs is the attempt timeout, which is never longer than
 * what remains. So a hang is always seen by the circuit breaker, inside of which the attempt timeout sits.
 *
 * **Gotchas**
 *
 * - A deadline only ever gets nearer: a later one set further in is ignored.
 * - A forked fiber inherits it. Work that outlives the request is started with `unbounded`.
 * - Work that asks nothing of the deadline is not ended by it. Give calls an `attemptTimeout`.
 * - A call that is given up is waited for until it has cleaned up, and for as long as it takes where it is uninterruptible.
 *
 * **Example** (What is left for a call)
 *
 * ```ts import.meta.vitest
 * import { Duration, Effect, Option } from "effect"
 * import { Deadline } from "failsoft"
 *
 * const left = Deadline.remaining.pipe(Effect.map(Option.map((duration) => Duration.toSeconds(duration) <= 3)))
 *
 * await Effect.runPromise(left) // => Option.none()
 * await Effect.runPromise(left.pipe(Deadline.within("3 seconds"))) // => Option.some(true)
 * ```
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as alarm from "./internal/attempts/alarm.ts"
import { started } from "./internal/attempts/started.ts"
import { leastMillis, monotonicMillis, monotonicMillisOf } from "./internal/clock.ts"
import { ServiceUnavailable, UnavailableReason } from "./ServiceUnavailable.ts"

/** The moment, in monotonic milliseconds of the fiber's clock, or `undefined` where there is no deadline. */
const Current = Context.Reference<number | undefined>("failsoft/Deadline", { defaultValue: () => undefined })

/**
 * Gives an effect at most `duration` from now, or what already remains if that is less.
 *
 * A duration that is not longer than zero means that the time is spent.
 */
export const within: {
  (duration: Duration.Input): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input): Effect.Effect<A, E, R> => {
  const millis = Duration.toMillis(Duration.fromInputUnsafe(duration))
  return Effect.updateContext(self, (context: Context.Context<R>) => {
    const outer = Context.get(context, Current) ?? Number.POSITIVE_INFINITY
    const now = monotonicMillisOf(Context.get(context, Clock.Clock))
    return Context.add(context, Current, Math.min(outer, now + millis))
  })
})

/**
 * Runs an effect without the deadline of its caller: for work that goes on after the caller has its answer, such as a
 * forked fiber, which would inherit it.
 */
export const unbounded = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, Current, undefined)

/** What remains until the deadline, never less than zero; `None` where there is no deadline. */
export const remaining: Effect.Effect<Option.Option<Duration.Duration>> = Effect.withFiber((fiber) => {
  const millis = remainingMillis(fiber)
  return Effect.succeed(millis === undefined ? Option.none() : Option.some(Duration.millis(millis)))
})

/** As `remaining`, for code that already has the fiber: milliseconds, or `undefined` where there is no deadline. */
export const remainingMillis = (fiber: Fiber.Fiber<unknown, unknown>): number | undefined => {
  const deadline = fiber.getRef(Current)
  return deadline === undefined ? undefined : Math.max(0, deadline - monotonicMillis(fiber))
}

/**
 * Ends an attempt that takes longer than `timeout`, or than what remains of the deadline if that is less.
 *
 * Fails with `ServiceUnavailable` (`TimedOut`), naming `service`. When less than a millisecond remains, or `timeout` is not longer
 * than zero, the attempt is not started.
 * Whether the expiry counts against the dependency is for the circuit breaker around it: it does if the attempt had at
 * least half of `timeout`.
 */
export function attemptTimeout(
  service: string,
  timeout: Duration.Input
): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
export function attemptTimeout<A, E, R>(
  self: Effect.Effect<A, E, R>,
  service: string,
  timeout: Duration.Input
): Effect.Effect<A, E | ServiceUnavailable, R>
export function attemptTimeout<A, E, R>(
  ...args:
    | [service: string, timeout: Duration.Input]
    | [self: Effect.Effect<A, E, R>, service: string, timeout: Duration.Input]
) {
  return args.length === 2 ? timeoutOf(...args) : timeoutOf(args[1], args[2])(args[0])
}

/** Makes an attempt timeout, for as many calls as come. They share a timer. */
const timeoutOf = (service: string, timeout: Duration.Input) => {
  const of = Duration.max(Duration.zero, Duration.fromInputUnsafe(timeout))
  const ofMillis = Duration.toMillis(of)
  const shared = alarm.make()
  const expire = (afterMillis: number): Effect.Effect<never, ServiceUnavailable> =>
    Effect.fail(
      new ServiceUnavailable({
        service,
        reason: UnavailableReason.TimedOut({ after: Duration.millis(afterMillis), of })
      })
    )
  return <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | ServiceUnavailable, R> =>
    Effect.withFiber((fiber) => {
      const left = remainingMillis(fiber) ?? Number.POSITIVE_INFINITY
      return ofMillis === 0 || left < leastMillis
        ? expire(0)
        : endWithin(fiber, self, shared, Math.min(ofMillis, Math.ceil(left)), expire)
    })
}

/**
 * What `Effect.timeoutOrElse` does, for a third of its cost where the attempt ends at once.
 *
 * The attempt runs in a fiber of its own, since a fiber can only be interrupted as a whole.
 */
const endWithin = <A, E, R>(
  fiber: Fiber.Fiber<unknown, unknown>,
  self: Effect.Effect<A, E, R>,
  timer: alarm.Alarm,
  millis: number,
  expire: (afterMillis: number) => Effect.Effect<never, ServiceUnavailable>
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  started<A, E, R, never, ServiceUnavailable>(fiber, self, (attempt, resume) => {
    const wait = timer.set(fiber, millis, (ended) =>
      resume(
        Effect.andThen(
          Fiber.interrupt(attempt),
          Exit.isSuccess(ended) ? expire(millis) : Exit.failCause(ended.cause)
        )
      )
    )
    attempt.addObserver((ended) => {
      wait.cancel()
      resume(ended)
    })
    return Fiber.interrupt(attempt)
  })
