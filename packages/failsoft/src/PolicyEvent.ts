/**
 * What policies tell about themselves: one channel of events, from which logs are written and webhooks fed.
 *
 * An event is emitted after the state has changed, never inside the change. Listeners are plain synchronous
 * functions; one that throws is caught and reported, and the call never feels it. A listener that has to wait, such
 * as a webhook, is added with `layerListener`, which gives it a fiber and a bounded queue of its own.
 *
 * **Gotchas**
 *
 * - Policies read the listeners when they are made, so provide listeners to the Layer that makes the policies.
 * - Each listener's Layer adds to those below it: stack them with `Layer.provide`. Merged, only one of them counts.
 * - Counters do not travel here: they are numbers in the policies, and read from their snapshots.
 *
 * **Example** (Hearing that a circuit opened)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { CircuitBreaker, PolicyEvent } from "failsoft"
 *
 * const heard: Array<string> = []
 *
 * const program = Effect.gen(function* () {
 *   const breaker = yield* CircuitBreaker.make({ name: "billing", trip: CircuitBreaker.consecutive(1) })
 *   yield* Effect.fail("connection refused").pipe(breaker.execute, Effect.ignore)
 *   return heard
 * }).pipe(
 *   Effect.provideService(PolicyEvent.Listeners, [(event) => heard.push(event._tag)]),
 *   Effect.scoped
 * )
 *
 * await Effect.runPromise(program) // => ["CircuitOpened"]
 * ```
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type { LogLevel } from "effect/LogLevel"
import * as Queue from "effect/Queue"
import * as References from "effect/References"
import * as CacheEvent from "./CacheEvent.ts"
import * as CircuitEvent from "./CircuitEvent.ts"
import * as ReloadEvent from "./ReloadEvent.ts"
import type { ErrorName, UnavailableReason } from "./ServiceUnavailable.ts"
import * as LogRate from "./state/LogRate.ts"

export type { RefreshFailed } from "./CacheEvent.ts"
export type {
  CircuitClosed,
  CircuitHalfOpened,
  CircuitOpened,
  CircuitOverridden,
  CircuitReset,
  Intervention,
  OpenedBecause,
  OverrideEnded,
  OverrideMode,
  Transition
} from "./CircuitEvent.ts"
export type { PolicyReloaded } from "./ReloadEvent.ts"

/** Attempt number `attempt` of `of` failed, and another follows after `delay`. */
export interface RetryScheduled {
  readonly _tag: "RetryScheduled"
  readonly policy: string
  readonly atMillis: number
  readonly attempt: number
  readonly of: number
  readonly delay: Duration.Duration
  readonly error: ErrorName
}

/** Why no further attempt is made. */
export type GaveUp = "attempts" | "schedule" | "deadline" | "retry-after" | "circuit" | "budget"

/** No further attempt follows number `attempt` of `of`; `because` says what ran out. */
export interface AttemptsExhausted {
  readonly _tag: "AttemptsExhausted"
  readonly policy: string
  readonly atMillis: number
  readonly attempt: number
  readonly of: number
  readonly because: GaveUp
  readonly error: ErrorName
}

/** `policy` rejected a call. At most one is told for each millisecond; `CallsRejected` has the sums. */
export interface CallRejected {
  readonly _tag: "CallRejected"
  readonly policy: string
  /** Which circuit of a keyed breaker it was; no log line has it. */
  readonly key?: string | undefined
  readonly atMillis: number
  readonly reason: UnavailableReason["_tag"]
}

/** `policy` rejected `count` calls since this was last told. Told at once for the first, then by the minute. */
export interface CallsRejected {
  readonly _tag: "CallsRejected"
  readonly policy: string
  readonly atMillis: number
  readonly reason: UnavailableReason["_tag"]
  readonly count: number
}

/** The Layer `policy` started without its primary. `because` says why the start did not wait any longer. */
export interface DegradedStart {
  readonly _tag: "DegradedStart"
  readonly policy: string
  readonly atMillis: number
  readonly because: "unavailable" | "timeout" | "background"
  /** What the first attempt to build the primary failed with, where it failed. */
  readonly error: ErrorName | undefined
}

/** The primary of `policy`, without which it had started, was built at attempt number `attempts`. */
export interface ReturnedToPrimary {
  readonly _tag: "ReturnedToPrimary"
  readonly policy: string
  readonly atMillis: number
  readonly attempts: number
  /** The time since the first attempt began. */
  readonly after: Duration.Duration
}

/** What was written in this process while `policy` was away was given up: `count` keys. */
export interface HeldWritesDiscarded {
  readonly _tag: "HeldWritesDiscarded"
  readonly policy: string
  readonly atMillis: number
  readonly count: number
}

/** What was written in this process while `policy` was away has been sent: `count` commands, and `lost` that failed. */
export interface HeldWritesReplayed {
  readonly _tag: "HeldWritesReplayed"
  readonly policy: string
  readonly atMillis: number
  readonly count: number
  readonly lost: number
}

