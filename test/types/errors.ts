/** What callers see in the error channel. These are checked by the compiler alone, and never run. */

import type { Config } from "effect"
import { Context, Data, Effect, type Layer, Schema, type Scope } from "effect"
import {
  Bulkhead,
  CircuitBreaker,
  Deadline,
  Fallback,
  Hedge,
  type InvalidOption,
  Policies,
  Policy,
  RateLimiter,
  Retry,
  RetryBudget,
  ServiceUnavailable,
  type ServiceUnavailableEncoded,
  type UnavailableReason
} from "failsoft"
import { expectTypeOf } from "vitest"

class NotFound extends Data.TaggedError("NotFound")<{ readonly id: string }> {}

class Database extends Context.Service<Database, { readonly url: string }>()("types/Database") {}

class Key extends Context.Service<Key, Policy.Policy>()("types/Key") {}

class Other extends Context.Service<Other, Policy.Policy>()("types/Other") {}

class BreakerKey extends Context.Service<BreakerKey, CircuitBreaker.CircuitBreaker>()("types/BreakerKey") {}

class BudgetKey extends Context.Service<BudgetKey, RetryBudget.RetryBudget>()("types/BudgetKey") {}

class BulkheadKey extends Context.Service<BulkheadKey, Bulkhead.Bulkhead>()("types/BulkheadKey") {}

class KeyedBulkheadKey extends Context.Service<KeyedBulkheadKey, Bulkhead.KeyedBulkhead>()(
  "types/KeyedBulkheadKey"
) {}

class HedgeKey extends Context.Service<HedgeKey, Hedge.Hedge>()("types/HedgeKey") {}

class RetryKey extends Context.Service<RetryKey, Retry.Retry>()("types/RetryKey") {}

declare const call: Effect.Effect<number, NotFound, Database>
declare const breaker: CircuitBreaker.CircuitBreaker
declare const bulkhead: Bulkhead.Bulkhead
declare const hosts: Bulkhead.KeyedBulkhead
class LimiterKey extends Context.Service<LimiterKey, RateLimiter.RateLimiter>()("types/LimiterKey") {}

class KeyedKey extends Context.Service<KeyedKey, RateLimiter.KeyedRateLimiter>()("types/KeyedKey") {}

declare const retry: Retry.Retry
declare const limiter: RateLimiter.RateLimiter
declare const keyed: RateLimiter.KeyedRateLimiter
declare const policy: Policy.Policy

type Guarded = Effect.Effect<number, NotFound | ServiceUnavailable, Database>

export const everyPolicyAddsOneErrorAndNothingElse = (): void => {
  expectTypeOf(call.pipe(breaker.execute)).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(CircuitBreaker.withBreaker(breaker))).toEqualTypeOf<Guarded>()
  expectTypeOf(CircuitBreaker.withBreaker(call, breaker)).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(bulkhead.execute)).toEqualTypeOf<Guarded>()
  expectTypeOf(bulkhead.executeWith(call, { priority: 1, queue: false })).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(Bulkhead.withBulkhead(bulkhead))).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(Bulkhead.withBulkhead(bulkhead, { priority: 1 }))).toEqualTypeOf<Guarded>()
  expectTypeOf(Bulkhead.withBulkhead(call, bulkhead)).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(hosts.execute("host"))).toEqualTypeOf<Guarded>()
  expectTypeOf(hosts.executeWith("host", call, { queue: false })).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(Bulkhead.withKey(hosts, "host"))).toEqualTypeOf<Guarded>()
  expectTypeOf(Bulkhead.withKey(call, hosts, "host", { priority: 1 })).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(retry.execute)).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(Retry.withRetry(retry))).toEqualTypeOf<Guarded>()
  expectTypeOf(Retry.withRetry(call, retry)).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(limiter.execute)).toEqualTypeOf<Guarded>()
  expectTypeOf(limiter.executeWith(call, { cost: 2 })).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(RateLimiter.withRateLimit(limiter))).toEqualTypeOf<Guarded>()
  expectTypeOf(RateLimiter.withRateLimit(call, limiter, { cost: 2 })).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(keyed.execute("ada"))).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(keyed.of("ada").execute)).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(policy.execute)).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(Policy.withPolicy(policy))).toEqualTypeOf<Guarded>()
  expectTypeOf(Policy.withPolicy(call, policy)).toEqualTypeOf<Guarded>()
  expectTypeOf(policy.executeWith(call, { retry: false })).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(Deadline.attemptTimeout("billing", "5 seconds"))).toEqualTypeOf<Guarded>()
  expectTypeOf(Deadline.attemptTimeout(call, "billing", "5 seconds")).toEqualTypeOf<Guarded>()
  expectTypeOf(call.pipe(breaker.execute, retry.execute, policy.execute)).toEqualTypeOf<Guarded>()
}

