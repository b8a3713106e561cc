/**
 * Brings a real circuit into the state that a test is about.
 *
 * It goes the way that users' calls go: calls that count as failures until the circuit opens, time until it is due,
 * successful probes until it closes. So listeners, logs, metrics and the circuit's counts tell of it as of any outage.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type CircuitBreaker, type Health, Outcome, type Policy } from "failsoft"
import { adjust } from "./internal/testClock.ts"

/** The circuit did not come into the state `wanted`; it is `state` now. */
export class NotForced extends Data.TaggedError("NotForced")<{
  readonly name: string
  readonly wanted: Health.CircuitState
  readonly state: Health.CircuitState | undefined
  readonly because: "no circuit" | "switched off" | "does not trip" | "no free probe slot" | "does not stay"
}> {
  /** One sentence for people. */
  override get message(): string {
    const state = this.state === undefined ? "" : `, it is ${this.state}`
    return `The circuit of ${this.name} could not be brought to ${this.wanted}${state}: ${this.because}`
  }
}

/** Far more failures than a test would wait for; a circuit that stays closed has a rule that failures do not meet. */
const mostCalls = 10_000

/** From closed to half-open and from open to closed take two moves; one more is for what came in between. */
const mostMoves = 3

/**
 * Brings a circuit breaker, or the one of a policy, into a state: `"closed"`, `"open"` or `"half_open"`.
 *
 * Its calls reach no dependency, and are classified by themselves, so that the breaker's own `classify` has no say. They
 * count in its snapshot. Where time has to pass, it moves the `TestClock`, and dies if there is none. Fails with
 * `NotForced`, which says why:
 *
 * - `no circuit`: the policy has none. `switched off`: it is always closed.
 * - `does not trip`: it stays closed through 10,000 failures that take no time, as by a rule about slow calls.
 * - `no free probe slot`: it is half-open, and probes that have not ended hold every slot.
 * - `does not stay`: something else moves it on, such as its own `probe`.
 *
 * **Example** (What a service does while a circuit is open)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { Policy } from "failsoft"
 * import { forceState } from "@failsoft/testing"
 *
 * const program = Effect.gen(function* () {
 *   const billing = yield* Policy.make("billing", { breaker: {} })
 *   const balance = Effect.succeed(100).pipe(billing.execute, billing.orElse(() => Effect.succeed(0)))
 *
 *   yield* forceState(billing, "open")
 *   const whileOpen = yield* balance
 *   yield* forceState(billing, "half_open")
 *   return [whileOpen, yield* balance]
 * }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))
 *
 * await Effect.runPromise(program) // => [0, 100]
 * ```
 */
export const forceState: (
  guard: CircuitBreaker.CircuitBreaker | Policy.Policy,
  wanted: Health.CircuitState
) => Effect.Effect<void, NotForced> = Effect.fnUntraced(function* (guard, wanted) {
  const breaker = "breaker" in guard ? guard.breaker : guard
  const failed = (because: NotForced["because"], state?: Health.CircuitState) =>
    new NotForced({ name: guard.name, wanted, state, because })
  if (breaker === undefined) return yield* failed("no circuit")
  for (let move = 0; ; move++) {
    const { enabled, halfOpenIn, state } = yield* breaker.snapshot
    if (state === wanted) return
    if (!enabled) return yield* failed("switched off", state)
    if (move === mostMoves) return yield* failed("does not stay", state)
    if (state === "open") {
      yield* adjust(Math.ceil(Duration.toMillis(halfOpenIn ?? Duration.zero)))
    } else {
      const outcome = wanted === "closed" ? Outcome.success : Outcome.failure()
      const end = yield* callUntilMoved(breaker, state, outcome)
      if (end === "rejected") return yield* failed("no free probe slot", state)
      if (end === "unmoved") return yield* failed("does not trip", state)
    }
  }
})

const callUntilMoved = Effect.fnUntraced(function* (
  breaker: CircuitBreaker.CircuitBreaker,
  from: Health.CircuitState,
  outcome: Outcome.Outcome
) {
  for (let call = 0; call < mostCalls; call++) {
    const exit = yield* Effect.exit(breaker.executeWith(Effect.void, () => outcome))
    if ((yield* breaker.snapshot).state !== from) return "moved"
    if (exit._tag === "Failure") return "rejected"
  }
  return "unmoved"
})
