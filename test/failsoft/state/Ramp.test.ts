import fc from "fast-check"
import { expect, it } from "vitest"
import * as Circuit from "../../../packages/failsoft/src/state/Circuit.ts"
import * as Ramp from "../../../packages/failsoft/src/state/Ramp.ts"

const ramps = fc.record({
  durationMillis: fc.double({ min: 1e-3, max: 2e9, noNaN: true }),
  from: fc.double({ min: Number.MIN_VALUE, max: 1, noNaN: true })
})

it("begins with its first share, never falls, and is over when its time is", () => {
  fc.assert(
    fc.property(ramps, fc.array(fc.double({ min: -1, max: 1.5, noNaN: true })), (ramp, parts) => {
      const moments = parts.map((part) => part * ramp.durationMillis).toSorted((one, other) => one - other)
      const shares = moments.map((elapsed) => Ramp.share(ramp, elapsed))
      shares.forEach((share, index) => {
        const before = shares[index - 1] ?? ramp.from
        expect(share === undefined).toBe((moments[index] ?? 0) >= ramp.durationMillis)
        expect(share ?? 1).toBeGreaterThanOrEqual(before)
        expect(share ?? 1).toBeLessThanOrEqual(1)
      })
      expect(Ramp.share(ramp, 0)).toBe(ramp.from)
      expect(Ramp.share(ramp, -1)).toBe(ramp.from)
      expect(Ramp.share(ramp, ramp.durationMillis)).toBeUndefined()
    })
  )
})

const config: Circuit.CircuitConfig = {
  trips: [{ _tag: "Consecutive", failures: 2 }],
  openMillis: [100],
  maxOpenMillis: 100,
  probes: 1,
  successes: 1,
  probeMaxAgeMillis: 100,
  ramp: { durationMillis: 1000, from: 0.1 }
}

/** A circuit that closed at a moment, after it had been open. */
const closedAt = (closedMillis: number): Circuit.Circuit => {
  const failure = { _tag: "Failure", retryAfterMillis: undefined } as const
  const since = closedMillis - 100
  let circuit = Circuit.initial(config)
  for (let call = 0; call < 2; call++) {
    circuit = Circuit.settle(config, { generation: 0 }, failure, since)(circuit)[1]
  }
  const [answer, halfOpen] = Circuit.admit(config, closedMillis)(circuit)
  if (answer._tag === "Rejected") throw new Error("the probe was rejected")
  return Circuit.settle(config, answer.permit, { _tag: "Success" }, closedMillis)(halfOpen)[1]
}

it("admits of evenly spread draws exactly its share", () => {
  const circuit = closedAt(500)
  const draws = 10_000
  for (let elapsed = 0; elapsed < 1000; elapsed += 125) {
    let admitted = 0
    for (let draw = 0; draw < draws; draw++) {
      const [answer, next] = Circuit.admit(config, 500 + elapsed, (draw + 0.5) / draws)(circuit)
      if (answer._tag === "Admitted") admitted++
      else expect(answer.retryAfterMillis).toBeUndefined()
      expect(next).toBe(circuit)
    }
    expect(admitted).toBe(Math.round(draws * (0.1 + 0.9 * (elapsed / 1000))))
  }
})

it("admits every draw once it is over, and is then forgotten", () => {
  const circuit = closedAt(500)
  const [answer, next] = Circuit.admit(config, 1500, 1 - Number.EPSILON)(circuit)
  expect(answer._tag).toBe("Admitted")
  expect(next).toEqual({ ...circuit, rampSinceMillis: undefined })
  // Even by a clock that went back.
  expect(Circuit.admit(config, 600, 1 - Number.EPSILON)(next)[0]._tag).toBe("Admitted")
})

it("belongs to no circuit that was never open", () => {
  const circuit = Circuit.initial(config, 7)
  expect(Circuit.rampShare(config, circuit, 0)).toBeUndefined()
  expect(Circuit.admit(config, 0, 1 - Number.EPSILON)(circuit)).toMatchObject([{ _tag: "Admitted" }, circuit])
})