/** Everything that a policy may tell. */
export type PolicyEvent =
  | CircuitEvent.Transition
  | CircuitEvent.Intervention
  | RetryScheduled
  | AttemptsExhausted
  | CallRejected
  | CallsRejected
  | DegradedStart
  | ReturnedToPrimary
  | HeldWritesDiscarded
  | HeldWritesReplayed
  | CacheEvent.RefreshFailed
  | ReloadEvent.PolicyReloaded

/** A synchronous receiver of events. */
export type Listener = (event: PolicyEvent) => void

/** The listeners that policies take with them when they are made. None by default. */
export const Listeners: Context.Reference<ReadonlyArray<Listener>> = Context.Reference(
  "failsoft/PolicyEvent/Listeners",
  { defaultValue: (): ReadonlyArray<Listener> => [] }
)

/** The level at which each kind of event is logged; `"None"` keeps it out of the log. */
export type Levels = { readonly [Tag in PolicyEvent["_tag"]]: LogLevel }

const defaultLevels: Levels = {
  CircuitOpened: "Error",
  CircuitHalfOpened: "Info",
  CircuitClosed: "Info",
  CircuitOverridden: "Warn",
  OverrideEnded: "Warn",
  CircuitReset: "Warn",
  RetryScheduled: "Warn",
  AttemptsExhausted: "Error",
  CallRejected: "Debug",
  CallsRejected: "Warn",
  DegradedStart: "Warn",
  ReturnedToPrimary: "Info",
  HeldWritesDiscarded: "Warn",
  HeldWritesReplayed: "Info",
  RefreshFailed: "Warn",
  PolicyReloaded: "Info"
}

/**
 * Log levels by kind of event.
 *
 * Default: an opening and spent attempts at `Error`; a retry, rejections (summed by the minute), what people do to a
 * circuit, a degraded start, held writes given up and refreshes that failed at `Warn`; the other transitions, the return to a primary, held writes sent and
 * a reload at `Info`; single rejections at `Debug`.
 */
export const LogLevels: Context.Reference<Levels> = Context.Reference("failsoft/PolicyEvent/LogLevels", {
  defaultValue: () => defaultLevels
})

/** A Layer that changes the level of some kinds of events and leaves the others as they are. */
export const layerLogLevels = (levels: Partial<Levels>): Layer.Layer<never> =>
  Layer.effect(
    LogLevels,
    Effect.map(LogLevels, (current) => ({ ...current, ...levels }))
  )

/** How many events may wait for a listener that is slow; beyond that the oldest are dropped. */
const listenerBacklog = 1024

/** How long a listener may take for one event before it is interrupted. */
const listenerPatience = Duration.seconds(10)

/**
 * A Layer that adds a listener which may wait, such as a webhook.
 *
 * Events are handed over one after another in a fiber of the Layer's scope. A listener that fails, dies or takes
 * longer than 10 seconds is reported at `References.UnhandledLogLevel` and goes on with the next event. At most 1,024
 * events wait; beyond that the oldest are dropped.
 */
export const layerListener = <E, R>(
  listener: (event: PolicyEvent) => Effect.Effect<unknown, E, R>
): Layer.Layer<never, never, R> =>
  Layer.effect(
    Listeners,
    Effect.gen(function* () {
      const queue = yield* Queue.sliding<PolicyEvent>(listenerBacklog)
      yield* Queue.take(queue).pipe(
        Effect.flatMap((event) =>
          Effect.suspend(() => listener(event)).pipe(
            Effect.timeout(listenerPatience),
            Effect.catchCause((cause) => report("a listener failed", cause))
          )
        ),
        Effect.forever,
        Effect.forkScoped
      )
      const others = yield* Listeners
      return [...others, (event: PolicyEvent): void => void Queue.offerUnsafe(queue, event)]
    })
  )

/** Tells events of one policy to its listeners and to the log. */
export interface Emitter {
  /** Emits one event. Never fails, never waits for a listener. */
  readonly emit: (event: PolicyEvent) => Effect.Effect<void>
}

/** At most this many log lines a second for each policy and kind of event. */
const logLinesPerSecond = 10

/**
 * The emitter for one policy, with the listeners and levels of the present context.
 *
 * It logs at most 10 lines a second for each kind of event; the next line tells how many were left out.
 */
