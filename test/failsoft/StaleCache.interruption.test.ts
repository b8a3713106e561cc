import { Data, Effect, Exit, Fiber, Option, Scope } from "effect"
import { Deadline, ServiceUnavailable, StaleCache, UnavailableReason } from "failsoft"
import { describe, expect, it } from "vitest"
import { interruptEverywhere, World } from "./interruption.ts"

class Refused extends Data.TaggedError("Refused") {}

const away = new ServiceUnavailable({ service: "prices", reason: UnavailableReason.NotConnected() })

type Err = Refused | ServiceUnavailable

const lookups: Readonly<Record<string, Effect.Effect<string, Err>>> = {
  "that succeeds": Effect.andThen(Effect.sleep("10 millis"), Effect.succeed("answer")),
  "that succeeds at once": Effect.succeed("answer"),
  "that is away": Effect.andThen(Effect.sleep("10 millis"), Effect.fail(away)),
  "that fails": Effect.andThen(Effect.sleep("10 millis"), Effect.fail(new Refused())),
  "that dies": Effect.andThen(Effect.sleep("10 millis"), Effect.die("defect")),
  "that takes too long": Effect.andThen(Effect.sleep("10 minutes"), Effect.succeed("answer"))
}

/** How long ago the value was stored that the cache holds; the cache is empty where there is none. */
const ages = {
  nothing: undefined,
  "a fresh value": 0,
  "one due early": 800,
  "one to revalidate": 1000,
  "one for errors": 1500,
  "one that is gone": 5000
}

const cacheIn = (world: World, age: number | undefined, lookup: Effect.Effect<string, Err>) => {
  const scope = world.value(Scope.make())
  let running = 0
  const cache = world.value(
    StaleCache.make<string, string, Err>({
      name: "prices",
      lookup: () =>
        Effect.acquireUseRelease(
          Effect.sync(() => ++running),
          () => lookup,
          () => Effect.sync(() => --running)
        ),
      timeToLive: "1 second",
      jitter: 0,
      eagerRefresh: 0.8,
      staleWhileRevalidate: "400 millis",
      staleIfError: "2 seconds",
      softTimeout: "50 millis",
      hardTimeout: "200 millis"
    }).pipe(Scope.provide(scope))
  )
  if (age !== undefined) world.value(cache.set("a", "held"))
  world.clock.nowMillis += age ?? 0
  return { cache, scope, running: () => running }
}

/** Lets whatever is under way come to its end. */
const finish = (world: World) => {
  while (world.clock.wakeNext()) world.makeDispatcher().flush()
}

describe.each(Object.entries(lookups))("a lookup %s", (_, lookup) => {
  it.each(Object.entries(ages))(
    "by a caller who finds %s leaves nothing, wherever the caller is interrupted",
    (_, age) => {
      const wrong: Array<string> = []
      const exits: Array<Exit.Exit<unknown, unknown>> = []
      const interrupted = interruptEverywhere((world) => {
        const { cache, running } = cacheIn(world, age, lookup)
        return {
          program: cache.getServed("a").pipe(Deadline.within("1 minute")),
          verify: (exit, at) => {
            const say = (problem: string) => wrong.push(`yield ${at}: ${problem}`)
            exits.push(exit)
            const before = world.value(cache.snapshot)
            // A lookup that nobody waits for is a refresh behind, or one that took too long.
            if (before.inFlight !== before.background) say("a lookup waits for its callers")
            if (before.background > 0 && age === undefined) say("a lookup goes on for nobody")
            if (running() !== before.inFlight) say(`${running()} lookups run, ${before.inFlight} are known`)
            finish(world)
            const { background, hits, inFlight, misses, stale } = world.value(cache.snapshot)
            if (running() !== 0 || inFlight !== 0 || background !== 0) say("a lookup is left")
            if (!world.isIdle) say("a fiber is left")
            if (hits + misses + stale > 1) say("counted twice")
            if (age !== undefined && age < 1000 && Option.isNone(world.value(cache.peek("a"))))
              say("the value is lost")
            // Whatever happened, the key can be asked for.
            world.run(cache.get("a"))
            finish(world)
            if (running() !== 0 || !world.isIdle) say("the next lookup is left")
          }
        }
      })
      expect(wrong).toEqual([])
      expect(interrupted).toBeGreaterThan(2)
      expect(exits.slice(0, 2).map(Exit.hasInterrupts)).toEqual([true, true])
      expect(exits.map(Exit.hasInterrupts).at(-1)).toBe(false)
    }
  )

  it("ends with the cache, wherever that ends while others wait", () => {
    const wrong: Array<string> = []
    const interrupted = interruptEverywhere((world) => {
      const { cache, running, scope } = cacheIn(world, 1500, lookup)
      const callers: Array<Fiber.Fiber<unknown, unknown>> = []
      return {
        program: Effect.gen(function* () {
          callers.push(yield* Effect.forkDetach(cache.get("a")))
          callers.push(yield* Effect.forkDetach(cache.get("b")))
          yield* Effect.forEach(callers, Fiber.await)
        }),
        verify: (_, at) => {
          world.value(Scope.close(scope, Exit.void))
          if (callers.some((caller) => caller.pollUnsafe() === undefined))
            wrong.push(`yield ${at}: a caller waits`)
          if (running() !== 0) wrong.push(`yield ${at}: a lookup is left`)
          if (!world.isIdle) wrong.push(`yield ${at}: a fiber is left`)
        }
      }
    })
    expect(wrong).toEqual([])
    expect(interrupted).toBeGreaterThan(10)
  })

  it("comes to the same for another caller, wherever the first is interrupted", () => {
    const expected = new World().run(Effect.exit(Effect.timeoutOption(lookup, "200 millis")))
    const ends = new Set<string>()
    const interrupted = interruptEverywhere((world) => {
      const { cache, running } = cacheIn(world, undefined, lookup)
      const others: Array<Fiber.Fiber<unknown, unknown>> = []
      return {
        program: Effect.andThen(
          Effect.map(Effect.forkDetach(Effect.delay(cache.get("a"), "5 millis")), (other) =>
            others.push(other)
          ),
          cache.get("a")
        ),
        verify: () => {
          finish(world)
          expect(running()).toBe(0)
          for (const other of others) {
            const exit = other.pollUnsafe()
            expect(exit && Exit.hasInterrupts(exit)).toBe(false)
            ends.add(String(exit && Exit.isSuccess(exit)))
          }
        }
      }
    })
    const isAnswered =
      Exit.isSuccess(expected) && Exit.isSuccess(expected.value) && Option.isSome(expected.value.value)
    expect([...ends]).toEqual([String(isAnswered)])
    expect(interrupted).toBeGreaterThan(5)
  })
})
