/** A thousand calls at once, at each change that a circuit may make. Chance decides who stops where, and who goes on. */
import { Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { CircuitBreaker, type PolicyEvent } from "failsoft"
import { describe, expect, it } from "vitest"
import { hearing, transitionsIn } from "./hearing.ts"
import { RacingWorld } from "./racing.ts"

const racers = 1000
const seeds = [1, 2, 3, 4]

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

/** A breaker in a world of its own, and what it tells. */
const racing = (seed: number, given: Partial<CircuitBreaker.Options> = {}) => {
  const world = new RacingWorld(seed)
  const scope = world.value(Scope.make())
  const { events, made: breaker } = world.value(
    hearing(
      CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(5),
        openDuration: "1 second",
        ...given
      })
    ).pipe(Effect.provideService(Scope.Scope, scope))
  )
  const streamed: Array<string> = []
  world.race([Stream.runForEach(breaker.transitions, ({ _tag }) => Effect.sync(() => streamed.push(_tag)))])
  const toOpen = () => {
    while (world.value(breaker.snapshot).state !== "open") world.run(breaker.execute(refused))
  }
  const toDue = () => {
    toOpen()
    world.clock.nowMillis += 1000
    events.length = 0
    streamed.length = 0
  }
  const counts = () => world.value(breaker.snapshot).counts
  const state = () => world.value(breaker.snapshot).state
  return { breaker, counts, events, scope, state, streamed, toDue, toOpen, world }
}

type Race = ReturnType<typeof racing>

/** Ends after none, one or several yields, as chance has it. */
const sometime = <A, E>({ world }: Race, end: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => Effect.andThen(Effect.replicateEffect(Effect.yieldNow, world.draw.integer(0, 3)), end))

/** Watches how many calls run at once. */
const watched = () => {
  const seen = { now: 0, most: 0, ran: 0 }
  const watch = <A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.uninterruptibleMask((restore) => {
      seen.now++
      seen.ran++
      seen.most = Math.max(seen.most, seen.now)
      const leave = Effect.sync(() => {
        seen.now--
      })
      return Effect.onExit(restore(call), () => leave)
    })
  return { seen, watch }
}

const next: Record<string, (state: string) => string> = {
  CircuitOpened: (state) => (state === "closed" || state === "half_open" ? "open" : "wrong"),
  CircuitHalfOpened: (state) => (state === "open" ? "half_open" : "wrong"),
  CircuitClosed: (state) => (state === "half_open" ? "closed" : "wrong"),
  CircuitReset: () => "closed"
}

/** Where transitions lead to, one after another; `wrong` once one of them is not legal. */
const follow = (from: string, events: ReadonlyArray<PolicyEvent.PolicyEvent>): string =>
  transitionsIn(events).reduce((state, tag) => next[tag]?.(state) ?? state, from)

/** What must hold after every race; `probes` calls can then be held at once, and no more. */
const holds = (race: Race, from: string, probes: number) => {
  const { breaker, counts, events, state, streamed, world } = race
  const { failed, ignored, rejected, successful, total } = counts()
  expect(total).toBe(successful + failed + ignored + rejected)
  expect(streamed).toEqual(transitionsIn(events))
  const told = follow(from, events)
  expect(told).toBe(state())
  for (const event of events) {
    if (event._tag === "CircuitOpened") expect(event.openings).toBeGreaterThan(0)
  }
  // Whatever was taken is back.
  world.value(breaker.reset)
  race.toDue()
  const end = Effect.runSync(Deferred.make<string>())
  const fibers = world.race(
    Array.from({ length: probes + 5 }, () => Effect.exit(breaker.execute(Deferred.await(end))))
  )
  expect(fibers.filter((fiber) => fiber.pollUnsafe() === undefined)).toHaveLength(probes)
  world.run(Fiber.interruptAll(fibers))
  expect(world.isIdle).toBe(true)
}

