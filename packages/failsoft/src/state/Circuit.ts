/**
 * The rules of a circuit breaker as plain functions over immutable data.
 *
 * Time comes in as monotonic milliseconds. Nothing here reads a clock, runs an effect or throws, so every rule
 * can be checked without a runtime. `admit` and `settle` have the shape that `Ref.modify` takes.
 *
 * A permit carries the generation of the state that granted it, and every transition starts a new generation. So
 * a call that was admitted in an earlier state settles into nothing, however late it ends.
 */
import type { Outcome } from "./Outcome.ts"

/** What a circuit is held to; validated by the shell before it gets here. */
export interface CircuitConfig {
  /** Failures in a row that open the circuit, at least 1. */
  readonly failures: number
  /** Time open by opening in a row; the last entry serves all later ones. Never empty. */
  readonly openMillis: ReadonlyArray<number>
  /** The most that a failure's `retryAfter` may lengthen an opening to. */
  readonly maxOpenMillis: number
  /** Probes that may run at once while half-open, at least 1. */
  readonly probes: number
  /** Successful probes that close the circuit, at least 1. */
  readonly successes: number
  /** Age at which a probe that has not settled gives up its slot. */
  readonly probeMaxAgeMillis: number
}

export type Circuit = Closed | Open | HalfOpen

export interface Closed {
  readonly _tag: "Closed"
  readonly generation: number
  readonly failures: number
  /** What earlier openings had grown to, remembered until the circuit has been closed as long as it was open. */
  readonly growth: { readonly openings: number; readonly forgetAtMillis: number } | undefined
}

export interface Open {
  readonly _tag: "Open"
  readonly generation: number
  readonly openings: number
  readonly sinceMillis: number
  readonly untilMillis: number
}

export interface HalfOpen {
  readonly _tag: "HalfOpen"
  readonly generation: number
  readonly openings: number
  readonly lastOpenMillis: number
  readonly successes: number
  readonly probes: ReadonlyArray<Probe>
  readonly nextProbe: number
}

interface Probe {
  readonly id: number
  readonly admittedAtMillis: number
}

export type StateName = "closed" | "open" | "half_open"

/**
 * The right to run one call, settled once. `probe` is the slot it holds while half-open.
 *
 * A closed circuit is itself the permit of the calls it admits, so that admitting them costs nothing.
 */
export interface Permit {
  readonly generation: number
  readonly probe?: number | undefined
}

export type Admission =
  | { readonly _tag: "Admitted"; readonly permit: Permit; readonly transition: Transition | undefined }
  | {
      readonly _tag: "Rejected"
      readonly generation: number
      readonly retryAfterMillis: number | undefined
    }

export type Transition =
  | {
      readonly to: "open"
      readonly from: "closed" | "half_open"
      readonly failures: number
      readonly openings: number
      readonly openMillis: number
      readonly generation: number
    }
  | { readonly to: "half_open"; readonly from: "open" }
  | { readonly to: "closed"; readonly from: "half_open"; readonly successes: number }

export const initial: Circuit = { _tag: "Closed", generation: 0, failures: 0, growth: undefined }

/** The state as a reader sees it: an open circuit that is due reads `half_open`, though no call has come yet. */
export const stateName = (circuit: Circuit, nowMillis: number): StateName => {
  if (circuit._tag === "Closed") return "closed"
  return circuit._tag === "Open" && nowMillis < circuit.untilMillis ? "open" : "half_open"
}

/** Time until an open circuit is due, or `undefined` when it is not waiting. */
export const dueInMillis = (circuit: Circuit, nowMillis: number): number | undefined =>
  circuit._tag === "Open" && nowMillis < circuit.untilMillis ? circuit.untilMillis - nowMillis : undefined

/** Whether a settled outcome would leave the circuit as it is, so that nothing need be written. */
export const isUnmoved = (circuit: Circuit, outcome: Outcome): boolean =>
  circuit._tag === "Closed" &&
  (outcome._tag === "Ignored" || (outcome._tag === "Success" && circuit.failures === 0))

