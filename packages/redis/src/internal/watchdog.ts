/**
 * One timer behind all commands in flight, for the case that the client forgets one.
 *
 * A timer for each command would cost as much as the command. All of them have the same time, so the oldest is due
 * first, and a fiber that sleeps until it is due serves them all. No fiber runs while nothing is in flight.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** A command in flight, in the list of all of them, oldest first. */
export interface Entry {
  readonly dueMillis: number
  readonly expire: () => void
  previous: Entry | undefined
  next: Entry | undefined
  listed: boolean
}

/** Watches commands; `remove` may be called more than once. */
export interface Watchdog {
  readonly add: (nowMillis: number, expire: () => void) => Entry
  readonly remove: (entry: Entry) => void
}

/** A watchdog whose entries expire after `timeoutMillis`. `fork` starts a fiber that reads the time with `now`. */
export const make = (
  timeoutMillis: number,
  now: () => number,
  fork: (effect: Effect.Effect<void>) => void
): Watchdog => {
  let oldest: Entry | undefined
  let newest: Entry | undefined
  let watching = false

  const remove = (entry: Entry): void => {
    if (!entry.listed) return
    entry.listed = false
    if (entry.previous === undefined) oldest = entry.next
    else entry.previous.next = entry.next
    if (entry.next === undefined) newest = entry.previous
    else entry.next.previous = entry.previous
  }

  const watch: Effect.Effect<void> = Effect.suspend(() => {
    const nowMillis = now()
    for (let due = oldest; due !== undefined && due.dueMillis <= nowMillis; due = oldest) {
      remove(due)
      due.expire()
    }
    if (oldest === undefined) {
      watching = false
      return Effect.void
    }
    return Effect.andThen(Effect.sleep(Duration.millis(oldest.dueMillis - nowMillis)), watch)
  })

  return {
    remove,
    add: (nowMillis, expire) => {
      const entry: Entry = {
        dueMillis: nowMillis + timeoutMillis,
        expire,
        previous: newest,
        next: undefined,
        listed: true
      }
      if (newest === undefined) oldest = entry
      else newest.next = entry
      newest = entry
      if (!watching) {
        watching = true
        fork(watch)
      }
      return entry
    }
  }
}
