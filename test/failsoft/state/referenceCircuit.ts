/**
 * A circuit breaker that remembers everything and derives nothing in advance: each answer is read anew from the log.
 *
 * It is the measure of `state/Circuit`, so it shares no code and no idea with it: no generations, no slots, no state.
 */
import type { Because, CircuitConfig, StateName } from "../../../packages/failsoft/src/state/Circuit.ts"
import type { Outcome } from "../../../packages/failsoft/src/state/Outcome.ts"
import type { Rate } from "../../../packages/failsoft/src/state/Trip.ts"

type Entry =
  | { readonly kind: "admitted"; readonly at: number; readonly call: number }
  | {
      readonly kind: "settled"
      readonly at: number
      readonly call: number
      readonly took: number
      readonly outcome: Outcome
    }
  | { readonly kind: "opened"; readonly at: number; readonly lasts: number; readonly asked: number }
  | { readonly kind: "half-opened"; readonly at: number }
  | { readonly kind: "closed"; readonly at: number }

type Settled = Extract<Entry, { readonly kind: "settled" }>

type Turn = Extract<Entry, { readonly kind: "opened" | "half-opened" | "closed" }>

export type ReferenceAdmission =
  | { readonly admitted: true; readonly halfOpened: boolean }
  | { readonly admitted: false; readonly retryAfterMillis: number | undefined }

export type ReferenceTransition =
  | { readonly to: "open"; readonly because: Because; readonly openings: number; readonly openMillis: number }
  | { readonly to: "closed"; readonly successes: number }

export class ReferenceCircuit {
  readonly config: CircuitConfig
  readonly log: Array<Entry> = []

  constructor(config: CircuitConfig) {
    this.config = config
  }

  turns(): ReadonlyArray<Turn> {
    return this.log.filter(
      (entry) => entry.kind === "opened" || entry.kind === "half-opened" || entry.kind === "closed"
    )
  }

  /** What was logged since the last change of state. */
  era(): ReadonlyArray<Entry> {
    const last = this.turns().at(-1)
    return last === undefined ? this.log : this.log.slice(this.log.indexOf(last) + 1)
  }

  state(): "closed" | "opened" | "half-opened" {
    return this.turns().at(-1)?.kind ?? "closed"
  }

  dueAt(): number {
    const last = this.turns().at(-1)
    return last?.kind === "opened" ? last.at + last.lasts : Number.NaN
  }

  stateName(now: number): StateName {
    if (this.state() === "closed") return "closed"
    return now < this.dueAt() ? "open" : "half_open"
  }

  /** Calls that hold a probe's slot: admitted in this era, not settled, and not replaced for their age. */
  probes(): ReadonlyArray<{ readonly call: number; readonly at: number }> {
    if (this.state() !== "half-opened") return []
    const era = this.era()
    const admitted = era.filter((entry) => entry.kind === "admitted")
    return admitted.filter(
      ({ at, call }) =>
        !era.some((entry) => entry.kind === "settled" && entry.call === call) &&
        !admitted.some((later) => later.at - at >= this.config.probeMaxAgeMillis)
    )
  }

  /** How many openings came in a row, the newest included. */
  openings(): number {
    const turns = this.turns()
    return turns.reduce((row, turn, index) => {
      if (turn.kind !== "opened") return row
      const before = turns[index - 1]
      if (before?.kind === "half-opened") return row + 1
      const lastOpening = turns.slice(0, index).findLast((earlier) => earlier.kind === "opened")
      const isForgotten =
        before === undefined || lastOpening === undefined || turn.at - before.at >= lastOpening.lasts
      return isForgotten ? 1 : row + 1
    }, 0)
  }

  /** The share of calls admitted at a moment after the last closing; NaN when there is no ramp, or no more. */
  share(now: number): number {
    const last = this.turns().at(-1)
    const { ramp } = this.config
    if (last?.kind !== "closed" || ramp === undefined) return Number.NaN
    const left = last.at + ramp.durationMillis - now
    return left <= 0 ? Number.NaN : 1 - (left / ramp.durationMillis) * (1 - ramp.from)
  }

