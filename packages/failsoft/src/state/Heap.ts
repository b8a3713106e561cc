/**
 * Things in the order of a number, such as waits by their ends: the least is found at once, and any of them taken out.
 *
 * A binary heap that changes in place. Each thing knows its place, so that it need not be looked for; of those with the same
 * number the one that came first is the least.
 */

/** What a heap holds. The heap alone writes `index` and `arrival`. */
export interface Item {
  readonly order: number
  /** Where it is in the heap, or -1. */
  index: number
  arrival: number
}

/** Items, the least first. */
export class Heap<A extends Item> {
  readonly #items: Array<A> = []
  #arrivals = 0

  /** The least, if there is any. */
  get first(): A | undefined {
    return this.#items[0]
  }

  /** Adds an item that is in no heap. One that is the last to come in order is added in one step. */
  add(item: A): void {
    item.arrival = this.#arrivals++
    this.#items.push(item)
    this.#rise(item, this.#items.length - 1)
  }

  /** Takes an item out. One that is not in is left alone. */
  remove(item: A): void {
    const { index } = item
    if (index < 0) return
    item.index = -1
    const last = this.#items.pop()
    if (last === undefined || last === item) return
    this.#sink(last, index)
    this.#rise(last, last.index)
  }

  #rise(item: A, from: number): void {
    let index = from
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = this.#items[parent]
      if (above === undefined || !isBefore(item, above)) break
      this.#put(above, index)
      index = parent
    }
    this.#put(item, index)
  }

  #sink(item: A, from: number): void {
    let index = from
    while (true) {
      const left = 2 * index + 1
      let least = item
      let at = index
      for (let child = left; child <= left + 1; child++) {
        const below = this.#items[child]
        if (below !== undefined && isBefore(below, least)) {
          least = below
          at = child
        }
      }
      if (least === item) break
      this.#put(least, index)
      index = at
    }
    this.#put(item, index)
  }

  #put(item: A, index: number): void {
    this.#items[index] = item
    item.index = index
  }
}

const isBefore = (one: Item, other: Item): boolean =>
  one.order === other.order ? one.arrival < other.arrival : one.order < other.order
