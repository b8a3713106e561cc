import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Exit, Layer, Random, Scope } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker } from "failsoft"
import { reasonOf } from "./calls.ts"
import { hearing } from "./hearing.ts"
import { interruptEverywhere, World } from "./interruption.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

const options = {
  name: "billing",
  trip: CircuitBreaker.consecutive(2),
  openDuration: "1 second",
  halfOpen: { successes: 1 },
  ramp: { duration: "10 seconds", from: 0.2 }
} satisfies CircuitBreaker.Options

/** A breaker that has been open and closed again a moment ago, and what it tells from then on. */
const recovered = Effect.gen(function* () {
  const { events, made: breaker } = yield* hearing(CircuitBreaker.make(options))
  yield* Effect.replicateEffect(Effect.exit(breaker.execute(refused)), 2)
  yield* TestClock.adjust("1 second")
  yield* breaker.execute(answer)
  events.length = 0
  return { breaker, events }
})

const drawing = (draw: number) =>
  Effect.provideService(Random.Random, { nextDoubleUnsafe: () => draw, nextIntUnsafe: () => 0 })

/** How many of a hundred calls with evenly spread draws are admitted. */
const admittedOf100 = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.map(
    Effect.forEach(Array.from({ length: 100 }), (_, draw) =>
      Effect.isSuccess(breaker.execute(answer)).pipe(drawing((draw + 0.5) / 100))
    ),
    (admitted) => admitted.filter((isAdmitted) => isAdmitted).length
  )

describe("a circuit that has closed after it was open", () => {
  it.effect("admits a share of the calls that grows to all of them", () =>
    Effect.gen(function* () {
      const { breaker } = yield* recovered
      const seen: Array<unknown> = []
      for (let second = 0; second <= 10; second += 2.5) {
        const { ramp, state } = yield* breaker.snapshot
        seen.push([state, ramp, yield* admittedOf100(breaker)])
        yield* TestClock.adjust("2500 millis")
      }
      expect(seen).toEqual([
        ["closed", 0.2, 20],
        ["closed", 0.4, 40],
        ["closed", 0.6000000000000001, 60],
        ["closed", 0.8, 80],
        ["closed", undefined, 100]
      ])
    })
  )

  it.effect("rejects the others as an open circuit would, but is not open", () =>
    Effect.gen(function* () {
      const { breaker } = yield* recovered
      let ran = 0
      const call = Effect.sync(() => ++ran)
      const error = yield* breaker.execute(call).pipe(drawing(0.2), Effect.flip)
      expect(error).toMatchObject({ service: "billing", reason: { _tag: "CircuitOpen" } })
      expect(error.retryAfter).toBeUndefined()
      expect(ran).toBe(0)
      expect(yield* breaker.isOpen).toBe(false)
      expect(yield* breaker.execute(call).pipe(drawing(0.19))).toBe(1)
      expect((yield* breaker.snapshot).counts).toMatchObject({ rejected: 1, total: 5 })
    })
  )

  it.effect("opens by its rules meanwhile, and ramps anew", () =>
    Effect.gen(function* () {
      const { breaker, events } = yield* recovered
      yield* TestClock.adjust("9 seconds")
      yield* Effect.replicateEffect(Effect.exit(breaker.execute(refused)), 2).pipe(drawing(0))
      expect(yield* breaker.snapshot).toMatchObject({ state: "open", ramp: undefined })
      yield* TestClock.adjust("1 second")
      yield* breaker.execute(answer)
      expect(yield* breaker.snapshot).toMatchObject({ state: "closed", ramp: 0.2 })
      expect(events.map(({ _tag }) => _tag)).toEqual(["CircuitOpened", "CircuitHalfOpened", "CircuitClosed"])
    })
  )

  it("is through with the ramp for good, even by a clock that goes back", () => {
    const world = new World()
    const make = CircuitBreaker.make(options).pipe(Scope.provide(world.value(Scope.make())))
    const breaker = world.value(make)
    world.run(breaker.execute(refused))
    world.run(breaker.execute(refused))
    world.clock.nowMillis += 1000
    world.run(breaker.execute(answer))
    world.clock.nowMillis += 10_000
    world.run(breaker.execute(answer).pipe(drawing(0.99)))
    world.clock.nowMillis -= 9000
    expect(world.value(breaker.snapshot).ramp).toBeUndefined()
    expect(world.value(admittedOf100(breaker))).toBe(100)
  })

  it.effect("tells when the ramp is over of the rejections that were not told of", () =>
    Effect.gen(function* () {
      const { breaker, events } = yield* recovered
      yield* admittedOf100(breaker)
      expect(events).toMatchObject([{ _tag: "CallsRejected", count: 1 }])
      yield* TestClock.adjust("10 seconds")
      yield* breaker.execute(answer)
      yield* breaker.execute(answer)
      expect(events.slice(1)).toMatchObject([{ _tag: "CallsRejected", count: 79 }])
    })
  )

  it.effect("admits all once a person has reset it, and while one holds it closed", () =>
    Effect.gen(function* () {
      const { breaker } = yield* recovered
      yield* breaker.override("closed", { reason: "sale", ttl: "5 seconds" })
      expect(yield* admittedOf100(breaker)).toBe(100)
      expect((yield* breaker.snapshot).ramp).toBeUndefined()
      yield* TestClock.adjust("5 seconds")
      expect(yield* admittedOf100(breaker)).toBe(60)
      yield* breaker.reset
      expect((yield* breaker.snapshot).ramp).toBeUndefined()
      expect(yield* admittedOf100(breaker)).toBe(100)
    })
  )

  it.effect("admits all while it is observed, and counts what it would have rejected", () =>
    Effect.gen(function* () {
      const { breaker } = yield* recovered
      yield* breaker.override("observe", { reason: "trial", ttl: "5 seconds" })
      expect(yield* admittedOf100(breaker)).toBe(100)
      expect(yield* breaker.snapshot).toMatchObject({ ramp: 0.2, override: { wouldHaveRejected: 80 } })
    })
  )

  it("leaves nothing behind, wherever a call is interrupted", () => {
    for (const [draw, waitMillis] of [
      [0, 0],
      [0.9, 0],
      [0.9, 10_000]
    ] as const) {
      const interrupted = interruptEverywhere((world) => {
        const scope = world.value(Scope.make())
        const make = CircuitBreaker.make(options).pipe(Effect.provideService(Scope.Scope, scope))
        const breaker = world.value(make)
        world.run(breaker.execute(refused))
        world.run(breaker.execute(refused))
        world.clock.nowMillis += 1000
        world.run(breaker.execute(answer))
        world.clock.nowMillis += waitMillis
        const call = breaker.execute(Effect.andThen(Effect.sleep("10 millis"), answer))
        return {
          program: call.pipe(drawing(draw)),
          verify: () => {
            expect(world.isIdle).toBe(true)
            const { counts } = world.value(breaker.snapshot)
            expect(counts.total).toBe(counts.successful + counts.failed + counts.ignored + counts.rejected)
            world.clock.nowMillis += 10_000
            expect(Exit.isSuccess(world.run(breaker.execute(answer).pipe(drawing(0.99))))).toBe(true)
          }
        }
      })
      expect(interrupted).toBeGreaterThan(2)
    }
  })
})

