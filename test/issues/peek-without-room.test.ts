/**
 * While a keyed limiter had no room for a new key, `peek` of more than the limit told when to come back, though a call of that cost
 * is rejected for ever; and `peek(0)` said that everything remained, though nothing could be taken.
 */
import { expect, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { RateLimiter } from "failsoft"

it.effect("says never of what costs too much, and that nothing remains, whatever it is asked", () =>
  Effect.gen(function* () {
    const limiter = yield* RateLimiter.makeKeyed({
      name: "search",
      algorithm: RateLimiter.gcra({ limit: 2, period: "1 second" }),
      maxKeys: 1
    })
    yield* limiter.of("ada").take(2)
    const bob = limiter.of("bob")
    const found = yield* Effect.forEach([0, 1, 2, 3, Number.NaN], (cost) => bob.peek(cost))
    expect(found.map(({ remaining }) => remaining)).toEqual([0, 0, 0, 0, 0])
    const second = Duration.seconds(1)
    expect(found.map(({ retryAfter }) => retryAfter)).toEqual([
      Duration.zero,
      second,
      second,
      undefined,
      undefined
    ])
    expect((yield* Effect.flip(bob.take(3))).retryAfter).toBe(undefined)
    yield* bob.take(0)
  })
)
