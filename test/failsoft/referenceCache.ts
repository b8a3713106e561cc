/**
 * What a cache has to do, said as plainly as it can be: lists that are searched, and nothing kept that can be counted.
 *
 * It knows each lookup and each caller, and is told when something happens. Times are milliseconds. No two time limits may
 * end at once, since which of them comes first is nobody's promise.
 */

/** What a lookup may come to. `value` is live, `not found` is an answer, `away` an outage; the others are neither. */
export type Ending =
  | { readonly _tag: "value"; readonly value: number; readonly bytes: number }
  | { readonly _tag: "not found" }
  | { readonly _tag: "away" }
  | { readonly _tag: "refused" }
  | { readonly _tag: "died" }

/** How a call ended. */
export type Result =
  | { readonly _tag: "live" | "stale"; readonly value: number; readonly ageMillis: number }
  | { readonly _tag: "failed"; readonly by: "not found" | "away" | "refused" | "died" | "timed out" }
  | { readonly _tag: "interrupted" }

/** Calls are made every 8 ms, so that no lookup's limit ends with another's, nor with a deadline. */
export const settings = {
  ttl: 160,
  eager: 120,
  revalidate: 80,
  ifError: 320,
  negativeTtl: 64,
  soft: 58,
  hard: 252,
  pause: 48,
  maxBackground: 1,
  maxEntries: 3,
  maxBytes: 20
} as const

interface Held {
  readonly key: string
  readonly ending: Extract<Ending, { readonly _tag: "value" | "not found" }>
  readonly storedAt: number
  pausedUntil: number
  pausedByOutage: boolean
}

interface Lookup {
  readonly key: string
  readonly startedAt: number
  /** Whether its answer is wanted by the cache. */
  isCurrent: boolean
  goesOn: boolean
  state: "running" | "ended" | "interrupted"
}

interface Caller {
  readonly kind: "get" | "refresh"
  readonly key: string
  readonly startedAt: number
  readonly deadlineAt: number
  softAt: number
  lookup: Lookup | undefined
  result: Result | undefined
}

type Freshness = "fresh" | "eager" | "revalidate" | "if-error" | "gone"

export class ReferenceCache {
  now = 0
  /** The one used least recently comes first. */
  held: ReadonlyArray<Held> = []
  readonly lookups: Array<Lookup> = []
  readonly callers: Array<Caller> = []
  readonly counts = { hits: 0, stale: 0, misses: 0, lookups: 0, failures: 0, evicted: 0 }

  call(kind: "get" | "refresh", key: string, within: number): void {
    const caller: Caller = {
      kind,
      key,
      startedAt: this.now,
      deadlineAt: this.now + within,
      softAt: Number.POSITIVE_INFINITY,
      lookup: undefined,
      result: undefined
    }
    this.callers.push(caller)
    const held = this.find(key)
    if (kind === "refresh" || held === undefined) {
      this.wait(caller)
      return
    }
    this.held = [...this.held.filter((other) => other !== held), held]
    const freshness = this.freshness(held)
    const isPaused = this.now < held.pausedUntil
    if (freshness === "gone") this.forget(key)
    if (freshness === "gone" || (freshness === "if-error" && !(isPaused && held.pausedByOutage))) {
      this.wait(caller)
      return
    }
    this.serve(caller, held)
    const wantsRefresh = freshness === "eager" || freshness === "revalidate"
    if (wantsRefresh && !isPaused && !this.current(key) && this.background < settings.maxBackground) {
      this.start(key, true)
    }
  }

  interrupt(index: number): void {
    const caller = this.callers[index]
    if (caller === undefined || caller.result !== undefined) return
    this.end(caller, { _tag: "interrupted" })
    this.leave(caller, true)
  }

  /** A lookup ends by itself. */
  answer(index: number, ending: Ending): void {
    const lookup = this.lookups[index]
    if (lookup?.state === "running") this.land(lookup, ending)
  }

  set(key: string, value: number, bytes: number): void {
    this.detach(key)
    this.store(key, { _tag: "value", value, bytes })
  }

  invalidate(key: string): void {
    this.detach(key)
    this.forget(key)
  }

  /** Lets time pass, limit by limit. */
  advance(millis: number): void {
    const until = this.now + millis
    for (;;) {
      const limits = [
        ...this.lookups
          .filter(({ state }) => state === "running")
          .map((lookup) => ({
            at: lookup.startedAt + settings.hard,
            reach: () => this.land(lookup, "timed out")
          })),
        ...this.callers
          .filter(({ result }) => result === undefined)
          .flatMap((caller) => [
            { at: caller.softAt, reach: () => this.reachSoft(caller) },
            { at: caller.deadlineAt, reach: () => this.giveUp(caller) }
          ])
      ]
      const next = limits.filter(({ at }) => at <= until).toSorted((one, other) => one.at - other.at)[0]
      if (next === undefined) break
      this.now = next.at
      next.reach()
    }
    this.now = until
  }

  peek(key: string): Result | undefined {
    const held = this.find(key)
    return held === undefined || held.ending._tag !== "value" || this.freshness(held) === "gone"
      ? undefined
      : this.resultOf(held)
  }

  get bytes(): number {
    return this.held.reduce((sum, { ending }) => sum + (ending._tag === "value" ? ending.bytes : 0), 0)
  }

  get inFlight(): number {
    return this.lookups.filter(({ isCurrent, state }) => isCurrent && state === "running").length
  }

