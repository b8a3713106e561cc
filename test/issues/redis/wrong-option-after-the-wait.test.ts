/** A wrong option was told of only after the start had waited for Redis, and not at all where Redis was required and away. */
import { expect, it } from "@effect/vitest"
import { Clock, Effect, Redacted } from "effect"
import { InvalidOption } from "failsoft"
import { connect } from "../../redis/resilient.ts"

it.live("a wrong option is told at once", () =>
  Effect.gen(function* () {
    const before = yield* Clock.currentTimeMillis
    const nobody = Redacted.make("redis://127.0.0.1:1")
    const error = yield* Effect.flip(connect(nobody, { mode: "required", held: { maxEntries: 0 } }))
    expect(error).toBeInstanceOf(InvalidOption)
    expect((yield* Clock.currentTimeMillis) - before).toBeLessThan(200)
  })
)
