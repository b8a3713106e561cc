/**
 * The fiber that asked for a circuit went on after its key was forgotten, until its next round, and counted as one of `maxKeys`
 * meanwhile: the key that took the place opened without one, and never recovered by itself.
 */
import { Effect } from "effect"
import { CircuitBreaker } from "failsoft"
import { expect, it } from "vitest"
import { World } from "../failsoft/interruption.ts"
import { RacingWorld } from "../failsoft/racing.ts"

it("a key that takes the place of another is asked for as well", () => {
  const world = new World()
  const asked: Array<string> = []
  const hosts = world.value(
    CircuitBreaker.makeKeyed({
      name: "hosts",
      trip: CircuitBreaker.consecutive(1),
      openDuration: "1 second",
      maxKeys: 1,
      idle: "1 second",
      probe: { effect: (key) => Effect.sync(() => asked.push(key)), every: "1 hour" }
    })
  )
  const fail = (key: string) => world.run(hosts.execute(key)(Effect.fail("refused")))
  fail("first")
  world.run(Effect.sleep("3 seconds"))
  expect(asked).toEqual(["first"])

  fail("second")
  expect(world.value(hosts.snapshot)).toMatchObject({ openKeys: ["second"], evicted: 1 })
  expect(world.clock.sleepers).toHaveLength(1)
  world.run(Effect.sleep("3 hours"))
  expect(asked).toEqual(["first", "second", "second", "second"])
  expect(world.value(hosts.snapshotOf("second"))?.state).toBe("closed")
  expect(world.isIdle).toBe(true)
})

it("no more fibers ask than there are circuits, whatever comes between the start of one and its first step", () => {
  for (let seed = 0; seed < 400; seed++) {
    const world = new RacingWorld(seed)
    const hosts = world.value(
      CircuitBreaker.makeKeyed({
        name: "hosts",
        trip: CircuitBreaker.consecutive(1),
        maxKeys: 1,
        probe: { effect: () => Effect.void, every: "1 second" }
      })
    )
    for (let round = 0; round < 5; round++) {
      world.race(
        ["first", "second", "third"].flatMap((key) => [
          Effect.ignore(hosts.execute(key)(Effect.fail("refused"))),
          hosts.reset(key)
        ])
      )
      expect(world.clock.sleepers.length, `seed ${seed}`).toBeLessThanOrEqual(1)
    }
  }
})
