/**
 * The generic cell rate algorithm: so many calls per period at an even pace, and a burst of some at once.
 *
 * One number is remembered, the theoretical arrival time (TAT): when all that was taken would have arrived if calls came
 * at the even pace. A call may run while that lies less than a burst ahead.
 *
 * Source: ITU-T I.371, Annex A; as a rate limiter, "Rate limiting, cells, and GCRA" (Brandur Leach).
 */
import { type Algorithm, atOnce, inTurn, microsOf, never } from "./Limit.ts"

/**
 * The rate, counted in ticks. A tick is the part of a microsecond of which the time of one unit of cost takes a whole
 * number, so that seven calls per second come to exactly a second. Numbers hold ticks exactly for as long as `2 ** 53` of them
 * last: 40 years of seven a second, 104 days of 999. From then on each call is rounded, by some billionths of a second.
 */
export interface Config {
  readonly burst: number
  readonly ticksPerMicro: number
  readonly emissionTicks: number
  readonly burstTicks: number
}

/** `limit` per period, and at most `burst` at once; both whole numbers from 1. */
export const config = (limit: number, periodMillis: number, burst: number): Config => {
  const micros = microsOf(periodMillis)
  const common = commonDivisor(limit, micros)
  const emissionTicks = micros / common
  return { burst, ticksPerMicro: limit / common, emissionTicks, burstTicks: burst * emissionTicks }
}

const commonDivisor = (one: number, other: number): number =>
  other === 0 ? one : commonDivisor(other, one % other)

const ticksOf = ({ ticksPerMicro }: Config, millis: number): number =>
  Math.round(millis * 1000) * ticksPerMicro

/** The theoretical arrival time, in ticks. */
export type State = number

export const initial: State = Number.NEGATIVE_INFINITY

export const take: Algorithm<Config, State>["take"] = (config, cost, nowMillis, maxWaitMillis) => (tat) => {
  if (!(cost >= 0 && cost <= config.burst)) return [never, tat]
  if (cost === 0) return [atOnce, tat]
  const now = ticksOf(config, nowMillis)
  const next = Math.max(now, tat) + cost * config.emissionTicks
  const waitTicks = next - config.burstTicks - now
  if (waitTicks <= 0) return [atOnce, next]
  const decision = inTurn(Math.ceil(waitTicks / config.ticksPerMicro), maxWaitMillis)
  return [decision, decision._tag === "Admitted" ? next : tat]
}

/** While calls wait for their turn there is nothing to give back to: they have been told when it comes. */
export const refund: Algorithm<Config, State>["refund"] = (config, cost, nowMillis) => (tat) =>
  cost > 0 && tat - config.burstTicks <= ticksOf(config, nowMillis) ? tat - cost * config.emissionTicks : tat

export const remaining: Algorithm<Config, State>["remaining"] = (config, nowMillis) => (tat) => {
  const now = ticksOf(config, nowMillis)
  return Math.max(0, Math.floor((now + config.burstTicks - Math.max(now, tat)) / config.emissionTicks))
}

export const freeAtMillis: Algorithm<Config, State>["freeAtMillis"] =
  ({ ticksPerMicro }) =>
  (tat) =>
    tat / ticksPerMicro / 1000
