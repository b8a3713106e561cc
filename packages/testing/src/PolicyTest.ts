/**
 * A stand-in for a policy, for tests of a service that are not about its policy.
 *
 * Closed, it lets every call through at once: no timeout, no second attempt, no circuit. Open, it rejects every call as an open
 * circuit does. So a test sees what the service does in either case and needs no time, and no dependency that fails.
 *
 * **Example** (A fallback, without an outage)
 *
 * ```ts import.meta.vitest
 * import { Context, Effect } from "effect"
 * import type { Policy } from "failsoft"
 * import { PolicyTest } from "@failsoft/testing"
 *
 * class Billing extends Context.Service<Billing, Policy.Policy>()("app/Billing") {}
 *
 * const balance = Effect.gen(function* () {
 *   const billing = yield* Billing
 *   return yield* Effect.succeed(100).pipe(billing.execute, billing.orElse(() => Effect.succeed("unknown")))
 * })
 *
 * const program = Effect.gen(function* () {
 *   const away = yield* balance
 *   yield* PolicyTest.setState(Billing, "closed")
 *   const back = yield* balance
 *   const calls = yield* PolicyTest.calls(Billing)
 *   return [away, back, calls.map(({ rejected }) => rejected)]
 * }).pipe(Effect.provide(PolicyTest.layer(Billing, "billing", { state: "open" })))
 *
 * await Effect.runPromise(program) // => ["unknown", 100, [true, false]]
 * ```
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { type Policy, ServiceUnavailable, UnavailableReason } from "failsoft"

/** Whether a stand-in lets calls through (`"closed"`) or rejects them (`"open"`). */
export type State = "closed" | "open"

/** What a stand-in is made from. */
export interface Options {
  /** The state to begin with. Default: `"closed"`. */
  readonly state?: State | undefined
}

/** One call that a service made through the policy. */
export interface Call {
  readonly rejected: boolean
  /** Whether the policy was allowed to try it again: `false` for a call with `retry: false`. */
  readonly retry: boolean
  /** How it ended; `undefined` while it runs. */
  readonly exit: Exit.Exit<unknown, unknown> | undefined
}

/** A Layer that provides a stand-in in the place of `Policy.layer(key, name, …)`. Each build of it begins anew. */
export const layer = <I>(
  key: Context.Key<I, Policy.Policy>,
  name: string,
  options?: Options
): Layer.Layer<I> => Layer.sync(key, () => make(name, options?.state ?? "closed"))

/** The calls that were made through the stand-in under `key`, in the order in which they came. */
export const calls = <I>(key: Context.Key<I, Policy.Policy>): Effect.Effect<ReadonlyArray<Call>, never, I> =>
  Effect.map(insideOf(key), ({ calls }) => calls.map((call) => ({ ...call })))

/** Lets the calls of the stand-in under `key` through from now on, or rejects them. */
export const setState = <I>(
  key: Context.Key<I, Policy.Policy>,
  state: State
): Effect.Effect<void, never, I> =>
  Effect.map(insideOf(key), (inside) => {
    inside.state = state
  })

interface Inside {
  state: State
  readonly calls: Array<{ -readonly [Key in keyof Call]: Call[Key] }>
}

/** Beside the policies, so that a stand-in has the type of a policy and the service cannot tell it from one. */
const insides = new WeakMap<Policy.Policy, Inside>()

const insideOf = <I>(key: Context.Key<I, Policy.Policy>): Effect.Effect<Inside, never, I> =>
  Effect.flatMap(key, (policy) => {
    const inside = insides.get(policy)
    return inside === undefined
      ? Effect.die(new Error(`The policy ${policy.name} does not come from PolicyTest.layer.`))
      : Effect.succeed(inside)
  })

const make = (name: string, state: State): Policy.Policy => {
  const inside: Inside = { state, calls: [] }
  const execute = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    retry: boolean
  ): Effect.Effect<A, E | ServiceUnavailable, R> =>
    Effect.uninterruptibleMask((restore) => {
      const rejected = inside.state === "open"
      const call: Inside["calls"][number] = { rejected, retry, exit: undefined }
      inside.calls.push(call)
      const guarded: Effect.Effect<A, E | ServiceUnavailable, R> = rejected ? reject(name) : restore(self)
      return Effect.onExit(guarded, (exit) =>
        Effect.sync(() => {
          call.exit = exit
        })
      )
    })
  const policy: Policy.Policy = {
    name,
    execute: (self) => execute(self, true),
    executeWith: (self, { retry }) => execute(self, retry !== false),
    orElse: (fallback) => ServiceUnavailable.orElse(fallback),
    breaker: undefined,
    bulkhead: undefined,
    rateLimiter: undefined,
    retryBudget: undefined,
    describe: Effect.succeed([])
  }
  insides.set(policy, inside)
  return policy
}

const reject = (service: string): Effect.Effect<never, ServiceUnavailable> =>
  Effect.fail(new ServiceUnavailable({ service, reason: UnavailableReason.CircuitOpen() }))
