/** Rows of a table of policies, right ones and wrong ones, and what happens to a policy in a history. All of it comes from a seed. */
import type { PolicyEvent } from "failsoft"
import type { Draw } from "./draw.ts"

interface Switch {
  readonly enabled: boolean
}

/** What a rate limiter is held to. Durations are in milliseconds. */
export interface LimiterRow extends Switch {
  readonly algorithm: "gcra" | "sliding-window" | "fixed-window"
  readonly limit: number
  readonly millis: number
  /** Only of `gcra`. */
  readonly burst: number
  /** The longest wait and the most that may wait, or nobody. */
  readonly delay: { readonly maxWait: number; readonly maxWaiting: number } | undefined
}

/** A row as histories draw it. Durations are in milliseconds. */
export interface Row extends Switch {
  readonly deadline: number | undefined
  readonly attemptTimeout: number | undefined
  readonly retry: (Switch & { readonly attempts: number; readonly base: number }) | undefined
  readonly retryBudget:
    | (Switch & {
        readonly credit: "success" | "request"
        readonly ratio: number
        readonly minPerSecond: number
        readonly cap: number
        readonly timeoutCost: number
      })
    | undefined
  readonly hedge: (Switch & { readonly delay: number; readonly hedges: number }) | undefined
  readonly rateLimiter: LimiterRow | undefined
  readonly bulkhead:
    | (Switch & {
        readonly limit: number
        readonly queue: number
        readonly queueTimeout: number | undefined
        readonly priorities: number
      })
    | undefined
  readonly breaker:
    | (Switch & {
        readonly rule: "row" | "rate" | "slow"
        readonly failures: number
        readonly openDuration: number
        readonly probes: number
        readonly successes: number
        readonly maxWait: number
        readonly ramp: number | undefined
      })
    | undefined
}

/** A stage that counts, with its options; `undefined` where it is absent or switched off. */
export const on = <Stage extends Switch>(row: Row, stage: Stage | undefined): Stage | undefined =>
  row.enabled && stage?.enabled === true ? stage : undefined

/** The longest that an attempt may take, which is no longer than the deadline. */
export const attemptMillis = ({ attemptTimeout, deadline }: Row): number =>
  Math.min(attemptTimeout ?? Number.POSITIVE_INFINITY, deadline ?? Number.POSITIVE_INFINITY)

const millis = (value: number | undefined) => (value === undefined ? {} : `${value} millis`)

/** The row as configuration holds it. */
export const configOf = (row: Row): Record<string, unknown> => {
  const { breaker, bulkhead, hedge, rateLimiter, retry, retryBudget } = row
  const time = (name: string, value: number | undefined) =>
    value === undefined ? {} : { [name]: millis(value) }
  return {
    enabled: row.enabled,
    ...time("deadline", row.deadline),
    ...time("attemptTimeout", row.attemptTimeout),
    ...(retry && { retry: { ...retry, base: millis(retry.base), jitter: "none" } }),
    ...(retryBudget && { retryBudget: { ...retryBudget } }),
    ...(hedge && { hedge: { ...hedge, delay: millis(hedge.delay) } }),
    ...(rateLimiter && { rateLimiter: limiterConfigOf(rateLimiter) }),
    ...(bulkhead && {
      bulkhead: {
        enabled: bulkhead.enabled,
        limit: bulkhead.limit,
        queue: bulkhead.queue,
        priorities: bulkhead.priorities,
        ...time("queueTimeout", bulkhead.queueTimeout)
      }
    }),
    ...(breaker && {
      breaker: {
        enabled: breaker.enabled,
        ...(breaker.rule === "row" && { failures: breaker.failures }),
        ...(breaker.rule === "rate" && { failureRate: 0.5, minimumCalls: breaker.failures, windowCalls: 4 }),
        ...(breaker.rule === "slow" && {
          failures: breaker.failures,
          slowCallRate: 0.5,
          slowerThan: "6 millis",
          minimumCalls: 3,
          windowDuration: "50 millis"
        }),
        openDuration: millis(breaker.openDuration),
        probes: breaker.probes,
        successes: breaker.successes,
        maxWait: millis(breaker.maxWait),
        ...time("rampDuration", breaker.ramp)
      }
    })
  }
}

const limiterConfigOf = ({ algorithm, burst, delay, enabled, limit, millis: time }: LimiterRow) => ({
  enabled,
  algorithm,
  limit,
  ...(algorithm === "gcra" ? { period: millis(time), burst } : { window: millis(time) }),
  ...(delay && { onLimit: "delay", maxWait: millis(delay.maxWait), maxWaiting: delay.maxWaiting })
})

