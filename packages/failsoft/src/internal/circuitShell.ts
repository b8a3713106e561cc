/**
 * The shell around the rules of a circuit: what a breaker keeps, and how a call is taken through it.
 *
 * Each step that changes the circuit reads and writes it at once; what there is to tell is told after it.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as MutableRef from "effect/MutableRef"
import * as PubSub from "effect/PubSub"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import type * as Health from "../Health.ts"
import * as Outcome from "../Outcome.ts"
import type { ServiceUnavailable } from "../ServiceUnavailable.ts"
import * as Spans from "../Spans.ts"
import * as Circuit from "../state/Circuit.ts"
import type { Watch } from "../state/Trip.ts"
import * as admission from "./admission.ts"
import { announce, type Override, reject, type Shell, tell, tellUntold } from "./circuitTell.ts"
import { monotonicMillis, wallMillis } from "./clock.ts"

export { make, type Shell } from "./circuitTell.ts"

/** Runs a call through the circuit. */
export const execute = <A, E, R>(
  shell: Shell,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  Effect.withFiber((fiber) => {
    const circuit = Ref.getUnsafe(shell.state)
    if (shell.override !== undefined) {
      const answer = byOverride(shell, fiber, shell.override, self, classify)
      if (answer !== undefined) return answer
    }
    if (circuit._tag === "Closed") {
      if (circuit.rampSinceMillis !== undefined) return ramped(shell, fiber, self, classify)
      const permit: Circuit.Permit = shell.timesCalls
        ? { generation: circuit.generation, admittedAtMillis: monotonicMillis(fiber) }
        : circuit
      return admission.lean(self, (exit) => settle(shell, fiber, permit, exit, classify))
    }
    // A rejection takes nothing and changes nothing, so it needs no mask.
    const nowMillis = monotonicMillis(fiber)
    const [answer] = Circuit.admit(shell.config, nowMillis)(circuit)
    return answer._tag === "Rejected"
      ? reject(shell, fiber, nowMillis, answer)
      : admission.masked(self, take(shell, fiber), (permit, exit) =>
          settle(shell, fiber, permit, exit, classify)
        )
  })

/** Takes a call through a closed circuit whose ramp lasts, or is found to be over. Nothing is taken that must come back. */
const ramped = <A, E, R>(
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const nowMillis = monotonicMillis(fiber)
  const circuit = Ref.getUnsafe(shell.state)
  const random = fiber.getRef(Random.Random).nextDoubleUnsafe()
  const [answer, next] = Circuit.admit(shell.config, nowMillis, random)(circuit)
  if (next !== circuit) MutableRef.set(shell.state.ref, next)
  const call = (permit: Circuit.Permit) =>
    admission.lean(self, (exit) => settle(shell, fiber, permit, exit, classify))
  if (answer._tag === "Admitted") {
    // What was rejected at the end of the ramp would else wait for the next opening to be told.
    return next === circuit || shell.rejection.untold === 0
      ? call(answer.permit)
      : Effect.andThen(Effect.uninterruptible(tellUntold(shell, fiber)), call(answer.permit))
  }
  return Effect.flatMap(refuse(shell, fiber, nowMillis, answer), ({ permit }) => call(permit))
}

/** A permit of no state: what its call comes to is counted and moves nothing. */
const noPermit: Circuit.Permit = { generation: -1 }

/** What an override makes of a call; `undefined` where the rules decide. */
const byOverride = <A, E, R>(
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  override: Override,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable, R> | undefined => {
  const nowMillis = monotonicMillis(fiber)
  const leftMillis = override.untilMillis - nowMillis
  if (leftMillis <= 0) return Effect.andThen(end(shell, override), execute(shell, self, classify))
  if (override.mode === "open") {
    return reject(shell, fiber, nowMillis, { _tag: "Rejected", generation: -1, retryAfterMillis: leftMillis })
  }
  if (override.mode === "observe") {
    // The ramp of a closed circuit draws for each call, and once.
    if (Ref.getUnsafe(shell.state)._tag === "Closed" || wouldAdmit(shell, fiber)) return undefined
    override.wouldHaveRejected++
  }
  return admission.lean(self, (exit) => settle(shell, fiber, noPermit, exit, classify))
}

/** The ramp, or a call that took the last slot since this one was let through: a rejection, unless it is only observed. */
const refuse = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  nowMillis: number,
  rejected: Extract<Circuit.Admission, { readonly _tag: "Rejected" }>
): Effect.Effect<admission.Taken<Circuit.Permit>, ServiceUnavailable> => {
  const override = overrideAt(shell, nowMillis)
  if (override?.mode !== "observe") return reject(shell, fiber, nowMillis, rejected)
  override.wouldHaveRejected++
  return Effect.succeed({ permit: noPermit, announce: undefined })
}

/** Takes away an override whose time is over, once, and tells of it. */
const end = (shell: Shell, override: Override): Effect.Effect<void> =>
  Effect.uninterruptible(
    Effect.withFiber((fiber) => {
      if (shell.override !== override) return Effect.void
      shell.override = undefined
      const ended = tell(shell, {
        _tag: "OverrideEnded",
        policy: shell.name,
        atMillis: wallMillis(fiber),
        mode: override.mode,
        wouldHaveRejected: override.wouldHaveRejected
      })
      return override.mode === "open" ? Effect.andThen(ended, tellUntold(shell, fiber)) : ended
    })
  )

/** Sets an override in place of the one before. */
export const override = (
  shell: Shell,
  mode: Override["mode"],
  reason: string,
  ttlMillis: number
): Effect.Effect<void> =>
  Effect.uninterruptible(
    Effect.withFiber((fiber) => {
      shell.override = { mode, reason, untilMillis: monotonicMillis(fiber) + ttlMillis, wouldHaveRejected: 0 }
      shell.rejection.atMillis = Number.NaN
      return tell(shell, {
        _tag: "CircuitOverridden",
        policy: shell.name,
        atMillis: wallMillis(fiber),
        mode,
        reason,
        ttl: Duration.millis(ttlMillis)
      })
    })
  )

/** Closes the circuit and forgets what it was closed or open by. */
export const reset = (shell: Shell): Effect.Effect<void> =>
  Effect.uninterruptible(
    Effect.withFiber((fiber) => {
      const circuit = Ref.getUnsafe(shell.state)
      MutableRef.set(shell.state.ref, Circuit.initial(shell.config, circuit.generation + 1))
      shell.override = undefined
      shell.counters.failuresInARow = 0
      if (circuit._tag !== "Closed") {
        const from = circuit._tag === "Open" ? "open" : "half_open"
        shell.transitions[from].closed++
        Spans.transition(fiber, shell.name, from, "closed")
      }
      const event = { _tag: "CircuitReset", policy: shell.name, atMillis: wallMillis(fiber) } as const
      PubSub.publishUnsafe(shell.hub, [event])
      return Effect.andThen(tell(shell, event), tellUntold(shell, fiber))
    })
  )

/** The override in force, as long as its time is not over. */
export const overrideAt = ({ override }: Shell, nowMillis: number): Override | undefined =>
  override !== undefined && nowMillis < override.untilMillis ? override : undefined

const take = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<admission.Taken<Circuit.Permit>, ServiceUnavailable> =>
  Effect.suspend((): Effect.Effect<admission.Taken<Circuit.Permit>, ServiceUnavailable> => {
    const nowMillis = monotonicMillis(fiber)
    const [result, next] = Circuit.admit(shell.config, nowMillis)(Ref.getUnsafe(shell.state))
    if (result._tag === "Rejected") return refuse(shell, fiber, nowMillis, result)
    MutableRef.set(shell.state.ref, next)
    Spans.probed(fiber, shell.name)
    return Effect.succeed({
      permit: result.permit,
      announce: result.transition === undefined ? undefined : announce(shell, fiber, result.transition)
    })
  })

const settle = <A, E>(
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  permit: Circuit.Permit,
  exit: Exit.Exit<A, E>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<void> | undefined => {
  const outcome = outcomeOf(exit, classify)
  count(shell, fiber, outcome)
  const circuit = Ref.getUnsafe(shell.state)
  if (Circuit.isUnmoved(circuit, outcome)) return undefined
  const nowMillis = monotonicMillis(fiber)
  // While the circuit is held open or closed by hand the rules stand still; a probe only gives its slot back.
  const mode = shell.override === undefined ? undefined : overrideAt(shell, nowMillis)?.mode
  const told = mode === "open" || mode === "closed" ? Outcome.ignored : outcome
  // At once and not by `Ref.modify`, whose step would cost every call that a window takes in more than the window does.
  const [transition, next] = Circuit.settle(shell.config, permit, told, nowMillis)(circuit)
  if (next !== circuit) MutableRef.set(shell.state.ref, next)
  return transition === undefined ? undefined : announce(shell, fiber, transition)
}

/** A classification that throws, or answers what is no outcome, must not change what the caller gets: the default decides. */
const outcomeOf = <A, E>(
  exit: Exit.Exit<A, E>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Outcome.Outcome => {
  try {
    const outcome = classify(exit)
    if (isOutcome(outcome)) return outcome
  } catch {
    // The default one throws only at an error that throws when it is looked at.
    if (classify === Outcome.fromExit) return Outcome.failure()
  }
  return outcomeOf(exit, Outcome.fromExit)
}

const isOutcome = (outcome: Outcome.Outcome): boolean =>
  outcome._tag === "Success" ||
  outcome._tag === "Ignored" ||
  (outcome._tag === "Failure" &&
    (outcome.retryAfterMillis === undefined || typeof outcome.retryAfterMillis === "number"))

const count = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>, outcome: Outcome.Outcome): void => {
  switch (outcome._tag) {
    case "Success":
      shell.counters.successful++
      shell.counters.failuresInARow = 0
      break
    case "Failure":
      shell.counters.failed++
      shell.counters.failuresInARow++
      shell.lastFailureAtMillis = wallMillis(fiber)
      break
    case "Ignored":
      shell.counters.ignored++
  }
}

/** Whether a call would be rejected because the circuit is open and not due. */
export const isOpen = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>): boolean => {
  const nowMillis = monotonicMillis(fiber)
  const override = overrideAt(shell, nowMillis)
  return override === undefined
    ? Circuit.stateName(Ref.getUnsafe(shell.state), nowMillis) === "open"
    : override.mode === "open"
}

/** Time until the opening of that generation is due, or `undefined` when it is due or over. */
export const dueInMillis = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  openedGeneration: number
): number | undefined => {
  const circuit = Ref.getUnsafe(shell.state)
  return circuit.generation === openedGeneration
    ? Circuit.dueInMillis(circuit, monotonicMillis(fiber))
    : undefined
}

