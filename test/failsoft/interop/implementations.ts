/** Effect's breaker as Effect makes it, and as failsoft does. */
import { Duration, Layer, Logger, Schedule } from "effect"
import { CircuitBreaker as EffectBreaker } from "effect/persistence"
import { CircuitBreaker } from "failsoft"
import * as ToEffect from "failsoft/interop/toEffect"
import type { Implementation, Wanted } from "./contract.ts"

const openDurationOf = ({
  grows,
  openSeconds
}: Wanted): Duration.Input | Schedule.Schedule<unknown, number> =>
  grows ? Schedule.exponential(Duration.seconds(openSeconds)) : Duration.seconds(openSeconds)

const maxOpenOf = ({ maxOpenSeconds }: Wanted): Duration.Input =>
  maxOpenSeconds === undefined ? "1 hour" : Duration.seconds(maxOpenSeconds)

/** Effect's own, in memory. */
export const effects: Implementation = (wanted) =>
  EffectBreaker.layer({
    tripPolicy: wanted.rate ? EffectBreaker.rate(wanted.rate) : EffectBreaker.consecutive(wanted.failures),
    openDuration: openDurationOf(wanted),
    maxOpenDuration: maxOpenOf(wanted)
  }).pipe(Layer.provide(EffectBreaker.layerStoreMemory()))

/** Ours, told to close at the first success. */
export const ours: Implementation = (wanted) =>
  ToEffect.layer({
    name: "providers",
    trip: wanted.rate
      ? CircuitBreaker.failureRate({
          threshold: wanted.rate.threshold,
          minimumCalls: wanted.rate.minimumCalls,
          window: CircuitBreaker.count(wanted.rate.size)
        })
      : CircuitBreaker.consecutive(wanted.failures),
    openDuration: openDurationOf(wanted),
    maxOpenDuration: maxOpenOf(wanted),
    halfOpen: { probes: 1, successes: 1, maxWait: "1 day" }
  }).pipe(Layer.provide(Logger.layer([])), Layer.orDie)
