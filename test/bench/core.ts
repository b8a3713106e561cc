/** What `pnpm bench core` compares. */
import type { Answers, Given } from "./calls.ts"
import * as bare from "./candidates/bare.ts"
import * as cockatiel from "./candidates/cockatiel.ts"
import * as effect from "./candidates/effect.ts"
import * as failsoft from "./candidates/failsoft.ts"
import * as opossum from "./candidates/opossum.ts"
import { memory } from "./memory.ts"
import { type Bench, type Candidate, ours, type Row } from "./model.ts"
import { sample } from "./sampling.ts"
import type { Subject } from "./subject.ts"
import { verify } from "./verify.ts"

/** One way to make the call of a row. */
export interface CoreCandidate extends Candidate {
  /** Guards a call anew. */
  readonly make: (given: Given) => Subject | Promise<Subject>
}

/** Candidates that guard the same call. */
export interface CoreRow extends Row {
  readonly circuit: "closed" | "open"
  readonly answers: Answers
  /** Calls that are made at once. */
  readonly inFlight: number
  /** Whether the guards retry, time out and hold back, beside breaking the circuit. */
  readonly isPipeline: boolean
  readonly candidates: ReadonlyArray<CoreCandidate>
}

const bareEffect = (name: string): CoreCandidate => ({ name, isBaseline: true, make: bare.effect })

const barePromise: CoreCandidate = { name: "bare promise", isBaseline: true, make: bare.promise }

const breakers: ReadonlyArray<CoreCandidate> = [
  { name: ours, make: failsoft.breaker },
  { name: "Effect", make: effect.breaker },
  { name: "cockatiel", make: cockatiel.breaker },
  { name: "opossum", make: opossum.breaker }
]

const pipelines: ReadonlyArray<CoreCandidate> = [
  { name: ours, make: failsoft.pipeline },
  { name: "Effect", make: effect.pipeline },
  { name: "cockatiel", make: cockatiel.pipeline }
]

const rows: ReadonlyArray<CoreRow> = [
  {
    id: "closed",
    title: "A call through a closed breaker that succeeds at once",
    circuit: "closed",
    answers: "at once",
    inFlight: 1,
    isPipeline: false,
    baseline: "bare suspend",
    candidates: [bareEffect("bare suspend"), ...breakers, barePromise]
  },
  {
    id: "closed-window",
    title: "A call through a closed breaker with a time window that succeeds at once",
    circuit: "closed",
    answers: "at once",
    inFlight: 1,
    isPipeline: false,
    baseline: "bare suspend",
    candidates: [bareEffect("bare suspend"), { name: ours, make: failsoft.windowed }]
  },
  {
    id: "rejected",
    title: "A call that an open breaker rejects",
    circuit: "open",
    answers: "at once",
    inFlight: 1,
    isPipeline: false,
    baseline: "bare fail",
    candidates: [
      { name: "bare fail", isBaseline: true, make: bare.failingEffect },
      ...breakers,
      { name: "bare reject", isBaseline: true, make: bare.failingPromise }
    ]
  },
  {
    id: "pipeline",
    title: "Retry, bulkhead, breaker and attempt timeout around a call that succeeds at once",
    circuit: "closed",
    answers: "at once",
    inFlight: 1,
    isPipeline: true,
    baseline: "bare suspend",
    candidates: [bareEffect("bare suspend"), ...pipelines, barePromise]
  },
  {
    id: "pipeline-later",
    title: "Retry, bulkhead, breaker and attempt timeout around a call that suspends (`setImmediate`)",
    circuit: "closed",
    answers: "later",
    inFlight: 1,
    isPipeline: true,
    baseline: "bare callback",
    candidates: [bareEffect("bare callback"), ...pipelines, barePromise]
  },
  ...[10, 10_000].map(
    (inFlight): CoreRow => ({
      id: `fibers-${inFlight}`,
      title: `The same, made by ${inFlight} fibers at once`,
      circuit: "closed",
      answers: "later",
      inFlight,
      isPipeline: true,
      baseline: "bare callback",
      candidates: [bareEffect("bare callback"), { name: ours, make: failsoft.pipeline }]
    })
  )
]

export const core: Bench = {
  rows,
  targets: [
    { row: "closed", text: "closed: 3 × a bare suspend", against: ["bare suspend"], atMost: 3 },
    { row: "closed", text: "closed: 1 × cockatiel", against: ["cockatiel"], atMost: 1 },
    { row: "closed", text: "closed: a 12th of Effect's breaker", against: ["Effect"], atMost: 1 / 12 },
    {
      row: "closed-window",
      text: "closed with a time window: 4.5 × a bare suspend",
      against: ["bare suspend"],
      atMost: 4.5
    },
    {
      row: "rejected",
      text: "rejected: 0.15 × the cheaper of cockatiel and opossum",
      against: ["cockatiel", "opossum"],
      atMost: 0.15
    },
    { row: "pipeline", text: "pipeline: 0.25 × cockatiel", against: ["cockatiel"], atMost: 0.25 },
    {
      row: "pipeline-later",
      text: "pipeline, suspended: 0.6 × cockatiel",
      against: ["cockatiel"],
      atMost: 0.6
    },
    {
      row: "fibers-10000",
      text: "by 10,000 fibers, to bare: 1.5 × what it is by 10",
      against: [],
      growsFrom: "fibers-10",
      atMost: 1.5
    }
  ],
  verify: () => verify(rows),
  sample: (row, candidate) => sample(rows, row, candidate),
  facts: memory,
  factsTitle: "Memory",
  notes: [
    "A process takes the lower quartile of its batches; the table shows median, min and max over processes.",
    "Each process verifies all candidates before it measures one, so that none runs on a runtime that met only itself.",
    "The Effects run in one fiber, in `Effect.whileLoop`; the promises are awaited in a loop. The guard is built once.",
    "failsoft is `CircuitBreaker` or `Policy` as made by default: counters and events on, no listener.",
    "Effect is its own `CircuitBreaker` with the memory store, and in pipelines `Effect.retry`, `Semaphore` and `Effect.timeout`.",
    "The stages of a pipeline of failsoft are those of one `Policy`. No measured call waits for a permit.",
    "Of the 10 and 10,000 fibers each makes several calls, one after another; a batch lasts longer there.",
    "Memory is `heapUsed` after forced collections. Its growth is the median of the slopes between any two samples.",
    "opossum has no retry, so it is in no pipeline; its own timeout is off, since the others have none in those rows.",
    "Nothing is written to a log: the fibers have no logger, but what would be logged is still decided."
  ]
}
