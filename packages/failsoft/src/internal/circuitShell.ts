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
import * as Ref from "effect/Ref"
import type * as Take from "effect/Take"
import type * as Health from "../Health.ts"
import * as Outcome from "../Outcome.ts"
import type * as PolicyEvent from "../PolicyEvent.ts"
import { ServiceUnavailable, UnavailableReason } from "../ServiceUnavailable.ts"
import * as Circuit from "../state/Circuit.ts"
import { slowerThanMillis, type Watch } from "../state/Trip.ts"
import * as admission from "./admission.ts"
import { monotonicMillis, wallMillis } from "./clock.ts"

/** What one breaker works on. The circuit is in `state`; the rest is for telling about it. */
export interface Shell {
  readonly name: string
  readonly config: Circuit.CircuitConfig
  readonly state: Ref.Ref<Circuit.Circuit>
  /** Whether a rule asks how long calls take. */
  readonly timesCalls: boolean
  readonly hub: PubSub.PubSub<Take.Take<PolicyEvent.Transition>>
  readonly emit: PolicyEvent.Emitter["emit"]
  readonly counters: {
    successful: number
    failed: number
    ignored: number
    rejected: number
    fallback: number
    failuresInARow: number
  }
  lastFailureAtMillis: number | undefined
  /** One rejection serves all calls of a millisecond in one state: making an error is most of what it costs. */
  readonly rejection: {
    atMillis: number
    generation: number
    result: Effect.Effect<never, ServiceUnavailable>
    untold: number
    toldAtMillis: number
  }
  startProber: ((openedGeneration: number) => Effect.Effect<unknown>) | undefined
}

/** A closed circuit that has seen nothing. */
export const make = (
  name: string,
  config: Circuit.CircuitConfig,
  hub: Shell["hub"],
  emit: Shell["emit"]
): Shell => ({
  name,
  config,
  hub,
  emit,
  state: Ref.makeUnsafe(Circuit.initial(config)),
  timesCalls: slowerThanMillis(config.trips) < Number.POSITIVE_INFINITY,
  counters: { successful: 0, failed: 0, ignored: 0, rejected: 0, fallback: 0, failuresInARow: 0 },
  lastFailureAtMillis: undefined,
  rejection: {
    atMillis: Number.NaN,
    generation: 0,
    result: Effect.never,
    untold: 0,
    toldAtMillis: Number.NEGATIVE_INFINITY
  },
  startProber: undefined
})

