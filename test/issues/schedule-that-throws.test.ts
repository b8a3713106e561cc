/** A Schedule or an `isTransient` that throws cost the caller its own error, and a Schedule without end never let it go. */
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Exit, Schedule } from "effect"
import { CircuitBreaker, Retry } from "failsoft"
import { inTime, reasonOf } from "../failsoft/calls.ts"

type Step = Effect.Effect<[number, Duration.Duration]>

const throwing = (): Step => {
  throw new Error("a bug in a schedule")
}

const noDuration: unknown = undefined

const steps: Record<string, () => Step> = {
  throws: throwing,
  dies: () => Effect.die("a bug in a schedule"),
  "is interrupted": () => Effect.interrupt,
  "answers what is no step": () => Effect.succeed([0, noDuration as Duration.Duration]),
  "waits for ever": () => Effect.succeed([0, Duration.infinity])
}

describe("a retry by a Schedule that", () => {
  it.effect.each(Object.entries(steps))("%s ends its attempts", ([, step]) =>
    Effect.gen(function* () {
      const schedule = Schedule.fromStep(Effect.succeed(step))
      const retry = yield* Retry.make({ name: "search", attempts: 5, schedule })
      const [exit, after] = yield* inTime(Effect.fail("refused").pipe(retry.execute))
      expect(reasonOf(exit)).toMatchObject({ _tag: "RetriesExhausted", attempts: 1, lastError: "refused" })
      expect(after).toBe(0)
    })
  )
})

describe("a circuit breaker with a Schedule that", () => {
  it.effect.each(Object.entries(steps))("%s after two delays repeats the second", ([name, step]) =>
    Effect.gen(function* () {
      let openings = 0
      const schedule = Schedule.fromStep(
        Effect.succeed(() => {
          openings++
          const delay = Duration.seconds(openings)
          return openings <= 2 ? Effect.succeed<[number, Duration.Duration]>([0, delay]) : step()
        })
      )
      const breaker = yield* CircuitBreaker.make({
        name: "search",
        trip: CircuitBreaker.consecutive(1),
        openDuration: schedule,
        maxOpenDuration: "2 seconds"
      })
      for (const seconds of [1, 2, 2, 2]) {
        yield* Effect.exit(breaker.execute(Effect.fail("refused")))
        const { halfOpenIn } = yield* breaker.snapshot
        expect(halfOpenIn).toEqual(Duration.seconds(seconds))
        yield* inTime(Effect.sleep(halfOpenIn ?? 0))
      }
      expect(openings).toBe(name === "waits for ever" ? 64 : 3)
    })
  )

  it.effect("throws at once is refused", () =>
    Effect.gen(function* () {
      const openDuration = Schedule.fromStep(Effect.succeed(throwing))
      const made = yield* Effect.flip(CircuitBreaker.make({ name: "search", openDuration }))
      expect(made).toMatchObject({ _tag: "InvalidOption", option: "openDuration" })
    })
  )
})

it.effect("a retry whose isTransient throws gives the call's own error, after one attempt", () =>
  Effect.gen(function* () {
    let attempts = 0
    const retry = yield* Retry.make({
      name: "search",
      isTransient: () => {
        throw new Error("a bug in isTransient")
      }
    })
    const call = Effect.suspend(() => {
      attempts++
      return Effect.fail("refused")
    })
    expect(yield* Effect.exit(call.pipe(retry.execute))).toEqual(Exit.fail("refused"))
    expect(attempts).toBe(1)
  })
)
