/** A round of the idle probe that found its slot taken was counted and told as a caller's rejected call. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker } from "failsoft"

it.effect("an idle probe that finds no room counts nothing", () =>
  Effect.gen(function* () {
    let probes = 0
    const breaker = yield* CircuitBreaker.make({
      name: "search",
      trip: CircuitBreaker.consecutive(1),
      openDuration: "10 seconds",
      halfOpen: { probes: 1, successes: 1, maxWait: "1 hour" },
      probe: { effect: Effect.sync(() => probes++).pipe(Effect.andThen(Effect.never)), every: "1 second" }
    })
    yield* Effect.ignore(breaker.execute(Effect.fail("refused")))
    yield* TestClock.adjust("10 seconds")
    expect(probes).toBe(1)
    yield* TestClock.adjust("30 seconds")

    const { counts } = yield* breaker.snapshot
    expect(counts.rejected).toBe(0)
    expect(probes).toBe(1)
  })
)

it.effect("callers rejected in the millisecond in which a probe fails are told when to come back", () =>
  Effect.gen(function* () {
    const breaker = yield* CircuitBreaker.make({
      name: "search",
      trip: CircuitBreaker.consecutive(1),
      openDuration: "10 seconds"
    })
    yield* Effect.ignore(breaker.execute(Effect.fail("refused")))
    yield* TestClock.adjust("10 seconds")
    const whileProbing = Effect.flip(breaker.execute(Effect.void))
    const probe = Effect.flatMap(whileProbing, () => Effect.fail("refused"))
    yield* Effect.ignore(breaker.execute(probe))

    const rejected = yield* Effect.flip(breaker.execute(Effect.void))
    expect(rejected.retryAfter).toBeDefined()
  })
)
