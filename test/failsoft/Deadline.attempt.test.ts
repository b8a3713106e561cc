/**
 * What an attempt within a timeout has in common with one within `Effect.timeoutOrElse`: everything but what it costs.
 *
 * Each test runs on both, so that whatever Effect promises of its own holds for `attemptTimeout` too.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Context, Duration, Effect, Exit, Fiber, References } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, ServiceUnavailable, UnavailableReason } from "failsoft"
import { inTime } from "./calls.ts"
import { interruptEverywhere } from "./interruption.ts"

type Limit = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>

const timeout = Duration.seconds(5)

const expired = new ServiceUnavailable({
  service: "billing",
  reason: UnavailableReason.TimedOut({ after: timeout, of: timeout })
})

const limits: ReadonlyArray<readonly [name: string, limit: Limit]> = [
  ["attemptTimeout", Deadline.attemptTimeout("billing", timeout)],
  ["Effect.timeoutOrElse", Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.fail(expired) })]
]

class Tenant extends Context.Service<Tenant, string>()("test/Tenant") {}

const Colour = Context.Reference<string>("test/Colour", { defaultValue: () => "none" })

const selfId = Effect.withFiber((fiber) => Effect.succeed(fiber.id))

/** Ends its wait when it is interrupted, a second later. */
const slowToEnd = (told: Array<string>) =>
  Effect.onInterrupt(Effect.never, () =>
    Effect.andThen(
      Effect.sleep("1 second"),
      Effect.sync(() => told.push("cleaned up"))
    )
  )

