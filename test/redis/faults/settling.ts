/**
 * How long calls take to settle, and by when they have to.
 *
 * That a call ends within its deadline is what the faults are about, so time is asserted here, and nowhere else.
 */
import { readFileSync } from "node:fs"
import { performance } from "node:perf_hooks"
import { Effect, type Exit, Fiber, Option } from "effect"

/** What is added to a deadline for the machine. */
export const slackMillis = 100

/**
 * How long this process has been ready to run while the machine ran others, since it started: what a busy machine adds to a
 * call, and nothing that the call does itself. Zero where the system does not tell.
 */
const keptWaitingMillis = (): number => {
  try {
    return Number(readFileSync("/proc/self/schedstat", "utf8").split(" ")[1]) / 1e6
  } catch {
    return 0
  }
}

/** How many times its bound a call is waited for, before it is taken for one that never settles. */
const patience = 2

/** What became of a call. */
export interface Settled<A, E> {
  /** `undefined` if it had not settled long after its bound. */
  readonly exit: Exit.Exit<A, E> | undefined
  /** Without what the machine kept the process waiting. */
  readonly millis: number
}

/** The calls of one test. */
export interface Settling {
  /** Runs a call that has to settle within `boundMillis`, and notes how long it took. */
  readonly within: <A, E, R>(
    what: string,
    boundMillis: number,
    call: Effect.Effect<A, E, R>
  ) => Effect.Effect<Settled<A, E>, never, R>
  /** As `within`, for a call that has a deadline: the bound is that and 100 ms. */
  readonly by: <A, E, R>(
    what: string,
    deadlineMillis: number,
    call: Effect.Effect<A, E, R>
  ) => Effect.Effect<Settled<A, E>, never, R>
  /** Notes what several calls took together. */
  readonly note: (what: string, deadlineMillis: number, millis: number) => void
  /** The calls that settled too late, or not at all. */
  readonly late: () => ReadonlyArray<string>
  /** What the call came to that took most of its bound. */
  readonly line: () => string
}

interface Note {
  readonly what: string
  readonly boundMillis: number
  readonly millis: number
  readonly isSettled: boolean
}

/** Notes nothing yet. */
export const make = (test: string): Settling => {
  const notes: Array<Note> = []

  const within = <A, E, R>(what: string, boundMillis: number, call: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const began = performance.now() - keptWaitingMillis()
      // Apart from its caller, so that a call which cannot even be interrupted holds up nobody.
      const running = yield* Effect.forkDetach(call, { startImmediately: true })
      const exit = yield* Effect.timeoutOption(Fiber.await(running), boundMillis * patience)
      const millis = performance.now() - keptWaitingMillis() - began
      if (Option.isNone(exit)) running.interruptUnsafe()
      notes.push({ what, boundMillis, millis, isSettled: Option.isSome(exit) })
      return { exit: Option.getOrUndefined(exit), millis }
    })

  return {
    within,
    by: (what, deadlineMillis, call) => within(what, deadlineMillis + slackMillis, call),
    note: (what, deadlineMillis, millis) =>
      void notes.push({ what, boundMillis: deadlineMillis + slackMillis, millis, isSettled: true }),
    late: () =>
      notes
        .filter(({ boundMillis, isSettled, millis }) => !isSettled || millis > boundMillis)
        .map(({ boundMillis, isSettled, millis, what }) =>
          isSettled
            ? `${what} settled in ${Math.round(millis)} ms, bound ${boundMillis} ms`
            : `${what} had not settled after ${boundMillis} ms`
        ),
    line: () => {
      const share = ({ boundMillis, millis }: Note): number => millis / boundMillis
      const [nearest] = notes.toSorted((one, other) => share(other) - share(one))
      if (nearest === undefined) return `${test}: no call`
      const { boundMillis, isSettled, millis, what } = nearest
      const settled = isSettled ? `settled in ${Math.round(millis)} ms` : "not settled"
      return `${test}: ${settled}, bound ${boundMillis} ms (${what}; calls: ${notes.length})`
    }
  }
}
