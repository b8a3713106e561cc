/**
 * Clocks jump: someone sets the wall clock, a machine sleeps. The circuit goes by monotonic time, so the first changes
 * nothing but what reports say, and the second is a long idle gap.
 */
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, ServiceUnavailable } from "failsoft"
import { hearing } from "./hearing.ts"
import { World } from "./interruption.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

const ping = (world: World, pings: Array<number>) =>
  Effect.sync(() => {
    pings.push(world.clock.nowMillis)
  })

/** What a breaker does in a life that visits everything that goes by time; `jump` is done before step number `at`. */
const life = (at: number, jump: (world: World) => void) => {
  const world = new World()
  const seen: Array<unknown> = []
  const pings: Array<number> = []
  const make = (given: Partial<CircuitBreaker.Options>) =>
    world.value(
      hearing(CircuitBreaker.make({ name: "billing", ...given })).pipe(
        Effect.provideService(Scope.Scope, world.value(Scope.make()))
      )
    )
  const window = CircuitBreaker.time("10 seconds")
  const asked = make({
    trip: CircuitBreaker.any(
      CircuitBreaker.failureRate({ threshold: 0.5, minimumCalls: 4, window }),
      CircuitBreaker.slowCallRate({ threshold: 1, slowerThan: "2 seconds", minimumCalls: 2, window })
    ),
    openDuration: Schedule.exponential("1 second", 2),
    halfOpen: { probes: 1, successes: 2, maxWait: "4 seconds" },
    probe: { effect: ping(world, pings), every: "3 seconds" }
  })
  const called = make({
    trip: CircuitBreaker.consecutive(1),
    openDuration: Schedule.exponential("1 second", 2),
    halfOpen: { probes: 1, successes: 1, maxWait: "4 seconds" }
  })
  const errors: Array<unknown> = []
  const call = (of: typeof called, effect: Effect.Effect<string, string>) => () => {
    const exit = world.run(Effect.result(of.made.execute(effect)))
    const result = Effect.runSync(exit)
    if (result._tag === "Failure" && result.failure instanceof ServiceUnavailable) {
      seen.push(`the rejection is ${errors.at(-1) === result.failure ? "that" : "not that"} of before`)
      errors.push(result.failure)
    }
    seen.push(result._tag === "Success" ? result.success : String(result.failure))
  }
  const sleep = (duration: Duration.Input) => () => world.run(Effect.sleep(duration))
  const slow = Effect.andThen(Effect.sleep("2 seconds"), answer)
  const hold = (mode: "open" | "closed" | "observe") => () =>
    world.value(called.made.override(mode, { reason: "test", ttl: "5 seconds" }))
  const hanging = () => {
    Effect.runForkWith(world.context)(called.made.execute(Effect.never), { scheduler: world })
    world.run(Effect.void)
  }
  const steps: ReadonlyArray<() => unknown> = [
    // Windows of time, and slow calls.
    call(asked, refused),
    sleep("6 seconds"),
    call(asked, answer),
    sleep("5 seconds"),
    call(asked, refused),
    call(asked, answer),
    call(asked, refused),
    // Open; the prober closes it again.
    sleep("999 millis"),
    call(asked, answer),
    sleep("10 seconds"),
    call(asked, slow),
    call(asked, slow),
    sleep("20 seconds"),
    // Open times that grow and are forgotten, rejections of a millisecond and of a minute.
    call(called, refused),
    call(called, answer),
    call(called, answer),
    sleep("1 millis"),
    call(called, answer),
    sleep("999 millis"),
    call(called, refused),
    sleep("1 second"),
    call(called, answer),
    sleep("1 second"),
    call(called, answer),
    sleep("1999 millis"),
    call(called, refused),
    sleep("4 seconds"),
    call(called, answer),
    sleep("4 seconds"),
    call(called, refused),
    sleep("1 second"),
    // The age of a probe.
    hanging,
    sleep("3999 millis"),
    call(called, answer),
    sleep("1 millis"),
    call(called, answer),
    // Overrides, and sums of rejections.
    ...(["open", "closed", "observe"] as const).flatMap((mode) => [
      hold(mode),
      sleep("4999 millis"),
      call(called, refused),
      call(called, answer),
      sleep("1 millis"),
      call(called, answer),
      sleep("1 minute"),
      call(called, answer)
    ]),
    call(called, refused),
    call(called, answer),
    sleep("1 minute"),
    call(called, answer)
  ]
  for (const [index, step] of steps.entries()) {
    if (index === at) jump(world)
    step()
    for (const { events, made } of [asked, called]) {
      const { lastFailureAtMillis: _, ...snapshot } = world.value(made.snapshot)
      seen.push(world.clock.nowMillis, snapshot, [...pings])
      seen.push(...events.splice(0).map(({ atMillis: _, ...event }) => event))
    }
  }
  return { seen, steps: steps.length }
}

