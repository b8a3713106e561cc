/** What keyed circuits and limits take of the heap, and whether it grows while keys come and go. */
import assert from "node:assert/strict"
import { performance } from "node:perf_hooks"
import { setTimeout } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { CircuitBreaker, RateLimiter } from "failsoft"
import type { Fact } from "./model.ts"
import { median } from "./statistics.ts"

const keysHeld = 100_000
const maxBytesOfCircuit = 300
const maxBytesOfLimit = 150

const maxKeys = 10_000
const samples = 20
/** Enough for V8 to have compiled all that it will, which takes room as well. */
const warmUpKeys = 510_000
const betweenSamplesMillis = 500
const maxGrowth = 0.1

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

/** Bytes in use. What a collection lets go of may let go of more. */
const heapUsed = (): number => {
  for (let round = 0; round < 4; round++) collect()
  return process.memoryUsage().heapUsed
}

/** Something that holds what it knows of each key. */
interface Keyed {
  /** A successful call of a key. */
  readonly call: (key: string) => Effect.Effect<void, unknown>
  /** Rejects unless so many keys came so far, and as many are held as should be. */
  readonly check: (came: number) => Promise<void>
}

type Make = (maxKeys: number) => Promise<Keyed>

const circuits: Make = async (maxKeys) => {
  const breaker = await CircuitBreaker.makeKeyed({ name: "bench", maxKeys }).pipe(
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )
  return {
    call: (key) => breaker.execute(key)(Effect.void),
    check: async (came) => {
      const keys = Math.min(came, maxKeys)
      const expected = { keys, evicted: came - keys, untracked: 0 }
      assert.partialDeepStrictEqual(await Effect.runPromise(breaker.snapshot), expected)
    }
  }
}

/** A clock that shows a millisecond more for each key that comes, so that it is known when a key is free again. */
const clockOf = (real: Clock.Clock) => {
  let millis = 0
  const clock: Clock.Clock = {
    ...real,
    monotonicTimeNanosUnsafe: () => BigInt(millis) * 1_000_000n,
    currentTimeMillisUnsafe: () => millis
  }
  return {
    clock,
    pass: (more: number) => {
      millis += more
    }
  }
}

/** The limiter has run for a while: a time since then is no longer one of the small integers that V8 holds for nothing. */
const hasRunForMillis = Duration.toMillis("1 day")

/** The limit of each key is whole again by the time when another key needs its room. */
const limits =
  (algorithmOf: (maxKeys: number) => RateLimiter.Algorithm): Make =>
  async (maxKeys) => {
    const { clock, pass } = clockOf(await Effect.runPromise(Clock.Clock))
    const limiter = await RateLimiter.makeKeyed({
      name: "bench",
      algorithm: algorithmOf(maxKeys),
      maxKeys
    }).pipe(Scope.provide(Scope.makeUnsafe()), Effect.provideService(Clock.Clock, clock), Effect.runPromise)
    // The first call comes as a window begins.
    pass(hasRunForMillis - 1)
    return {
      call: (key) => {
        pass(1)
        return Effect.provideService(limiter.execute(key)(Effect.void), Clock.Clock, clock)
      },
      check: async (came) => {
        const expected = { keys: Math.min(came, maxKeys), admitted: came, rejected: 0, letThrough: 0 }
        assert.partialDeepStrictEqual(await Effect.runPromise(limiter.snapshot), expected)
      }
    }
  }

const algorithms = {
  gcra: limits((maxKeys) => RateLimiter.gcra({ limit: 1, period: Duration.millis(maxKeys) })),
  "sliding window": limits((maxKeys) =>
    RateLimiter.slidingWindow({ limit: 1, window: Duration.millis(maxKeys / 2) })
  ),
  "fixed window": limits((maxKeys) => RateLimiter.fixedWindow({ limit: 1, window: Duration.millis(maxKeys) }))
}

/** One successful call for each of so many keys. */
const callEach = ({ call }: Keyed, count: number, keyOf: (index: number) => string): Promise<void> => {
  let index = 0
  return Effect.runPromise(
    Effect.whileLoop({
      while: () => index < count,
      body: () => call(keyOf(index++)),
      step: () => undefined
    })
  )
}

const bytesOfKey = async (make: Make): Promise<number> => {
  const keys = Array.from({ length: keysHeld }, (_, index) => `key-${index}`)
  const keyOf = (index: number) => keys[index] ?? ""
  await callEach(await make(keysHeld), keysHeld, keyOf)
  const keyed = await make(keysHeld)
  const before = heapUsed()
  await callEach(keyed, keysHeld, keyOf)
  const bytes = (heapUsed() - before) / keysHeld
  await keyed.check(keysHeld)
  return bytes
}

/** Percent a minute, over the second half of the samples. */
const growth = async (perSample: number, ...makes: ReadonlyArray<Make>): Promise<number> => {
  const all = await Promise.all(makes.map((make) => make(maxKeys)))
  let came = 0
  const churn = async (count: number) => {
    const first = came
    came += count
    for (const keyed of all) await callEach(keyed, count, (index) => `key-${first + index}`)
  }
  await churn(warmUpKeys / all.length)
  const heap: Array<{ readonly minutes: number; readonly bytes: number }> = []
  while (heap.length < samples) {
    await churn(perSample)
    heap.push({ bytes: heapUsed(), minutes: performance.now() / 60_000 })
    await setTimeout(betweenSamplesMillis)
  }
  for (const { check } of all) await check(came)
  const late = heap.slice(samples / 2)
  const slopes = late.flatMap((one, index) =>
    late.slice(index + 1).map((other) => (other.bytes - one.bytes) / (other.minutes - one.minutes))
  )
  return (100 * median(slopes)) / median(late.map(({ bytes }) => bytes))
}

const bytesFact = async (what: string, atMost: number, make: Make): Promise<Fact> => ({
  text: `${what} of ${keysHeld.toLocaleString("en")}, beside its key`,
  unit: "bytes",
  value: await bytesOfKey(make),
  atMost
})

const growthFact = async (what: string, perSample: number, ...makes: ReadonlyArray<Make>): Promise<Fact> => ({
  text: `growth of the heap, ${(perSample * samples).toLocaleString("en")} ${what} through ${maxKeys.toLocaleString("en")}`,
  unit: "% a minute",
  value: await growth(perSample, ...makes),
  atMost: maxGrowth
})

/** Measures each. */
export const memory = async (): Promise<ReadonlyArray<Fact>> => {
  const facts = [
    await bytesFact("a circuit", maxBytesOfCircuit, circuits),
    await growthFact("circuits", maxKeys / 2, circuits)
  ]
  for (const [name, make] of Object.entries(algorithms)) {
    facts.push(await bytesFact(`a limit by ${name}`, maxBytesOfLimit, make))
  }
  // Whole windows, so that each sample finds as many keys as the one before.
  facts.push(await growthFact("limits of each kind", maxKeys, ...Object.values(algorithms)))
  return facts
}
