/** Checks the options of a circuit breaker, once, when it is made. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import type { OverrideMode } from "../../CircuitEvent.ts"
import type * as Circuit from "../../state/Circuit.ts"
import type * as Ramp from "../../state/Ramp.ts"
import { consecutive, type TripPolicy } from "../../Trip.ts"
import * as options from "../options.ts"
import * as trips from "./trips.ts"

/** What of the options is checked here. `CircuitBreaker.Options` says what each means. */
interface Given {
  readonly name: string
  readonly trip?: TripPolicy | undefined
  readonly openDuration?: Duration.Input | Schedule.Schedule<unknown, number> | undefined
  readonly maxOpenDuration?: Duration.Input | undefined
  readonly halfOpen?:
    | {
        readonly probes?: number | undefined
        readonly successes?: number | undefined
        readonly maxWait?: Duration.Input | undefined
      }
    | undefined
  readonly ramp?: GivenRamp | undefined
  readonly probe?: { readonly every: Duration.Input } | undefined
}

interface GivenRamp {
  readonly duration: Duration.Input
  readonly from?: number | undefined
}

/** Checks the options, and turns them into what the rules are held to. */
export const validate = Effect.fnUntraced(function* (given: Given) {
  const name = yield* options.name("name", given.name)
  const halfOpen = given.halfOpen ?? {}
  const openDuration = given.openDuration ?? "60 seconds"
  const fixedMillis = Schedule.isSchedule(openDuration)
    ? undefined
    : yield* options.millis(name, "openDuration", openDuration)
  const maxOpenMillis =
    given.maxOpenDuration === undefined
      ? Math.max(fixedMillis ?? 0, Duration.toMillis("5 minutes"))
      : yield* options.millis(name, "maxOpenDuration", given.maxOpenDuration)
  if (fixedMillis !== undefined && maxOpenMillis < fixedMillis) {
    const least = `a duration of at least openDuration, which is ${Duration.format(Duration.millis(fixedMillis))}`
    return yield* options.invalid(name, "maxOpenDuration", given.maxOpenDuration, least)
  }
  const openMillis = Schedule.isSchedule(openDuration)
    ? yield* replay(openDuration, maxOpenMillis)
    : [fixedMillis ?? 0]
  if (openMillis.length === 0 || openMillis.some((millis) => millis <= 0)) {
    return yield* options.invalid(
      name,
      "openDuration",
      openDuration,
      "a Schedule whose delays are longer than 0"
    )
  }
  const config: Circuit.CircuitConfig = {
    trips: yield* trips.validate(name, given.trip ?? consecutive(5)),
    openMillis,
    maxOpenMillis,
    probes: yield* options.integer(name, "halfOpen.probes", halfOpen.probes ?? 1, { min: 1, max: 1000 }),
    successes: yield* options.integer(name, "halfOpen.successes", halfOpen.successes ?? 3, {
      min: 1,
      max: 1_000_000
    }),
    probeMaxAgeMillis: yield* options.millis(name, "halfOpen.maxWait", halfOpen.maxWait ?? "30 seconds"),
    ramp: given.ramp && (yield* rampOf(name, given.ramp))
  }
  const probeEveryMillis = given.probe && (yield* options.millis(name, "probe.every", given.probe.every))
  return { config, probeEveryMillis }
})

const rampOf = Effect.fnUntraced(function* (name: string, { duration, from = 0.1 }: GivenRamp) {
  const durationMillis = yield* options.millis(name, "ramp.duration", duration)
  if (!(from > 0 && from <= 1)) {
    return yield* options.invalid(name, "ramp.from", from, "a number above 0 and at most 1")
  }
  return { durationMillis, from } satisfies Ramp.RampConfig
})

/** How many delays of a Schedule are kept: far beyond any backoff that is still growing. */
const maxOpenings = 64

/** Plays the delays of a Schedule once, on a time of its own, so that the rules need no Schedule. */
const replay = (
  schedule: Schedule.Schedule<unknown, number>,
  maxOpenMillis: number
): Effect.Effect<ReadonlyArray<number>> =>
  Effect.gen(function* () {
    const step = yield* Schedule.toStep(schedule)
    const delays: Array<number> = []
    let nowMillis = 0
    while (delays.length < maxOpenings) {
      const next = yield* Effect.suspend(() => step(nowMillis, delays.length + 1)).pipe(
        Effect.map(([, delay]) => Duration.toMillis(delay)),
        Effect.exit
      )
      if (Exit.isFailure(next)) break
      const delayMillis = Math.min(next.value, maxOpenMillis)
      nowMillis += delayMillis
      delays.push(delayMillis)
    }
    return delays
  })

/** Checks what a person sets a circuit to: the time for which it holds, in milliseconds. */
export const overrideOf = Effect.fnUntraced(function* (
  name: string,
  mode: OverrideMode,
  given: { readonly reason: string; readonly ttl: Duration.Input }
) {
  yield* options.oneOf(name, "override.mode", mode, ["open", "closed", "observe"])
  if (given.reason === "") yield* options.invalid(name, "override.reason", "", "a reason")
  return yield* options.millis(name, "override.ttl", given.ttl)
})
