/**
 * The processes that stand between a person and this one: npx, pnpm and their shells.
 *
 * Not all of them pass signals on: npx ends on SIGTERM and leaves running what it started. So this process watches them,
 * and ends when any of them is gone.
 */

import { readFileSync } from "node:fs"
import { Effect, Schedule } from "effect"

/** Waits until one of the processes that started this one for a person is gone; for ever, if there are none. */
export const gone: Effect.Effect<void> = Effect.suspend(() => {
  const launchers = launchersOf(process.pid)
  const anyGone = Effect.sync(() => !launchers.every(isAlive))
  return Effect.asVoid(
    Effect.repeat(anyGone, { until: (gone) => gone, schedule: Schedule.spaced("250 millis") })
  )
})

/** The ancestors of a process, nearest first, up to the outermost that is a package manager's. */
const launchersOf = (pid: number): ReadonlyArray<number> => {
  const ancestors: Array<number> = []
  for (let parent = parentOf(pid); parent !== undefined && parent > 1; parent = parentOf(parent))
    ancestors.push(parent)
  return ancestors.slice(0, ancestors.findLastIndex(isPackageManager) + 1)
}

const isPackageManager = (pid: number): boolean => {
  const [program = "", script = ""] = read(`/proc/${pid}/cmdline`)?.split(/[\0 ]/) ?? []
  const name = program.endsWith("node") ? script : program
  return /(^|\/)(npm|npx|pnpm)\b/.test(name)
}

/** `/proc` names the parent in the second field after the command, which stands in parentheses. */
const parentOf = (pid: number): number | undefined => {
  const parent = read(`/proc/${pid}/stat`)?.split(") ").at(-1)?.split(" ")[1]
  return parent === undefined ? undefined : Number(parent)
}

const read = (file: string): string | undefined => {
  try {
    return readFileSync(file, "utf8")
  } catch {
    // The process is gone, or this system has no /proc.
    return undefined
  }
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
