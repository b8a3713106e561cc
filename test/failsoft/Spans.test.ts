import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Option, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Policy, Retry, Spans } from "failsoft"
import { inTime } from "./calls.ts"

/** A span that notes all it is told. */
class Noted extends Tracer.NativeSpan {
  readonly told: Array<readonly [event: string, startTime: bigint, attributes: unknown]> = []
  override event(name: string, startTime: bigint, attributes?: Record<string, unknown>): void {
    // Log lines are events too, by a logger of Effect's.
    if (name.startsWith("failsoft.")) this.told.push([name, startTime, attributes])
    super.event(name, startTime, attributes)
  }
}

/** A tracer that keeps its spans. */
const collecting = () => {
  const spans: Array<Noted> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Noted(options)
      spans.push(span)
      return span
    }
  })
  const traced = <A, E, R>(name: string, self: Effect.Effect<A, E, R>) =>
    self.pipe(Effect.withSpan(name), Effect.withTracer(tracer))
  const find = (name: string) => spans.findLast((span) => span.name === name)
  return {
    spans,
    traced,
    said: (name: string) => Object.fromEntries(find(name)?.attributes ?? []),
    events: (name: string) => find(name)?.told.map(([event, , attributes]) => [event, attributes]) ?? [],
    times: (name: string) => find(name)?.told.map(([, startTime]) => startTime) ?? []
  }
}

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

const transition = (from: string, to: string) => [
  "failsoft.breaker.transition",
  { "failsoft.policy": "billing", "failsoft.breaker.from": from, "failsoft.breaker.to": to }
]

const makeBreaker = CircuitBreaker.make({
  name: "billing",
  trip: CircuitBreaker.consecutive(1),
  openDuration: "30 seconds",
  halfOpen: { successes: 1 }
})