export const aFallbackTakesOneErrorAway = (): void => {
  const guarded = call.pipe(policy.execute)
  const value = Fallback.value("none")
  expectTypeOf(Fallback.withAnswer(guarded, value)).toEqualTypeOf<
    Effect.Effect<number | string, NotFound, Database>
  >()
  expectTypeOf(guarded.pipe(Fallback.withAnswer(Fallback.failClosed("denied" as const)))).toEqualTypeOf<
    Effect.Effect<number, NotFound | "denied", Database>
  >()
  const only = Fallback.when(["CircuitOpen"], value)
  expectTypeOf(Fallback.withAnswer(guarded, only)).toEqualTypeOf<
    Effect.Effect<number | string, NotFound | ServiceUnavailable, Database>
  >()
  expectTypeOf(Fallback.withAnswer(guarded, Fallback.firstOf(only, Fallback.failOpen(true)))).toEqualTypeOf<
    Effect.Effect<number | string | boolean, NotFound, Database>
  >()
  expectTypeOf(Fallback.make({ name: "search", answer: Fallback.effect(() => call) })).toEqualTypeOf<
    Effect.Effect<Fallback.Fallback<number, NotFound, Database>, InvalidOption, Scope.Scope>
  >()
}

export const aBudgetAddsNoErrorOfItsOwn = (budget: RetryBudget.RetryBudget): void => {
  expectTypeOf(budget.deposit).toEqualTypeOf<Effect.Effect<void>>()
  expectTypeOf(budget.withdraw("timeout")).toEqualTypeOf<Effect.Effect<boolean>>()
  expectTypeOf(Retry.make({ name: "billing", budget })).toEqualTypeOf<
    Effect.Effect<Retry.Retry, InvalidOption, Scope.Scope>
  >()
}

export const whatALimiterTellsNeverFails = (): void => {
  expectTypeOf(limiter.take()).toEqualTypeOf<Effect.Effect<void, ServiceUnavailable>>()
  expectTypeOf(limiter.peek(2)).toEqualTypeOf<Effect.Effect<RateLimiter.Reading>>()
  expectTypeOf(limiter.refund(2)).toEqualTypeOf<Effect.Effect<void>>()
  expectTypeOf(limiter.snapshot).toEqualTypeOf<Effect.Effect<RateLimiter.Snapshot>>()
  expectTypeOf(keyed.snapshot).toEqualTypeOf<Effect.Effect<RateLimiter.Snapshot>>()
}

export const aHedgeAddsNothing = (hedge: Hedge.Hedge, idempotent: boolean): void => {
  expectTypeOf(call.pipe(Hedge.withHedge(hedge, { idempotent }))).toEqualTypeOf<typeof call>()
  expectTypeOf(Hedge.withHedge(call, hedge, { idempotent: true })).toEqualTypeOf<typeof call>()
  expectTypeOf(hedge.executeWith(call, { idempotent: true })).toEqualTypeOf<typeof call>()
}

export const aVariantForFurtherAttemptsAddsWhatItIs = (
  hedge: Hedge.Hedge,
  hedged: Effect.Effect<string, "full", BreakerKey>
): void => {
  type Either = Effect.Effect<number | string, NotFound | "full", Database | BreakerKey>
  expectTypeOf(hedge.executeWith(call, { idempotent: true, hedged })).toEqualTypeOf<Either>()
  expectTypeOf(call.pipe(Hedge.withHedge(hedge, { idempotent: true, hedged }))).toEqualTypeOf<Either>()
}

export const aCallHasToSayWhetherItIsIdempotent = (): void => {
  expectTypeOf<{ readonly mayHedge: Effect.Effect<boolean> }>().not.toExtend<Hedge.CallOptions>()
  expectTypeOf<{ readonly idempotent: boolean }>().toExtend<Hedge.CallOptions>()
  expectTypeOf<Hedge.Hedge>().not.toHaveProperty("execute")
}

export const aDeadlineAddsNothing = (): void => {
  expectTypeOf(call.pipe(Deadline.within("3 seconds"))).toEqualTypeOf<typeof call>()
  expectTypeOf(Deadline.within(call, "3 seconds")).toEqualTypeOf<typeof call>()
  expectTypeOf(Deadline.unbounded(call)).toEqualTypeOf<typeof call>()
}

