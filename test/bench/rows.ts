/** The rows of `pnpm bench core`. */
import type { Answers, Given } from "./calls.ts"
import * as bare from "./candidates/bare.ts"
import * as cockatiel from "./candidates/cockatiel.ts"
import * as effect from "./candidates/effect.ts"
import * as failsoft from "./candidates/failsoft.ts"
import * as opossum from "./candidates/opossum.ts"
import { type Candidate, ours, type Row } from "./model.ts"
import type { Subject } from "./subject.ts"
import * as verify from "./verify.ts"

/** One way to make the call of a row. */
export interface CoreCandidate extends Candidate {
  /** Guards a call anew. */
  readonly make: (given: Given) => Subject | Promise<Subject>
  /** That it does what not every guard of its row does. */
  readonly proofs?: ReadonlyArray<verify.Proof>
}

/** Candidates that guard the same call. */
export interface CoreRow extends Row {
  /** What becomes of a measured call: the dependency answers it, a circuit rejects it, or a cache has the answer. */
  readonly answeredBy: "dependency" | "circuit" | "cache"
  readonly answers: Answers
  /** Calls that are made at once. */
  readonly inFlight: number
  /** That a guard does what the row is about. */
  readonly proofs: ReadonlyArray<verify.Proof>
  readonly candidates: ReadonlyArray<CoreCandidate>
}

/** The form of failsoft that has every stage. */
export const allStages = "failsoft 8 stages"

const bareEffect = (name: string): CoreCandidate => ({ name, isBaseline: true, make: bare.effect })

const barePromise: CoreCandidate = { name: "bare promise", isBaseline: true, make: bare.promise }

const breakers: ReadonlyArray<CoreCandidate> = [
  { name: ours, make: failsoft.breaker },
  { name: "Effect", make: effect.breaker },
  { name: "cockatiel", make: cockatiel.breaker },
  { name: "opossum", make: opossum.breaker }
]

const provesABreaker = [verify.yieldsTheValue, verify.opensAndRejects]

const pipelines: ReadonlyArray<CoreCandidate> = [
  { name: ours, make: failsoft.pipeline },
  {
    name: allStages,
    isOurs: true,
    make: failsoft.allStages,
    proofs: [verify.keepsItsDeadline, verify.spendsItsBudget, verify.hedges, verify.limitsTheRate]
  },
  { name: "Effect", make: effect.pipeline },
  { name: "cockatiel", make: cockatiel.pipeline }
]

const provesAPipeline = [...provesABreaker, verify.triesAgain, verify.endsAttempts, verify.holdsBack]

const hedges: ReadonlyArray<CoreCandidate> = [
  { name: ours, make: failsoft.hedge, proofs: [verify.hedges] },
  { name: "Effect.timeout", make: effect.timeout, proofs: [verify.endsCalls] }
]

const breakerRows: ReadonlyArray<CoreRow> = [
  {
    id: "closed",
    title: "A call through a closed breaker that succeeds at once",
    answeredBy: "dependency",
    answers: "at once",
    inFlight: 1,
    proofs: provesABreaker,
    baseline: "bare suspend",
    candidates: [bareEffect("bare suspend"), ...breakers, barePromise]
  },
  {
    id: "closed-window",
    title: "A call through a closed breaker with a time window that succeeds at once",
    answeredBy: "dependency",
    answers: "at once",
    inFlight: 1,
    proofs: provesABreaker,
    baseline: "bare suspend",
    candidates: [bareEffect("bare suspend"), { name: ours, make: failsoft.windowed }]
  },
  {
    id: "rejected",
    title: "A call that an open breaker rejects",
    answeredBy: "circuit",
    answers: "at once",
    inFlight: 1,
    proofs: provesABreaker,
    baseline: "bare fail",
    candidates: [
      { name: "bare fail", isBaseline: true, make: bare.failingEffect },
      ...breakers,
      { name: "bare reject", isBaseline: true, make: bare.failingPromise }
    ]
  }
]

