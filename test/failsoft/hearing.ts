import { Effect } from "effect"
import { PolicyEvent } from "failsoft"

/** Makes a policy with a listener; `events` grows as the policy tells. */
export const hearing = <A, E, R>(make: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const events: Array<PolicyEvent.PolicyEvent> = []
    return make.pipe(
      Effect.provideService(PolicyEvent.Listeners, [(event) => events.push(event)]),
      Effect.map((made) => ({ made, events }))
    )
  })

const isTransition = (event: PolicyEvent.PolicyEvent): event is PolicyEvent.Transition =>
  event._tag === "CircuitOpened" ||
  event._tag === "CircuitHalfOpened" ||
  event._tag === "CircuitClosed" ||
  event._tag === "CircuitReset"

/** The transitions among events, by name. */
export const transitionsIn = (events: ReadonlyArray<PolicyEvent.PolicyEvent>): ReadonlyArray<string> =>
  events.filter(isTransition).map(({ _tag }) => _tag)
