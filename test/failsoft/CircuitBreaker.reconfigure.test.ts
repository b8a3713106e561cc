import { describe, expect, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker } from "failsoft"

const { consecutive, count, failureRate, slowCallRate, time } = CircuitBreaker

const fail = (breaker: CircuitBreaker.CircuitBreaker, times = 1) =>
  Effect.replicateEffect(Effect.exit(breaker.execute(Effect.fail("down"))), times)

const succeed = (breaker: CircuitBreaker.CircuitBreaker, times = 1) =>
  Effect.replicateEffect(Effect.exit(breaker.execute(Effect.void)), times)

const stateOf = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.snapshot, ({ state }) => state)

const begin = <A, E>(call: Effect.Effect<A, E>) => Effect.forkChild(call, { startImmediately: true })

const make = (given: Omit<CircuitBreaker.Options, "name"> = {}) =>
  CircuitBreaker.make({ name: "billing", ...given })

describe("an open circuit under new options", () => {
  it.effect("stays open until it was due, and the next opening lasts as long as is said now", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ trip: consecutive(1), openDuration: "10 seconds" })
      yield* fail(breaker)
      yield* TestClock.adjust("4 seconds")
      yield* breaker.reconfigure({ trip: consecutive(3), openDuration: "30 seconds" })
      const { counts, halfOpenIn, state } = yield* breaker.snapshot
      expect([state, halfOpenIn, counts.failed]).toEqual(["open", Duration.seconds(6), 1])
      yield* TestClock.adjust("5999 millis")
      expect(yield* stateOf(breaker)).toBe("open")
      yield* TestClock.adjust("1 millis")
      yield* fail(breaker)
      expect((yield* breaker.snapshot).halfOpenIn).toEqual(Duration.seconds(30))
    })
  )

  it.effect("does not open by being told what would have opened it", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ trip: consecutive(5) })
      yield* fail(breaker, 4)
      yield* breaker.reconfigure({ trip: consecutive(2) })
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* fail(breaker)
      expect(yield* stateOf(breaker)).toBe("open")
    })
  )
})

describe("a half-open circuit under new options", () => {
  it.effect("goes on with the probe that runs and with those that succeeded", () =>
    Effect.gen(function* () {
      const breaker = yield* make({
        trip: consecutive(1),
        openDuration: "1 second",
        halfOpen: { probes: 1, successes: 3 }
      })
      yield* fail(breaker)
      yield* TestClock.adjust("1 second")
      yield* succeed(breaker)
      const answer = yield* Deferred.make<string>()
      const probe = yield* begin(breaker.execute(Deferred.await(answer)))
      yield* breaker.reconfigure({ trip: consecutive(1), halfOpen: { probes: 2, successes: 2 } })
      expect(yield* stateOf(breaker)).toBe("half_open")
      // There is a second slot now, and no third.
      const second = yield* begin(breaker.execute(Effect.never))
      expect((yield* Effect.flip(breaker.execute(Effect.void))).reason._tag).toBe("CircuitOpen")
      yield* Deferred.succeed(answer, "answer")
      expect(yield* Fiber.join(probe)).toBe("answer")
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* Fiber.interrupt(second)
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("takes a slot back from a probe that is too old by what is said now", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ trip: consecutive(1), openDuration: "1 second" })
      yield* fail(breaker)
      yield* TestClock.adjust("1 second")
      const hung = yield* begin(breaker.execute(Effect.never))
      yield* TestClock.adjust("5 seconds")
      yield* breaker.reconfigure({ trip: consecutive(1), halfOpen: { successes: 1, maxWait: "5 seconds" } })
      yield* succeed(breaker)
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* Fiber.interrupt(hung)
    })
  )
})