  get background(): number {
    return this.lookups.filter((lookup) => lookup.state === "running" && this.waiters(lookup).length === 0)
      .length
  }

  private waiters(lookup: Lookup): ReadonlyArray<Caller> {
    return this.callers.filter((caller) => caller.lookup === lookup && caller.result === undefined)
  }

  private current(key: string): Lookup | undefined {
    return this.lookups.find((lookup) => lookup.key === key && lookup.isCurrent && lookup.state === "running")
  }

  private find(key: string): Held | undefined {
    return this.held.find((held) => held.key === key)
  }

  private forget(key: string): void {
    this.held = this.held.filter((held) => held.key !== key)
  }

  private freshness({ ending, storedAt }: Held, at = this.now): Freshness {
    const age = at - storedAt
    if (ending._tag === "not found") return age < settings.negativeTtl ? "fresh" : "gone"
    if (age < settings.eager) return "fresh"
    if (age < settings.ttl) return "eager"
    if (age < settings.ttl + settings.revalidate) return "revalidate"
    return age < settings.ttl + settings.ifError ? "if-error" : "gone"
  }

  private usable(key: string, at = this.now): Held | undefined {
    const held = this.find(key)
    return held !== undefined && this.freshness(held, at) !== "gone" ? held : undefined
  }

  private resultOf({ ending, storedAt }: Held): Result {
    if (ending._tag === "not found") return { _tag: "failed", by: "not found" }
    const ageMillis = this.now - storedAt
    return { _tag: ageMillis < settings.ttl ? "live" : "stale", value: ending.value, ageMillis }
  }

  private end(caller: Caller, result: Result): void {
    caller.result = result
    if (caller.kind === "get") this.counts.misses++
  }

  private serve(caller: Caller, held: Held): void {
    caller.result = this.resultOf(held)
    if (caller.result._tag === "stale") this.counts.stale++
    else this.counts.hits++
  }

  private start(key: string, goesOn: boolean): Lookup {
    const lookup: Lookup = { key, startedAt: this.now, isCurrent: true, goesOn, state: "running" }
    this.lookups.push(lookup)
    this.counts.lookups++
    return lookup
  }

  private wait(caller: Caller): void {
    const { key, kind } = caller
    const present = this.current(key)
    const held = this.usable(key)
    if (kind === "get" && present !== undefined && present.startedAt + settings.soft <= this.now && held) {
      this.serve(caller, held)
      return
    }
    const lookup = present ?? this.start(key, false)
    caller.lookup = lookup
    const softAt = lookup.startedAt + settings.soft
    if (kind === "get" && softAt > this.now && this.usable(key, softAt)) caller.softAt = softAt
  }

  private reachSoft(caller: Caller): void {
    caller.softAt = Number.POSITIVE_INFINITY
    if (this.usable(caller.key)) this.giveUp(caller)
  }

  /** A caller has no more time, or no more patience. */
  private giveUp(caller: Caller): void {
    const held = caller.kind === "get" ? this.usable(caller.key) : undefined
    if (held) this.serve(caller, held)
    else this.end(caller, { _tag: "failed", by: "timed out" })
    if (caller.lookup) caller.lookup.goesOn = true
    this.leave(caller, false)
  }

  private leave({ key, lookup }: Caller, isInterrupted: boolean): void {
    if (lookup?.state !== "running" || this.waiters(lookup).length > 0) return
    if (lookup.goesOn && lookup.isCurrent && this.background <= settings.maxBackground) return
    lookup.state = "interrupted"
    if (!isInterrupted && lookup.isCurrent) this.pause(key, true)
  }

  private pause(key: string, byOutage: boolean): void {
    const held = this.usable(key)
    if (held === undefined) return
    held.pausedUntil = this.now + settings.pause
    held.pausedByOutage = byOutage
  }

  private detach(key: string): void {
    const lookup = this.current(key)
    if (lookup === undefined) return
    if (this.waiters(lookup).length === 0) lookup.state = "interrupted"
    lookup.isCurrent = false
  }

  private store(key: string, ending: Held["ending"]): void {
    this.forget(key)
    if (ending._tag === "value" && ending.bytes > settings.maxBytes) {
      this.counts.evicted++
      return
    }
    const held = { key, ending, storedAt: this.now, pausedUntil: this.now, pausedByOutage: false }
    this.held = [...this.held, held]
    while (this.held.length > settings.maxEntries || this.bytes > settings.maxBytes) {
      this.held = this.held.slice(1)
      this.counts.evicted++
    }
  }

  private land(lookup: Lookup, ending: Ending | "timed out"): void {
    const waiters = this.waiters(lookup)
    lookup.state = ending === "timed out" ? "interrupted" : "ended"
    if (ending !== "timed out" && (ending._tag === "value" || ending._tag === "not found")) {
      if (lookup.isCurrent) this.store(lookup.key, ending)
      for (const caller of waiters) {
        this.end(
          caller,
          ending._tag === "value"
            ? { _tag: "live", value: ending.value, ageMillis: 0 }
            : { _tag: "failed", by: "not found" }
        )
      }
      return
    }
    const by = ending === "timed out" ? ending : ending._tag
    const isOutage = by === "timed out" || by === "away"
    this.counts.failures++
    if (lookup.isCurrent) this.pause(lookup.key, isOutage)
    for (const caller of waiters) {
      const held = caller.kind === "get" && isOutage ? this.usable(caller.key) : undefined
      if (held) this.serve(caller, held)
      else this.end(caller, { _tag: "failed", by })
    }
  }
}
