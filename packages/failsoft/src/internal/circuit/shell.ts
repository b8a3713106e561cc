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
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Outcome from "../../Outcome.ts"
import type { ServiceUnavailable } from "../../ServiceUnavailable.ts"
import * as Spans from "../../Spans.ts"
import * as Circuit from "../../state/Circuit.ts"
import * as Superseded from "../../state/Superseded.ts"
import * as Trip from "../../state/Trip.ts"
import * as admission from "../admission.ts"
import { monotonicMillis, wallMillis } from "../clock.ts"
import {
  announce,
  type Cell,
  keyOf,
  type Override,
  reject,
  tell,
  tellReaders,
  tellUntold,
  timesCalls
} from "./tell.ts"

export { type Cell, cell, make, type Shell } from "./tell.ts"

/** Runs a call through the circuit. */
export const execute = <A, E, R>(
  cell: Cell,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  Effect.withFiber((fiber) => enter(cell, fiber, self, classify))

/** As `execute`, within the step of a fiber that has found out which circuit it is. */
export const enter = <A, E, R>(
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const circuit = Ref.getUnsafe(cell.state)
  if (cell.override !== undefined) {
    const answer = byOverride(cell, fiber, cell.override, self, classify)
    if (answer !== undefined) return answer
  }
  if (circuit._tag === "Closed") {
    if (circuit.rampSinceMillis !== undefined) return ramped(cell, fiber, self, classify)
    const permit: Circuit.Permit = cell.shell.timesCalls
      ? { generation: circuit.generation, admittedAtMillis: monotonicMillis(fiber) }
      : circuit
    return run(cell, fiber, permit, self, classify)
  }
  // A rejection takes nothing and changes nothing, so it needs no mask.
  const nowMillis = monotonicMillis(fiber)
  const [answer] = Circuit.admit(cell.shell.config, nowMillis)(circuit)
  return answer._tag === "Rejected"
    ? reject(cell, fiber, nowMillis, answer)
    : admission.masked(self, take(cell, fiber), (permit, exit) => settle(cell, fiber, permit, exit, classify))
}

/** Runs a call that took nothing which must come back. */
const run = <A, E, R>(
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  permit: Circuit.Permit,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E, R> => {
  cell.inFlight++
  return admission.lean(self, (exit) => settle(cell, fiber, permit, exit, classify))
}

/** Takes a call through a closed circuit whose ramp lasts, or is found to be over. Nothing is taken that must come back. */
const ramped = <A, E, R>(
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const nowMillis = monotonicMillis(fiber)
  const circuit = Ref.getUnsafe(cell.state)
  const random = fiber.getRef(Random.Random).nextDoubleUnsafe()
  const [answer, next] = Circuit.admit(cell.shell.config, nowMillis, random)(circuit)
  if (next !== circuit) MutableRef.set(cell.state.ref, next)
  const call = (permit: Circuit.Permit) => run(cell, fiber, permit, self, classify)
  if (answer._tag === "Rejected") {
    return Effect.flatMap(refuse(cell, fiber, nowMillis, answer), ({ permit }) => call(permit))
  }
  // What was rejected at the end of the ramp would else wait for the next opening to be told.
  return next === circuit || cell.shell.rejections.untold === 0
    ? call(answer.permit)
    : Effect.andThen(Effect.uninterruptible(tellUntold(cell.shell, fiber)), call(answer.permit))
}

/** A permit of no state: what its call comes to is counted and moves nothing. */
const noPermit: Circuit.Permit = { generation: -1 }

/** What an override makes of a call; `undefined` where the rules decide. */
const byOverride = <A, E, R>(
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  override: Override,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable, R> | undefined => {
  const nowMillis = monotonicMillis(fiber)
  const leftMillis = override.untilMillis - nowMillis
  if (leftMillis <= 0) return Effect.andThen(end(cell, override), execute(cell, self, classify))
  if (override.mode === "open") {
    return reject(cell, fiber, nowMillis, { _tag: "Rejected", generation: -1, retryAfterMillis: leftMillis })
  }
  if (override.mode === "observe") {
    if (wouldAdmit(cell, fiber)) return undefined
    override.wouldHaveRejected++
  }
  return run(cell, fiber, noPermit, self, classify)
}

/** The ramp, or a call that took the last slot since this one was let through: a rejection, unless it is only observed. */
const refuse = (
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  nowMillis: number,
  rejected: Extract<Circuit.Admission, { readonly _tag: "Rejected" }>
): Effect.Effect<admission.Taken<Circuit.Permit>, ServiceUnavailable> => {
  const override = overrideAt(cell, nowMillis)
  if (override?.mode !== "observe") return reject(cell, fiber, nowMillis, rejected)
  override.wouldHaveRejected++
  return Effect.succeed({ permit: noPermit, announce: undefined })
}

/** Takes away an override whose time is over, once, and tells of it. */
const end = (cell: Cell, override: Override): Effect.Effect<void> =>
  Effect.uninterruptible(
    Effect.withFiber((fiber) => {
      if (cell.override !== override) return Effect.void
      cell.override = undefined
      const { shell } = cell
      const ended = tell(shell, fiber, {
        _tag: "OverrideEnded",
        policy: shell.name,
        ...keyOf(cell),
        atMillis: wallMillis(fiber),
        mode: override.mode,
        wouldHaveRejected: override.wouldHaveRejected
      })
      return override.mode === "open" ? Effect.andThen(ended, tellUntold(shell, fiber)) : ended
    })
  )

/** Sets an override in place of the one before, in this very step of an uninterruptible fiber; the result tells of it. */
export const override = (
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  mode: Override["mode"],
  reason: string,
  ttlMillis: number
): Effect.Effect<void> => {
  cell.override = { mode, reason, untilMillis: monotonicMillis(fiber) + ttlMillis, wouldHaveRejected: 0 }
  cell.rejection = undefined
  return tell(cell.shell, fiber, {
    _tag: "CircuitOverridden",
    policy: cell.shell.name,
    ...keyOf(cell),
    atMillis: wallMillis(fiber),
    mode,
    reason,
    ttl: Duration.millis(ttlMillis)
  })
}

/** Closes the circuit and forgets what it was closed or open by. */
export const reset = (cell: Cell): Effect.Effect<void> =>
  Effect.uninterruptible(
    Effect.withFiber((fiber) => {
      const { shell } = cell
      const circuit = Ref.getUnsafe(cell.state)
      MutableRef.set(cell.state.ref, Circuit.initial(shell.config, circuit.generation + 1))
      cell.override = undefined
      cell.rejection = undefined
      cell.failuresInARow = 0
      if (circuit._tag !== "Closed") {
        const from = circuit._tag === "Open" ? "open" : "half_open"
        shell.transitions[from].closed++
        Spans.transition(fiber, shell.name, from, "closed")
      }
      const atMillis = wallMillis(fiber)
      const event = { _tag: "CircuitReset", policy: shell.name, ...keyOf(cell), atMillis } as const
      return Effect.andThen(tellReaders(shell, fiber, event), tellUntold(shell, fiber))
    })
  )

/**
 * Holds the circuit to another config from now on. The state that it is in, and since when, stays; calls under way settle as
 * ever. One that was admitted untimed counts as quick.
 */
export const reconfigure = ({ shell, state }: Cell, config: Circuit.CircuitConfig): void => {
  shell.config = config
  shell.timesCalls = timesCalls(config)
  const circuit = Ref.getUnsafe(state)
  if (circuit._tag !== "Closed") return
  MutableRef.set(state.ref, { ...circuit, watches: Trip.rewatch(config.trips, circuit.watches) })
}

/** The override in force, as long as its time is not over. */
export const overrideAt = ({ override }: Cell, nowMillis: number): Override | undefined =>
  override !== undefined && nowMillis < override.untilMillis ? override : undefined

const take = (
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<admission.Taken<Circuit.Permit>, ServiceUnavailable> =>
  Effect.suspend((): Effect.Effect<admission.Taken<Circuit.Permit>, ServiceUnavailable> => {
    const nowMillis = monotonicMillis(fiber)
    const [result, next] = Circuit.admit(cell.shell.config, nowMillis)(Ref.getUnsafe(cell.state))
    if (result._tag === "Admitted") {
      MutableRef.set(cell.state.ref, next)
      Spans.probed(fiber, cell.shell.name)
    }
    const taken =
      result._tag === "Rejected"
        ? refuse(cell, fiber, nowMillis, result)
        : Effect.succeed({
            permit: result.permit,
            announce: result.transition === undefined ? undefined : announce(cell, fiber, result.transition)
          })
    return Effect.map(taken, (permit) => {
      cell.inFlight++
      return permit
    })
  })

const settle = <A, E>(
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  permit: Circuit.Permit,
  exit: Exit.Exit<A, E>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<void> | undefined => {
  cell.inFlight--
  const outcome = outcomeOf(exit, classify)
  count(cell, fiber, outcome)
  const circuit = Ref.getUnsafe(cell.state)
  const lost = cell.shell.timesCalls && circuit._tag === "Closed" && Outcome.isSuperseded(exit)
  if (!lost && Circuit.isUnmoved(circuit, outcome)) return undefined
  const nowMillis = monotonicMillis(fiber)
  // While the circuit is held open or closed by hand the rules stand still; a probe only gives its slot back.
  const mode = cell.override === undefined ? undefined : overrideAt(cell, nowMillis)?.mode
  const isHeld = mode === "open" || mode === "closed"
  const told = isHeld ? Outcome.ignored : outcome
  // At once and not by `Ref.modify`, whose step would cost every call that a window takes in more than the window does.
  const [transition, next] =
    lost && !isHeld
      ? Superseded.settle(cell.shell.config, permit, nowMillis)(circuit)
      : Circuit.settle(cell.shell.config, permit, told, nowMillis)(circuit)
  if (next !== circuit) MutableRef.set(cell.state.ref, next)
  return transition === undefined ? undefined : announce(cell, fiber, transition)
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

const count = (cell: Cell, fiber: Fiber.Fiber<unknown, unknown>, outcome: Outcome.Outcome): void => {
  const { shell } = cell
  switch (outcome._tag) {
    case "Success":
      shell.counters.successful++
      cell.failuresInARow = 0
      break
    case "Failure":
      shell.counters.failed++
      cell.failuresInARow++
      cell.lastFailureAtMillis = wallMillis(fiber)
      shell.lastFailureAtMillis = cell.lastFailureAtMillis
      break
    case "Ignored":
      shell.counters.ignored++
  }
}

/** Whether a call would be rejected because the circuit is open and not due. */
export const isOpen = (cell: Cell, fiber: Fiber.Fiber<unknown, unknown>): boolean => {
  const nowMillis = monotonicMillis(fiber)
  const override = overrideAt(cell, nowMillis)
  return override === undefined
    ? Circuit.stateName(Ref.getUnsafe(cell.state), nowMillis) === "open"
    : override.mode === "open"
}

/** Runs what takes nothing of the circuit, unless the circuit is open and not due. */
export const gate = <A, E, R>(
  cell: Cell,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  Effect.withFiber((fiber): Effect.Effect<A, E | ServiceUnavailable, R> => {
    const circuit = Ref.getUnsafe(cell.state)
    if (cell.override === undefined && circuit._tag === "Closed") return self
    if (!isOpen(cell, fiber)) return self
    const nowMillis = monotonicMillis(fiber)
    const override = overrideAt(cell, nowMillis)
    return reject(cell, fiber, nowMillis, {
      _tag: "Rejected",
      generation: override === undefined ? circuit.generation : -1,
      retryAfterMillis:
        override === undefined ? Circuit.dueInMillis(circuit, nowMillis) : override.untilMillis - nowMillis
    })
  })

/** Whether the prober may ask: not while a person holds the circuit, when an answer would mean nothing. */
export const mayProbe = (cell: Cell, fiber: Fiber.Fiber<unknown, unknown>): boolean => {
  const mode = overrideAt(cell, monotonicMillis(fiber))?.mode
  return mode !== "open" && mode !== "closed" && wouldAdmit(cell, fiber)
}

/** Whether the rules would admit a call now, if the ramp draws well: that is seen when it draws. Takes nothing. */
const wouldAdmit = (cell: Cell, fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  Circuit.admit(cell.shell.config, monotonicMillis(fiber))(Ref.getUnsafe(cell.state))[0]._tag === "Admitted"
