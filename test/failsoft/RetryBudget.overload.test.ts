/**
 * Why budgets are credited by successes: an overload that keeps itself alive.
 *
 * A dependency serves 30 calls a second and is offered 28. It stands still for a while; the calls that pile up time out, and
 * each is tried once more. What callers gave up is served all the same, as servers do, so an attempt that follows a timeout
 * is load on top. See Bronson et al., "Metastable Failures in Distributed Systems" (HotOS 2021).
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, Retry, RetryBudget } from "failsoft"

const offeredPerSecond = 28
const slots = 3
const serviceMillis = 100
const outage = { fromMillis: 20_000, toMillis: 23_000 }
const seconds = 120

/** Serves first come, first served; a call waits for its turn, and being given up does not take it out of the queue. */
const makeDependency = () => {
  const freeAt = Array.from({ length: slots }, () => 0)
  return Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const slot = freeAt.indexOf(Math.min(...freeAt))
    const from = Math.max(now, freeAt[slot] ?? 0)
    const stalled = from >= outage.fromMillis && from < outage.toMillis
    const endsAt = (stalled ? outage.toMillis : from) + serviceMillis
    freeAt[slot] = endsAt
    return Effect.sleep(endsAt - now)
  })
}

/** The share of calls that were answered, second by second. */
const play = (budget: RetryBudget.RetryBudget | undefined) =>
  Effect.gen(function* () {
    const dependency = makeDependency()
    const retry = yield* Retry.make({
      name: "billing",
      attempts: 2,
      schedule: Retry.exponential({ base: "100 millis", jitter: "none" }),
      budget
    })
    const call = dependency.pipe(Deadline.attemptTimeout("billing", "1 second"), retry.execute)
    const answered = Array.from({ length: seconds }, () => 0)
    const fibers: Array<Fiber.Fiber<unknown>> = []
    for (let number = 0; number < seconds * offeredPerSecond; number++) {
      const atMillis = Math.floor((number * 1000) / offeredPerSecond)
      yield* TestClock.setTime(atMillis)
      const second = Math.floor(atMillis / 1000)
      const counted = Effect.map(Effect.exit(call), (exit) => {
        if (Exit.isSuccess(exit)) answered[second] = (answered[second] ?? 0) + 1
      })
      fibers.push(yield* Effect.forkChild(counted, { startImmediately: true }))
    }
    yield* Fiber.interruptAll(fibers)
    return answered.map((count) => count / offeredPerSecond)
  })

const atFirst = (shares: ReadonlyArray<number>) => shares.slice(0, 20)
const atTheEnd = (shares: ReadonlyArray<number>) => shares.slice(100, -1)

describe("after an outage of three seconds, a dependency that is nearly at its limit", () => {
  it.effect("never answers again when each call is tried twice", () =>
    Effect.gen(function* () {
      const shares = yield* play(undefined)
      expect(new Set(atFirst(shares))).toEqual(new Set([1]))
      expect(new Set(atTheEnd(shares))).toEqual(new Set([0]))
    })
  )

  it.effect("never answers again when a tenth of the requests is tried twice", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "billing", credit: "request" })
      const shares = yield* play(budget)
      expect(new Set(atFirst(shares))).toEqual(new Set([1]))
      expect(new Set(atTheEnd(shares))).toEqual(new Set([0]))
    })
  )

  it.effect("recovers when a tenth of the successes is tried twice", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ name: "billing" })
      const shares = yield* play(budget)
      expect(new Set(atFirst(shares))).toEqual(new Set([1]))
      expect(shares.slice(25, 30)).toEqual([0, 0, 0, 0, 0])
      expect(new Set(atTheEnd(shares))).toEqual(new Set([1]))
    })
  )
})
