import { describe, expect, it } from "@effect/vitest"
import { Data, Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Bulkhead, Deadline, Outcome, ServiceUnavailable } from "failsoft"
import { reasonOf } from "./calls.ts"
import { hearing } from "./hearing.ts"
import { World } from "./interruption.ts"
import { calls, outcomeOf, settled } from "./waiting.ts"

const answer = Effect.succeed("answer")

const make = (given: Omit<Bulkhead.Options, "name">) => Bulkhead.make({ ...given, name: "billing" })

const seen = (bulkhead: Bulkhead.Bulkhead) =>
  Effect.map(bulkhead.snapshot, ({ inFlight, queued }) => ({ inFlight, queued }))

const nobody = { inFlight: 0, queued: 0 }

describe("a bulkhead", () => {
  it.effect("lets so many calls run at once and turns the others away", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 2 })
      const { begin, order } = calls()
      const first = yield* begin("first", bulkhead.execute)
      const second = yield* begin("second", bulkhead.execute)
      const third = yield* begin("third", bulkhead.execute)
      expect([first, second, third].map(outcomeOf)).toEqual([undefined, undefined, "BulkheadFull"])
      expect(yield* bulkhead.snapshot).toEqual({
        name: "billing",
        enabled: true,
        limit: 2,
        inFlight: 2,
        queued: 0,
        counts: { admitted: 2, rejected: 1, timedOut: 0, interrupted: 0 },
        waits: { count: 0, sumMillis: 0, maxMillis: 0 }
      })
      yield* first.finish
      const fourth = yield* begin("fourth", bulkhead.execute)
      expect(outcomeOf(fourth)).toBe(undefined)
      yield* fourth.finish
      yield* second.finish
      expect(order).toEqual(["first", "second", "fourth"])
      expect(yield* seen(bulkhead)).toEqual(nobody)
    })
  )

  it.effect("passes on what a call comes to, and has its permit back", () =>
    Effect.gen(function* () {
      class NotFound extends Data.TaggedError("NotFound") {}
      const bulkhead = yield* make({ limit: 1 })
      expect(yield* bulkhead.execute(answer)).toBe("answer")
      expect(yield* Effect.flip(bulkhead.execute(Effect.fail(new NotFound())))).toBeInstanceOf(NotFound)
      const died = yield* Effect.exit(bulkhead.execute(Effect.die("bug")))
      expect(died).toEqual(Exit.die("bug"))
      const thrown = new Error("thrown")
      const threw = Effect.suspend((): Effect.Effect<never> => {
        throw thrown
      }).pipe(bulkhead.execute)
      expect(yield* Effect.exit(threw)).toEqual(Exit.die(thrown))
      expect(Exit.hasInterrupts(yield* Effect.exit(bulkhead.execute(Effect.interrupt)))).toBe(true)
      expect(yield* seen(bulkhead)).toEqual(nobody)
      expect((yield* bulkhead.snapshot).counts.admitted).toBe(5)
    })
  )

  it.effect("rejects with an error that names it, says nothing of time, and counts against nobody", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1 })
      yield* Effect.forkChild(bulkhead.execute(Effect.never), { startImmediately: true })
      const exit = yield* Effect.exit(bulkhead.execute(answer))
      expect(Exit.isFailure(exit) && exit.cause.reasons).toHaveLength(1)
      const error = yield* Effect.flip(bulkhead.execute(answer))
      expect(error).toBeInstanceOf(ServiceUnavailable)
      expect(error).toMatchObject({ service: "billing", reason: { _tag: "BulkheadFull" } })
      expect(error.retryAfter).toBe(undefined)
      expect(error.message).toBe("billing is unavailable: bulkhead full")
      expect(Outcome.fromExit(exit)).toEqual(Outcome.ignored)
    })
  )

  it.effect("tells of rejections in sums, and of what is left when its scope ends", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { events, made: bulkhead } = yield* hearing(
        make({ limit: 1, queue: 1, queueTimeout: "10 seconds" }).pipe(
          Effect.provideService(Scope.Scope, scope)
        )
      )
      yield* Effect.forkChild(bulkhead.execute(Effect.never), { startImmediately: true })
      const turnedAway = Effect.exit(bulkhead.executeWith(answer, { queue: false }))
      yield* Effect.replicateEffect(turnedAway, 3)
      yield* TestClock.adjust("1 second")
      yield* turnedAway
      yield* Effect.forkChild(Effect.exit(bulkhead.execute(answer)), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      yield* TestClock.adjust("1 minute")
      yield* Effect.replicateEffect(turnedAway, 2)
      yield* Scope.close(scope, Exit.void)
      const told = { policy: "billing", reason: "BulkheadFull" }
      expect(events).toEqual([
        { ...told, _tag: "CallsRejected", atMillis: 0, count: 1 },
        { ...told, _tag: "CallRejected", atMillis: 1000 },
        { ...told, _tag: "CallRejected", atMillis: 11_000 },
        { ...told, _tag: "CallsRejected", atMillis: 71_000, count: 5 },
        { ...told, _tag: "CallsRejected", atMillis: 71_000, count: 1 }
      ])
      const { rejected, timedOut } = (yield* bulkhead.snapshot).counts
      expect({ rejected, timedOut }).toEqual({ rejected: 6, timedOut: 1 })
    })
  )

  it.effect("that is switched off lets everything run and says so", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, enabled: false })
      const { begin } = calls()
      const running = yield* Effect.forEach(["first", "second"], (name) => begin(name, bulkhead.execute))
      expect(running.map(outcomeOf)).toEqual([undefined, undefined])
      expect(bulkhead.execute(answer)).toBe(answer)
      expect(bulkhead.executeWith(answer, { queue: false })).toBe(answer)
      expect(yield* bulkhead.snapshot).toMatchObject({ enabled: false, limit: 1, inFlight: 0 })
      const error = yield* Effect.flip(bulkhead.resize(2))
      expect(error.message).toBe(
        'billing: option "enabled" is false, allowed is true, so that there is a limit to change'
      )
    })
  )
})

