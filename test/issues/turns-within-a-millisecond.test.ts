/**
 * Timers count whole milliseconds, so of two calls that waited for nearly the same turn the later one could wake up first, and
 * overtook the other. A line of calls that came within a millisecond was let through in any order.
 */
import { Effect, Fiber } from "effect"
import { RateLimiter } from "failsoft"
import { describe, expect, it } from "vitest"
import { World } from "../failsoft/interruption.ts"

const algorithms = {
  gcra: RateLimiter.gcra({ limit: 10_000, period: "1 second", burst: 1 }),
  "a sliding window": RateLimiter.slidingWindow({ limit: 10, window: "10 millis" }),
  "a fixed window": RateLimiter.fixedWindow({ limit: 10, window: "10 millis" })
}

/** A line of ten behind as many calls as are let through at once; each came a fraction of a millisecond after the one before. */
const lineBy = (algorithm: RateLimiter.Algorithm) => {
  const world = new World()
  const limiter = world.value(
    RateLimiter.make({ name: "search", algorithm, onLimit: { delay: { maxWait: "1 second" } } })
  )
  world.value(limiter.take(algorithm._tag === "Gcra" ? 1 : 10))
  const order: Array<number> = []
  const fibers = Array.from({ length: 10 }, (_, who) => {
    world.clock.nowMillis += 0.03 * (who + 1)
    return world.value(
      Effect.forkDetach(limiter.execute(Effect.sync(() => void order.push(who))), { startImmediately: true })
    )
  })
  return { world, limiter, order, fibers }
}

const letThrough = (world: World) => {
  while (world.clock.wakeNext()) world.run(Effect.void)
}

describe.each(Object.entries(algorithms))(
  "a line by %s, of calls that came within two milliseconds",
  (_, algorithm) => {
    it("is let through in the order in which they came", () => {
      const { fibers, limiter, order, world } = lineBy(algorithm)
      expect(world.value(limiter.snapshot).waiting).toBe(10)
      letThrough(world)
      expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      expect(fibers.every((fiber) => fiber.pollUnsafe() !== undefined)).toBe(true)
      expect(world.value(limiter.snapshot)).toMatchObject({ waiting: 0, delayed: 10 })
    })

    it.each([[[0]], [[9]], [[3, 4]], [[0, 1, 2, 8]]])(
      "goes on when %j are interrupted at their turn",
      (gone) => {
        const { fibers, limiter, order, world } = lineBy(algorithm)
        const leave = Effect.forEach(gone, (who) => Fiber.interrupt(fibers[who]!))
        // Some have been woken by then, and wait for those before them.
        world.clock.wakeNext()
        world.run(leave)
        letThrough(world)
        const ran = order.filter((who) => !gone.includes(who))
        expect(ran).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].filter((who) => !gone.includes(who)))
        expect(world.value(limiter.snapshot).waiting).toBe(0)
        expect(world.isIdle).toBe(true)
      }
    )
  }
)
