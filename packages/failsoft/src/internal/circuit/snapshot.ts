/** What a circuit looks like to people at one moment. */
import * as Duration from "effect/Duration"
import type * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import * as Health from "../../Health.ts"
import * as Circuit from "../../state/Circuit.ts"
import type { Watch } from "../../state/Trip.ts"
import { monotonicMillis } from "../clock.ts"
import type { Keyed } from "./keyedCircuits.ts"
import type { Present } from "./metrics.ts"
import { overrideAt } from "./shell.ts"
import type { Cell, Shell } from "./tell.ts"

/** What a circuit by itself looks like now, whether or not its breaker has others. */
export const condition = (
  cell: Cell,
  nowMillis: number
): Omit<Health.CircuitSnapshot, "name" | "enabled" | "counts"> => {
  const circuit = Ref.getUnsafe(cell.state)
  const override = overrideAt(cell, nowMillis)
  const dueInMillis = Circuit.dueInMillis(circuit, nowMillis)
  const rulesDecide = override === undefined || override.mode === "observe"
  return {
    state: stateOf(cell, nowMillis),
    override: override && {
      mode: override.mode,
      reason: override.reason,
      endsIn: Duration.millis(override.untilMillis - nowMillis),
      wouldHaveRejected: override.wouldHaveRejected
    },
    failuresInARow: cell.failuresInARow,
    ramp: rulesDecide ? Circuit.rampShare(cell.shell.config, circuit, nowMillis) : undefined,
    rates: circuit._tag === "Closed" ? circuit.watches.map((watch) => rateOf(watch, nowMillis)) : [],
    lastFailureAtMillis: cell.lastFailureAtMillis,
    halfOpenIn: dueInMillis === undefined ? undefined : Duration.millis(dueInMillis)
  }
}

/** The state as calls find it; under an override to observe, as the rules have it. */
const stateOf = (cell: Cell, nowMillis: number): Health.CircuitState => {
  const mode = overrideAt(cell, nowMillis)?.mode
  return mode === "open" || mode === "closed" ? mode : Circuit.stateName(Ref.getUnsafe(cell.state), nowMillis)
}

/** The calls of all circuits of a breaker. */
export const countsOf = ({ counters }: Shell): Health.CallCounts => ({
  ...counters,
  // A fallback that fails in turn may be answered by another one, but the call was rejected once.
  fallback: Math.min(counters.fallback, counters.rejected),
  total: counters.successful + counters.failed + counters.ignored + counters.rejected
})

/** What the only circuit of a breaker looks like now. */
export const snapshot = (cell: Cell, fiber: Fiber.Fiber<unknown, unknown>): Health.CircuitSnapshot => ({
  name: cell.shell.name,
  enabled: true,
  ...condition(cell, monotonicMillis(fiber)),
  counts: countsOf(cell.shell)
})

/** What metrics read of the only circuit of a breaker. */
export const present = (cell: Cell): Present => ({
  state: (nowMillis) =>
    Health.stateForCalls({ state: stateOf(cell, nowMillis), override: overrideAt(cell, nowMillis) }),
  overrides: (nowMillis) => (overrideAt(cell, nowMillis) === undefined ? 0 : 1)
})

/** What metrics read of the circuits of all keys. */
export const presentOfKeys = (keyed: Keyed): Present => ({
  state: (nowMillis) => together(keyed, nowMillis),
  overrides: (nowMillis) => {
    let overridden = 0
    for (const cell of keyed.cells.values()) if (overrideAt(cell, nowMillis) !== undefined) overridden++
    return overridden
  }
})

/** What the circuit of a key looks like now; `undefined` if there is none. */
export const ofKey = (keyed: Keyed, key: string, fiber: Fiber.Fiber<unknown, unknown>) => {
  const cell = keyed.cells.get(key)
  if (cell === undefined) return undefined
  const nowMillis = monotonicMillis(fiber)
  const circuit = Ref.getUnsafe(cell.state)
  const isHalfOpen = Circuit.stateName(circuit, nowMillis) === "half_open"
  return {
    key,
    ...condition(cell, nowMillis),
    openings: Circuit.openings(circuit, nowMillis),
    probes: isHalfOpen ? probesOf(cell, circuit, nowMillis) : undefined
  }
}

const probesOf = (cell: Cell, circuit: Circuit.Circuit, nowMillis: number) =>
  circuit._tag === "HalfOpen"
    ? {
        admitted: circuit.nextProbe,
        running: Circuit.liveProbes(cell.shell.config, circuit, nowMillis).length
      }
    : { admitted: 0, running: 0 }

/** How many keys are named: enough to see what is going on. */
const maxNames = 20

/** What the circuits of all keys look like now. */
export const ofKeys = (keyed: Keyed, fiber: Fiber.Fiber<unknown, unknown>) => {
  const nowMillis = monotonicMillis(fiber)
  const states = { closed: 0, open: 0, half_open: 0 }
  const openKeys: Array<string> = []
  for (const [key, cell] of keyed.cells) {
    const state = stateOf(cell, nowMillis)
    states[state]++
    if (state === "open" && openKeys.length < maxNames) openKeys.push(key)
  }
  return {
    name: keyed.shell.name,
    enabled: true,
    keys: keyed.cells.size,
    closed: states.closed,
    open: states.open,
    halfOpen: states.half_open,
    openKeys,
    evicted: keyed.evicted,
    untracked: keyed.untracked,
    counts: countsOf(keyed.shell),
    lastFailureAtMillis: keyed.shell.lastFailureAtMillis
  }
}

/** The state of all circuits as one: half-open while some answer and some do not. */
const together = (keyed: Keyed, nowMillis: number): Health.CircuitState => {
  const states = new Set<Health.CircuitState>()
  for (const cell of keyed.cells.values()) states.add(present(cell).state(nowMillis))
  const [first = "closed", ...others] = states
  return others.length === 0 ? first : "half_open"
}

/** All circuits as one, for health. */
export const asOne = (keyed: Keyed, fiber: Fiber.Fiber<unknown, unknown>): Health.CircuitSnapshot => {
  const nowMillis = monotonicMillis(fiber)
  const { counts, enabled, lastFailureAtMillis, name } = ofKeys(keyed, fiber)
  let failuresInARow = 0
  let dueInMillis = Number.POSITIVE_INFINITY
  for (const cell of keyed.cells.values()) {
    failuresInARow = Math.max(failuresInARow, cell.failuresInARow)
    dueInMillis = Math.min(
      dueInMillis,
      Circuit.dueInMillis(Ref.getUnsafe(cell.state), nowMillis) ?? dueInMillis
    )
  }
  const state = together(keyed, nowMillis)
  return {
    name,
    enabled,
    state,
    override: undefined,
    failuresInARow,
    ramp: undefined,
    rates: [],
    counts,
    lastFailureAtMillis,
    halfOpenIn:
      state === "open" && dueInMillis < Number.POSITIVE_INFINITY ? Duration.millis(dueInMillis) : undefined
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
