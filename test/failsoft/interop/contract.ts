/** What every implementation of Effect's `CircuitBreaker` has to do, on Effect's own memory store and on ours alike. */
import { expect, it } from "@effect/vitest"
import {
  Cause,
  Context,
  Data,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  type Layer,
  type Scope,
  Stream
} from "effect"
import { CircuitBreaker } from "effect/persistence"
import { TestClock } from "effect/testing"
import { ServiceUnavailable, UnavailableReason } from "failsoft"

/** What a suite asks for; each implementation has its own words for it. */
export interface Wanted {
  readonly failures: number
  /** The share of failures among the last `size` calls, once there are `minimumCalls`. */
  readonly rate?: { readonly threshold: number; readonly size: number; readonly minimumCalls: number }
  readonly openSeconds: number
  /** Whether each opening in a row is twice as long as the one before. */
  readonly grows?: boolean
  readonly maxOpenSeconds?: number
}

/** A Layer with the breaker that is asked for. */
export type Implementation = (wanted: Wanted) => Layer.Layer<CircuitBreaker.CircuitBreaker>

class Declined extends Data.TaggedError("Declined") {}

/** What a classification may need. */
class Judge extends Context.Service<Judge, { readonly outcome: CircuitBreaker.Outcome }>()("test/Judge") {}

const refused = Effect.fail("refused")
const answer = Effect.succeed("answer")
const ten: Wanted = { failures: 2, openSeconds: 10 }

const call = <A, E, R>(key: string, self: Effect.Effect<A, E, R>) =>
  Effect.flatMap(CircuitBreaker.CircuitBreaker, (breaker) => breaker.execute(self, { key }))

const times = <A, E, R>(number: number, self: Effect.Effect<A, E, R>) =>
  Effect.replicateEffect(Effect.exit(self), number)

const state = (key = "a") => Effect.flatMap(CircuitBreaker.CircuitBreaker, (breaker) => breaker.state(key))

const start = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

const rejection = (key = "a") =>
  Effect.map(Effect.flip(call(key, answer)), (error) =>
    error instanceof CircuitBreaker.CircuitBreakerError ? error.reason : undefined
  )

