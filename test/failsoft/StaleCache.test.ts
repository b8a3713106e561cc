import { describe, expect, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Context,
  Data,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Logger,
  Option,
  Random,
  References,
  Scope
} from "effect"
import { TestClock } from "effect/testing"
import {
  Ambiguous,
  Deadline,
  Misconfigured,
  QuotaExceeded,
  ServiceUnavailable,
  StaleCache,
  UnavailableReason,
  Unsupported
} from "failsoft"
import { asked } from "./asked.ts"
import { reasonOf } from "./calls.ts"
import { hearing } from "./hearing.ts"
import { counted, withRegistry } from "./metrics.ts"

class NotFound extends Data.TaggedError("NotFound")<{ readonly key: string }> {}
class Refused extends Data.TaggedError("Refused") {}

const away = new ServiceUnavailable({ service: "prices", reason: UnavailableReason.NotConnected() })

type Err = NotFound | Refused | ServiceUnavailable | Misconfigured | Unsupported | QuotaExceeded | Ambiguous

const base = { name: "prices", timeToLive: "1 minute", jitter: 0 } as const

/** A cache whose lookups are answered by the test. */
const caching = (given?: Partial<StaleCache.Options<string, number, Err>>) =>
  Effect.map(
    Effect.sync(() => asked<number, Err>()),
    (dependency) => ({ ...dependency, given: { ...base, lookup: dependency.lookup, ...given } })
  ).pipe(
    Effect.flatMap(({ given, ...dependency }) =>
      Effect.map(StaleCache.make(given), (cache) => ({ ...dependency, cache }))
    )
  )

/** As `caching`, with the value 1 held for "a" since now. */
const holding = (given?: Partial<StaleCache.Options<string, number, Err>>) =>
  Effect.tap(caching(given), ({ cache, last }) =>
    Effect.gen(function* () {
      const first = yield* Effect.forkChild(cache.get("a"), { startImmediately: true })
      yield* last().answer(Exit.succeed(1))
      expect(yield* Fiber.join(first)).toBe(1)
    })
  )

const forked = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.forkChild(effect, { startImmediately: true })

/** A fiber's exit, which has to be there. */
const exitOf = <A, E>(fiber: Fiber.Fiber<A, E>) => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined) throw new Error("the fiber still runs")
  return exit
}

const live = (value: number, ageMillis: number) => ({ value, source: "live", ageMillis })
const stale = (value: number, ageMillis: number) => ({ value, source: "stale", ageMillis })

describe("a fresh value", () => {
  it.effect("is served without a lookup until its time to live is over", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding()
      yield* TestClock.adjust(59_999)
      expect(yield* cache.get("a")).toBe(1)
      expect(yield* cache.getServed("a")).toEqual(live(1, 59_999))
      expect(questions).toHaveLength(1)

      yield* TestClock.adjust(1)
      const next = yield* forked(cache.getServed("a"))
      expect(questions).toHaveLength(2)
      yield* questions[1]!.answer(Exit.succeed(2))
      expect(yield* Fiber.join(next)).toEqual(live(2, 0))
    })
  )

  it.effect("does not notice that the wall clock is set", () =>
    Effect.gen(function* () {
      const { cache } = yield* holding({ staleIfError: "1 hour" })
      yield* TestClock.adjust("30 seconds")
      yield* TestClock.setTime(0)
      expect(yield* cache.getServed("a")).toEqual(live(1, 30_000))
      yield* TestClock.adjust("20 seconds")
      expect((yield* cache.getServed("a")).source).toBe("live")
    })
  )

  it.effect("has a time to live that its value may decide", () =>
    Effect.gen(function* () {
      let lookups = 0
      const cache = yield* StaleCache.make({
        ...base,
        staleIfError: "1 second",
        lookup: (key: string) => Effect.sync(() => [key, ++lookups] as const),
        timeToLive: ([key, count], asked) => {
          expect(asked).toBe(key)
          return key === "never" ? 0 : key === "forever" ? Duration.infinity : Duration.seconds(count)
        }
      })
      yield* cache.get("a")
      yield* cache.get("b")
      yield* TestClock.adjust("1 second")
      expect(yield* cache.get("b")).toEqual(["b", 2])
      expect(yield* cache.get("a")).toEqual(["a", 3])

      yield* cache.get("never")
      yield* cache.get("never")
      expect(lookups).toBe(5)
      expect(yield* cache.peek("never")).toEqual(Option.none())
      yield* cache.get("forever")
      yield* TestClock.adjust("364 days")
      expect(yield* cache.get("forever")).toEqual(["forever", 6])
      yield* TestClock.adjust("1 day")
      expect(yield* cache.get("forever")).toEqual(["forever", 7])
    })
  )

  it.effect("that is not to be stored takes the place of the one before", () =>
    Effect.gen(function* () {
      let ttl = 60_000
      const cache = yield* StaleCache.make({
        ...base,
        lookup: () => Effect.sync(() => ttl),
        timeToLive: (value) => value
      })
      yield* cache.get("a")
      ttl = -1
      yield* cache.refresh("a")
      expect(yield* cache.peek("a")).toEqual(Option.none())
      expect((yield* cache.snapshot).entries).toBe(0)
    })
  )

  it.effect("lives up to a tenth shorter by chance, unless told otherwise", () =>
    Effect.gen(function* () {
      const ages = (jitter: number | undefined) =>
        Effect.gen(function* () {
          const cache = yield* StaleCache.make({
            name: "prices",
            lookup: (key: string) => Effect.succeed(key),
            timeToLive: "1000 seconds",
            jitter
          })
          const keys = Array.from({ length: 200 }, (_, index) => `key ${index}`)
          yield* Effect.forEach(keys, cache.get)
          const counts: Array<number> = []
          for (const millis of [899_999, 50_001, 49_999, 1]) {
            yield* TestClock.adjust(millis)
            const held = yield* Effect.forEach(keys, cache.peek)
            counts.push(held.filter(Option.isSome).length)
          }
          return counts
        }).pipe(Random.withSeed("jitter"))
      const [before, half, ...rest] = yield* ages(undefined)
      expect(before).toBe(200)
      expect(half).toBeGreaterThan(70)
      expect(half).toBeLessThan(130)
      expect(rest).toEqual([0, 0])
      expect(yield* ages(0)).toEqual([200, 200, 200, 0])
    })
  )

  it.effect("keeps its own time, whatever clock the caller has", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding()
      const other = yield* Effect.provide(Clock.Clock, TestClock.layer())
      yield* TestClock.adjust("59 seconds")
      expect(yield* cache.get("a").pipe(Effect.provideService(Clock.Clock, other))).toBe(1)
      expect(questions).toHaveLength(1)
    })
  )
})