describe("the wall clock", () => {
  const { seen: expected, steps } = life(Number.NaN, () => undefined)

  it("has nothing to do with much that happens in the life of this test", () => {
    const told = new Set(expected.map((entry) => (entry as { readonly _tag?: string })._tag))
    expect([...told].filter((tag) => tag !== undefined).toSorted()).toEqual([
      "CallRejected",
      "CallsRejected",
      "CircuitClosed",
      "CircuitHalfOpened",
      "CircuitOpened",
      "CircuitOverridden",
      "OverrideEnded"
    ])
    expect(expected).toContain("the rejection is that of before")
    expect(expected).toContain("the rejection is not that of before")
    expect(expected.flat()).toEqual(expect.arrayContaining([12_000, 15_000]))
  })

  it.each([
    ["back by a millisecond", -1],
    ["back by an hour", -3_600_000],
    ["back to long before 1970", -1e13],
    ["forward by a millisecond", 1],
    ["forward by an hour", 3_600_000],
    ["forward by centuries", 1e13]
  ] as const)("may be set %s at any moment, and nothing changes", (_, byMillis) => {
    for (let at = 0; at < steps; at++) {
      const { seen } = life(at, ({ clock }) => {
        clock.wallOffsetMillis += byMillis
      })
      expect(seen).toEqual(expected)
    }
  })

  it.effect("is what reports say, also when it was set back", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(10_000_000)
      const { events, made: breaker } = yield* hearing(
        CircuitBreaker.make({
          name: "billing",
          trip: CircuitBreaker.consecutive(1),
          openDuration: "1 second"
        })
      )
      yield* TestClock.setTime(5000)
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.setTime(1000)
      yield* breaker.override("open", { reason: "test", ttl: "1 second" })
      expect(events).toMatchObject([
        { _tag: "CircuitOpened", atMillis: 5000 },
        { _tag: "CircuitOverridden", atMillis: 1000 }
      ])
      expect(yield* breaker.snapshot).toMatchObject({
        lastFailureAtMillis: 5000,
        halfOpenIn: Duration.seconds(1)
      })
    })
  )
})

describe("a machine that slept for a day finds", () => {
  const day = 86_400_000

  it.effect("its windows of time empty, and its windows of calls as they were", () =>
    Effect.gen(function* () {
      const rate = { threshold: 1, minimumCalls: 3 }
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.any(
          CircuitBreaker.failureRate({ ...rate, window: CircuitBreaker.time("1 minute") }),
          CircuitBreaker.failureRate({ ...rate, window: CircuitBreaker.count(3) })
        )
      })
      yield* Effect.replicateEffect(Effect.exit(breaker.execute(refused)), 2)
      yield* TestClock.setTime(day)
      expect(yield* breaker.snapshot).toMatchObject({ rates: [{ calls: 0 }, { calls: 2 }] })
      yield* Effect.exit(breaker.execute(refused))
      expect((yield* breaker.snapshot).state).toBe("open")
    })
  )

  it.effect("its circuit due, whose growth is forgotten", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(1),
        openDuration: Schedule.exponential("1 second", 2),
        halfOpen: { successes: 1 }
      })
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.setTime(day)
      yield* Effect.exit(breaker.execute(refused))
      expect((yield* breaker.snapshot).halfOpenIn).toEqual(Duration.seconds(2))
      yield* TestClock.setTime(2 * day)
      expect(yield* breaker.execute(answer)).toBe("answer")
      yield* TestClock.setTime(3 * day)
      yield* Effect.exit(breaker.execute(refused))
      expect((yield* breaker.snapshot).halfOpenIn).toEqual(Duration.seconds(1))
    })
  )

  it.effect("its probes lost, its overrides over, and makes new rejections", () =>
    Effect.gen(function* () {
      const { events, made: breaker } = yield* hearing(
        CircuitBreaker.make({
          name: "billing",
          trip: CircuitBreaker.consecutive(1),
          openDuration: "1 second",
          halfOpen: { successes: 1 }
        })
      )
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("1 second")
      const end = yield* Deferred.make<never, string>()
      yield* Effect.forkChild(breaker.execute(Deferred.await(end)), { startImmediately: true })
      const first = yield* Effect.flip(breaker.execute(answer))
      yield* breaker.override("open", { reason: "test", ttl: "1 hour" })
      // At most one rejection is told for each millisecond.
      yield* TestClock.adjust("1 millis")
      yield* Effect.exit(breaker.execute(answer))
      yield* TestClock.setTime(day)
      expect(yield* breaker.snapshot).toMatchObject({ state: "half_open", override: undefined })
      expect(yield* breaker.execute(Effect.flip(breaker.execute(answer)))).not.toBe(first)
      expect(events.map(({ _tag }) => _tag).slice(-7)).toEqual([
        "CircuitOverridden",
        "CallRejected",
        "OverrideEnded",
        "CallsRejected",
        "CallRejected",
        "CircuitClosed",
        "CallsRejected"
      ])
      yield* Deferred.fail(end, "late")
      expect((yield* breaker.snapshot).state).toBe("closed")
    })
  )

  it("that its prober asks once, and not for each time that it slept through", () => {
    const world = new World()
    const pings: Array<number> = []
    const breaker = world.value(
      CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "1 second",
        halfOpen: { successes: 3 },
        probe: { effect: ping(world, pings), every: "1 second" }
      }).pipe(Effect.provideService(Scope.Scope, world.value(Scope.make())))
    )
    expect(Exit.isFailure(world.run(breaker.execute(refused)))).toBe(true)
    world.clock.nowMillis += day
    world.run(Effect.sleep("500 millis"))
    expect(pings).toEqual([day])
    world.run(Effect.sleep("2 seconds"))
    expect(pings).toEqual([day, day + 1000, day + 2000])
    expect(world.value(breaker.snapshot).state).toBe("closed")
  })
})
