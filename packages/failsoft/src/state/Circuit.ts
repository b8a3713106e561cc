/**
 * The rules of a circuit breaker as plain functions over immutable data, but for the windows that `Trip` reads.
 *
 * Time comes in as monotonic milliseconds. Nothing here reads a clock, runs an effect or throws, so every rule
 * can be checked without a runtime. `admit` and `settle` have the shape that `Ref.modify` takes.
 *
 * A permit carries the generation of the state that granted it, and every transition starts a new generation. So
 * a call that was admitted in an earlier state settles into nothing, however late it ends.
 */
import type { Admission, Because, Permit, Transition } from "./Admission.ts"
import type { Outcome } from "./Outcome.ts"
import * as Ramp from "./Ramp.ts"
import * as Trip from "./Trip.ts"

export type { Admission, Because, Permit, Transition } from "./Admission.ts"

/** What a circuit is held to; validated by the shell before it gets here. */
export interface CircuitConfig {
  /** The rules that open a closed circuit, each by itself. */
  readonly trips: ReadonlyArray<Trip.Trip>
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
  /** How calls come back after half-open; without it all at once. */
  readonly ramp?: Ramp.RampConfig | undefined
}

export type Circuit = Closed | Open | HalfOpen

export interface Closed {
  readonly _tag: "Closed"
  readonly generation: number
  readonly failures: number
  /** The windows of the rates. They change in place, and no other closed circuit has them. */
  readonly watches: ReadonlyArray<Trip.Watch>
  /** What earlier openings had grown to, remembered until the circuit has been closed as long as it was open. */
  readonly growth: { readonly openings: number; readonly forgetAtMillis: number } | undefined
  /** When the ramp began; absent without one, and once an admission has found it over. */
  readonly rampSinceMillis: number | undefined
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
  readonly probes: ReadonlyArray<{ readonly id: number; readonly admittedAtMillis: number }>
  readonly nextProbe: number
}

export type StateName = "closed" | "open" | "half_open"

/** A closed circuit that knows nothing. */
export const initial = (config: CircuitConfig, generation = 0): Circuit =>
  closed(config, generation, undefined, undefined)

const closed = (
  config: CircuitConfig,
  generation: number,
  growth: Closed["growth"],
  rampSinceMillis: number | undefined
): Closed => ({
  _tag: "Closed",
  generation,
  failures: 0,
  watches: Trip.watch(config.trips),
  growth,
  rampSinceMillis
})

/** The state as a reader sees it: an open circuit that is due reads `half_open`, though no call has come yet. */
export const stateName = (circuit: Circuit, nowMillis: number): StateName => {
  if (circuit._tag === "Closed") return "closed"
  return circuit._tag === "Open" && nowMillis < circuit.untilMillis ? "open" : "half_open"
}

/** Time until an open circuit is due, or `undefined` when it is not waiting. */
export const dueInMillis = (circuit: Circuit, nowMillis: number): number | undefined =>
  circuit._tag === "Open" && nowMillis < circuit.untilMillis ? circuit.untilMillis - nowMillis : undefined

/** The share of calls that a closed circuit admits while its ramp lasts, or `undefined` when it admits all. */
export const rampShare = (config: CircuitConfig, circuit: Circuit, nowMillis: number): number | undefined =>
  circuit._tag === "Closed" && circuit.rampSinceMillis !== undefined && config.ramp !== undefined
    ? Ramp.share(config.ramp, nowMillis - circuit.rampSinceMillis)
    : undefined

/** The probes that hold a slot. */
export const liveProbes = (config: CircuitConfig, circuit: HalfOpen, nowMillis: number) =>
  circuit.probes.filter((probe) => nowMillis - probe.admittedAtMillis < config.probeMaxAgeMillis)

/** Openings in a row until now, which the next one will add to. */
export const openings = (circuit: Circuit, nowMillis: number): number => {
  if (circuit._tag !== "Closed") return circuit.openings
  return circuit.growth !== undefined && nowMillis < circuit.growth.forgetAtMillis
    ? circuit.growth.openings
    : 0
}

/** Whether a settled outcome would leave the circuit as it is, so that nothing need be written. */
export const isUnmoved = (circuit: Circuit, outcome: Outcome): boolean =>
  circuit._tag === "Closed" &&
  (outcome._tag === "Ignored" ||
    (outcome._tag === "Success" && circuit.failures === 0 && circuit.watches.length === 0))