/** Each stage of a row by itself, so that a new row may have some of the old one's. */
const stages: { readonly [Name in keyof Row]: (draw: Draw) => Row[Name] } = {
  enabled: (draw) => !draw.chance(0.06),
  deadline: (draw) => draw.pick([undefined, 12, 30, 60]),
  attemptTimeout: (draw) => draw.pick([undefined, 4, 10, 25]),
  retry: (draw) =>
    draw.chance(0.25)
      ? undefined
      : { enabled: isOn(draw), attempts: draw.integer(1, 4), base: draw.pick([1, 3, 8]) },
  retryBudget: (draw) =>
    draw.chance(0.4)
      ? undefined
      : {
          enabled: isOn(draw),
          credit: draw.pick(["success", "request"] as const),
          ratio: draw.pick([0, 0.25, 1]),
          minPerSecond: draw.pick([0, 1, 50]),
          cap: draw.integer(1, 4),
          timeoutCost: draw.integer(1, 2)
        },
  hedge: (draw) =>
    draw.chance(0.4)
      ? undefined
      : { enabled: isOn(draw), delay: draw.pick([0, 1, 3, 7]), hedges: draw.integer(1, 3) },
  rateLimiter: (draw) =>
    draw.chance(0.4)
      ? undefined
      : {
          enabled: isOn(draw),
          algorithm: draw.pick(["gcra", "sliding-window", "fixed-window"] as const),
          limit: draw.integer(2, 8),
          millis: draw.pick([10, 20, 50]),
          burst: draw.integer(1, 4),
          delay: draw.chance(0.5)
            ? undefined
            : { maxWait: draw.pick([3, 15, 40]), maxWaiting: draw.integer(1, 4) }
        },
  bulkhead: (draw) =>
    draw.chance(0.3)
      ? undefined
      : {
          enabled: isOn(draw),
          limit: draw.integer(1, 3),
          queue: draw.integer(0, 4),
          queueTimeout: draw.pick([undefined, 2, 20]),
          priorities: draw.integer(1, 3)
        },
  breaker: (draw) =>
    draw.chance(0.2)
      ? undefined
      : {
          enabled: isOn(draw),
          rule: draw.pick(["row", "row", "rate", "slow"] as const),
          failures: draw.integer(1, 4),
          openDuration: draw.pick([5, 15, 40]),
          probes: draw.integer(1, 2),
          successes: draw.integer(1, 2),
          maxWait: draw.pick([3, 12, 50]),
          ramp: draw.pick([undefined, undefined, 20])
        }
}

const isOn = (draw: Draw): boolean => !draw.chance(0.1)

const drawRow = (draw: Draw): Row => ({
  enabled: stages.enabled(draw),
  deadline: stages.deadline(draw),
  attemptTimeout: stages.attemptTimeout(draw),
  retry: stages.retry(draw),
  retryBudget: stages.retryBudget(draw),
  hedge: stages.hedge(draw),
  rateLimiter: stages.rateLimiter(draw),
  bulkhead: stages.bulkhead(draw),
  breaker: stages.breaker(draw)
})

/** A row with some stages of another, so that a reload finds stages that stay. */
const drawNext = (draw: Draw, before: Row): Row => {
  const fresh = drawRow(draw)
  const kept = Object.entries(before).filter(([name]) =>
    name === "enabled" ? draw.chance(0.5) && before.enabled : draw.chance(0.6)
  )
  return { ...fresh, ...Object.fromEntries(kept) }
}

/** What may be wrong with a row. Each takes the place of a field, and is told as one problem. */
const wrongs: ReadonlyArray<Record<string, unknown>> = [
  { retries: {} },
  { deadline: "soon" },
  { attemptTimeout: 0 },
  { bulkhead: { limit: 0 } },
  { bulkhead: { limit: 2, qeue: 3 } },
  { breaker: { failures: 0 } },
  { breaker: { failureRate: 0.5 } },
  { breaker: { FAILURES: 3, openDuration: 1 } },
  { retry: { attempts: 1000 } },
  { retry: { enabled: "perhaps" } },
  { rateLimiter: { limit: 3 } },
  { rateLimiter: { limit: "few", period: 1 } },
  { hedge: { hedges: 9 } },
  { retryBudget: { ratio: 2 } },
  { retryBudget: { credit: "none" } }
]

