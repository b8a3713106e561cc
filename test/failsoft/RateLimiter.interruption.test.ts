import { Effect, Exit, Scope } from "effect"
import type { RateLimiter } from "failsoft"
import * as failsoft from "failsoft"
import { afterEach, describe, expect, it, vi } from "vitest"
import { interruptEverywhere, type World } from "./interruption.ts"

type Library = Pick<typeof failsoft, "RateLimiter" | "PolicyEvent">

const algorithms = (library: Library): Record<string, RateLimiter.Algorithm> => ({
  gcra: library.RateLimiter.gcra({ limit: 10, period: "1 second", burst: 1 }),
  "a sliding window": library.RateLimiter.slidingWindow({ limit: 1, window: "100 millis" }),
  "a fixed window": library.RateLimiter.fixedWindow({ limit: 1, window: "100 millis" })
})

const limiterIn = (
  library: Library,
  world: World,
  name: string,
  onLimit: RateLimiter.Options["onLimit"]
): RateLimiter.RateLimiter => {
  const scope = world.value(Scope.make())
  const algorithm = algorithms(library)[name]
  if (algorithm === undefined) throw new Error(`no algorithm ${name}`)
  return world.value(
    library.RateLimiter.make({ name: "search", algorithm, onLimit }).pipe(
      Effect.provideService(Scope.Scope, scope)
    )
  )
}

/** What is wrong after a call that had to wait was interrupted somewhere on its way. */
const damageBy = (library: Library, name: string) => {
  const found: Array<string> = []
  const exits: Array<Exit.Exit<unknown, unknown>> = []
  const interrupted = interruptEverywhere((world) => {
    const limiter = limiterIn(library, world, name, { delay: { maxWait: "1 second" } })
    // The same without the call.
    const other = limiterIn(library, world, name, "reject")
    world.value(Effect.andThen(limiter.take(), other.take()))
    let ran = 0
    return {
      program: limiter.execute(
        Effect.andThen(
          Effect.sync(() => ++ran),
          Effect.sleep("10 millis")
        )
      ),
      verify: (exit, at) => {
        exits.push(exit)
        const wrong = (problem: string) => found.push(`yield ${at}: ${problem}`)
        const { admitted, delayed, rejected, waiting } = world.value(limiter.snapshot)
        if (!world.isIdle) wrong("a fiber is left")
        if (waiting !== 0) wrong(`${waiting} still wait`)
        if (rejected !== 0 || admitted !== delayed + 1) wrong("the counts do not add up")
        if (delayed < ran) wrong("it ran uncounted")
        // It left before its turn, so everything is as if it had not come.
        const [left, expected] = [world.value(limiter.peek()), world.value(other.peek())]
        if (delayed === 0 && JSON.stringify(left) !== JSON.stringify(expected)) wrong("its place is taken")
      }
    }
  })
  return { found, exits, interrupted }
}

const names = Object.keys(algorithms(failsoft))

describe.each(names)("a call that waits for its turn by %s", (name) => {
  it("leaves nothing behind, wherever it is interrupted", () => {
    const { exits, found, interrupted } = damageBy(failsoft, name)
    expect(found).toEqual([])
    expect(interrupted).toBeGreaterThan(8)
    expect(exits.slice(0, 2).map(Exit.hasInterrupts)).toEqual([true, true])
    expect(exits.map(Exit.hasInterrupts).at(-1)).toBe(false)
  })

  it("and others before and after it: each runs once or leaves the line, in order", () => {
    const interrupted = interruptEverywhere((world) => {
      const limiter = limiterIn(failsoft, world, name, { delay: { maxWait: "1 minute" } })
      const ran: Array<readonly [number, number]> = []
      const call = (who: number) =>
        limiter.execute(Effect.sync(() => void ran.push([who, world.clock.nowMillis])))
      return {
        program: Effect.all([0, 1, 2, 3].map(call), { concurrency: "unbounded" }),
        verify: () => {
          const { admitted, waiting } = world.value(limiter.snapshot)
          expect(waiting).toBe(0)
          expect(world.isIdle).toBe(true)
          expect(ran.map(([who]) => who)).toEqual([0, 1, 2, 3].slice(0, ran.length))
          // One that was let through may have been interrupted before it could begin.
          expect(admitted - ran.length).toBeGreaterThanOrEqual(0)
          for (const [index, [, at]] of ran.entries()) expect(at).toBeGreaterThanOrEqual(index * 100)
        }
      }
    })
    expect(interrupted).toBeGreaterThan(20)
  })
})

describe.each(names)("a call that is let through or rejected at once by %s", (name) => {
  it.each(["let through", "rejected"])("%s, is counted once, wherever it is interrupted", (what) => {
    const interrupted = interruptEverywhere((world) => {
      const limiter = limiterIn(failsoft, world, name, "reject")
      if (what === "rejected") world.value(limiter.take())
      let ran = 0
      return {
        program: limiter.execute(Effect.sync(() => ++ran)),
        verify: () => {
          const { admitted, rejected } = world.value(limiter.snapshot)
          expect(rejected).toBeLessThanOrEqual(what === "rejected" ? 1 : 0)
          expect(ran).toBeLessThanOrEqual(what === "rejected" ? 0 : admitted)
          expect(world.value(limiter.peek()).remaining).toBe(1 - admitted)
          expect(world.isIdle).toBe(true)
        }
      }
    })
    expect(interrupted).toBeGreaterThan(0)
  })
})

describe("a line whose places are taken without a mask", () => {
  afterEach(() => {
    vi.doUnmock("../../packages/failsoft/src/internal/admission.ts")
    vi.resetModules()
  })

  it("leaks", async () => {
    vi.resetModules()
    vi.doMock(import("../../packages/failsoft/src/internal/admission.ts"), async (original) => {
      const { lean, ...rest } = await original()
      return {
        ...rest,
        lean,
        masked: (self, take, settle) =>
          Effect.flatMap(take, ({ permit }) => lean(self, (exit) => settle(permit, exit)))
      }
    })
    const planted: Library = await import("failsoft")
    expect(names.filter((name) => damageBy(planted, name).found.length > 0)).toEqual(names)
  })
})
