/**
 * A dependency that does what its script says: succeed, fail, die, hang or be slow, call by call or for a time.
 *
 * A script is a list of steps. A step by itself serves one call, `times` makes it serve several, and `during` lets it
 * serve all calls of a span of time. The last step serves every call after it. Whatever called it can be asked for
 * afterwards: when, with which request, and how it ended.
 *
 * **Gotchas**
 *
 * - Time is the `Clock` of the caller: under a `TestClock` it passes when the test says so. Make a dependency and call it under
 *   the same clock.
 * - A span of `during` begins when the step before it is over: with the script, at the end of the span before, or at
 *   the last call that the step before served.
 * - It remembers every call for as long as it lives.
 *
 * **Example** (A dependency that refuses, hangs for ten seconds, and is back)
 *
 * ```ts import.meta.vitest
 * import { Effect, Exit, Fiber } from "effect"
 * import { TestClock } from "effect/testing"
 * import { ScriptedDependency } from "@failsoft/testing"
 *
 * const program = Effect.gen(function* () {
 *   const billing = yield* ScriptedDependency.make([
 *     ScriptedDependency.times(2, ScriptedDependency.fail("refused")),
 *     ScriptedDependency.during("10 seconds", ScriptedDependency.hang),
 *     ScriptedDependency.succeed(100)
 *   ])
 *   yield* Effect.ignore(billing.ask("alice"))
 *   yield* Effect.ignore(billing.ask("bob"))
 *
 *   const hanging = yield* Effect.forkChild(billing.ask("carol"))
 *   yield* TestClock.adjust("10 seconds")
 *   yield* Fiber.interrupt(hanging)
 *
 *   const balance = yield* billing.ask("dave")
 *   const calls = yield* billing.calls
 *   return [balance, calls.map(({ atMillis, request }) => `${request} at ${atMillis}`), calls[1]?.ended?.exit]
 * }).pipe(Effect.provide(TestClock.layer()))
 *
 * await Effect.runPromise(program) // => [100, ["alice at 0", "bob at 0", "carol at 0", "dave at 10000"], Exit.fail("refused")]
 * ```
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { Reached } from "./internal/reached.ts"
import { monotonicMillis } from "./internal/testClock.ts"

/** What a dependency does with one call. Plain data, so that a failing test can print it. */
export type Step<A, E> =
  | { readonly _tag: "Succeed"; readonly value: A }
  | { readonly _tag: "Fail"; readonly error: E }
  | { readonly _tag: "Die"; readonly defect: unknown }
  | { readonly _tag: "Hang" }
  | { readonly _tag: "Slow"; readonly afterMillis: number; readonly step: Step<A, E> }

/** Answers at once. */
export const succeed = <A>(value: A): Step<A, never> => ({ _tag: "Succeed", value })

/** Fails at once. */
export const fail = <E>(error: E): Step<never, E> => ({ _tag: "Fail", error })

/** Dies at once: a defect, such as a bug in a driver. */
export const die = (defect: unknown): Step<never, never> => ({ _tag: "Die", defect })

/** Never ends by itself. */
export const hang: Step<never, never> = { _tag: "Hang" }

/** Does what `step` says, `after` so long. */
export const slow = <A, E>(after: Duration.Input, step: Step<A, E>): Step<A, E> => ({
  _tag: "Slow",
  afterMillis: Duration.toMillis(Duration.fromInputUnsafe(after)),
  step
})

/** A step that serves more than one call. */
export type Extended<A, E> =
  | { readonly _tag: "Times"; readonly calls: number; readonly step: Step<A, E> }
  | { readonly _tag: "During"; readonly lastsMillis: number; readonly step: Step<A, E> }

/** Serves so many calls. */
export const times = <A, E>(calls: number, step: Step<A, E>): Extended<A, E> => ({
  _tag: "Times",
  calls,
  step
})

/** Serves every call until so much time has passed. */
export const during = <A, E>(lasts: Duration.Input, step: Step<A, E>): Extended<A, E> => ({
  _tag: "During",
  lastsMillis: Duration.toMillis(Duration.fromInputUnsafe(lasts)),
  step
})

/** What a dependency does, first to last. The last entry serves every call after it, whatever it says of its end. */
export type Script<A, E> = readonly [
  first: Step<A, E> | Extended<A, E>,
  ...rest: ReadonlyArray<Step<A, E> | Extended<A, E>>
]

/** One call of a dependency. Times are milliseconds since the dependency was made. */
export interface Call<A, E> {
  readonly atMillis: number
  /** What it was asked; `undefined` if it came by `call`. */
  readonly request: unknown
  readonly step: Step<A, E>
  /** How it ended; `undefined` while it runs. A caller that went away shows as an interruption. */
  readonly ended: { readonly atMillis: number; readonly exit: Exit.Exit<A, E> } | undefined
}

