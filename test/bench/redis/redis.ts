/** What `pnpm bench redis` compares. */
import assert from "node:assert/strict"
import { performance } from "node:perf_hooks"
import { RedisServer } from "@failsoft/testing"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { type Bench, type Candidate, ours, type Row } from "../model.ts"
import { quantile } from "../statistics.ts"
import * as clients from "./clients.ts"
import { outage } from "./outage.ts"

interface RedisCandidate extends Candidate {
  readonly make: (setting: clients.Setting) => Promise<clients.Reads>
}

interface RedisRow extends Row {
  readonly inFlight: number
  readonly candidates: ReadonlyArray<RedisCandidate>
}

const live: ReadonlyArray<RedisCandidate> = [
  { name: "raw ioredis", isBaseline: true, make: clients.rawIoRedis },
  { name: "bare Effect", isBaseline: true, make: clients.bareEffect },
  { name: ours, make: clients.resilient },
  { name: "failsoft, no circuits", isBaseline: true, make: clients.effectRedis },
  { name: "Effect, node-redis", isBaseline: true, make: clients.nodeRedis },
  { name: "Effect's breaker, node-redis", make: clients.effectBreaker }
]

const rows: ReadonlyArray<RedisRow> = [
  {
    id: "get",
    title: "GET, 64 in flight",
    inFlight: 64,
    baseline: "bare Effect",
    candidates: live
  },
  {
    id: "get-alone",
    title: "GET, one after another",
    inFlight: 1,
    baseline: "bare Effect",
    candidates: live
  },
  {
    id: "get-away",
    title: "GET while Redis is away: the circuit is open, the value is held",
    inFlight: 64,
    baseline: "nothing",
    candidates: [
      { name: "nothing", isBaseline: true, make: clients.nothing },
      { name: ours, make: clients.away }
    ]
  }
]

const warmUpMillis = 1000
const batchMillis = 200
const batches = 9

const withReads = async <A>(
  candidate: RedisCandidate,
  use: (reads: clients.Reads) => Promise<A>
): Promise<A> => {
  const scope = Scope.makeUnsafe()
  try {
    const server = await Effect.runPromise(Scope.provide(RedisServer.make(), scope))
    return await use(await candidate.make({ server, scope }))
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

/** Every read must have found what was written: one that was answered in another way is none. */
const timed = async (reads: clients.Reads, calls: number, inFlight: number): Promise<number> => {
  const startedAt = performance.now()
  assert.equal(await reads(calls, inFlight), calls, "not every read found the value")
  return performance.now() - startedAt
}

const measure = async (reads: clients.Reads, inFlight: number): Promise<number> => {
  let calls = inFlight
  let millis = 0
  for (let spent = 0; spent < warmUpMillis || millis < batchMillis / 4; spent += millis) {
    if (millis < batchMillis) calls *= 2
    millis = await timed(reads, calls, inFlight)
  }
  const inBatch = Math.ceil((calls * batchMillis) / millis)
  const samples: Array<number> = []
  while (samples.length < batches) samples.push(((await timed(reads, inBatch, inFlight)) / inBatch) * 1e6)
  return quantile(samples, 0.25)
}

export const redis: Bench = {
  rows,
  targets: [
    { row: "get", text: "GET: a bare Effect over 0.9", against: ["bare Effect"], atMost: 1 / 0.9 },
    { row: "get", text: "GET: raw ioredis over 0.85", against: ["raw ioredis"], atMost: 1 / 0.85 },
    { row: "get-away", text: "a degraded GET: 1 µs, so 1 M/s", against: [], atMost: 1000 }
  ],
  notes: [
    "Each process has a redis-server of its own on the loopback interface; a batch lasts about 200 ms, and the lower quartile counts.",
    "raw ioredis and bare Effect use the client that failsoft made, with its settings, so they differ in nothing else.",
    "failsoft is `ResilientRedis` as made by default: two circuits, retry, held values, counters and events on, no logger.",
    "failsoft sends the commands of one turn of the event loop in one write to the socket, which ioredis by itself does not.",
    "An outage is measured in each round: the server is stopped (SIGSTOP) and goes on 4 to 5.2 s after the circuit has opened."
  ],
  verify: async () => {
    for (const row of rows) {
      for (const candidate of row.candidates) {
        await withReads(candidate, (reads) => timed(reads, 100, row.inFlight)).catch((error: unknown) => {
          throw new Error(`${row.id}/${candidate.name}: ${error instanceof Error ? error.message : error}`)
        })
      }
    }
  },
  sample: async (rowId, name) => {
    const row = rows.find(({ id }) => id === rowId)
    const candidate = row?.candidates.find((candidate) => candidate.name === name)
    assert(row && candidate, `there is no ${rowId}/${name}`)
    return await withReads(candidate, (reads) => measure(reads, row.inFlight))
  },
  facts: outage,
  factsTitle: "An outage"
}
