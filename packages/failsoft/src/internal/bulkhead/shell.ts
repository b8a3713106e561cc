/**
 * The shell around the rules of a bulkhead: takes a call through its permits and its queue, counts, wakes who waits.
 *
 * Whatever changes the permits notes it in the same turn in what the call holds, and the end of the call gives back what
 * is noted. So neither an interruption nor a yield finds a permit that nobody would give back.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Metrics from "../../Metrics.ts"
import type { ServiceUnavailable } from "../../ServiceUnavailable.ts"
import * as Permits from "../../state/Permits.ts"
import * as admission from "../admission.ts"
import { leastMillis, monotonicMillis } from "../clock.ts"
import * as rejections from "../rejections.ts"

/** What one bulkhead works with, whatever its keys. */
export interface Shell {
  readonly name: string
  readonly enabled: boolean
  limit: number
  queue: number
  queueTimeoutMillis: number
  priorities: number
  /** What remains of the caller's deadline, if there is one. */
  readonly leftMillis: (fiber: Fiber.Fiber<unknown, unknown>) => number | undefined
  readonly rejections: rejections.Rejections
  readonly counts: { admitted: number; rejected: number; timedOut: number; interrupted: number }
  readonly waits: { count: number; sumMillis: number; maxMillis: number }
  /** The same waits, as metrics have them. */
  readonly waitTimes: Metrics.Histogram
}

/** The permits of one key, or of all calls where there are no keys. `close` is called when nobody has one any more. */
export interface Pool {
  readonly permits: Permits.Permits<Waiter>
  readonly close: (() => void) | undefined
}

/** How a call goes in. */
export interface Entry {
  /** A whole number from 0; what is above the levels that there are counts as the highest. */
  readonly priority: number
  readonly mayWait: boolean
}

/** A call that waits. */
interface Waiter {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly sinceMillis: number
  readonly untilMillis: number
  /** Ends the wait, once it has begun. */
  wake: (() => void) | undefined
  timer: Fiber.Fiber<unknown> | undefined
}

/** What one call has of a pool: nothing, a permit, or a place in the queue. */
interface Held {
  pool: Pool | undefined
  place: Permits.Place<Waiter> | undefined
}

/** The pools of a keyed bulkhead, there while their keys need them. */
export interface Keys {
  readonly max: number
  readonly pools: Map<string, Pool>
}

/** A pool of which nobody has a permit yet. */
export const open = (shell: Shell, close?: () => void): Pool => ({ permits: Permits.make(shell), close })

