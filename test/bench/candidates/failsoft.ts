import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { Bulkhead, CircuitBreaker, Policy, Retry } from "failsoft"
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

/** `Policy` with retry, circuit breaker and attempt timeout around the call in a `Bulkhead`, as long as `Policy` has none. */
export const pipeline = (given: Given): Promise<Subject> =>
  Effect.all([
    Bulkhead.make({ name: "bench", limit: given.bulkhead, queue: given.bulkhead }),
    policy(given)
  ]).pipe(
    Effect.map(([bulkhead, policy]) =>
      effectSubject(effectCall(given).pipe(bulkhead.execute, policy.execute))
    ),
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )

const policy = (given: Given) =>
  Policy.make("bench", {
    attemptTimeout: Duration.millis(given.attemptTimeoutMillis),
    retry: {
      attempts,
      schedule: Retry.exponential({ base: Duration.millis(backoffMillis), jitter: "none" })
    },
    breaker: breakerOptions
  })