/** A dependency that does what its script says. */
export interface ScriptedDependency<A, E> {
  /** Calls it. */
  readonly call: Effect.Effect<A, E>
  /** Calls it with a request, which is remembered and has no influence. */
  readonly ask: (request: unknown) => Effect.Effect<A, E>
  /** Every call so far, in the order in which they came. */
  readonly calls: Effect.Effect<ReadonlyArray<Call<A, E>>>
  /** How many calls are running. */
  readonly inFlight: Effect.Effect<number>
  /** Begins another script. Calls that are running go on as they were. */
  readonly setScript: (script: Script<A, E>) => Effect.Effect<void>
}

/** What the steps of a script answer. */
export type Success<S> = S extends Script<infer A, unknown> ? A : never

/** What the steps of a script fail with. */
export type Failure<S> = S extends Script<unknown, infer E> ? E : never

/**
 * Makes a dependency from its script.
 *
 * Name the types, as in `make<number, NotFound | ConnectionLost>([...])`, where a later script may hold more than the
 * first one.
 */
export const make: {
  <A, E>(script: Script<A, E>): Effect.Effect<ScriptedDependency<A, E>>
  // Without type arguments, steps of several types make a union, which TypeScript does not infer by itself.
  <const S extends Script<unknown, unknown>>(
    script: S & Script<Success<S>, Failure<S>>
  ): Effect.Effect<ScriptedDependency<Success<S>, Failure<S>>>
} = <A, E>(script: Script<A, E>): Effect.Effect<ScriptedDependency<A, E>> =>
  Effect.withFiber((maker) => {
    const madeAtMillis = monotonicMillis(maker)
    const records: Array<{ -readonly [Key in keyof Call<A, E>]: Call<A, E>[Key] }> = []
    let nextStep = follow(script, 0)
    const ask = (request: unknown): Effect.Effect<A, E> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.withFiber((fiber) => {
          const sinceMade = (): number => monotonicMillis(fiber) - madeAtMillis
          const atMillis = sinceMade()
          const record: (typeof records)[number] = {
            atMillis,
            request,
            step: nextStep(atMillis),
            ended: undefined
          }
          records.push(record)
          fiber.getRef(Reached)?.()
          return Effect.onExit(restore(perform(record.step)), (exit) =>
            Effect.sync(() => {
              record.ended = { atMillis: sinceMade(), exit }
            })
          )
        })
      )
    return Effect.succeed({
      call: ask(undefined),
      ask,
      calls: Effect.sync(() => records.map((record) => ({ ...record }))),
      inFlight: Effect.sync(() => records.filter(({ ended }) => ended === undefined).length),
      setScript: (script) =>
        Effect.withFiber((fiber) => {
          nextStep = follow(script, monotonicMillis(fiber) - madeAtMillis)
          return Effect.void
        })
    })
  })

/** A Layer that provides a dependency under a key of the test's own, from which a Layer of the service is made. */
export const layer = <I, A, E>(
  key: Context.Key<I, ScriptedDependency<A, E>>,
  script: Script<A, E>
): Layer.Layer<I> => Layer.effect(key, make(script))

/** The step that serves the next call. */
const follow = <A, E>(
  [first, ...later]: Script<A, E>,
  beginsAtMillis: number
): ((nowMillis: number) => Step<A, E>) => {
  let current = first
  let rest = later
  let sinceMillis = beginsAtMillis
  let lastCallAtMillis = beginsAtMillis
  let served = 0
  return (nowMillis) => {
    for (const next of rest) {
      if (current._tag === "During") {
        if (nowMillis < sinceMillis + current.lastsMillis) break
        sinceMillis += current.lastsMillis
      } else {
        if (served < (current._tag === "Times" ? current.calls : 1)) break
        sinceMillis = lastCallAtMillis
      }
      current = next
      rest = rest.slice(1)
      served = 0
    }
    served++
    lastCallAtMillis = nowMillis
    return current._tag === "Times" || current._tag === "During" ? current.step : current
  }
}

const perform = <A, E>(step: Step<A, E>): Effect.Effect<A, E> => {
  switch (step._tag) {
    case "Succeed":
      return Effect.succeed(step.value)
    case "Fail":
      return Effect.fail(step.error)
    case "Die":
      return Effect.die(step.defect)
    case "Hang":
      return Effect.never
    case "Slow":
      return Effect.delay(perform(step.step), step.afterMillis)
  }
}
