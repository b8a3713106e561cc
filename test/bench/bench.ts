/** `pnpm bench <name>`: measures what the policies cost, beside what else there is. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import { parseArgs } from "node:util"
import { benches } from "./benches.ts"
import { load, machine } from "./machine.ts"
import type { Bench, Row } from "./model.ts"
import { jsonOf, reportOf, textOf } from "./report.ts"
import { facts, measure } from "./rounds.ts"

const usage = `usage: pnpm bench <name> [--json] [--save] [--rounds <number>] [--only <substring>]

  <name>    ${Object.keys(benches).join(", ")}
  --json    print the report as JSON
  --save    write the report to test/bench/reports; not with --only
  --rounds  processes for each candidate, 1 to 100 (default 7)
  --only    measure only candidates whose <row>/<name>, and facts whose title, contains this`

/** Something that whoever typed the command can put right. */
class Misuse extends Error {}

const parse = () => {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: "boolean", default: false },
        save: { type: "boolean", default: false },
        rounds: { type: "string", default: "7" },
        only: { type: "string", default: "" }
      }
    })
  } catch (error) {
    throw new Misuse(error instanceof Error ? error.message : String(error))
  }
}

const benchOf = (names: ReadonlyArray<string>): readonly [string, Bench] => {
  const [name = ""] = names
  const bench = benches[name]
  if (bench === undefined || names.length > 1) {
    throw new Misuse(names.length === 0 ? "which bench?" : `there is no bench "${names.join(" ")}"`)
  }
  return [name, bench]
}

const roundsOf = (text: string): number => {
  const rounds = Number(text)
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100) {
    throw new Misuse(`--rounds is ${JSON.stringify(text)}, not a whole number from 1 to 100`)
  }
  return rounds
}

const selectFacts = ({ facts, factsTitle = "" }: Bench, only: string): boolean =>
  facts !== undefined && factsTitle.toLowerCase().includes(only.toLowerCase())

const select = (bench: Bench, only: string): ReadonlyArray<Row> => {
  const { factsTitle, rows } = bench
  const names = (row: Row) => row.candidates.map(({ name }) => `${row.id}/${name}`)
  const selected = rows
    .map((row) => ({
      ...row,
      candidates: row.candidates.filter(({ name }) => `${row.id}/${name}`.includes(only))
    }))
    .filter(({ candidates }) => candidates.length > 0)
  if (selected.length === 0 && !selectFacts(bench, only)) {
    const all = [...rows.flatMap(names), ...(factsTitle === undefined ? [] : [factsTitle])]
    throw new Misuse(`--only ${JSON.stringify(only)} matches none of: ${all.join(", ")}`)
  }
  return selected
}

const main = async () => {
  const { positionals, values } = parse()
  const [name, bench] = benchOf(positionals)
  const rounds = roundsOf(values.rounds)
  const rows = select(bench, values.only)
  if (values.save && values.only !== "") throw new Misuse("--save takes the whole bench: leave out --only")

  // Progress goes to stderr, so that stdout holds the report alone.
  const tell = (line: string) => void process.stderr.write(`${line}\n`)
  const loadBefore = load()
  const startedAt = performance.now()
  tell("verifying that all candidates come to the same outcomes")
  await bench.verify()
  const measured = await measure(name, rows, rounds, (round) => tell(`round ${round} of ${rounds}`))
  const known = selectFacts(bench, values.only) ? await facts(name, rounds) : []

  const seconds = Math.round((performance.now() - startedAt) / 1000)
  const report = reportOf(name, bench, measured, known, {
    ...machine(),
    rounds,
    seconds,
    loadBefore,
    loadAfter: load()
  })
  const text = textOf(report)
  const json = jsonOf(report)
  if (values.save) {
    const folder = join(import.meta.dirname, "reports")
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, `${name}.md`), `${text}\n`)
    writeFileSync(join(folder, `${name}.json`), `${json}\n`)
  }
  process.stdout.write(`${values.json ? json : text}\n`)
}

try {
  await main()
} catch (error) {
  const message = error instanceof Error ? error.message : String(error)
  process.stderr.write(error instanceof Misuse ? `${message}\n\n${usage}\n` : `bench aborted: ${message}\n`)
  process.exitCode = 1
}
