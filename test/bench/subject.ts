/**
 * The loops in which candidates are called, one for Effects and one for promises.
 *
 * What is guarded is built once, outside the loop, as a user would who names a call: `const guarded =
 * breaker.execute(call)`. A loop of an Effect runs in one fiber, a loop of a promise in one async function, each call
 * after the one before it. So many loops run at once as there are to be calls in flight.
 */
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"

/** A guarded call, ready to be made many times. Both functions resolve with the number of calls that succeeded. */
export interface Subject {
  /** Makes so many calls, and so many of them at once. Rejects when one of them does. */
  readonly plain: (calls: number, inFlight?: number) => Promise<number>
  /** Makes so many calls and catches each that fails. */
  readonly caught: (calls: number) => Promise<number>
}

const nothing = Effect.succeed(0)

/** Calls an Effect in a loop. Nothing is logged: the loggers of the fiber are taken away, the log calls are not. */
export const effectSubject = <E>(guarded: Effect.Effect<number, E>): Subject => {
  const run =
    (effect: Effect.Effect<number, E>) =>
    (calls: number, inFlight = 1) => {
      let left = calls
      let sum = 0
      const loop = Effect.whileLoop({
        while: () => left > 0,
        body: () => {
          left--
          return effect
        },
        step: (value) => {
          sum += value
        }
      })
      const loops = Effect.forEach(Array.from({ length: inFlight }), () => loop, {
        concurrency: "unbounded",
        discard: true
      })
      return Effect.runPromise(
        (inFlight === 1 ? loop : loops).pipe(
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
  plain: async (calls, inFlight = 1) => {
    let left = calls
    const loop = async () => {
      let sum = 0
      while (left-- > 0) sum += await guarded()
      return sum
    }
    const sums = await Promise.all(Array.from({ length: inFlight }, loop))
    return sums.reduce((sum, one) => sum + one, 0)
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
