/** What an override to `open` had rejected was told with the next rejection, which might come a week later, or never. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker } from "failsoft"
import { hearing } from "../failsoft/hearing.ts"

it.effect("the rejections of an override are told when it ends", () =>
  Effect.gen(function* () {
    const { events, made: breaker } = yield* hearing(CircuitBreaker.make({ name: "search" }))
    yield* breaker.override("open", { reason: "the index is rebuilt", ttl: "30 seconds" })
    yield* Effect.replicateEffect(Effect.exit(breaker.execute(Effect.void)), 10)
    yield* TestClock.adjust("30 seconds")
    yield* breaker.execute(Effect.void)
    expect(events.slice(1)).toMatchObject([
      { _tag: "CallsRejected", count: 1 },
      { _tag: "OverrideEnded" },
      { _tag: "CallsRejected", count: 9 }
    ])
  })
)
