import { describe, expect, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker } from "failsoft"
import { reasonOf } from "./calls.ts"
import { hearing } from "./hearing.ts"
import { interruptEverywhere } from "./interruption.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

const brief = CircuitBreaker.make({
  name: "billing",
  trip: CircuitBreaker.consecutive(1),
  openDuration: "1 second",
  halfOpen: { successes: 1 }
})

const minute = { reason: "maintenance", ttl: "1 minute" } as const

const states = ["closed", "open", "half_open"] as const

/** A breaker in a state. While half-open, its only slot is taken by a call that ends when told to. */
const breakerIn = (state: (typeof states)[number]) =>
  Effect.gen(function* () {
    const { events, made: breaker } = yield* hearing(brief)
    const end = yield* Deferred.make<string, string>()
    if (state !== "closed") yield* Effect.exit(breaker.execute(refused))
    if (state === "half_open") yield* TestClock.adjust("1 second")
    if (state === "half_open") {
      yield* Effect.forkChild(breaker.execute(Deferred.await(end)), { startImmediately: true })
    }
    events.length = 0
    return { breaker, end, events }
  })

describe.each(states)("an override of a circuit that is %s", (state) => {
  it.effect("to open rejects all calls, and ends by itself", () =>
    Effect.gen(function* () {
      const { breaker, events } = yield* breakerIn(state)
      yield* breaker.override("open", minute)
      expect(yield* breaker.isOpen).toBe(true)
      const error = yield* Effect.flip(breaker.execute(answer))
      expect(error).toMatchObject({ reason: { _tag: "CircuitOpen" }, retryAfter: Duration.minutes(1) })
      expect(yield* breaker.snapshot).toMatchObject({
        state: "open",
        override: { mode: "open", reason: "maintenance", endsIn: Duration.minutes(1) },
        counts: { rejected: 1 }
      })
      yield* TestClock.adjust(59_999)
      expect(reasonOf(yield* Effect.exit(breaker.execute(answer)))?._tag).toBe("CircuitOpen")
      yield* TestClock.adjust(1)
      expect((yield* breaker.snapshot).override).toBeUndefined()
      expect(yield* breaker.execute(answer)).toBe("answer")
      expect(events.filter(({ _tag }) => /Overrid/.test(_tag))).toMatchObject([
        { _tag: "CircuitOverridden", mode: "open", reason: "maintenance", ttl: Duration.minutes(1) },
        { _tag: "OverrideEnded", mode: "open" }
      ])
    })
  )

  it.effect("to closed lets all calls run and never opens, and the rules stand still", () =>
    Effect.gen(function* () {
      const { breaker, end, events } = yield* breakerIn(state)
      yield* breaker.override("closed", minute)
      yield* Deferred.fail(end, "late")
      for (let call = 0; call < 5; call++) {
        expect(yield* Effect.flip(breaker.execute(refused))).toBe("refused")
      }
      expect(yield* breaker.isOpen).toBe(false)
      expect(yield* breaker.snapshot).toMatchObject({ state: "closed", override: { mode: "closed" } })
      expect(events.map(({ _tag }) => _tag)).toEqual(["CircuitOverridden"])
      yield* TestClock.adjust("1 minute")
      expect(yield* breaker.snapshot).toMatchObject({ state: state === "closed" ? "closed" : "half_open" })
      expect(yield* breaker.execute(answer)).toBe("answer")
      expect((yield* breaker.snapshot).state).toBe("closed")
    })
  )

  it.effect("to observe lets all calls run, while the rules go on and count what they would reject", () =>
    Effect.gen(function* () {
      const { breaker, events } = yield* breakerIn(state)
      yield* breaker.override("observe", minute)
      if (state === "closed") yield* Effect.exit(breaker.execute(refused))
      for (let call = 0; call < 3; call++) expect(yield* breaker.execute(answer)).toBe("answer")
      expect(yield* breaker.isOpen).toBe(false)
      expect(yield* breaker.snapshot).toMatchObject({
        state: state === "half_open" ? "half_open" : "open",
        override: { mode: "observe", wouldHaveRejected: 3 },
        counts: { rejected: 0 }
      })
      yield* TestClock.adjust("1 minute")
      yield* breaker.execute(answer)
      expect(events.at(-1)).toMatchObject({ _tag: "CircuitClosed" })
      expect(events).toContainEqual(
        expect.objectContaining({ _tag: "OverrideEnded", mode: "observe", wouldHaveRejected: 3 })
      )
    })
  )

  it.effect("gives way to a later one, and to a reset", () =>
    Effect.gen(function* () {
      const { breaker, end, events } = yield* breakerIn(state)
      yield* breaker.override("open", minute)
      yield* breaker.override("closed", { reason: "again", ttl: "2 minutes" })
      expect(yield* breaker.execute(answer)).toBe("answer")
      yield* breaker.reset
      expect(yield* breaker.snapshot).toMatchObject({
        state: "closed",
        override: undefined,
        failuresInARow: 0
      })
      // A call of the time before the reset moves nothing any more.
      yield* Deferred.fail(end, "late")
      expect(yield* breaker.execute(answer)).toBe("answer")
      expect(events.map(({ _tag }) => _tag)).toEqual([
        "CircuitOverridden",
        "CircuitOverridden",
        "CircuitReset"
      ])
    })
  )
})

describe("an override", () => {
  it.effect.each([
    ["override.reason", { reason: "", ttl: "1 minute" }],
    ["override.ttl", { reason: "maintenance", ttl: 0 }],
    ["override.ttl", { reason: "maintenance", ttl: "25 days" }]
  ] as const)("is refused without a proper %s", ([option, given]) =>
    Effect.gen(function* () {
      const breaker = yield* brief
      expect(yield* Effect.flip(breaker.override("open", given))).toMatchObject({ option })
    })
  )

  it.effect("is refused by a breaker that is switched off", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing", enabled: false })
      expect(yield* Effect.flip(breaker.override("open", minute))).toMatchObject({ option: "enabled" })
      yield* breaker.reset
    })
  )

  it("leaves nothing half done, wherever it or a call under it is interrupted", () => {
    for (const mode of ["open", "closed", "observe"] as const) {
      const interrupted = interruptEverywhere((world) => {
        const breaker = world.value(brief.pipe(Effect.provideService(Scope.Scope, world.value(Scope.make()))))
        world.run(breaker.execute(refused))
        world.clock.nowMillis += 1000
        const call = Effect.exit(breaker.execute(Effect.andThen(Effect.sleep("10 millis"), answer)))
        return {
          program: Effect.andThen(breaker.override(mode, { reason: "test", ttl: "1 hour" }), call),
          verify: () => {
            world.value(breaker.reset)
            expect(world.isIdle).toBe(true)
            expect(Exit.isSuccess(world.run(breaker.execute(answer)))).toBe(true)
            expect(world.value(breaker.snapshot)).toMatchObject({ state: "closed", override: undefined })
          }
        }
      })
      expect(interrupted).toBeGreaterThan(3)
    }
  })

  it.effect("keeps the prober from asking while it holds the circuit, and a reset ends it", () =>
    Effect.gen(function* () {
      let pings = 0
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "1 second",
        probe: { effect: Effect.sync(() => ++pings), every: "1 second" }
      })
      yield* Effect.exit(breaker.execute(refused))
      yield* breaker.override("open", minute)
      yield* TestClock.adjust("30 seconds")
      expect(pings).toBe(0)
      expect((yield* breaker.snapshot).counts.rejected).toBe(0)
      yield* breaker.reset
      yield* TestClock.adjust("1 minute")
      expect(pings).toBe(0)
    })
  )
})
