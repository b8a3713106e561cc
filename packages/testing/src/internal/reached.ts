import * as Context from "effect/Context"

/**
 * What is told when a call reaches a scripted dependency. It flows down the fiber, so that a call can be told from the
 * others that run at the same time, and from the probes of a circuit.
 */
export const Reached = Context.Reference<(() => void) | undefined>("@failsoft/testing/Reached", {
  defaultValue: () => undefined
})
