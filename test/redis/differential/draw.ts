/** What a generator of histories draws from: the same numbers for the same seed, on every machine. */
export interface Draw {
  /** From 0 up to 1. */
  readonly next: () => number
  /** From the first to the second, both included. */
  readonly integer: (from: number, to: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(from: ReadonlyArray<A>) => A
  /** So many draws from a list, between the two numbers. */
  readonly some: <A>(from: number, to: number, f: () => A) => Array<A>
  /** A number that was not drawn before. */
  readonly fresh: () => number
}

/** Mulberry32. */
export const drawFrom = (seed: number): Draw => {
  let state = seed | 0
  let drawn = 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
  const integer = (from: number, to: number): number => from + Math.floor(next() * (to - from + 1))
  return {
    next,
    integer,
    chance: (probability) => next() < probability,
    pick: (from) => {
      const picked = from[integer(0, from.length - 1)]
      if (picked === undefined) throw new Error("nothing to pick from")
      return picked
    },
    some: (from, to, f) => Array.from({ length: integer(from, to) }, f),
    // A multiple of 7919 modulo a prime: no two alike in 1,000,003 draws, and in no order.
    fresh: () => (++drawn * 7919) % 1_000_003
  }
}
