/**
 * Builds a Layer in a fiber that nobody waits for, again and again until it succeeds, and then keeps it.
 *
 * Each attempt has a scope of its own. That of the attempt that succeeds is closed when the whole ends, or by the fiber
 * itself when it comes too late for that, so whatever was acquired is released once.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { ServiceUnavailable } from "../../ServiceUnavailable.ts"
import { wallMillis } from "../clock.ts"
import * as startup from "./startup.ts"

/** What is to be built, when it is tried again, and how the start waits for it. */
export interface Plan<I, S, E, R> extends startup.Waiting {
  readonly key: Context.Key<I, S>
  readonly layer: Layer.Layer<I, E, R>
  readonly recovery: Schedule.Schedule<unknown, unknown>
  /** Typed as if all that it knows were `ServiceUnavailable`, the one error that the start takes away. */
  readonly isUnavailable: (error: unknown) => error is ServiceUnavailable
}

/** A service on its way. */
export interface Builder<S, E> {
  /** The service, once it has been built and until the scope ends. */
  readonly service: () => S | undefined
  /** Wall-clock time at which it was built; before that, at which the first attempt began. */
  readonly sinceMillis: () => number
  /** Waits as the mode says. */
  readonly started: Effect.Effect<void, E | ServiceUnavailable>
}

type Progress<S> =
  | { readonly _tag: "Building" }
  | {
      readonly _tag: "Built"
      readonly service: S
      readonly scope: Scope.Closeable
      readonly sinceMillis: number
    }
  | { readonly _tag: "Stopped" }

/** Begins to build, until the scope ends. */
export const make = Effect.fnUntraced(function* <I, S, E, R>(plan: Plan<I, S, E, R>) {
  const begunMillis = yield* Effect.withFiber((fiber) => Effect.succeed(wallMillis(fiber)))
  const progress = Ref.makeUnsafe<Progress<S>>({ _tag: "Building" })
  const start = yield* startup.make<Exclude<E, ServiceUnavailable>>(plan)

  const attempt = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const exit = yield* Effect.exit(restore(Layer.buildWithScope(plan.layer, scope)))
      if (Exit.isSuccess(exit) && (yield* keep(progress, Context.get(exit.value, plan.key), scope))) {
        yield* start.built
        return true
      }
      yield* Scope.close(scope, exit)
      // Once all is over, how an attempt ended is nobody's business.
      if (Exit.isFailure(exit) && Ref.getUnsafe(progress)._tag === "Building") {
        yield* judge(plan, start, exit.cause)
      }
      return false
    })
  )
  yield* Effect.acquireRelease(
    Effect.forkDetach(Effect.repeat(attempt, { until: (isBuilt) => isBuilt, schedule: plan.recovery })),
    (fiber, exit) =>
      Effect.flatMap(Ref.getAndSet(progress, { _tag: "Stopped" }), (last) => {
        fiber.interruptUnsafe()
        return last._tag === "Built" ? Scope.close(last.scope, exit) : Effect.void
      })
  )
  const built = () => {
    const now = Ref.getUnsafe(progress)
    return now._tag === "Built" ? now : undefined
  }
  return {
    service: () => built()?.service,
    sinceMillis: () => built()?.sinceMillis ?? begunMillis,
    started: start.wait
  } satisfies Builder<S, Exclude<E, ServiceUnavailable>>
})

/** Keeps what was built, unless the scope has ended meanwhile. */
const keep = <S>(
  progress: Ref.Ref<Progress<S>>,
  service: S,
  scope: Scope.Closeable
): Effect.Effect<boolean> =>
  Effect.withFiber((fiber) =>
    Ref.modify(progress, (now): readonly [boolean, Progress<S>] =>
      now._tag === "Stopped"
        ? [false, now]
        : [true, { _tag: "Built", service, scope, sinceMillis: wallMillis(fiber) }]
    )
  )

const judge = <I, S, E, R>(
  plan: Plan<I, S, E, R>,
  start: startup.Startup<Exclude<E, ServiceUnavailable>>,
  cause: Cause.Cause<E | ServiceUnavailable>
): Effect.Effect<void> => {
  const judged: Effect.Effect<void, E | ServiceUnavailable> = Effect.failCause(cause)
  return judged.pipe(
    Effect.catchIf(plan.isUnavailable, start.unavailable),
    Effect.catchCause((other) =>
      other.reasons.some(Cause.isFailReason) ? start.refused(other) : start.died(other)
    )
  )
}
