/** What a bench is made of, whatever it measures. */

/** One way to do what a row is about. */
export interface Candidate {
  readonly name: string
  /** A baseline guards nothing, so its outcomes are not those of a guard. */
  readonly isBaseline?: true
  /** Another form of failsoft than the one that peers are compared to. */
  readonly isOurs?: true
}

/** Candidates that do the same thing. */
export interface Row {
  readonly id: string
  readonly title: string
  /** The candidate that the others are measured by. */
  readonly baseline: string
  readonly candidates: ReadonlyArray<Candidate>
}

/**
 * A limit on what failsoft costs in a row: a multiple of the cheapest candidate named in `against`, or so many
 * nanoseconds when none is named.
 */
export interface Target {
  readonly row: string
  readonly text: string
  readonly against: ReadonlyArray<string>
  /** The form of failsoft that it is for, if not the one that peers are compared to. */
  readonly candidate?: string
  /** Then it is on what failsoft adds to the baseline over what the others add to it. */
  readonly isBeyondBaseline?: true
  /** Another row: then the limit is on its ratio to the baseline of `row` over its ratio to that of the other. */
  readonly growsFrom?: string
  readonly atMost: number
}

/** Something measured once in each round that is no cost of a call. */
export interface Fact {
  readonly text: string
  readonly unit: "ms" | "bytes" | "% a minute"
  readonly value: number
  readonly atMost: number
}

/** What belongs in one table of results. */
export interface Bench {
  readonly rows: ReadonlyArray<Row>
  readonly targets: ReadonlyArray<Target>
  readonly notes: ReadonlyArray<string>
  /** Rejects, naming the candidate, unless all candidates come to the outcomes that their row is about. */
  readonly verify: () => Promise<void>
  /** Measures a candidate in this process: nanoseconds per call. */
  readonly sample: (row: string, candidate: string) => Promise<number>
  /** What else is measured, in this process, and what it is about. */
  readonly facts?: () => Promise<ReadonlyArray<Fact>>
  readonly factsTitle?: string
}

/** The candidate that the targets are for. */
export const ours = "failsoft"
