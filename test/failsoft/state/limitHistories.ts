/**
 * Random histories of a limit, checked step by step against what its formula says of all that was taken before.
 *
 * The reference keeps every call with its cost and its turn, and finds the next turn by trying one moment after another. So it
 * knows nothing of arrival times and counters. The rules under test are a parameter: planted bugs run through the
 * same check.
 */
import type * as FixedWindow from "../../../packages/failsoft/src/state/FixedWindow.ts"
import type * as Gcra from "../../../packages/failsoft/src/state/Gcra.ts"
import type { Algorithm } from "../../../packages/failsoft/src/state/Limit.ts"
import type * as SlidingWindow from "../../../packages/failsoft/src/state/SlidingWindow.ts"

/** The modules under test. */
export interface Rules {
  readonly Gcra: typeof Gcra
  readonly FixedWindow: typeof FixedWindow
  readonly SlidingWindow: typeof SlidingWindow
}

/** What histories are made of; each is counted, so that a test can say that it happened often enough. */
export const situations = [
  "admitted at once",
  "admitted to wait",
  "rejected at once",
  "rejected for a wait that is too long",
  "rejected one microsecond early",
  "admitted exactly in time",
  "rejected for ever",
  "cost nothing",
  "a fraction of a cost",
  "refunded",
  "refunded more than was taken",
  "refunded to no avail",
  "forgotten when free",
  "forgotten exactly in time",
  "a clock that went back",
  "a long silence"
] as const

export type Situation = (typeof situations)[number]

export type Counts = Map<string, number>

/** A history that the rules got wrong. */
export class WrongHistory extends Error {
  constructor(seed: number, limit: Drawn, steps: ReadonlyArray<string>, problem: string) {
    super(
      `${problem}\nseed ${seed}, ${JSON.stringify(limit)}\n${steps.map((step, index) => `${index + 1}. ${step}`).join("\n")}`
    )
    this.name = "WrongHistory"
  }
}

type Drawn =
  | { readonly _tag: "Gcra"; readonly limit: number; readonly micros: number; readonly burst: number }
  | { readonly _tag: "FixedWindow" | "SlidingWindow"; readonly limit: number; readonly micros: number }

interface Taken {
  readonly turn: number
  /** Below 0 for what was given back. */
  readonly cost: number
}

/** What the formula of a limit says. Times are in moments. */
interface Formula {
  readonly most: number
  /** So many to a microsecond that every turn is at one of them. */
  readonly moments: number
  /** The earliest moment that a turn may have, whatever it costs. */
  readonly notBefore: (taken: ReadonlyArray<Taken>, now: number) => number
  /** Whether a call fits at a moment. */
  readonly fits: (taken: ReadonlyArray<Taken>, at: number, cost: number) => boolean
  /** What a refund comes to. */
  readonly refunded: (taken: ReadonlyArray<Taken>, now: number, cost: number) => number
}

const sum = (taken: ReadonlyArray<Taken>): number => taken.reduce((total, { cost }) => total + cost, 0)

const lastTurn = (taken: ReadonlyArray<Taken>): number =>
  taken.findLast(({ cost }) => cost > 0)?.turn ?? Number.NEGATIVE_INFINITY

/** What was taken since any moment, and this call, is within a burst and what came in since. */
const gcra = ({ burst, limit, micros }: Extract<Drawn, { readonly _tag: "Gcra" }>): Formula => {
  const fits: Formula["fits"] = (taken, at, another) => {
    let since = another
    if (since > burst) return false
    for (const { cost, turn } of taken.toReversed()) {
      since += cost
      // Four moments times the microseconds of a period are the time of one call.
      if (cost > 0 && since * micros * 4 > burst * micros * 4 + at - turn) return false
    }
    return true
  }
  return {
    most: burst,
    moments: 4 * limit,
    notBefore: (_, now) => now,
    fits,
    refunded: (taken, now, cost) => (fits(taken, now, 0) ? cost : 0)
  }
}

const windowed = (
  { limit, micros }: Drawn,
  estimate: (inWindow: (number: number) => number, at: number) => number,
  notBefore: Formula["notBefore"]
): Formula => {
  const windowOf = (at: number): number => Math.floor(at / micros)
  const inWindowOf = (taken: ReadonlyArray<Taken>) => (number: number) =>
    sum(taken.filter(({ turn }) => windowOf(turn) === number))
  return {
    most: limit,
    moments: 1,
    notBefore,
    fits: (taken, at, cost) => estimate(inWindowOf(taken), at) + cost * micros <= limit * micros,
    refunded: (taken, now, cost) =>
      windowOf(lastTurn(taken)) === windowOf(now) ? Math.min(cost, inWindowOf(taken)(windowOf(now))) : 0
  }
}

