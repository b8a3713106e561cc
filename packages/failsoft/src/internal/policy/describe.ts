/** The stages of a policy in words. */
import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import type { Options, Stage, StageDescription } from "../../Policy.ts"

/** The stages that options stand for, outermost first, each with what it was given. */
export const describe = <R>(given: Options<R>): ReadonlyArray<StageDescription> => {
  if (given.enabled === false) return []
  const hasGate = isOn(given.breaker) && (isOn(given.rateLimiter) || isOn(given.bulkhead))
  const attemptTimeout = given.attemptTimeout ?? given.deadline
  // Also one that is all defaults is to be seen.
  const budget = isOn(given.retryBudget)
    ? { _tag: "Own", ...given.retryBudget, enabled: undefined }
    : undefined
  const stages: ReadonlyArray<readonly [stage: Stage, options: object | undefined]> = [
    ["deadline", given.deadline === undefined ? undefined : { after: given.deadline }],
    ["retry", given.retry && { ...given.retry, budget: given.retry.budget ?? budget }],
    ["hedge", given.hedge && { ...given.hedge, budget: given.hedge.budget ?? budget }],
    ["circuit gate", hasGate ? {} : undefined],
    ["rate limiter", given.rateLimiter],
    ["bulkhead", given.bulkhead],
    ["circuit breaker", given.breaker],
    ["attempt timeout", attemptTimeout === undefined ? undefined : { after: attemptTimeout }]
  ]
  return stages.flatMap(([stage, options]) =>
    !isOn(options)
      ? []
      : {
          stage,
          options: Object.fromEntries(Object.entries(options).flatMap(([name, value]) => text(name, value)))
        }
  )
}

const isOn = (options: object | undefined): options is object =>
  options !== undefined && !("enabled" in options && options.enabled === false)

/** An option as text, or the options in it under their paths. */
const text = (name: string, value: unknown): ReadonlyArray<readonly [string, string]> => {
  if (value === undefined || name === "enabled") return []
  if (Duration.isDuration(value)) return [[name, Duration.format(value)]]
  if (Schedule.isSchedule(value)) return [[name, "a Schedule"]]
  if (typeof value === "function") return [[name, "a function"]]
  if (typeof value !== "object" || value === null) return [[name, String(value)]]
  if ("withdraw" in value && "name" in value) return [[name, String(value.name)]]
  return Object.entries(value).flatMap(([inner, part]) =>
    text(inner === "_tag" ? name : `${name}.${inner}`, part)
  )
}