/** Asks for the right to run a call. `random`, from 0 up to 1, is drawn for the ramp of a closed circuit. */
export const admit =
  (config: CircuitConfig, nowMillis: number, random = 0) =>
  (circuit: Circuit): readonly [Admission, Circuit] => {
    switch (circuit._tag) {
      case "Closed": {
        const share = rampShare(config, circuit, nowMillis)
        if (share !== undefined && random >= share) return [rejected(circuit, undefined), circuit]
        const isOver = share === undefined && circuit.rampSinceMillis !== undefined
        return [
          admitted(circuit.generation, nowMillis, undefined),
          isOver ? { ...circuit, rampSinceMillis: undefined } : circuit
        ]
      }
      case "Open": {
        const dueIn = dueInMillis(circuit, nowMillis)
        if (dueIn !== undefined) return [rejected(circuit, dueIn), circuit]
        const generation = circuit.generation + 1
        return [
          admitted(generation, nowMillis, 0, { from: "open", to: "half_open" }),
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
        const live = liveProbes(config, circuit, nowMillis)
        if (live.length >= config.probes) return [rejected(circuit, undefined), circuit]
        const probe = { id: circuit.nextProbe, admittedAtMillis: nowMillis }
        return [
          admitted(circuit.generation, nowMillis, probe.id),
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
    const tookMillis = nowMillis - (permit.admittedAtMillis ?? nowMillis)
    switch (circuit._tag) {
      case "Closed":
        return settleClosed(config, circuit, outcome, tookMillis, nowMillis)
      case "Open":
        return [undefined, circuit]
      case "HalfOpen": {
        const probes = circuit.probes.filter((probe) => probe.id !== permit.probe)
        const lostItsSlot = probes.length === circuit.probes.length
        return lostItsSlot
          ? [undefined, circuit]
          : settleProbe(config, { ...circuit, probes }, outcome, tookMillis, nowMillis)
      }
    }
  }

const settleClosed = (
  config: CircuitConfig,
  circuit: Closed,
  outcome: Outcome,
  tookMillis: number,
  nowMillis: number
): readonly [Transition | undefined, Circuit] => {
  if (isUnmoved(circuit, outcome)) return [undefined, circuit]
  const failures = outcome._tag === "Failure" ? circuit.failures + 1 : 0
  Trip.record(circuit.watches, outcome._tag === "Failure", tookMillis, nowMillis)
  const because = Trip.met(config.trips, failures, circuit.watches)
  if (because !== undefined) return open(config, circuit, because, outcome, nowMillis)
  return [undefined, failures === circuit.failures ? circuit : { ...circuit, failures }]
}

const settleProbe = (
  config: CircuitConfig,
  circuit: HalfOpen,
  outcome: Outcome,
  tookMillis: number,
  nowMillis: number
): readonly [Transition | undefined, Circuit] => {
  if (outcome._tag === "Ignored") return [undefined, circuit]
  if (outcome._tag === "Failure" || tookMillis >= Trip.slowerThanMillis(config.trips)) {
    const because: Because = { _tag: "ProbeFailed", slow: outcome._tag === "Success" }
    return open(config, circuit, because, outcome, nowMillis)
  }
  const successes = circuit.successes + 1
  if (successes < config.successes) return [undefined, { ...circuit, successes }]
  const growth = { openings: circuit.openings, forgetAtMillis: nowMillis + circuit.lastOpenMillis }
  return [
    { from: "half_open", to: "closed", successes },
    closed(config, circuit.generation + 1, growth, config.ramp && nowMillis)
  ]
}

/** Opens a circuit that is not open, for a reason. */
export const open = (
  config: CircuitConfig,
  circuit: Closed | HalfOpen,
  because: Because,
  outcome: Outcome,
  nowMillis: number
): readonly [Transition, Circuit] => {
  const row = openings(circuit, nowMillis) + 1
  const retryAfterMillis = outcome._tag === "Failure" ? outcome.retryAfterMillis : undefined
  const scheduled = config.openMillis[Math.min(row, config.openMillis.length) - 1] ?? 0
  // `||`, for a classification may come up with NaN, which would open the circuit for no time at all.
  const openMillis = Math.max(scheduled, Math.min(retryAfterMillis || 0, config.maxOpenMillis))
  const generation = circuit.generation + 1
  const from = circuit._tag === "Closed" ? "closed" : "half_open"
  return [
    { from, to: "open", because, openings: row, openMillis, generation },
    { _tag: "Open", generation, openings: row, sinceMillis: nowMillis, untilMillis: nowMillis + openMillis }
  ]
}

const rejected = ({ generation }: Circuit, retryAfterMillis: number | undefined): Admission => ({
  _tag: "Rejected",
  generation,
  retryAfterMillis
})

const admitted = (
  generation: number,
  admittedAtMillis: number,
  probe: number | undefined,
  transition?: Transition
): Admission => ({ _tag: "Admitted", permit: { generation, admittedAtMillis, probe }, transition })
