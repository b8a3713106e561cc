/**
 * States by key, within a bound, from which a key leaves only when its state is as good as none.
 *
 * It changes in place, because it is as large as its bound. A heap has the keys by the time from which each is free; that time
 * is brought up to date when it comes, for most keys are used again before it does.
 */

/** States of at most so many keys. */
export interface KeyTable<State> {
  readonly size: number
  readonly get: (key: string) => State | undefined
  /** Holds the state of a key. One that is not held yet needs room, which `hasRoom` makes. */
  readonly set: (key: string, state: State) => void
  /** Whether a further key can be held. Lets go of keys that are free: of all if need be, else of a few. */
  readonly hasRoom: (nowMillis: number) => boolean
  /** No key is free before this time, but for those to which something was given back. */
  readonly freeAtMillis: number
}

/** How many keys are looked at though there is room, so that a table shrinks again after a rush. */
const looksAhead = 2

/** An empty table for `maxKeys` keys. `freeAtMillis` tells from when on a state need not be held. */
export const make = <State>(maxKeys: number, freeAtMillis: (state: State) => number): KeyTable<State> =>
  new Table(maxKeys, freeAtMillis)

class Table<State> implements KeyTable<State> {
  readonly #states = new Map<string, State>()
  /** The keys as a heap: none is free before the one at half its index. */
  readonly #keys: Array<string> = []
  /** When each of them is free, or earlier. */
  readonly #times: Array<number> = []
  readonly #maxKeys: number
  readonly #freeAtMillis: (state: State) => number

  constructor(maxKeys: number, freeAtMillis: (state: State) => number) {
    this.#maxKeys = maxKeys
    this.#freeAtMillis = freeAtMillis
  }

  get size(): number {
    return this.#states.size
  }

  get freeAtMillis(): number {
    return this.#times[0] ?? Number.NEGATIVE_INFINITY
  }

  readonly get = (key: string): State | undefined => this.#states.get(key)

  readonly set = (key: string, state: State): void => {
    this.#states.set(key, state)
    if (this.#states.size > this.#keys.length) this.#rise(this.#keys.length, key, this.#freeAtMillis(state))
  }

  readonly hasRoom = (nowMillis: number): boolean => {
    for (let looks = 0; looks < looksAhead || this.size >= this.#maxKeys; looks++) {
      const key = this.#keys[0]
      const time = this.#times[0]
      if (key === undefined || time === undefined || time > nowMillis) break
      this.#lookAt(key, nowMillis)
    }
    return this.size < this.#maxKeys
  }

  /** Lets go of the first key if it is free by now, or puts it where it belongs. */
  #lookAt(first: string, nowMillis: number): void {
    const state = this.#states.get(first)
    const freeAtMillis = state === undefined ? nowMillis : this.#freeAtMillis(state)
    if (freeAtMillis > nowMillis) {
      this.#sink(first, freeAtMillis)
      return
    }
    this.#states.delete(first)
    const last = this.#keys.pop()
    const time = this.#times.pop()
    if (last !== undefined && time !== undefined && this.#keys.length > 0) this.#sink(last, time)
  }

  /** Puts a key at an index, or above it where that is its place. */
  #rise(from: number, key: string, time: number): void {
    let index = from
    while (index > 0) {
      const above = (index - 1) >>> 1
      const timeAbove = this.#times[above] ?? 0
      if (timeAbove <= time) break
      this.#put(index, this.#keys[above] ?? "", timeAbove)
      index = above
    }
    this.#put(index, key, time)
  }

  /** Puts a key at the top, or below it where that is its place. */
  #sink(key: string, time: number): void {
    const { length } = this.#keys
    let index = 0
    for (;;) {
      const left = 2 * index + 1
      const right = left + 1
      if (left >= length) break
      const below = right < length && (this.#times[right] ?? 0) < (this.#times[left] ?? 0) ? right : left
      const timeBelow = this.#times[below] ?? 0
      if (timeBelow >= time) break
      this.#put(index, this.#keys[below] ?? "", timeBelow)
      index = below
    }
    this.#put(index, key, time)
  }

  #put(index: number, key: string, time: number): void {
    this.#keys[index] = key
    this.#times[index] = time
  }
}
