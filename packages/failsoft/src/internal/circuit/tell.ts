/** What one breaker keeps, and how it tells of what becomes of it. */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as PubSub from "effect/PubSub"
import * as Ref from "effect/Ref"
import type * as Take from "effect/Take"
import type * as CircuitEvent from "../../CircuitEvent.ts"
import type { CircuitState } from "../../Health.ts"
import type * as PolicyEvent from "../../PolicyEvent.ts"
import { ServiceUnavailable, UnavailableReason } from "../../ServiceUnavailable.ts"
import * as Spans from "../../Spans.ts"
import * as Circuit from "../../state/Circuit.ts"
import { slowerThanMillis } from "../../state/Trip.ts"
import { monotonicMillis, wallMillis } from "../clock.ts"

/** What a person has set for a while. */
export interface Override {
  readonly mode: CircuitEvent.OverrideMode
  readonly reason: string
  readonly untilMillis: number
  wouldHaveRejected: number
}

/** What the circuits of one breaker share: what they are held to, and how it tells of them. */
export interface Shell {
  readonly name: string
  config: Circuit.CircuitConfig
  /** Whether a rule asks how long calls take. */
  timesCalls: boolean
  readonly hub: PubSub.PubSub<Take.Take<PolicyEvent.Transition>>
  readonly emit: PolicyEvent.Emitter["emit"]
  readonly counters: {
    successful: number
    failed: number
    ignored: number
    rejected: number
    fallback: number
  }
  /** Changes of state so far: from, to. */
  readonly transitions: Readonly<Record<CircuitState, Record<CircuitState, number>>>
  lastFailureAtMillis: number | undefined
  /** Rejections that no one was told of yet, and when one was last told. */
  readonly rejections: { untold: number; toldAtMillis: number; summedAtMillis: number }
  /** What is still to be told, in the order in which it happened, and whether a fiber is telling it. */
  readonly outbox: { readonly steps: Array<Effect.Effect<void>>; isBeingTold: boolean }
  startProber: ((cell: Cell, openedGeneration: number) => Effect.Effect<unknown>) | undefined
}

/** One circuit of a breaker. It is in `state`; the rest is for people, and for telling about it. */
export interface Cell {
  readonly shell: Shell
  /** Which of the circuits of a keyed breaker it is. */
  readonly key: string | undefined
  readonly state: Ref.Ref<Circuit.Circuit>
  failuresInARow: number
  lastFailureAtMillis: number | undefined
  /**
   * Calls admitted and not settled, or a few more: one that is interrupted before it begins is not taken off, because to
   * see that would cost every call a mask.
   */
  inFlight: number
  /** When a call last came, counted from when the breaker was made. Only a keyed breaker asks. */
  calledAfterMillis: number
  /** One rejection serves all calls of a millisecond in one state: making an error is most of what it costs. */
  rejection:
    | {
        readonly atMillis: number
        readonly generation: number
        readonly result: Effect.Effect<never, ServiceUnavailable>
      }
    | undefined
  /** What asks the dependency while the circuit is not closed. */
  prober: Fiber.Fiber<unknown> | undefined
  /** What a person has set; it is over at `untilMillis`, though no call may have found that out yet. */
  override: Override | undefined
}

/** What circuits that have seen nothing are to share. */
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
  timesCalls: timesCalls(config),
  counters: { successful: 0, failed: 0, ignored: 0, rejected: 0, fallback: 0 },
  transitions: { closed: { ...noTransitions }, open: { ...noTransitions }, half_open: { ...noTransitions } },
  lastFailureAtMillis: undefined,
  rejections: { untold: 0, toldAtMillis: Number.NaN, summedAtMillis: Number.NEGATIVE_INFINITY },
  outbox: { steps: [], isBeingTold: false },
  startProber: undefined
})

/** Whether a rule asks how long calls take. */
export const timesCalls = ({ trips }: Circuit.CircuitConfig): boolean =>
  slowerThanMillis(trips) < Number.POSITIVE_INFINITY

const noTransitions = { closed: 0, open: 0, half_open: 0 }

/** A circuit of its own. */
export const cell = (shell: Shell, circuit: Circuit.Circuit, key?: string): Cell => ({
  shell,
  key,
  state: Ref.makeUnsafe(circuit),
  failuresInARow: 0,
  lastFailureAtMillis: undefined,
  inFlight: 0,
  calledAfterMillis: 0,
  rejection: undefined,
  prober: undefined,
  override: undefined
})

/** The key in an event; events of a circuit without one do not have the field. */
export const keyOf = ({ key }: Cell): { readonly key?: string } => (key === undefined ? {} : { key })

/** Rejections are told at once at first, then summed by the minute. */
const tellEveryMillis = 60_000

