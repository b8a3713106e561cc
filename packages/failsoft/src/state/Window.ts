/**
 * Windows over the calls that ended last: so many calls, or so much time. They have a fixed size, and a step costs the same
 * however full they are.
 *
 * A window changes in place. It belongs to one closed circuit, and a copy at each call would cost more than the call's
 * whole admission. It knows no clock: time comes in as monotonic milliseconds.
 */

/** What a window is made for: the last `calls` calls, or those that ended within `durationMillis`, in so many `buckets`. */
export type WindowConfig =
  | { readonly _tag: "Count"; readonly calls: number }
  | { readonly _tag: "Time"; readonly durationMillis: number; readonly buckets: number }

/** What a window holds: its calls, and the hits among them, which are the calls it is looking for. */
export interface Window {
  readonly calls: number
  readonly hits: number
  /** Takes in a call that ended. */
  readonly record: (isHit: boolean, nowMillis: number) => void
  /** Lets go of what is too old. */
  readonly expire: (nowMillis: number) => void
}

/** Whether two windows hold the same calls. */
export const isSame = (one: WindowConfig, other: WindowConfig): boolean =>
  one._tag === "Count"
    ? other._tag === "Count" && one.calls === other.calls
    : other._tag === "Time" && one.durationMillis === other.durationMillis && one.buckets === other.buckets

/** An empty window. */
export const make = (config: WindowConfig): Window =>
  config._tag === "Count" ? new CountWindow(config.calls) : new TimeWindow(config)

/** The last so many calls, one bit for each. */
class CountWindow implements Window {
  calls = 0
  hits = 0
  readonly #bits: Uint32Array
  readonly #size: number
  #next = 0

  constructor(size: number) {
    this.#size = size
    this.#bits = new Uint32Array(Math.ceil(size / 32))
  }

  record(isHit: boolean): void {
    const word = this.#next >>> 5
    const bit = 1 << (this.#next & 31)
    const bits = this.#bits[word] ?? 0
    if (this.calls < this.#size) this.calls++
    else if ((bits & bit) !== 0) this.hits--
    if (isHit) this.hits++
    this.#bits[word] = isHit ? bits | bit : bits & ~bit
    this.#next = this.#next + 1 === this.#size ? 0 : this.#next + 1
  }

  expire(): void {}
}

/** The calls of a time, by the bucket in which they ended; a bucket is let go of as a whole. */
class TimeWindow implements Window {
  calls = 0
  hits = 0
  readonly #bucketMillis: number
  readonly #calls: Uint32Array
  readonly #hits: Uint32Array
  /** The number of the latest bucket, counted from the beginning of the clock. */
  #latest = Number.NEGATIVE_INFINITY

  constructor({ buckets, durationMillis }: Extract<WindowConfig, { readonly _tag: "Time" }>) {
    // The clock's own microsecond at least: the numbers of shorter buckets would be too high to be counted exactly.
    this.#bucketMillis = Math.max(durationMillis / buckets, 1e-3)
    this.#calls = new Uint32Array(buckets)
    this.#hits = new Uint32Array(buckets)
  }

  record(isHit: boolean, nowMillis: number): void {
    this.expire(nowMillis)
    const slot = this.#slot(this.#latest)
    this.calls++
    this.#calls[slot] = (this.#calls[slot] ?? 0) + 1
    if (!isHit) return
    this.hits++
    this.#hits[slot] = (this.#hits[slot] ?? 0) + 1
  }

  expire(nowMillis: number): void {
    const bucket = Math.floor(nowMillis / this.#bucketMillis)
    // A clock that goes back opens no older bucket.
    if (bucket <= this.#latest) return
    // However long the gap, no more buckets than there are.
    const entered = Math.min(bucket - this.#latest, this.#calls.length)
    for (let back = 0; back < entered; back++) {
      const slot = this.#slot(bucket - back)
      this.calls -= this.#calls[slot] ?? 0
      this.hits -= this.#hits[slot] ?? 0
      this.#calls[slot] = 0
      this.#hits[slot] = 0
    }
    this.#latest = bucket
  }

  #slot(bucket: number): number {
    const slot = bucket % this.#calls.length
    return slot < 0 ? slot + this.#calls.length : slot
  }
}
