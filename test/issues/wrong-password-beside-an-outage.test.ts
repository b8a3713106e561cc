/**
 * Calls that were made at once fail with several errors at once. Where the first of them was an outage it was answered by a fallback
 * or a stale value, and the wrong password beside it was never seen.
 */
import { describe, expect, it } from "@effect/vitest"
import { Data, Effect, Exit, Option } from "effect"
import { TestClock } from "effect/testing"
import { Fallback, Misconfigured, ServiceUnavailable, StaleCache, UnavailableReason } from "failsoft"

class NotFound extends Data.TaggedError("NotFound") {}

const away = new ServiceUnavailable({ service: "index", reason: UnavailableReason.NotConnected() })
const otherAway = new ServiceUnavailable({ service: "graph", reason: UnavailableReason.CircuitOpen() })
const wrong = new Misconfigured({ service: "graph", problem: "the password is wrong" })

type Err = ServiceUnavailable | Misconfigured | NotFound

/** Asks two at once; each fails, and neither can be stopped by the other. */
const both = (one: Err, other: Err): Effect.Effect<string, Err> => {
  const fail = (error: Err) => Effect.uninterruptible(Effect.andThen(Effect.yieldNow, Effect.fail(error)))
  return Effect.as(Effect.all([fail(one), fail(other)], { concurrency: 2 }), "found")
}

const errorsOf = <A, E>(exit: Exit.Exit<A, E>) =>
  Exit.isFailure(exit)
    ? exit.cause.reasons.map((reason) => (reason._tag === "Fail" ? reason.error : reason))
    : []

describe("a fallback", () => {
  it.effect.each([
    [away, wrong],
    [wrong, away]
  ] as const)("answers no wrong password that comes with an outage: %s, %s", ([one, other]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(both(one, other).pipe(Fallback.withAnswer(Fallback.value("hidden"))))
      // The outage has left the type of the call, and so its errors.
      expect(errorsOf(exit)).toEqual([wrong])
    })
  )

  it.effect("answers several outages at once", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const answer = Fallback.effect(({ service }) => Effect.sync(() => told.push(service)))
      expect(yield* both(away, otherAway).pipe(Fallback.withAnswer(answer))).toBe(1)
      expect(told).toEqual(["index"])
    })
  )

  it.effect("leaves the errors of a call without an outage as they were", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        both(new NotFound(), wrong).pipe(Fallback.withAnswer(Fallback.value("hidden")))
      )
      expect(errorsOf(exit)).toEqual([new NotFound(), wrong])
    })
  )
})

describe("a stale cache", () => {
  const given = {
    name: "search",
    timeToLive: "1 minute",
    jitter: 0,
    staleIfError: "1 hour",
    isUnavailable: () => true,
    negative: { timeToLive: "1 minute", when: (error: Err) => error instanceof NotFound }
  } as const

  it.effect.each([
    [away, wrong],
    [wrong, away]
  ] as const)("hides no wrong password that comes with an outage: %s, %s", ([one, other]) =>
    Effect.gen(function* () {
      let isUp = true
      const search = yield* StaleCache.make<string, string, Err>({
        ...given,
        lookup: () => Effect.suspend(() => (isUp ? Effect.succeed("found") : both(one, other)))
      })
      yield* search.get("a")
      isUp = false
      yield* TestClock.adjust("2 minutes")
      expect(errorsOf(yield* Effect.exit(search.get("a")))).toEqual([one, other])
      expect(Option.isSome(yield* search.peek("a"))).toBe(true)
    })
  )

  it.effect("stands in for several outages at once, and takes no half of an answer for one", () =>
    Effect.gen(function* () {
      let found: Effect.Effect<string, Err> = Effect.succeed("found")
      const search = yield* StaleCache.make<string, string, Err>({
        ...given,
        pauseAfterFailure: "1 millis",
        lookup: () => Effect.suspend(() => found)
      })
      yield* search.get("a")
      yield* TestClock.adjust("2 minutes")
      found = both(away, otherAway)
      expect((yield* search.getServed("a")).source).toBe("stale")
      yield* TestClock.adjust("1 millis")
      found = both(new NotFound(), away)
      expect((yield* search.getServed("a")).source).toBe("stale")
      expect((yield* search.snapshot).failures).toBe(2)
    })
  )
})
