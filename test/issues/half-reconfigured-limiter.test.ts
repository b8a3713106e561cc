/** A `reconfigure` that was interrupted on its way left a limiter with its old algorithm and its new line. */
import { Effect, Exit } from "effect"
import { RateLimiter } from "failsoft"
import { expect, it } from "vitest"
import { interruptEverywhere } from "../failsoft/interruption.ts"

it("a limiter is reconfigured as a whole or not at all", () => {
  const found = new Set<string>()
  interruptEverywhere((world) => {
    const limiter = world.value(
      RateLimiter.make({ name: "search", algorithm: RateLimiter.gcra({ limit: 1, period: "1 minute" }) })
    )
    return {
      program: limiter.reconfigure({
        algorithm: RateLimiter.gcra({ limit: 5, period: "1 minute" }),
        onLimit: { delay: { maxWait: "1 hour" } }
      }),
      verify: () => {
        const { remaining } = world.value(limiter.peek())
        world.value(Effect.orDie(limiter.take(remaining)))
        const waits = Exit.isSuccess(world.value(Effect.exit(limiter.take())))
        found.add(`${remaining}, ${waits ? "delays" : "rejects"}`)
      }
    }
  })
  expect(found).toEqual(new Set(["1, rejects", "5, delays"]))
})
