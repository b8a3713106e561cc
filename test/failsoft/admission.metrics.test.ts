/** What bulkheads, rate limiters and hedges publish that stand alone. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Bulkhead, Hedge, RateLimiter } from "failsoft"
import { inTime } from "./calls.ts"
import { counted, numbers, scrape, withRegistry } from "./metrics.ts"
import { calls } from "./waiting.ts"

const answer = Effect.succeed("answer")

/** The waits in the queue: how many, and their seconds. */
const waits = Effect.map(scrape, (all) =>
  all.flatMap(({ labels, name, state }) =>
    name === "failsoft_queue_wait_seconds" && "sum" in state ? [[labels.policy, state.count, state.sum]] : []
  )
)

describe("a bulkhead", () => {
  it.effect("publishes its limit, who runs, who waits, how long they did, and whom it turned away", () =>
    Effect.gen(function* () {
      const bulkhead = yield* Bulkhead.make({
        name: "billing",
        limit: 2,
        queue: 3,
        queueTimeout: "3 seconds",
        priorities: 2
      })
      expect(yield* numbers).toEqual({
        "inflight{policy=billing}": 0,
        "limit{policy=billing}": 2,
        "queue_depth{policy=billing}": 0,
        "rejections_total{policy=billing,reason=BulkheadFull}": 0
      })
      const { begin } = calls()
      const [first] = yield* Effect.forEach(["a", "b"], (name) => begin(name, bulkhead.execute))
      const [, interrupted] = yield* Effect.forEach(["admitted", "interrupted", "timed out"], (name) =>
        begin(name, bulkhead.execute)
      )
      yield* begin("one too many", bulkhead.execute)
      expect(yield* counted).toEqual({
        "inflight{policy=billing}": 2,
        "limit{policy=billing}": 2,
        "queue_depth{policy=billing}": 3,
        "rejections_total{policy=billing,reason=BulkheadFull}": 1
      })
      expect(yield* waits).toEqual([["billing", 0, 0]])
      yield* TestClock.adjust("500 millis")
      yield* first!.finish
      yield* Fiber.interrupt(interrupted!.fiber)
      expect(yield* waits).toEqual([["billing", 2, 1]])
      yield* TestClock.adjust("2500 millis")
      expect(yield* waits).toEqual([["billing", 3, 4]])
      yield* bulkhead.resize(5)
      expect(yield* counted).toEqual({
        "inflight{policy=billing}": 2,
        "limit{policy=billing}": 5,
        "rejections_total{policy=billing,reason=BulkheadFull}": 2
      })
    }).pipe(withRegistry)
  )

  it.effect("with keys publishes the sums of all, and the limit of each", () =>
    Effect.gen(function* () {
      const keyed = yield* Bulkhead.makeKeyed({ name: "hosts", limit: 1, queue: 1, maxKeys: 2 })
      const { begin } = calls()
      yield* Effect.forEach(["a", "a", "a", "b", "c"], (key) => begin(key, keyed.execute(key)))
      expect(yield* counted).toEqual({
        "inflight{policy=hosts}": 2,
        "limit{policy=hosts}": 1,
        "queue_depth{policy=hosts}": 1,
        "rejections_total{policy=hosts,reason=BulkheadFull}": 2
      })
    }).pipe(withRegistry)
  )
})

describe("a rate limiter", () => {
  it.effect("publishes whom it rejected, whether for its limit or for the line", () =>
    Effect.gen(function* () {
      const limiter = yield* RateLimiter.make({
        name: "search",
        algorithm: RateLimiter.gcra({ limit: 1, period: "1 second" }),
        onLimit: { delay: { maxWait: "1 second" } }
      })
      expect(yield* numbers).toEqual({ "rejections_total{policy=search,reason=RateLimited}": 0 })
      const took = yield* Effect.forEach([1, 2, 3], () =>
        Effect.forkChild(Effect.exit(limiter.take()), { startImmediately: true })
      )
      yield* Effect.exit(limiter.take(2))
      yield* TestClock.adjust("1 second")
      expect(took.map((fiber) => fiber.pollUnsafe() !== undefined)).toEqual([true, true, true])
      expect(yield* numbers).toEqual({ "rejections_total{policy=search,reason=RateLimited}": 2 })
    }).pipe(withRegistry)
  )

  it.effect("with keys publishes whom it rejected of all keys, also for want of room", () =>
    Effect.gen(function* () {
      const keyed = yield* RateLimiter.makeKeyed({
        name: "logins",
        algorithm: RateLimiter.fixedWindow({ limit: 1, window: "1 second" }),
        maxKeys: 2
      })
      yield* Effect.forEach(["a", "a", "b", "b", "b", "c"], (key) => Effect.exit(keyed.execute(key)(answer)))
      expect(yield* counted).toEqual({ "rejections_total{policy=logins,reason=RateLimited}": 4 })
    }).pipe(withRegistry)
  )
})

describe("a hedge", () => {
  it.effect("publishes its further attempts, and no call", () =>
    Effect.gen(function* () {
      const hedge = yield* Hedge.make({ name: "search", delay: "100 millis", hedges: 2 })
      expect(yield* numbers).toEqual({ "attempts_total{policy=search,kind=hedge}": 0 })
      const call = (millis: number, mayHedge = true) =>
        inTime(
          Effect.sleep(millis).pipe(
            Hedge.withHedge(hedge, { idempotent: true, mayHedge: Effect.succeed(mayHedge) })
          )
        )
      yield* call(50)
      expect(yield* counted).toEqual({})
      yield* call(150)
      yield* call(1000)
      yield* call(1000, false)
      expect(yield* counted).toEqual({ "attempts_total{policy=search,kind=hedge}": 3 })
    }).pipe(withRegistry)
  )
})

it.effect("what is switched off publishes nothing, and nothing is left of what has ended", () =>
  Effect.gen(function* () {
    const algorithm = RateLimiter.gcra({ limit: 1, period: "1 second" })
    const makeAll = (enabled: boolean) =>
      Effect.all([
        Bulkhead.make({ name: "one", limit: 1, enabled }),
        Bulkhead.makeKeyed({ name: "two", limit: 1, enabled }),
        RateLimiter.make({ name: "three", algorithm, enabled }),
        RateLimiter.makeKeyed({ name: "four", algorithm, enabled }),
        Hedge.make({ name: "five", enabled })
      ])
    yield* makeAll(false)
    expect(yield* scrape).toEqual([])
    const scope = yield* Scope.make()
    yield* Effect.provideService(makeAll(true), Scope.Scope, scope)
    const policies = new Set((yield* scrape).map(({ labels }) => labels.policy))
    expect(policies).toEqual(new Set(["one", "two", "three", "four", "five"]))
    yield* Scope.close(scope, Exit.void)
    expect(yield* scrape).toEqual([])
  }).pipe(withRegistry)
)
