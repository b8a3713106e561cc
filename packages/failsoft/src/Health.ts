/**
 * The registry of what can be degraded, read by health routes and by people.
 *
 * Circuits and degradable Layers that are made where `Health` is provided appear by themselves, and disappear with their
 * scope. A report is computed when it is asked for, and does no I/O.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { OverrideMode } from "./CircuitEvent.ts"
import type { StateName } from "./state/Circuit.ts"
import type { Rate as RateRule } from "./state/Trip.ts"

/** The state of a circuit in words; `half_open` also when it is open, past due, and no call has come yet. */
export type CircuitState = StateName

/** Calls of one circuit since it was made. `total` is the sum of successful, failed, ignored and rejected. */
export interface CallCounts {
  readonly total: number
  readonly successful: number
  readonly failed: number
  /** Calls that say nothing about the dependency: interrupted, or never sent. */
  readonly ignored: number
  /** Calls that the circuit refused. */
  readonly rejected: number
  /** Rejected calls that a fallback answered. */
  readonly fallback: number
}

/** What the window of one rate holds. */
export interface RateSnapshot {
  readonly _tag: RateRule["_tag"]
  /** The share of failures, or of slow calls, from 0 to 1; `undefined` while the window is empty. */
  readonly rate: number | undefined
  /** The share at which the circuit opens, once there are `minimumCalls`. */
  readonly threshold: number
  /** Calls in the window. */
  readonly calls: number
  readonly minimumCalls: number
}

/** What a circuit looks like at one moment. */
export interface CircuitSnapshot {
  readonly name: string
  /** `false` when the breaker is switched off by configuration: then it counts nothing and is always closed. */
  readonly enabled: boolean
  /** As calls find it; under an override to `observe`, as its rules have it. */
  readonly state: CircuitState
  /** What a person has set, until it ends by itself. */
  readonly override:
    | {
        readonly mode: OverrideMode
        readonly reason: string
        readonly endsIn: Duration.Duration
        /** Calls that ran only because they are observed. */
        readonly wouldHaveRejected: number
      }
    | undefined
  /** Failures since the last success. */
  readonly failuresInARow: number
  /** The share of calls that it admits while they come back after an opening, above 0 and at most 1; else `undefined`. */
  readonly ramp: number | undefined
  /** The rates by which it may open, in the order of its rules; empty unless it is closed. */
  readonly rates: ReadonlyArray<RateSnapshot>
  readonly counts: CallCounts
  /** Wall-clock milliseconds since 1970 of the last failure. */
  readonly lastFailureAtMillis: number | undefined
  /** Time until an open circuit admits a probe. */
  readonly halfOpenIn: Duration.Duration | undefined
}

/**
 * The state as calls find it. Under an override to `observe` that is `closed`: they run, whatever the rules come to.
 */
export const stateForCalls = ({
  override,
  state
}: {
  readonly state: CircuitState
  readonly override: { readonly mode: OverrideMode } | undefined
}): CircuitState => (override?.mode === "observe" ? "closed" : state)

/** What a degradable Layer looks like at one moment. */
export interface LayerSnapshot {
  readonly name: string
  /** `false` when it is switched off by configuration, and so degraded on purpose. */
  readonly enabled: boolean
  /** Whether the primary has been built. */
  readonly built: boolean
  /** Whether the degraded service answers, for some calls or all: the primary is not built, or its circuit not closed. */
  readonly degraded: boolean
  /** Wall-clock milliseconds since 1970 at which the primary was built; before that, at which the Layer began to build it. */
  readonly sinceMillis: number
  /** The circuit in front of the primary, unless that has components of its own: this one is none. */
  readonly circuit: CircuitSnapshot | undefined
}

/** Something that may be degraded: a circuit that stands by itself, or a degradable Layer with its circuit. */
export type Component =
  | { readonly _tag: "Circuit"; readonly name: string; readonly circuit: Effect.Effect<CircuitSnapshot> }
  | { readonly _tag: "Layer"; readonly name: string; readonly layer: Effect.Effect<LayerSnapshot> }

/** The components of an application. */
export class Health extends Context.Service<
  Health,
  {
    /** Adds a component for as long as the scope lives. */
    readonly register: (component: Component) => Effect.Effect<void, never, Scope.Scope>
    /** The components that are there now, in the order of their registration. */
    readonly components: Effect.Effect<ReadonlyArray<Component>>
  }
>()("failsoft/Health") {}

/** An empty registry. */
export const layer: Layer.Layer<Health> = Layer.sync(Health, () => {
  const components = new Set<Component>()
  return {
    register: (component) =>
      Effect.acquireRelease(
        Effect.sync(() => components.add(component)),
        () => Effect.sync(() => components.delete(component))
      ),
    components: Effect.sync(() => [...components])
  }
})

/** Adds a component to the registry, if there is one in the context. */
export const register = (component: Component): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(
    Effect.serviceOption(Health),
    Option.match({ onNone: () => Effect.void, onSome: (health) => health.register(component) })
  )
