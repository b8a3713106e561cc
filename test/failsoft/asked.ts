import { Deferred, Effect, Exit } from "effect"

/** One lookup that a test answers. */
export interface Question<A, E> {
  readonly key: string
  /** Ends the lookup. */
  readonly answer: (exit: Exit.Exit<A, E>) => Effect.Effect<void>
  /** How it ended; `undefined` while it runs. */
  readonly ended: () => "answered" | "interrupted" | undefined
}

/** A dependency that waits for the test with each answer. */
export const asked = <A, E>() => {
  const questions: Array<Question<A, E>> = []
  const lookup = (key: string): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      const deferred = Deferred.makeUnsafe<A, E>()
      let ended: "answered" | "interrupted" | undefined
      questions.push({
        key,
        answer: (exit) => Effect.andThen(Deferred.done(deferred, exit), Effect.yieldNow),
        ended: () => ended
      })
      return Effect.onExit(Deferred.await(deferred), (exit) =>
        Effect.sync(() => {
          ended = Exit.hasInterrupts(exit) ? "interrupted" : "answered"
        })
      )
    })
  return {
    questions,
    lookup,
    /** The latest question. */
    last: () => {
      const question = questions.at(-1)
      if (question === undefined) throw new Error("nothing was asked")
      return question
    }
  }
}
