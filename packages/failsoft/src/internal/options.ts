/** Checks of options, made once when a policy is. Each returns the value in the unit that the rules use. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { InvalidOption } from "../InvalidOption.ts"

interface Range {
  readonly min: number
  readonly max: number
}

/** A whole number within a range. */
export const integer = (
  policy: string,
  option: string,
  value: number,
  { min, max }: Range
): Effect.Effect<number, InvalidOption> =>
  Number.isInteger(value) && value >= min && value <= max
    ? Effect.succeed(value)
    : invalid(policy, option, value, `a whole number from ${min} to ${max}`)

/** A number within a range, ends included. */
export const number = (
  policy: string,
  option: string,
  value: number,
  { min, max }: Range
): Effect.Effect<number, InvalidOption> =>
  value >= min && value <= max
    ? Effect.succeed(value)
    : invalid(policy, option, value, `a number from ${min} to ${max}`)

/** A finite duration longer than zero, and no longer than `max`; the result is in milliseconds. */
export const millis = (
  policy: string,
  option: string,
  value: Duration.Input,
  max: Duration.Duration = Duration.days(24)
): Effect.Effect<number, InvalidOption> => {
  const duration = Option.getOrUndefined(Duration.fromInput(value))
  const result = duration === undefined ? Number.NaN : Duration.toMillis(duration)
  return result > 0 && result <= Duration.toMillis(max)
    ? Effect.succeed(result)
    : invalid(policy, option, value, `a duration longer than 0 and at most ${Duration.format(max)}`)
}

/** One of a few words. */
export const oneOf = <A extends string>(
  policy: string,
  option: string,
  value: A,
  allowed: ReadonlyArray<A>
): Effect.Effect<A, InvalidOption> =>
  allowed.includes(value) ? Effect.succeed(value) : invalid(policy, option, value, allowed.join(", "))

/** A name that is not empty. */
export const name = (option: string, value: string): Effect.Effect<string, InvalidOption> =>
  value.length > 0 ? Effect.succeed(value) : invalid("policy", option, value, "a name that is not empty")

/** Refuses an option's value. */
export const invalid = (
  policy: string,
  option: string,
  value: unknown,
  allowed: string
): Effect.Effect<never, InvalidOption> =>
  Effect.fail(new InvalidOption({ policy, option, value: print(value), allowed }))

/** Names the options of a stage as the policy that has the stage knows them. */
export const ofStage =
  (stage: string) =>
  <A, R>(made: Effect.Effect<A, InvalidOption, R>): Effect.Effect<A, InvalidOption, R> =>
    Effect.mapError(
      made,
      ({ allowed, option, policy, value }) =>
        new InvalidOption({ policy, option: `${stage}.${option}`, value, allowed })
    )

const print = (value: unknown): string => {
  if (Duration.isDuration(value)) return Duration.format(value)
  if (Schedule.isSchedule(value)) return "a Schedule"
  return typeof value === "string" || typeof value === "object" ? JSON.stringify(value) : String(value)
}
