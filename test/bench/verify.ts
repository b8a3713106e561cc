/** Whether a candidate does what it is measured for. A fast guard that guards nothing is worth no number. */
import assert from "node:assert/strict"
import { setImmediate, setTimeout } from "node:timers/promises"
import {
  type Answers,
  attempts,
  budget,
  cacheEntries,
  type Dependency,
  failuresToOpen,
  type Given
} from "./calls.ts"
import type { CoreCandidate, CoreRow } from "./rows.ts"
import type { Subject } from "./subject.ts"

/** Rejects unless a candidate does some one thing. */
export type Proof = (candidate: CoreCandidate, row: CoreRow) => Promise<void>

const bulkhead = 2

const rateLimit = 2

/** Limits that a call meets only where a proof is about them. */
const generous: Omit<Given, "dependency" | "answers"> = {
  attemptTimeoutMillis: 5000,
  deadlineMillis: 60_000,
  hedgeAfterMillis: 5000,
  bulkhead,
  rate: { limit: 1_000_000, periodMillis: 1000 }
}

/** Guards a call to a dependency that fails the first so many. */
const start = async (
  candidate: CoreCandidate,
  answers: Answers,
  {
    failFirst = 0,
    held,
    ...limits
  }: Partial<typeof generous> & { readonly failFirst?: number; readonly held?: Promise<void> } = {}
): Promise<{ readonly dependency: Dependency; readonly subject: Subject }> => {
  const dependency: Dependency = { calls: 0, failFirst, ...(held && { held }) }
  return { dependency, subject: await candidate.make({ ...generous, ...limits, dependency, answers }) }
}

/** Lets the calls of a dependency go on that answers once it is let. */
const gate = () => {
  let open = () => {}
  const held = new Promise<void>((resolve) => {
    open = resolve
  })
  return { held, open: () => open() }
}

export const yieldsTheValue: Proof = async (candidate, { answers }) => {
  const { dependency, subject } = await start(candidate, answers)
  assert.equal(await subject.plain(3), 3, "a successful call does not yield its value")
  assert.equal(dependency.calls, 3, "a successful call is not made exactly once")
}

export const opensAndRejects: Proof = async (candidate, { answers }) => {
  const { dependency, subject } = await start(candidate, answers, { failFirst: failuresToOpen })
  assert.equal(await subject.caught(failuresToOpen), 0, "a failing call succeeds")
  assert.equal(dependency.calls, failuresToOpen, `${failuresToOpen} failures do not reach the dependency`)
  assert.equal(await subject.caught(3), 0, "an open circuit does not reject")
  assert.equal(dependency.calls, failuresToOpen, "an open circuit calls the dependency")
}

export const triesAgain: Proof = async (candidate, { answers }) => {
  const { dependency, subject } = await start(candidate, answers, { failFirst: attempts - 1 })
  assert.equal(await subject.plain(1), 1, "a call that fails once is not tried again")
  assert.equal(dependency.calls, attempts, `${attempts} attempts are not ${attempts} calls`)
}

/** A success lies between the failures, so that no circuit opens. */
export const spendsItsBudget: Proof = async (candidate, { answers }) => {
  const paid = attempts * budget
  const { dependency, subject } = await start(candidate, answers, { failFirst: paid })
  assert.equal(await subject.caught(budget), 0, "a failing call succeeds")
  assert.equal(dependency.calls, paid, "a budget does not pay for what it holds")
  assert.equal(await subject.plain(1), 1, "a successful call does not yield its value")
  dependency.failFirst = dependency.calls + 1
  assert.equal(await subject.caught(1), 0, "a budget that is spent pays for a retry")
  assert.equal(dependency.calls, paid + 2, "a budget that is spent pays for a retry")
}

const givesUpWaiting =
  (calls: number): Proof =>
  async (candidate) => {
    const { dependency, subject } = await start(candidate, "never", { attemptTimeoutMillis: 5 })
    assert.equal(await subject.caught(1), 0, "a call that never ends succeeds")
    assert.equal(dependency.calls, calls, `a call that never ends is not given up after ${calls} attempts`)
  }

export const endsAttempts = givesUpWaiting(attempts)

export const endsCalls = givesUpWaiting(1)

export const keepsItsDeadline: Proof = async (candidate) => {
  const { dependency, subject } = await start(candidate, "never", { deadlineMillis: 5 })
  assert.equal(await subject.caught(1), 0, "a call that never ends succeeds")
  assert.equal(dependency.calls, 1, "a call is tried again after its deadline")
}

export const holdsBack: Proof = async (candidate) => {
  const { held, open } = gate()
  const { dependency, subject } = await start(candidate, "held", { held })
  const calls = subject.plain(bulkhead + 1, bulkhead + 1)
  for (let turn = 0; turn < 5; turn++) await setImmediate()
  const atOnce = dependency.calls
  open()
  assert.equal(await calls, bulkhead + 1, "a call that waits for a permit does not succeed")
  assert.equal(atOnce, bulkhead, `a bulkhead of ${bulkhead} let ${atOnce} calls through at once`)
}

export const limitsTheRate: Proof = async (candidate, { answers }) => {
  const rate = { limit: rateLimit, periodMillis: 3_600_000 }
  const { dependency, subject } = await start(candidate, answers, { rate })
  assert.equal(await subject.caught(rateLimit + 1), rateLimit, `not ${rateLimit} calls are within the limit`)
  assert.equal(dependency.calls, rateLimit, "a call that is over the limit reaches the dependency")
}

export const hedges: Proof = async (candidate) => {
  const { held, open } = gate()
  const { dependency, subject } = await start(candidate, "held", { held, hedgeAfterMillis: 2 })
  const call = subject.plain(1)
  for (let wait = 0; wait < 500 && dependency.calls < 2; wait++) await setTimeout(2)
  open()
  assert.equal(await call, 1, "a hedged call does not yield its value")
  assert.equal(dependency.calls, 2, "a call that takes long is not hedged once")
}

/** Asks for one key after another, twice. */
export const asksOnce: Proof = async (candidate, { answers }) => {
  const { dependency, subject } = await start(candidate, answers)
  assert.equal(await subject.plain(2 * cacheEntries), 2 * cacheEntries, "a value is not what was looked up")
  assert.equal(dependency.calls, cacheEntries, "not every key is looked up exactly once")
}

const verifyCandidate = async (candidate: CoreCandidate, row: CoreRow): Promise<void> => {
  for (const prove of [...row.proofs, ...(candidate.proofs ?? [])]) {
    try {
      await prove(candidate, row)
    } catch (error) {
      const told = error instanceof Error ? error.message : String(error)
      throw new Error(`${row.id}/${candidate.name}: ${told.trim().replaceAll(/\n+/g, ": ")}`)
    }
  }
}

/**
 * Rejects, naming the candidate, unless each guard comes to the outcomes that its row is about. They are verified side by side,
 * since most of it is waiting.
 */
export const verify = async (rows: ReadonlyArray<CoreRow>): Promise<void> => {
  const guards = rows.flatMap((row) =>
    row.candidates.filter(({ isBaseline }) => !isBaseline).map((candidate) => ({ candidate, row }))
  )
  await Promise.all(guards.map(({ candidate, row }) => verifyCandidate(candidate, row)))
}
