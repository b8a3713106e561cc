/** The prober of an opening waited for its probes as long as was said when the circuit opened, whatever had been said since. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker } from "failsoft"

it.effect("a probe is given up after the time that is said when it begins", () =>
  Effect.gen(function* () {
    const trip = CircuitBreaker.consecutive(1)
    const breaker = yield* CircuitBreaker.make({
      name: "billing",
      trip,
      openDuration: "10 seconds",
      probe: { effect: Effect.never, every: "1 second" }
    })
    yield* Effect.exit(breaker.execute(Effect.fail("down")))
    yield* breaker.reconfigure({ trip, openDuration: "10 seconds", halfOpen: { maxWait: "5 seconds" } })
    yield* TestClock.adjust("15 seconds")
    expect(yield* breaker.snapshot).toMatchObject({ state: "open", counts: { failed: 2 } })
  })
)