describe("the queue", () => {
  it.effect("is served in the order in which calls came", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 3 })
      const { begin, order } = calls()
      const names = ["a", "b", "c", "d", "e"]
      const begun = yield* Effect.forEach(names, (name) => begin(name, bulkhead.execute))
      expect(begun.map(outcomeOf)).toEqual([undefined, undefined, undefined, undefined, "BulkheadFull"])
      expect(yield* seen(bulkhead)).toEqual({ inFlight: 1, queued: 3 })
      yield* Effect.forEach(begun, ({ finish }) => finish)
      expect(order).toEqual(["a", "b", "c", "d"])
      expect(yield* seen(bulkhead)).toEqual(nobody)
    })
  )

  it.effect("gives a permit to the next before anyone who comes later", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 5 })
      const { begin, order } = calls()
      const first = yield* begin("first", bulkhead.execute)
      const next = yield* begin("next", bulkhead.execute)
      // In the turn in which the permit comes back, before the next has been woken.
      yield* Fiber.interrupt(first.fiber)
      const later = yield* begin("later", bulkhead.execute)
      expect(order).toEqual(["first"])
      expect(yield* seen(bulkhead)).toEqual({ inFlight: 1, queued: 1 })
      yield* settled
      expect(order).toEqual(["first", "next"])
      yield* next.finish
      yield* later.finish
      expect(order).toEqual(["first", "next", "later"])
    })
  )

  it.effect("of ten behind one: an interrupted waiter leaves the next running and its slot free", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 10 })
      const { begin, order } = calls()
      const running = yield* begin("running", bulkhead.execute)
      const waiting = yield* Effect.forEach(
        Array.from({ length: 10 }, (_, number) => `${number}`),
        (name) => begin(name, bulkhead.execute)
      )
      expect(outcomeOf(yield* begin("one too many", bulkhead.execute))).toBe("BulkheadFull")
      const [gone, ...others] = waiting
      if (gone !== undefined) yield* Fiber.interrupt(gone.fiber)
      expect(yield* seen(bulkhead)).toEqual({ inFlight: 1, queued: 9 })
      const late = yield* begin("late", bulkhead.execute)
      expect(yield* seen(bulkhead)).toEqual({ inFlight: 1, queued: 10 })
      yield* running.finish
      yield* Effect.forEach([...others, late], ({ finish }) => finish)
      expect(order).toEqual(["running", "1", "2", "3", "4", "5", "6", "7", "8", "9", "late"])
      expect((yield* bulkhead.snapshot).counts).toEqual({
        admitted: 11,
        rejected: 1,
        timedOut: 0,
        interrupted: 1
      })
    })
  )

  it.effect("passes on the permit of a waiter that is interrupted as it gets it", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 10 })
      const { begin, order } = calls()
      const running = yield* begin("running", bulkhead.execute)
      const handed = yield* begin("handed", bulkhead.execute)
      const next = yield* begin("next", bulkhead.execute)
      running.fiber.interruptUnsafe()
      expect((yield* bulkhead.snapshot).counts.admitted).toBe(2)
      handed.fiber.interruptUnsafe()
      yield* settled
      expect(order).toEqual(["running", "next"])
      yield* next.finish
      expect(yield* seen(bulkhead)).toEqual(nobody)
    })
  )

  it.effect("knows how long calls waited, whatever became of them", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 3, queueTimeout: "5 seconds" })
      const { begin } = calls()
      const running = yield* begin("running", bulkhead.execute)
      yield* begin("admitted", bulkhead.execute)
      const interrupted = yield* begin("interrupted", bulkhead.execute)
      yield* begin("timed out", bulkhead.execute)
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(interrupted.fiber)
      yield* TestClock.adjust("1 second")
      yield* running.finish
      yield* TestClock.adjust("1 hour")
      const { counts, waits } = yield* bulkhead.snapshot
      expect(waits).toEqual({ count: 3, sumMillis: 8000, maxMillis: 5000 })
      expect(counts).toEqual({ admitted: 2, rejected: 0, timedOut: 1, interrupted: 1 })
    })
  )

  it.effect("is left out by calls that may not wait", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 5 })
      const { begin, order } = calls()
      const running = yield* begin("running", Bulkhead.withBulkhead(bulkhead, { queue: false }))
      expect(outcomeOf(running)).toBe(undefined)
      const hedge = yield* begin("hedge", Bulkhead.withBulkhead(bulkhead, { queue: false }))
      expect(outcomeOf(hedge)).toBe("BulkheadFull")
      expect(order).toEqual(["running"])
    })
  )

  it("serves 10,000 in their order, at as many steps for each as for ten", { timeout: 30_000 }, () => {
    class CountingWorld extends World {
      steps = 0
      override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
        this.steps++
        return super.shouldYield(fiber)
      }
    }
    const stepsFor = (waiters: number): number => {
      const world = new CountingWorld()
      const order: Array<number> = []
      const bulkhead = world.value(Effect.scoped(make({ limit: 1, queue: waiters })))
      const release = Deferred.makeUnsafe<void>()
      const begin = (number: number) =>
        Effect.forkDetach(
          bulkhead.execute(
            number === 0 ? Deferred.await(release) : Effect.sync(() => void order.push(number))
          ),
          { startImmediately: true }
        )
      for (let number = 0; number <= waiters; number++) world.value(begin(number))
      expect(world.value(seen(bulkhead))).toEqual({ inFlight: 1, queued: waiters })
      world.steps = 0
      world.run(Deferred.succeed(release, undefined))
      const { steps } = world
      expect(order).toEqual(Array.from({ length: waiters }, (_, index) => index + 1))
      expect(world.value(seen(bulkhead))).toEqual(nobody)
      return steps
    }
    const [none, ten] = [stepsFor(0), stepsFor(10)]
    expect(ten).toBeGreaterThan(none)
    expect(stepsFor(10_000) - none).toBe((ten - none) * 1000)
  })

  it("of 10,000 calls that end at once needs no deeper stack than one of ten", {
    timeout: 30_000
  }, async () => {
    const program = Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 10_000 })
      let ended = 0
      const call = bulkhead.execute(Effect.sync(() => ended++))
      yield* Effect.forkChild(bulkhead.execute(Effect.yieldNow), { startImmediately: true })
      yield* Effect.all(
        Array.from({ length: 10_000 }, () => call),
        { concurrency: "unbounded", discard: true }
      )
      return ended
    })
    expect(await Effect.runPromise(Effect.scoped(program))).toBe(10_000)
  })
})