/** The suite for one implementation. */
export const suite = (implementation: Implementation): void => {
  const test = (
    name: string,
    program: Effect.Effect<void, unknown, CircuitBreaker.CircuitBreaker | Scope.Scope>,
    wanted: Wanted = ten
  ) => it.effect(name, () => Effect.provide(program, implementation(wanted)))

  test(
    "passes answers and errors as they are",
    Effect.gen(function* () {
      expect(yield* call("a", answer)).toBe("answer")
      expect(yield* Effect.flip(call("a", Effect.fail(new Declined())))).toBeInstanceOf(Declined)
      expect(yield* Effect.exit(call("a", Effect.die("defect")))).toEqual(Exit.die("defect"))
      const breaker = yield* CircuitBreaker.CircuitBreaker
      expect(yield* answer.pipe(breaker.execute({ key: "a" }))).toBe("answer")
    }),
    { ...ten, failures: 3 }
  )

  test(
    "opens after failures in a row, defects among them, and rejects without running",
    Effect.gen(function* () {
      yield* times(1, call("a", refused))
      yield* call("a", answer)
      yield* times(1, call("a", refused))
      expect(yield* state()).toEqual({ _tag: "Closed", key: "a" })
      yield* times(1, call("a", Effect.die("defect")))
      expect(yield* state()).toEqual({
        _tag: "Open",
        key: "a",
        retryAfter: Duration.seconds(10),
        consecutiveOpenings: 1
      })
      yield* TestClock.adjust("4 seconds")
      let ran = 0
      const error = yield* Effect.flip(
        call(
          "a",
          Effect.sync(() => ++ran)
        )
      )
      expect(error).toBeInstanceOf(CircuitBreaker.CircuitBreakerError)
      expect(error.reason).toMatchObject({ _tag: "CircuitOpen", key: "a" })
      expect(error.reason).toMatchObject({ retryAfter: Duration.seconds(6) })
      expect(ran).toBe(0)
      expect(yield* call("b", answer)).toBe("answer")
      expect(yield* state("never called")).toEqual({ _tag: "Closed", key: "never called" })
    })
  )

  test(
    "opens at a share of failures once there are enough calls",
    Effect.gen(function* () {
      yield* times(2, call("a", refused))
      expect(yield* state()).toMatchObject({ _tag: "Closed" })
      yield* call("a", answer)
      yield* call("a", answer)
      expect(yield* state()).toMatchObject({ _tag: "Open" })
    }),
    { ...ten, failures: 100, rate: { threshold: 0.5, size: 5, minimumCalls: 4 } }
  )

  test(
    "reads as open when it is due, and half-open once a call has come",
    Effect.gen(function* () {
      yield* times(2, call("a", refused))
      yield* TestClock.adjust("10 seconds")
      expect(yield* state()).toMatchObject({ _tag: "Open", retryAfter: Duration.zero })
      const end = yield* Deferred.make<string>()
      const probe = yield* start(call("a", Deferred.await(end)))
      const halfOpen = { _tag: "HalfOpen", key: "a", consecutiveOpenings: 1 }
      expect(yield* state()).toEqual({ ...halfOpen, probing: true })
      expect(yield* rejection()).toMatchObject({ _tag: "CircuitHalfOpen", key: "a" })
      yield* Fiber.interrupt(probe)
      expect(yield* state()).toEqual({ ...halfOpen, probing: false })
      expect(yield* call("a", answer)).toBe("answer")
      expect(yield* state()).toEqual({ _tag: "Closed", key: "a" })
    })
  )

  test(
    "opens again at a failed probe, for longer if it is to grow, and forgets the growth in time",
    Effect.gen(function* () {
      const open = Effect.map(state(), (now) =>
        now._tag === "Open" ? [Duration.toSeconds(now.retryAfter), now.consecutiveOpenings] : now._tag
      )
      yield* times(2, call("a", refused))
      expect(yield* open).toEqual([10, 1])
      yield* TestClock.adjust("10 seconds")
      yield* times(1, call("a", refused))
      expect(yield* open).toEqual([20, 2])
      yield* TestClock.adjust("20 seconds")
      yield* call("a", answer)
      yield* times(2, call("a", refused))
      expect(yield* open).toEqual([40, 3])
      yield* TestClock.adjust("40 seconds")
      yield* call("a", answer)
      yield* TestClock.adjust("40 seconds")
      yield* times(2, call("a", refused))
      expect(yield* open).toEqual([10, 1])
    }),
    { ...ten, grows: true }
  )

  test(
    "is not moved by calls that were admitted before",
    Effect.gen(function* () {
      const [late, good] = [yield* Deferred.make<never, string>(), yield* Deferred.make<string>()]
      const calls = [
        yield* start(Effect.exit(call("a", Deferred.await(late)))),
        yield* start(Effect.exit(call("a", Deferred.await(good))))
      ] as const
      yield* times(2, call("a", refused))
      yield* TestClock.adjust("10 seconds")
      const end = yield* Deferred.make<string>()
      const probe = yield* start(call("a", Deferred.await(end)))
      yield* Deferred.fail(late, "late")
      yield* Deferred.succeed(good, "late")
      expect(yield* Fiber.join(calls[0])).toEqual(Exit.fail("late"))
      expect(yield* Fiber.join(calls[1])).toEqual(Exit.succeed("late"))
      expect(yield* state()).toMatchObject({ _tag: "HalfOpen", probing: true })
      yield* Deferred.succeed(end, "answer")
      yield* Fiber.join(probe)
      expect(yield* state()).toMatchObject({ _tag: "Closed" })
    })
  )

  test(
    "ignores interruption alone, and does not ask the classification about it",
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      let asked = 0
      const classify = () => {
        asked++
        return CircuitBreaker.failure()
      }
      yield* times(5, breaker.execute(Effect.interrupt, { key: "a", classify }))
      const hanging = yield* start(breaker.execute(Effect.never, { key: "a", classify }))
      yield* Fiber.interrupt(hanging)
      expect([asked, (yield* state())._tag]).toEqual([0, "Closed"])
    })
  )

  test(
    "takes the classification of the call, be it a value or an effect with needs of its own",
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const empty: Effect.Effect<ReadonlyArray<string>> = Effect.succeed([])
      const byValue = empty.pipe(
        breaker.execute({
          key: "a",
          classify: (exit) =>
            Exit.isSuccess(exit) && exit.value.length === 0
              ? CircuitBreaker.failure()
              : CircuitBreaker.success
        })
      )
      const byEffect = empty.pipe(
        breaker.execute({ key: "a", classify: () => Effect.map(Judge, ({ outcome }) => outcome) })
      )
      const judged = (outcome: CircuitBreaker.Outcome) => Effect.provideService(byEffect, Judge, { outcome })
      yield* byValue
      yield* judged(CircuitBreaker.success)
      yield* byValue
      yield* judged(CircuitBreaker.ignored)
      expect((yield* state())._tag).toBe("Closed")
      expect(yield* judged(CircuitBreaker.failure())).toEqual([])
      expect((yield* state())._tag).toBe("Open")
    })
  )

  test(
    "stays open as long as a failure asks for, up to the longest",
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const openSeconds = (key: string, retryAfter: Duration.Input) =>
        Effect.gen(function* () {
          const failing = breaker.execute(refused, {
            key,
            classify: () => CircuitBreaker.failure({ retryAfter })
          })
          yield* times(2, failing)
          const now = yield* state(key)
          return now._tag === "Open" ? Duration.toSeconds(now.retryAfter) : now._tag
        })
      expect(yield* openSeconds("a", "5 seconds")).toBe(10)
      expect(yield* openSeconds("b", "20 seconds")).toBe(20)
      expect(yield* openSeconds("c", "1 hour")).toBe(30)
    }),
    { ...ten, maxOpenSeconds: 30 }
  )

  test(
    "survives a classification that throws, dies or is interrupted: the call dies, and is ignored",
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const thrown = breaker.execute(answer, {
        key: "a",
        classify: () => {
          throw new Error("thrown")
        }
      })
      const dying = breaker.execute(refused, { key: "a", classify: () => Effect.die("defect") })
      const interrupting = breaker.execute(answer, { key: "a", classify: () => Effect.interrupt })
      expect(yield* Effect.exit(thrown)).toEqual(Exit.die(new Error("thrown")))
      expect(yield* Effect.exit(dying)).toEqual(
        Exit.failCause(Cause.combine(Cause.fail("refused"), Cause.die("defect")))
      )
      expect(Exit.hasInterrupts(yield* Effect.exit(interrupting))).toBe(true)
      expect((yield* state())._tag).toBe("Closed")
      // As a probe each of them gives its slot back.
      yield* times(2, call("a", refused))
      yield* TestClock.adjust("10 seconds")
      for (const probe of [thrown, dying, interrupting]) {
        yield* Effect.exit(probe)
        expect(yield* state()).toMatchObject({ _tag: "HalfOpen", probing: false })
      }
      expect(yield* call("a", answer)).toBe("answer")
      expect((yield* state())._tag).toBe("Closed")
    })
  )

  test(
    "gives the slot of a probe back whose classification hangs, once that is interrupted",
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      yield* times(2, call("a", refused))
      yield* TestClock.adjust("10 seconds")
      const hanging = yield* start(breaker.execute(answer, { key: "a", classify: () => Effect.never }))
      expect(yield* rejection()).toMatchObject({ _tag: "CircuitHalfOpen" })
      yield* Fiber.interrupt(hanging)
      expect(Exit.hasInterrupts(yield* Fiber.await(hanging))).toBe(true)
      expect(yield* state()).toMatchObject({ _tag: "HalfOpen", probing: false })
      expect(yield* call("a", answer)).toBe("answer")
    })
  )

  test(
    "passes the rejection of another guard inside it as it is",
    Effect.gen(function* () {
      const inner = new ServiceUnavailable({ service: "inner", reason: UnavailableReason.CircuitOpen() })
      expect(yield* Effect.flip(call("a", Effect.fail(inner)))).toBe(inner)
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const judged = breaker.execute(Effect.fail(inner), { key: "a", classify: () => CircuitBreaker.ignored })
      expect(yield* Effect.flip(judged)).toBe(inner)
    })
  )

  test(
    "tells of its transitions",
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.CircuitBreaker
      const heard = yield* breaker.transitions.pipe(Stream.take(4), Stream.runCollect, start)
      yield* times(2, call("a", refused))
      yield* TestClock.adjust("10 seconds")
      yield* times(1, call("a", refused))
      yield* TestClock.adjust("10 seconds")
      yield* call("a", answer)
      const opening = { key: "a", to: "Open", retryAfter: Duration.seconds(10) }
      expect(yield* Fiber.join(heard)).toEqual([
        { ...opening, from: "Closed", consecutiveOpenings: 1 },
        { key: "a", from: "Open", to: "HalfOpen" },
        { ...opening, from: "HalfOpen", consecutiveOpenings: 2 },
        { key: "a", from: "Open", to: "HalfOpen" }
      ])
    })
  )
}
