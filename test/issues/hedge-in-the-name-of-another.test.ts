/**
 * Hedges of many calls wait by one timer. The attempt that followed ran where the timer rang: with the `AsyncLocalStorage` of whoever
 * had called first, so that tracers and loggers which go by that took it for a part of somebody else's request.
 */
import { AsyncLocalStorage } from "node:async_hooks"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Deferred, type Duration, Effect, Fiber, Scheduler } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, Hedge } from "failsoft"

const user = new AsyncLocalStorage<string>()

/** Runs an effect with a name in the storage, as the handler of a request does. */
const as = <A, E>(name: string, effect: Effect.Effect<A, E>) =>
  Effect.flatMap(Effect.context(), (context) =>
    Effect.sync(() => user.run(name, () => Effect.runForkWith(context)(effect)))
  )

const hedged = (delay: Duration.Input, hedges: number) =>
  Effect.gen(function* () {
    const hedge = yield* Hedge.make({ name: "search", delay, hedges })
    const seen: Array<string> = []
    const call = (name: string) =>
      Effect.suspend(() => {
        seen.push(`${name} as ${user.getStore()}`)
        return Effect.never
      })
    const calls = yield* Effect.forEach(["ada", "bob"], (name) =>
      as(name, hedge.executeWith(call(name), { idempotent: true }))
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.interruptAll(calls)
    return seen.toSorted()
  })

describe("each attempt has the AsyncLocalStorage of its own caller", () => {
  it.effect.each([
    ["0 millis", 1],
    ["10 millis", 1],
    ["10 millis", 2]
  ] as const)("after %s, of %s hedges", ([delay, hedges]) =>
    Effect.gen(function* () {
      const names = ["ada", "bob"].flatMap((name) => Array(hedges + 1).fill(`${name} as ${name}`))
      expect(yield* hedged(delay, hedges)).toEqual(names)
    })
  )

  it.effect("and so has what is done when it is given up", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const note = (what: string) => Effect.sync(() => seen.push(`${what} as ${user.getStore()}`))
      const attempt = Deadline.attemptTimeout("search", "10 millis")
      yield* Effect.forEach(["ada", "bob"], (name) =>
        as(
          name,
          attempt(Effect.onInterrupt(Effect.never, () => note(name))).pipe(Effect.catch(() => note(name)))
        )
      )
      yield* TestClock.adjust("10 millis")
      expect(seen).toEqual(["ada as ada", "ada as ada", "bob as bob", "bob as bob"])
    })
  )
})

/** Has one fiber wait for its turn when it is about to go on. */
class Late extends Scheduler.MixedScheduler {
  late: Fiber.Fiber<unknown, unknown> | undefined
  override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    if (fiber !== this.late) return super.shouldYield(fiber)
    this.late = undefined
    return true
  }
}

describe("a caller that is on its way to hedge its call", () => {
  /** Two calls that are due at once. The hedge of the second does something while the caller of the first waits for its turn. */
  const play = (meanwhile: (first: Fiber.Fiber<unknown, unknown>) => void) =>
    Effect.gen(function* () {
      const hedge = yield* Hedge.make({ name: "search", delay: "10 millis" })
      const answer = yield* Deferred.make<string>()
      const late = new Late()
      let attempts = 0
      let interrupted = 0
      const call = Effect.suspend(() => {
        attempts++
        return Effect.onInterrupt(Deferred.await(answer), () => Effect.sync(() => interrupted++))
      })
      const first = yield* hedge
        .executeWith(call, { idempotent: true })
        .pipe(Effect.provideService(Scheduler.Scheduler, late), Effect.forkChild({ startImmediately: true }))
      const second = yield* hedge
        .executeWith(Effect.never, {
          idempotent: true,
          hedged: Effect.sync(() => {
            meanwhile(first)
            Deferred.doneUnsafe(answer, Effect.succeed("in time"))
          })
        })
        .pipe(Effect.forkChild({ startImmediately: true }))
      late.late = first
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(second)
      return { exit: yield* Fiber.await(first), attempts, interrupted }
    })

  it.effect("has the answer that comes meanwhile, and makes no hedge", () =>
    Effect.gen(function* () {
      const { attempts, exit } = yield* play(() => {})
      expect([exit, attempts]).toEqual([expect.objectContaining({ value: "in time" }), 1])
    })
  )

  it.effect("may be interrupted meanwhile, and takes its attempt with it", () =>
    Effect.gen(function* () {
      const played = yield* play((first) => first.interruptUnsafe())
      expect(played).toMatchObject({ exit: { _tag: "Failure" }, attempts: 1, interrupted: 1 })
    })
  )

  it.effect("takes its attempts with it also where the wait was over at once", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const hasty: Clock.Clock = {
        ...clock,
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        sleep: () => Effect.void
      }
      const hedge = yield* Hedge.make({ name: "search", delay: "10 millis" })
      let interrupted = 0
      const call = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      const caller = yield* hedge
        .executeWith(call, { idempotent: true })
        .pipe(Effect.provideService(Clock.Clock, hasty), Effect.forkChild({ startImmediately: true }))
      yield* Fiber.interrupt(caller)
      expect(interrupted).toBe(2)
    })
  )
})
