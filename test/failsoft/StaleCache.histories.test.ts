import { Data, Effect, Exit, Fiber, Option, Scope } from "effect"
import { Deadline, type Served, ServiceUnavailable, StaleCache, UnavailableReason } from "failsoft"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { asked } from "./asked.ts"
import { World } from "./interruption.ts"
import { type Ending, ReferenceCache, type Result, settings } from "./referenceCache.ts"

class NotFound extends Data.TaggedError("NotFound") {}
class Refused extends Data.TaggedError("Refused") {}

const away = new ServiceUnavailable({ service: "prices", reason: UnavailableReason.NotConnected() })

type Err = NotFound | Refused | ServiceUnavailable

interface Value {
  readonly value: number
  readonly bytes: number
}

type Step =
  | { readonly do: "get" | "refresh"; readonly key: string; readonly within: number | undefined }
  | { readonly do: "interrupt" | "peek"; readonly pick: number }
  | { readonly do: "answer"; readonly pick: number; readonly with: Ending["_tag"]; readonly bytes: number }
  | { readonly do: "set"; readonly key: string; readonly bytes: number }
  | { readonly do: "invalidate"; readonly key: string }
  | { readonly do: "invalidate all" }
  | { readonly do: "advance"; readonly millis: number }
  | { readonly do: "set the wall clock"; readonly millis: number }

const keys = ["a", "b", "c", "d"] as const
const key = fc.constantFrom(...keys)
const bytes = fc.constantFrom(1, 5, 9, 25)
/** An eighth beyond a whole number, so that no deadline ends with another limit. */
const within = fc.option(
  fc.integer({ min: 2, max: 30 }).map((calls) => calls * 8 + 1),
  { nil: undefined }
)

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constant("get"), key: fc.constantFrom("a", "a", "b", ...keys), within })
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("refresh"), key, within }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("interrupt", "peek"), pick: fc.nat(9) }) },
  {
    weight: 7,
    arbitrary: fc.record({
      do: fc.constant("answer"),
      pick: fc.nat(3),
      with: fc.constantFrom("value", "value", "value", "not found", "away", "away", "refused", "died"),
      bytes
    })
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("set"), key, bytes }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("invalidate"), key }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("advance"),
      millis: fc.constantFrom(8, 24, 48, 64, 120, 160, 280)
    })
  },
  {
    weight: 1,
    arbitrary: fc.oneof(
      fc.record({ do: fc.constant("invalidate all") }),
      fc.record({ do: fc.constant("set the wall clock"), millis: fc.integer({ min: -1e6, max: 1e6 }) })
    )
  }
)

const resultOf = (exit: Exit.Exit<Served.Served<Value>, Err>): Result => {
  if (Exit.isSuccess(exit)) {
    const { ageMillis = Number.NaN, source, value } = exit.value
    if (source !== "live" && source !== "stale") throw new Error(`served as ${source}`)
    return { _tag: source, value: value.value, ageMillis }
  }
  if (Exit.hasInterrupts(exit)) return { _tag: "interrupted" }
  const error = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
  if (error === undefined) return { _tag: "failed", by: "died" }
  if (error instanceof NotFound) return { _tag: "failed", by: "not found" }
  if (error instanceof Refused) return { _tag: "failed", by: "refused" }
  return { _tag: "failed", by: error.reason._tag === "TimedOut" ? "timed out" : "away" }
}

const millis = (value: number) => value

/** A cache in a world of its own, beside the reference. */
class Pair {
  readonly world = new World()
  readonly reference = new ReferenceCache()
  readonly dependency = asked<Value, Err>()
  readonly callers: Array<Fiber.Fiber<Served.Served<Value>, Err>> = []
  readonly scope: Scope.Closeable
  readonly cache: StaleCache.StaleCache<string, Value, Err>
  private values = 0
  /** When each value was handed to the cache. */
  private readonly handedAt = new Map<number, number>()

