/** Many waits by one timer: each is over when it would be by a timer of its own. */
import { describe, expect, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import * as alarm from "../../../packages/failsoft/src/internal/attempts/alarm.ts"

/** A clock that tells how long anyone slept by it, and how many sleep now. */
const watched = Effect.map(Clock.Clock, (clock) => {
  const seen = { slept: [] as number[], sleeping: 0 }
  const watching: Clock.Clock = {
    ...clock,
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    sleep: (duration) =>
      Effect.suspend(() => {
        seen.slept.push(Duration.toMillis(duration))
        seen.sleeping++
        return Effect.ensuring(
          clock.sleep(duration),
          Effect.sync(() => {
            seen.sleeping--
          })
        )
      })
  }
  return { seen, on: Effect.provideService(Clock.Clock, watching) }
})

/** Sets an alarm that notes when it rang. */
const setting = (shared: alarm.Alarm, rang: Array<readonly [wait: number, atMillis: number]>) => {
  let waits = 0
  return (millis: number) =>
    Effect.withFiber((fiber) => {
      const wait = waits++
      const clock = fiber.getRef(Clock.Clock)
      return Effect.succeed(
        shared.set(fiber, millis, () => rang.push([wait, clock.currentTimeMillisUnsafe()]))
      )
    })
}

const Step = Schema.Struct({
  do: Schema.Literals(["set", "set", "cancel", "pass"]),
  pick: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 40 }))
})

