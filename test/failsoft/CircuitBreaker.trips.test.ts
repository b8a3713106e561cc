import { describe, expect, it } from "@effect/vitest"
import { type Duration, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, type PolicyEvent } from "failsoft"
import { hearing } from "./hearing.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

const breaking = (trip: CircuitBreaker.TripPolicy, given: Partial<CircuitBreaker.Options> = {}) =>
  CircuitBreaker.make({
    name: "billing",
    trip,
    openDuration: "1 second",
    halfOpen: { successes: 1 },
    ...given
  })

const stateOf = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.snapshot, ({ state }) => state)

const ratesOf = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.snapshot, ({ rates }) => rates)

/** Makes calls one after another, each of which takes its time. */
const calls = (
  breaker: CircuitBreaker.CircuitBreaker,
  ...made: ReadonlyArray<readonly [call: Effect.Effect<unknown, unknown>, takes: Duration.Input]>
) =>
  Effect.forEach(made, ([call, takes]) =>
    Effect.gen(function* () {
      const running = Effect.exit(breaker.execute(Effect.andThen(Effect.sleep(takes), call)))
      const fiber = yield* Effect.forkChild(running, { startImmediately: true })
      yield* TestClock.adjust(takes)
      yield* Fiber.join(fiber)
    })
  )

const good = [answer, 1] as const
const bad = [refused, 1] as const
const ignored = [Effect.interrupt, 1] as const

const openedIn = (events: ReadonlyArray<PolicyEvent.PolicyEvent>) =>
  events.flatMap((event) => (event._tag === "CircuitOpened" ? event.because : []))