  constructor() {
    this.scope = this.world.value(Scope.make())
    this.cache = this.world.value(
      StaleCache.make<string, Value, Err>({
        name: "prices",
        lookup: this.dependency.lookup,
        timeToLive: millis(settings.ttl),
        jitter: 0,
        eagerRefresh: settings.eager / settings.ttl,
        staleWhileRevalidate: millis(settings.revalidate),
        staleIfError: millis(settings.ifError),
        softTimeout: millis(settings.soft),
        hardTimeout: millis(settings.hard),
        negative: { timeToLive: millis(settings.negativeTtl), when: (error) => error instanceof NotFound },
        pauseAfterFailure: millis(settings.pause),
        maxBackground: settings.maxBackground,
        maxEntries: settings.maxEntries,
        maxBytes: settings.maxBytes,
        sizeOf: ({ bytes }) => bytes
      }).pipe(Scope.provide(this.scope))
    )
  }

  /** One step on both sides. Each begins a while after the one before, so that no two lookups begin at once. */
  take(step: Step): void {
    this.advance(8)
    switch (step.do) {
      case "get":
      case "refresh": {
        const asked =
          step.do === "get"
            ? this.cache.getServed(step.key)
            : Effect.map(
                this.cache.refresh(step.key),
                (value): Served.Served<Value> => ({ value, source: "live", ageMillis: 0 })
              )
        const call = step.within === undefined ? asked : Deadline.within(asked, step.within)
        this.callers.push(this.world.value(Effect.forkDetach(call, { startImmediately: true })))
        this.reference.call(step.do, step.key, step.within ?? Number.POSITIVE_INFINITY)
        return
      }
      case "interrupt": {
        const waiting = this.waiting()
        const index = waiting[step.pick % waiting.length]
        if (index === undefined) return
        this.world.value(Fiber.interrupt(this.callers[index]!))
        this.reference.interrupt(index)
        return
      }
      case "answer": {
        const running = this.running()
        const index = running[step.pick % running.length]
        if (index === undefined) return
        const ending = this.endingOf(step.with, step.bytes)
        const before = this.peeks()
        this.world.value(this.dependency.questions[index]!.answer(this.exitOf(ending)))
        if (ending._tag !== "value" && ending._tag !== "not found") expect(this.peeks()).toEqual(before)
        this.reference.answer(index, ending)
        return
      }
      case "set": {
        const { bytes, value } = this.valueOf(step.bytes)
        this.world.value(this.cache.set(step.key, { value, bytes }))
        this.reference.set(step.key, value, bytes)
        return
      }
      case "invalidate":
        this.world.value(this.cache.invalidate(step.key))
        this.reference.invalidate(step.key)
        return
      case "invalidate all":
        this.world.value(this.cache.invalidateAll)
        for (const key of keys) this.reference.invalidate(key)
        return
      case "advance":
        this.advance(step.millis)
        return
      case "peek":
        return
      case "set the wall clock":
        this.world.clock.wallOffsetMillis = step.millis
    }
  }

  /** What both sides have to say is the same. */
  compare(): void {
    const { reference, world } = this
    expect(
      this.callers.map((caller) =>
        Option.getOrUndefined(Option.map(Option.fromUndefinedOr(caller.pollUnsafe()), resultOf))
      )
    ).toEqual(reference.callers.map(({ result }) => result))
    expect(this.dependency.questions.map(({ ended, key }) => [key, ended() ?? "running"])).toEqual(
      reference.lookups.map(({ key, state }) => [key, state === "ended" ? "answered" : state])
    )
    expect(world.value(this.cache.snapshot)).toEqual({
      name: "prices",
      enabled: true,
      ...reference.counts,
      entries: reference.held.length,
      bytes: reference.bytes,
      inFlight: reference.inFlight,
      background: reference.background
    })
    expect(this.peeks()).toEqual(keys.map((key) => reference.peek(key)))
  }

