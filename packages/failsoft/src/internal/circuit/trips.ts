/** Rules of a circuit as people write them, checked and turned into what the circuit is held to. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { InvalidOption } from "../../InvalidOption.ts"
import type * as Rules from "../../state/Trip.ts"
import type { WindowConfig } from "../../state/Window.ts"
import * as Trip from "../../Trip.ts"
import { ConfigDuration, ConfigNumber } from "../config.ts"
import * as options from "../options.ts"

const maxCalls = 1_000_000
const maxTrips = 16
const defaultMinimumCalls = 10

/** Checks the rules of a policy; each option is named by its place, such as `trip[1].window.calls`. */
export const validate = (
  name: string,
  given: Trip.TripPolicy
): Effect.Effect<ReadonlyArray<Rules.Trip>, InvalidOption> => {
  if (given._tag !== "Any") return Effect.map(one(name, "trip", given), (trip) => [trip])
  const { trips } = given
  return trips.length === 0 || trips.length > maxTrips
    ? options.invalid(name, "trip", trips.length, `1 to ${maxTrips} rules`)
    : Effect.forEach(trips, (trip, index) => one(name, `trip[${index}]`, trip))
}

const one = Effect.fnUntraced(function* (name: string, path: string, given: Trip.Trip) {
  if (given._tag === "Consecutive") {
    const failures = yield* options.integer(name, `${path}.failures`, given.failures, {
      min: 1,
      max: maxCalls
    })
    return { _tag: "Consecutive", failures } satisfies Rules.Trip
  }
  const threshold =
    given.threshold > 0 && given.threshold <= 1
      ? given.threshold
      : yield* options.invalid(name, `${path}.threshold`, given.threshold, "a number above 0 and at most 1")
  const window = yield* windowOf(name, `${path}.window`, given.window)
  const room = window._tag === "Count" ? window.calls : maxCalls
  const minimumCalls = yield* options.integer(
    name,
    `${path}.minimumCalls`,
    given.minimumCalls ?? Math.min(defaultMinimumCalls, room),
    { min: 1, max: room }
  )
  if (given._tag === "FailureRate") {
    return { _tag: "FailureRate", threshold, minimumCalls, window } satisfies Rules.Trip
  }
  const slowerThanMillis = yield* options.millis(name, `${path}.slowerThan`, given.slowerThan)
  return { _tag: "SlowCallRate", threshold, minimumCalls, window, slowerThanMillis } satisfies Rules.Trip
})

const windowOf = (
  name: string,
  path: string,
  given: Trip.Window
): Effect.Effect<WindowConfig, InvalidOption> =>
  given._tag === "Count"
    ? Effect.map(
        options.integer(name, `${path}.calls`, given.calls, { min: 1, max: maxCalls }),
        (calls): WindowConfig => ({ _tag: "Count", calls })
      )
    : Effect.zipWith(
        options.millis(name, `${path}.duration`, given.duration),
        options.integer(name, `${path}.buckets`, given.buckets, { min: 1, max: 1000 }),
        (durationMillis, buckets): WindowConfig => ({ _tag: "Time", durationMillis, buckets })
      )

/** The rules as fields of a flat configuration. */
export const fields = {
  failures: Schema.optionalKey(ConfigNumber),
  failureRate: Schema.optionalKey(ConfigNumber),
  slowCallRate: Schema.optionalKey(ConfigNumber),
  slowerThan: Schema.optionalKey(ConfigDuration),
  minimumCalls: Schema.optionalKey(ConfigNumber),
  windowCalls: Schema.optionalKey(ConfigNumber),
  windowDuration: Schema.optionalKey(ConfigDuration)
}

interface Configured extends Schema.Struct.Type<typeof fields> {}

/** What is wrong with how the fields go together: the field, and what is wrong with it. */
export const misfit = (
  config: Configured
): { readonly path: ReadonlyArray<string>; readonly issue: string } | undefined => {
  const { failureRate, minimumCalls, slowCallRate, slowerThan, windowCalls, windowDuration } = config
  const issues: ReadonlyArray<readonly [isWrong: boolean, field: keyof Configured, issue: string]> = [
    [slowCallRate !== undefined && slowerThan === undefined, "slowerThan", "slowCallRate needs slowerThan"],
    [slowerThan !== undefined && slowCallRate === undefined, "slowCallRate", "slowerThan needs slowCallRate"],
    [
      windowCalls !== undefined && windowDuration !== undefined,
      "windowDuration",
      "only one of windowCalls and windowDuration is allowed"
    ],
    [
      (failureRate ?? slowCallRate) !== undefined && (windowCalls ?? windowDuration) === undefined,
      "windowCalls",
      "a rate needs windowCalls or windowDuration"
    ],
    [
      (minimumCalls ?? windowCalls ?? windowDuration) !== undefined &&
        (failureRate ?? slowCallRate) === undefined,
      "failureRate",
      "minimumCalls and a window need failureRate or slowCallRate"
    ]
  ]
  const found = issues.find(([isWrong]) => isWrong)
  return found === undefined ? undefined : { path: [found[1]], issue: found[2] }
}

/** The rules that fields stand for; `undefined` when there is none. */
export const fromConfig = (config: Configured): Trip.TripPolicy | undefined => {
  const { failureRate, failures, minimumCalls, slowCallRate, slowerThan, windowCalls, windowDuration } =
    config
  const window =
    windowDuration !== undefined
      ? Trip.time(windowDuration)
      : windowCalls !== undefined
        ? Trip.count(windowCalls)
        : undefined
  const [first, ...others] = [
    failures === undefined ? [] : Trip.consecutive(failures),
    failureRate === undefined || window === undefined
      ? []
      : Trip.failureRate({ threshold: failureRate, minimumCalls, window }),
    slowCallRate === undefined || slowerThan === undefined || window === undefined
      ? []
      : Trip.slowCallRate({ threshold: slowCallRate, slowerThan, minimumCalls, window })
  ].flat()
  return first === undefined || others.length === 0 ? first : Trip.any(first, ...others)
}
