/** What a circuit publishes: its numbers are the shell's own, and its state is computed at the scrape. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Health from "../Health.ts"
import * as Metrics from "../Metrics.ts"
import * as circuitShell from "./circuitShell.ts"

/** Publishes what a circuit counts. What `Policy` counts itself is left out where the circuit is a stage of one. */
export const register = (shell: circuitShell.Shell): Effect.Effect<void, never, Scope.Scope> => {
  const { counters } = shell
  const answered = () => Math.min(counters.fallback, counters.rejected)
  return Metrics.register(shell.name, [
    Metrics.series(Metrics.calls, { outcome: "success" }, () => counters.successful),
    Metrics.series(Metrics.calls, { outcome: "failure" }, () => counters.failed),
    Metrics.series(Metrics.calls, { outcome: "ignored" }, () => counters.ignored),
    Metrics.series(Metrics.calls, { outcome: "rejected" }, () => counters.rejected),
    Metrics.series(Metrics.calls, { outcome: "fallback" }, answered),
    Metrics.series(Metrics.fallbacks, { source: "fallback" }, answered),
    Metrics.series(Metrics.rejections, { reason: "CircuitOpen" }, () => counters.rejected),
    Metrics.series(Metrics.overridesActive, {}, (nowMillis) =>
      circuitShell.overrideAt(shell, nowMillis) === undefined ? 0 : 1
    ),
    ...Metrics.each(
      Metrics.breakerState,
      ({ state }) =>
        (nowMillis) =>
          Health.stateForCalls(circuitShell.stateAt(shell, nowMillis)) === state ? 1 : 0
    ),
    ...transitions.map(([from, to]) =>
      Metrics.series(Metrics.breakerTransitions, { from, to }, () => shell.transitions[from][to])
    )
  ])
}

/** The changes there are. The last is a reset's alone, the one before it also comes of enough probes. */
const transitions = [
  ["closed", "open"],
  ["open", "half_open"],
  ["half_open", "open"],
  ["half_open", "closed"],
  ["open", "closed"]
] as const
