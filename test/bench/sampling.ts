/**
 * Measures a candidate of `pnpm bench core` in this process.
 *
 * It verifies all candidates first. Effect's interpreter is compiled for the steps that it has met: in a process that
 * never met more than one kind, a bare `suspend` takes two thirds of what it takes in an application, and every ratio
 * to it would come out too high.
 */
import assert from "node:assert/strict"
import { performance } from "node:perf_hooks"
import { cacheEntries, type Dependency, failuresToOpen, type Given } from "./calls.ts"
import type { CoreRow } from "./rows.ts"
import { quantile } from "./statistics.ts"
import type { Subject } from "./subject.ts"
import { verify } from "./verify.ts"

const warmUpMillis = 300
const batchMillis = 40
const batches = 9

/** No measured call has to wait, is rejected, or takes so long. */
const limits: Omit<Given, "dependency" | "answers"> = {
  attemptTimeoutMillis: 5000,
  deadlineMillis: 60_000,
  hedgeAfterMillis: 5000,
  bulkhead: 10_000,
  rate: { limit: 1_000_000, periodMillis: 10 }
}

/** Makes so many calls in the state that the row is about, checks what they came to, and tells how long they took. */
const runner = async (row: CoreRow, dependency: Dependency, subject: Subject) => {
  const { answeredBy, inFlight } = row
  if (answeredBy === "circuit") {
    dependency.failFirst = failuresToOpen
    await subject.caught(failuresToOpen)
  }
  if (answeredBy === "cache") await subject.plain(cacheEntries)
  const run = answeredBy === "circuit" ? subject.caught : (calls: number) => subject.plain(calls, inFlight)
  return async (calls: number): Promise<number> => {
    const before = dependency.calls
    const startedAt = performance.now()
    const succeeded = await run(calls)
    const millis = performance.now() - startedAt
    const expected = answeredBy === "circuit" ? 0 : calls
    const reached = answeredBy === "dependency" ? calls : 0
    assert.equal(succeeded, expected, `${succeeded} of ${calls} calls succeeded, not ${expected}`)
    assert.equal(dependency.calls - before, reached, "the calls did not reach the dependency as they should")
    return millis
  }
}

/**
 * Nanoseconds per call, timed in batches after batches that double until the code is warm.
 *
 * It is the lower quartile of the batches, since what else the machine does only ever makes a batch slower.
 */
const measure = async (run: (calls: number) => Promise<number>, atLeast: number): Promise<number> => {
  let calls = atLeast
  let millis = await run(calls)
  for (let spent = millis; spent < warmUpMillis || millis < batchMillis / 4; spent += millis) {
    if (millis < batchMillis) calls *= 2
    millis = await run(calls)
  }
  calls = Math.max(atLeast, Math.ceil((calls * batchMillis) / millis))
  const samples: Array<number> = []
  while (samples.length < batches) samples.push(((await run(calls)) / calls) * 1e6)
  return quantile(samples, 0.25)
}

/** Nanoseconds per call of one candidate. */
export const sample = async (rows: ReadonlyArray<CoreRow>, rowId: string, name: string): Promise<number> => {
  const row = rows.find(({ id }) => id === rowId)
  const candidate = row?.candidates.find((candidate) => candidate.name === name)
  assert(row && candidate, `there is no ${rowId}/${name}`)
  await verify(rows)
  const dependency: Dependency = { calls: 0, failFirst: 0 }
  const subject = await candidate.make({ ...limits, dependency, answers: row.answers })
  // Several calls for each loop, so that what it takes to start one is the least of it.
  return await measure(await runner(row, dependency, subject), row.inFlight === 1 ? 1 : 5 * row.inFlight)
}
