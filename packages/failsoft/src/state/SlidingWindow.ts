/**
 * The sliding window counter: what was taken in this window, and of the window before as much as still lies within one
 * window's length, as if it had been taken evenly.
 *
 * The estimate `previous · (1 − elapsed / window) + current` never exceeds the limit when a call is admitted. In any stretch
 * as long as a window fewer than twice the limit are, where a fixed window lets through all of that at once.
 *
 * Source: "How we built rate limiting capable of scaling to millions of domains" (Cloudflare, 2017).
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

/** What was taken in the window of the latest turn, and in the one before it. */
export interface State {
  /** The latest turn: that of the last call that was admitted. */
  readonly atMicros: number
  readonly previous: number
  readonly current: number
}

export const initial: State = { atMicros: Number.NEGATIVE_INFINITY, previous: 0, current: 0 }

const windowAt = ({ windowMicros }: Config, micros: number): number => Math.floor(micros / windowMicros)

/** The state as it is once its time is `atMicros`, which is not before its own. */
const rolled = (config: Config, state: State, atMicros: number): State => {
  const windows = windowAt(config, atMicros) - windowAt(config, state.atMicros)
  if (windows === 0) return { atMicros, previous: state.previous, current: state.current }
  return { atMicros, previous: windows === 1 ? state.current : 0, current: 0 }
}

/** The first moment from that of the state on at which `cost` fits. */
const turnOf = (config: Config, { atMicros, current, previous }: State, cost: number): number => {
  const { limit, windowMicros } = config
  const end = (windowAt(config, atMicros) + 1) * windowMicros
  const room = limit - current - cost
  // In the next window this one is the one before.
  if (room < 0) return end + windowMicros - Math.floor(((limit - cost) * windowMicros) / current)
  return previous * (end - atMicros) <= room * windowMicros
    ? atMicros
    : end - Math.floor((room * windowMicros) / previous)
}

export const take: Algorithm<Config, State>["take"] = (config, cost, nowMillis, maxWaitMillis) => (state) => {
  if (!(cost >= 0 && cost <= config.limit)) return [never, state]
  if (cost === 0) return [atOnce, state]
  const now = Math.round(nowMillis * 1000)
  const present = rolled(config, state, Math.max(now, state.atMicros))
  const turn = turnOf(config, present, cost)
  const decision = inTurn(turn - now, maxWaitMillis)
  if (decision._tag === "Rejected") return [decision, state]
  const { atMicros, current, previous } = rolled(config, present, turn)
  return [decision, { atMicros, previous, current: current + cost }]
}

/** Only within its window: what was taken in an earlier one is fading already. */
export const refund: Algorithm<Config, State>["refund"] = (config, cost, nowMillis) => (state) =>
  cost > 0 && windowAt(config, state.atMicros) === windowAt(config, Math.round(nowMillis * 1000))
    ? { ...state, current: Math.max(0, state.current - cost) }
    : state

export const remaining: Algorithm<Config, State>["remaining"] = (config, nowMillis) => (state) => {
  const now = Math.round(nowMillis * 1000)
  if (state.atMicros > now) return 0
  const { current, previous } = rolled(config, state, now)
  const end = (windowAt(config, now) + 1) * config.windowMicros
  const room = config.limit - current
  return Math.max(0, Math.floor((room * config.windowMicros - previous * (end - now)) / config.windowMicros))
}

export const freeAtMillis: Algorithm<Config, State>["freeAtMillis"] =
  (config) =>
  ({ atMicros, current, previous }) => {
    if (current === 0 && previous === 0) return Number.NEGATIVE_INFINITY
    const windows = windowAt(config, atMicros) + (current === 0 ? 1 : 2)
    return (windows * config.windowMicros) / 1000
  }
