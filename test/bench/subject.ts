/**
 * The loops in which candidates are called, one for Effects and one for promises.
 *
 * What is guarded is built once, outside the loop, as a user would who names a call: `const guarded =
 * breaker.execute(call)`. All calls of an Effect run in one fiber, all calls of a promise in one async function, each
 * after the one before it.
 */
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"

/** A guarded call, ready to be made many times. Both functions resolve with the number of calls that succeeded. */
export interface Subject {
  /** Makes so many calls. Rejects when one of them does. */
  readonly plain: (calls: number) => Promise<number>
  /** Makes so many calls and catches each that fails. */
  readonly caught: (calls: number) => Promise<number>
}

const nothing = Effect.succeed(0)

/** Calls an Effect in a loop. Nothing is logged: the loggers of the fiber are taken away, the log calls are not. */
export const effectSubject = <E>(guarded: Effect.Effect<number, E>): Subject => {
  const run = (effect: Effect.Effect<number, E>) => (calls: number) => {
    let made = 0
    let sum = 0
    return Effect.runPromise(
      Effect.whileLoop({
        while: () => made < calls,
        body: () => effect,
        step: (value) => {
          made++
          sum += value
        }
      }).pipe(
        Effect.map(() => sum),
        Effect.provideService(Logger.CurrentLoggers, new Set())
      )
    )
  }
  return {
    plain: run(guarded),
    caught: run(Effect.catchCause(guarded, () => nothing))
  }
}

/** Calls a function that returns a promise in a loop. */
export const promiseSubject = (guarded: () => Promise<number>): Subject => ({
  plain: async (calls) => {
    let sum = 0
    for (let made = 0; made < calls; made++) sum += await guarded()
    return sum
  },
  caught: async (calls) => {
    let sum = 0
    for (let made = 0; made < calls; made++) {
      try {
        sum += await guarded()
      } catch {
        // A rejected call adds nothing to the sum.
      }
    }
    return sum
  }
})