describe("the time in the queue", () => {
  it.effect("ends at queueTimeout", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 5, queueTimeout: "2 seconds" })
      const { begin, order } = calls()
      const running = yield* begin("running", bulkhead.execute)
      const early = yield* begin("early", bulkhead.execute)
      yield* TestClock.adjust("1 second")
      const late = yield* begin("late", bulkhead.execute)
      yield* TestClock.adjust("999 millis")
      expect([early, late].map(outcomeOf)).toEqual([undefined, undefined])
      yield* TestClock.adjust("1 millis")
      expect([early, late].map(outcomeOf)).toEqual(["BulkheadFull", undefined])
      yield* running.finish
      yield* TestClock.adjust("1 hour")
      expect(outcomeOf(late)).toBe(undefined)
      yield* late.finish
      expect(order).toEqual(["running", "late"])
    })
  )

  it.effect("ends with the deadline if that is nearer", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 5, queueTimeout: "1 minute" })
      const { begin } = calls()
      yield* begin("running", bulkhead.execute)
      const waiting = yield* begin("waiting", (call) =>
        bulkhead.execute(call).pipe(Deadline.within("3 seconds"))
      )
      yield* TestClock.adjust("2999 millis")
      expect(outcomeOf(waiting)).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(outcomeOf(waiting)).toBe("BulkheadFull")
      expect((yield* bulkhead.snapshot).counts.timedOut).toBe(1)
    })
  )

  it.effect.each([0, 0.5])("does not begin with %s ms left", (millis) =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 5 })
      yield* Effect.forkChild(bulkhead.execute(Effect.never), { startImmediately: true })
      const exit = yield* Effect.exit(bulkhead.execute(answer).pipe(Deadline.within(Duration.millis(millis))))
      expect(reasonOf(exit)?._tag).toBe("BulkheadFull")
      const { counts, waits } = yield* bulkhead.snapshot
      expect([counts.rejected, counts.timedOut, waits.count]).toEqual([1, 0, 0])
    })
  )

  it.effect("is no matter for a call that finds a permit", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 5 })
      expect(yield* bulkhead.execute(answer).pipe(Deadline.within(0))).toBe("answer")
    })
  )

  it.effect("is over at its end even if a permit comes back in the same instant", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 5, queueTimeout: "2 seconds" })
      const { begin, order } = calls()
      yield* Effect.forkChild(bulkhead.execute(Effect.sleep("2 seconds")), { startImmediately: true })
      const waiting = yield* begin("waiting", bulkhead.execute)
      yield* TestClock.adjust("2 seconds")
      expect(outcomeOf(waiting)).toBe("BulkheadFull")
      expect(order).toEqual([])
      expect(yield* seen(bulkhead)).toEqual(nobody)
      const { admitted, timedOut } = (yield* bulkhead.snapshot).counts
      expect({ admitted, timedOut }).toEqual({ admitted: 1, timedOut: 1 })
    })
  )

  it.effect("is over for calls whose timers come late, and the permit goes to one who has time", () =>
    Effect.gen(function* () {
      const world = new World()
      const bulkhead = world.value(Effect.scoped(make({ limit: 1, queue: 5, queueTimeout: "2 seconds" })))
      const end = Deferred.makeUnsafe<void>()
      const order: Array<string> = []
      const begin = (name: string, call: Effect.Effect<void>) =>
        world.value(
          Effect.forkDetach(
            bulkhead.execute(
              Effect.andThen(
                Effect.sync(() => order.push(name)),
                call
              )
            ),
            {
              startImmediately: true
            }
          )
        )
      begin("running", Deferred.await(end))
      const late = [begin("late", Effect.void), begin("as late", Effect.void)]
      world.clock.nowMillis = 1500
      const next = begin("next", Effect.void)
      world.clock.nowMillis = 3000
      world.run(Deferred.succeed(end, undefined))
      expect(late.map((fiber) => reasonOf(fiber.pollUnsafe() ?? Exit.void)?._tag)).toEqual([
        "BulkheadFull",
        "BulkheadFull"
      ])
      expect(next.pollUnsafe()).toEqual(Exit.void)
      expect(order).toEqual(["running", "next"])
      expect(world.isIdle).toBe(true)
      expect(world.value(bulkhead.snapshot).counts).toEqual({
        admitted: 2,
        rejected: 0,
        timedOut: 2,
        interrupted: 0
      })
    })
  )

  it.effect("takes no notice of a clock that is set forward or back", () =>
    Effect.gen(function* () {
      const world = new World()
      const bulkhead = world.value(Effect.scoped(make({ limit: 1, queue: 5, queueTimeout: "2 seconds" })))
      const begin = (call: Effect.Effect<void>) =>
        world.value(Effect.forkDetach(bulkhead.execute(call), { startImmediately: true }))
      const running = begin(Effect.never)
      const waiting = begin(Effect.void)
      for (const millis of [3_600_000, -7_200_000]) {
        world.clock.wallOffsetMillis = millis
        world.run(Effect.void)
        expect(waiting.pollUnsafe()).toBe(undefined)
      }
      world.clock.nowMillis = 1999
      world.run(Effect.sync(() => running.interruptUnsafe()))
      expect(waiting.pollUnsafe()).toEqual(Exit.void)
      expect(world.value(bulkhead.snapshot).waits).toEqual({ count: 1, sumMillis: 1999, maxMillis: 1999 })
    })
  )

  it.effect("leaves no timer behind a call that was admitted", () =>
    Effect.gen(function* () {
      const world = new World()
      const bulkhead = world.value(Effect.scoped(make({ limit: 1, queue: 5, queueTimeout: "2 seconds" })))
      const begin = () =>
        world.value(Effect.forkDetach(bulkhead.execute(Effect.never), { startImmediately: true }))
      const running = begin()
      begin()
      expect(world.clock.sleepers).toHaveLength(1)
      world.run(Effect.sync(() => running.interruptUnsafe()))
      expect(world.clock.sleepers).toHaveLength(0)
    })
  )
})