/** Refuses a call, and tells of it in sums. */
export const reject = (
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  nowMillis: number,
  { generation, retryAfterMillis }: Extract<Circuit.Admission, { readonly _tag: "Rejected" }>
): Effect.Effect<never, ServiceUnavailable> => {
  const { shell } = cell
  const { rejections } = shell
  shell.counters.rejected++
  rejections.untold++
  // Only an override has a time to wait in another state than open.
  const state =
    retryAfterMillis === undefined ? Circuit.stateName(Ref.getUnsafe(cell.state), nowMillis) : "open"
  Spans.rejected(fiber, shell.name, "CircuitOpen", state)
  const atMillis = Math.floor(nowMillis)
  if (cell.rejection?.atMillis === atMillis && cell.rejection.generation === generation) {
    return cell.rejection.result
  }
  const retryAfter = retryAfterMillis === undefined ? undefined : Duration.millis(Math.ceil(retryAfterMillis))
  const result = Effect.fail(
    new ServiceUnavailable({ service: shell.name, reason: UnavailableReason.CircuitOpen(), retryAfter })
  )
  cell.rejection = { atMillis, generation, result }
  if (rejections.toldAtMillis === atMillis) return result
  rejections.toldAtMillis = atMillis
  // Suspended, so that a caller interrupted before this is told takes no sum with it.
  const tell = Effect.suspend(() =>
    nowMillis - rejections.summedAtMillis < tellEveryMillis
      ? shell.emit({
          _tag: "CallRejected",
          policy: shell.name,
          ...keyOf(cell),
          atMillis: wallMillis(fiber),
          reason: "CircuitOpen"
        })
      : tellSum(shell, fiber, nowMillis)
  )
  return Effect.andThen(Effect.uninterruptible(tell), result)
}

const tellSum = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  nowMillis: number
): Effect.Effect<void> => {
  const count = shell.rejections.untold
  shell.rejections.untold = 0
  shell.rejections.summedAtMillis = nowMillis
  return shell.emit({
    _tag: "CallsRejected",
    policy: shell.name,
    atMillis: wallMillis(fiber),
    reason: "CircuitOpen",
    count
  })
}

/** Tells at once of the rejections that the minute's sum would have. */
export const tellUntold = (shell: Shell, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> =>
  Effect.suspend(() =>
    shell.rejections.untold === 0 ? Effect.void : tellSum(shell, fiber, monotonicMillis(fiber))
  )

/**
 * Takes note of an event in the moment of the change that it tells of; the result is the step that tells it.
 *
 * A fiber may have to wait between the two while others change the circuit further. So one fiber tells at a time, and
 * tells all there is: else those who listen could hear last of what was not last. It tells each event as the fiber that
 * made the change would, with its loggers and annotations.
 */
export const tell = (
  { emit, outbox }: Shell,
  { context }: Fiber.Fiber<unknown, unknown>,
  event: CircuitEvent.Transition | CircuitEvent.Intervention,
  more: Effect.Effect<unknown> = Effect.void
): Effect.Effect<void> => {
  const step = Effect.andThen(more, emit(event))
  outbox.steps.push(Effect.updateContext(step, (_: Context.Context<never>) => context))
  const next = (): Effect.Effect<void> => {
    const step = outbox.steps.shift()
    outbox.isBeingTold = step !== undefined
    return step === undefined ? Effect.void : Effect.flatMap(step, next)
  }
  return Effect.suspend(() => (outbox.isBeingTold ? Effect.void : next()))
}

/**
 * As `tell`, for an event that `transitions` has as well. It is published in its turn too: who reads it goes on at once, and
 * may change the circuit.
 */
export const tellReaders = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>,
  event: CircuitEvent.Transition,
  more: Effect.Effect<unknown> = Effect.void
): Effect.Effect<void> => tell(shell, fiber, event, Effect.andThen(PubSub.publish(shell.hub, [event]), more))

/** Takes note of a transition; the result is the step that tells of it. */
export const announce = (
  cell: Cell,
  fiber: Fiber.Fiber<unknown, unknown>,
  transition: Circuit.Transition
): Effect.Effect<void> => {
  const { shell } = cell
  const event = eventOf(cell, transition, wallMillis(fiber))
  shell.transitions[transition.from][transition.to]++
  Spans.transition(fiber, shell.name, transition.from, transition.to)
  switch (transition.to) {
    case "open":
      return tellReaders(shell, fiber, event, shell.startProber?.(cell, transition.generation))
    case "half_open":
      return tellReaders(shell, fiber, event)
    case "closed":
      cell.rejection = undefined
      return Effect.andThen(tellReaders(shell, fiber, event), tellUntold(shell, fiber))
  }
}

const eventOf = (cell: Cell, transition: Circuit.Transition, atMillis: number): PolicyEvent.Transition => {
  const common = { policy: cell.shell.name, ...keyOf(cell), atMillis }
  switch (transition.to) {
    case "open":
      return {
        _tag: "CircuitOpened",
        ...common,
        from: transition.from,
        because: transition.because,
        openDuration: Duration.millis(transition.openMillis),
        openings: transition.openings
      }
    case "half_open":
      return { _tag: "CircuitHalfOpened", ...common }
    case "closed":
      return { _tag: "CircuitClosed", ...common, successes: transition.successes }
  }
}