const drawWrong = (
  draw: Draw,
  row: Row
): { readonly config: Record<string, unknown>; readonly problems: number } => {
  const planted = Array.from({ length: draw.integer(1, 4) }, () => draw.pick(wrongs))
  const wrong = Object.assign({}, ...planted)
  // At the level of the row the names of other fields tell that no variables are meant.
  return { config: { ...configOf(row), ...wrong }, problems: Object.keys(wrong).length }
}

/** How an attempt goes at the dependency. */
export type End =
  | { readonly kind: "answers" | "fails" | "dies" | "hangs" }
  | { readonly kind: "answers" | "fails"; readonly afterMillis: number }
  /** Whoever interrupts it has to wait. */
  | { readonly kind: "clings"; readonly afterMillis: number }

export interface CallSpec {
  /** Its attempts one after the other; the last stands for all later ones. */
  readonly ends: ReadonlyArray<End>
  readonly idempotent: boolean
  readonly retry: boolean
  readonly priority: number
  readonly cost: number
}

export type Step =
  | ({ readonly _tag: "Call" } & CallSpec)
  | { readonly _tag: "Finish"; readonly which: number; readonly how: "answers" | "fails" | "dies" }
  | { readonly _tag: "Interrupt"; readonly which: number }
  | { readonly _tag: "Advance"; readonly millis: number }
  /** Time has passed, and no timer has come round yet. */
  | { readonly _tag: "Stall"; readonly millis: number }
  | { readonly _tag: "Reload"; readonly row: Row }
  | { readonly _tag: "Refused"; readonly config: Record<string, unknown>; readonly problems: number }
  | { readonly _tag: "Override"; readonly mode: PolicyEvent.OverrideMode; readonly millis: number }
  | { readonly _tag: "Reset" }

export interface History {
  readonly seed: number
  readonly first: Row
  /** Steps of one turn are done before any fiber goes on. */
  readonly turns: ReadonlyArray<ReadonlyArray<Step>>
}

const drawEnd = (draw: Draw, health: number): End => {
  const isWell = draw.chance(health)
  if (draw.chance(0.08)) return { kind: "hangs" }
  if (draw.chance(0.04)) return { kind: "clings", afterMillis: draw.integer(2, 20) }
  if (draw.chance(0.5)) return { kind: isWell ? "answers" : "fails", afterMillis: draw.integer(1, 20) }
  return { kind: isWell ? "answers" : draw.chance(0.15) ? "dies" : "fails" }
}

const drawStep = (draw: Draw, health: number, row: Row): Step => {
  const kind = draw.next()
  if (kind < 0.5) {
    return {
      _tag: "Call",
      ends: Array.from({ length: draw.integer(1, 3) }, () => drawEnd(draw, health)),
      idempotent: draw.chance(0.5),
      retry: !draw.chance(0.15),
      priority: draw.integer(0, 2),
      cost: draw.pick([1, 1, 1, 2, 0])
    }
  }
  if (kind < 0.6)
    return {
      _tag: "Finish",
      which: draw.integer(0, 9),
      how: draw.pick(["answers", "fails", "dies"] as const)
    }
  if (kind < 0.68) return { _tag: "Interrupt", which: draw.integer(0, 9) }
  if (kind < 0.84) return { _tag: "Advance", millis: draw.pick([1, 2, 3, 5, 8, 15, 40]) }
  if (kind < 0.86) return { _tag: "Stall", millis: draw.pick([1, 4, 20]) }
  if (kind < 0.94) return { _tag: "Reload", row: drawNext(draw, row) }
  if (kind < 0.96) return { _tag: "Refused", ...drawWrong(draw, drawNext(draw, row)) }
  if (kind < 0.985) {
    return {
      _tag: "Override",
      mode: draw.pick(["open", "closed", "observe"] as const),
      millis: draw.integer(1, 20)
    }
  }
  return { _tag: "Reset" }
}

const turnsInHistory = 40

export const drawHistory = (draw: Draw, seed: number): History => {
  const first = drawRow(draw)
  let health = draw.pick([0.2, 0.5, 0.9])
  let row = first
  const turns: Array<ReadonlyArray<Step>> = []
  while (turns.length < turnsInHistory) {
    if (draw.chance(0.1)) health = draw.pick([0, 0.5, 1])
    const turn = Array.from({ length: draw.pick([1, 1, 2, 3]) }, () => {
      const step = drawStep(draw, health, row)
      if (step._tag === "Reload") row = step.row
      return step
    })
    turns.push(turn)
  }
  return { seed, first, turns }
}