/** Runs a call once it has a permit. */
export const execute = <A, E, R>(
  shell: Shell,
  pool: Pool,
  self: Effect.Effect<A, E, R>,
  entry: Entry
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  Effect.withFiber((fiber) => {
    // What is rejected here has taken nothing, so it needs no end at which to give it back: half of what it would cost.
    if (!pool.permits.isOpenTo(levelOf(shell, entry), entry.mayWait)) return turnAway(shell, fiber)
    const held: Held = { pool: undefined, place: undefined }
    return admission.held(
      () => enter(shell, pool, held, fiber, self, entry),
      () => giveBack(shell, held)
    )
  })

/** Runs a call once it has a permit of a key. The pool may come and go until the call has something of it. */
export const executeKeyed = <A, E, R>(
  shell: Shell,
  keys: Keys,
  key: string,
  self: Effect.Effect<A, E, R>,
  entry: Entry
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  Effect.withFiber((fiber) => {
    if (keys.pools.get(key)?.permits.isOpenTo(levelOf(shell, entry), entry.mayWait) === false) {
      return turnAway(shell, fiber)
    }
    const held: Held = { pool: undefined, place: undefined }
    return admission.held(
      () => {
        const pool = poolOf(shell, keys, key)
        return pool === undefined ? turnAway(shell, fiber) : enter(shell, pool, held, fiber, self, entry)
      },
      () => giveBack(shell, held)
    )
  })

const poolOf = (shell: Shell, { max, pools }: Keys, key: string): Pool | undefined => {
  const present = pools.get(key)
  if (present !== undefined || pools.size >= max) return present
  const pool = open(shell, () => pools.delete(key))
  pools.set(key, pool)
  return pool
}

const enter = <A, E, R>(
  shell: Shell,
  pool: Pool,
  held: Held,
  fiber: Fiber.Fiber<unknown, unknown>,
  self: Effect.Effect<A, E, R>,
  entry: Entry
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  if (!pool.permits.take()) return queue(shell, pool, held, fiber, self, entry)
  shell.counts.admitted++
  held.pool = pool
  return self
}

/** What may change while calls run. */
export type Settings = Pick<Shell, "limit" | "queue" | "queueTimeoutMillis" | "priorities">

/** Goes on under other settings. Who waits keeps its place and its time, who runs its permit. */
export const reconfigure = (shell: Shell, pool: Pool, settings: Settings): void => {
  Object.assign(shell, settings)
  resize(shell, [pool], settings.limit)
}

/** Changes the limit of all pools, and of those that are opened later. */
export const resize = (shell: Shell, pools: Iterable<Pool>, limit: number): void => {
  shell.limit = limit
  for (const pool of pools) {
    pool.permits.resize(limit)
    handOver(shell, pool)
  }
}

/** Found out when the call runs: the levels may be others than when it was put together. */
const levelOf = ({ priorities }: Shell, { priority }: Entry): number => Math.min(priority, priorities - 1)

/** Waits for a permit, if there is a place and time to wait. */
const queue = <A, E, R>(
  shell: Shell,
  pool: Pool,
  held: Held,
  fiber: Fiber.Fiber<unknown, unknown>,
  self: Effect.Effect<A, E, R>,
  entry: Entry
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const leftMillis = shell.leftMillis(fiber) ?? Number.POSITIVE_INFINITY
  // Another call may have taken the last permit since this one was let through.
  if (!entry.mayWait || leftMillis < leastMillis) return turnAway(shell, fiber)
  const priority = levelOf(shell, entry)
  const displaced = pool.permits.displaceable(priority)
  if (displaced !== undefined) leave(shell, pool, displaced, "rejected")
  const nowMillis = monotonicMillis(fiber)
  const untilMillis = nowMillis + Math.min(leftMillis, shell.queueTimeoutMillis)
  const waiter: Waiter = { fiber, sinceMillis: nowMillis, untilMillis, wake: undefined, timer: undefined }
  const place = pool.permits.join(waiter, priority, displaced !== undefined)
  if (place === undefined) return turnAway(shell, fiber)
  held.pool = pool
  held.place = place
  return Effect.flatMap(wait(shell, pool, place), (): Effect.Effect<A, E | ServiceUnavailable, R> => {
    stopTimer(waiter)
    return place.state === "admitted"
      ? self
      : rejections.reject(shell.rejections, fiber, monotonicMillis(fiber), undefined)
  })
}

/** Waits until the place is no longer waiting, which may be so before this begins. */
const wait = (shell: Shell, pool: Pool, place: Permits.Place<Waiter>): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (place.state !== "waiting") return resume(Effect.void)
    const { waiter } = place
    const { fiber, untilMillis } = waiter
    waiter.wake = () => resume(Effect.void)
    if (untilMillis === Number.POSITIVE_INFINITY) return
    const timer = Effect.andThen(
      Effect.sleep(Duration.millis(untilMillis - monotonicMillis(fiber))),
      Effect.sync(() => leave(shell, pool, place, "timedOut"))
    )
    // A fiber of the waiter's own, and not a race: whether a permit or the time came first is for the place to say.
    waiter.timer = Effect.runForkWith(fiber.context)(timer)
  })

const stopTimer = ({ timer }: Waiter): void => timer?.interruptUnsafe()

/** Gives back what a call has at its end, wherever it was on its way. */
const giveBack = (shell: Shell, { place, pool }: Held): undefined => {
  if (pool === undefined) return
  if (place !== undefined) {
    stopTimer(place.waiter)
    if (leave(shell, pool, place, "interrupted") || place.state === "left") return
  }
  pool.permits.release()
  if (pool.permits.queued > 0) handOver(shell, pool)
  if (pool.close !== undefined && pool.permits.inFlight === 0) pool.close()
}

/** Gives free permits to those who wait for them, in their order, before anyone else can come. */
const handOver = (shell: Shell, pool: Pool): void => {
  const { permits } = pool
  for (let place = permits.next(); place !== undefined; place = permits.next()) {
    const nowMillis = monotonicMillis(place.waiter.fiber)
    // Its time may be over though its timer has not come round yet.
    if (nowMillis >= place.waiter.untilMillis) {
      leave(shell, pool, place, "timedOut")
    } else {
      permits.admit(place)
      shell.counts.admitted++
      endWait(shell, place.waiter, nowMillis)
    }
  }
}

/** Takes a place out of the queue without a permit, and says whether it was still there. */
const leave = (
  shell: Shell,
  { permits }: Pool,
  place: Permits.Place<Waiter>,
  because: "rejected" | "timedOut" | "interrupted"
): boolean => {
  if (!permits.leave(place)) return false
  shell.counts[because]++
  endWait(shell, place.waiter, monotonicMillis(place.waiter.fiber))
  return true
}

const endWait = (
  { waitTimes, waits }: Shell,
  { fiber, sinceMillis, wake }: Waiter,
  nowMillis: number
): void => {
  const waitedMillis = nowMillis - sinceMillis
  waits.count++
  waits.sumMillis += waitedMillis
  waits.maxMillis = Math.max(waits.maxMillis, waitedMillis)
  Metrics.record(waitTimes, waitedMillis)
  // Not at once: the waiter would run inside the call that made room for it, and the one after it inside that one.
  if (wake !== undefined) fiber.currentDispatcher.scheduleTask(wake, 0)
}

const turnAway = (
  shell: Shell,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<never, ServiceUnavailable> => {
  shell.counts.rejected++
  return rejections.reject(shell.rejections, fiber, monotonicMillis(fiber), undefined)
}
