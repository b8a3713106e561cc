/**
 * The processes that stand between a person and this one, such as npx and pnpm.
 *
 * Not all of them pass signals on: npx ends on SIGTERM and leaves what it started. So this process watches the one that
 * leads its process group, and its own parent, and ends when either is gone.
 */

import { readFileSync } from "node:fs"
import { Effect, Schedule } from "effect"

const groupLeader = (): number | undefined => {
  try {
    // The fields after the command's name: state, parent, process group.
    const fields = readFileSync("/proc/self/stat", "utf8").split(") ").at(-1)?.split(" ")
    return Number(fields?.[2])
  } catch {
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

/** Waits until whoever started this process is gone. */
export const gone: Effect.Effect<void> = Effect.suspend(() => {
  const parent = process.ppid
  const leader = groupLeader()
  const orphaned = Effect.sync(() => process.ppid !== parent || (leader !== undefined && !isAlive(leader)))
  return Effect.asVoid(
    Effect.repeat(orphaned, { until: (gone) => gone, schedule: Schedule.spaced("250 millis") })
  )
})