describe("priorities", () => {
  const full = (given?: Partial<Bulkhead.Options>) =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 4, priorities: 3, ...given })
      const { begin, order } = calls()
      const running = yield* begin("running", bulkhead.execute)
      const wait = (name: string, priority?: number) =>
        begin(name, Bulkhead.withBulkhead(bulkhead, { priority }))
      return { bulkhead, order, running, wait }
    })

  it.effect("are served from the highest, each in its order", () =>
    Effect.gen(function* () {
      const { order, running, wait } = yield* full()
      const low = yield* wait("low")
      const high = yield* wait("high", 2)
      const middle = yield* wait("middle", 1)
      const higher = yield* wait("high again", 2)
      yield* Effect.forEach([running, high, higher, middle, low], ({ finish }) => finish)
      expect(order).toEqual(["running", "high", "high again", "middle", "low"])
    })
  )

  it.effect("take the place of the last of the lowest when the queue is full", () =>
    Effect.gen(function* () {
      const { bulkhead, order, running, wait } = yield* full()
      const low = yield* wait("low", 0)
      const lower = yield* wait("as low", 0)
      const middle = yield* wait("middle", 1)
      const high = yield* wait("high", 2)
      const late = yield* wait("late", 1)
      yield* settled
      expect([low, lower, middle, high, late].map(outcomeOf)).toEqual([
        undefined,
        "BulkheadFull",
        undefined,
        undefined,
        undefined
      ])
      const later = yield* wait("later", 0)
      expect(outcomeOf(later)).toBe("BulkheadFull")
      yield* Effect.forEach([running, high, middle, late, low], ({ finish }) => finish)
      expect(order).toEqual(["running", "high", "middle", "late", "low"])
      const { counts, queued } = yield* bulkhead.snapshot
      expect({ ...counts, queued }).toEqual({
        admitted: 5,
        rejected: 2,
        timedOut: 0,
        interrupted: 0,
        queued: 0
      })
    })
  )

  it.effect.each([
    [Number.NaN, 0],
    [-1, 0],
    [0.9, 0],
    [1.9, 1],
    [2, 2],
    [7, 2],
    [Number.POSITIVE_INFINITY, 2]
  ])("outside of the levels count as the nearest: %s as %s", ([given, level]) =>
    Effect.gen(function* () {
      const { order, running, wait } = yield* full()
      const markers = yield* Effect.forEach([0, 1, 2], (marker) => wait(`${marker}`, marker))
      const asked = yield* wait("asked", given)
      yield* Effect.forEach([running, ...markers.toReversed(), asked], ({ finish }) => finish)
      yield* settled
      expect(order.indexOf("asked")).toBe(order.indexOf(`${level}`) + 1)
    })
  )
})