export const aCallThatCannotFailGetsThatErrorAlone = (): void => {
  expectTypeOf(Effect.succeed(1).pipe(policy.execute)).toEqualTypeOf<
    Effect.Effect<number, ServiceUnavailable>
  >()
}

declare const guarded: Guarded
declare const cache: Effect.Effect<string, "miss", { readonly cache: true }>

export const whoHandlesItSeesItDisappear = (): void => {
  expectTypeOf(
    guarded.pipe(Effect.catchTag("ServiceUnavailable", () => Effect.succeed("none")))
  ).toEqualTypeOf<Effect.Effect<number | string, NotFound, Database>>()
  expectTypeOf(guarded.pipe(ServiceUnavailable.orElse(() => cache))).toEqualTypeOf<
    Effect.Effect<number | string, NotFound | "miss", Database | { readonly cache: true }>
  >()
  expectTypeOf(ServiceUnavailable.orElse(guarded, () => Effect.succeed(0))).toEqualTypeOf<
    Effect.Effect<number, NotFound, Database>
  >()
  expectTypeOf(guarded.pipe(policy.orElse(() => Effect.succeed("none")))).toEqualTypeOf<
    Effect.Effect<number | string, NotFound, Database>
  >()
  expectTypeOf(guarded.pipe(breaker.orElse((error) => Effect.succeed(error.service)))).toEqualTypeOf<
    Effect.Effect<number | string, NotFound, Database>
  >()
}

export const catchReasonLeavesIt = (): void => {
  expectTypeOf(
    guarded.pipe(Effect.catchReason("ServiceUnavailable", "CircuitOpen", () => Effect.succeed(0)))
  ).toEqualTypeOf<Guarded>()
}

export const unwrapReasonTurnsItIntoItsReasons = (): void => {
  const unwrapped = guarded.pipe(Effect.unwrapReason("ServiceUnavailable"))
  expectTypeOf(unwrapped).toEqualTypeOf<Effect.Effect<number, NotFound | UnavailableReason, Database>>()
  const handled = unwrapped.pipe(Effect.catchTag("CircuitOpen", () => Effect.succeed(0)))
  expectTypeOf<Effect.Error<typeof handled>>().toEqualTypeOf<
    NotFound | Exclude<UnavailableReason, { readonly _tag: "CircuitOpen" }>
  >()
}

export const itsReasonIsAUnionByTag = (error: ServiceUnavailable): void => {
  expectTypeOf(error._tag).toEqualTypeOf<"ServiceUnavailable">()
  expectTypeOf(error.reason._tag).toEqualTypeOf<
    | "CircuitOpen"
    | "BulkheadFull"
    | "RateLimited"
    | "TimedOut"
    | "RetriesExhausted"
    | "RetryBudgetExhausted"
    | "Throttled"
    | "Shed"
    | "NotConnected"
  >()
  if (error.reason._tag === "RetriesExhausted") expectTypeOf(error.reason.lastError).toEqualTypeOf<unknown>()
}

export const itsCodecNeedsNothing = (): void => {
  expectTypeOf(
    Schema.encodeSync(ServiceUnavailable.schema)
  ).returns.toEqualTypeOf<ServiceUnavailableEncoded>()
  expectTypeOf(Schema.decodeSync(ServiceUnavailable.schema)).returns.toEqualTypeOf<ServiceUnavailable>()
}

declare const algorithm: RateLimiter.Algorithm

export const makingFailsWithAnInvalidOptionAlone = (): void => {
  expectTypeOf(CircuitBreaker.make({ name: "billing" })).toEqualTypeOf<
    Effect.Effect<CircuitBreaker.CircuitBreaker, InvalidOption, Scope.Scope>
  >()
  expectTypeOf(Retry.make({ name: "billing" })).toEqualTypeOf<
    Effect.Effect<Retry.Retry, InvalidOption, Scope.Scope>
  >()
  expectTypeOf(RetryBudget.make({ name: "billing" })).toEqualTypeOf<
    Effect.Effect<RetryBudget.RetryBudget, InvalidOption, Scope.Scope>
  >()
  expectTypeOf(RateLimiter.make({ name: "billing", algorithm })).toEqualTypeOf<
    Effect.Effect<RateLimiter.RateLimiter, InvalidOption, Scope.Scope>
  >()
  expectTypeOf(RateLimiter.makeKeyed({ name: "billing", algorithm })).toEqualTypeOf<
    Effect.Effect<RateLimiter.KeyedRateLimiter, InvalidOption, Scope.Scope>
  >()
  expectTypeOf(Hedge.make({ name: "billing" })).toEqualTypeOf<
    Effect.Effect<Hedge.Hedge, InvalidOption, Scope.Scope>
  >()
  expectTypeOf(Policy.make("billing", {})).toEqualTypeOf<
    Effect.Effect<Policy.Policy, InvalidOption, Scope.Scope>
  >()
}

