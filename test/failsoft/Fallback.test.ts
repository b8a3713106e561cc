import { describe, expect, it } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Fiber } from "effect"
import {
  Ambiguous,
  Fallback,
  Misconfigured,
  QuotaExceeded,
  Served,
  ServiceUnavailable,
  UnavailableReason,
  Unsupported
} from "failsoft"
import { counted, numbers, withRegistry } from "./metrics.ts"

const outage = (reason: UnavailableReason = UnavailableReason.NotConnected()) =>
  new ServiceUnavailable({ service: "chroma", reason })

const away = Effect.fail(outage())

const none = { stale: 0, local: 0, fallback: 0 }

describe("a fallback", () => {
  it.effect("leaves a call that succeeds alone", () =>
    Effect.gen(function* () {
      let asked = 0
      const fallback = yield* Fallback.make({
        name: "search",
        answer: Fallback.effect(() => Effect.sync(() => ++asked))
      })
      expect(yield* fallback.execute(Effect.succeed("live"))).toBe("live")
      expect(asked).toBe(0)
      expect(yield* fallback.snapshot).toEqual({ name: "search", answered: none, failed: 0 })
    })
  )

  it.effect("answers an outage, and counts it", () =>
    Effect.gen(function* () {
      const fallback = yield* Fallback.make({ name: "search", answer: Fallback.value("nothing found") })
      const before = yield* fallback.snapshot
      expect(yield* fallback.execute(away)).toBe("nothing found")
      expect(yield* fallback.snapshot).toMatchObject({ answered: { ...none, fallback: 1 }, failed: 0 })
      expect(before.answered).toEqual(none)
    })
  )

  it.effect.each([
    new Misconfigured({ service: "chroma", problem: "wrong password" }),
    new Ambiguous({ service: "chroma", operation: "add" }),
    new Unsupported({ service: "chroma", operation: "delete" }),
    new QuotaExceeded({ quota: "searches", limit: 5, retryAfter: Duration.seconds(1) }),
    "its own error"
  ])("answers no other error: %s", (error) =>
    Effect.gen(function* () {
      const fallback = yield* Fallback.make({ name: "search", answer: Fallback.value("hidden") })
      expect(yield* Effect.flip(fallback.execute(Effect.fail(error)))).toBe(error)
      expect(yield* fallback.snapshot).toMatchObject({ answered: none, failed: 0 })
    })
  )

  it.effect("answers no defect and no interruption", () =>
    Effect.gen(function* () {
      const fallback = yield* Fallback.make({ name: "search", answer: Fallback.value("hidden") })
      expect(yield* Effect.exit(fallback.execute(Effect.die("broken")))).toEqual(Exit.die("broken"))
      const exit = yield* Effect.exit(fallback.execute(Effect.interrupt))
      expect(Exit.isFailure(exit) && Exit.hasInterrupts(exit)).toBe(true)
      expect(yield* fallback.snapshot).toMatchObject({ answered: none, failed: 0 })
    })
  )

  it.effect("answers no defect that comes with an outage", () =>
    Effect.gen(function* () {
      const fallback = yield* Fallback.make({ name: "search", answer: Fallback.value("hidden") })
      const exit = yield* Effect.exit(fallback.execute(Effect.ensuring(away, Effect.die("broken"))))
      expect(Exit.hasDies(exit)).toBe(true)
      expect(yield* fallback.snapshot).toMatchObject({ answered: none, failed: 0 })
    })
  )

  it.effect("counts what it could not answer either, a defect included", () =>
    Effect.gen(function* () {
      const failing = yield* Fallback.make({
        name: "search",
        answer: Fallback.effect(() => Effect.fail("no"))
      })
      expect(yield* Effect.flip(failing.execute(away))).toBe("no")
      expect(yield* failing.snapshot).toMatchObject({ answered: none, failed: 1 })

      const throwing = yield* Fallback.make({
        name: "search",
        answer: () => {
          throw "thrown"
        }
      })
      expect(yield* Effect.exit(throwing.execute(away))).toEqual(Exit.die("thrown"))
      expect(yield* throwing.snapshot).toMatchObject({ answered: none, failed: 1 })
    })
  )

  it.effect("counts no answer that its caller did not wait for", () =>
    Effect.gen(function* () {
      const fallback = yield* Fallback.make({ name: "search", answer: Fallback.effect(() => Effect.never) })
      const fiber = yield* Effect.forkChild(fallback.execute(away), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      expect(yield* fallback.snapshot).toMatchObject({ answered: none, failed: 0 })
    })
  )

  it.effect("passes on where an answer came from", () =>
    Effect.gen(function* () {
      const stale = { value: 41, source: "stale", ageMillis: 1500 } as const
      const fallback = yield* Fallback.make({
        name: "price",
        answer: Fallback.served(() => Effect.succeed<Served.Served<number>>(stale))
      })
      expect(yield* fallback.executeServed(away)).toEqual(stale)
      expect(yield* fallback.execute(away)).toBe(41)
      expect(yield* Effect.succeed(42).pipe(Effect.map(Served.live), fallback.executeServed)).toEqual({
        value: 42,
        source: "live"
      })
      expect(yield* fallback.snapshot).toMatchObject({ answered: { ...none, stale: 2 } })

      // The dependency came back before it was asked, so this is no degraded answer.
      const back = yield* Fallback.make({
        name: "price",
        answer: Fallback.served(() => Effect.succeed(Served.live(42)))
      })
      expect(yield* back.executeServed(away)).toEqual({ value: 42, source: "live" })
      expect(yield* back.snapshot).toMatchObject({ answered: none, failed: 0 })
    })
  )

  it.effect("publishes what it answered", () =>
    Effect.gen(function* () {
      const fallback = yield* Fallback.make({ name: "search", answer: Fallback.value("none") })
      expect(Object.keys(yield* numbers)).toHaveLength(3)
      yield* fallback.execute(away)
      expect(yield* counted).toEqual({ "fallbacks_total{policy=search,source=fallback}": 1 })
    }).pipe(withRegistry)
  )

  it.effect("needs a name", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Fallback.make({ name: "", answer: Fallback.value(1) }))
      expect(error).toMatchObject({ _tag: "InvalidOption", option: "name" })
    })
  )

  it.effect("comes as a Layer", () => {
    class Search extends Context.Service<Search, Fallback.Fallback<string, never, never>>()("test/Search") {}
    return Effect.gen(function* () {
      const search = yield* Search
      expect(yield* search.execute(away)).toBe("none")
    }).pipe(Effect.provide(Fallback.layer(Search, { name: "search", answer: Fallback.value("none") })))
  })
})

