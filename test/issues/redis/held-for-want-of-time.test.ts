/** A write whose deadline was spent before it was sent was held as if Redis were away, and said to have succeeded. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Deadline, ServiceUnavailable } from "failsoft"
import { started } from "../../redis/resilient.ts"

it.live("a write that had no time is not held", () =>
  Effect.gen(function* () {
    const { redis } = yield* started()
    expect(yield* Effect.flip(Deadline.within(redis.set("k", "v"), 0))).toBeInstanceOf(ServiceUnavailable)
    expect(yield* redis.getServed("k")).toEqual({ value: undefined, source: "live" })
  })
)
