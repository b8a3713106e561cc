/** What `pnpm bench core` compares. */
import { memory } from "./memory.ts"
import type { Bench } from "./model.ts"
import { allStages, rows } from "./rows.ts"
import { sample } from "./sampling.ts"
import { verify } from "./verify.ts"

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
    {
      row: "bulkhead",
      text: "a free permit: 3.5 × a bare suspend",
      against: ["bare suspend"],
      atMost: 3.5
    },
    {
      row: "rate-limiter",
      text: "within a rate limit: 3.5 × a bare suspend",
      against: ["bare suspend"],
      atMost: 3.5
    },
    {
      row: "retry",
      text: "retry with a budget: 3 × a bare suspend",
      against: ["bare suspend"],
      atMost: 3
    },
    {
      row: "hedge",
      text: "hedge, beyond the call: 0.5 × Effect.timeout",
      against: ["Effect.timeout"],
      isBeyondBaseline: true,
      atMost: 0.5
    },
    {
      row: "hedge-later",
      text: "hedge, suspended, beyond the call: 0.5 × Effect.timeout",
      against: ["Effect.timeout"],
      isBeyondBaseline: true,
      atMost: 0.5
    },
    { row: "cache", text: "a hit: 1 × Effect's cache", against: ["Effect"], atMost: 1 },
    { row: "pipeline", text: "pipeline: 0.25 × cockatiel", against: ["cockatiel"], atMost: 0.25 },
    {
      row: "pipeline",
      candidate: allStages,
      text: "pipeline of 8 stages: 0.3 × cockatiel's 4",
      against: ["cockatiel"],
      atMost: 0.3
    },
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
    "failsoft is each policy as made by default: counters and events on, no listener. No measured call meets a limit.",
    "Effect is its own `CircuitBreaker` and `RateLimiter` (token bucket) with stores in memory, `Semaphore.withPermits(1)`, `Effect.retry` with a schedule, `Cache`; in pipelines `Effect.retry`, `Semaphore` and `Effect.timeout` around its breaker.",
    "The rate limiter is GCRA unless the row says otherwise, and the retry has a budget.",
    "A hedge and a timeout are compared by what each adds to the bare call. The wait of the hedge follows what calls take, and is 5 s at least.",
    "Both caches hold for an hour as many values as there are keys, which are asked for in turn.",
    "The stages of a pipeline of failsoft are those of one `Policy`: the four that the others have, or all that `describe` lists, with a budget, around a call that says it is idempotent.",
    "Of the 10 and 10,000 fibers each makes several calls, one after another; a batch lasts longer there.",
    "Memory is `heapUsed` after forced collections. Its growth is the median of the slopes between any two samples.",
    "The clock of the limits whose memory is measured is a day old, and moves on so that a key is free when another needs its room.",
    "opossum has no retry, so it is in no pipeline; its own timeout is off, since the others have none in those rows.",
    "Nothing is written to a log: the fibers have no logger, but what would be logged is still decided."
  ]
}
