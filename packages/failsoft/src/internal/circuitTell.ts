/** What one breaker keeps, and how it tells of what becomes of it. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as PubSub from "effect/PubSub"
import * as Ref from "effect/Ref"
import type * as Take from "effect/Take"
import type * as CircuitEvent from "../CircuitEvent.ts"
import type { CircuitState } from "../Health.ts"
import type * as PolicyEvent from "../PolicyEvent.ts"
import { ServiceUnavailable, UnavailableReason } from "../ServiceUnavailable.ts"
import * as Spans from "../Spans.ts"
import * as Circuit from "../state/Circuit.ts"
import { slowerThanMillis } from "../state/Trip.ts"
import { monotonicMillis, wallMillis } from "./clock.ts"

/** What a person has set for a while. */
export interface Override {
  readonly mode: CircuitEvent.OverrideMode
  readonly reason: string
  readonly untilMillis: number
  wouldHaveRejected: number
}

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
  /** Changes of state so far: from, to. */
  readonly transitions: Readonly<Record<CircuitState, Record<CircuitState, number>>>
  lastFailureAtMillis: number | undefined
  /** One rejection serves all calls of a millisecond in one state: making an error is most of what it costs. */
  readonly rejection: {
    atMillis: number
    generation: number
    result: Effect.Effect<never, ServiceUnavailable>
    untold: number
    toldAtMillis: number
  }
  /** What a person has set; it is over at `untilMillis`, though no call may have found that out yet. */
  override: Override | undefined
  /** What is still to be told, in the order in which it happened, and whether a fiber is telling it. */
  readonly outbox: { readonly steps: Array<Effect.Effect<void>>; isBeingTold: boolean }
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
  transitions: { closed: { ...noTransitions }, open: { ...noTransitions }, half_open: { ...noTransitions } },
  lastFailureAtMillis: undefined,
  rejection: {
    atMillis: Number.NaN,
    generation: 0,
    result: Effect.never,
    untold: 0,
    toldAtMillis: Number.NEGATIVE_INFINITY
  },
  override: undefined,
  outbox: { steps: [], isBeingTold: false },
  startProber: undefined
})

const noTransitions = { closed: 0, open: 0, half_open: 0 }

/** Rejections are told at once at first, then summed by the minute. */
const tellEveryMillis = 60_000

/** Refuses a call, and tells of it in sums. */
export const reject = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  nowMillis: number,
  { generation, retryAfterMillis }: Extract<Circuit.Admission, { readonly _tag: "Rejected" }>
): Effect.Effect<never, ServiceUnavailable> => {
  const { rejection } = shell
  shell.counters.rejected++
  Spans.rejected(fiber, shell.name, "CircuitOpen", retryAfterMillis === undefined ? "half_open" : "open")
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

/**
 * Takes note of an event in the moment of the change that it tells of; the result is the step that tells it.
 *
 * A fiber may have to wait between the two while others change the circuit further. So one fiber tells at a time, and
 * tells all there is: else those who listen could hear last of what was not last.
 */
export const tell = (
  shell: Shell,
  event: CircuitEvent.Transition | CircuitEvent.Intervention,
  more: Effect.Effect<unknown> = Effect.void
): Effect.Effect<void> => {
  const { outbox } = shell
  outbox.steps.push(Effect.andThen(more, shell.emit(event)))
  const next = (): Effect.Effect<void> => {
    const step = outbox.steps.shift()
    outbox.isBeingTold = step !== undefined
    return step === undefined ? Effect.void : Effect.flatMap(step, next)
  }
  return Effect.suspend(() => (outbox.isBeingTold ? Effect.void : next()))
}

/** Takes note of a transition; the result is the step that tells of it. */
export const announce = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  transition: Circuit.Transition
): Effect.Effect<void> => {
  const event = eventOf(shell, transition, wallMillis(fiber))
  shell.transitions[transition.from][transition.to]++
  Spans.transition(fiber, shell.name, transition.from, transition.to)
  PubSub.publishUnsafe(shell.hub, [event])
  switch (transition.to) {
    case "open":
      return tell(shell, event, shell.startProber?.(transition.generation))
    case "half_open":
      return tell(shell, event)
    case "closed":
      return Effect.andThen(tell(shell, event), tellUntold(shell, fiber))
  }
}

/** Tells of the rejections that were not told of yet, if there are any. */
export const tellUntold = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> =>
  Effect.suspend(() =>
    shell.rejection.untold === 0 ? Effect.void : tellRejections(shell, fiber, monotonicMillis(fiber))
  )

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