describe("answers", () => {
  const told: Array<string> = []
  const alternative = <E>(name: string, error: E) =>
    Fallback.effect((original: ServiceUnavailable) => {
      told.push(`${name} for ${original.service}`)
      return Effect.fail(error)
    })

  it.effect("are asked in their order, as long as each is away too", () =>
    Effect.gen(function* () {
      told.length = 0
      const graphAway = new ServiceUnavailable({ service: "graph", reason: UnavailableReason.Shed() })
      const answer = Fallback.firstOf(
        alternative("graph", graphAway),
        alternative("index", graphAway),
        Fallback.value("empty")
      )
      expect(yield* Fallback.withAnswer(away, answer)).toBe("empty")
      expect(told).toEqual(["graph for chroma", "index for chroma"])
    })
  )

  it.effect("end with the first that fails for another reason", () =>
    Effect.gen(function* () {
      const wrong = new Misconfigured({ service: "graph", problem: "wrong password" })
      const answer = Fallback.firstOf(alternative("graph", wrong), Fallback.value("hidden"))
      expect(yield* Effect.flip(away.pipe(Fallback.withAnswer(answer)))).toBe(wrong)
    })
  )

  it.effect("are marked as such, but for one that knows its source", () =>
    Effect.gen(function* () {
      const marks = (answer: Fallback.Answer<number>) => Effect.map(answer(outage()), ({ source }) => source)
      const local: Served.Served<number> = { value: 1, source: "local" }
      expect([
        yield* marks(Fallback.value(1)),
        yield* marks(Fallback.effect(() => Effect.succeed(1))),
        yield* marks(Fallback.failOpen(1)),
        yield* marks(Fallback.served(() => Effect.succeed(local)))
      ]).toEqual(["fallback", "fallback", "fallback", "local"])
    })
  )

  it.effect("end with what the last failed with", () =>
    Effect.gen(function* () {
      const last = new ServiceUnavailable({ service: "index", reason: UnavailableReason.Shed() })
      const answer = Fallback.firstOf(alternative("graph", outage()), alternative("index", last))
      expect(yield* Effect.flip(away.pipe(Fallback.withAnswer(answer)))).toBe(last)
    })
  )

  it.effect("may be for some reasons only", () =>
    Effect.gen(function* () {
      const answer = Fallback.when(["CircuitOpen", "NotConnected"], Fallback.value("cached"))
      const limited = outage(UnavailableReason.RateLimited())
      expect(yield* Fallback.withAnswer(away, answer)).toBe("cached")
      expect(yield* Effect.flip(Fallback.withAnswer(Effect.fail(limited), answer))).toBe(limited)
      const either = Fallback.firstOf(answer, Fallback.value("slow down"))
      expect(yield* Fallback.withAnswer(Effect.fail(limited), either)).toBe("slow down")
    })
  )

  it.effect("let everybody through or nobody", () =>
    Effect.gen(function* () {
      const open = yield* Fallback.make({ name: "limit", answer: Fallback.failOpen({ allowed: true }) })
      const closed = yield* Fallback.make({ name: "owner", answer: Fallback.failClosed("forbidden") })
      expect(yield* open.execute(away)).toEqual({ allowed: true })
      expect(yield* Effect.flip(closed.execute(away))).toBe("forbidden")
      expect(yield* open.snapshot).toMatchObject({ answered: { fallback: 1 }, failed: 0 })
      expect(yield* closed.snapshot).toMatchObject({ answered: none, failed: 1 })
    })
  )
})