const formulaOf = (drawn: Drawn): Formula => {
  const { micros } = drawn
  switch (drawn._tag) {
    case "Gcra":
      return gcra(drawn)
    case "FixedWindow":
      return windowed(
        drawn,
        (inWindow, at) => inWindow(Math.floor(at / micros)) * micros,
        (taken, now) => Math.max(now, Math.floor(lastTurn(taken) / micros) * micros)
      )
    case "SlidingWindow":
      return windowed(
        drawn,
        (inWindow, at) => {
          const number = Math.floor(at / micros)
          const left = (number + 1) * micros - at
          return inWindow(number - 1) * left + inWindow(number) * micros
        },
        (taken, now) => Math.max(now, lastTurn(taken))
      )
  }
}

interface Draw {
  readonly integer: (from: number, to: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(from: ReadonlyArray<A>) => A
}

/** Mulberry32: small, fast, and the same on every machine. */
const drawFrom = (seed: number): Draw => {
  let state = seed | 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
  const integer = (from: number, to: number): number => from + Math.floor(next() * (to - from + 1))
  return {
    integer,
    chance: (probability) => next() < probability,
    pick: (from) => from[integer(0, from.length - 1)]!
  }
}

const drawLimit = (draw: Draw, kind: Drawn["_tag"]): Drawn => {
  const common = { limit: draw.integer(1, 5), micros: draw.pick([1, 2, 5, 7, 10, 12, 16]) }
  return kind === "Gcra" ? { _tag: kind, ...common, burst: draw.integer(1, 6) } : { _tag: kind, ...common }
}

const playOne = <Config, State>(
  algorithm: Algorithm<Config, State>,
  config: Config,
  drawn: Drawn,
  draw: Draw,
  seed: number,
  counts: Counts
): void => {
  const formula = formulaOf(drawn)
  const mayWait = draw.chance(0.5)
  // What is forgotten is free by a clock that does not go back.
  const goesBack = draw.chance(0.3)
  let state = algorithm.initial
  let taken: ReadonlyArray<Taken> = []
  // The beginning of time, and a month later.
  let now = draw.pick([0, 0, 2_592_000_000_000])
  const steps: Array<string> = []
  const fail = (problem: string): never => {
    throw new WrongHistory(seed, drawn, steps, problem)
  }
  const note = (situation: Situation): void => {
    counts.set(situation, (counts.get(situation) ?? 0) + 1)
  }
  const present = (): number => now * formula.moments
  const earliest = (cost: number): number => {
    let at = formula.notBefore(taken, present())
    while (!formula.fits(taken, at, cost)) at++
    return at
  }

  const take = (cost: number, maxWait: number): void => {
    steps.push(`take ${cost} at ${now}, wait at most ${maxWait}`)
    const [decision, next] = algorithm.take(config, cost, now / 1000, maxWait / 1000)(state)
    if (!(cost > 0 && cost <= formula.most)) {
      if (next !== state) fail("a call that takes nothing changed the state")
      note(cost === 0 ? "cost nothing" : "rejected for ever")
      const expected = cost === 0 ? { _tag: "Admitted", waitMillis: 0 } : { _tag: "Rejected" }
      if (decision._tag !== expected._tag) fail(`${decision._tag}, not ${expected._tag}`)
      if (
        decision._tag === "Admitted" ? decision.waitMillis !== 0 : decision.retryAfterMillis !== undefined
      ) {
        fail("a wait for what takes nothing")
      }
      return
    }
    if (!Number.isInteger(cost)) note("a fraction of a cost")
    const moment = earliest(cost)
    const turn = Math.ceil(moment / formula.moments)
    const wait = turn - now
    if (decision._tag === "Admitted") {
      if (wait > Math.max(0, maxWait)) fail(`admitted, but its turn is at ${turn}`)
      if (decision.waitMillis !== wait / 1000)
        fail(`waits ${decision.waitMillis}, but its turn is at ${turn}`)
      note(wait === 0 ? "admitted at once" : "admitted to wait")
      taken = [...taken, { turn: moment, cost }]
      state = next
      return
    }
    if (wait <= Math.max(0, maxWait)) fail("rejected, but it fits")
    if (decision.retryAfterMillis !== wait / 1000) {
      fail(`come back after ${decision.retryAfterMillis}, but its turn is at ${turn}`)
    }
    if (next !== state) fail("a rejected call changed the state")
    note(maxWait > 0 ? "rejected for a wait that is too long" : "rejected at once")
    if (draw.chance(0.3)) {
      now = turn - 1
      const [early] = algorithm.take(config, cost, now / 1000, 0)(state)
      if (early._tag === "Admitted") fail("admitted before its time")
      note("rejected one microsecond early")
      now = turn
      const [inTime, after] = algorithm.take(config, cost, now / 1000, 0)(state)
      if (inTime._tag === "Rejected") fail("rejected at its time")
      note("admitted exactly in time")
      steps.push(`take ${cost} at ${now}`)
      taken = [...taken, { turn: present(), cost }]
      state = after
    }
  }

  const refund = (cost: number): void => {
    steps.push(`refund ${cost} at ${now}`)
    const comesTo = cost > 0 ? formula.refunded(taken, present(), cost) : 0
    state = algorithm.refund(config, cost, now / 1000)(state)
    if (comesTo > 0) taken = [...taken, { turn: present(), cost: -comesTo }]
    note(
      comesTo === 0 ? "refunded to no avail" : comesTo < cost ? "refunded more than was taken" : "refunded"
    )
  }

  const check = (): void => {
    const isOpen = formula.notBefore(taken, present()) <= present()
    let most = 0
    while (isOpen && most < formula.most && formula.fits(taken, present(), most + 1)) most++
    const remaining = algorithm.remaining(config, now / 1000)(state)
    if (remaining !== most) fail(`${remaining} remain, not ${most}`)
    const isFree = isOpen && formula.fits(taken, present(), formula.most)
    const freeAt = algorithm.freeAtMillis(config)(state)
    if (!goesBack && freeAt <= now / 1000 !== isFree)
      fail(`free at ${freeAt}, but that it is free is ${isFree}`)
    if (isFree && !goesBack && draw.chance(0.3)) {
      steps.push(`forget at ${now}`)
      note(freeAt === now / 1000 ? "forgotten exactly in time" : "forgotten when free")
      state = algorithm.initial
    }
  }

  const costs = [1, 1, 1, 2, 3, formula.most, 0.5, 0.25, 0, formula.most + 1, -1, Number.NaN, Infinity]
  for (let step = 0; step < 40; step++) {
    const kind = draw.integer(0, 19)
    if (kind < 5) now += draw.integer(0, 4)
    else if (kind === 5) now += draw.integer(10, 60)
    else if (kind === 6 && taken.length > 0) {
      // At the very moment at which it is free.
      now = Math.max(now, Math.ceil(algorithm.freeAtMillis(config)(state) * 1000))
      note("a long silence")
    } else if (kind === 7 && goesBack) {
      now -= draw.integer(1, 10)
      note("a clock that went back")
    } else if (kind < 10) refund(draw.pick([1, 1, 2, 0.5, 7, -1, Number.NaN]))
    else take(draw.pick(costs), mayWait ? draw.pick([0, 3, 20, 100]) : 0)
    check()
  }
}

/** Plays as many histories of each algorithm, from seed 1 on; throws at the first that goes wrong. */
export const playHistories = (rules: Rules, histories: number): Counts => {
  const counts: Counts = new Map()
  for (const kind of ["Gcra", "FixedWindow", "SlidingWindow"] as const) {
    for (let seed = 1; seed <= histories; seed++) {
      const draw = drawFrom(seed)
      const drawn = drawLimit(draw, kind)
      const { limit, micros } = drawn
      const play = <Config, State>(algorithm: Algorithm<Config, State>, config: Config): void =>
        playOne(algorithm, config, drawn, draw, seed, counts)
      switch (drawn._tag) {
        case "Gcra":
          play(rules.Gcra, rules.Gcra.config(limit, micros / 1000, drawn.burst))
          break
        case "FixedWindow":
          play(rules.FixedWindow, rules.FixedWindow.config(limit, micros / 1000))
          break
        case "SlidingWindow":
          play(rules.SlidingWindow, rules.SlidingWindow.config(limit, micros / 1000))
      }
    }
  }
  return counts
}
