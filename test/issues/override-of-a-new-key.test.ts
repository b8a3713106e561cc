/**
 * An override of a key that has no circuit yet makes one, and set it a step later. A call of another key could take its place
 * between the two: the override succeeded, and held nothing.
 */
import { Effect } from "effect"
import { CircuitBreaker } from "failsoft"
import { expect, it } from "vitest"
import { RacingWorld } from "../failsoft/racing.ts"

it("an override that succeeds holds its key, whoever needs room meanwhile", () => {
  let set = 0
  for (let seed = 0; seed < 200; seed++) {
    const world = new RacingWorld(seed)
    const hosts = world.value(CircuitBreaker.makeKeyed({ name: "hosts", maxKeys: 1 }))
    const override = hosts.override("held", "open", { reason: "under repair", ttl: "1 hour" })
    const [exit] = world.finish([override, Effect.ignore(hosts.execute("other")(Effect.void))])
    if (exit?._tag !== "Success") continue
    set++
    expect(world.value(hosts.snapshotOf("held"))?.override?.mode, `seed ${seed}`).toBe("open")
  }
  expect(set).toBeGreaterThan(100)
})
