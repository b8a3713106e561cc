/** Limits as people write them, checked and turned into what a limiter is held to. */

import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Limit from "../../Limit.ts"
import * as FixedWindow from "../../state/FixedWindow.ts"
import * as Gcra from "../../state/Gcra.ts"
import type { Algorithm } from "../../state/Limit.ts"
import * as SlidingWindow from "../../state/SlidingWindow.ts"
import { ConfigDuration, ConfigNumber, ConfigWord } from "../config.ts"
import * as options from "../options.ts"

export const upToAMillion = { min: 1, max: 1_000_000 }

/** Hands an algorithm and what it is held to over to whoever works with them, so that their types meet. */
type Build = <A>(use: <Config, State>(algorithm: Algorithm<Config, State>, config: Config) => A) => A

/** Checks an algorithm; each option is named by its place, such as `algorithm.limit`. */
export const validate = Effect.fnUntraced(function* (name: string, given: Limit.Algorithm) {
  const limit = yield* options.integer(name, "algorithm.limit", given.limit, upToAMillion)
  if (given._tag === "Gcra") {
    const period = yield* options.millis(name, "algorithm.period", given.period)
    const burst = yield* options.integer(name, "algorithm.burst", given.burst, upToAMillion)
    const build: Build = (use) => use(Gcra, Gcra.config(limit, period, burst))
    return build
  }
  const window = yield* options.millis(name, "algorithm.window", given.window)
  const build: Build = (use) =>
    given._tag === "SlidingWindow"
      ? use(SlidingWindow, SlidingWindow.config(limit, window))
      : use(FixedWindow, FixedWindow.config(limit, window))
  return build
})

type OnLimit =
  | "reject"
  | {
      readonly delay: {
        readonly maxWait?: Duration.Input | undefined
        readonly maxWaiting?: number | undefined
      }
    }

/** Checks how long a call may wait for its turn, and how many may; nobody where calls are rejected. */
export const line = Effect.fnUntraced(function* (name: string, onLimit: OnLimit) {
  if (typeof onLimit === "string") {
    yield* options.oneOf(name, "onLimit", onLimit, ["reject"])
    return { maxWaitMillis: 0, maxWaiting: 0 }
  }
  const { maxWait = "1 second", maxWaiting = 1000 } = onLimit.delay
  return {
    maxWaitMillis: yield* options.millis(name, "onLimit.delay.maxWait", maxWait),
    maxWaiting: yield* options.integer(name, "onLimit.delay.maxWaiting", maxWaiting, upToAMillion)
  }
})

/** A limit as fields of a flat configuration. */
export const fields = {
  algorithm: Schema.optionalKey(ConfigWord(["gcra", "sliding-window", "fixed-window"])),
  limit: ConfigNumber,
  period: Schema.optionalKey(ConfigDuration),
  burst: Schema.optionalKey(ConfigNumber),
  window: Schema.optionalKey(ConfigDuration),
  onLimit: Schema.optionalKey(ConfigWord(["reject", "delay"])),
  maxWait: Schema.optionalKey(ConfigDuration),
  maxWaiting: Schema.optionalKey(ConfigNumber)
}

interface Configured extends Schema.Struct.Type<typeof fields> {}

/** What is wrong with how the fields go together: the field, and what is wrong with it. */
export const misfit = (
  config: Configured
): { readonly path: ReadonlyArray<string>; readonly issue: string } | undefined => {
  const { algorithm = "gcra", burst, maxWait, maxWaiting, onLimit, period, window } = config
  const isGcra = algorithm === "gcra"
  const issues: ReadonlyArray<readonly [isWrong: boolean, field: keyof Configured, issue: string]> = [
    [isGcra && window !== undefined, "window", "gcra has a period and no window"],
    [isGcra && period === undefined, "period", "gcra needs a period"],
    [!isGcra && period !== undefined, "period", `${algorithm} has a window and no period`],
    [!isGcra && burst !== undefined, "burst", `${algorithm} has no burst`],
    [!isGcra && window === undefined, "window", `${algorithm} needs a window`],
    [
      onLimit !== "delay" && (maxWait ?? maxWaiting) !== undefined,
      "onLimit",
      "maxWait and maxWaiting need onLimit to be delay"
    ]
  ]
  const found = issues.find(([isWrong]) => isWrong)
  return found === undefined ? undefined : { path: [found[1]], issue: found[2] }
}

/** The algorithm that fields which go together stand for. */
export const fromConfig = ({ algorithm, burst, limit, period, window }: Configured): Limit.Algorithm => {
  switch (algorithm ?? "gcra") {
    case "gcra":
      return Limit.gcra({ limit, period: period ?? 0, burst })
    case "sliding-window":
      return Limit.slidingWindow({ limit, window: window ?? 0 })
    case "fixed-window":
      return Limit.fixedWindow({ limit, window: window ?? 0 })
  }
}
