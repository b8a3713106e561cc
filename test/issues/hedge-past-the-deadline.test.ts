/** A hedge that was due when the deadline had passed paid for an attempt and began it, though nobody could use its answer. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Deadline, Hedge, RetryBudget } from "failsoft"
import { inTime, noting } from "../failsoft/calls.ts"

it.effect.each([
  ["1 second", 1],
  ["1000900 micros", 1],
  ["1001 millis", 2],
  ["1 minute", 2],
  ["infinity", 2]
] as const)("a call with %s is made %s times, where its second attempt is due after one", ([left, times]) =>
  Effect.gen(function* () {
    const budget = yield* RetryBudget.make({ name: "search" })
    const hedge = yield* Hedge.make({ name: "search", delay: "1 second", budget })
    const { at, call } = noting(Effect.sleep("5 seconds"))
    const hedged = call.pipe(Hedge.withHedge(hedge, { idempotent: true }))
    yield* inTime(left === "infinity" ? hedged : hedged.pipe(Deadline.within(left)))
    expect(at).toHaveLength(times)
    expect(yield* hedge.snapshot).toMatchObject({ hedges: times - 1, refused: 2 - times })
    expect((yield* budget.snapshot).withdrawn).toBe(times - 1)
  })
)