describe("one lookup", () => {
  it.effect("serves a thousand callers of its key", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const callers = yield* Effect.replicateEffect(forked(cache.get("a")), 1000)
      expect(questions).toHaveLength(1)
      expect((yield* cache.snapshot).inFlight).toBe(1)
      yield* questions[0]!.answer(Exit.succeed(7))
      expect(new Set(callers.map((caller) => exitOf(caller)))).toEqual(new Set([Exit.succeed(7)]))
      expect(yield* cache.snapshot).toMatchObject({
        misses: 1000,
        lookups: 1,
        entries: 1,
        inFlight: 0,
        background: 0
      })
    })
  )

  it.effect("fails for all, and is made again for the next", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const callers = yield* Effect.replicateEffect(forked(cache.get("a")), 3)
      yield* questions[0]!.answer(Exit.fail(new Refused()))
      expect(callers.map(exitOf)).toEqual(callers.map(() => Exit.fail(new Refused())))
      yield* forked(cache.get("a"))
      expect(questions).toHaveLength(2)
    })
  )

  it.effect("dies for all, and is made again for the next", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const callers = yield* Effect.replicateEffect(forked(cache.get("a")), 3)
      yield* questions[0]!.answer(Exit.die("bug"))
      expect(callers.map(exitOf)).toEqual(callers.map(() => Exit.die("bug")))
      yield* forked(cache.get("a"))
      expect(questions).toHaveLength(2)
    })
  )

  it.effect("may throw instead of giving an effect", () =>
    Effect.gen(function* () {
      const cache = yield* StaleCache.make({
        ...base,
        lookup: (_key: string): Effect.Effect<number> => {
          throw new Error("thrown")
        }
      })
      expect(Cause.hasDies(yield* Effect.flip(Effect.sandbox(cache.get("a"))))).toBe(true)
      expect(yield* cache.snapshot).toMatchObject({ lookups: 1, failures: 1, inFlight: 0 })
    })
  )

  it.effect("is not shared by keys", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const [a, b] = yield* Effect.all([forked(cache.get("a")), forked(cache.get("b"))])
      yield* questions[1]!.answer(Exit.succeed(2))
      yield* questions[0]!.answer(Exit.succeed(1))
      expect([exitOf(a), exitOf(b)]).toEqual([Exit.succeed(1), Exit.succeed(2)])
    })
  )

  it.effect("goes on when the caller that began it is interrupted", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const first = yield* forked(cache.get("a"))
      const second = yield* forked(cache.get("a"))
      yield* Fiber.interrupt(first)
      yield* questions[0]!.answer(Exit.succeed(1))
      expect(exitOf(second)).toEqual(Exit.succeed(1))
      expect(questions).toHaveLength(1)
      expect(yield* cache.get("a")).toBe(1)
    })
  )

  it.effect("is interrupted with the last of its callers, who waits for its finalizers", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const callers = yield* Effect.replicateEffect(forked(cache.get("a")), 3)
      yield* Fiber.interrupt(callers[0]!)
      yield* Fiber.interrupt(callers[2]!)
      expect(questions[0]!.ended()).toBe(undefined)
      yield* Fiber.interrupt(callers[1]!)
      expect(questions[0]!.ended()).toBe("interrupted")
      expect(yield* cache.snapshot).toMatchObject({ inFlight: 0, background: 0, misses: 3 })
      yield* forked(cache.get("a"))
      expect(questions).toHaveLength(2)
    })
  )

  it.effect("keeps the last of its callers for as long as its finalizers take, and its key for nobody", () =>
    Effect.gen(function* () {
      let lookups = 0
      const cache = yield* StaleCache.make({
        ...base,
        lookup: () =>
          Effect.suspend(() => {
            lookups++
            return lookups === 1 ? Effect.ensuring(Effect.never, Effect.sleep("3 seconds")) : Effect.never
          })
      })
      const caller = yield* forked(cache.get("a"))
      const interruption = yield* forked(Fiber.interrupt(caller))
      yield* TestClock.adjust("2999 millis")
      expect(interruption.pollUnsafe()).toBe(undefined)
      expect((yield* cache.snapshot).inFlight).toBe(0)
      yield* forked(cache.get("a"))
      expect(lookups).toBe(2)
      yield* TestClock.adjust("1 millis")
      expect(Exit.isSuccess(exitOf(interruption))).toBe(true)
    })
  )

  it.effect("that was interrupted with its caller says nothing of the dependency", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ staleIfError: "1 hour" })
      yield* TestClock.adjust("60 seconds")
      yield* Effect.flatMap(forked(cache.get("a")), Fiber.interrupt)
      yield* forked(cache.get("a"))
      expect(questions).toHaveLength(3)
      expect((yield* cache.snapshot).failures).toBe(0)
    })
  )

  it.effect("that interrupts itself releases who waits for it", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const caller = yield* forked(cache.get("a"))
      yield* questions[0]!.answer(Exit.interrupt())
      expect(Exit.hasInterrupts(exitOf(caller))).toBe(true)
      expect((yield* cache.snapshot).inFlight).toBe(0)
    })
  )

  it.effect("ends with the cache, and releases who waits for it", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { cache, questions } = yield* Scope.provide(caching(), scope)
      const caller = yield* forked(cache.get("a"))
      yield* Scope.close(scope, Exit.void)
      expect(questions[0]!.ended()).toBe("interrupted")
      expect(Exit.hasInterrupts(exitOf(caller))).toBe(true)

      const late = yield* forked(cache.get("b"))
      expect(Exit.hasInterrupts(exitOf(late))).toBe(true)
      expect(questions).toHaveLength(1)
    })
  )

  it.effect("runs where the cache was made, and not where its caller is", () => {
    class Who extends Context.Service<Who, string>()("test/Who") {}
    return Effect.gen(function* () {
      const cache = yield* StaleCache.make({
        ...base,
        lookup: () =>
          Effect.all([
            Who,
            Deadline.remaining,
            Effect.withFiber((fiber) => Effect.succeed(fiber.getRef(References.CurrentLogAnnotations)))
          ])
      }).pipe(
        Effect.provideService(Who, "maker"),
        Effect.annotateLogs("maker", 1),
        // A deadline of the start-up is not one of the lookups.
        Deadline.within("1 second")
      )
      const found = yield* cache
        .get("a")
        .pipe(
          Effect.provideService(Who, "caller"),
          Effect.annotateLogs("caller", 1),
          Deadline.within("5 seconds")
        )
      expect(found).toEqual(["maker", Option.none(), { maker: 1 }])
    })
  })

  it.effect("can be made of effects that are run again", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ staleIfError: "1 hour" })
      const get = cache.getServed("a")
      expect(yield* get).toEqual(live(1, 0))
      yield* TestClock.adjust("1 minute")
      const second = yield* forked(get)
      yield* questions[1]!.answer(Exit.fail(away))
      expect(exitOf(second)).toEqual(Exit.succeed(stale(1, 60_000)))
      expect(yield* get).toEqual(stale(1, 60_000))
    })
  )
})

