/** What a limit may be. These are checked by the compiler alone, and never run. */
import type { Effect, Layer } from "effect"
import type { RateLimiter as EffectRateLimiter } from "effect/persistence"
import { type InvalidOption, RateLimiter } from "failsoft"
import * as rateLimiterStore from "failsoft/interop/rateLimiterStore"
import { expectTypeOf } from "vitest"

export const aLimitHasWhatItsAlgorithmNeeds = (): void => {
  expectTypeOf(RateLimiter.gcra({ limit: 1, period: "1 second" })).toEqualTypeOf<RateLimiter.Gcra>()
  expectTypeOf(RateLimiter.gcra).parameter(0).not.toExtend<{ readonly window: unknown }>()
  expectTypeOf<{ readonly limit: number }>().not.toExtend<Parameters<typeof RateLimiter.gcra>[0]>()
  expectTypeOf<{ readonly limit: number }>().not.toExtend<Parameters<typeof RateLimiter.fixedWindow>[0]>()
  expectTypeOf<{ readonly name: string }>().not.toExtend<RateLimiter.Options>()
  expectTypeOf<"wait">().not.toExtend<NonNullable<RateLimiter.Options["onLimit"]>>()
  expectTypeOf<"forget">().not.toExtend<NonNullable<RateLimiter.KeyedOptions["whenFull"]>>()
}

export const theStoreIsEffects = (): void => {
  expectTypeOf(rateLimiterStore.layer()).toEqualTypeOf<
    Layer.Layer<EffectRateLimiter.RateLimiterStore, InvalidOption>
  >()
  expectTypeOf(rateLimiterStore.make()).toEqualTypeOf<
    Effect.Effect<EffectRateLimiter.RateLimiterStore["Service"], InvalidOption>
  >()
}
