/**
 * Which circuits of many may be forgotten to make room for others.
 *
 * A circuit that knows nothing may go at any time, because a new one would be no different. What is known is kept until
 * no call has come for a while, an open circuit besides until it is due, and a probe under way until its time is over.
 */
import { type Circuit, type CircuitConfig, rampShare } from "./Circuit.ts"

/** Whether a circuit, none of whose calls is under way, does what one that was never called would do. */
export const isBlank = (config: CircuitConfig, circuit: Circuit, nowMillis: number): boolean =>
  circuit._tag === "Closed" &&
  circuit.failures === 0 &&
  rampShare(config, circuit, nowMillis) === undefined &&
  (circuit.growth === undefined || nowMillis >= circuit.growth.forgetAtMillis) &&
  circuit.watches.every(({ window }) => {
    window.expire(nowMillis)
    return window.calls === 0
  })

/** When a circuit that was last called at a moment may be forgotten though it knows something. */
export const idleAtMillis = (
  config: CircuitConfig,
  circuit: Circuit,
  calledAtMillis: number,
  idleMillis: number
): number => {
  switch (circuit._tag) {
    case "Closed":
      return calledAtMillis + idleMillis
    case "Open":
      return Math.max(calledAtMillis, circuit.untilMillis) + idleMillis
    case "HalfOpen": {
      const lost = circuit.probes.map((probe) => probe.admittedAtMillis + config.probeMaxAgeMillis)
      return Math.max(calledAtMillis + idleMillis, ...lost)
    }
  }
}