describe("stale while revalidate", () => {
  const given = { staleWhileRevalidate: "10 seconds" } as const

  it.effect("serves at once and refreshes behind", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding(given)
      yield* TestClock.adjust("60 seconds")
      expect(yield* cache.getServed("a")).toEqual(stale(1, 60_000))
      expect(questions).toHaveLength(1)
      yield* Effect.yieldNow
      expect(questions).toHaveLength(2)
      expect(yield* cache.snapshot).toMatchObject({ inFlight: 1, background: 1 })
      // Whoever comes meanwhile is served too, and asks nothing.
      yield* TestClock.adjust("9999 millis")
      expect(yield* cache.getServed("a")).toEqual(stale(1, 69_999))
      expect(questions).toHaveLength(2)

      yield* questions[1]!.answer(Exit.succeed(2))
      expect(yield* cache.getServed("a")).toEqual(live(2, 0))
      expect(yield* cache.snapshot).toMatchObject({ hits: 1, stale: 2, misses: 1, lookups: 2, background: 0 })
    })
  )

  it.effect("ends with its window: then callers wait for the refresh", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding(given)
      yield* TestClock.adjust("60 seconds")
      yield* cache.get("a")
      yield* TestClock.adjust("10 seconds")
      const caller = yield* forked(cache.get("a"))
      expect(caller.pollUnsafe()).toBe(undefined)
      expect(questions).toHaveLength(2)
      expect(yield* cache.snapshot).toMatchObject({ inFlight: 1, background: 0 })
      yield* questions[1]!.answer(Exit.succeed(2))
      expect(exitOf(caller)).toEqual(Exit.succeed(2))
    })
  )

  it.effect("keeps a value whose refresh fails, and leaves the dependency alone for a while", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ ...given, staleWhileRevalidate: "1 hour" })
      yield* TestClock.adjust("60 seconds")
      yield* cache.get("a")
      yield* Effect.yieldNow
      yield* questions[1]!.answer(Exit.fail(new Refused()))
      yield* TestClock.adjust("9999 millis")
      expect(yield* cache.getServed("a")).toEqual(stale(1, 69_999))
      yield* Effect.yieldNow
      expect(questions).toHaveLength(2)
      yield* TestClock.adjust("1 millis")
      yield* cache.get("a")
      yield* Effect.yieldNow
      expect(questions).toHaveLength(3)
    })
  )

  it.effect("runs no more refreshes at once than it may", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching({ ...given, maxBackground: 2 })
      const keys = ["a", "b", "c", "d"]
      yield* Effect.forEach(keys, (key) => cache.set(key, 1))
      yield* TestClock.adjust("60 seconds")
      expect(yield* Effect.forEach(keys, cache.get)).toEqual([1, 1, 1, 1])
      yield* Effect.yieldNow
      expect(questions.map(({ key }) => key)).toEqual(["a", "b"])
      yield* questions[0]!.answer(Exit.succeed(2))
      yield* Effect.forEach(keys, cache.get)
      yield* Effect.yieldNow
      expect(questions.map(({ key }) => key)).toEqual(["a", "b", "c"])
      expect((yield* cache.snapshot).background).toBe(2)
    })
  )

  it.effect("runs sixty-four refreshes at once by default", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching(given)
      const keys = Array.from({ length: 70 }, (_, index) => `key ${index}`)
      yield* Effect.forEach(keys, (key) => cache.set(key, 1))
      yield* TestClock.adjust("60 seconds")
      yield* Effect.forEach(keys, cache.get)
      yield* Effect.yieldNow
      expect(questions).toHaveLength(64)
    })
  )

  it.effect("goes on when a caller that joined the refresh is interrupted", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding(given)
      yield* TestClock.adjust("60 seconds")
      yield* cache.get("a")
      yield* TestClock.adjust("10 seconds")
      yield* Effect.flatMap(forked(cache.get("a")), Fiber.interrupt)
      expect(questions[1]!.ended()).toBe(undefined)
      expect(yield* cache.snapshot).toMatchObject({ inFlight: 1, background: 1 })
      yield* questions[1]!.answer(Exit.succeed(2))
      expect(yield* cache.get("a")).toBe(2)
    })
  )
})

describe("eager refresh", () => {
  it.effect("refreshes behind a hit late in the time to live, once", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ eagerRefresh: 0.8 })
      yield* TestClock.adjust(47_999)
      yield* cache.get("a")
      yield* Effect.yieldNow
      expect(questions).toHaveLength(1)
      yield* TestClock.adjust(1)
      expect(yield* cache.getServed("a")).toEqual(live(1, 48_000))
      yield* cache.get("a")
      yield* Effect.yieldNow
      expect(questions).toHaveLength(2)
      yield* questions[1]!.answer(Exit.succeed(2))
      expect(yield* cache.getServed("a")).toEqual(live(2, 0))
      expect(yield* cache.snapshot).toMatchObject({ hits: 4, stale: 0, misses: 1 })
    })
  )

  it.effect("does nothing while nobody asks", () =>
    Effect.gen(function* () {
      const { questions } = yield* holding({ eagerRefresh: 0.5 })
      yield* TestClock.adjust("10 minutes")
      expect(questions).toHaveLength(1)
    })
  )

  it.effect("that fails takes nothing from the value, and pauses", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ eagerRefresh: 0.5 })
      yield* TestClock.adjust("30 seconds")
      yield* cache.get("a")
      yield* Effect.yieldNow
      yield* questions[1]!.answer(Exit.fail(away))
      yield* cache.get("a")
      yield* Effect.yieldNow
      expect(questions).toHaveLength(2)
      yield* TestClock.adjust("29999 millis")
      expect(yield* cache.getServed("a")).toEqual(live(1, 59_999))
    })
  )
})

