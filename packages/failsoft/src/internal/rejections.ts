/**
 * Refusing calls by the thousand: one error serves many of them, and they are told of in sums.
 *
 * Making the error is most of what a rejection costs. Two rejections differ only in their `retryAfter`, so the last error is
 * used again while that is the same.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as PolicyEvent from "../PolicyEvent.ts"
import { ServiceUnavailable, type UnavailableReason } from "../ServiceUnavailable.ts"
import * as Spans from "../Spans.ts"
import { wallMillis } from "./clock.ts"

/** What one policy keeps of the calls that it refused. */
export interface Rejections {
  readonly policy: string
  readonly reason: UnavailableReason
  readonly emit: PolicyEvent.Emitter["emit"]
  /** How many there were. */
  total: number
  /** How many of them no `CallsRejected` has told yet. */
  untold: number
  /** When sums were told last. */
  toldAtMillis: number
  /** The millisecond of the last that was told by itself. */
  atMillis: number
  retryAfterMillis: number | undefined
  result: Effect.Effect<never, ServiceUnavailable> | undefined
}

export const make = (
  policy: string,
  reason: UnavailableReason,
  emit: PolicyEvent.Emitter["emit"]
): Rejections => ({
  policy,
  reason,
  emit,
  total: 0,
  untold: 0,
  toldAtMillis: Number.NEGATIVE_INFINITY,
  atMillis: Number.NaN,
  retryAfterMillis: undefined,
  result: undefined
})

/** Rejections are told at once at first, then summed by the minute. */
const tellEveryMillis = 60_000

/** Refuses a call, and tells of it in sums. `retryAfterMillis` is rounded up to whole milliseconds. */
export const reject = (
  rejections: Rejections,
  fiber: Fiber.Fiber<unknown, unknown>,
  nowMillis: number,
  retryAfterMillis: number | undefined
): Effect.Effect<never, ServiceUnavailable> => {
  rejections.total++
  Spans.rejected(fiber, rejections.policy, rejections.reason._tag)
  rejections.untold++
  const result = resultFor(rejections, retryAfterMillis)
  const atMillis = Math.floor(nowMillis)
  if (rejections.atMillis === atMillis) return result
  rejections.atMillis = atMillis
  // Suspended, so that a caller interrupted before this is told takes no sum with it.
  const tell = Effect.suspend(() =>
    nowMillis - rejections.toldAtMillis < tellEveryMillis
      ? rejections.emit({
          _tag: "CallRejected",
          policy: rejections.policy,
          atMillis: wallMillis(fiber),
          reason: rejections.reason._tag
        })
      : tellSum(rejections, fiber, nowMillis)
  )
  return Effect.andThen(Effect.uninterruptible(tell), result)
}

/** Tells of the rejections that no sum has told yet, if there are any. */
export const tellRest = (rejections: Rejections): Effect.Effect<void> =>
  Effect.withFiber((fiber) =>
    rejections.untold === 0 ? Effect.void : tellSum(rejections, fiber, rejections.toldAtMillis)
  )

const resultFor = (
  rejections: Rejections,
  retryAfterMillis: number | undefined
): Effect.Effect<never, ServiceUnavailable> => {
  const wholeMillis = retryAfterMillis === undefined ? undefined : Math.ceil(retryAfterMillis)
  if (rejections.result !== undefined && rejections.retryAfterMillis === wholeMillis) return rejections.result
  const result = Effect.fail(
    new ServiceUnavailable({
      service: rejections.policy,
      reason: rejections.reason,
      retryAfter: wholeMillis === undefined ? undefined : Duration.millis(wholeMillis)
    })
  )
  rejections.retryAfterMillis = wholeMillis
  rejections.result = result
  return result
}

const tellSum = (
  rejections: Rejections,
  fiber: Fiber.Fiber<unknown, unknown>,
  nowMillis: number
): Effect.Effect<void> => {
  const count = rejections.untold
  rejections.untold = 0
  rejections.toldAtMillis = nowMillis
  return rejections.emit({
    _tag: "CallsRejected",
    policy: rejections.policy,
    atMillis: wallMillis(fiber),
    reason: rejections.reason._tag,
    count
  })
}
