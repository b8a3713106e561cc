/** A call that runs in a fiber of its own, for those who may go on without it. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"

/** Ends the wait for a call. */
export type Resume<A, E> = (answer: Effect.Effect<A, E>) => void

/**
 * Starts a call in a fiber of its own, with the context of its caller, and runs it as far as it gets at once. Most of what a
 * race costs is what comes after that, so a call that ends at once is spared it: its exit is the result, and `atOnce` sees it.
 *
 * What goes on is handed to `later`, which answers by `resume` and returns what to do when the caller is interrupted. All of
 * that is one step, so no interruption can come in between. The fiber belongs to nobody: `later` sees to its end.
 */
export const started = <A, E, R, B, E2>(
  caller: Fiber.Fiber<unknown, unknown>,
  self: Effect.Effect<A, E, R>,
  later: (attempt: Fiber.Fiber<A, E>, resume: Resume<A | B, E | E2>) => Effect.Effect<void>,
  atOnce?: (exit: Exit.Exit<A, E>) => void
): Effect.Effect<A | B, E | E2, R> =>
  Effect.callback((resume) => {
    const attempt = forkFrom(caller, self)
    const exit = attempt.pollUnsafe()
    if (exit === undefined) return later(attempt, resume)
    atOnce?.(exit)
    return resume(exit)
  })

/** Starts an effect at once, in a fiber of its own with the context of another. */
export const forkFrom = <A, E, R>(
  caller: Fiber.Fiber<unknown, unknown>,
  effect: Effect.Effect<A, E, R>
): Fiber.Fiber<A, E> => Effect.runForkWith(caller.context as Context.Context<R>)(effect)
