/**
 * One measurement in a process of its own: `node sample.ts <bench> <row> <candidate>` prints nanoseconds per call,
 * `node sample.ts <bench>` the bench's facts as JSON.
 */
import assert from "node:assert/strict"
import { benches } from "./benches.ts"

const [name = "", row, candidate] = process.argv.slice(2)
const bench = benches[name]
assert(bench, `there is no bench ${name}`)
process.stdout.write(
  row === undefined || candidate === undefined
    ? JSON.stringify((await bench.facts?.()) ?? [])
    : (await bench.sample(row, candidate)).toFixed(2)
)