describe("a new limit", () => {
  it.effect("lets those who wait run at once when it is higher", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 1, queue: 5 })
      const { begin, order } = calls()
      yield* Effect.forEach(["a", "b", "c", "d"], (name) => begin(name, bulkhead.execute))
      yield* bulkhead.resize(3)
      yield* settled
      expect(order).toEqual(["a", "b", "c"])
      expect(yield* bulkhead.snapshot).toMatchObject({ limit: 3, inFlight: 3, queued: 1 })
    })
  )

  it.effect("lets those in flight finish when it is lower, and admits none until they are below it", () =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 3, queue: 1 })
      const { begin, order } = calls()
      const running = yield* Effect.forEach(["a", "b", "c"], (name) => begin(name, bulkhead.execute))
      const waiting = yield* begin("waiting", bulkhead.execute)
      yield* bulkhead.resize(1)
      expect(yield* bulkhead.snapshot).toMatchObject({ limit: 1, inFlight: 3, queued: 1 })
      for (const { finish } of running.slice(0, 2)) {
        yield* finish
        expect(order).toEqual(["a", "b", "c"])
        const hedge = yield* Effect.exit(bulkhead.executeWith(answer, { queue: false }))
        expect(reasonOf(hedge)?._tag).toBe("BulkheadFull")
      }
      yield* running[2]?.finish ?? Effect.void
      expect(order).toEqual(["a", "b", "c", "waiting"])
      yield* waiting.finish
      expect(running.map(outcomeOf)).toEqual(["a", "b", "c"])
    })
  )

  it.effect.each([0, -1, 1.5, 1_000_001, Number.NaN])("is refused when it is %s", (limit) =>
    Effect.gen(function* () {
      const bulkhead = yield* make({ limit: 2 })
      const error = yield* Effect.flip(bulkhead.resize(limit))
      expect(error.message).toBe(
        `billing: option "limit" is ${limit}, allowed is a whole number from 1 to 1000000`
      )
      expect((yield* bulkhead.snapshot).limit).toBe(2)
    })
  )
})
