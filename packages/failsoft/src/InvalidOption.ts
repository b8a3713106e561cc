/** The error of a policy that was given an option it cannot work with. */
import * as Data from "effect/Data"

/**
 * An option is out of its range. Found once, when a policy is made, never while calls run.
 *
 * `policy` is the name given to the policy, `option` the path of the option, `value` what was given, printed, and
 * `allowed` what would do.
 */
export class InvalidOption extends Data.TaggedError("InvalidOption")<{
  readonly policy: string
  readonly option: string
  readonly value: string
  readonly allowed: string
}> {
  /** One sentence for people: which option of which policy, what it is, what is allowed. */
  override get message(): string {
    return `${this.policy}: option "${this.option}" is ${this.value}, allowed is ${this.allowed}`
  }
}
