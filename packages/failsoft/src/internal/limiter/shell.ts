/**
 * The shell around the algorithm of a rate limiter: what it holds, and how a call takes from it or waits for its turn.
 *
 * Each step that changes a state reads and writes it at once. Nothing comes back when a call ends, so a call that is
 * admitted at once needs no mask. One that waits does: it holds a place in the line, and gives it back when it leaves
 * before its turn.
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as PolicyEvent from "../../PolicyEvent.ts"
import { type ServiceUnavailable, UnavailableReason } from "../../ServiceUnavailable.ts"
import type { KeyTable } from "../../state/KeyTable.ts"
import type { Algorithm } from "../../state/Limit.ts"
import * as admission from "../admission.ts"
import { leastMillis } from "../clock.ts"
import * as rejections from "../rejections.ts"
import * as line from "./line.ts"

/** The longest wait and the most that may wait; nobody waits where the latter is 0. */
export interface Line {
  maxWaitMillis: number
  maxWaiting: number
}

/** What a limiter is held to; validated before it gets here. */
export interface Settings<Config, State> {
  readonly name: string
  readonly algorithm: Algorithm<Config, State>
  readonly config: Config
  readonly states: KeyTable<State>
  /** What becomes of a call of a new key when there is no room for it. */
  readonly whenFull: "reject" | "admit"
  readonly line: Line
  /** What the caller has left, if there is a bound to it. */
  readonly remainingMillis: (fiber: Fiber.Fiber<unknown, unknown>) => number | undefined
  readonly originMillis: number
  readonly emit: PolicyEvent.Emitter["emit"]
}

/** What a take of some cost would find. */
export interface Found {
  readonly remaining: number
  readonly retryAfterMillis: number | undefined
  readonly resetAfterMillis: number
}

export interface Counts {
  readonly admitted: number
  readonly delayed: number
  readonly rejected: number
  readonly waiting: number
  readonly keys: number
  readonly letThrough: number
}

/** A limiter whose states are nobody else's business. */
export interface Limiter {
  readonly execute: <A, E, R>(
    key: string,
    cost: number,
    self: Effect.Effect<A, E, R>,
    mayWait: boolean
  ) => Effect.Effect<A, E | ServiceUnavailable, R>
  readonly peek: (key: string, cost: number) => Effect.Effect<Found>
  readonly refund: (key: string, cost: number) => Effect.Effect<void>
  /**
   * Goes on with another config or algorithm, for the limiter that has only the empty key. What is taken now, rounded up to
   * whole units, is taken of the new one too, as far as it has so much. Calls that wait keep their turns.
   */
  readonly replace: <Config, State>(next: Replacement<Config, State>) => Effect.Effect<void>
  readonly counts: () => Counts
  /** Tells of the rejections that were not told yet. */
  readonly tellRest: Effect.Effect<void>
}

type Replacement<Config, State> = Pick<Settings<Config, State>, "algorithm" | "config" | "states" | "line">

/** What is done with the states of one algorithm, in the step of a fiber. */
interface Inside {
  readonly enter: <A, E, R>(
    fiber: Fiber.Fiber<unknown, unknown>,
    key: string,
    cost: number,
    self: Effect.Effect<A, E, R>,
    mayWait: boolean
  ) => Effect.Effect<A, E | ServiceUnavailable, R>
  readonly peek: (fiber: Fiber.Fiber<unknown, unknown>, key: string, cost: number) => Found
  readonly refund: (fiber: Fiber.Fiber<unknown, unknown>, key: string, cost: number) => void
  readonly isLike: (algorithm: unknown, config: unknown) => boolean
  /** What is gone of the only key. */
  readonly taken: (now: number) => number
  readonly size: () => number
}

/** What one limiter works on. */
interface Shell<Config, State> extends Settings<Config, State> {
  readonly rejections: rejections.Rejections
  readonly counters: { admitted: number; delayed: number; waiting: number; letThrough: number }
  readonly lines: line.Lines<State>["lines"]
}

const onlyKey = ""

export const make = <Config, State>(settings: Settings<Config, State>): Limiter => {
  const shared = {
    rejections: rejections.make(settings.name, UnavailableReason.RateLimited(), settings.emit),
    counters: { admitted: 0, delayed: 0, waiting: 0, letThrough: 0 }
  }
  let inside = insideOf({ ...settings, ...shared, lines: new Map() })
  return {
    execute: (key, cost, self, mayWait) =>
      Effect.withFiber((fiber) => inside.enter(fiber, key, cost, self, mayWait)),
    peek: (key, cost) => Effect.withFiber((fiber) => Effect.succeed(inside.peek(fiber, key, cost))),
    refund: (key, cost) =>
      Effect.withFiber((fiber) => {
        inside.refund(fiber, key, cost)
        return Effect.void
      }),
    replace: ({ algorithm, config, line: patience, states }) =>
      Effect.withFiber((fiber) => {
        Object.assign(settings.line, patience)
        if (inside.isLike(algorithm, config)) return Effect.void
        const now = line.nowMillis(settings, fiber)
        const cost = Math.min(inside.taken(now), algorithm.remaining(config, now)(algorithm.initial))
        states.set(onlyKey, algorithm.take(config, cost, now, 0)(algorithm.initial)[1])
        // Those in line leave it as they found it: to give back what they took of the old states moves nothing any more.
        inside = insideOf({ ...settings, ...shared, algorithm, config, states, lines: new Map() })
        return Effect.void
      }),
    counts: () => ({ ...shared.counters, rejected: shared.rejections.total, keys: inside.size() }),
    tellRest: rejections.tellRest(shared.rejections)
  }
}

