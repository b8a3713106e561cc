/**
 * A map within bounds: so many entries, so many bytes. What was used least recently leaves first.
 *
 * It holds what a service may forget, such as the last good answers of a dependency, so that remembering never costs
 * more memory than was set aside for it. It changes in place, because it is as large as its bounds and a copy for each
 * read would cost more than the read. There is no clock in it: what is too old is for the caller to say.
 *
 * **Gotchas**
 *
 * - The bytes of an entry are what the caller says; nothing is measured. What is no finite number from 0 upwards counts as too large.
 * - An entry that is larger than `maxBytes` by itself is not kept, and neither is the value that its key had before.
 *
 * **Example** (Room for two)
 *
 * ```ts import.meta.vitest
 * import { Lru } from "failsoft"
 *
 * const lru = Lru.make<string, string>({ maxEntries: 2, maxBytes: 1_000 })
 * lru.set("a", "ants", 4)
 * lru.set("b", "bees", 4)
 * lru.get("a") // => "ants"
 *
 * lru.set("c", "cats", 4) // => [["b", "bees"]]
 * Array.from(lru) // => [["a", "ants"], ["c", "cats"]]
 * lru.bytes // => 8
 * ```
 */

/** What a map may hold at most. A bound that is no number keeps nothing. */
export interface Bounds {
  /** Below 1 nothing is kept. */
  readonly maxEntries: number
  /** The sum of what `set` was told. */
  readonly maxBytes: number
}

/**
 * A map within bounds. Iteration starts with what was used least recently, and uses nothing; it gives as many entries at most as were
 * held when it began, so that it ends when the map is used meanwhile.
 */
export interface Lru<K, V> extends Iterable<readonly [key: K, value: V]> {
  readonly size: number
  /** The sum of what `set` was told of the entries that are held. */
  readonly bytes: number
  /** The value of a key, which is now the one used most recently. */
  readonly get: (key: K) => V | undefined
  /** The value of a key, whose turn to leave does not change. */
  readonly peek: (key: K) => V | undefined
  /** What `set` was told of a key's value; 0 if it is not held. */
  readonly bytesOf: (key: K) => number
  /** Holds a value and gives what was evicted for it, oldest first: the value itself if it is too large. */
  readonly set: (key: K, value: V, bytes: number) => ReadonlyArray<readonly [key: K, value: V]>
  /** Lets go of a key, and says whether it was held. */
  readonly delete: (key: K) => boolean
  /** Lets go of everything. */
  readonly clear: () => void
}

interface Node<V> {
  readonly value: V
  readonly bytes: number
}

const none: ReadonlyArray<never> = []

/** Makes an empty map. */
export const make = <K, V>({ maxEntries, maxBytes }: Bounds): Lru<K, V> => {
  // A Map iterates in the order of insertion, so a key that is inserted anew is the youngest.
  const nodes = new Map<K, Node<V>>()
  let total = 0

  const remove = (key: K): boolean => {
    const node = nodes.get(key)
    if (node === undefined) return false
    total -= node.bytes
    return nodes.delete(key)
  }

  const evict = (): ReadonlyArray<readonly [K, V]> => {
    const evicted: Array<readonly [K, V]> = []
    for (const [key, { value }] of nodes) {
      if (nodes.size <= maxEntries && total <= maxBytes) break
      remove(key)
      evicted.push([key, value])
    }
    return evicted
  }

  return {
    get size() {
      return nodes.size
    },
    get bytes() {
      return total
    },
    get: (key) => {
      const node = nodes.get(key)
      if (node === undefined) return undefined
      nodes.delete(key)
      nodes.set(key, node)
      return node.value
    },
    peek: (key) => nodes.get(key)?.value,
    bytesOf: (key) => nodes.get(key)?.bytes ?? 0,
    set: (key, value, bytes) => {
      remove(key)
      const mayBeHeld =
        maxEntries >= 1 && bytes >= 0 && bytes <= maxBytes && bytes !== Number.POSITIVE_INFINITY
      if (!mayBeHeld) return [[key, value]]
      nodes.set(key, { value, bytes })
      total += bytes
      return nodes.size > maxEntries || total > maxBytes ? evict() : none
    },
    delete: remove,
    clear: () => {
      nodes.clear()
      total = 0
    },
    *[Symbol.iterator]() {
      // A key that is used meanwhile comes again at the end of the Map, and again after that.
      let left = nodes.size
      for (const [key, { value }] of nodes) {
        if (left-- === 0) return
        yield [key, value]
      }
    }
  }
}
