/**
 * Typed resilience for Effect: keep serving when your dependencies don't.
 */
export * as Bulkhead from "./Bulkhead.ts"
export * as CircuitBreaker from "./CircuitBreaker.ts"
export * as Deadline from "./Deadline.ts"
export * as Degradable from "./Degradable.ts"
export * as Fallback from "./Fallback.ts"
export * as Health from "./Health.ts"
export * as Hedge from "./Hedge.ts"
export { InvalidOption } from "./InvalidOption.ts"
export * as Lru from "./Lru.ts"
export * as Metrics from "./Metrics.ts"
export * as Outcome from "./Outcome.ts"
export * as Policies from "./Policies.ts"
export * as Policy from "./Policy.ts"
export * as PolicyConfig from "./PolicyConfig.ts"
export * as PolicyEvent from "./PolicyEvent.ts"
export * as RateLimiter from "./RateLimiter.ts"
export * as Retry from "./Retry.ts"
export * as RetryBudget from "./RetryBudget.ts"
export * as Served from "./Served.ts"
export {
  Ambiguous,
  type ErrorName,
  errorName,
  Misconfigured,
  QuotaExceeded,
  ServiceUnavailable,
  type ServiceUnavailableEncoded,
  UnavailableReason,
  Unsupported
} from "./ServiceUnavailable.ts"
export * as Spans from "./Spans.ts"
export * as StaleCache from "./StaleCache.ts"
