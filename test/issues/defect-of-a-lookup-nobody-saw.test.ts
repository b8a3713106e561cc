/**
 * A lookup that died was reported only where a value was held, and only if no other refresh had failed in the second before. Where
 * its caller had left by a deadline, or other refreshes failed all the time, nobody ever heard of the bug.
 */
import { expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Logger, References } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, ServiceUnavailable, StaleCache, UnavailableReason } from "failsoft"
import { asked } from "../failsoft/asked.ts"

const away = new ServiceUnavailable({ service: "prices", reason: UnavailableReason.NotConnected() })

const setUp = Effect.gen(function* () {
  const { lookup, questions } = asked<number, ServiceUnavailable>()
  const prices = yield* StaleCache.make({
    name: "prices",
    lookup,
    timeToLive: "1 minute",
    jitter: 0,
    staleWhileRevalidate: "1 hour"
  })
  const refresh = (key: string, exit: Exit.Exit<number, ServiceUnavailable>) =>
    Effect.gen(function* () {
      yield* prices.get(key)
      yield* Effect.yieldNow
      yield* questions.at(-1)?.answer(exit) ?? Effect.void
    })
  return { prices, questions, refresh }
})

const hearing = <A, E, R>(test: (defects: ReadonlyArray<unknown>) => Effect.Effect<A, E, R>) => {
  const defects: Array<unknown> = []
  const logger = Logger.make(({ cause }) => {
    if (Cause.hasDies(cause)) defects.push(Cause.squash(cause))
  })
  return test(defects).pipe(
    Effect.provide(Logger.layer([logger])),
    Effect.provideService(References.UnhandledLogLevel, "Error")
  )
}

it.effect("a defect is reported though another refresh has just failed, and at most once a second", () =>
  hearing((defects) =>
    Effect.gen(function* () {
      const { prices, refresh } = yield* setUp
      for (const key of ["a", "b", "c", "d"]) yield* prices.set(key, 1)
      yield* TestClock.adjust("1 minute")
      yield* refresh("a", Exit.fail(away))
      yield* refresh("b", Exit.die("bug"))
      expect(defects).toEqual(["bug"])
      yield* TestClock.adjust("999 millis")
      yield* refresh("c", Exit.die("within the second"))
      expect(defects).toEqual(["bug"])
      yield* TestClock.adjust("1 millis")
      yield* refresh("d", Exit.die("after it"))
      expect(defects).toEqual(["bug", "after it"])
    })
  )
)

it.effect("a defect is reported where its callers have left, and not where they get it", () =>
  hearing((defects) =>
    Effect.gen(function* () {
      const { prices, questions } = yield* setUp
      const patient = yield* Effect.forkChild(prices.get("a"), { startImmediately: true })
      yield* questions[0]?.answer(Exit.die("seen")) ?? Effect.void
      expect(patient.pollUnsafe()).toEqual(Exit.die("seen"))
      expect(defects).toEqual([])

      yield* Effect.forkChild(prices.get("a").pipe(Deadline.within("1 second")), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* questions[1]?.answer(Exit.die("unseen")) ?? Effect.void
      expect(defects).toEqual(["unseen"])
    })
  )
)
