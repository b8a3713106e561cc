import Opossum from "opossum"
import { failuresToOpen, type Given, openMillis, promiseCall } from "../calls.ts"
import { promiseSubject, type Subject } from "../subject.ts"

/**
 * `CircuitBreaker` around the call, without opossum's own timeout. It knows no failures in a row, so it is told to
 * open on their share once there were as many calls.
 */
export const breaker = (given: Given): Subject => {
  const circuit = new Opossum(promiseCall(given), {
    timeout: false,
    errorThresholdPercentage: 50,
    volumeThreshold: failuresToOpen,
    resetTimeout: openMillis
  })
  return promiseSubject(() => circuit.fire())
}