describe("stale if error", () => {
  const given = { staleIfError: "10 minutes" } as const

  it.effect("serves a value for an outage, with its age, until the window is over", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding(given)
      const seen: Array<unknown> = []
      for (const millis of [60_000, 299_999, 300_000, 1]) {
        yield* TestClock.adjust(millis)
        const caller = yield* forked(cache.getServed("a"))
        yield* questions.at(-1)!.answer(Exit.fail(away))
        seen.push(exitOf(caller))
      }
      expect(seen).toEqual([
        Exit.succeed(stale(1, 60_000)),
        Exit.succeed(stale(1, 359_999)),
        Exit.succeed(stale(1, 659_999)),
        Exit.fail(away)
      ])
      expect(yield* cache.snapshot).toMatchObject({ hits: 0, stale: 3, misses: 2, entries: 0, failures: 4 })
    })
  )

  it.effect("does not let failures make a value live longer", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ ...given, pauseAfterFailure: "1 second" })
      yield* TestClock.adjust("60 seconds")
      let served = 0
      for (;;) {
        const caller = yield* forked(cache.getServed("a"))
        yield* questions.at(-1)!.answer(Exit.fail(away))
        const exit = exitOf(caller)
        if (Exit.isFailure(exit)) break
        expect(exit.value.source).toBe("stale")
        served++
        yield* TestClock.adjust("1 second")
      }
      expect(served).toBe(600)
    })
  )

  it.effect("asks again after a pause, and meanwhile serves at once", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ ...given, pauseAfterFailure: "5 seconds" })
      yield* TestClock.adjust("60 seconds")
      const caller = yield* forked(cache.get("a"))
      yield* questions[1]!.answer(Exit.fail(away))
      expect(exitOf(caller)).toEqual(Exit.succeed(1))
      yield* TestClock.adjust("4999 millis")
      expect(yield* cache.getServed("a")).toEqual(stale(1, 64_999))
      expect(questions).toHaveLength(2)
      yield* TestClock.adjust("1 millis")
      const next = yield* forked(cache.get("a"))
      yield* questions[2]!.answer(Exit.succeed(2))
      expect(exitOf(next)).toEqual(Exit.succeed(2))
      expect(yield* cache.getServed("a")).toEqual(live(2, 0))
    })
  )

  it.effect("has a pause only while there is something to serve", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching(given)
      for (let asked = 1; asked <= 3; asked++) {
        const caller = yield* forked(cache.get("a"))
        expect(questions).toHaveLength(asked)
        yield* questions.at(-1)!.answer(Exit.fail(away))
        expect(exitOf(caller)).toEqual(Exit.fail(away))
      }
    })
  )

  it.effect.each<readonly [string, Err]>([
    ["Misconfigured", new Misconfigured({ service: "prices", problem: "the password is wrong" })],
    ["Unsupported", new Unsupported({ service: "prices", operation: "get" })],
    ["QuotaExceeded", new QuotaExceeded({ quota: "prices", limit: 1, retryAfter: Duration.seconds(1) })],
    ["Ambiguous", new Ambiguous({ service: "prices", operation: "get" })],
    ["an error of the caller's own", new Refused()]
  ])("does not hide %s, and leaves the value where it is", ([, error]) =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({
        ...given,
        // Even who says that everything is an outage, and an answer, does not hide what is settled.
        ...(error instanceof Refused
          ? {}
          : { isUnavailable: () => true, negative: { timeToLive: "1 second", when: () => true } })
      })
      yield* TestClock.adjust("60 seconds")
      for (const asked of [2, 3]) {
        const caller = yield* forked(cache.get("a"))
        expect(questions).toHaveLength(asked)
        yield* questions.at(-1)!.answer(Exit.fail(error))
        expect(exitOf(caller)).toEqual(Exit.fail(error))
      }
      expect(yield* cache.peek("a")).toEqual(Option.some(stale(1, 60_000)))
    })
  )

  it.effect.each<readonly [string, Exit.Exit<number, Err>]>([
    ["a defect", Exit.die("bug")],
    ["a defect that comes with an outage", Exit.failCause(Cause.combine(Cause.fail(away), Cause.die("bug")))],
    ["an interruption", Exit.failCause(Cause.interrupt(7))]
  ])("does not hide %s, and leaves the value where it is", ([, exit]) =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({
        ...given,
        isUnavailable: () => true,
        negative: { timeToLive: "1 second", when: () => true }
      })
      yield* TestClock.adjust("60 seconds")
      const caller = yield* forked(cache.get("a"))
      yield* questions[1]!.answer(exit)
      expect(exitOf(caller)).toEqual(exit)
      expect(yield* cache.peek("a")).toEqual(Option.some(stale(1, 60_000)))
    })
  )

  it.effect("has nothing to say of the end of the cache", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { cache } = yield* Scope.provide(holding(given), scope)
      yield* TestClock.adjust("60 seconds")
      const caller = yield* forked(cache.get("a"))
      yield* Scope.close(scope, Exit.void)
      expect(Exit.hasInterrupts(exitOf(caller))).toBe(true)
    })
  )

  it.effect("takes the caller's word for which of its own errors are an outage", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({
        ...given,
        isUnavailable: (error) => {
          if (error instanceof NotFound) throw new Error("a bug in the predicate")
          return error instanceof Refused
        }
      })
      yield* TestClock.adjust("60 seconds")
      const first = yield* forked(cache.get("a"))
      const notFound = new NotFound({ key: "a" })
      yield* questions[1]!.answer(Exit.fail(notFound))
      expect(exitOf(first)).toEqual(Exit.fail(notFound))
      const second = yield* forked(cache.getServed("a"))
      yield* questions[2]!.answer(Exit.fail(new Refused()))
      expect(exitOf(second)).toEqual(Exit.succeed(stale(1, 60_000)))
    })
  )

  it.effect("judges by how old the value is when the lookup has failed", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ ...given, hardTimeout: "20 minutes" })
      yield* TestClock.adjust("10 minutes")
      const caller = yield* forked(cache.get("a"))
      yield* TestClock.adjust("1 minute")
      yield* questions[1]!.answer(Exit.fail(away))
      expect(exitOf(caller)).toEqual(Exit.fail(away))
    })
  )

  it.effect("serves what was set meanwhile, which is live", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching(given)
      const caller = yield* forked(cache.getServed("a"))
      yield* cache.set("a", 5)
      yield* questions[0]!.answer(Exit.fail(away))
      expect(exitOf(caller)).toEqual(Exit.succeed(live(5, 0)))
    })
  )
})

