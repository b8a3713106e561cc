import { describe, expect, it } from "@effect/vitest"
import { Arbitraries, type History, type ScriptedDependency } from "@failsoft/testing"
import { Arbitrary, Cause, Effect, Exit, Schema } from "effect"
import type { Outcome } from "failsoft"

const answers = {
  success: Arbitrary.schema(Schema.Int),
  failure: Arbitrary.Constant("refused")
}

const sample = <A>(arbitrary: Arbitrary.Arbitrary<A>) =>
  Arbitrary.sampleEffect(arbitrary, { count: 500, seed: 1 })

/** The smallest value that a property fails for. */
const shrunk = <A>(arbitrary: Arbitrary.Arbitrary<A>, property: (value: A) => boolean, seed: number) =>
  Effect.map(
    Arbitrary.checkEffect(arbitrary, property, { runs: 1000, maxShrinks: 10_000, seed }),
    (result) => (result._tag === "Falsified" ? result.shrunkInput : undefined)
  )

const kindsOf = (values: ReadonlyArray<string>) => [...new Set(values)].sort()

describe("outcome", () => {
  it.effect("is each of the three, with and without a hint", () =>
    Effect.gen(function* () {
      const kind = (outcome: Outcome.Outcome) =>
        outcome._tag === "Failure" && outcome.retryAfterMillis !== undefined ? "Hint" : outcome._tag
      expect(kindsOf((yield* sample(Arbitraries.outcome)).map(kind))).toEqual([
        "Failure",
        "Hint",
        "Ignored",
        "Success"
      ])
    })
  )
})

describe("exit", () => {
  it.effect("is each way in which a call can end", () =>
    Effect.gen(function* () {
      const kind = (exit: Exit.Exit<number, string>) =>
        Exit.isSuccess(exit) ? "Success" : (exit.cause.reasons[0]?._tag ?? "Empty")
      const exits = yield* sample(Arbitraries.exit(answers))
      expect(kindsOf(exits.map(kind))).toEqual(["Die", "Fail", "Interrupt", "Success"])
      expect(exits.some((exit) => Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))).toBe(true)
    })
  )
})

describe("step", () => {
  it.effect("is each thing that a dependency can do", () =>
    Effect.gen(function* () {
      const kind = (step: ScriptedDependency.Step<number, string>) =>
        step._tag === "Slow" ? `Slow ${step.step._tag}` : step._tag
      expect(kindsOf((yield* sample(Arbitraries.step(answers))).map(kind))).toEqual([
        "Die",
        "Fail",
        "Hang",
        "Slow Fail",
        "Slow Succeed",
        "Succeed"
      ])
    })
  )
})

describe("history", () => {
  const histories = Arbitraries.history(answers)

  it.effect.prop("keeps its bounds", [histories], ([history]) =>
    Effect.sync(() => {
      expect(history.length).toBeLessThanOrEqual(20)
      for (const { calls, lastsMillis } of history) {
        expect(calls).toBeGreaterThanOrEqual(0)
        expect(calls).toBeLessThanOrEqual(5)
        expect(lastsMillis % 500).toBe(0)
        expect(lastsMillis).toBeGreaterThan(0)
        expect(lastsMillis).toBeLessThanOrEqual(60_000)
      }
    })
  )

  it.effect("has idle moments, and none at all", () =>
    Effect.gen(function* () {
      const sampled = yield* sample(histories)
      expect(sampled.some((history) => history.length === 0)).toBe(true)
      expect(sampled.some((history) => history.some(({ calls }) => calls === 0))).toBe(true)
    })
  )

  it.effect.each([1, 2, 3, 4, 5])("shrinks to the moments that matter (seed %i)", (seed) =>
    Effect.gen(function* () {
      const isCalled = ({ calls }: History.Moment<number, string>) => calls > 0
      const failures = (history: History.History<number, string>) =>
        history.filter((moment) => isCalled(moment) && moment.step._tag !== "Succeed")
      const smallest = yield* shrunk(histories, (history) => failures(history).length < 2, seed)
      const failed = { step: { _tag: "Fail", error: "refused" }, lastsMillis: 500, calls: 1 }
      expect(smallest).toEqual([failed, failed])
    })
  )
})
