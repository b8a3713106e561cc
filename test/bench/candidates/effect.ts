import * as Cache from "effect/Cache"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { CircuitBreaker, RateLimiter } from "effect/persistence"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import {
  attempts,
  backoffMillis,
  cacheEntries,
  effectCall,
  failuresToOpen,
  type Given,
  nextKey,
  openMillis,
  timeToLiveMillis
} from "../calls.ts"
import { effectSubject, type Subject } from "../subject.ts"

const make = CircuitBreaker.make({
  tripPolicy: CircuitBreaker.consecutive(failuresToOpen),
  openDuration: Duration.millis(openMillis)
}).pipe(Effect.provide(CircuitBreaker.layerStoreMemory()))

/** Effect's own circuit breaker, with its store in memory, around the call. */
export const breaker = (given: Given): Promise<Subject> =>
  make.pipe(
    Effect.map((circuit) => effectSubject(effectCall(given).pipe(circuit.execute({ key: "bench" })))),
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )

/** `Semaphore` around the call: each takes one of its permits. */
export const semaphore = (given: Given): Subject =>
  effectSubject(Semaphore.makeUnsafe(given.bulkhead).withPermits(1)(effectCall(given)))

/** Effect's own rate limiter, with its store in memory, around the call. */
export const rateLimiter = (given: Given): Promise<Subject> =>
  RateLimiter.makeWithRateLimiter.pipe(
    Effect.map((withLimiter) =>
      effectSubject(
        effectCall(given).pipe(
          withLimiter({
            key: "bench",
            algorithm: "token-bucket",
            limit: given.rate.limit,
            window: Duration.millis(given.rate.periodMillis)
          })
        )
      )
    ),
    Effect.provide(RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))),
    Effect.runPromise
  )

const retryOptions = { times: attempts - 1, schedule: Schedule.exponential(Duration.millis(backoffMillis)) }

/** `Effect.retry` around the call. */
export const retry = (given: Given): Subject => effectSubject(Effect.retry(effectCall(given), retryOptions))

/** `Effect.timeout` around the call. */
export const timeout = (given: Given): Subject =>
  effectSubject(Effect.timeout(effectCall(given), Duration.millis(given.attemptTimeoutMillis)))

/** `Cache` whose lookup is the call, asked for one key after another. */
export const cache = (given: Given): Promise<Subject> => {
  const key = nextKey()
  const call = effectCall(given)
  return Cache.make({
    capacity: cacheEntries,
    lookup: (_: string) => call,
    timeToLive: Duration.millis(timeToLiveMillis)
  }).pipe(
    Effect.map((cache) => effectSubject(Effect.suspend(() => Cache.get(cache, key())))),
    Effect.runPromise
  )
}

/** What Effect offers by itself: `Effect.timeout` in its circuit breaker in a `Semaphore` in `Effect.retry`. */
export const pipeline = (given: Given): Promise<Subject> =>
  make.pipe(
    Effect.map((circuit) =>
      effectSubject(
        effectCall(given).pipe(
          Effect.timeout(Duration.millis(given.attemptTimeoutMillis)),
          circuit.execute({ key: "bench" }),
          Semaphore.makeUnsafe(given.bulkhead).withPermit,
          Effect.retry({
            ...retryOptions,
            while: (error) => !(error instanceof CircuitBreaker.CircuitBreakerError)
          })
        )
      )
    ),
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )
