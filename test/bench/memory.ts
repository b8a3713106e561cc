/** What keyed circuits take of the heap, and whether it grows while keys come and go. */
import assert from "node:assert/strict"
import { performance } from "node:perf_hooks"
import { setTimeout } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { CircuitBreaker } from "failsoft"
import type { Fact } from "./model.ts"
import { median } from "./statistics.ts"

const circuits = 100_000
const maxBytes = 300

const maxKeys = 10_000
const churned = 100_000
const samples = 20
/** Enough for V8 to have compiled all that it will, which takes room as well. */
const warmUpKeys = 500_000
const betweenSamplesMillis = 500
const maxGrowth = 0.1

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

/** Bytes in use. What a collection lets go of may let go of more. */
const heapUsed = (): number => {
  for (let round = 0; round < 4; round++) collect()
  return process.memoryUsage().heapUsed
}

const make = (maxKeys: number): Promise<CircuitBreaker.KeyedCircuitBreaker> =>
  CircuitBreaker.makeKeyed({ name: "bench", maxKeys }).pipe(
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )

/** One successful call for each of so many keys. */
const callEach = (
  breaker: CircuitBreaker.KeyedCircuitBreaker,
  count: number,
  keyOf: (index: number) => string
): Promise<void> => {
  let index = 0
  return Effect.runPromise(
    Effect.whileLoop({
      while: () => index < count,
      body: () => breaker.execute(keyOf(index++))(Effect.void),
      step: () => undefined
    })
  )
}

const bytesOfCircuit = async (): Promise<number> => {
  const keys = Array.from({ length: circuits }, (_, index) => `key-${index}`)
  const keyOf = (index: number) => keys[index] ?? ""
  await callEach(await make(circuits), circuits, keyOf)
  const breaker = await make(circuits)
  const before = heapUsed()
  await callEach(breaker, circuits, keyOf)
  const bytes = (heapUsed() - before) / circuits
  assert.equal((await Effect.runPromise(breaker.snapshot)).keys, circuits, "not every key has a circuit")
  return bytes
}

/** Percent a minute, over the second half of the samples. */
const growth = async (): Promise<number> => {
  const breaker = await make(maxKeys)
  let next = 0
  const churn = (count: number) => callEach(breaker, count, () => `key-${next++}`)
  await churn(warmUpKeys)
  const heap: Array<{ readonly minutes: number; readonly bytes: number }> = []
  while (heap.length < samples) {
    await churn(churned / samples)
    heap.push({ bytes: heapUsed(), minutes: performance.now() / 60_000 })
    await setTimeout(betweenSamplesMillis)
  }
  const snapshot = await Effect.runPromise(breaker.snapshot)
  const expected = { keys: maxKeys, evicted: warmUpKeys + churned - maxKeys, untracked: 0 }
  assert.partialDeepStrictEqual(snapshot, expected, "the keys did not come and go as they should")
  const late = heap.slice(samples / 2)
  const slopes = late.flatMap((one, index) =>
    late.slice(index + 1).map((other) => (other.bytes - one.bytes) / (other.minutes - one.minutes))
  )
  return (100 * median(slopes)) / median(late.map(({ bytes }) => bytes))
}

/** Measures both. */
export const memory = async (): Promise<ReadonlyArray<Fact>> => [
  {
    text: `a circuit of ${circuits.toLocaleString("en")}, beside its key`,
    unit: "bytes",
    value: await bytesOfCircuit(),
    atMost: maxBytes
  },
  {
    text: `growth of the heap, ${churned.toLocaleString("en")} keys through ${maxKeys.toLocaleString("en")}`,
    unit: "% a minute",
    value: await growth(),
    atMost: maxGrowth
  }
]