/** Runs a call through the circuit. */
export const execute = <A, E, R>(
  shell: Shell,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  Effect.withFiber((fiber) => {
    const circuit = Ref.getUnsafe(shell.state)
    if (circuit._tag === "Closed") {
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

const take = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<admission.Taken<Circuit.Permit>, ServiceUnavailable> =>
  Effect.suspend(() => {
    const nowMillis = monotonicMillis(fiber)
    return Effect.flatMap(
      Ref.modify(shell.state, Circuit.admit(shell.config, nowMillis)),
      (result): Effect.Effect<admission.Taken<Circuit.Permit>, ServiceUnavailable> =>
        result._tag === "Rejected"
          ? reject(shell, fiber, nowMillis, result)
          : Effect.succeed({
              permit: result.permit,
              announce: result.transition === undefined ? undefined : announce(shell, result.transition)
            })
    )
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
  // At once and not by `Ref.modify`, whose step would cost every call that a window takes in more than the window does.
  const [transition, next] = Circuit.settle(shell.config, permit, outcome, monotonicMillis(fiber))(circuit)
  if (next !== circuit) MutableRef.set(shell.state.ref, next)
  return transition === undefined ? undefined : announce(shell, transition)
}

/** A classification that throws must not change what the caller gets, so the default one takes its place. */
const outcomeOf = <A, E>(
  exit: Exit.Exit<A, E>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Outcome.Outcome => {
  try {
    return classify(exit)
  } catch {
    return Outcome.fromExit(exit)
  }
}

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

/** Rejections are told at once at first, then summed by the minute. */
const tellEveryMillis = 60_000

const reject = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  nowMillis: number,
  { generation, retryAfterMillis }: Extract<Circuit.Admission, { readonly _tag: "Rejected" }>
): Effect.Effect<never, ServiceUnavailable> => {
  const { rejection } = shell
  shell.counters.rejected++
  rejection.untold++
  const atMillis = Math.floor(nowMillis)
  if (rejection.atMillis === atMillis && rejection.generation === generation) return rejection.result
  rejection.atMillis = atMillis
  rejection.generation = generation
  rejection.result = Effect.fail(
    new ServiceUnavailable({
      service: shell.name,
      reason: UnavailableReason.CircuitOpen(),
      retryAfter: retryAfterMillis === undefined ? undefined : Duration.millis(Math.ceil(retryAfterMillis))
    })
  )
  // Suspended, so that a caller interrupted before this is told takes no sum with it.
  const tell = Effect.suspend(() =>
    nowMillis - rejection.toldAtMillis < tellEveryMillis
      ? shell.emit({
          _tag: "CallRejected",
          policy: shell.name,
          atMillis: wallMillis(fiber),
          reason: "CircuitOpen"
        })
      : tellRejections(shell, fiber, nowMillis)
  )
  return Effect.andThen(Effect.uninterruptible(tell), rejection.result)
}

const tellRejections = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  nowMillis: number
): Effect.Effect<void> => {
  const count = shell.rejection.untold
  shell.rejection.untold = 0
  shell.rejection.toldAtMillis = nowMillis
  return shell.emit({
    _tag: "CallsRejected",
    policy: shell.name,
    atMillis: wallMillis(fiber),
    reason: "CircuitOpen",
    count
  })
}

const announce = (shell: Shell, transition: Circuit.Transition): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const event = eventOf(shell, transition, wallMillis(fiber))
    PubSub.publishUnsafe(shell.hub, [event])
    const told = shell.emit(event)
    switch (transition.to) {
      case "open":
        return shell.startProber === undefined
          ? told
          : Effect.andThen(shell.startProber(transition.generation), told)
      case "half_open":
        return told
      case "closed":
        return shell.rejection.untold === 0
          ? told
          : Effect.andThen(told, tellRejections(shell, fiber, monotonicMillis(fiber)))
    }
  })

const eventOf = (shell: Shell, transition: Circuit.Transition, atMillis: number): PolicyEvent.Transition => {
  const policy = shell.name
  switch (transition.to) {
    case "open":
      return {
        _tag: "CircuitOpened",
        policy,
        atMillis,
        from: transition.from,
        because: transition.because,
        openDuration: Duration.millis(transition.openMillis),
        openings: transition.openings
      }
    case "half_open":
      return { _tag: "CircuitHalfOpened", policy, atMillis }
    case "closed":
      return { _tag: "CircuitClosed", policy, atMillis, successes: transition.successes }
  }
}

/** Whether a call would be rejected because the circuit is open and not due. */
export const isOpen = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  Circuit.stateName(Ref.getUnsafe(shell.state), monotonicMillis(fiber)) === "open"

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

/** Whether a call would be admitted now. Takes nothing. */
export const wouldAdmit = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  Circuit.admit(shell.config, monotonicMillis(fiber))(Ref.getUnsafe(shell.state))[0]._tag === "Admitted"

/** What the circuit looks like now. */
export const snapshot = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>): Health.CircuitSnapshot => {
  const nowMillis = monotonicMillis(fiber)
  const circuit = Ref.getUnsafe(shell.state)
  const { failuresInARow, ...counts } = shell.counters
  const dueInMillis = Circuit.dueInMillis(circuit, nowMillis)
  return {
    name: shell.name,
    enabled: true,
    state: Circuit.stateName(circuit, nowMillis),
    failuresInARow,
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
