/**
 * Durations counted by how long they were.
 *
 * A histogram changes in place: it belongs to one policy, and a copy at each call would cost more than counting it. It holds
 * whole microseconds, so that sums are exact whatever the order in which they are added: a sum that went down by the
 * last digit of a fraction would read as a restart.
 */

/** Counts of durations in buckets, and what they sum up to. */
export interface Histogram {
  /** The upper ends of the buckets, in microseconds, each belonging to its bucket. */
  readonly boundaries: Float64Array
  /** How many fell into each bucket; one more than there are boundaries, for what is longer than all. */
  readonly counts: Float64Array
  sumMicros: number
  minMicros: number
  maxMicros: number
}

/** Boundaries in seconds, from the shortest to the longest, as histograms have them. Any number of those may share them. */
export const boundariesOf = (seconds: ReadonlyArray<number>): Float64Array =>
  Float64Array.from(seconds, (boundary) => Math.round(boundary * 1e6))

/** An empty histogram. */
export const make = (boundaries: Float64Array): Histogram => ({
  boundaries,
  counts: new Float64Array(boundaries.length + 1),
  sumMicros: 0,
  minMicros: Number.POSITIVE_INFINITY,
  maxMicros: 0
})

/** Takes in a duration. One that is shorter than nothing counts as nothing. */
export const record = (histogram: Histogram, millis: number): void => {
  const { boundaries, counts } = histogram
  const micros = Math.max(0, Math.round(millis * 1e3))
  let from = 0
  let to = boundaries.length
  while (from < to) {
    const middle = (from + to) >>> 1
    if (micros <= (boundaries[middle] ?? 0)) to = middle
    else from = middle + 1
  }
  counts[from] = (counts[from] ?? 0) + 1
  histogram.sumMicros += micros
  if (micros < histogram.minMicros) histogram.minMicros = micros
  if (micros > histogram.maxMicros) histogram.maxMicros = micros
}

/** Adds what another histogram of the same boundaries holds. */
export const add = (into: Histogram, { counts, maxMicros, minMicros, sumMicros }: Histogram): void => {
  counts.forEach((count, bucket) => {
    into.counts[bucket] = (into.counts[bucket] ?? 0) + count
  })
  into.sumMicros += sumMicros
  into.minMicros = Math.min(into.minMicros, minMicros)
  into.maxMicros = Math.max(into.maxMicros, maxMicros)
}

/** What a histogram says: buckets as boundary and how many were no longer than that, in seconds. */
export const read = ({ boundaries, counts, maxMicros, minMicros, sumMicros }: Histogram) => {
  let count = 0
  const buckets = Array.from(boundaries, (boundary, bucket): [number, number] => {
    count += counts[bucket] ?? 0
    return [boundary / 1e6, count]
  })
  count += counts[boundaries.length] ?? 0
  return {
    buckets,
    count,
    sum: sumMicros / 1e6,
    min: count === 0 ? 0 : minMicros / 1e6,
    max: maxMicros / 1e6
  }
}