export const emitter: Effect.Effect<Emitter> = Effect.gen(function* () {
  const listeners = yield* Listeners
  const levels = yield* LogLevels
  const rates = new Map<PolicyEvent["_tag"], LogRate.LogRate>()

  const suppressedBefore = (event: PolicyEvent, nowMillis: number): number | undefined => {
    const rate = rates.get(event._tag) ?? LogRate.initial
    const [suppressed, next] = LogRate.take(logLinesPerSecond, nowMillis)(rate)
    rates.set(event._tag, next)
    return suppressed
  }

  const log = (event: PolicyEvent, nowMillis: number): Effect.Effect<void> => {
    const level = levels[event._tag]
    if (level === "None") return Effect.void
    const suppressed = suppressedBefore(event, nowMillis)
    if (suppressed === undefined) return Effect.void
    const { message, annotations } = describe(event)
    return Effect.logWithLevel(level === "All" ? "Trace" : level)(message).pipe(
      Effect.annotateLogs(suppressed === 0 ? annotations : { ...annotations, suppressed })
    )
  }

  let reported = LogRate.initial
  const tell = (
    event: PolicyEvent,
    listener: Listener,
    nowMillis: number
  ): Effect.Effect<void> | undefined => {
    try {
      listener(event)
      return undefined
    } catch (defect) {
      const [suppressed, next] = LogRate.take(logLinesPerSecond, nowMillis)(reported)
      reported = next
      return suppressed === undefined ? undefined : report("a listener failed", Cause.die(defect))
    }
  }

  return {
    emit: (event) =>
      Effect.withFiber((fiber: Fiber.Fiber<unknown, unknown>) => {
        const nowMillis = Number(fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6
        const reports = listeners.flatMap((listener) => tell(event, listener, nowMillis) ?? [])
        return Effect.andThen(log(event, nowMillis), Effect.all(reports, { discard: true }))
      }).pipe(
        Effect.catchCause((cause) => report("an event could not be told", cause)),
        // What is left is a logger that throws: there is nowhere to tell of it.
        Effect.catchCause(() => Effect.void)
      )
  }
})

const report = (message: string, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.withFiber((fiber: Fiber.Fiber<unknown, unknown>) => {
    const level = fiber.getRef(References.UnhandledLogLevel)
    return level === undefined ? Effect.void : Effect.logWithLevel(level)(`failsoft: ${message}`, cause)
  })

const describe = (event: PolicyEvent): { message: string; annotations: Record<string, unknown> } => {
  const common = { service: event.policy, policy: event.policy }
  switch (event._tag) {
    case "CircuitOpened":
    case "CircuitHalfOpened":
    case "CircuitClosed":
    case "CircuitOverridden":
    case "OverrideEnded":
    case "CircuitReset": {
      const { annotations, message } = CircuitEvent.describe(event)
      return { message, annotations: { ...common, ...annotations } }
    }
    case "RetryScheduled":
      return {
        message: `${event.policy}: attempt ${event.attempt}/${event.of} failed, next in ${Duration.format(event.delay)}`,
        annotations: {
          ...common,
          attempt: event.attempt,
          of: event.of,
          delay: Duration.format(event.delay),
          error: event.error.tag ?? event.error.name
        }
      }
    case "AttemptsExhausted":
      return {
        message: `${event.policy}: gave up after attempt ${event.attempt}/${event.of}`,
        annotations: {
          ...common,
          attempt: event.attempt,
          of: event.of,
          because: event.because,
          error: event.error.tag ?? event.error.name
        }
      }
    case "CallRejected":
      return {
        message: `${event.policy}: call rejected`,
        annotations: { ...common, reason: event.reason }
      }
    case "CallsRejected":
      return {
        message: `${event.policy}: ${event.count} ${event.count === 1 ? "call" : "calls"} rejected`,
        annotations: { ...common, reason: event.reason, count: event.count }
      }
    case "DegradedStart":
      return {
        message: `${event.policy}: started degraded, ${degradedBecause[event.because]}`,
        annotations: {
          ...common,
          because: event.because,
          ...(event.error === undefined ? {} : { error: event.error.tag ?? event.error.name })
        }
      }
    case "ReturnedToPrimary":
      return {
        message: `${event.policy}: back on the primary after ${Duration.format(event.after)}`,
        annotations: { ...common, attempts: event.attempts, after: Duration.format(event.after) }
      }
    case "HeldWritesDiscarded":
      return {
        message: `${event.policy}: gave up the held writes of ${event.count} ${event.count === 1 ? "key" : "keys"}`,
        annotations: { ...common, count: event.count }
      }
    case "HeldWritesReplayed":
      return {
        message: `${event.policy}: sent ${event.count} held writes, lost ${event.lost}`,
        annotations: { ...common, count: event.count, lost: event.lost }
      }
    case "RefreshFailed":
    case "PolicyReloaded": {
      const { annotations, message } =
        event._tag === "RefreshFailed" ? CacheEvent.describe(event) : ReloadEvent.describe(event)
      return { message, annotations: { ...common, ...annotations } }
    }
  }
}

const degradedBecause: { readonly [Reason in DegradedStart["because"]]: string } = {
  unavailable: "the primary is unavailable",
  timeout: "the primary took too long",
  background: "the primary is built in the background"
}
