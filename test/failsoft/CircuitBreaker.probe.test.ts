import { describe, expect, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Deadline } from "failsoft"
import { noting } from "./calls.ts"
import { hearing, transitionsIn } from "./hearing.ts"
import { World } from "./interruption.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

const stateOf = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.snapshot, ({ state }) => state)

/** A breaker that opens at the first failure for a minute, and is asked after every 5 seconds. */
const asking = <R>(
  ping: Effect.Effect<unknown, unknown, R>,
  halfOpen: CircuitBreaker.Options["halfOpen"] = {}
) =>
  CircuitBreaker.make({
    name: "billing",
    trip: CircuitBreaker.consecutive(1),
    halfOpen,
    probe: { effect: ping, every: "5 seconds" }
  })

describe("a probe", () => {
  it.effect("closes an idle circuit, and asks nothing before it is due or after it has closed", () =>
    Effect.gen(function* () {
      const { at, call: ping } = noting(answer)
      const { events, made: breaker } = yield* hearing(asking(ping))
      yield* TestClock.adjust("10 minutes")
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("10 minutes")
      expect(at).toEqual([660_000, 665_000, 670_000])
      expect((yield* breaker.snapshot).counts).toMatchObject({ total: 4, rejected: 0 })
      expect(yield* stateOf(breaker)).toBe("closed")
      expect(transitionsIn(events)).toEqual(["CircuitOpened", "CircuitHalfOpened", "CircuitClosed"])
    })
  )

  it.effect("starts anew with each opening", () =>
    Effect.gen(function* () {
      const { at, call: ping } = noting(answer)
      const breaker = yield* asking(ping, { successes: 1 })
      for (const now of [60_000, 180_000]) {
        yield* Effect.exit(breaker.execute(refused))
        yield* TestClock.adjust("2 minutes")
        expect(at.at(-1)).toBe(now)
        expect(yield* stateOf(breaker)).toBe("closed")
      }
      expect(at).toHaveLength(2)
    })
  )

  it.effect("that fails opens the circuit again, and the next comes when that opening is due", () =>
    Effect.gen(function* () {
      let down = true
      const { at, call: ping } = noting(Effect.suspend(() => (down ? refused : answer)))
      const breaker = yield* asking(ping, { successes: 1 })
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("3 minutes")
      expect(at).toEqual([60_000, 120_000, 180_000])
      down = false
      yield* TestClock.adjust("1 minute")
      expect(at).toEqual([60_000, 120_000, 180_000, 240_000])
      expect((yield* breaker.snapshot).counts).toMatchObject({ total: 5, rejected: 0 })
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("that dies does the same", () =>
    Effect.gen(function* () {
      let down = true
      const { at, call: ping } = noting(Effect.suspend(() => (down ? Effect.die("defect") : answer)))
      const breaker = yield* asking(ping, { successes: 1 })
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("2 minutes")
      down = false
      yield* TestClock.adjust("1 minute")
      expect(at).toEqual([60_000, 120_000, 180_000])
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("that is interrupted from within keeps the circuit half-open, and is made again", () =>
    Effect.gen(function* () {
      let down = true
      const { at, call: ping } = noting(Effect.suspend(() => (down ? Effect.interrupt : answer)))
      const breaker = yield* asking(ping, { successes: 1 })
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("66 seconds")
      down = false
      yield* TestClock.adjust("1 minute")
      expect(at).toEqual([60_000, 65_000, 70_000])
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("that hangs is given up after maxWait, and counts as a failure", () =>
    Effect.gen(function* () {
      let hangs = true
      const { at, call: ping } = noting(Effect.suspend(() => (hangs ? Effect.never : answer)))
      const breaker = yield* asking(ping, { successes: 1, maxWait: "10 seconds" })
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("69 seconds")
      expect(yield* stateOf(breaker)).toBe("half_open")
      yield* TestClock.adjust("1 second")
      expect(yield* breaker.snapshot).toMatchObject({ state: "open", halfOpenIn: Duration.seconds(60) })
      hangs = false
      yield* TestClock.adjust("1 minute")
      expect(at).toEqual([60_000, 130_000])
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("leaves the slot to a call that was first", () =>
    Effect.gen(function* () {
      const { at, call: ping } = noting(answer)
      const breaker = yield* asking(ping, { successes: 1 })
      const end = yield* Deferred.make<string>()
      // Asleep before the circuit opens, the call wakes before the probe does.
      const call = yield* Effect.forkChild(Effect.delay(breaker.execute(Deferred.await(end)), "60 seconds"), {
        startImmediately: true
      })
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("74 seconds")
      expect(yield* stateOf(breaker)).toBe("half_open")
      yield* Deferred.succeed(end, "answer")
      expect(yield* Fiber.join(call)).toBe("answer")
      yield* TestClock.adjust("1 minute")
      expect(yield* stateOf(breaker)).toBe("closed")
      expect(at).toEqual([])
    })
  )

  it.effect("is not made when calls have closed the circuit between two probes", () =>
    Effect.gen(function* () {
      const { at, call: ping } = noting(answer)
      const breaker = yield* asking(ping)
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("61 seconds")
      yield* breaker.execute(answer)
      yield* breaker.execute(answer)
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* TestClock.adjust("1 minute")
      expect(at).toEqual([60_000])
    })
  )

  it.effect("is not made when calls have closed the circuit the moment it was due", () =>
    Effect.gen(function* () {
      const { at, call: ping } = noting(answer)
      const breaker = yield* asking(ping, { successes: 1 })
      // Asleep before the circuit opens, the call wakes before the probe does.
      yield* Effect.forkChild(Effect.delay(breaker.execute(answer), "60 seconds"), { startImmediately: true })
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("2 minutes")
      expect(yield* stateOf(breaker)).toBe("closed")
      expect(at).toEqual([])
    })
  )

  it.effect("is not held to the deadline of the call that opened the circuit", () =>
    Effect.gen(function* () {
      const ping = answer.pipe(Deadline.attemptTimeout("billing", "1 second"))
      const breaker = yield* asking(ping, { successes: 1 })
      yield* Effect.exit(breaker.execute(refused).pipe(Deadline.within("3 seconds")))
      yield* TestClock.adjust("1 minute")
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )

  it.effect("has the services of the moment at which the breaker was made", () =>
    Effect.gen(function* () {
      class Ping extends Context.Service<Ping, Effect.Effect<string>>()("test/Ping") {}
      const breaker = yield* asking(
        Effect.flatMap(Ping, (ping) => ping),
        { successes: 1 }
      ).pipe(Effect.provideService(Ping, answer))
      yield* Effect.exit(breaker.execute(refused))
      yield* TestClock.adjust("1 minute")
      expect(yield* stateOf(breaker)).toBe("closed")
    })
  )
})

describe("when the scope closes", () => {
  const pings: Record<string, Effect.Effect<unknown>> = {
    "before the circuit is due": Effect.die("never asked"),
    "while a probe hangs": Effect.never,
    "between two probes": Effect.succeed("answer")
  }

  it.each(Object.entries(pings))("%s no fiber is left", (when, ping) => {
    const world = new World()
    const scope = world.value(Scope.make())
    const breaker = world.value(asking(ping).pipe(Effect.provideService(Scope.Scope, scope)))
    world.run(breaker.execute(Effect.fail("refused")))
    expect(world.isIdle).toBe(false)
    if (when !== "before the circuit is due") world.run(Effect.sleep("61 seconds"))
    expect(world.isIdle).toBe(false)
    world.value(Scope.close(scope, Exit.void))
    expect(world.isIdle).toBe(true)
    // Calls go on as before, and start no probe.
    world.run(breaker.execute(Effect.fail("refused")))
    expect(world.isIdle).toBe(true)
  })
})
