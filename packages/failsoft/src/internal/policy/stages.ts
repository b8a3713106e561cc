/**
 * The stages of a policy, and the one order in which a call passes them.
 *
 * The circuit is asked twice: a gate that takes nothing, so that no call queues towards an opening, and admission right before
 * the attempt, so that calls which queued before an opening are rejected after it, and no queue holds a probe.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Bulkhead from "../../Bulkhead.ts"
import * as CircuitBreaker from "../../CircuitBreaker.ts"
import * as Deadline from "../../Deadline.ts"
import * as Hedge from "../../Hedge.ts"
import type { InvalidOption } from "../../InvalidOption.ts"
import * as Metrics from "../../Metrics.ts"
import type { CallOptions, Options } from "../../Policy.ts"
import * as RateLimiter from "../../RateLimiter.ts"
import * as Retry from "../../Retry.ts"
import * as RetryBudget from "../../RetryBudget.ts"
import { ServiceUnavailable } from "../../ServiceUnavailable.ts"
import { leastMillis, monotonicMillis } from "../clock.ts"
import * as meters from "../meter.ts"
import * as options from "../options.ts"

/** What one policy is made of. A stage that was not asked for is `undefined`. */
export interface Stages {
  readonly name: string
  readonly meter: meters.Meter | undefined
  /** What the ends of calls mean, unless a call says otherwise. */
  readonly classify: CircuitBreaker.Options["classify"]
  readonly retryBudget: RetryBudget.RetryBudget | undefined
  readonly retry: Retry.Retry | undefined
  readonly hedge: Hedge.Hedge | undefined
  /** Whether calls that are retried have credited the budget of the hedge already. */
  readonly retryCredits: boolean
  readonly rateLimiter: RateLimiter.RateLimiter | undefined
  readonly bulkhead: Bulkhead.Bulkhead | undefined
  readonly breaker: CircuitBreaker.CircuitBreaker | undefined
  readonly within: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly attempt: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ServiceUnavailable, R>
}

/** Makes the stages that a policy is to have. */
export const make: <R = never>(
  name: string,
  given: Options<R>
) => Effect.Effect<Stages, InvalidOption, R | Scope.Scope> = Effect.fnUntraced(function* <R>(
  name: string,
  given: Options<R>
) {
  const isOff = given.enabled === false
  const stage = { ...(isOff ? { enabled: false } : {}), name }
  const times = yield* timesOf(name, given)
  const breaker =
    given.breaker && (yield* part("breaker", CircuitBreaker.make({ ...given.breaker, ...stage })))
  const bulkhead = given.bulkhead && (yield* part("bulkhead", Bulkhead.make({ ...given.bulkhead, ...stage })))
  const rateLimiter =
    given.rateLimiter && (yield* part("rateLimiter", RateLimiter.make({ ...given.rateLimiter, ...stage })))
  const retryBudget = given.retryBudget && (yield* budgetOf(given.retryBudget, stage))
  const budgets = { retry: given.retry?.budget ?? retryBudget, hedge: given.hedge?.budget ?? retryBudget }
  const retry =
    given.retry && (yield* part("retry", Retry.make({ ...given.retry, budget: budgets.retry, ...stage })))
  const hedge =
    given.hedge && (yield* part("hedge", Hedge.make({ ...given.hedge, budget: budgets.hedge, ...stage })))
  return {
    name,
    meter: isOff ? undefined : yield* meters.make(name),
    classify: given.breaker?.classify,
    retryBudget,
    retry,
    hedge,
    retryCredits:
      given.retry !== undefined && given.retry.enabled !== false && budgets.retry === budgets.hedge,
    rateLimiter,
    bulkhead,
    breaker,
    ...times
  } satisfies Stages
})

/** What bounds the time of all attempts together, and of each. */
export const timesOf = Effect.fnUntraced(function* (
  name: string,
  given: Pick<Options, "deadline" | "attemptTimeout" | "enabled">
) {
  const deadline =
    given.deadline === undefined ? undefined : yield* options.millis(name, "deadline", given.deadline)
  const attemptTimeout =
    given.attemptTimeout === undefined
      ? deadline
      : Math.min(
          yield* options.millis(name, "attemptTimeout", given.attemptTimeout),
          deadline ?? Number.POSITIVE_INFINITY
        )
  const isOff = given.enabled === false
  const times: Pick<Stages, "within" | "attempt"> = {
    within: deadline === undefined || isOff ? identity : Deadline.within(Duration.millis(deadline)),
    attempt:
      attemptTimeout === undefined || isOff
        ? identity
        : Deadline.attemptTimeout(name, Duration.millis(attemptTimeout))
  }
  return times
})

/** Makes a stage, which leaves it to the policy to count calls. */
export const part = <A, R>(
  stage: string,
  made: Effect.Effect<A, InvalidOption, R>
): Effect.Effect<A, InvalidOption, R> =>
  Effect.provideService(options.ofStage(stage)(made), Metrics.CountedAround, meters.counted)

const budgetOf = (
  given: NonNullable<Options["retryBudget"]>,
  stage: { readonly name: string; readonly enabled?: boolean }
): Effect.Effect<RetryBudget.RetryBudget, InvalidOption, Scope.Scope> =>
  "withdraw" in given ? Effect.succeed(given) : part("retryBudget", RetryBudget.make({ ...given, ...stage }))

/** Answers calls that the stages turned away, and has them counted where they count. */
export const orElse =
  ({ breaker, meter }: Stages): CircuitBreaker.CircuitBreaker["orElse"] =>
  (fallback) => {
    const answer = meter === undefined ? fallback : meters.answering(meter, fallback)
    return breaker === undefined ? ServiceUnavailable.orElse(answer) : breaker.orElse(answer)
  }

/** Takes a call through all stages. */
export const execute = <A, E, R>(
  stages: Stages,
  self: Effect.Effect<A, E, R>,
  call: CallOptions<A, E>
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const { meter, within } = stages
  const staged = within(tried(stages, self, call))
  return meter === undefined ? staged : meters.measure(meter, staged, call.classify ?? stages.classify)
}

const tried = <A, E, R>(
  stages: Stages,
  self: Effect.Effect<A, E, R>,
  call: CallOptions<A, E>
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const { breaker, retry } = stages
  const hedged = hedging(stages, attempt(stages, self, call), call)
  if (retry === undefined || call.retry === false) return hedged
  return retry.executeWith(hedged, {
    stopWhen: breaker?.isOpen,
    isTransient: isTransientOf(call.isTransient)
  })
}

/** The innermost stages: the circuit's admission, the time limit, the call. */
const attempt = <A, E, R>(
  { attempt, breaker }: Stages,
  self: Effect.Effect<A, E, R>,
  { classify }: CallOptions<A, E>
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const timed = attempt(self)
  if (breaker === undefined) return timed
  return classify === undefined ? breaker.execute(timed) : breaker.executeWith(timed, classify)
}

/** Further attempts wait for nothing, and are made only while nothing would turn them away. */
const hedging = <A, E, R>(
  stages: Stages,
  attempt: Effect.Effect<A, E | ServiceUnavailable, R>,
  call: CallOptions<A, E>
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  const { hedge, retryCredits } = stages
  const first = admitted(stages, attempt, call, true)
  if (hedge === undefined) return first
  const credit = !retryCredits || call.retry === false
  if (call.idempotent !== true) return hedge.executeWith(first, { idempotent: false, credit })
  return hedge.executeWith(first, {
    idempotent: true,
    hedged: admitted(stages, attempt, call, false),
    mayHedge: hasRoom(stages, call.cost),
    credit
  })
}

/** An attempt that was turned away would have been paid for, and told as a rejection, though its call goes on. */
const hasRoom = (
  { breaker, bulkhead, rateLimiter }: Stages,
  cost: number | undefined
): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const circuit = breaker && (yield* breaker.snapshot)
    if (circuit !== undefined && circuit.state !== "closed") return false
    const permits = bulkhead && (yield* bulkhead.snapshot)
    if (permits !== undefined && permits.inFlight >= permits.limit) return false
    const found = rateLimiter && (yield* rateLimiter.peek(cost))
    return found === undefined || (found.retryAfter !== undefined && Duration.isZero(found.retryAfter))
  })

/** What is asked before the circuit admits: nothing of it may hold a probe. */
const admitted = <A, E, R>(
  { breaker, bulkhead, name, rateLimiter }: Stages,
  attempt: Effect.Effect<A, E | ServiceUnavailable, R>,
  { cost, priority }: CallOptions<A, E>,
  mayWait: boolean
): Effect.Effect<A, E | ServiceUnavailable, R> => {
  if (bulkhead === undefined && rateLimiter === undefined) return attempt
  const permitted =
    bulkhead === undefined ? attempt : bulkhead.executeWith(attempt, { priority, queue: mayWait })
  const limited =
    rateLimiter === undefined
      ? permitted
      : rateLimiter.executeWith(refunding(rateLimiter, name, cost, permitted), { cost, wait: mayWait })
  return breaker === undefined ? limited : breaker.gate(limited)
}

/**
 * A call that an inner stage turned away, or did not start for want of time, was not made, so its cost comes back. It does at
 * once or not at all: what a call took that then waited in a queue, time may have given back already.
 */
const refunding = <A, E, R>(
  rateLimiter: RateLimiter.RateLimiter,
  name: string,
  cost: number | undefined,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const tookAtMillis = monotonicMillis(fiber)
    return Effect.onExitPrimitive(self, (exit) =>
      Exit.isFailure(exit) &&
      exit.cause.reasons.some((reason) => isTurnedAway(name, reason)) &&
      monotonicMillis(fiber) - tookAtMillis < leastMillis
        ? rateLimiter.refund(cost)
        : undefined
    )
  })

const isTurnedAway = (name: string, cause: { readonly _tag: string; readonly error?: unknown }): boolean => {
  if (cause._tag !== "Fail" || !(cause.error instanceof ServiceUnavailable)) return false
  const { reason, service } = cause.error
  if (service !== name) return false
  return reason._tag === "TimedOut"
    ? Duration.isZero(reason.after)
    : reason._tag === "BulkheadFull" || reason._tag === "CircuitOpen"
}

/** The retry judges what policies fail with by itself, so only the call's own errors get here. */
const isTransientOf = <E>(
  isTransient: ((error: E) => boolean) | undefined
): ((error: E | ServiceUnavailable) => boolean) | undefined =>
  isTransient && ((error) => !(error instanceof ServiceUnavailable) && isTransient(error))
