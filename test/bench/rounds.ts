/**
 * Rounds of measurements, each of a candidate in a process of its own.
 *
 * A process settles on one way to compile and lay out what it runs, so several processes tell more than one that runs
 * longer. Rounds are interleaved, and each begins with another candidate, so that a machine that grows slower or
 * warmer does so to all of them.
 */
import { execFile } from "node:child_process"
import { join } from "node:path"
import { promisify } from "node:util"
import type { Candidate, Fact, Row } from "./model.ts"

/** What was measured for one candidate: nanoseconds per call, one number for each round. */
export interface Measured {
  readonly candidate: Candidate
  readonly nanos: Array<number>
}

/** A row with what was measured for its candidates. */
export interface MeasuredRow {
  readonly row: Row
  readonly measured: ReadonlyArray<Measured>
}

const run = promisify(execFile)

const sample = async (...words: ReadonlyArray<string>): Promise<string> => {
  try {
    return (await run(process.execPath, [join(import.meta.dirname, "sample.ts"), ...words])).stdout
  } catch (error) {
    const told = error instanceof Error && "stderr" in error ? error.stderr : error
    throw new Error(`${words.join("/")} could not be measured\n${told}`)
  }
}

/** Measures the candidates of each row, round by round. `onRound` is told before each. */
export const measure = async (
  bench: string,
  rows: ReadonlyArray<Row>,
  rounds: number,
  onRound: (round: number) => void
): Promise<ReadonlyArray<MeasuredRow>> => {
  const results = rows.map((row) => ({
    row,
    measured: row.candidates.map((candidate): Measured => ({ candidate, nanos: [] }))
  }))
  for (let round = 0; round < rounds; round++) {
    onRound(round + 1)
    for (const { measured, row } of results) {
      const first = round % measured.length
      for (const { candidate, nanos } of [...measured.slice(first), ...measured.slice(0, first)]) {
        nanos.push(Number(await sample(bench, row.id, candidate.name)))
      }
    }
  }
  return results
}

/** The facts of a bench, once for each round. */
export const facts = async (bench: string, rounds: number): Promise<ReadonlyArray<ReadonlyArray<Fact>>> => {
  const results: Array<ReadonlyArray<Fact>> = []
  while (results.length < rounds) results.push(JSON.parse(await sample(bench)))
  return results
}
