import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Effect, Scope } from "effect"
import { CircuitBreaker } from "failsoft"
import { expect, it } from "vitest"

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

/** Bytes in use, once what nobody holds has been let go of. */
const heapUsed = (): number => {
  for (let round = 0; round < 3; round++) collect()
  return process.memoryUsage().heapUsed
}

const make = (maxKeys: number) =>
  CircuitBreaker.makeKeyed({ name: "tenants", maxKeys }).pipe(
    Scope.provide(Scope.makeUnsafe()),
    Effect.runSync
  )

const keys = Array.from({ length: 100_000 }, (_, index) => `tenant-${index}`)

const callAll = (breaker: CircuitBreaker.KeyedCircuitBreaker) =>
  Effect.runSync(Effect.forEach(keys, (key) => breaker.execute(key)(Effect.void), { discard: true }))

it("takes up 300 bytes for a circuit at rest, beside its key", () => {
  callAll(make(1_000_000))
  const breaker = make(1_000_000)
  const before = heapUsed()
  callAll(breaker)
  const bytes = (heapUsed() - before) / keys.length
  expect(Effect.runSync(breaker.snapshot).keys).toBe(keys.length)
  expect(bytes).toBeLessThan(300)
})

it("takes up no more room for 100,000 keys than for the 10,000 that it may have", () => {
  const breaker = make(10_000)
  callAll(breaker)
  const before = heapUsed()
  for (let round = 0; round < 5; round++) callAll(breaker)
  // Had it kept them all, it would be some 25 MB.
  expect(heapUsed() - before).toBeLessThan(1_000_000)
  expect(Effect.runSync(breaker.snapshot)).toMatchObject({ keys: 10_000, evicted: 590_000, untracked: 0 })
})
