/** What a circuit publishes: its numbers are the shell's own, and its state is computed at the scrape. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Health from "../../Health.ts"
import * as Metrics from "../../Metrics.ts"
import type { Shell } from "./tell.ts"

/** What a breaker is at a moment, be it of one circuit or of all its circuits together. */
export interface Present {
  /** The state that calls find. */
  readonly state: (nowMillis: number) => Health.CircuitState
  /** How many of its circuits a person has set. */
  readonly overrides: (nowMillis: number) => number
}

/** Publishes what a breaker counts. What `Policy` counts itself is left out where the breaker is a stage of one. */
export const register = (
  shell: Shell,
  { overrides, state: stateAt }: Present
): Effect.Effect<void, never, Scope.Scope> => {
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
    Metrics.series(Metrics.overridesActive, {}, overrides),
    ...Metrics.each(
      Metrics.breakerState,
      ({ state }) =>
        (nowMillis) =>
          stateAt(nowMillis) === state ? 1 : 0
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