describe.each(limits)("an attempt within %s", (_, limit) => {
  it.effect("has the services, references, span and log annotations of its caller", () =>
    Effect.gen(function* () {
      const seen = Effect.gen(function* () {
        yield* Effect.yieldNow
        const span = yield* Effect.currentSpan
        return [
          yield* Tenant,
          yield* Colour,
          span.name,
          (yield* References.CurrentLogAnnotations).request,
          (yield* References.CurrentLogSpans).map(([label]) => label)
        ]
      })
      const caller = limit(seen).pipe(
        Effect.provideService(Tenant, "ada"),
        Effect.provideService(Colour, "red"),
        Effect.annotateLogs("request", 7),
        Effect.withLogSpan("outer"),
        Effect.withSpan("caller")
      )
      expect(yield* caller).toEqual(["ada", "red", "caller", 7, ["outer"]])
    })
  )

  it.effect("is the parent of its own spans in the caller's", () =>
    Effect.gen(function* () {
      const inner = Effect.map(Effect.currentSpan, ({ name, parent }) => [name, parent])
      const [[name, parent], outer] = yield* Effect.all([
        limit(Effect.withSpan(inner, "inner")),
        Effect.currentSpan
      ]).pipe(Effect.withSpan("outer"))
      expect([name, parent]).toEqual(["inner", expect.objectContaining({ value: outer })])
    })
  )

  it.effect("changes nothing of its caller's context, though it changes its own", () =>
    Effect.gen(function* () {
      const change = Effect.withFiber((fiber) => {
        fiber.setContext(Context.add(fiber.context, Colour, "blue"))
        return Colour
      })
      expect(yield* limit(change)).toBe("blue")
      expect(yield* Colour).toBe("none")
    })
  )

  it.effect("takes its children along", () =>
    Effect.gen(function* () {
      const child = yield* limit(
        Effect.forkChild(Effect.never, { startImmediately: true }).pipe(Effect.tap(Effect.yieldNow))
      )
      expect(child.pollUnsafe()).toEqual(expect.objectContaining({ _tag: "Failure" }))
    })
  )

  it.effect("hands over a cause as it is", () =>
    Effect.gen(function* () {
      const causes = [
        Cause.fail("refused"),
        Cause.die("defect"),
        Cause.interrupt(7),
        Cause.combine(Cause.fail("refused"), Cause.die("defect"))
      ]
      for (const cause of causes) {
        for (const failing of [
          Effect.failCause(cause),
          Effect.andThen(Effect.yieldNow, Effect.failCause(cause))
        ]) {
          expect(yield* Effect.exit(limit(failing))).toEqual(Exit.failCause(cause))
        }
      }
    })
  )

  it.effect("that interrupts itself fails with that, and its caller goes on", () =>
    Effect.gen(function* () {
      const caller = yield* selfId
      const exit = yield* Effect.exit(limit(Effect.andThen(Effect.yieldNow, Effect.interrupt)))
      const by = Exit.isFailure(exit) ? [...Cause.interruptors(exit.cause)] : []
      expect(by).toEqual([expect.any(Number)])
      expect(by).not.toContain(caller)
    })
  )

  it.effect("that throws dies", () =>
    Effect.gen(function* () {
      const throwing = Effect.suspend((): Effect.Effect<never> => {
        throw "thrown"
      })
      expect(yield* Effect.exit(limit(throwing))).toEqual(Exit.die("thrown"))
    })
  )

  it.effect("is interrupted with its caller, who waits until it has cleaned up", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      let by: ReadonlyArray<number | undefined> = []
      const attempt = slowToEnd(told).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            by = Exit.isFailure(exit) ? [...Cause.interruptors(exit.cause)] : []
          })
        )
      )
      const caller = yield* Effect.forkChild(limit(attempt), { startImmediately: true })
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(caller), { startImmediately: true })
      yield* TestClock.adjust("999 millis")
      expect([caller.pollUnsafe(), interrupting.pollUnsafe(), told]).toEqual([undefined, undefined, []])
      yield* TestClock.adjust("1 millis")
      expect(told).toEqual(["cleaned up"])
      expect(by).toEqual([caller.id])
      const exit = yield* Fiber.await(caller)
      expect(Exit.hasInterrupts(exit)).toBe(true)
    })
  )

  it.effect("is interrupted by the end of its time, and the caller waits until it has cleaned up", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const [exit, at] = yield* inTime(limit(slowToEnd(told)))
      expect(exit).toEqual(Exit.fail(expired))
      expect([told, at]).toEqual([["cleaned up"], 6000])
    })
  )

  it.effect("keeps its caller waiting for the clean-up, also if the caller is interrupted meanwhile", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const caller = yield* Effect.forkChild(limit(slowToEnd(told)), { startImmediately: true })
      yield* TestClock.adjust("5500 millis")
      yield* Effect.forkChild(Fiber.interrupt(caller), { startImmediately: true })
      yield* TestClock.adjust("499 millis")
      expect([caller.pollUnsafe(), told]).toEqual([undefined, []])
      yield* TestClock.adjust("1 millis")
      expect(told).toEqual(["cleaned up"])
      const exit = yield* Fiber.await(caller)
      expect(Exit.hasInterrupts(exit)).toBe(true)
    })
  )

  it.effect("that cannot be interrupted runs to its end, and its answer comes too late", () =>
    Effect.gen(function* () {
      let ended = false
      const stubborn = Effect.uninterruptible(
        Effect.andThen(
          Effect.sleep("9 seconds"),
          Effect.sync(() => {
            ended = true
          })
        )
      )
      const [exit, at] = yield* inTime(limit(stubborn))
      expect([exit, at, ended]).toEqual([Exit.fail(expired), 9000, true])
    })
  )

  it.effect("is ended in time where its caller cannot be interrupted", () =>
    Effect.gen(function* () {
      const [exit, at] = yield* inTime(Effect.uninterruptible(limit(Effect.never)))
      expect([exit, at]).toEqual([Exit.fail(expired), 5000])
    })
  )

  it.effect("that ends as its time does has answered", () =>
    Effect.gen(function* () {
      const [exit, at] = yield* inTime(limit(Effect.delay(Effect.succeed("answer"), timeout)))
      expect([exit, at]).toEqual([Exit.succeed("answer"), 5000])
    })
  )

  it.effect("that interrupts its caller and answers at once leaves an interrupted caller", () =>
    Effect.gen(function* () {
      let after = false
      const caller = yield* Effect.forkChild(
        Effect.withFiber((fiber) =>
          Effect.andThen(
            limit(
              Effect.sync(() => {
                fiber.interruptUnsafe()
              })
            ),
            Effect.sync(() => {
              after = true
            })
          )
        )
      )
      expect(Exit.hasInterrupts(yield* Fiber.await(caller))).toBe(true)
      expect(after).toBe(false)
    })
  )

  it.effect("that interrupts its caller and goes on is interrupted with it", () =>
    Effect.gen(function* () {
      let ended = false
      const caller = yield* Effect.forkChild(
        Effect.withFiber((fiber) =>
          limit(
            Effect.suspend(() => {
              fiber.interruptUnsafe()
              return Effect.onInterrupt(Effect.never, () =>
                Effect.sync(() => {
                  ended = true
                })
              )
            })
          )
        )
      )
      expect(Exit.hasInterrupts(yield* Fiber.await(caller))).toBe(true)
      expect(ended).toBe(true)
    })
  )

  it.effect("sleeps on no clock when it ends at once, and on that of its caller when it does not", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const slept: Array<number> = []
      const counting = {
        ...clock,
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
        currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        sleep: (duration: Duration.Duration) => {
          slept.push(Duration.toMillis(duration))
          return clock.sleep(duration)
        }
      }
      const on = Effect.provideService(Clock.Clock, counting)
      yield* limit(Effect.succeed("answer")).pipe(on)
      yield* Effect.exit(limit(Effect.fail("refused"))).pipe(on)
      expect(slept).toEqual([])
      yield* limit(Effect.yieldNow).pipe(on)
      expect(slept).toEqual([5000])
    })
  )

  it.effect("dies of a clock that does", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const broken = { ...clock, sleep: () => Effect.die("no time") }
      const exit = yield* Effect.exit(limit(Effect.never).pipe(Effect.provideService(Clock.Clock, broken)))
      expect(exit).toEqual(Exit.die("no time"))
    })
  )

  it.effect("leaves others their turn, however many end at once", () =>
    Effect.gen(function* () {
      let turns = 0
      const other = yield* Effect.forkChild(
        Effect.forever(
          Effect.andThen(
            Effect.sync(() => {
              turns++
            }),
            Effect.yieldNow
          )
        )
      )
      for (let made = 0; made < 20_000; made++) yield* limit(Effect.void)
      expect(turns).toBeGreaterThan(5)
      yield* Fiber.interrupt(other)
    })
  )

  it.effect("leaves others their turn while it works", () =>
    Effect.gen(function* () {
      let turns = 0
      const other = yield* Effect.forkChild(
        Effect.forever(
          Effect.andThen(
            Effect.sync(() => {
              turns++
            }),
            Effect.yieldNow
          )
        )
      )
      yield* limit(Effect.repeat(Effect.void, { times: 20_000 }))
      expect(turns).toBeGreaterThan(5)
      yield* Fiber.interrupt(other)
    })
  )

  it.effect("may hold others, in one another", () =>
    Effect.gen(function* () {
      let nested: Effect.Effect<string, ServiceUnavailable> = Effect.delay(
        Effect.succeed("answer"),
        "1 second"
      )
      for (let depth = 0; depth < 200; depth++) nested = limit(nested)
      const [exit] = yield* inTime(nested)
      expect(exit).toEqual(Exit.succeed("answer"))
    })
  )

  const works = {
    "answers at once": Effect.succeed("answer"),
    "answers in time": Effect.delay(Effect.succeed("answer"), "1 second"),
    fails: Effect.delay(Effect.fail("refused"), "1 second"),
    "is given up": Effect.never,
    "is given up and takes its time to clean up": Effect.onInterrupt(Effect.never, () =>
      Effect.sleep("1 second")
    )
  }

  it.each(Object.entries(works))("that %s leaves nothing, wherever its caller is interrupted", (_, work) => {
    const exits: Array<Exit.Exit<unknown, unknown>> = []
    const interrupted = interruptEverywhere((world) => {
      let running = 0
      const attempt = Effect.onExitPrimitive(
        Effect.suspend((): Effect.Effect<string, string> => {
          running++
          return work
        }),
        () => {
          running--
          return undefined
        }
      )
      let left = 0
      return {
        program: Effect.onExitPrimitive(limit(attempt), () => {
          left = running
          return undefined
        }),
        verify: (exit, at) => {
          exits.push(exit)
          expect([left, running], `yield ${at}`).toEqual([0, 0])
          expect(world.isIdle, `yield ${at}`).toBe(true)
        }
      }
    })
    expect(interrupted).toBeGreaterThan(3)
    expect(exits.slice(0, 2).map(Exit.hasInterrupts)).toEqual([true, true])
    expect(exits.map(Exit.hasInterrupts).at(-1)).toBe(false)
  })
})