describe("the soft timeout", () => {
  const given = { staleIfError: "10 minutes", softTimeout: "1 second" } as const

  it.effect("serves a stale value while the lookup goes on", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding(given)
      yield* TestClock.adjust("60 seconds")
      const caller = yield* forked(cache.getServed("a"))
      yield* TestClock.adjust("999 millis")
      expect(caller.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(exitOf(caller)).toEqual(Exit.succeed(stale(1, 61_000)))
      expect(yield* cache.snapshot).toMatchObject({ inFlight: 1, background: 1, stale: 1 })

      yield* questions[1]!.answer(Exit.succeed(2))
      expect(yield* cache.getServed("a")).toEqual(live(2, 0))
      expect((yield* cache.snapshot).background).toBe(0)
    })
  )

  it.effect("counts from the beginning of the lookup, so that who comes late does not wait", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding(given)
      yield* TestClock.adjust("60 seconds")
      yield* forked(cache.get("a"))
      yield* TestClock.adjust("600 millis")
      const second = yield* forked(cache.getServed("a"))
      yield* TestClock.adjust("400 millis")
      expect(exitOf(second)).toEqual(Exit.succeed(stale(1, 61_000)))
      expect(yield* cache.getServed("a")).toEqual(stale(1, 61_000))
      expect(questions).toHaveLength(2)
    })
  )

  it.effect("is nothing to a caller for whom there is nothing to serve", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching(given)
      const caller = yield* forked(cache.get("a"))
      yield* TestClock.adjust("29 seconds")
      expect(caller.pollUnsafe()).toBe(undefined)
      yield* questions[0]!.answer(Exit.succeed(1))
      expect(exitOf(caller)).toEqual(Exit.succeed(1))
    })
  )

  it.effect("serves nothing that is gone when it is over, or was forgotten", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding(given)
      yield* TestClock.adjust("659500 millis")
      const caller = yield* forked(cache.get("a"))
      yield* TestClock.adjust("1 second")
      expect(caller.pollUnsafe()).toBe(undefined)
      yield* questions[1]!.answer(Exit.succeed(2))
      expect(exitOf(caller)).toEqual(Exit.succeed(2))

      yield* TestClock.adjust("60 seconds")
      const other = yield* forked(cache.get("a"))
      yield* cache.invalidate("a")
      yield* TestClock.adjust("2 seconds")
      expect(other.pollUnsafe()).toBe(undefined)
      yield* questions[2]!.answer(Exit.succeed(3))
      expect(exitOf(other)).toEqual(Exit.succeed(3))
      expect(yield* cache.peek("a")).toEqual(Option.none())
    })
  )

  it.effect("lets go of a lookup for which there is no room behind, and pauses", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching({ ...given, maxBackground: 1 })
      yield* cache.set("a", 1)
      yield* cache.set("b", 1)
      yield* TestClock.adjust("60 seconds")
      const callers = yield* Effect.all([forked(cache.get("a")), forked(cache.get("b"))])
      yield* TestClock.adjust("1 second")
      expect(callers.map(exitOf)).toEqual([Exit.succeed(1), Exit.succeed(1)])
      expect(questions.map(({ ended }) => ended())).toEqual([undefined, "interrupted"])
      expect(yield* cache.snapshot).toMatchObject({ inFlight: 1, background: 1 })
      expect(yield* cache.get("b")).toBe(1)
      expect(questions).toHaveLength(2)
    })
  )

  it.effect("lets a lookup go on though the last who waits is interrupted", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding(given)
      yield* TestClock.adjust("60 seconds")
      yield* forked(cache.get("a"))
      const patient = yield* forked(cache.refresh("a"))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(patient)
      expect(questions[1]!.ended()).toBe(undefined)
      yield* questions[1]!.answer(Exit.succeed(2))
      expect(yield* cache.get("a")).toBe(2)
    })
  )
})

describe("the hard timeout", () => {
  it.effect("gives a lookup up, and fails those for whom nothing is held", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching({ hardTimeout: "5 seconds" })
      const callers = yield* Effect.replicateEffect(forked(cache.get("a")), 2)
      yield* TestClock.adjust("4999 millis")
      expect(questions[0]!.ended()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(questions[0]!.ended()).toBe("interrupted")
      const five = Duration.seconds(5)
      for (const caller of callers) {
        expect(reasonOf(exitOf(caller))).toEqual(UnavailableReason.TimedOut({ after: five, of: five }))
      }
      expect(yield* cache.snapshot).toMatchObject({ inFlight: 0, background: 0, failures: 1 })
      yield* forked(cache.get("a"))
      expect(questions).toHaveLength(2)
    })
  )

  it.effect("is half a minute by default, and an outage", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ staleIfError: "10 minutes" })
      yield* TestClock.adjust("60 seconds")
      const caller = yield* forked(cache.getServed("a"))
      yield* TestClock.adjust("29999 millis")
      expect(caller.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(exitOf(caller)).toEqual(Exit.succeed(stale(1, 90_000)))
      expect(questions[1]!.ended()).toBe("interrupted")
      // It is a failed refresh like another.
      expect(yield* cache.get("a")).toBe(1)
      expect(questions).toHaveLength(2)
    })
  )

  it.effect(
    "waits for no lookup that does not let itself be interrupted, and stores nothing that comes of it",
    () =>
      Effect.gen(function* () {
        const late = yield* Deferred.make<number>()
        let lookups = 0
        const cache = yield* StaleCache.make({
          ...base,
          hardTimeout: "5 seconds",
          lookup: () => {
            lookups++
            return Effect.uninterruptible(Deferred.await(late))
          }
        })
        const caller = yield* forked(cache.get("a"))
        yield* TestClock.adjust("5 seconds")
        expect(reasonOf(exitOf(caller))?._tag).toBe("TimedOut")
        yield* Deferred.succeed(late, 1)
        yield* Effect.yieldNow
        expect(yield* cache.peek("a")).toEqual(Option.none())
        expect(yield* cache.snapshot).toMatchObject({ lookups: 1, inFlight: 0 })
        expect(yield* cache.get("a")).toBe(1)
        expect(lookups).toBe(2)
      })
  )

  it.effect("ends a refresh that nobody waits for", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({
        staleWhileRevalidate: "1 hour",
        hardTimeout: "5 seconds"
      })
      yield* TestClock.adjust("60 seconds")
      yield* cache.get("a")
      yield* TestClock.adjust("5 seconds")
      expect(questions[1]!.ended()).toBe("interrupted")
      expect((yield* cache.snapshot).background).toBe(0)
    })
  )
})

