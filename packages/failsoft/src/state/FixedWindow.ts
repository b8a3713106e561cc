/**
 * So many calls in each window of time, and all of them again in the next.
 *
 * Around the end of a window twice as many may come within a moment; that is what the algorithm allows.
 */
import { type Algorithm, atOnce, inTurn, microsOf, never } from "./Limit.ts"

export interface Config {
  readonly limit: number
  readonly windowMicros: number
}

/** `limit` per window, a whole number from 1. Windows are counted from time 0. */
export const config = (limit: number, windowMillis: number): Config => ({
  limit,
  windowMicros: microsOf(windowMillis)
})

/** What was taken of the latest window from which something was, by its number. */
export interface State {
  readonly window: number
  readonly used: number
}

export const initial: State = { window: Number.NEGATIVE_INFINITY, used: 0 }

const windowAt = ({ windowMicros }: Config, nowMillis: number): number =>
  Math.floor(Math.round(nowMillis * 1000) / windowMicros)

/** A call that does not fit gets its turn when the next window begins, and so does every call after it. */
export const take: Algorithm<Config, State>["take"] = (config, cost, nowMillis, maxWaitMillis) => (state) => {
  if (!(cost >= 0 && cost <= config.limit)) return [never, state]
  if (cost === 0) return [atOnce, state]
  const window = windowAt(config, nowMillis)
  const latest = Math.max(window, state.window)
  const used = latest === state.window ? state.used : 0
  const next: State =
    used + cost <= config.limit ? { window: latest, used: used + cost } : { window: latest + 1, used: cost }
  if (next.window === window) return [atOnce, next]
  const waitMicros = next.window * config.windowMicros - Math.round(nowMillis * 1000)
  const decision = inTurn(waitMicros, maxWaitMillis)
  return [decision, decision._tag === "Admitted" ? next : state]
}

/** Only within its window: what is gone with an earlier one is there again anyway. */
export const refund: Algorithm<Config, State>["refund"] = (config, cost, nowMillis) => (state) =>
  cost > 0 && state.window === windowAt(config, nowMillis)
    ? { window: state.window, used: Math.max(0, state.used - cost) }
    : state

export const remaining: Algorithm<Config, State>["remaining"] = (config, nowMillis) => (state) => {
  const window = windowAt(config, nowMillis)
  if (state.window < window) return config.limit
  return state.window > window ? 0 : Math.max(0, Math.floor(config.limit - state.used))
}

export const freeAtMillis: Algorithm<Config, State>["freeAtMillis"] =
  ({ windowMicros }) =>
  ({ used, window }) =>
    used === 0 ? Number.NEGATIVE_INFINITY : ((window + 1) * windowMicros) / 1000
