/** Whether a candidate does what it is measured for. A fast guard that guards nothing is worth no number. */
import assert from "node:assert/strict"
import { setImmediate } from "node:timers/promises"
import { type Answers, attempts, type Dependency, failuresToOpen } from "./calls.ts"
import type { CoreCandidate, CoreRow } from "./core.ts"
import type { Subject } from "./subject.ts"

const bulkhead = 2

/** Guards a call to a dependency that fails the first so many. */
const start = async (
  candidate: CoreCandidate,
  answers: Answers,
  failFirst = 0,
  attemptTimeoutMillis = 5000,
  held?: Promise<void>
): Promise<{ readonly dependency: Dependency; readonly subject: Subject }> => {
  const dependency: Dependency = { calls: 0, failFirst, ...(held && { held }) }
  return {
    dependency,
    subject: await candidate.make({ dependency, answers, attemptTimeoutMillis, bulkhead })
  }
}

const yieldsTheValue = async (candidate: CoreCandidate, { answers }: CoreRow) => {
  const { dependency, subject } = await start(candidate, answers)
  assert.equal(await subject.plain(3), 3, "a successful call does not yield its value")
  assert.equal(dependency.calls, 3, "a successful call is not made exactly once")
}

const opensAndRejects = async (candidate: CoreCandidate, { answers }: CoreRow) => {
  const { dependency, subject } = await start(candidate, answers, failuresToOpen)
  assert.equal(await subject.caught(failuresToOpen), 0, "a failing call succeeds")
  assert.equal(dependency.calls, failuresToOpen, `${failuresToOpen} failures do not reach the dependency`)
  assert.equal(await subject.caught(3), 0, "an open circuit does not reject")
  assert.equal(dependency.calls, failuresToOpen, "an open circuit calls the dependency")
}

const triesAgain = async (candidate: CoreCandidate, { answers }: CoreRow) => {
  const { dependency, subject } = await start(candidate, answers, attempts - 1)
  assert.equal(await subject.plain(1), 1, "a call that fails once is not tried again")
  assert.equal(dependency.calls, attempts, `${attempts} attempts are not ${attempts} calls`)
}

const givesUpWaiting = async (candidate: CoreCandidate) => {
  const { dependency, subject } = await start(candidate, "never", 0, 5)
  assert.equal(await subject.caught(1), 0, "a call that never ends succeeds")
  assert.equal(dependency.calls, attempts, "a call that never ends is not given up and tried again")
}

const holdsBack = async (candidate: CoreCandidate) => {
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const { dependency, subject } = await start(candidate, "held", 0, 5000, held)
  const calls = subject.plain(bulkhead + 1, bulkhead + 1)
  for (let turn = 0; turn < 5; turn++) await setImmediate()
  const atOnce = dependency.calls
  release()
  assert.equal(await calls, bulkhead + 1, "a call that waits for a permit does not succeed")
  assert.equal(atOnce, bulkhead, `a bulkhead of ${bulkhead} let ${atOnce} calls through at once`)
}

const verifyCandidate = async (candidate: CoreCandidate, row: CoreRow): Promise<void> => {
  const checks = [
    yieldsTheValue,
    opensAndRejects,
    ...(row.isPipeline ? [triesAgain, givesUpWaiting, holdsBack] : [])
  ]
  for (const check of checks) {
    try {
      await check(candidate, row)
    } catch (error) {
      const told = error instanceof Error ? error.message : String(error)
      throw new Error(`${row.id}/${candidate.name}: ${told.trim().replaceAll(/\n+/g, ": ")}`)
    }
  }
}

/** Rejects, naming the candidate, unless each guard comes to the outcomes that every guard of its row must come to. */
export const verify = async (rows: ReadonlyArray<CoreRow>): Promise<void> => {
  for (const row of rows) {
    for (const candidate of row.candidates) {
      if (!candidate.isBaseline) await verifyCandidate(candidate, row)
    }
  }
}