describe("a thousand calls at once", () => {
  it.each(seeds)("open a closed circuit once (seed %d)", (seed) => {
    for (const trip of [
      CircuitBreaker.consecutive(5),
      CircuitBreaker.failureRate({ threshold: 0.5, minimumCalls: 20, window: CircuitBreaker.count(50) }),
      CircuitBreaker.any(
        CircuitBreaker.consecutive(300),
        CircuitBreaker.failureRate({
          threshold: 1,
          minimumCalls: 100,
          window: CircuitBreaker.time("1 second")
        })
      )
    ]) {
      const race = racing(seed, { trip })
      const { breaker, counts, events, world } = race
      const { seen, watch } = watched()
      world.finish(
        Array.from({ length: racers }, () => Effect.exit(breaker.execute(watch(sometime(race, refused)))))
      )
      expect(transitionsIn(events)).toEqual(["CircuitOpened"])
      expect(counts()).toMatchObject({ total: racers, failed: seen.ran, rejected: racers - seen.ran })
      holds(race, "closed", 1)
    }
  })

  it.each(seeds)("open a closed circuit at most once when some of them succeed (seed %d)", (seed) => {
    const race = racing(seed)
    const { breaker, counts, events, world } = race
    const ends = { success: 0, failure: 0, ignored: 0 }
    const call = Effect.suspend((): Effect.Effect<string, string> => {
      const draw = world.draw.next()
      const kind = draw < 0.3 ? "success" : draw < 0.9 ? "failure" : "ignored"
      ends[kind]++
      return { success: answer, failure: refused, ignored: Effect.interrupt }[kind]
    })
    world.finish(Array.from({ length: racers }, () => Effect.exit(breaker.execute(sometime(race, call)))))
    expect(transitionsIn(events)).toEqual(["CircuitOpened"])
    expect(counts()).toMatchObject({
      total: racers,
      successful: ends.success,
      failed: ends.failure,
      ignored: ends.ignored
    })
    holds(race, "closed", 1)
  })

  it.each(seeds)("half-open a circuit that is due once, by no more probes than may run (seed %d)", (seed) => {
    for (const probes of [1, 3, 20]) {
      const race = racing(seed, { halfOpen: { probes, successes: 1_000_000 } })
      race.toDue()
      const { breaker, counts, events, state, world } = race
      const before = counts()
      const { seen, watch } = watched()
      const exits = world.finish(
        Array.from({ length: racers }, () => Effect.exit(breaker.execute(watch(sometime(race, answer)))))
      )
      expect(transitionsIn(events)).toEqual(["CircuitHalfOpened"])
      expect(state()).toBe("half_open")
      expect(seen.most).toBeLessThanOrEqual(probes)
      // A racer that has a slot may not have begun yet, so the limit is not always seen; but it was a race for it.
      expect(seen.most).toBeGreaterThan(probes / 2)
      expect(exits.filter((exit) => Exit.isSuccess(Effect.runSync(exit)))).toHaveLength(seen.ran)
      expect(counts()).toMatchObject({
        successful: before.successful + seen.ran,
        rejected: racers - seen.ran
      })
      holds(race, "open", probes)
    }
  })

  it.each(seeds)("close a half-open circuit once, by as many successes as it takes (seed %d)", (seed) => {
    for (const [probes, successes] of [
      [1, 1],
      [3, 5],
      [20, 1],
      [20, 20]
    ] as const) {
      const race = racing(seed, { halfOpen: { probes, successes } })
      race.toDue()
      const { breaker, events, state, world } = race
      world.finish(Array.from({ length: racers }, () => Effect.exit(breaker.execute(sometime(race, answer)))))
      expect(transitionsIn(events)).toEqual(["CircuitHalfOpened", "CircuitClosed"])
      expect(events.find(({ _tag }) => _tag === "CircuitClosed")).toMatchObject({ successes })
      expect(state()).toBe("closed")
      holds(race, "open", probes)
    }
  })

  it.each(seeds)("open a half-open circuit again once (seed %d)", (seed) => {
    for (const probes of [1, 3, 20]) {
      const race = racing(seed, { halfOpen: { probes } })
      race.toDue()
      const { breaker, counts, events, world } = race
      const before = counts()
      const { seen, watch } = watched()
      world.finish(
        Array.from({ length: racers }, () => Effect.exit(breaker.execute(watch(sometime(race, refused)))))
      )
      expect(transitionsIn(events)).toEqual(["CircuitHalfOpened", "CircuitOpened"])
      expect(events.filter(({ _tag }) => _tag === "CircuitOpened")).toMatchObject([
        { from: "half_open", because: { _tag: "ProbeFailed", slow: false }, openings: 2 }
      ])
      expect(seen.ran).toBeLessThanOrEqual(probes)
      expect(counts()).toMatchObject({ failed: before.failed + seen.ran, rejected: racers - seen.ran })
      holds(race, "open", probes)
    }
  })

  it.each(seeds)("end an override once (seed %d)", (seed) => {
    for (const mode of ["open", "closed", "observe"] as const) {
      const race = racing(seed)
      const { breaker, counts, events, world } = race
      world.value(breaker.override(mode, { reason: "a race", ttl: "1 minute" }))
      world.clock.nowMillis += 60_000
      world.finish(Array.from({ length: racers }, () => Effect.exit(breaker.execute(sometime(race, answer)))))
      expect(events.map(({ _tag }) => _tag)).toEqual(["CircuitOverridden", "OverrideEnded"])
      expect(counts()).toMatchObject({ total: racers, successful: racers })
      holds(race, "closed", 1)
    }
  })

  it.each(seeds)(
    "end an override that held back an open circuit, and half-open that once (seed %d)",
    (seed) => {
      const race = racing(seed, { halfOpen: { probes: 3, successes: 4 } })
      race.toOpen()
      const { breaker, events, world } = race
      world.value(breaker.override("open", { reason: "a race", ttl: "1 minute" }))
      world.clock.nowMillis += 60_000
      world.finish(Array.from({ length: racers }, () => Effect.exit(breaker.execute(sometime(race, answer)))))
      expect(events.map(({ _tag }) => _tag).filter((tag) => !/Rejected/.test(tag))).toEqual([
        "CircuitOpened",
        "CircuitOverridden",
        "OverrideEnded",
        "CircuitHalfOpened",
        "CircuitClosed"
      ])
      holds(race, "closed", 3)
    }
  )

  it.each(seeds)("settle while people reset the circuit and hold it (seed %d)", (seed) => {
    const race = racing(seed, { trip: CircuitBreaker.consecutive(3), halfOpen: { probes: 3, successes: 2 } })
    const { breaker, counts, events, world } = race
    const people = { resets: 0, overrides: 0 }
    const person = Effect.suspend((): Effect.Effect<void, unknown> => {
      if (world.draw.chance(0.5)) {
        people.resets++
        return breaker.reset
      }
      people.overrides++
      const mode = world.draw.pick(["open", "closed", "observe"] as const)
      return breaker.override(mode, { reason: "a race", ttl: "1 second" })
    })
    const { seen, watch } = watched()
    const call = () => breaker.execute(watch(sometime(race, world.draw.pick([answer, refused]))))
    world.finish(
      Array.from({ length: racers }, (_, index) =>
        Effect.exit<unknown, unknown, never>(index % 20 === 0 ? sometime(race, person) : call())
      )
    )
    const calls = racers - racers / 20
    expect(counts()).toMatchObject({ total: calls, rejected: calls - seen.ran })
    const times = (tag: string) => events.filter(({ _tag }) => _tag === tag).length
    expect(times("CircuitReset")).toBe(people.resets)
    expect(times("CircuitOverridden")).toBe(people.overrides)
    expect(follow("closed", events)).not.toBe("wrong")
    world.value(breaker.reset)
    holds(race, "closed", 3)
  })

  it.each(seeds)("are interrupted wherever they are, in every state (seed %d)", (seed) => {
    const race = racing(seed, { trip: CircuitBreaker.consecutive(3), halfOpen: { probes: 3, successes: 2 } })
    const { breaker, counts, world } = race
    const { seen, watch } = watched()
    for (const from of ["closed", "open", "due"] as const) {
      if (from === "open") race.toOpen()
      if (from === "due") race.toDue()
      const before = counts()
      const ranBefore = seen.ran
      const fibers = Array.from({ length: racers }, () => {
        const call = breaker.execute(watch(sometime(race, world.draw.pick([answer, refused]))))
        return Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(call)
          if (world.draw.chance(0.5)) {
            yield* sometime(race, Effect.void)
            yield* Fiber.interrupt(fiber)
          }
          return yield* Fiber.await(fiber)
        })
      })
      const exits = world.finish(fibers).map((exit) => Effect.runSync(exit))
      const after = counts()
      // A call that began has an end that is counted, and no other has.
      const settled =
        after.successful - before.successful + after.failed - before.failed + after.ignored - before.ignored
      expect(settled).toBeGreaterThanOrEqual(seen.ran - ranBefore)
      expect(after.successful - before.successful).toBeGreaterThanOrEqual(exits.filter(Exit.isSuccess).length)
      expect(seen.now).toBe(0)
    }
    world.value(breaker.reset)
    race.events.length = 0
    race.streamed.length = 0
    holds(race, "closed", 3)
  })
})