const insideOf = <Config, State>(shell: Shell<Config, State>): Inside => ({
  enter: (fiber, key, cost, self, mayWait) => enter(shell, fiber, key, cost, self, mayWait),
  peek: (fiber, key, cost) => peek(shell, fiber, key, cost),
  refund: (fiber, key, cost) => refund(shell, fiber, key, cost),
  isLike: (algorithm, config) => algorithm === shell.algorithm && Equal.equals(config, shell.config),
  taken: (now) => {
    const { algorithm, config, states } = shell
    const remaining = algorithm.remaining(config, now)
    return remaining(algorithm.initial) - remaining(states.get(onlyKey) ?? algorithm.initial)
  },
  size: () => shell.states.size
})

const enter = <Config, State, A, E, R>(
  shell: Shell<Config, State>,
  fiber: Fiber.Fiber<unknown, unknown>,
  key: string,
  cost: number,
  self: Effect.Effect<A, E, R>,
  mayWait: boolean
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const now = line.nowMillis(shell, fiber)
  const held = shell.states.get(key)
  const before = held ?? shell.algorithm.initial
  const [decision, after] = shell.algorithm.take(shell.config, cost, now, 0)(before)
  if (decision._tag === "Rejected") {
    return shell.line.maxWaiting === 0 || !mayWait
      ? rejections.reject(shell.rejections, fiber, now, decision.retryAfterMillis)
      : Effect.andThen(wait(shell, fiber, key, cost), self)
  }
  if (after !== before) {
    // Its turn is now, but those before it may not have woken up yet.
    if (mayWait && shell.lines.has(key)) return Effect.andThen(wait(shell, fiber, key, cost), self)
    if (!keep(shell, key, held, after, now)) return rejectForRoom(shell, fiber, now)
  }
  shell.counters.admitted++
  return self
}

/** Keeps what a call left behind; `false` when there is no room for it and the call must not run. */
const keep = <Config, State>(
  shell: Shell<Config, State>,
  key: string,
  held: State | undefined,
  after: State,
  now: number
): boolean => {
  if (held === undefined && !shell.states.hasRoom(now)) {
    if (shell.whenFull === "reject") return false
    shell.counters.letThrough++
    return true
  }
  shell.states.set(key, after)
  return true
}

const rejectForRoom = <Config, State>(
  shell: Shell<Config, State>,
  fiber: Fiber.Fiber<unknown, unknown>,
  now: number
): Effect.Effect<never, ServiceUnavailable> =>
  rejections.reject(shell.rejections, fiber, now, shell.states.freeAtMillis - now)

/** Gets in line and waits for the turn, or is rejected at once. */
const wait = <Config, State>(
  shell: Shell<Config, State>,
  fiber: Fiber.Fiber<unknown, unknown>,
  key: string,
  cost: number
): Effect.Effect<void, ServiceUnavailable> => {
  let inLine: line.Waiter<State> | undefined
  return admission.masked(
    Effect.suspend(() => (inLine === undefined ? Effect.void : line.wait(shell, inLine))),
    Effect.suspend((): Effect.Effect<admission.Taken<line.Waiter<State>>, ServiceUnavailable> => {
      const now = line.nowMillis(shell, fiber)
      const held = shell.states.get(key)
      const before = held ?? shell.algorithm.initial
      const patience = patienceMillis(shell, fiber)
      const [decision, after] = shell.algorithm.take(shell.config, cost, now, patience)(before)
      if (decision._tag === "Rejected") {
        return rejections.reject(shell.rejections, fiber, now, decision.retryAfterMillis)
      }
      if (!keep(shell, key, held, after, now)) return rejectForRoom(shell, fiber, now)
      inLine = line.join(shell, key, before, after, now, decision.waitMillis)
      return Effect.succeed({ permit: inLine, announce: undefined })
    }),
    (waiter, exit) => line.leave(shell, fiber, waiter, Exit.isSuccess(exit))
  )
}

const patienceMillis = <Config, State>(
  shell: Shell<Config, State>,
  fiber: Fiber.Fiber<unknown, unknown>
): number => {
  const { maxWaiting, maxWaitMillis } = shell.line
  if (shell.counters.waiting >= maxWaiting) return 0
  const left = shell.remainingMillis(fiber)
  return left === undefined ? maxWaitMillis : Math.min(maxWaitMillis, left - leastMillis)
}

const peek = <Config, State>(
  shell: Shell<Config, State>,
  fiber: Fiber.Fiber<unknown, unknown>,
  key: string,
  cost: number
): Found => {
  const { algorithm, config, states } = shell
  const now = line.nowMillis(shell, fiber)
  const held = states.get(key)
  const state = held ?? algorithm.initial
  const [decision, after] = algorithm.take(config, cost, now, 0)(state)
  if (held === undefined && shell.whenFull === "reject" && !states.hasRoom(now)) {
    const resetAfterMillis = states.freeAtMillis - now
    // Of what is free and of what is too much there is nothing to wait for.
    const retryAfterMillis = decision._tag === "Rejected" ? undefined : after === state ? 0 : resetAfterMillis
    return { remaining: 0, retryAfterMillis, resetAfterMillis }
  }
  return {
    remaining: algorithm.remaining(config, now)(state),
    retryAfterMillis: decision._tag === "Admitted" ? 0 : decision.retryAfterMillis,
    resetAfterMillis: Math.max(0, algorithm.freeAtMillis(config)(state) - now)
  }
}

const refund = <Config, State>(
  shell: Shell<Config, State>,
  fiber: Fiber.Fiber<unknown, unknown>,
  key: string,
  cost: number
): void => {
  const held = shell.states.get(key)
  if (held === undefined) return
  shell.states.set(key, shell.algorithm.refund(shell.config, cost, line.nowMillis(shell, fiber))(held))
}
