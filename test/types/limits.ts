/** What a limit may be. These are checked by the compiler alone, and never run. */
import { RateLimiter } from "failsoft"
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
