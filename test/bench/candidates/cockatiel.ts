import {
  BrokenCircuitError,
  bulkhead,
  ConsecutiveBreaker,
  circuitBreaker,
  ExponentialBackoff,
  handleAll,
  handleWhen,
  noJitterGenerator,
  retry,
  TimeoutStrategy,
  timeout,
  wrap
} from "cockatiel"
import { attempts, backoffMillis, failuresToOpen, type Given, openMillis, promiseCall } from "../calls.ts"
import { promiseSubject, type Subject } from "../subject.ts"

const makeBreaker = () =>
  circuitBreaker(handleAll, { breaker: new ConsecutiveBreaker(failuresToOpen), halfOpenAfter: openMillis })

/** `circuitBreaker` around the call. */
export const breaker = (given: Given): Subject => {
  const circuit = makeBreaker()
  const call = promiseCall(given)
  return promiseSubject(() => circuit.execute(call))
}

const makeBulkhead = (given: Given) => bulkhead(given.bulkhead, given.bulkhead)

/** `bulkhead` around the call. */
export const permit = (given: Given): Subject => {
  const policy = makeBulkhead(given)
  const call = promiseCall(given)
  return promiseSubject(() => policy.execute(call))
}

const retryOptions = {
  maxAttempts: attempts - 1,
  backoff: new ExponentialBackoff({ initialDelay: backoffMillis, generator: noJitterGenerator })
}

/** `retry` around the call. */
export const again = (given: Given): Subject => {
  const policy = retry(handleAll, retryOptions)
  const call = promiseCall(given)
  return promiseSubject(() => policy.execute(call))
}

/**
 * `wrap` of retry, bulkhead, circuit breaker and timeout around the call.
 *
 * The timeout is aggressive: as with the others, it ends an attempt that pays no heed to it.
 */
export const pipeline = (given: Given): Subject => {
  const policy = wrap(
    retry(
      handleWhen((error) => !(error instanceof BrokenCircuitError)),
      retryOptions
    ),
    makeBulkhead(given),
    makeBreaker(),
    timeout(given.attemptTimeoutMillis, TimeoutStrategy.Aggressive)
  )
  const call = promiseCall(given)
  return promiseSubject(() => policy.execute(call))
}
