/**
 * A quantile of the durations that were seen last, estimated in fixed memory.
 *
 * Durations are counted in buckets that grow by an eighth of an octave each, from 1 ms to 17 minutes, so the estimate is at most
 * 9 % above the exact quantile and never below it. Two sets of buckets take turns: when the present one holds 500
 * durations it becomes the past one, and the one before that is forgotten. The estimate looks at both.
 *
 * A duration that was cut short is counted as the time that it had by then, if that is no less than the estimate: it is above
 * the estimate then, wherever it would have ended. Below it, it says nothing. So a dependency whose slow calls are all cut
 * short moves the estimate up step by step until no more than the due share is above it.
 *
 * It changes in place, as windows do.
 */

/** An estimate of one quantile. */
export interface Quantile {
  /** Takes in a duration. */
  readonly observe: (millis: number) => void
  /** Takes in a duration that was cut short at this length. */
  readonly observeAtLeast: (millis: number) => void
  /** The quantile in milliseconds, at least 1; `undefined` before enough was seen to tell. */
  readonly estimate: () => number | undefined
}

/** The estimate of quantile `q`, from 0 to 1, of nothing yet. */
export const make = (q: number): Quantile => new Histogram(q)

const bucketsPerOctave = 8
const buckets = 20 * bucketsPerOctave
const durationsPerSet = 500
/** Below this many a high duration is more likely an accident. */
const leastDurations = 20
/** A duration on an edge is in the bucket above it, whatever a logarithm makes of it. */
const rounding = 1e-9

const bucketOf = (millis: number): number =>
  millis <= 1 ? 0 : Math.min(buckets - 1, Math.floor(Math.log2(millis) * bucketsPerOctave + rounding))

const upperEdgeOf = (bucket: number): number => 2 ** ((bucket + 1) / bucketsPerOctave)

class Histogram implements Quantile {
  readonly #q: number
  /** As many as it takes for one of them to be above the quantile. */
  readonly #needed: number
  #past = new Uint32Array(buckets)
  #pastCount = 0
  #present = new Uint32Array(buckets)
  #presentCount = 0
  /** `undefined` while it has to be computed anew. */
  #estimate: number | undefined

  constructor(q: number) {
    this.#q = q
    this.#needed = Math.max(leastDurations, Math.ceil(1 / (1 - q) - rounding))
  }

  observe(millis: number): void {
    if (this.#presentCount === durationsPerSet) this.#turn()
    const bucket = bucketOf(millis)
    this.#present[bucket] = (this.#present[bucket] ?? 0) + 1
    this.#presentCount++
    this.#estimate = undefined
  }

  observeAtLeast(millis: number): void {
    if (millis >= (this.estimate() ?? 0)) this.observe(millis)
  }

  estimate(): number | undefined {
    const count = this.#pastCount + this.#presentCount
    if (count < this.#needed) return undefined
    this.#estimate ??= this.#compute(Math.ceil(this.#q * count - rounding))
    return this.#estimate
  }

  /** The upper edge of the bucket that holds the duration with this number, counted from the shortest. */
  #compute(rank: number): number {
    let bucket = 0
    let upTo = 0
    for (; bucket < buckets - 1; bucket++) {
      upTo += (this.#past[bucket] ?? 0) + (this.#present[bucket] ?? 0)
      if (upTo >= rank) break
    }
    return upperEdgeOf(bucket)
  }

  #turn(): void {
    const forgotten = this.#past
    this.#past = this.#present
    this.#pastCount = this.#presentCount
    forgotten.fill(0)
    this.#present = forgotten
    this.#presentCount = 0
  }
}
