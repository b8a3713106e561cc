import { describe, expect, it } from "vitest"
import * as Circuit from "../../../packages/failsoft/src/state/Circuit.ts"
import * as Eviction from "../../../packages/failsoft/src/state/Eviction.ts"

const config: Circuit.CircuitConfig = {
  trips: [
    { _tag: "Consecutive", failures: 2 },
    {
      _tag: "FailureRate",
      threshold: 1,
      minimumCalls: 5,
      window: { _tag: "Time", durationMillis: 100, buckets: 1 }
    }
  ],
  openMillis: [1000],
  maxOpenMillis: 1000,
  probes: 2,
  successes: 1,
  probeMaxAgeMillis: 300,
  ramp: { durationMillis: 400, from: 0.5 }
}

const failure = { _tag: "Failure", retryAfterMillis: undefined } as const
const success = { _tag: "Success" } as const

const failing = (circuit: Circuit.Circuit, nowMillis: number): Circuit.Circuit =>
  Circuit.settle(config, circuit, failure, nowMillis)(circuit)[1]

const probing = (circuit: Circuit.Circuit, nowMillis: number) => {
  const [answer, next] = Circuit.admit(config, nowMillis)(circuit)
  if (answer._tag === "Rejected") throw new Error("the probe was rejected")
  return { permit: answer.permit, next }
}

/** Open from 0 to 1000. */
const open = failing(failing(Circuit.initial(config), 0), 0)

describe("a circuit that was never called", () => {
  it("knows nothing", () => {
    expect(Eviction.isBlank(config, Circuit.initial(config), 0)).toBe(true)
  })
})

describe("a closed circuit", () => {
  it("knows a failure until a success, and its window until that is empty", () => {
    const failed = failing(Circuit.initial(config), 0)
    expect(Eviction.isBlank(config, failed, 1e6)).toBe(false)
    const [, forgiven] = Circuit.settle(config, failed, success, 50)(failed)
    expect(Eviction.isBlank(config, forgiven, 99)).toBe(false)
    expect(Eviction.isBlank(config, forgiven, 100)).toBe(true)
  })

  it("knows its growth and its ramp until they are over", () => {
    const { next, permit } = probing(open, 1000)
    const [, closed] = Circuit.settle(config, permit, success, 1000)(next)
    expect(closed._tag).toBe("Closed")
    expect(Eviction.isBlank(config, closed, 1999)).toBe(false)
    expect(Eviction.isBlank(config, closed, 2000)).toBe(true)
    const rampsLonger = { ...config, ramp: { durationMillis: 3000, from: 0.5 } }
    expect(Eviction.isBlank(rampsLonger, closed, 3999)).toBe(false)
    expect(Eviction.isBlank(rampsLonger, closed, 4000)).toBe(true)
  })

  it("is idle so long after its last call", () => {
    expect(Eviction.idleAtMillis(config, Circuit.initial(config), 70, 500)).toBe(570)
  })
})

describe("an open circuit", () => {
  it("is not blank, even when it is due", () => {
    expect(Eviction.isBlank(config, open, 0)).toBe(false)
    expect(Eviction.isBlank(config, open, 1e6)).toBe(false)
  })

  it("is idle so long after it was due, or after its last call if that came later", () => {
    expect(Eviction.idleAtMillis(config, open, 70, 500)).toBe(1500)
    expect(Eviction.idleAtMillis(config, open, 1200, 500)).toBe(1700)
  })
})

describe("a half-open circuit", () => {
  it("is not idle as long as one of its probes holds a slot", () => {
    const first = probing(open, 1000)
    const second = probing(first.next, 1100)
    expect(Eviction.isBlank(config, second.next, 1e6)).toBe(false)
    expect(Eviction.idleAtMillis(config, second.next, 1100, 10)).toBe(1400)
    expect(Eviction.idleAtMillis(config, second.next, 1100, 500)).toBe(1600)
    const [, freed] = Circuit.settle(config, second.permit, { _tag: "Ignored" }, 1150)(second.next)
    expect(Eviction.idleAtMillis(config, freed, 1100, 10)).toBe(1300)
  })
})
