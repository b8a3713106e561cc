/** What one breaker keeps, and how it tells of what becomes of it. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as PubSub from "effect/PubSub"
import * as Ref from "effect/Ref"
import type * as Take from "effect/Take"
import type * as CircuitEvent from "../CircuitEvent.ts"
import type * as PolicyEvent from "../PolicyEvent.ts"
import { ServiceUnavailable, UnavailableReason } from "../ServiceUnavailable.ts"
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
  override: undefined,
  startProber: undefined
})

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

export const tellRejections = (
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

/** Tells of a transition. */
export const announce = (shell: Shell, transition: Circuit.Transition): Effect.Effect<void> =>
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