describe("a closed circuit under new options", () => {
  it.effect("keeps its failures in a row, and a call under way adds to them", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ trip: consecutive(5) })
      yield* fail(breaker, 2)
      const failure = yield* Deferred.make<never, string>()
      const call = yield* begin(Effect.exit(breaker.execute(Deferred.await(failure))))
      yield* breaker.reconfigure({ trip: consecutive(3) })
      yield* Deferred.fail(failure, "down")
      yield* Fiber.join(call)
      const { counts, failuresInARow, state } = yield* breaker.snapshot
      expect([state, failuresInARow, counts.failed]).toEqual(["open", 3, 3])
    })
  )

  it.effect("judges the calls in its window by a new threshold", () =>
    Effect.gen(function* () {
      const rate = { minimumCalls: 4, window: count(10) }
      const breaker = yield* make({ trip: failureRate({ ...rate, threshold: 0.9 }) })
      yield* succeed(breaker, 2)
      yield* fail(breaker, 2)
      yield* breaker.reconfigure({ trip: failureRate({ ...rate, threshold: 0.5 }) })
      const [seen] = (yield* breaker.snapshot).rates
      expect(seen).toEqual({ _tag: "FailureRate", rate: 0.5, threshold: 0.5, calls: 4, minimumCalls: 4 })
      yield* fail(breaker)
      expect(yield* stateOf(breaker)).toBe("open")
    })
  )

  it.effect.each([
    ["another size", failureRate({ threshold: 1, minimumCalls: 1, window: count(11) })],
    ["another kind", failureRate({ threshold: 1, minimumCalls: 1, window: time("10 seconds") })],
    ["slow calls", slowCallRate({ threshold: 1, slowerThan: "1 second", window: count(10) })]
  ] as const)("begins a window of %s anew", ([, trip]) =>
    Effect.gen(function* () {
      const breaker = yield* make({ trip: failureRate({ threshold: 1, window: count(10) }) })
      yield* succeed(breaker, 3)
      yield* breaker.reconfigure({ trip })
      expect((yield* breaker.snapshot).rates.map(({ calls }) => calls)).toEqual([0])
      yield* succeed(breaker)
      expect((yield* breaker.snapshot).rates.map(({ calls }) => calls)).toEqual([1])
    })
  )

  it.effect("tells windows of time and of slow calls apart by all that they are made of", () =>
    Effect.gen(function* () {
      const of = (duration: Duration.Input, buckets: number, slowerThan: Duration.Input) =>
        CircuitBreaker.any(
          failureRate({ threshold: 1, window: time(duration, buckets) }),
          slowCallRate({ threshold: 1, slowerThan, window: count(10) })
        )
      const breaker = yield* make({ trip: of("1 minute", 10, "1 second") })
      yield* succeed(breaker, 2)
      const calls = Effect.map(breaker.snapshot, ({ rates }) => rates.map((rate) => rate.calls))
      yield* breaker.reconfigure({ trip: of("1 minute", 10, "1 second") })
      expect(yield* calls).toEqual([2, 2])
      yield* breaker.reconfigure({ trip: of("1 minute", 5, "1 second") })
      expect(yield* calls).toEqual([0, 2])
      yield* succeed(breaker)
      yield* breaker.reconfigure({ trip: of("2 minutes", 5, "2 seconds") })
      expect(yield* calls).toEqual([0, 0])
    })
  )

  it.effect("gives one window to one rule", () =>
    Effect.gen(function* () {
      const rule = failureRate({ threshold: 1, minimumCalls: 5, window: count(5) })
      const breaker = yield* make({ trip: rule })
      yield* succeed(breaker)
      yield* breaker.reconfigure({ trip: CircuitBreaker.any(rule, rule) })
      yield* succeed(breaker)
      expect((yield* breaker.snapshot).rates.map(({ calls }) => calls)).toEqual([2, 1])
    })
  )

  it.effect("takes a call that was admitted untimed for a quick one, and times those after it", () =>
    Effect.gen(function* () {
      const breaker = yield* make({ trip: consecutive(1) })
      const early = yield* begin(breaker.execute(Effect.sleep("10 seconds")))
      const slow = { threshold: 1, minimumCalls: 1, slowerThan: "1 second", window: count(5) } as const
      yield* breaker.reconfigure({ trip: slowCallRate(slow) })
      const late = yield* begin(breaker.execute(Effect.sleep("20 seconds")))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(early)
      expect(yield* stateOf(breaker)).toBe("closed")
      expect((yield* breaker.snapshot).rates[0]?.rate).toBe(0)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(late)
      expect((yield* breaker.snapshot).rates[0]?.rate).toBe(0.5)
    })
  )

  it.effect("lets all calls through at once when its ramp is taken away", () =>
    Effect.gen(function* () {
      const breaker = yield* make({
        trip: consecutive(1),
        openDuration: "1 second",
        halfOpen: { successes: 1 },
        ramp: { duration: "1 hour", from: 1e-9 }
      })
      yield* fail(breaker)
      yield* TestClock.adjust("1 second")
      yield* succeed(breaker)
      expect((yield* breaker.snapshot).ramp).toBe(1e-9)
      yield* breaker.reconfigure({ trip: consecutive(1) })
      expect((yield* breaker.snapshot).ramp).toBeUndefined()
      yield* succeed(breaker, 50)
      expect((yield* breaker.snapshot).counts).toMatchObject({ successful: 51, rejected: 0 })
    })
  )
})

it.effect("an override and the counts stay, and what is left out gets its default", () =>
  Effect.gen(function* () {
    const breaker = yield* make({ trip: consecutive(50) })
    yield* fail(breaker, 3)
    yield* succeed(breaker)
    yield* breaker.override("closed", { reason: "drill", ttl: "1 minute" })
    yield* breaker.reconfigure({})
    const { counts, override } = yield* breaker.snapshot
    expect([counts.failed, counts.successful, override?.mode]).toEqual([3, 1, "closed"])
    yield* TestClock.adjust("1 minute")
    yield* fail(breaker, 5)
    expect(yield* stateOf(breaker)).toBe("open")
    expect((yield* breaker.snapshot).halfOpenIn).toEqual(Duration.seconds(60))
  })
)

it.effect("a wrong option is named, and nothing changes", () =>
  Effect.gen(function* () {
    const breaker = yield* make({ trip: consecutive(2) })
    const error = yield* Effect.flip(breaker.reconfigure({ trip: consecutive(9), halfOpen: { probes: 0 } }))
    expect(error.message).toBe(
      `billing: option "halfOpen.probes" is 0, allowed is a whole number from 1 to 1000`
    )
    yield* fail(breaker, 2)
    expect(yield* stateOf(breaker)).toBe("open")
  })
)

it.effect("a breaker that is switched off has nothing to reconfigure", () =>
  Effect.gen(function* () {
    const breaker = yield* make({ enabled: false })
    expect((yield* Effect.flip(breaker.reconfigure({}))).option).toBe("enabled")
  })
)
