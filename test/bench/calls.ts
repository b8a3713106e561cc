/** What the candidates guard: one call that the harness scripts, as an Effect and as a promise. */
import * as Effect from "effect/Effect"

/** The called side. It counts the calls that get through to it, and fails the first `failFirst` of them. */
export interface Dependency {
  calls: number
  failFirst: number
  /** What calls that are held wait for. */
  readonly held?: Promise<void>
}

/** When the dependency answers: within the call, after a turn of the event loop, when the harness lets it, or not at all. */
export type Answers = "at once" | "later" | "held" | "never"

/** What a candidate is made for. */
export interface Given {
  readonly dependency: Dependency
  readonly answers: Answers
  readonly attemptTimeoutMillis: number
  /** For all attempts of a call together. */
  readonly deadlineMillis: number
  /** The wait before a hedge. */
  readonly hedgeAfterMillis: number
  /** Calls that a candidate with a bulkhead runs at once; as many more may wait. */
  readonly bulkhead: number
  /** Calls that a candidate with a rate limiter lets through in what time. */
  readonly rate: { readonly limit: number; readonly periodMillis: number }
}

/** Failures in a row that open every candidate's circuit. */
export const failuresToOpen = 5

/** How long every candidate's circuit stays open: longer than any measurement. */
export const openMillis = 3_600_000

/** Tries in all that every candidate with a retry makes. */
export const attempts = 2

/** The first wait of every candidate with a retry, doubled each time. No measured call gets there. */
export const backoffMillis = 1

/** Retries that every budget pays for before a call has succeeded. */
export const budget = 2

/** What every cache holds at most, and the number of keys that are asked for in turn. */
export const cacheEntries = 1000

/** How long a cache holds a value: longer than any measurement. */
export const timeToLiveMillis = 3_600_000

/** The keys that a cache is asked for, one after another. */
export const nextKey = (): (() => string) => {
  const keys = Array.from({ length: cacheEntries }, (_, index) => `key-${index}`)
  let next = 0
  return () => keys[next++ % cacheEntries] ?? ""
}

const down = new Error("the dependency is down")

const succeeds = (dependency: Dependency): boolean => ++dependency.calls > dependency.failFirst

/** The call as an Effect. Its value is 1, so that a sum of values counts the successes. */
export const effectCall = ({ answers, dependency }: Given): Effect.Effect<number, Error> => {
  const answer = () => (succeeds(dependency) ? Effect.succeed(1) : Effect.fail(down))
  switch (answers) {
    case "at once":
      return Effect.suspend(answer)
    case "later":
      return Effect.callback((resume) => {
        setImmediate(() => resume(answer()))
      })
    case "held":
      return Effect.tap(Effect.suspend(answer), () => Effect.promise(async () => dependency.held))
    case "never":
      return Effect.andThen(Effect.suspend(answer), Effect.never)
  }
}

/** The call as a function that returns a promise. Its value is 1, as above. */
export const promiseCall = ({ answers, dependency }: Given): (() => Promise<number>) => {
  const answer = async () => {
    if (succeeds(dependency)) return 1
    throw down
  }
  switch (answers) {
    case "at once":
      return answer
    case "later":
      return () =>
        new Promise((resolve, reject) => {
          setImmediate(() => (succeeds(dependency) ? resolve(1) : reject(down)))
        })
    case "held":
      return async () => {
        const answered = await answer()
        await dependency.held
        return answered
      }
    case "never":
      return () => new Promise(() => void answer())
  }
}