/** Asks for the right to run a call. */
export const admit =
  (config: CircuitConfig, nowMillis: number) =>
  (circuit: Circuit): readonly [Admission, Circuit] => {
    switch (circuit._tag) {
      case "Closed":
        return [admitted(circuit, undefined), circuit]
      case "Open": {
        if (nowMillis < circuit.untilMillis) {
          return [
            {
              _tag: "Rejected",
              generation: circuit.generation,
              retryAfterMillis: circuit.untilMillis - nowMillis
            },
            circuit
          ]
        }
        const generation = circuit.generation + 1
        return [
          admitted({ generation, probe: 0 }, { from: "open", to: "half_open" }),
          {
            _tag: "HalfOpen",
            generation,
            openings: circuit.openings,
            lastOpenMillis: circuit.untilMillis - circuit.sinceMillis,
            successes: 0,
            probes: [{ id: 0, admittedAtMillis: nowMillis }],
            nextProbe: 1
          }
        ]
      }
      case "HalfOpen": {
        const live = circuit.probes.filter(
          (probe) => nowMillis - probe.admittedAtMillis < config.probeMaxAgeMillis
        )
        if (live.length >= config.probes)
          return [{ _tag: "Rejected", generation: circuit.generation, retryAfterMillis: undefined }, circuit]
        const probe = { id: circuit.nextProbe, admittedAtMillis: nowMillis }
        return [
          admitted({ generation: circuit.generation, probe: probe.id }, undefined),
          { ...circuit, probes: [...live, probe], nextProbe: probe.id + 1 }
        ]
      }
    }
  }

/** Closes a permit with what its call came to. */
export const settle =
  (config: CircuitConfig, permit: Permit, outcome: Outcome, nowMillis: number) =>
  (circuit: Circuit): readonly [Transition | undefined, Circuit] => {
    if (permit.generation !== circuit.generation) return [undefined, circuit]
    switch (circuit._tag) {
      case "Closed":
        return settleClosed(config, circuit, outcome, nowMillis)
      case "Open":
        return [undefined, circuit]
      case "HalfOpen": {
        const probes = circuit.probes.filter((probe) => probe.id !== permit.probe)
        const lostItsSlot = probes.length === circuit.probes.length
        return lostItsSlot
          ? [undefined, circuit]
          : settleProbe(config, { ...circuit, probes }, outcome, nowMillis)
      }
    }
  }

const settleClosed = (
  config: CircuitConfig,
  circuit: Closed,
  outcome: Outcome,
  nowMillis: number
): readonly [Transition | undefined, Circuit] => {
  if (isUnmoved(circuit, outcome)) return [undefined, circuit]
  if (outcome._tag !== "Failure") return [undefined, { ...circuit, failures: 0 }]
  const failures = circuit.failures + 1
  if (failures < config.failures) return [undefined, { ...circuit, failures }]
  const grown =
    circuit.growth !== undefined && nowMillis < circuit.growth.forgetAtMillis ? circuit.growth.openings : 0
  return open(config, circuit, "closed", failures, grown + 1, outcome.retryAfterMillis, nowMillis)
}

const settleProbe = (
  config: CircuitConfig,
  circuit: HalfOpen,
  outcome: Outcome,
  nowMillis: number
): readonly [Transition | undefined, Circuit] => {
  switch (outcome._tag) {
    case "Ignored":
      return [undefined, circuit]
    case "Failure":
      return open(config, circuit, "half_open", 1, circuit.openings + 1, outcome.retryAfterMillis, nowMillis)
    case "Success": {
      const successes = circuit.successes + 1
      if (successes < config.successes) return [undefined, { ...circuit, successes }]
      return [
        { from: "half_open", to: "closed", successes },
        {
          _tag: "Closed",
          generation: circuit.generation + 1,
          failures: 0,
          growth: { openings: circuit.openings, forgetAtMillis: nowMillis + circuit.lastOpenMillis }
        }
      ]
    }
  }
}

const open = (
  config: CircuitConfig,
  circuit: Closed | HalfOpen,
  from: "closed" | "half_open",
  failures: number,
  openings: number,
  retryAfterMillis: number | undefined,
  nowMillis: number
): readonly [Transition, Circuit] => {
  const scheduled = config.openMillis[Math.min(openings, config.openMillis.length) - 1] ?? 0
  // `||`, for a classification may come up with NaN, which would open the circuit for no time at all.
  const openMillis = Math.max(scheduled, Math.min(retryAfterMillis || 0, config.maxOpenMillis))
  const generation = circuit.generation + 1
  return [
    { from, to: "open", failures, openings, openMillis, generation },
    { _tag: "Open", generation, openings, sinceMillis: nowMillis, untilMillis: nowMillis + openMillis }
  ]
}

const admitted = (permit: Permit, transition: Transition | undefined): Admission => ({
  _tag: "Admitted",
  permit,
  transition
})
