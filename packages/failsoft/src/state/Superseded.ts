/**
 * What a call that lost to another attempt of its own says of a closed circuit: how it would have ended is unknown, and
 * nothing but that it was slow, if it was.
 */
import type { Permit, Transition } from "./Admission.ts"
import * as Circuit from "./Circuit.ts"
import * as Trip from "./Trip.ts"

/** Closes the permit of such a call. */
export const settle =
  (config: Circuit.CircuitConfig, permit: Permit, nowMillis: number) =>
  (circuit: Circuit.Closed): readonly [Transition | undefined, Circuit.Circuit] => {
    if (permit.generation !== circuit.generation) return [undefined, circuit]
    Trip.recordSuperseded(circuit.watches, nowMillis - (permit.admittedAtMillis ?? nowMillis), nowMillis)
    const because = Trip.met(config.trips, circuit.failures, circuit.watches)
    return because === undefined
      ? [undefined, circuit]
      : Circuit.open(config, circuit, because, { _tag: "Ignored" }, nowMillis)
  }