const policyRows: ReadonlyArray<CoreRow> = [
  {
    id: "bulkhead",
    title: "A call that finds a permit free and succeeds at once",
    answeredBy: "dependency",
    answers: "at once",
    inFlight: 1,
    proofs: [verify.yieldsTheValue, verify.holdsBack],
    baseline: "bare suspend",
    candidates: [
      bareEffect("bare suspend"),
      { name: ours, make: failsoft.bulkhead },
      { name: "Effect", make: effect.semaphore },
      { name: "cockatiel", make: cockatiel.permit }
    ]
  },
  {
    id: "rate-limiter",
    title: "A call within a rate limit that succeeds at once",
    answeredBy: "dependency",
    answers: "at once",
    inFlight: 1,
    proofs: [verify.yieldsTheValue, verify.limitsTheRate],
    baseline: "bare suspend",
    candidates: [
      bareEffect("bare suspend"),
      { name: ours, make: failsoft.rateLimiter },
      { name: "failsoft sliding window", isOurs: true, make: failsoft.slidingWindow },
      { name: "failsoft fixed window", isOurs: true, make: failsoft.fixedWindow },
      { name: "Effect", make: effect.rateLimiter }
    ]
  },
  {
    id: "retry",
    title: "A call through a retry that succeeds at once, the first time",
    answeredBy: "dependency",
    answers: "at once",
    inFlight: 1,
    proofs: [verify.yieldsTheValue, verify.triesAgain],
    baseline: "bare suspend",
    candidates: [
      bareEffect("bare suspend"),
      { name: ours, make: failsoft.retry, proofs: [verify.spendsItsBudget] },
      { name: "Effect", make: effect.retry },
      { name: "cockatiel", make: cockatiel.again }
    ]
  },
  {
    id: "hedge",
    title: "A call with a hedge that succeeds at once",
    answeredBy: "dependency",
    answers: "at once",
    inFlight: 1,
    proofs: [verify.yieldsTheValue],
    baseline: "bare suspend",
    candidates: [bareEffect("bare suspend"), ...hedges]
  },
  {
    id: "hedge-later",
    title:
      "A call with a hedge that suspends (`setImmediate`), and not so long that there is a second attempt",
    answeredBy: "dependency",
    answers: "later",
    inFlight: 1,
    proofs: [verify.yieldsTheValue],
    baseline: "bare callback",
    candidates: [bareEffect("bare callback"), ...hedges]
  },
  {
    id: "cache",
    title: "A hit in a cache of 1,000 entries, one key after another",
    answeredBy: "cache",
    answers: "at once",
    inFlight: 1,
    proofs: [verify.asksOnce],
    baseline: "bare suspend",
    candidates: [
      { name: "bare suspend", isBaseline: true, make: bare.value },
      { name: ours, make: failsoft.staleCache },
      { name: "Effect", make: effect.cache }
    ]
  }
]

const pipelineRows: ReadonlyArray<CoreRow> = [
  {
    id: "pipeline",
    title: "Retry, bulkhead, breaker and attempt timeout around a call that succeeds at once",
    answeredBy: "dependency",
    answers: "at once",
    inFlight: 1,
    proofs: provesAPipeline,
    baseline: "bare suspend",
    candidates: [bareEffect("bare suspend"), ...pipelines, barePromise]
  },
  {
    id: "pipeline-later",
    title: "Retry, bulkhead, breaker and attempt timeout around a call that suspends (`setImmediate`)",
    answeredBy: "dependency",
    answers: "later",
    inFlight: 1,
    proofs: provesAPipeline,
    baseline: "bare callback",
    candidates: [bareEffect("bare callback"), ...pipelines, barePromise]
  },
  ...[10, 10_000].map(
    (inFlight): CoreRow => ({
      id: `fibers-${inFlight}`,
      title: `The same, made by ${inFlight} fibers at once`,
      answeredBy: "dependency",
      answers: "later",
      inFlight,
      proofs: provesAPipeline,
      baseline: "bare callback",
      candidates: [bareEffect("bare callback"), { name: ours, make: failsoft.pipeline }]
    })
  )
]

export const rows: ReadonlyArray<CoreRow> = [...breakerRows, ...policyRows, ...pipelineRows]
