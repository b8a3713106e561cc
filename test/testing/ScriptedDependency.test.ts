import { describe, expect, it } from "@effect/vitest"
import { ScriptedDependency } from "@failsoft/testing"
import { Clock, Context, Data, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"

const { during, fail, hang, slow, succeed, times } = ScriptedDependency

class NotFound extends Data.TaggedError("NotFound")<{ readonly user: string }> {}
class ConnectionLost extends Data.TaggedError("ConnectionLost") {}

/** What the calls made one after another get. */
const exits = <A, E>(dependency: ScriptedDependency.ScriptedDependency<A, E>, calls: number) =>
  Effect.replicateEffect(Effect.exit(dependency.call), calls)

describe("a script by call", () => {
  it.effect("serves one call with each step, and every later one with the last", () =>
    Effect.gen(function* () {
      const defect = new Error("a bug")
      const dependency = yield* ScriptedDependency.make([
        fail("refused"),
        ScriptedDependency.die(defect),
        succeed(1),
        succeed(2)
      ])
      expect(yield* exits(dependency, 5)).toEqual([
        Exit.fail("refused"),
        Exit.die(defect),
        Exit.succeed(1),
        Exit.succeed(2),
        Exit.succeed(2)
      ])
    })
  )

  it.effect("serves as many calls as `times` says, and any number when it stands last", () =>
    Effect.gen(function* () {
      const dependency = yield* ScriptedDependency.make([
        times(2, fail("refused")),
        times(0, fail("never seen")),
        times(1, succeed(1))
      ])
      const [first, second, ...later] = yield* exits(dependency, 5)
      expect([first, second]).toEqual([Exit.fail("refused"), Exit.fail("refused")])
      expect(later).toEqual([Exit.succeed(1), Exit.succeed(1), Exit.succeed(1)])
    })
  )

  it.effect("is slow as long as it says", () =>
    Effect.gen(function* () {
      const dependency = yield* ScriptedDependency.make([slow("3 seconds", slow("1 second", fail("late")))])
      const fiber = yield* Effect.forkChild(dependency.call)
      yield* TestClock.adjust("3999 millis")
      expect(yield* dependency.inFlight).toBe(1)
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.await(fiber)).toEqual(Exit.fail("late"))
      expect(yield* dependency.inFlight).toBe(0)
    })
  )

  it.live("keeps real time where the clock is real", () =>
    Effect.gen(function* () {
      const dependency = yield* ScriptedDependency.make([slow("20 millis", succeed(1))])
      const before = yield* Clock.currentTimeMillis
      expect(yield* dependency.call).toBe(1)
      expect((yield* Clock.currentTimeMillis) - before).toBeGreaterThanOrEqual(19)
    })
  )
})

describe("a script by time", () => {
  it.effect("serves a span that is half open, whether or not it is called", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 hour")
      const dependency = yield* ScriptedDependency.make([
        during("10 seconds", succeed("before")),
        during("5 seconds", fail("down")),
        during("1 second", succeed("after"))
      ])
      yield* TestClock.adjust("9999 millis")
      expect(yield* exits(dependency, 2)).toEqual([Exit.succeed("before"), Exit.succeed("before")])
      yield* TestClock.adjust("1 millis")
      expect(yield* exits(dependency, 1)).toEqual([Exit.fail("down")])
      yield* TestClock.adjust("5 seconds")
      expect(yield* exits(dependency, 1)).toEqual([Exit.succeed("after")])
      yield* TestClock.adjust("1 hour")
      expect(yield* exits(dependency, 1)).toEqual([Exit.succeed("after")])
    })
  )

  it.effect("skips spans in which nothing called", () =>
    Effect.gen(function* () {
      const dependency = yield* ScriptedDependency.make([
        during("1 second", fail("a")),
        during("1 second", fail("b")),
        during("1 second", fail("c")),
        succeed("up")
      ])
      yield* TestClock.adjust("2500 millis")
      expect(yield* exits(dependency, 1)).toEqual([Exit.fail("c")])
      yield* TestClock.adjust("500 millis")
      expect(yield* exits(dependency, 1)).toEqual([Exit.succeed("up")])
    })
  )

  it.effect("begins a span with the last call of the steps before it", () =>
    Effect.gen(function* () {
      const dependency = yield* ScriptedDependency.make([
        times(2, succeed(1)),
        during("10 seconds", fail("down")),
        succeed(2)
      ])
      yield* exits(dependency, 1)
      yield* TestClock.adjust("1 minute")
      yield* exits(dependency, 1)
      yield* TestClock.adjust("9 seconds")
      expect(yield* exits(dependency, 1)).toEqual([Exit.fail("down")])
      yield* TestClock.adjust("1 second")
      expect(yield* exits(dependency, 1)).toEqual([Exit.succeed(2)])
    })
  )
})