describe("a failure rate", () => {
  const half = { threshold: 0.5, minimumCalls: 4 }

  it.effect("opens the circuit at its threshold, once there are enough calls", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(
        breaking(CircuitBreaker.failureRate({ ...half, window: CircuitBreaker.count(10) }))
      )
      yield* calls(breaker, bad, good, bad)
      expect(yield* stateOf(breaker)).toBe("closed")
      expect(yield* ratesOf(breaker)).toEqual([
        { _tag: "FailureRate", rate: 2 / 3, threshold: 0.5, calls: 3, minimumCalls: 4 }
      ])
      yield* calls(breaker, good)
      expect(yield* stateOf(breaker)).toBe("open")
      expect(openedIn(events)).toEqual([{ _tag: "FailureRate", rate: 0.5, threshold: 0.5, calls: 4 }])
      expect(yield* ratesOf(breaker)).toEqual([])
    })
  )

  it.effect("looks at the last calls only, and says what they came to", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(
        breaking(CircuitBreaker.failureRate({ ...half, window: CircuitBreaker.count(4) }))
      )
      yield* calls(breaker, good, good, good, bad, good, good)
      expect(yield* ratesOf(breaker)).toMatchObject([{ rate: 0.25, calls: 4 }])
      yield* calls(breaker, bad)
      expect(openedIn(events)).toEqual([{ _tag: "FailureRate", rate: 0.5, threshold: 0.5, calls: 4 }])
    })
  )

  it.effect("is not moved by what is ignored", () =>
    Effect.gen(function* () {
      const breaker = yield* breaking(
        CircuitBreaker.failureRate({ ...half, window: CircuitBreaker.count(10) })
      )
      yield* calls(breaker, bad, ignored, ignored, bad, ignored, bad)
      expect(yield* ratesOf(breaker)).toMatchObject([{ rate: 1, calls: 3 }])
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("opens nothing without a failure, however low the threshold", () =>
    Effect.gen(function* () {
      const breaker = yield* breaking(
        CircuitBreaker.failureRate({
          threshold: Number.MIN_VALUE,
          minimumCalls: 1,
          window: CircuitBreaker.count(5)
        })
      )
      yield* calls(breaker, good, good, good)
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("is forgotten with time, through an idle gap as well", () =>
    Effect.gen(function* () {
      const breaker = yield* breaking(
        CircuitBreaker.failureRate({ ...half, window: CircuitBreaker.time("10 seconds") })
      )
      yield* calls(breaker, bad, bad, bad)
      yield* TestClock.adjust("9 seconds")
      expect(yield* ratesOf(breaker)).toMatchObject([{ rate: 1, calls: 3 }])
      yield* TestClock.adjust("1 second")
      expect(yield* ratesOf(breaker)).toMatchObject([{ rate: undefined, calls: 0 }])
      yield* calls(breaker, bad, bad, bad)
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* calls(breaker, bad)
      expect(yield* stateOf(breaker)).toBe("open")
    })
  )

  it.effect("waits for ten calls unless it is told otherwise, or its window holds fewer", () =>
    Effect.gen(function* () {
      const minimumOf = (window: CircuitBreaker.Window) =>
        Effect.flatMap(breaking(CircuitBreaker.failureRate({ threshold: 1, window })), ratesOf)
      expect(yield* minimumOf(CircuitBreaker.time("1 minute"))).toMatchObject([{ minimumCalls: 10 }])
      expect(yield* minimumOf(CircuitBreaker.count(100))).toMatchObject([{ minimumCalls: 10 }])
      expect(yield* minimumOf(CircuitBreaker.count(7))).toMatchObject([{ minimumCalls: 7 }])
    })
  )
})

describe("a rate of slow calls", () => {
  const slow = [answer, "4 seconds"] as const
  const slowAt = (minimumCalls: number, given?: Partial<CircuitBreaker.Options>) =>
    hearing(
      breaking(
        CircuitBreaker.slowCallRate({
          threshold: 0.5,
          slowerThan: "4 seconds",
          minimumCalls,
          window: CircuitBreaker.count(5)
        }),
        given
      )
    )

  it.effect("counts a slow failure, and no call that took 1 ms less", () =>
    Effect.gen(function* () {
      const { made: breaker } = yield* slowAt(5)
      yield* calls(breaker, [answer, 3999], [refused, 3999], [refused, 4000], ignored)
      expect(yield* ratesOf(breaker)).toMatchObject([{ rate: 1 / 3, calls: 3 }])
    })
  )

  it.effect("has a slow probe open the circuit again, though it succeeded", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* slowAt(1)
      yield* calls(breaker, slow)
      yield* TestClock.adjust("1 second")
      yield* calls(breaker, slow)
      expect(yield* stateOf(breaker)).toBe("open")
      expect(openedIn(events).at(-1)).toEqual({ _tag: "ProbeFailed", slow: true })
      yield* TestClock.adjust("1 second")
      yield* calls(breaker, [answer, 3999])
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("takes time from the circuit's admission, on the monotonic clock", () =>
    Effect.gen(function* () {
      const { made: breaker } = yield* slowAt(5)
      const waiting = Effect.andThen(Effect.sleep("1 minute"), breaker.execute(answer))
      const fiber = yield* Effect.forkChild(waiting, { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      expect(yield* ratesOf(breaker)).toMatchObject([{ rate: 0, calls: 1 }])
    })
  )
})

describe("any of several rules", () => {
  const both = CircuitBreaker.any(
    CircuitBreaker.consecutive(3),
    CircuitBreaker.failureRate({
      threshold: 0.6,
      minimumCalls: 5,
      window: CircuitBreaker.time("1 minute", 6)
    }),
    CircuitBreaker.slowCallRate({
      threshold: 1,
      slowerThan: "1 second",
      minimumCalls: 2,
      window: CircuitBreaker.count(2)
    })
  )

  it.effect.each([
    [[bad, bad, bad], { _tag: "Consecutive", failures: 3, threshold: 3 }],
    [[bad, bad, good, good, bad], { _tag: "FailureRate", rate: 0.6, threshold: 0.6, calls: 5 }],
    [
      [
        [answer, "1 second"],
        [answer, "2 seconds"]
      ],
      { _tag: "SlowCallRate", rate: 1, threshold: 1, calls: 2 }
    ]
  ] as const)("opens the circuit, and it says which: %#", ([made, because]) =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(breaking(both))
      yield* calls(breaker, ...made)
      expect(yield* stateOf(breaker)).toBe("open")
      expect(openedIn(events)).toEqual([because])
    })
  )

  it.effect("shows each rate while the circuit is closed", () =>
    Effect.gen(function* () {
      const breaker = yield* breaking(both)
      yield* calls(breaker, bad, [answer, "1 second"])
      expect(yield* ratesOf(breaker)).toEqual([
        { _tag: "FailureRate", rate: 0.5, threshold: 0.6, calls: 2, minimumCalls: 5 },
        { _tag: "SlowCallRate", rate: 0.5, threshold: 1, calls: 2, minimumCalls: 2 }
      ])
    })
  )
})

describe("a breaker that opens by failures in a row alone", () => {
  it.effect("has no rates to show", () =>
    Effect.gen(function* () {
      const breaker = yield* breaking(CircuitBreaker.consecutive(2))
      yield* calls(breaker, bad)
      expect(yield* breaker.snapshot).toMatchObject({ failuresInARow: 1, rates: [] })
    })
  )
})
