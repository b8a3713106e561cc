/**
 * Histories of a dependency, played under a `TestClock`.
 *
 * A history says what the dependency does, for how long, and how many calls come meanwhile. Played, it tells what became
 * of each call: when it began and ended, how, and how often it reached the dependency.
 *
 * **Gotchas**
 *
 * - Calls come evenly spread and wait for nobody: while the dependency is slow or hangs, they run side by side.
 * - After the last moment its step goes on, and the clock with it, second by second, until every call has ended, for ten minutes
 *   at most. Calls that are still running then are interrupted; their `ended` is `undefined`.
 * - It moves the `TestClock`, and dies if there is none.
 *
 * **Example** (An outage that opens the circuit)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { CircuitBreaker, Policy } from "failsoft"
 * import { History, ScriptedDependency } from "@failsoft/testing"
 *
 * const outage: History.History<string, string> = [
 *   { step: ScriptedDependency.succeed("up"), lastsMillis: 1000, calls: 1 },
 *   { step: ScriptedDependency.fail("down"), lastsMillis: 9000, calls: 3 },
 *   { step: ScriptedDependency.succeed("up"), lastsMillis: 60_000, calls: 2 }
 * ]
 *
 * const program = Effect.gen(function* () {
 *   const billing = yield* Policy.make("billing", {
 *     attemptTimeout: "5 seconds",
 *     breaker: { trip: CircuitBreaker.consecutive(2), openDuration: "20 seconds" }
 *   })
 *   const calls = yield* History.run(outage, billing.execute)
 *   return calls.map(({ atMillis, reached }) => [atMillis, reached])
 * }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))
 *
 * await Effect.runPromise(program) // => [[0, 1], [1000, 1], [4000, 1], [7000, 0], [10000, 0], [40000, 1]]
 * ```
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { Reached } from "./internal/reached.ts"
import { adjust, monotonicMillis } from "./internal/testClock.ts"
import * as ScriptedDependency from "./ScriptedDependency.ts"

/** What a dependency does with all calls of a time, and how many come in it, evenly spread from its beginning. */
export interface Moment<A, E> {
  readonly step: ScriptedDependency.Step<A, E>
  readonly lastsMillis: number
  readonly calls: number
}

/** What a dependency does and who calls it, moment after moment. */
export type History<A, E> = ReadonlyArray<Moment<A, E>>

/** What became of one call. Times are milliseconds since the history began. */
export interface Played<A, E> {
  readonly atMillis: number
  /** How often it reached the dependency: once for each attempt, never if it was rejected. */
  readonly reached: number
  /** How it ended; `undefined` if it was still running when the history was over. */
  readonly ended: { readonly atMillis: number; readonly exit: Exit.Exit<A, E> } | undefined
}

/**
 * Plays a history with a dependency of its own, through `guard`: the `execute` of a policy or of a circuit breaker, or any
 * other way to call it.
 *
 * Succeeds with what became of the calls, in the order in which they came.
 */
export const run = <A, E, B, E2, R>(
  history: History<A, E>,
  guard: (call: Effect.Effect<A, E>) => Effect.Effect<B, E2, R>
): Effect.Effect<ReadonlyArray<Played<B, E2>>, never, R> =>
  Effect.flatMap(ScriptedDependency.make<A, E>([ScriptedDependency.hang]), (dependency) =>
    play(history, dependency, guard(dependency.call))
  )

/**
 * Plays a history with a dependency that a service was made from: `call` is what its callers do.
 *
 * The history becomes the dependency's script. Succeeds with what became of the calls, in the order in which they came.
 */
export const play = Effect.fnUntraced(function* <A, E, B, E2, R>(
  history: History<A, E>,
  dependency: ScriptedDependency.ScriptedDependency<A, E>,
  call: Effect.Effect<B, E2, R>
): Effect.fn.Return<ReadonlyArray<Played<B, E2>>, never, R> {
  const [first, ...rest] = history.map(({ lastsMillis, step }) =>
    ScriptedDependency.during(lastsMillis, step)
  )
  if (first === undefined) return []
  yield* dependency.setScript([first, ...rest])
  const millisSinceStart = yield* stopwatch
  const moveTo = (millis: number) =>
    Effect.flatMap(millisSinceStart, (now) => (millis > now ? adjust(millis - now) : Effect.void))

  const played: Array<{ -readonly [Key in keyof Played<B, E2>]: Played<B, E2>[Key] }> = []
  const fibers: Array<Fiber.Fiber<void>> = []
  const { endsAtMillis, startsAtMillis } = timesOf(history)
  for (const startAtMillis of startsAtMillis) {
    yield* moveTo(startAtMillis)
    const record: (typeof played)[number] = { atMillis: startAtMillis, reached: 0, ended: undefined }
    played.push(record)
    const recorded = call.pipe(
      Effect.provideService(Reached, () => {
        record.reached++
      }),
      Effect.exit,
      Effect.zipWith(millisSinceStart, (exit, atMillis) => {
        record.ended = { atMillis, exit }
      })
    )
    fibers.push(yield* Effect.forkChild(recorded, { startImmediately: true }))
  }
  yield* moveTo(endsAtMillis)
  for (let second = 0; second < patienceSeconds; second++) {
    if (fibers.every((fiber) => fiber.pollUnsafe() !== undefined)) break
    yield* adjust(1000)
  }
  yield* Fiber.interruptAll(fibers)
  return played
})

/** As long as any deadline that a property would wait for. */
const patienceSeconds = 600

const stopwatch: Effect.Effect<Effect.Effect<number>> = Effect.withFiber((starter) => {
  const startMillis = monotonicMillis(starter)
  return Effect.succeed(Effect.withFiber((fiber) => Effect.succeed(monotonicMillis(fiber) - startMillis)))
})

/** When calls come, in whole milliseconds, and when the last moment is over. */
const timesOf = (history: History<unknown, unknown>) => {
  const startsAtMillis: Array<number> = []
  let endsAtMillis = 0
  for (const { calls, lastsMillis } of history) {
    for (let call = 0; call < calls; call++) {
      startsAtMillis.push(endsAtMillis + Math.floor((call * lastsMillis) / calls))
    }
    endsAtMillis += lastsMillis
  }
  return { startsAtMillis, endsAtMillis }
}