describe("another script", () => {
  it.effect("begins when it is set, and leaves running calls as they were", () =>
    Effect.gen(function* () {
      const dependency = yield* ScriptedDependency.make<string, NotFound | ConnectionLost>([
        slow("2 seconds", succeed("old"))
      ])
      const running = yield* Effect.forkChild(dependency.call)
      yield* TestClock.adjust("1 second")
      yield* dependency.setScript([
        during("1 second", fail(new ConnectionLost())),
        fail(new NotFound({ user: "bob" }))
      ])
      expect(yield* exits(dependency, 1)).toEqual([Exit.fail(new ConnectionLost())])
      yield* TestClock.adjust("1 second")
      expect(yield* exits(dependency, 1)).toEqual([Exit.fail(new NotFound({ user: "bob" }))])
      expect(yield* Fiber.join(running)).toBe("old")
    })
  )
})

describe("what it remembers", () => {
  it.effect("tells of each call its time, request, step and end", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 hour")
      const late = slow("2 seconds", succeed(1))
      const dependency = yield* ScriptedDependency.make([late, hang])
      const first = yield* Effect.forkChild(dependency.ask({ user: "alice" }), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      const second = yield* Effect.forkChild(dependency.call, { startImmediately: true })
      const early = yield* dependency.calls
      expect(yield* dependency.inFlight).toBe(2)
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.interrupt(second)
      yield* Fiber.join(first)

      const [answered, interrupted] = yield* dependency.calls
      expect(answered).toEqual({
        atMillis: 0,
        request: { user: "alice" },
        step: late,
        ended: { atMillis: 2000, exit: Exit.succeed(1) }
      })
      expect(interrupted).toMatchObject({ atMillis: 1000, request: undefined, step: hang })
      expect(interrupted?.ended?.atMillis).toBe(5000)
      expect(interrupted?.ended && Exit.hasInterrupts(interrupted.ended.exit)).toBe(true)
      expect(early.map(({ ended }) => ended)).toEqual([undefined, undefined])
      expect(yield* dependency.inFlight).toBe(0)
    })
  )
})

describe("layer", () => {
  class BillingApi extends Context.Service<
    BillingApi,
    { readonly balanceOf: (user: string) => Effect.Effect<number, string> }
  >()("test/BillingApi") {}

  class Script extends Context.Service<Script, ScriptedDependency.ScriptedDependency<number, string>>()(
    "test/Script"
  ) {}

  const Scripted = Layer.effect(
    BillingApi,
    Effect.map(Script, (script) => ({ balanceOf: script.ask }))
  ).pipe(Layer.provideMerge(ScriptedDependency.layer(Script, [succeed(100)])))

  it.effect("provides it under a key, beside the service that is made from it", () =>
    Effect.gen(function* () {
      const billing = yield* BillingApi
      const script = yield* Script
      expect(yield* billing.balanceOf("alice")).toBe(100)
      yield* script.setScript([fail("down")])
      expect(yield* Effect.flip(billing.balanceOf("bob"))).toBe("down")
      expect((yield* script.calls).map(({ request }) => request)).toEqual(["alice", "bob"])
    }).pipe(Effect.provide(Scripted))
  )
})