describe("the deadline of a caller", () => {
  it.effect("ends its wait and not the lookup, which others wait for and which is stored", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const hurried = yield* forked(cache.get("a").pipe(Deadline.within("2 seconds")))
      const patient = yield* forked(cache.get("a"))
      yield* TestClock.adjust("2 seconds")
      expect(reasonOf(exitOf(hurried))).toEqual(
        UnavailableReason.TimedOut({ after: Duration.seconds(2), of: Duration.seconds(30) })
      )
      yield* TestClock.adjust("20 seconds")
      yield* questions[0]!.answer(Exit.succeed(1))
      expect(exitOf(patient)).toEqual(Exit.succeed(1))
    })
  )

  it.effect("lets a lookup go on that nobody else waits for", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      yield* forked(cache.get("a").pipe(Deadline.within("2 seconds")))
      yield* TestClock.adjust("2 seconds")
      expect((yield* cache.snapshot).background).toBe(1)
      yield* questions[0]!.answer(Exit.succeed(1))
      expect(yield* cache.get("a")).toBe(1)
    })
  )

  it.effect("is waited for in whole milliseconds, as timers count", () =>
    Effect.gen(function* () {
      const { cache } = yield* caching()
      const caller = yield* forked(cache.get("a").pipe(Deadline.within("2500 micros")))
      yield* TestClock.adjust("2999 micros")
      expect(caller.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 micros")
      expect(reasonOf(exitOf(caller))).toMatchObject({ after: Duration.millis(3) })
    })
  )

  it.effect("is met by a stale value, where there is one", () =>
    Effect.gen(function* () {
      const { cache } = yield* holding({ staleIfError: "1 hour", softTimeout: "5 seconds" })
      yield* TestClock.adjust("60 seconds")
      const caller = yield* forked(cache.getServed("a").pipe(Deadline.within("2 seconds")))
      yield* TestClock.adjust("2 seconds")
      expect(exitOf(caller)).toEqual(Exit.succeed(stale(1, 62_000)))
    })
  )

  it.effect("that is spent begins no lookup", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ staleIfError: "1 hour" })
      const spent = Deadline.within(0.5)
      expect(yield* cache.get("a").pipe(spent)).toBe(1)
      yield* TestClock.adjust("60 seconds")
      expect(yield* cache.getServed("a").pipe(spent)).toEqual(stale(1, 60_000))
      const exit = yield* Effect.exit(cache.get("b").pipe(spent))
      expect(reasonOf(exit)).toEqual(
        UnavailableReason.TimedOut({ after: Duration.zero, of: Duration.seconds(30) })
      )
      expect(reasonOf(yield* Effect.exit(cache.refresh("a").pipe(spent)))?._tag).toBe("TimedOut")
      expect(questions).toHaveLength(1)
      expect(yield* cache.snapshot).toMatchObject({ hits: 1, stale: 1, misses: 2 })
    })
  )
})

describe("an error that is an answer", () => {
  const given = {
    staleIfError: "1 hour",
    negative: { timeToLive: "5 seconds", when: (error: Err) => error instanceof NotFound }
  } as const
  const notFound = new NotFound({ key: "a" })

  it.effect("is held for its own time, and comes back as it was", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching(given)
      const caller = yield* forked(cache.get("a"))
      yield* questions[0]!.answer(Exit.fail(notFound))
      expect(exitOf(caller)).toEqual(Exit.fail(notFound))
      yield* TestClock.adjust("4999 millis")
      expect(yield* Effect.flip(cache.get("a"))).toBe(notFound)
      expect(yield* Effect.flip(cache.getServed("a"))).toBe(notFound)
      expect(yield* cache.peek("a")).toEqual(Option.none())
      expect(yield* cache.snapshot).toMatchObject({ hits: 2, misses: 1, entries: 1, failures: 0 })
      yield* TestClock.adjust("1 millis")
      yield* forked(cache.get("a"))
      expect(questions).toHaveLength(2)
    })
  )

  it.effect("takes the place of a value, and has no windows of its own", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({
        ...given,
        staleWhileRevalidate: "1 minute",
        eagerRefresh: 0.5
      })
      yield* TestClock.adjust("60 seconds")
      yield* cache.get("a")
      yield* Effect.yieldNow
      yield* questions[1]!.answer(Exit.fail(notFound))
      yield* TestClock.adjust("4 seconds")
      expect(yield* Effect.flip(cache.get("a"))).toBe(notFound)
      yield* TestClock.adjust("1 second")
      const caller = yield* forked(cache.get("a"))
      yield* questions[2]!.answer(Exit.fail(away))
      expect(exitOf(caller)).toEqual(Exit.fail(away))
    })
  )

  it.effect("is not held if the predicate throws", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching({
        negative: {
          timeToLive: "5 seconds",
          when: () => {
            throw new Error("a bug in the predicate")
          }
        }
      })
      const caller = yield* forked(cache.get("a"))
      yield* questions[0]!.answer(Exit.fail(notFound))
      expect(exitOf(caller)).toEqual(Exit.fail(notFound))
      expect((yield* cache.snapshot).entries).toBe(0)
    })
  )
})

