import { Clock, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { ServiceUnavailable } from "failsoft"

/** A call that notes when it was tried. */
export const noting = <A, E, R>(call: Effect.Effect<A, E, R>) => {
  const at: Array<number> = []
  const note = Effect.map(Clock.currentTimeMillis, (now) => {
    at.push(now)
  })
  return { at, call: Effect.andThen(note, call) }
}

/** How a call ended, and after how long, while time passes. */
export const inTime = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const from = yield* Clock.currentTimeMillis
    const timed = Effect.all([Effect.exit(call), Effect.map(Clock.currentTimeMillis, (now) => now - from)])
    const fiber = yield* Effect.forkChild(timed, { startImmediately: true })
    while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust("500 millis")
    return yield* Fiber.join(fiber)
  })

/** Why the dependency could not serve a call, if that is what it failed with. */
export const reasonOf = (exit: Exit.Exit<unknown, unknown>) => {
  const error = Exit.isFailure(exit)
    ? exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
    : undefined
  return error instanceof ServiceUnavailable ? error.reason : undefined
}
