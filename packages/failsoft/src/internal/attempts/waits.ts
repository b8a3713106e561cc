/** The waits between the attempts of a retry: by a formula and by chance, or by a Schedule. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { InvalidOption } from "../../InvalidOption.ts"
import * as Backoff from "../../state/Backoff.ts"
import { monotonicMillis, wallMillis } from "../clock.ts"
import * as options from "../options.ts"

/** Waits that grow by a factor and are spread by chance. Made by `Retry.exponential`, checked when a retry is made. */
export interface Exponential {
  readonly _tag: "Exponential"
  readonly base: Duration.Input
  readonly factor: number
  readonly cap: Duration.Input
  readonly jitter: Backoff.Jitter
}

/** Begins the waits of one call; each step gives the wait after a failed attempt, or `undefined` when there is none. */
export type StartWaits = Effect.Effect<(attempt: number, error: unknown) => Effect.Effect<number | undefined>>

/** The waits that are asked for, checked. */
export const waitsOf = (
  name: string,
  schedule: Exponential | Schedule.Schedule<unknown, unknown>
): Effect.Effect<StartWaits, InvalidOption> =>
  Schedule.isSchedule(schedule)
    ? Effect.succeed(waitsOfSchedule(schedule))
    : waitsOfExponential(name, schedule)

/** A Schedule counts from the wall time at which it begins, and goes on by monotonic time. */
const waitsOfSchedule = (schedule: Schedule.Schedule<unknown, unknown>): StartWaits =>
  Effect.withFiber((fiber) => {
    const originMillis = wallMillis(fiber) - monotonicMillis(fiber)
    return Effect.map(
      Schedule.toStep(schedule),
      (step) => (_attempt: number, error: unknown) =>
        Effect.suspend(() => step(originMillis + monotonicMillis(fiber), error)).pipe(
          Effect.map(([, delay]) => Duration.toMillis(delay)),
          Effect.exit,
          // A Schedule that throws, or would wait for ever, has ended like one that says so.
          Effect.map((next) => (Exit.isSuccess(next) && Number.isFinite(next.value) ? next.value : undefined))
        )
    )
  })

const waitsOfExponential = Effect.fnUntraced(function* (name: string, given: Exponential) {
  const config: Backoff.BackoffConfig = {
    baseMillis: yield* options.millis(name, "schedule.base", given.base),
    factor: yield* options.number(name, "schedule.factor", given.factor, { min: 1, max: 10 }),
    capMillis: yield* options.millis(name, "schedule.cap", given.cap),
    jitter: yield* options.oneOf(name, "schedule.jitter", given.jitter, [
      "none",
      "full",
      "equal",
      "decorrelated"
    ])
  }
  const start: StartWaits = Effect.sync(() => {
    let previousMillis = config.baseMillis
    return (attempt: number) =>
      Effect.map(Random.next, (random) => {
        previousMillis = Backoff.delayMillis(config, attempt, previousMillis, random)
        return previousMillis
      })
  })
  return start
})