describe("invalidation", () => {
  it.effect("forgets a value, for outages as well", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ staleIfError: "1 hour" })
      yield* cache.invalidate("a")
      expect(yield* cache.peek("a")).toEqual(Option.none())
      const caller = yield* forked(cache.get("a"))
      yield* questions[1]!.answer(Exit.fail(away))
      expect(exitOf(caller)).toEqual(Exit.fail(away))
    })
  )

  it.effect("during a lookup keeps its answer from being stored, and from those who come later", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const before = yield* forked(cache.get("a"))
      yield* cache.invalidate("a")
      const after = yield* forked(cache.get("a"))
      expect(questions).toHaveLength(2)
      yield* questions[1]!.answer(Exit.succeed(2))
      yield* questions[0]!.answer(Exit.succeed(1))
      expect([exitOf(before), exitOf(after)]).toEqual([Exit.succeed(1), Exit.succeed(2)])
      expect(yield* cache.get("a")).toBe(2)

      const other = yield* forked(cache.get("b"))
      yield* cache.invalidate("b")
      yield* questions[2]!.answer(Exit.succeed(3))
      expect(exitOf(other)).toEqual(Exit.succeed(3))
      expect(yield* cache.peek("b")).toEqual(Option.none())
    })
  )

  it.effect("ends a refresh that nobody waits for, and a lookup that is left", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ staleWhileRevalidate: "1 hour" })
      yield* TestClock.adjust("60 seconds")
      yield* cache.get("a")
      yield* Effect.yieldNow
      yield* cache.invalidate("a")
      expect(questions[1]!.ended()).toBe("interrupted")

      const hurried = yield* forked(cache.get("a").pipe(Deadline.within("1 second")))
      yield* cache.invalidate("a")
      yield* TestClock.adjust("1 second")
      expect(reasonOf(exitOf(hurried))?._tag).toBe("TimedOut")
      expect(questions[2]!.ended()).toBe("interrupted")
      expect(yield* cache.snapshot).toMatchObject({ inFlight: 0, background: 0 })
    })
  )

  it.effect("of everything does the same for each key", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching({ sizeOf: () => 10 })
      yield* cache.set("a", 1)
      yield* cache.set("b", 1)
      const caller = yield* forked(cache.get("c"))
      yield* cache.invalidateAll
      yield* questions[0]!.answer(Exit.succeed(3))
      expect(exitOf(caller)).toEqual(Exit.succeed(3))
      expect(yield* cache.snapshot).toMatchObject({ entries: 0, bytes: 0, inFlight: 0 })
    })
  )

  it.effect("by setting a value does the same, and holds the new one", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching()
      const caller = yield* forked(cache.get("a"))
      yield* cache.set("a", 9)
      yield* questions[0]!.answer(Exit.succeed(1))
      expect(exitOf(caller)).toEqual(Exit.succeed(1))
      expect(yield* cache.getServed("a")).toEqual(live(9, 0))
    })
  )
})

describe("a refresh by hand", () => {
  it.effect("looks up what is fresh, and replaces it", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding()
      const refresh = yield* forked(cache.refresh("a"))
      expect(yield* cache.get("a")).toBe(1)
      yield* questions[1]!.answer(Exit.succeed(2))
      expect(exitOf(refresh)).toEqual(Exit.succeed(2))
      expect(yield* cache.get("a")).toBe(2)
    })
  )

  it.effect("that fails says so, and takes nothing away", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding({ staleIfError: "1 hour", softTimeout: "1 second" })
      yield* TestClock.adjust("60 seconds")
      const refresh = yield* forked(cache.refresh("a"))
      yield* TestClock.adjust("2 seconds")
      yield* questions[1]!.answer(Exit.fail(away))
      expect(exitOf(refresh)).toEqual(Exit.fail(away))
      expect(yield* cache.getServed("a")).toEqual(stale(1, 62_000))
      expect(yield* cache.snapshot).toMatchObject({ misses: 1, stale: 1, hits: 0 })
    })
  )

  it.effect("is not paused by a failure before, and joins a lookup under way", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* holding()
      yield* forked(cache.refresh("a"))
      yield* questions[1]!.answer(Exit.fail(away))
      const refreshes = yield* Effect.replicateEffect(forked(cache.refresh("a")), 2)
      expect(questions).toHaveLength(3)
      yield* questions[2]!.answer(Exit.succeed(3))
      expect(refreshes.map(exitOf)).toEqual([Exit.succeed(3), Exit.succeed(3)])
    })
  )
})

describe("what is held", () => {
  it.effect("is bounded by entries: what was used least recently leaves", () =>
    Effect.gen(function* () {
      const { cache } = yield* caching({ maxEntries: 2 })
      yield* cache.set("a", 1)
      yield* cache.set("b", 2)
      yield* cache.get("a")
      yield* cache.peek("b")
      yield* cache.set("c", 3)
      expect(
        yield* Effect.forEach(["a", "b", "c"], (key) => Effect.map(cache.peek(key), Option.isSome))
      ).toEqual([true, false, true])
      expect(yield* cache.snapshot).toMatchObject({ entries: 2, evicted: 1, bytes: 0 })
    })
  )

  it.effect("is a thousand by default", () =>
    Effect.gen(function* () {
      const { cache } = yield* caching()
      yield* Effect.forEach(Array.from({ length: 1001 }), (_, index) => cache.set(String(index), index))
      expect(yield* cache.snapshot).toMatchObject({ entries: 1000, evicted: 1 })
    })
  )

  it.effect("is bounded by bytes, and what is too large is served and not kept", () =>
    Effect.gen(function* () {
      const { cache, questions } = yield* caching({
        maxBytes: 10,
        sizeOf: (value, key) => (key === "d" ? Number.NaN : value)
      })
      yield* cache.set("a", 4)
      yield* cache.set("b", 4)
      yield* cache.set("c", 4)
      expect(yield* cache.peek("a")).toEqual(Option.none())
      expect(yield* cache.snapshot).toMatchObject({ entries: 2, bytes: 8, evicted: 1 })
      for (const [key, value] of [
        ["b", 11],
        ["d", 1],
        ["e", -1]
      ] as const) {
        const caller = yield* forked(cache.refresh(key))
        yield* questions.at(-1)!.answer(Exit.succeed(value))
        expect(exitOf(caller)).toEqual(Exit.succeed(value))
        expect(yield* cache.peek(key)).toEqual(Option.none())
      }
      expect(yield* cache.snapshot).toMatchObject({ entries: 1, bytes: 4 })
    })
  )

  it.effect("is let go when it is asked for after its last window", () =>
    Effect.gen(function* () {
      const { cache } = yield* holding()
      yield* TestClock.adjust("60 seconds")
      expect((yield* cache.snapshot).entries).toBe(1)
      yield* forked(cache.get("a"))
      expect((yield* cache.snapshot).entries).toBe(0)
    })
  )

  it.effect("keeps a value whose judgement by the user's own function died", () =>
    Effect.gen(function* () {
      let dies = false
      const cache = yield* StaleCache.make({
        ...base,
        lookup: () => Effect.succeed(1),
        sizeOf: () => {
          if (dies) throw new Error("a bug in sizeOf")
          return 1
        }
      })
      yield* cache.get("a")
      dies = true
      expect(Exit.hasDies(yield* Effect.exit(cache.refresh("a")))).toBe(true)
      expect(yield* cache.get("a")).toBe(1)
      expect((yield* cache.snapshot).inFlight).toBe(0)
    })
  )
})

