/**
 * A lookup that asked for another key began that one on its own stack. A chain of some thousands ended the stack; the lookups at
 * its end were under way for ever after, without a time limit, and so was whoever asked for their keys.
 */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { type ServiceUnavailable, StaleCache } from "failsoft"

it.live("lookups may ask for the next key, four thousand deep", () =>
  Effect.gen(function* () {
    const depths: StaleCache.StaleCache<number, number, ServiceUnavailable> = yield* StaleCache.make({
      name: "depths",
      lookup: (depth: number): Effect.Effect<number, ServiceUnavailable> =>
        depth === 0 ? Effect.succeed(0) : Effect.map(depths.get(depth - 1), (above) => above + 1),
      timeToLive: "1 minute",
      maxEntries: 5_000
    })
    expect(yield* depths.get(4_000)).toBe(4_000)
    expect(yield* depths.snapshot).toMatchObject({ entries: 4_001, failures: 0, inFlight: 0 })
  })
)