describe("the span of a call", () => {
  it.effect("says nothing of a call that nothing happened to", () =>
    Effect.gen(function* () {
      const { events, said, spans, traced } = collecting()
      const policy = yield* Policy.make("billing", {
        deadline: "8 seconds",
        attemptTimeout: "5 seconds",
        retry: {},
        breaker: { trip: CircuitBreaker.consecutive(5) }
      })
      yield* traced("call", policy.execute(answer))
      yield* Effect.exit(traced("failed call", Policy.withPolicy(policy, { retry: false })(refused)))
      expect(spans.map(({ name }) => name)).toEqual(["call", "failed call"])
      expect([said("call"), said("failed call")]).toEqual([{}, {}])
      expect([events("call"), events("failed call")]).toEqual([[], []])
    })
  )

  it.effect("says what its circuit did with it, and what became of the circuit", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_000_000)
      const { events, said, spans, times, traced } = collecting()
      const breaker = yield* makeBreaker
      const call = (name: string, effect: Effect.Effect<string, string>) =>
        Effect.exit(traced(name, effect.pipe(breaker.execute)))
      yield* call("opens it", refused)
      yield* call("is rejected", answer)
      yield* TestClock.adjust("30 seconds")
      yield* call("probes", answer)
      yield* call("finds it closed", answer)

      expect(said("opens it")).toEqual({ "failsoft.policy": "billing", "failsoft.breaker.state": "open" })
      expect(events("opens it")).toEqual([transition("closed", "open")])
      expect(times("opens it")).toEqual([1_000_000_000_000n])
      expect(said("is rejected")).toEqual({
        "failsoft.policy": "billing",
        "failsoft.breaker.state": "open",
        "failsoft.rejection.reason": "CircuitOpen"
      })
      expect(events("is rejected")).toEqual([])
      expect(said("probes")).toEqual({ "failsoft.policy": "billing", "failsoft.breaker.state": "closed" })
      expect(events("probes")).toEqual([transition("open", "half_open"), transition("half_open", "closed")])
      expect(said("finds it closed")).toEqual({})
      // All of them are the callers' own.
      expect(spans).toHaveLength(4)
    })
  )

  it.effect("says that a closed circuit held it back, whose calls come back by and by", () =>
    Effect.gen(function* () {
      const { said, traced } = collecting()
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "30 seconds",
        halfOpen: { successes: 1 },
        ramp: { duration: "1 minute", from: 0.1 }
      })
      yield* Effect.exit(refused.pipe(breaker.execute))
      yield* TestClock.adjust("30 seconds")
      yield* answer.pipe(breaker.execute)
      const call = Effect.exit(traced("is held back", answer.pipe(breaker.execute)))
      yield* Effect.repeat(call, { until: Exit.isFailure })
      expect(said("is held back")).toEqual({
        "failsoft.policy": "billing",
        "failsoft.breaker.state": "closed",
        "failsoft.rejection.reason": "CircuitOpen"
      })
    })
  )

  it.effect("says that a half-open circuit took it as a probe, or had no room for it", () =>
    Effect.gen(function* () {
      const { events, said, traced } = collecting()
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "30 seconds",
        halfOpen: { probes: 2 }
      })
      yield* Effect.exit(refused.pipe(breaker.execute))
      yield* TestClock.adjust("30 seconds")
      const probe = Effect.never.pipe(breaker.execute)
      yield* Effect.forkChild(traced("probes first", probe), { startImmediately: true })
      yield* Effect.forkChild(traced("probes too", probe), { startImmediately: true })
      yield* Effect.exit(traced("has no room", answer.pipe(breaker.execute)))
      const probed = { "failsoft.policy": "billing", "failsoft.breaker.state": "half_open" }
      expect([said("probes first"), said("probes too")]).toEqual([probed, probed])
      expect(events("probes too")).toEqual([])
      expect(said("has no room")).toEqual({
        "failsoft.policy": "billing",
        "failsoft.breaker.state": "half_open",
        "failsoft.rejection.reason": "CircuitOpen"
      })
    })
  )

  it.effect("says each rejection of a millisecond, though one error serves them all", () =>
    Effect.gen(function* () {
      const { said, traced } = collecting()
      const breaker = yield* makeBreaker
      yield* Effect.exit(refused.pipe(breaker.execute))
      for (const name of ["first", "second"]) yield* Effect.exit(traced(name, answer.pipe(breaker.execute)))
      expect(said("second")).toEqual(said("first"))
      expect(said("first")).toMatchObject({ "failsoft.rejection.reason": "CircuitOpen" })
    })
  )

  it.effect("says what a person did to the circuit", () =>
    Effect.gen(function* () {
      const { events, said, traced } = collecting()
      const breaker = yield* makeBreaker
      yield* breaker.override("open", { reason: "a drill", ttl: "1 minute" })
      yield* Effect.exit(traced("is rejected", answer.pipe(breaker.execute)))
      expect(said("is rejected")).toMatchObject({ "failsoft.breaker.state": "open" })
      yield* traced("resets a closed circuit", breaker.reset)
      yield* Effect.exit(refused.pipe(breaker.execute))
      yield* traced("resets it", breaker.reset)
      expect(events("resets a closed circuit")).toEqual([])
      expect(events("resets it")).toEqual([transition("open", "closed")])
    })
  )

  it.effect("counts the attempts that went before", () =>
    Effect.gen(function* () {
      const { said, traced } = collecting()
      const retry = yield* Retry.make({
        name: "billing",
        attempts: 3,
        schedule: Retry.exponential({ base: "1 second", jitter: "none" })
      })
      let tries = 0
      const flaky = Effect.suspend(() => (++tries < 3 ? refused : answer))
      const seen: Array<unknown> = []
      const looking = Effect.andThen(
        Effect.sync(() => seen.push(said("call")["http.request.resend_count"])),
        flaky
      )
      yield* inTime(traced("call", looking.pipe(retry.execute)))
      expect(seen).toEqual([undefined, 1, 2])
    })
  )

  it.effect("is left alone once it has ended", () =>
    Effect.gen(function* () {
      const { events, said, traced } = collecting()
      const breaker = yield* makeBreaker
      const late = Effect.delay(refused, "1 second").pipe(breaker.execute)
      yield* traced("ended", Effect.forkChild(Effect.exit(late), { startImmediately: true }))
      yield* TestClock.adjust("1 second")
      expect((yield* breaker.snapshot).state).toBe("open")
      expect([said("ended"), events("ended")]).toEqual([{}, []])
    })
  )

  it.effect("may be another process's, of which nothing can be said here", () =>
    Effect.gen(function* () {
      const breaker = yield* makeBreaker
      const outside = Tracer.externalSpan({ spanId: "1", traceId: "2" })
      const call = (effect: Effect.Effect<string, string>) =>
        Effect.exit(effect.pipe(breaker.execute, Effect.withParentSpan(outside)))
      yield* call(refused)
      expect(Exit.isFailure(yield* call(answer))).toBe(true)
      expect(outside.annotations.mapUnsafe.size).toBe(0)
    })
  )

  it.effect("may be absent", () =>
    Effect.gen(function* () {
      const breaker = yield* makeBreaker
      yield* Effect.exit(refused.pipe(breaker.execute))
      yield* Effect.exit(answer.pipe(breaker.execute))
      yield* TestClock.adjust("30 seconds")
      yield* answer.pipe(breaker.execute)
      expect((yield* breaker.snapshot).state).toBe("closed")
      expect(Option.isNone(yield* Effect.option(Effect.currentSpan))).toBe(true)
    })
  )
})

describe("the names", () => {
  it("are told apart, and failsoft's own but for the one that OpenTelemetry has", () => {
    const names = [...Object.values(Spans.attributes), ...Object.values(Spans.events)]
    expect(new Set(names).size).toBe(names.length)
    expect(names.filter((name) => !name.startsWith("failsoft."))).toEqual(["http.request.resend_count"])
  })
})