describe("metrics", () => {
  it.effect("say how callers were answered, and how much is held", () =>
    Effect.gen(function* () {
      const { cache } = yield* holding({ staleWhileRevalidate: "1 hour" })
      yield* cache.get("a")
      yield* cache.getServed("a")
      yield* TestClock.adjust("60 seconds")
      for (let call = 0; call < 3; call++) yield* cache.get("a")
      yield* StaleCache.make({ ...base, name: "off", enabled: false, lookup: Effect.succeed })
      expect(yield* counted).toEqual({
        "cache_requests_total{cache=prices,result=hit}": 2,
        "cache_requests_total{cache=prices,result=miss}": 1,
        "cache_requests_total{cache=prices,result=stale}": 3,
        "cache_entries{cache=prices}": 1
      })
    }).pipe(withRegistry)
  )
})

describe("refreshes that fail", () => {
  it.effect("are told once a second at most, with their number", () =>
    Effect.gen(function* () {
      const { events, made } = yield* hearing(caching({ staleWhileRevalidate: "1 hour" }))
      const { cache, questions } = made
      const fail = (key: string, exit: Exit.Exit<number, Err>) =>
        Effect.gen(function* () {
          yield* cache.get(key)
          yield* Effect.yieldNow
          yield* questions.at(-1)!.answer(exit)
        })
      for (const key of ["a", "b", "c"]) yield* cache.set(key, 1)
      yield* TestClock.adjust("60 seconds")
      yield* fail("a", Exit.fail(new Refused()))
      yield* TestClock.adjust("999 millis")
      yield* fail("b", Exit.fail(new Refused()))
      expect(events).toHaveLength(1)
      yield* TestClock.adjust("1 millis")
      yield* fail("c", Exit.fail(away))
      expect(events).toEqual([
        {
          _tag: "RefreshFailed",
          policy: "prices",
          atMillis: 60_000,
          count: 1,
          error: { tag: "Refused", name: "Refused" }
        },
        {
          _tag: "RefreshFailed",
          policy: "prices",
          atMillis: 61_000,
          count: 2,
          error: { tag: "ServiceUnavailable", name: "ServiceUnavailable" }
        }
      ])
    })
  )

  it.effect("are told also when they took too long, and not where nothing was held", () =>
    Effect.gen(function* () {
      const { events, made } = yield* hearing(caching({ staleWhileRevalidate: "1 hour" }))
      yield* forked(made.cache.get("a"))
      yield* TestClock.adjust("30 seconds")
      expect(events).toEqual([])
      yield* made.cache.set("b", 1)
      yield* TestClock.adjust("60 seconds")
      yield* made.cache.get("b")
      yield* TestClock.adjust("30 seconds")
      expect(events).toMatchObject([{ _tag: "RefreshFailed", count: 1 }])
      // What is gone when the lookup fails was not refreshed.
      yield* TestClock.adjust("2 hours")
      yield* forked(made.cache.refresh("b"))
      yield* made.last().answer(Exit.fail(away))
      expect(events).toHaveLength(1)
    })
  )

  it.effect("are reported where they died, since nobody may be there to see it", () => {
    const lines: Array<unknown> = []
    const logger = Logger.make(({ cause, logLevel, message }) => {
      lines.push([logLevel, message, Cause.hasDies(cause)])
    })
    return Effect.gen(function* () {
      const { cache, questions } = yield* holding({ staleWhileRevalidate: "1 hour" })
      yield* TestClock.adjust("60 seconds")
      yield* cache.get("a")
      yield* Effect.yieldNow
      yield* questions[1]!.answer(Exit.die("bug"))
      expect(lines).toEqual([
        ["Warn", ["prices: 1 refresh failed, what is held stays"], false],
        ["Error", ["failsoft: the lookup of prices died"], true]
      ])
      expect(yield* cache.get("a")).toBe(1)
    }).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.UnhandledLogLevel, "Error")
    )
  })
})

describe("a cache that is switched off", () => {
  it.effect("runs the lookup each time, in its caller's fiber, and holds nothing", () =>
    Effect.gen(function* () {
      let lookups = 0
      const cache = yield* StaleCache.make({
        ...base,
        enabled: false,
        staleIfError: "1 hour",
        lookup: (key: string) =>
          Effect.gen(function* () {
            lookups++
            if (key === "away") return yield* Effect.fail(away)
            const left = yield* Deadline.remaining
            return Option.match(left, { onNone: () => "none", onSome: Duration.format })
          })
      }).pipe(Deadline.within("1 second"))
      expect(yield* cache.get("a")).toBe("none")
      expect(yield* cache.get("a").pipe(Deadline.within("7 seconds"))).toBe("7s")
      expect(yield* cache.getServed("a")).toEqual({ value: "none", source: "live", ageMillis: 0 })
      expect(yield* cache.refresh("a")).toBe("none")
      expect(lookups).toBe(4)
      yield* cache.set("a", "set")
      expect(yield* cache.peek("a")).toEqual(Option.none())
      expect(yield* cache.get("a")).toBe("none")
      expect(yield* Effect.flip(cache.get("away"))).toBe(away)
      yield* cache.invalidate("a")
      yield* cache.invalidateAll
      expect(yield* cache.snapshot).toEqual({
        name: "prices",
        enabled: false,
        entries: 0,
        bytes: 0,
        hits: 0,
        stale: 0,
        misses: 0,
        lookups: 0,
        failures: 0,
        evicted: 0,
        inFlight: 0,
        background: 0
      })
    })
  )
})
