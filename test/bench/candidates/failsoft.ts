import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { CircuitBreaker, Policy, Retry } from "failsoft"
import { attempts, backoffMillis, effectCall, failuresToOpen, type Given, openMillis } from "../calls.ts"
import { effectSubject, type Subject } from "../subject.ts"

const breakerOptions = {
  trip: CircuitBreaker.consecutive(failuresToOpen),
  openDuration: Duration.millis(openMillis)
}

/** `CircuitBreaker` around the call. */
export const breaker = (given: Given): Promise<Subject> =>
  CircuitBreaker.make({ ...breakerOptions, name: "bench" }).pipe(
    Effect.map((circuit) => effectSubject(effectCall(given).pipe(circuit.execute))),
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )

/** `CircuitBreaker` that opens by a failure rate as well, over a window of time. */
export const windowed = (given: Given): Promise<Subject> =>
  CircuitBreaker.make({
    ...breakerOptions,
    name: "bench",
    trip: CircuitBreaker.any(
      breakerOptions.trip,
      CircuitBreaker.failureRate({ threshold: 0.5, window: CircuitBreaker.time("10 seconds") })
    )
  }).pipe(
    Effect.map((circuit) => effectSubject(effectCall(given).pipe(circuit.execute))),
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )

/** `Policy` with retry, bulkhead, circuit breaker and attempt timeout around the call. */
export const pipeline = (given: Given): Promise<Subject> =>
  Policy.make("bench", {
    attemptTimeout: Duration.millis(given.attemptTimeoutMillis),
    retry: {
      attempts,
      schedule: Retry.exponential({ base: Duration.millis(backoffMillis), jitter: "none" })
    },
    bulkhead: { limit: given.bulkhead, queue: given.bulkhead },
    breaker: breakerOptions
  }).pipe(
    Effect.map((policy) => effectSubject(effectCall(given).pipe(policy.execute))),
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )
