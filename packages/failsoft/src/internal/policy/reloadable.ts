/**
 * A policy whose stages may be exchanged while calls run.
 *
 * Whoever holds the policy holds it for good: what changes is what it points at. A stage whose options stay is the very same
 * as before. One that holds something of the dependency (a circuit, permits, tokens) goes on under its new options. Any
 * other is made anew in a scope of its own, and the scope of the old one ends; calls that are in it end as they would have.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Bulkhead from "../../Bulkhead.ts"
import * as CircuitBreaker from "../../CircuitBreaker.ts"
import * as Hedge from "../../Hedge.ts"
import type { InvalidOption } from "../../InvalidOption.ts"
import * as Policy from "../../Policy.ts"
import type { PolicyConfig } from "../../PolicyConfig.ts"
import * as RateLimiter from "../../RateLimiter.ts"
import * as Retry from "../../Retry.ts"
import * as RetryBudget from "../../RetryBudget.ts"
import { ServiceUnavailable } from "../../ServiceUnavailable.ts"
import * as meters from "../meter.ts"
import { describe } from "./describe.ts"
import * as pipeline from "./stages.ts"

/** A policy, and how to bring it to another row. */
export interface Reloadable {
  readonly policy: Policy.Policy
  /** Cannot fail where the row has been checked before. */
  readonly apply: (row: PolicyConfig) => Effect.Effect<void, InvalidOption>
}

/** What a policy is at present. */
interface Present {
  readonly row: PolicyConfig
  readonly stages: pipeline.Stages
}

/** Makes a policy that lives as long as the scope. */
export const make = Effect.fnUntraced(function* (name: string, first: PolicyConfig) {
  const stagesOf = slotsOf(name, yield* Effect.context<Scope.Scope>())
  const { stages } = yield* stagesOf(first)
  let now: Present = { row: first, stages }
  const executeWith: Policy.Policy["executeWith"] = (self, call) => {
    let built = now.stages
    let guarded = pipeline.execute(built, self, call)
    return Effect.suspend(() => {
      if (built !== now.stages) {
        built = now.stages
        guarded = pipeline.execute(built, self, call)
      }
      return guarded
    })
  }
  const policy: Policy.Policy = {
    name,
    get breaker() {
      return now.stages.breaker
    },
    get bulkhead() {
      return now.stages.bulkhead
    },
    get rateLimiter() {
      return now.stages.rateLimiter
    },
    get retryBudget() {
      return now.stages.retryBudget
    },
    describe: Effect.sync(() => describe(Policy.fromConfig(now.row))),
    execute: (self) => executeWith(self, {}),
    executeWith,
    orElse: (fallback) =>
      ServiceUnavailable.orElse((error) => pipeline.orElse(now.stages)(fallback)(Effect.fail(error)))
  }
  const apply = Effect.fnUntraced(function* (row: PolicyConfig) {
    if (Equal.equals(row, now.row)) return
    const { replaced, stages } = yield* stagesOf(row)
    now = { row, stages }
    // Not before the new ones count: what the old ones have counted is kept only where others go on with it.
    yield* Effect.forEach(replaced, (scope) => Scope.close(scope, Exit.void), { discard: true })
  }, Effect.uninterruptible)
  return { policy, apply } satisfies Reloadable
})

/** A stage in its place: what it was made from, and the scope that it lives in. */
interface Held<Given, Made> {
  readonly given: Given
  readonly made: Made
  readonly scope: Scope.Closeable
}

/** Brings a stage to its options. Of what it replaces, the scope is still to be closed. */
type Slot<Given, Made> = (
  given: Given | undefined,
  replaced: Array<Scope.Closeable>
) => Effect.Effect<Made | undefined, InvalidOption>

interface Switch {
  readonly enabled?: boolean | undefined
}

const slot = <Given extends Switch, Made>(
  context: Context.Context<Scope.Scope>,
  make: (given: Given) => Effect.Effect<Made, InvalidOption, Scope.Scope>,
  reconfigure?: (made: Made, given: Given) => Effect.Effect<void, InvalidOption>
): Slot<Given, Made> => {
  let held: Held<Given, Made> | undefined
  return Effect.fnUntraced(function* (given, replaced) {
    if (Equal.equals(given, held?.given)) return held?.made
    const mayStay = held?.given.enabled !== false && given?.enabled !== false
    if (held !== undefined && given !== undefined && reconfigure !== undefined && mayStay) {
      yield* reconfigure(held.made, given)
      held = { ...held, given }
      return held.made
    }
    if (held !== undefined) replaced.push(held.scope)
    held = undefined
    if (given === undefined) return undefined
    const scope = yield* Scope.fork(Context.get(context, Scope.Scope))
    // In the context of the Layer, whoever reloads: its listeners, its registry of metrics, its health.
    const inside = Context.add(context, Scope.Scope, scope)
    const made = yield* Effect.updateContext(make(given), (_: Context.Context<never>) => inside)
    held = { given, made, scope }
    return made
  })
}

/** The places of a policy's stages. Each use of the result brings all of them to a row. */
const slotsOf = (name: string, context: Context.Context<Scope.Scope>) => {
  const { part } = pipeline
  const breakerIn = slot(
    context,
    (given: NonNullable<PolicyConfig["breaker"]>) =>
      part("breaker", CircuitBreaker.make({ ...CircuitBreaker.fromConfig(given), name })),
    (breaker, given) => breaker.reconfigure(CircuitBreaker.fromConfig(given))
  )
  const bulkheadIn = slot(
    context,
    (given: NonNullable<PolicyConfig["bulkhead"]>) =>
      part("bulkhead", Bulkhead.make({ ...Bulkhead.fromConfig(given), name })),
    (bulkhead, given) => bulkhead.reconfigure(Bulkhead.fromConfig(given))
  )
  const limiterIn = slot(
    context,
    (given: NonNullable<PolicyConfig["rateLimiter"]>) =>
      part("rateLimiter", RateLimiter.make({ ...RateLimiter.fromConfig(given), name })),
    (limiter, given) => limiter.reconfigure(RateLimiter.fromConfig(given))
  )
  const budgetIn = slot(
    context,
    (given: NonNullable<PolicyConfig["retryBudget"]>) =>
      part("retryBudget", RetryBudget.make({ ...RetryBudget.fromConfig(given), name })),
    (budget, given) => budget.reconfigure(RetryBudget.fromConfig(given))
  )
  const retryIn = slot(context, (given: Omit<Retry.Options, "name">) =>
    part("retry", Retry.make({ ...given, name }))
  )
  const hedgeIn = slot(context, (given: Omit<Hedge.Options, "name">) =>
    part("hedge", Hedge.make({ ...given, name }))
  )
  const meterIn = slot(context, (_: { readonly enabled: true }) => meters.make(name))

  return Effect.fnUntraced(function* (row: PolicyConfig) {
    const replaced: Array<Scope.Closeable> = []
    const isOff = row.enabled === false
    const on = <Given extends Switch>(given: Given | undefined): Given | undefined =>
      given && isOff ? { ...given, enabled: false } : given
    const times = yield* pipeline.timesOf(name, row)
    const breaker = yield* breakerIn(on(row.breaker), replaced)
    const bulkhead = yield* bulkheadIn(on(row.bulkhead), replaced)
    const rateLimiter = yield* limiterIn(on(row.rateLimiter), replaced)
    const budget = yield* budgetIn(on(row.retryBudget), replaced)
    const retry = yield* retryIn(on(row.retry && { ...Retry.fromConfig(row.retry), budget }), replaced)
    const hedge = yield* hedgeIn(on(row.hedge && { ...Hedge.fromConfig(row.hedge), budget }), replaced)
    const meter = yield* meterIn(isOff ? undefined : { enabled: true }, replaced)
    const stages: pipeline.Stages = {
      name,
      meter,
      classify: undefined,
      retryBudget: budget,
      retry,
      hedge,
      retryCredits: row.retry !== undefined && row.retry.enabled !== false,
      rateLimiter,
      bulkhead,
      breaker,
      ...times
    }
    return { stages, replaced }
  })
}
