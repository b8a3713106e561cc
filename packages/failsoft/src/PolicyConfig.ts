/**
 * A policy as configuration holds it: one row of a table of services, from JSON or the environment.
 *
 * Every field is optional, and what is left out keeps its default or, for a stage, is absent. A bare number of a
 * duration is seconds. Ranges are checked where the policy is made, so that they are written down once.
 *
 * **Example** (A row of a table)
 *
 * ```ts import.meta.vitest
 * import { Duration, Schema } from "effect"
 * import { PolicyConfig } from "failsoft"
 *
 * const row = Schema.decodeUnknownSync(PolicyConfig.PolicyConfig)({
 *   attemptTimeout: 5,
 *   retry: { attempts: 2, base: "500 millis" },
 *   breaker: { failures: 10, openDuration: 30 }
 * })
 *
 * row.attemptTimeout // => Duration.seconds(5)
 * row.retry?.attempts // => 2
 * ```
 */
import * as Schema from "effect/Schema"
import * as Bulkhead from "./Bulkhead.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as Hedge from "./Hedge.ts"
import { ConfigBoolean, ConfigDuration, ConfigNumber, ConfigStruct, readConfig } from "./internal/config.ts"
import * as RateLimiter from "./RateLimiter.ts"
import * as Retry from "./Retry.ts"
import * as RetryBudget from "./RetryBudget.ts"

export { ConfigBoolean, ConfigDuration, ConfigNumber, ConfigStruct, readConfig }

/**
 * The stages of a policy: `deadline`, `attemptTimeout`, and `retry`, `retryBudget`, `hedge`, `rateLimiter`, `bulkhead` and
 * `breaker`, each as the `ConfigSchema` of its module has it; `enabled: false` switches the whole policy off, and in a
 * stage that stage.
 */
export const PolicyConfig = ConfigStruct({
  enabled: Schema.optionalKey(ConfigBoolean),
  deadline: Schema.optionalKey(ConfigDuration),
  attemptTimeout: Schema.optionalKey(ConfigDuration),
  retry: Schema.optionalKey(Retry.ConfigSchema),
  retryBudget: Schema.optionalKey(RetryBudget.ConfigSchema),
  hedge: Schema.optionalKey(Hedge.ConfigSchema),
  rateLimiter: Schema.optionalKey(RateLimiter.ConfigSchema),
  bulkhead: Schema.optionalKey(Bulkhead.ConfigSchema),
  breaker: Schema.optionalKey(CircuitBreaker.ConfigSchema)
})

/** A decoded row. */
export type PolicyConfig = typeof PolicyConfig.Type