  admit(call: number, now: number, random: number): ReferenceAdmission {
    const state = this.state()
    if (random >= this.share(now)) return { admitted: false, retryAfterMillis: undefined }
    if (state === "opened") {
      if (now < this.dueAt()) return { admitted: false, retryAfterMillis: this.dueAt() - now }
      this.log.push({ kind: "half-opened", at: now })
    }
    if (state === "half-opened") {
      const young = this.probes().filter(({ at }) => now - at < this.config.probeMaxAgeMillis)
      if (young.length >= this.config.probes) return { admitted: false, retryAfterMillis: undefined }
    }
    this.log.push({ kind: "admitted", at: now, call })
    return { admitted: true, halfOpened: state === "opened" }
  }

  /** Whether the end of a call still means something: it was admitted in this era, and holds its slot if it needs one. */
  counts(call: number): boolean {
    if (this.state() === "half-opened") return this.probes().some((probe) => probe.call === call)
    return this.era().some((entry) => entry.kind === "admitted" && entry.call === call)
  }

  /** The calls of this era that succeeded or failed, in the order in which they ended. */
  told(): ReadonlyArray<Settled> {
    return this.era()
      .filter((entry) => entry.kind === "settled")
      .filter((entry) => entry.outcome._tag !== "Ignored")
  }

  /** The calls of this era that the window of a rate holds. */
  held({ window }: Rate, now: number): ReadonlyArray<Settled> {
    const told = this.told()
    if (window._tag === "Count") return told.slice(-window.calls)
    const bucket = (at: number): number => Math.floor(at / (window.durationMillis / window.buckets))
    return told.filter(({ at }) => bucket(at) > bucket(now) - window.buckets)
  }

  /** The share of hits among the calls that the window of a rate holds. */
  rate(rule: Rate, now: number): { readonly hits: number; readonly calls: number } {
    const held = this.held(rule, now)
    const hits = held.filter(({ outcome, took }) =>
      rule._tag === "FailureRate" ? outcome._tag === "Failure" : took >= rule.slowerThanMillis
    )
    return { hits: hits.length, calls: held.length }
  }

  /** The rule that is met, if one is; rows of failures before rates. */
  met(now: number): Because | undefined {
    const told = this.told()
    const failures = told.length - 1 - told.findLastIndex(({ outcome }) => outcome._tag === "Success")
    const { trips } = this.config
    const row = trips.find((trip) => trip._tag === "Consecutive" && failures >= trip.failures)
    if (row?._tag === "Consecutive") return { _tag: "Consecutive", failures, threshold: row.failures }
    for (const trip of trips) {
      if (trip._tag === "Consecutive") continue
      const { calls, hits } = this.rate(trip, now)
      if (hits === 0 || calls < trip.minimumCalls || hits / calls < trip.threshold) continue
      return { _tag: trip._tag, rate: hits / calls, threshold: trip.threshold, calls }
    }
    return undefined
  }

  isSlowProbe(took: number): boolean {
    return this.config.trips.some((trip) => trip._tag === "SlowCallRate" && took >= trip.slowerThanMillis)
  }

  settle(call: number, outcome: Outcome, now: number): ReferenceTransition | undefined {
    if (!this.counts(call)) return undefined
    const admitted = this.era().find((entry) => entry.kind === "admitted" && entry.call === call)
    const took = now - (admitted?.at ?? Number.NaN)
    this.log.push({ kind: "settled", at: now, call, took, outcome })
    if (outcome._tag === "Ignored") return undefined
    const asked = outcome._tag === "Failure" ? outcome.retryAfterMillis : undefined
    if (this.state() === "closed") {
      const because = this.met(now)
      return because === undefined ? undefined : this.open(because, asked, now)
    }
    if (outcome._tag === "Failure") return this.open({ _tag: "ProbeFailed", slow: false }, asked, now)
    if (this.isSlowProbe(took)) return this.open({ _tag: "ProbeFailed", slow: true }, asked, now)
    const successes = this.told().length
    if (successes < this.config.successes) return undefined
    this.log.push({ kind: "closed", at: now })
    return { to: "closed", successes }
  }

  open(because: Because, asked: number | undefined, now: number): ReferenceTransition {
    const wish = asked === undefined || Number.isNaN(asked) ? 0 : asked
    this.log.push({ kind: "opened", at: now, lasts: 0, asked: wish })
    const openings = this.openings()
    const { maxOpenMillis, openMillis } = this.config
    const scheduled = openMillis[openings - 1] ?? openMillis.at(-1) ?? Number.NaN
    const lasts = Math.max(scheduled, Math.min(wish, maxOpenMillis))
    this.log[this.log.length - 1] = { kind: "opened", at: now, lasts, asked: wish }
    return { to: "open", because, openings, openMillis: lasts }
  }
}