describe("an alarm", () => {
  it.effect("sleeps once for calls that follow each other, and not at all after the last", () =>
    Effect.gen(function* () {
      const { on, seen } = yield* watched
      const shared = alarm.make()
      const rang: Array<readonly [number, number]> = []
      const set = setting(shared, rang)
      for (let call = 0; call < 100; call++) {
        const wait = yield* on(set(5000))
        wait.cancel()
      }
      expect(seen).toEqual({ slept: [5000], sleeping: 1 })
      yield* TestClock.adjust("1 millis")
      expect(seen).toEqual({ slept: [5000], sleeping: 0 })
      yield* TestClock.adjust("1 minute")
      expect(rang).toEqual([])
      expect(seen.slept).toEqual([5000])
    })
  )

  it.effect("sleeps no more after each time that nobody waits, however often that comes", () =>
    Effect.gen(function* () {
      const { on, seen } = yield* watched
      const set = setting(alarm.make(), [])
      for (let round = 1; round <= 3; round++) {
        // The second is over sooner than what the first sleeps towards.
        const waits = [yield* on(set(6000)), yield* on(set(5000))]
        for (const wait of waits) wait.cancel()
        yield* TestClock.adjust("1 millis")
        expect([seen.sleeping, seen.slept.length]).toEqual([0, 2 * round])
      }
    })
  )

  it.effect("rings in the order of the ends of the waits, not of their beginnings", () =>
    Effect.gen(function* () {
      const rang: Array<readonly [number, number]> = []
      const set = setting(alarm.make(), rang)
      for (const millis of [30, 10, 20, 10]) yield* set(millis)
      yield* TestClock.adjust("9 millis")
      expect(rang).toEqual([])
      yield* TestClock.adjust("1 minute")
      expect(rang).toEqual([
        [1, 10],
        [3, 10],
        [2, 20],
        [0, 30]
      ])
    })
  )

  it.effect("tells all who wait when the clock fails to wake them", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      let isBroken = false
      const broken: Clock.Clock = {
        ...clock,
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        sleep: (duration) =>
          Effect.andThen(
            clock.sleep(duration),
            Effect.suspend(() => (isBroken ? Effect.die("no time") : Effect.void))
          )
      }
      const ends: Array<Exit.Exit<void>> = []
      const shared = alarm.make()
      for (const millis of [10, 20]) {
        yield* Effect.withFiber((fiber) =>
          Effect.sync(() => shared.set(fiber, millis, (ended) => ends.push(ended)))
        ).pipe(Effect.provideService(Clock.Clock, broken))
      }
      isBroken = true
      yield* TestClock.adjust("10 millis")
      expect(ends).toEqual([Exit.die("no time"), Exit.die("no time")])
    })
  )

  it.effect("rings when a sleep ends early, as timers do, and does not sleep on", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      let slept = 0
      const early: Clock.Clock = {
        ...clock,
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
        sleep: () => {
          slept++
          return slept > 9 ? Effect.never : Effect.void
        }
      }
      const rang: Array<readonly [number, number]> = []
      yield* setting(alarm.make(), rang)(10).pipe(Effect.provideService(Clock.Clock, early))
      expect({ rang, slept }).toEqual({ rang: [[0, 0]], slept: 1 })
    })
  )

  it.effect("rings in the next whole millisecond, never in the one before", () =>
    Effect.gen(function* () {
      const rang: Array<readonly [number, number]> = []
      const set = setting(alarm.make(), rang)
      for (const millis of [1.5, 0.2]) yield* set(millis)
      yield* TestClock.adjust("5 millis")
      expect(rang).toEqual([
        [1, 1],
        [0, 2]
      ])
    })
  )

  it.effect("rings for all whose wait is over when a sleep ends late", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const late: Clock.Clock = {
        ...clock,
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
        sleep: (duration) => clock.sleep(Duration.times(duration, 2))
      }
      const rang: Array<readonly [number, number]> = []
      const set = setting(alarm.make(), rang)
      for (const millis of [10, 15, 25]) yield* Effect.provideService(set(millis), Clock.Clock, late)
      yield* TestClock.adjust("1 minute")
      expect(rang).toEqual([
        [0, 20],
        [1, 20],
        [2, 30]
      ])
    })
  )

  it.effect.each([
    ["when they are over", false, [10, 20, 30]],
    ["also where no sleep takes any time", true, [0, 0, 0]]
  ] as const)("rings once for each of those that are set while it rings, %s", ([, isHasty, expected]) =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const one: Clock.Clock = {
        ...clock,
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        ...(isHasty ? { sleep: () => Effect.void } : {})
      }
      const shared = alarm.make()
      const rang: Array<number> = []
      const setNext = (fiber: Fiber.Fiber<unknown, unknown>): void => {
        let wait: alarm.Wait | undefined
        wait = shared.set(fiber, 10, () => {
          rang.push(clock.currentTimeMillisUnsafe())
          wait?.cancel()
          if (rang.length < expected.length) setNext(fiber)
        })
      }
      yield* Effect.withFiber((fiber) => {
        setNext(fiber)
        return TestClock.adjust("1 minute")
      }).pipe(Effect.provideService(Clock.Clock, one))
      expect(rang).toEqual(expected)
    })
  )

  it.effect("goes by the clock of each who waits", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const { on, seen } = yield* watched
      const rang: Array<readonly [number, number]> = []
      const set = setting(alarm.make(), rang)
      yield* set(10)
      yield* on(set(10))
      expect(seen.slept).toEqual([10])
      yield* TestClock.adjust("10 millis")
      expect(rang.toSorted()).toEqual([
        [0, 10],
        [1, 10]
      ])
      expect(clock.currentTimeMillisUnsafe()).toBe(10)
    })
  )

  it.effect.prop(
    "rings for each wait that is not cancelled when its time is over, once, and never for another",
    [Schema.Array(Step).check(Schema.isMaxLength(60))],
    ([steps]) =>
      Effect.gen(function* () {
        const { on, seen } = yield* watched
        const rang: Array<readonly [number, number]> = []
        const set = setting(alarm.make(), rang)
        const startMillis = yield* Clock.currentTimeMillis
        let nowMillis = startMillis
        const waits: Array<{
          readonly wait: alarm.Wait
          readonly untilMillis: number
          cancelledAt?: number
        }> = []
        for (const { do: step, pick } of steps) {
          if (step === "set") waits.push({ wait: yield* on(set(pick)), untilMillis: nowMillis + pick })
          else if (step === "pass") {
            yield* TestClock.adjust(pick)
            nowMillis += pick
          } else {
            const one = waits[pick % Math.max(1, waits.length)]
            one?.wait.cancel()
            if (one !== undefined) one.cancelledAt ??= nowMillis
          }
        }
        yield* TestClock.adjust("1 second")
        const expected = waits.flatMap(({ cancelledAt, untilMillis }, index) =>
          cancelledAt !== undefined && cancelledAt < untilMillis ? [] : [[index, untilMillis] as const]
        )
        const byWait = (one: readonly [number, number], other: readonly [number, number]) => one[0] - other[0]
        expect(rang.toSorted(byWait)).toEqual(expected)
        expect(seen.sleeping).toBe(0)
      })
  )
})