  /** What holds whatever the reference says. */
  holds(): void {
    const { bytes, background, entries } = this.world.value(this.cache.snapshot)
    expect(entries).toBeLessThanOrEqual(settings.maxEntries)
    expect(bytes).toBeLessThanOrEqual(settings.maxBytes)
    expect(background).toBeLessThanOrEqual(settings.maxBackground)
    for (const result of this.peeks()) {
      if (result === undefined || result._tag === "failed" || result._tag === "interrupted") continue
      const age = this.world.clock.nowMillis - (this.handedAt.get(result.value) ?? Number.NaN)
      expect(result.ageMillis).toBe(age)
      expect(age).toBeLessThan(result._tag === "live" ? settings.ttl : settings.ttl + settings.ifError)
    }
  }

  /** The cache ends, and nothing is left of it. */
  close(): void {
    this.world.value(Scope.close(this.scope, Exit.void))
    expect(this.callers.filter((caller) => caller.pollUnsafe() === undefined)).toEqual([])
    expect(this.running()).toEqual([])
    expect(this.world.isIdle).toBe(true)
  }

  private peeks(): ReadonlyArray<Result | undefined> {
    return keys.map((key) =>
      Option.getOrUndefined(
        Option.map(this.world.value(this.cache.peek(key)), (served) => resultOf(Exit.succeed(served)))
      )
    )
  }

  private waiting(): ReadonlyArray<number> {
    return this.callers.flatMap((caller, index) => (caller.pollUnsafe() === undefined ? [index] : []))
  }

  private running(): ReadonlyArray<number> {
    return this.dependency.questions.flatMap(({ ended }, index) => (ended() === undefined ? [index] : []))
  }

  private valueOf(bytes: number): Value {
    const value = ++this.values
    this.handedAt.set(value, this.world.clock.nowMillis)
    return { value, bytes }
  }

  private endingOf(tag: Ending["_tag"], bytes: number): Ending {
    return tag === "value" ? { _tag: tag, ...this.valueOf(bytes) } : { _tag: tag }
  }

  private exitOf(ending: Ending): Exit.Exit<Value, Err> {
    switch (ending._tag) {
      case "value":
        return Exit.succeed({ value: ending.value, bytes: ending.bytes })
      case "not found":
        return Exit.fail(new NotFound())
      case "away":
        return Exit.fail(away)
      case "refused":
        return Exit.fail(new Refused())
      case "died":
        return Exit.die("bug")
    }
  }

  private advance(millis: number): void {
    const { clock } = this.world
    const until = clock.nowMillis + millis
    while (clock.sleepers.some(({ atMillis }) => atMillis <= until)) {
      clock.wakeNext()
      this.world.makeDispatcher().flush()
    }
    clock.nowMillis = until
    this.reference.advance(millis)
  }
}

describe("a history of a cache", () => {
  it("comes to what the reference says, step by step, and leaves nothing behind", { timeout: 60_000 }, () => {
    const seen = new Map<string, number>()
    const count = (situation: string) => seen.set(situation, (seen.get(situation) ?? 0) + 1)
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 80, size: "max" }), (steps) => {
        const pair = new Pair()
        for (const step of steps) {
          pair.take(step)
          pair.compare()
          pair.holds()
        }
        for (const { kind, result } of pair.reference.callers) {
          count(`${kind}: ${result?._tag === "failed" ? result.by : (result?._tag ?? "waits")}`)
        }
        for (const { isCurrent, state } of pair.reference.lookups)
          count(`${isCurrent ? "current" : "detached"} ${state}`)
        pair.close()
      }),
      { numRuns: 120 }
    )
    // What a history may come to has happened, and often.
    for (const situation of [
      ...["live", "stale", "interrupted", "not found", "away", "refused", "died", "timed out"].map(
        (end) => `get: ${end}`
      ),
      ...["ended", "interrupted"].flatMap((end) => [`current ${end}`, `detached ${end}`])
    ]) {
      expect([situation, (seen.get(situation) ?? 0) > 5]).toEqual([situation, true])
    }
  })
})