describe("a circuit that has never been open", () => {
  it.effect("has no ramp", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make(options)
      expect((yield* breaker.snapshot).ramp).toBeUndefined()
      expect(yield* admittedOf100(breaker)).toBe(100)
    })
  )
})

describe("the options of a ramp", () => {
  it.effect.each([
    [{ duration: 0 }, "ramp.duration"],
    [{ duration: "25 days" }, "ramp.duration"],
    ...[0, -0.5, 1.01, Number.NaN].map((from) => [{ duration: "1 second", from }, "ramp.from"] as const)
  ] as const)("are refused out of their ranges: %j", ([ramp, option]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(CircuitBreaker.make({ name: "billing", ramp }))
      expect(error).toMatchObject({ _tag: "InvalidOption", option })
    })
  )

  it.effect("begin with a tenth by default", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ ...options, ramp: { duration: "1 second" } })
      yield* Effect.replicateEffect(Effect.exit(breaker.execute(refused)), 2)
      yield* TestClock.adjust("1 second")
      yield* breaker.execute(answer)
      expect((yield* breaker.snapshot).ramp).toBe(0.1)
      const rejected = yield* Effect.exit(breaker.execute(answer).pipe(drawing(0.1)))
      expect(reasonOf(rejected)?._tag).toBe("CircuitOpen")
    })
  )

  class Billing extends Context.Service<Billing, CircuitBreaker.CircuitBreaker>()("test/RampBilling") {}

  const configured = (billing: unknown) =>
    CircuitBreaker.layerConfig(Billing, "billing", "billing").pipe(
      Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ billing })))
    )

  it.effect("come from configuration", () =>
    Effect.gen(function* () {
      const breaker = yield* Billing
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("1 second")
      yield* breaker.execute(answer)
      expect((yield* breaker.snapshot).ramp).toBe(0.25)
    }).pipe(
      Effect.provide(
        configured({ failures: 1, openDuration: 1, successes: 1, rampDuration: 30, rampFrom: "0.25" })
      )
    )
  )

  it.effect("are refused in configuration without a duration", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(configured({ rampFrom: 0.25 })))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain(`["rampDuration"]`)
      expect(error.message).toContain("rampFrom needs rampDuration")
    })
  )
})
