/**
 * The sessions that this process knows to be revoked, each until its end.
 *
 * Redis is where a revocation is kept. This is for while it is away: what was revoked here, or seen to be revoked, stays
 * so in this process. It is bounded; the session that ends soonest leaves first, and the log says that one did.
 */
import { Clock, Effect } from "effect"

/** Revoked sessions. */
export interface RevokedHere {
  readonly has: (sid: string) => boolean
  /** Remembers a session until `endsAtMillis`. */
  readonly add: (sid: string, endsAtMillis: number) => Effect.Effect<void>
}

/** Remembers nothing yet, and at most `maxEntries` sessions. */
export const make = (maxEntries: number): RevokedHere => {
  const ends = new Map<string, number>()

  const soonest = (): string | undefined => {
    const [first, ...others] = ends
    return others.reduce(
      (least, entry) => (least !== undefined && least[1] <= entry[1] ? least : entry),
      first
    )?.[0]
  }

  const add = (sid: string, endsAtMillis: number) =>
    Effect.flatMap(Clock.currentTimeMillis, (nowMillis) => {
      if (ends.size >= maxEntries && !ends.has(sid)) {
        for (const [other, end] of ends) if (end <= nowMillis) ends.delete(other)
      }
      const evicted = ends.size >= maxEntries && !ends.has(sid) ? soonest() : undefined
      if (evicted !== undefined) ends.delete(evicted)
      ends.set(sid, endsAtMillis)
      return evicted === undefined
        ? Effect.void
        : Effect.logWarning(
            `sessions: more than ${maxEntries} are revoked, so one is known to be so by Redis alone`
          )
    })

  return { has: (sid) => ends.has(sid), add }
}
