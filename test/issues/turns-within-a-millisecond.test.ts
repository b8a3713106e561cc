/**
 * Timers count whole milliseconds, so of two calls that waited for nearly the same turn the later one could wake up first, and
 * overtook the other. A line of calls that came within a millisecond was let through in any order.
 */
import { Effect, Fiber } from "effect"
import { RateLimiter } from "failsoft"
import { describe, expect, it } from "vitest"
import { drawFrom } from "../failsoft/draw.ts"
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
      expect(fibers.every((fiber) => fiber.pollUnsafe() === undefined)).toBe(true)
      letThrough(world)
      expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      expect(fibers.every((fiber) => fiber.pollUnsafe() !== undefined)).toBe(true)
      expect(world.value(limiter.snapshot)).toMatchObject({ waiting: 0, admitted: 11 })
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

/** Lets time pass; some timers fire late, as they do in a process that is busy. */
const pass = (world: World, millis: number, isLate: () => boolean) => {
  const { clock } = world
  const until = clock.nowMillis + millis
  while (Math.min(...clock.sleepers.map(({ atMillis }) => atMillis)) <= until && !isLate()) {
    clock.wakeNext()
    world.run(Effect.void)
  }
  clock.nowMillis = Math.max(until, clock.nowMillis)
}

it("calls of a key run in the order in which they came, in any history", () => {
  let waited = 0
  for (let seed = 1; seed <= 600; seed++) {
    const draw = drawFrom(seed)
    const [limit, millis] = [draw.integer(1, 6), draw.integer(1, 20)]
    const algorithm = [
      RateLimiter.gcra({ limit, period: millis, burst: draw.integer(1, 4) }),
      RateLimiter.slidingWindow({ limit, window: millis }),
      RateLimiter.fixedWindow({ limit, window: millis })
    ][seed % 3]!
    const world = new World()
    const limiter = world.value(
      RateLimiter.makeKeyed({
        name: "search",
        algorithm,
        maxKeys: draw.integer(1, 3),
        onLimit: { delay: { maxWait: "30 millis", maxWaiting: draw.integer(1, 12) } }
      })
    )
    const ran: Array<readonly [key: string, who: number]> = []
    const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
    for (let who = 0; who < 40; who++) {
      const step = draw.integer(0, 9)
      if (step < 6) {
        const key = `key ${draw.integer(0, 2)}`
        const call = RateLimiter.withRateLimit(
          Effect.sync(() => ran.push([key, who])),
          limiter.of(key),
          { cost: draw.integer(1, 2) }
        )
        fibers.push(world.value(Effect.forkDetach(call, { startImmediately: true })))
      } else if (step === 6) {
        const fiber = fibers[draw.integer(0, 40) % Math.max(1, fibers.length)]
        if (fiber !== undefined) world.run(Fiber.interrupt(fiber))
      } else pass(world, draw.integer(1, 3000) / 1000, () => draw.chance(0.1))
    }
    letThrough(world)
    const { delayed, waiting } = world.value(limiter.snapshot)
    waited += delayed
    expect([seed, waiting, world.isIdle]).toEqual([seed, 0, true])
    for (const key of ["key 0", "key 1", "key 2"]) {
      const order = ran.flatMap(([of, who]) => (of === key ? [who] : []))
      expect([seed, order]).toEqual([seed, order.toSorted((one, other) => one - other)])
    }
  }
  expect(waited).toBeGreaterThan(1000)
})