/** Whether the prober may ask: not while a person holds the circuit, when an answer would mean nothing. */
export const mayProbe = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>): boolean => {
  const mode = overrideAt(shell, monotonicMillis(fiber))?.mode
  return mode !== "open" && mode !== "closed" && wouldAdmit(shell, fiber)
}

/** Whether the rules would admit a call now. Takes nothing. */
const wouldAdmit = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  Circuit.admit(shell.config, monotonicMillis(fiber))(Ref.getUnsafe(shell.state))[0]._tag === "Admitted"

/** What the circuit looks like now. */
export const snapshot = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>): Health.CircuitSnapshot => {
  const nowMillis = monotonicMillis(fiber)
  const circuit = Ref.getUnsafe(shell.state)
  const override = overrideAt(shell, nowMillis)
  const { failuresInARow, ...counts } = shell.counters
  const dueInMillis = Circuit.dueInMillis(circuit, nowMillis)
  const rulesDecide = override === undefined || override.mode === "observe"
  return {
    name: shell.name,
    enabled: true,
    state: stateAt(shell, nowMillis).state,
    override: override && {
      mode: override.mode,
      reason: override.reason,
      endsIn: Duration.millis(override.untilMillis - nowMillis),
      wouldHaveRejected: override.wouldHaveRejected
    },
    failuresInARow,
    ramp: rulesDecide ? Circuit.rampShare(shell.config, circuit, nowMillis) : undefined,
    rates: circuit._tag === "Closed" ? circuit.watches.map((watch) => rateOf(watch, nowMillis)) : [],
    // A fallback that fails in turn may be answered by another one, but the call was rejected once.
    counts: {
      ...counts,
      fallback: Math.min(counts.fallback, counts.rejected),
      total: counts.successful + counts.failed + counts.ignored + counts.rejected
    },
    lastFailureAtMillis: shell.lastFailureAtMillis,
    halfOpenIn: dueInMillis === undefined ? undefined : Duration.millis(dueInMillis)
  }
}

/** The state at a moment, and the override by which it is so. */
export const stateAt = (
  shell: Shell,
  nowMillis: number
): { readonly state: Health.CircuitState; readonly override: Override | undefined } => {
  const override = overrideAt(shell, nowMillis)
  return {
    override,
    state:
      override === undefined || override.mode === "observe"
        ? Circuit.stateName(Ref.getUnsafe(shell.state), nowMillis)
        : override.mode
  }
}

const rateOf = ({ rule, window }: Watch, nowMillis: number): Health.RateSnapshot => {
  window.expire(nowMillis)
  const { calls, hits } = window
  return {
    _tag: rule._tag,
    rate: calls === 0 ? undefined : hits / calls,
    threshold: rule.threshold,
    calls,
    minimumCalls: rule.minimumCalls
  }
}
