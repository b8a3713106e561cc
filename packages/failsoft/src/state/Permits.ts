/**
 * The rules of a bulkhead: how many calls run, who waits, and whose turn it is. A waiter is any value.
 *
 * They change in place, because a queue of ten thousand cannot be copied at each call. Every step costs the same however
 * many wait: each priority is a list whose places know their neighbours, so the first is taken and any other leaves
 * without a search. Nothing here reads a clock, runs an effect or throws.
 *
 * Two things always hold between steps that belong together. Nobody waits while a permit is free, so a call that finds
 * one free overtakes nobody: after `release` and after `resize`, ask `next` until it has nobody left. And a place leaves
 * the queue once, one way: it is admitted, and holds a permit from then on, or it has left without one.
 */

/** What permits are held to; validated by the shell before it gets here. `queue` and `priorities` may change at any time. */
export interface PermitsConfig {
  /** Calls that may run at once, at least 1. */
  readonly limit: number
  /** Places in the queue, at least 0. */
  readonly queue: number
  /** Levels of priority, at least 1. */
  readonly priorities: number
}

/** A place in the queue. */
export interface Place<Waiter> {
  readonly waiter: Waiter
  readonly state: "waiting" | "admitted" | "left"
}

/** The permits of one bulkhead, and the queue for them. */
export interface Permits<Waiter> {
  readonly limit: number
  /** Calls that hold a permit. More than `limit` only after it was lowered. */
  readonly inFlight: number
  /** Places that are taken. */
  readonly queued: number
  /** Whether a call would get a permit at once, or a place if it may wait for one. */
  readonly isOpenTo: (priority: number, mayWait: boolean) => boolean
  /** Takes a permit, if one is free. */
  readonly take: () => boolean
  /** Gives a permit back. */
  readonly release: () => void
  /** Changes how many calls may run at once. Those that run keep their permits. */
  readonly resize: (limit: number) => void
  /**
   * Takes a place behind those of the same priority, which is from 0, served last, to `priorities - 1`; none if there is no room.
   * There is room for one that `replaces` a place which has just left for it, also in a queue that is over full.
   */
  readonly join: (waiter: Waiter, priority: number, replaces?: boolean) => Place<Waiter> | undefined
  /** The place that is served last of all, if the queue is full and its priority is below this one: it can make room. */
  readonly displaceable: (priority: number) => Place<Waiter> | undefined
  /** The place whose turn it is, if a permit is free. */
  readonly next: () => Place<Waiter> | undefined
  /** Takes a permit for a place that `next` gave. */
  readonly admit: (place: Place<Waiter>) => void
  /** Leaves without a permit, and says whether the place was still waiting. */
  readonly leave: (place: Place<Waiter>) => boolean
}

/** Permits of which none is taken. */
export const make = <Waiter>(config: PermitsConfig): Permits<Waiter> => new Rules(config)

/** A place among its neighbours. */
class Node<Waiter> implements Place<Waiter> {
  state: Place<Waiter>["state"] = "waiting"
  before: Node<Waiter> | undefined
  after: Node<Waiter> | undefined
  readonly waiter: Waiter
  readonly line: Line<Waiter>

  constructor(waiter: Waiter, line: Line<Waiter>) {
    this.waiter = waiter
    this.line = line
    this.before = line.last
  }
}

/** Those who wait with one priority, in the order in which they came. */
interface Line<Waiter> {
  first: Node<Waiter> | undefined
  last: Node<Waiter> | undefined
}

class Rules<Waiter> implements Permits<Waiter> {
  limit: number
  inFlight = 0
  queued = 0
  readonly #config: PermitsConfig
  /** None until someone waits: permits of a key may be made for a single call. */
  readonly #lines: Array<Line<Waiter>> = []

  constructor(config: PermitsConfig) {
    this.limit = config.limit
    this.#config = config
  }

  isOpenTo(priority: number, mayWait: boolean): boolean {
    if (this.inFlight < this.limit) return true
    return mayWait && (this.queued < this.#config.queue || this.displaceable(priority) !== undefined)
  }

  take(): boolean {
    if (this.inFlight >= this.limit) return false
    this.inFlight++
    return true
  }

  release(): void {
    this.inFlight--
  }

  resize(limit: number): void {
    this.limit = limit
  }

  join(waiter: Waiter, priority: number, replaces = false): Place<Waiter> | undefined {
    if (this.queued >= this.#config.queue && !replaces) return undefined
    while (this.#lines.length < this.#config.priorities) {
      this.#lines.push({ first: undefined, last: undefined })
    }
    const line = this.#lines[priority]
    if (line === undefined) return undefined
    const node = new Node(waiter, line)
    if (line.last === undefined) line.first = node
    else line.last.after = node
    line.last = node
    this.queued++
    return node
  }

  displaceable(priority: number): Place<Waiter> | undefined {
    if (this.queued < this.#config.queue) return undefined
    for (let level = 0; level < priority; level++) {
      const last = this.#lines[level]?.last
      if (last !== undefined) return last
    }
    return undefined
  }

  next(): Place<Waiter> | undefined {
    if (this.queued === 0 || this.inFlight >= this.limit) return undefined
    for (let level = this.#lines.length - 1; level >= 0; level--) {
      const first = this.#lines[level]?.first
      if (first !== undefined) return first
    }
    return undefined
  }

  admit(place: Place<Waiter>): void {
    if (this.#end(place, "admitted")) this.inFlight++
  }

  leave(place: Place<Waiter>): boolean {
    return this.#end(place, "left")
  }

  /** Takes a place out of its line. */
  #end(place: Place<Waiter>, state: "admitted" | "left"): boolean {
    if (!(place instanceof Node) || place.state !== "waiting") return false
    const node: Node<Waiter> = place
    const { after, before, line } = node
    if (before === undefined) line.first = after
    else before.after = after
    if (after === undefined) line.last = before
    else after.before = before
    // A place may be held long after its turn, and must not hold its neighbours.
    node.before = undefined
    node.after = undefined
    node.state = state
    this.queued--
    return true
  }
}
