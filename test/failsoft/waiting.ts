import { Deferred, Effect, type Exit, type Fiber } from "effect"
import { TestClock } from "effect/testing"
import { reasonOf } from "./calls.ts"

/** A call that begins when it is let in and ends when it is told to. */
export interface Held {
  readonly name: string
  readonly fiber: Fiber.Fiber<string, unknown>
  readonly finish: Effect.Effect<void>
}

/**
 * Calls that note in `order` when they begin and end when they are told to. `begin` returns once the call runs, waits or
 * is over.
 */
export const calls = () => {
  const order: Array<string> = []
  const begin = <E>(
    name: string,
    guard: (call: Effect.Effect<string>) => Effect.Effect<string, E>
  ): Effect.Effect<Held> =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<void>()
      const call = Effect.andThen(
        Effect.sync(() => order.push(name)),
        Effect.as(Deferred.await(end), name)
      )
      const fiber = yield* Effect.forkChild(guard(call), { startImmediately: true })
      return { name, fiber, finish: Effect.andThen(Deferred.succeed(end, undefined), settled) }
    })
  return { order, begin }
}

/** Lets every fiber that can go on do so; no time passes. */
export const settled: Effect.Effect<void> = TestClock.adjust(0)

/** What a call came to: its value, the reason of its rejection, or that it is not over. */
export const outcomeOf = ({ fiber }: Held): string | undefined => {
  const exit: Exit.Exit<string, unknown> | undefined = fiber.pollUnsafe()
  if (exit === undefined) return undefined
  return exit._tag === "Success" ? exit.value : reasonOf(exit)?._tag
}
