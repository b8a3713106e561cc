import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import {
  Bulkhead,
  CircuitBreaker,
  Hedge,
  Policy,
  RateLimiter,
  Retry,
  RetryBudget,
  StaleCache
} from "failsoft"
import {
  attempts,
  backoffMillis,
  budget,
  cacheEntries,
  effectCall,
  failuresToOpen,
  type Given,
  nextKey,
  openMillis,
  timeToLiveMillis
} from "../calls.ts"
import { effectSubject, type Subject } from "../subject.ts"

/** Makes what guards a call, and guards it. */
const guarded = <Guard, E, E2>(
  guard: Effect.Effect<Guard, E, Scope.Scope>,
  guardedBy: (guard: Guard) => Effect.Effect<number, E2>
): Promise<Subject> =>
  guard.pipe(
    Effect.map((made) => effectSubject(guardedBy(made))),
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )

const breakerOptions = {
  trip: CircuitBreaker.consecutive(failuresToOpen),
  openDuration: Duration.millis(openMillis)
}

/** `CircuitBreaker` around the call. */
export const breaker = (given: Given): Promise<Subject> =>
  guarded(CircuitBreaker.make({ ...breakerOptions, name: "bench" }), ({ execute }) =>
    execute(effectCall(given))
  )

/** `CircuitBreaker` that opens by a failure rate as well, over a window of time. */
export const windowed = (given: Given): Promise<Subject> =>
  guarded(
    CircuitBreaker.make({
      ...breakerOptions,
      name: "bench",
      trip: CircuitBreaker.any(
        breakerOptions.trip,
        CircuitBreaker.failureRate({ threshold: 0.5, window: CircuitBreaker.time("10 seconds") })
      )
    }),
    ({ execute }) => execute(effectCall(given))
  )

const bulkheadOptions = (given: Given) => ({ limit: given.bulkhead, queue: given.bulkhead })

/** `Bulkhead` around the call. */
export const bulkhead = (given: Given): Promise<Subject> =>
  guarded(Bulkhead.make({ ...bulkheadOptions(given), name: "bench" }), ({ execute }) =>
    execute(effectCall(given))
  )

const limited = (given: Given, algorithm: RateLimiter.Algorithm): Promise<Subject> =>
  guarded(RateLimiter.make({ name: "bench", algorithm }), ({ execute }) => execute(effectCall(given)))

const gcra = ({ rate }: Given) =>
  RateLimiter.gcra({ limit: rate.limit, period: Duration.millis(rate.periodMillis) })

/** `RateLimiter` around the call, by the generic cell rate algorithm. */
export const rateLimiter = (given: Given): Promise<Subject> => limited(given, gcra(given))

/** `RateLimiter` around the call, by a sliding window. */
export const slidingWindow = (given: Given): Promise<Subject> => {
  const { limit, periodMillis } = given.rate
  return limited(given, RateLimiter.slidingWindow({ limit, window: Duration.millis(periodMillis) }))
}

/** `RateLimiter` around the call, by fixed windows. */
export const fixedWindow = (given: Given): Promise<Subject> => {
  const { limit, periodMillis } = given.rate
  return limited(given, RateLimiter.fixedWindow({ limit, window: Duration.millis(periodMillis) }))
}

const retryOptions = {
  attempts,
  schedule: Retry.exponential({ base: Duration.millis(backoffMillis), jitter: "none" })
}

const budgetOptions = { minPerSecond: budget }

/** `Retry` with a `RetryBudget` around the call. */
export const retry = (given: Given): Promise<Subject> =>
  guarded(
    Effect.flatMap(RetryBudget.make({ ...budgetOptions, name: "bench" }), (budget) =>
      Retry.make({ ...retryOptions, name: "bench", budget })
    ),
    ({ execute }) => execute(effectCall(given))
  )

/** The wait follows what calls take, as by default, but is not shorter than given. */
const hedgeOptions = ({ hedgeAfterMillis }: Given) => {
  const least = Duration.millis(hedgeAfterMillis)
  return { delay: Hedge.quantile({ initial: least, min: least }) }
}

/** `Hedge` around the call. */
export const hedge = (given: Given): Promise<Subject> =>
  guarded(Hedge.make({ ...hedgeOptions(given), name: "bench" }), (hedge) =>
    hedge.executeWith(effectCall(given), { idempotent: true })
  )

/** `StaleCache` whose lookup is the call, asked for one key after another. */
export const staleCache = (given: Given): Promise<Subject> => {
  const key = nextKey()
  const call = effectCall(given)
  return guarded(
    StaleCache.make({
      name: "bench",
      lookup: (_: string) => call,
      timeToLive: Duration.millis(timeToLiveMillis),
      maxEntries: cacheEntries
    }),
    (cache) => Effect.suspend(() => cache.get(key()))
  )
}

const pipelineOptions = (given: Given) => ({
  attemptTimeout: Duration.millis(given.attemptTimeoutMillis),
  retry: retryOptions,
  bulkhead: bulkheadOptions(given),
  breaker: breakerOptions
})

/** `Policy` with retry, bulkhead, circuit breaker and attempt timeout around the call. */
export const pipeline = (given: Given): Promise<Subject> =>
  guarded(Policy.make("bench", pipelineOptions(given)), ({ execute }) => execute(effectCall(given)))

/** `Policy` with every stage that there is, and a budget, around the call. */
export const allStages = (given: Given): Promise<Subject> =>
  guarded(
    Policy.make("bench", {
      ...pipelineOptions(given),
      deadline: Duration.millis(given.deadlineMillis),
      retryBudget: budgetOptions,
      hedge: hedgeOptions(given),
      rateLimiter: { algorithm: gcra(given) }
    }),
    (policy) => policy.executeWith(effectCall(given), { idempotent: true })
  )
