/**
 * The timeline of the demo: one event to a line, as a table for people or as JSON for programs.
 */
import { Clock, Console, Effect } from "effect"
import type { Circuits } from "./Caller.ts"

/** Tells an event, with the circuits as they are and what a caller got. */
export type Tell<E> = (event: string, got: string) => Effect.Effect<void, E>

/** Begins a timeline. */
export const make = <E>(circuits: Effect.Effect<Circuits, E>, json: boolean): Effect.Effect<Tell<E>> =>
  Effect.gen(function* () {
    const started = yield* Clock.currentTimeMillis
    if (!json) yield* Console.log(row(["time", "event", "circuits not closed", "what a caller got"]))
    return (event, got) =>
      Effect.gen(function* () {
        const states = yield* circuits
        const atMillis = (yield* Clock.currentTimeMillis) - started
        const seconds = `${(atMillis / 1000).toFixed(1)} s`
        yield* Console.log(
          json
            ? JSON.stringify({ atMillis, event, circuits: states, got })
            : row([seconds, event, troubledOf(states), got])
        )
      })
  })

const widths = [9, 36, 38]

const row = (cells: ReadonlyArray<string>): string =>
  cells.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join("")

/** What stands in front of Redis goes by its name. */
const redis = new Set(["cache", "redis-read", "redis-write", "login-limit"])

const troubledOf = (circuits: Circuits): string => {
  const troubled = new Map<string, string>()
  for (const [circuit, { state }] of Object.entries(circuits)) {
    const name = redis.has(circuit) ? "redis" : circuit
    if (state !== "closed" && troubled.get(name) !== "open") troubled.set(name, state)
  }
  return (
    [...troubled]
      .map(([name, state]) => `${name} ${state}`)
      .toSorted()
      .join(", ") || "none"
  )
}
