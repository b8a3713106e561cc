/**
 * What policies say on the span that is current where a call runs. They make no spans of their own, and where there is none
 * they do nothing.
 *
 * An attribute holds what was last said: a span around several calls keeps that of the last one. Transitions are events, since
 * each of them matters; rejections are not, since a span that lives long could gather any number of them.
 *
 * | attribute | set | value |
 * | --- | --- | --- |
 * | `http.request.resend_count` | before each attempt but the first | how many went before |
 * | `failsoft.policy` | with those below | the policy that says them |
 * | `failsoft.breaker.state` | when a circuit rejects a call, admits a probe, or changes | `closed`, `open`, `half_open` |
 * | `failsoft.rejection.reason` | when a stage refuses a call | the tag of the reason, such as `CircuitOpen` |
 *
 * The event `failsoft.breaker.transition` has `failsoft.policy`, `failsoft.breaker.from` and `failsoft.breaker.to`.
 */
import * as Clock from "effect/Clock"
import type * as Fiber from "effect/Fiber"
import type * as Tracer from "effect/Tracer"
import type { CircuitState } from "./Health.ts"
import type { UnavailableReason } from "./ServiceUnavailable.ts"

/** The names of attributes. */
export const attributes = {
  resendCount: "http.request.resend_count",
  policy: "failsoft.policy",
  breakerState: "failsoft.breaker.state",
  rejectionReason: "failsoft.rejection.reason",
  from: "failsoft.breaker.from",
  to: "failsoft.breaker.to"
} as const

/** The names of events. */
export const events = { transition: "failsoft.breaker.transition" } as const

/** The span of a fiber, unless it has ended: a fiber may live longer than the span in which it was forked. */
const spanOf = (fiber: Fiber.Fiber<unknown, unknown>): Tracer.Span | undefined => {
  const { span } = fiber.cache
  return span?._tag === "Span" && span.status._tag !== "Ended" ? span : undefined
}

/** `policy` refused a call for `reason`; `state` is that of its circuit, where that is what refused. */
export const rejected = (
  fiber: Fiber.Fiber<unknown, unknown>,
  policy: string,
  reason: UnavailableReason["_tag"],
  state?: CircuitState
): void => {
  const span = spanOf(fiber)
  if (span === undefined) return
  span.attribute(attributes.policy, policy)
  span.attribute(attributes.rejectionReason, reason)
  if (state !== undefined) span.attribute(attributes.breakerState, state)
}

/** The circuit of `policy` admitted a call as a probe. */
export const probed = (fiber: Fiber.Fiber<unknown, unknown>, policy: string): void => {
  const span = spanOf(fiber)
  if (span === undefined) return
  span.attribute(attributes.policy, policy)
  span.attribute(attributes.breakerState, "half_open" satisfies CircuitState)
}

/** The circuit of `policy` changed while a call ran, or by it. */
export const transition = (
  fiber: Fiber.Fiber<unknown, unknown>,
  policy: string,
  from: CircuitState,
  to: CircuitState
): void => {
  const span = spanOf(fiber)
  if (span === undefined) return
  span.attribute(attributes.policy, policy)
  span.attribute(attributes.breakerState, to)
  span.event(events.transition, fiber.getRef(Clock.Clock).currentTimeNanosUnsafe(), {
    [attributes.policy]: policy,
    [attributes.from]: from,
    [attributes.to]: to
  })
}

/** An attempt begins that `before` others went before. */
export const resent = (fiber: Fiber.Fiber<unknown, unknown>, before: number): void => {
  spanOf(fiber)?.attribute(attributes.resendCount, before)
}
