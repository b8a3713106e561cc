/** Checks of options, made once when a Layer is. Each returns the value in the unit that the rest uses. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { InvalidOption } from "failsoft"

/** A whole number within a range, ends included. */
export const integer = (
  policy: string,
  option: string,
  value: number,
  min: number,
  max: number
): Effect.Effect<number, InvalidOption> =>
  Number.isInteger(value) && value >= min && value <= max
    ? Effect.succeed(value)
    : invalid(policy, option, value, `a whole number from ${min} to ${max}`)

/** A duration longer than zero, and no longer than `max`; the result is in milliseconds. */
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
    : invalid(
        policy,
        option,
        duration === undefined ? value : Duration.format(duration),
        `a duration longer than 0 and at most ${Duration.format(max)}`
      )
}

/** One of a few words. */
export const oneOf = <A extends string>(
  policy: string,
  option: string,
  value: A,
  allowed: ReadonlyArray<A>
): Effect.Effect<A, InvalidOption> =>
  allowed.includes(value) ? Effect.succeed(value) : invalid(policy, option, value, allowed.join(", "))

/** Refuses an option's value. */
export const invalid = (
  policy: string,
  option: string,
  value: unknown,
  allowed: string
): Effect.Effect<never, InvalidOption> =>
  Effect.fail(new InvalidOption({ policy, option, value: String(value), allowed }))