export const aLayerProvidesItsKeyAndNeedsNoScope = (): void => {
  expectTypeOf(Bulkhead.layer(BulkheadKey, { name: "billing", limit: 1 })).toEqualTypeOf<
    Layer.Layer<BulkheadKey, InvalidOption>
  >()
  expectTypeOf(Bulkhead.layerKeyed(KeyedBulkheadKey, { name: "billing", limit: 1 })).toEqualTypeOf<
    Layer.Layer<KeyedBulkheadKey, InvalidOption>
  >()
  expectTypeOf(Bulkhead.layerConfig(BulkheadKey, "billing", "billing")).toEqualTypeOf<
    Layer.Layer<BulkheadKey, InvalidOption | Config.ConfigError>
  >()
  expectTypeOf(Bulkhead.layerKeyedConfig(KeyedBulkheadKey, "billing", "billing")).toEqualTypeOf<
    Layer.Layer<KeyedBulkheadKey, InvalidOption | Config.ConfigError>
  >()
  expectTypeOf(bulkhead.resize(2)).toEqualTypeOf<Effect.Effect<void, InvalidOption>>()
  expectTypeOf(Bulkhead.make).parameter(0).toHaveProperty("limit").toEqualTypeOf<number>()
  expectTypeOf(CircuitBreaker.layer(BreakerKey, { name: "billing" })).toEqualTypeOf<
    Layer.Layer<BreakerKey, InvalidOption>
  >()
  expectTypeOf(CircuitBreaker.layerConfig(BreakerKey, "billing", "billing")).toEqualTypeOf<
    Layer.Layer<BreakerKey, InvalidOption | Config.ConfigError>
  >()
  expectTypeOf(RateLimiter.layer(LimiterKey, { name: "billing", algorithm })).toEqualTypeOf<
    Layer.Layer<LimiterKey, InvalidOption>
  >()
  expectTypeOf(RateLimiter.layerKeyed(KeyedKey, { name: "billing", algorithm })).toEqualTypeOf<
    Layer.Layer<KeyedKey, InvalidOption>
  >()
  expectTypeOf(RateLimiter.layerConfig(LimiterKey, "billing", "billing")).toEqualTypeOf<
    Layer.Layer<LimiterKey, InvalidOption | Config.ConfigError>
  >()
  expectTypeOf(Retry.layer(RetryKey, { name: "billing" })).toEqualTypeOf<
    Layer.Layer<RetryKey, InvalidOption>
  >()
  expectTypeOf(Retry.layerConfig(RetryKey, "billing", "billing")).toEqualTypeOf<
    Layer.Layer<RetryKey, InvalidOption | Config.ConfigError>
  >()
  expectTypeOf(RetryBudget.layer(BudgetKey, { name: "billing" })).toEqualTypeOf<
    Layer.Layer<BudgetKey, InvalidOption>
  >()
  expectTypeOf(RetryBudget.layerConfig(BudgetKey, "billing", "billing")).toEqualTypeOf<
    Layer.Layer<BudgetKey, InvalidOption | Config.ConfigError>
  >()
  expectTypeOf(Hedge.layer(HedgeKey, { name: "billing" })).toEqualTypeOf<
    Layer.Layer<HedgeKey, InvalidOption>
  >()
  expectTypeOf(Hedge.layerConfig(HedgeKey, "billing", "billing")).toEqualTypeOf<
    Layer.Layer<HedgeKey, InvalidOption | Config.ConfigError>
  >()
  expectTypeOf(Policy.layer(Key, "billing", {})).toEqualTypeOf<Layer.Layer<Key, InvalidOption>>()
  expectTypeOf(Policy.layerConfig(Key, "billing")).toEqualTypeOf<
    Layer.Layer<Key, InvalidOption | Config.ConfigError>
  >()
  expectTypeOf(Policies.layerConfig({ billing: Key, search: Other }, "services")).toEqualTypeOf<
    Layer.Layer<Key | Other | Policies.Policies, InvalidOption | Config.ConfigError>
  >()
  expectTypeOf<Policies.Policies["Service"]["reload"]>().returns.toEqualTypeOf<
    Effect.Effect<Readonly<Record<string, Policies.Changes>>, Policies.TableRefused>
  >()
}
