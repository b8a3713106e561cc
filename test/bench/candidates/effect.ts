import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { CircuitBreaker } from "effect/persistence"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { attempts, backoffMillis, effectCall, failuresToOpen, type Given, openMillis } from "../calls.ts"
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
            times: attempts - 1,
            schedule: Schedule.exponential(Duration.millis(backoffMillis)),
            while: (error) => !(error instanceof CircuitBreaker.CircuitBreakerError)
          })
        )
      )
    ),
    Scope.provide(Scope.makeUnsafe()),
    Effect.runPromise
  )
