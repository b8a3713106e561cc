/** What the measurements come to, as data and as text for people. */
import type { machine } from "./machine.ts"
import { type Bench, type Fact, ours, type Target } from "./model.ts"
import type { MeasuredRow } from "./rounds.ts"
import { median } from "./statistics.ts"

/** How and where the measurements were taken. */
export interface Circumstances extends ReturnType<typeof machine> {
  readonly rounds: number
  readonly seconds: number
  readonly loadBefore: number
  readonly loadAfter: number
}

/** The results of a bench, as `--json` prints them. */
export interface Report {
  readonly bench: string
  readonly circumstances: Circumstances
  readonly rows: ReadonlyArray<{
    readonly id: string
    readonly title: string
    readonly candidates: ReadonlyArray<CandidateResult>
  }>
  readonly factsTitle: string
  readonly facts: ReadonlyArray<FactResult>
  readonly targets: ReadonlyArray<TargetResult>
  readonly notes: ReadonlyArray<string>
}

/** Nanoseconds per call. Ratios are of medians, and missing where the other side was not measured. */
interface CandidateResult {
  readonly name: string
  readonly median: number
  readonly min: number
  readonly max: number
  /** This candidate over the baseline of the row. */
  readonly overBare: number | undefined
  /** failsoft over this candidate. */
  readonly oursOverThis: number | undefined
  readonly rounds: ReadonlyArray<number>
}

/** No round may come to more than the limit. */
interface FactResult {
  readonly text: string
  readonly unit: Fact["unit"]
  readonly atMost: number
  readonly median: number
  readonly min: number
  readonly max: number
}

interface TargetResult {
  readonly text: string
  /** A multiple, or nanoseconds. */
  readonly unit: "times" | "ns"
  readonly atMost: number
  readonly measured: number
  readonly isMet: boolean
}

const rowResult = ({ measured, row }: MeasuredRow): Report["rows"][number] => {
  const medianOf = (name: string) => {
    const found = measured.find(({ candidate }) => candidate.name === name)
    return found && median(found.nanos)
  }
  const bare = medianOf(row.baseline)
  const own = medianOf(ours)
  const candidates = measured.map(({ candidate: { isBaseline, isOurs, name }, nanos }): CandidateResult => {
    const middle = median(nanos)
    const isPeer = name !== ours && !isBaseline && !isOurs
    return {
      name,
      median: middle,
      min: Math.min(...nanos),
      max: Math.max(...nanos),
      overBare: bare && middle / bare,
      oursOverThis: isPeer && own !== undefined ? own / middle : undefined,
      rounds: nanos
    }
  })
  return { id: row.id, title: row.title, candidates }
}

/** How many times the baseline of a row failsoft costs there. */
const overBareIn = (rows: Report["rows"], row: string): number =>
  rows.find(({ id }) => id === row)?.candidates.find(({ name }) => name === ours)?.overBare ?? Number.NaN

/** What the baseline of its row costs. */
const bareOf = ({ median, overBare }: CandidateResult): number | undefined => overBare && median / overBare

const targetResult = (
  rows: Report["rows"],
  { against, atMost, candidate = ours, growsFrom, isBeyondBaseline, row, text }: Target
): ReadonlyArray<TargetResult> => {
  if (growsFrom !== undefined) {
    const measured = overBareIn(rows, row) / overBareIn(rows, growsFrom)
    return Number.isNaN(measured)
      ? []
      : [{ text, unit: "times", atMost, measured, isMet: measured <= atMost }]
  }
  const candidates = rows.find(({ id }) => id === row)?.candidates ?? []
  const own = candidates.find(({ name }) => name === candidate)
  const others = candidates.filter(({ name }) => against.includes(name))
  if (own === undefined || others.length < against.length) return []
  if (against.length === 0) {
    return [{ text, unit: "ns", atMost, measured: own.median, isMet: own.median <= atMost }]
  }
  const bare = isBeyondBaseline ? bareOf(own) : 0
  if (bare === undefined) return []
  const measured = (own.median - bare) / (Math.min(...others.map(({ median }) => median)) - bare)
  return [{ text, unit: "times", atMost, measured, isMet: measured <= atMost }]
}

const factResults = (rounds: ReadonlyArray<ReadonlyArray<Fact>>): ReadonlyArray<FactResult> =>
  (rounds[0] ?? []).map(({ atMost, text, unit }, index) => {
    const values = rounds.map((facts) => facts[index]?.value ?? Number.NaN)
    return { text, unit, atMost, median: median(values), min: Math.min(...values), max: Math.max(...values) }
  })

/** Puts the measurements together. Targets of which a part was not measured are left out. */
export const reportOf = (
  name: string,
  { factsTitle = "", notes, targets }: Bench,
  measured: ReadonlyArray<MeasuredRow>,
  facts: ReadonlyArray<ReadonlyArray<Fact>>,
  circumstances: Circumstances
): Report => {
  const rows = measured.map(rowResult)
  return {
    bench: name,
    circumstances,
    rows,
    factsTitle,
    facts: factResults(facts),
    targets: targets.flatMap((target) => targetResult(rows, target)),
    notes
  }
}

const nanos = (value: number): string => value.toFixed(value < 100 ? 1 : 0)

const times = (ratio: number | undefined): string =>
  ratio === undefined ? "" : `${ratio.toFixed(ratio < 10 ? (ratio < 1 ? 3 : 2) : 1)} ×`

/** A Markdown table that also reads well as plain text: the first column to the left, the others to the right. */
const table = (lines: readonly [ReadonlyArray<string>, ...ReadonlyArray<ReadonlyArray<string>>]): string => {
  const widths = lines[0].map((_, column) => Math.max(...lines.map((cells) => cells[column]?.length ?? 0)))
  const rule = widths.map((width, column) => (column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`))
  const pad = (cells: ReadonlyArray<string>) =>
    widths.map((width, column) =>
      column === 0 ? (cells[column] ?? "").padEnd(width) : (cells[column] ?? "").padStart(width)
    )
  const [head, ...body] = lines
  return [pad(head), rule, ...body.map(pad)].map((cells) => `| ${cells.join(" | ")} |`).join("\n")
}

const rowText = ({ candidates, id, title }: Report["rows"][number]): string =>
  `## ${title} (\`${id}\`)\n\n${table([
    ["ns per call", "median", "min", "max", "to bare", `${ours} to it`],
    ...candidates.map((candidate) => [
      candidate.name,
      nanos(candidate.median),
      nanos(candidate.min),
      nanos(candidate.max),
      times(candidate.overBare),
      times(candidate.oursOverThis)
    ])
  ])}`

const targetsText = (targets: ReadonlyArray<TargetResult>): string =>
  `## Targets\n\n${table([
    [`${ours} costs at most`, "target", "measured", ""],
    ...targets.map(({ atMost, isMet, measured, text, unit }) => [
      text,
      unit === "ns" ? `${nanos(atMost)} ns` : times(atMost),
      unit === "ns" ? `${nanos(measured)} ns` : times(measured),
      isMet ? "met" : "missed"
    ])
  ])}`

const factsText = (title: string, facts: ReadonlyArray<FactResult>): string =>
  `## ${title}\n\n${table([
    ["", "unit", "at most", "median", "min", "max", ""],
    ...facts.map(({ atMost, max, median, min, text, unit }) => [
      text,
      unit,
      String(atMost),
      ...[median, min, max].map((millis) => millis.toFixed(millis < 10 ? 3 : 0)),
      max <= atMost ? "met" : "missed"
    ])
  ])}`

const circumstancesText = (given: Circumstances): string => {
  const packages = Object.entries(given.packages).map(([name, version]) => `${name} ${version}`)
  return [
    `${given.date}, ${given.rounds} processes for each candidate, interleaved; ${given.seconds} s in all.`,
    `${given.cpu}, ${given.cores} cores, ${given.memoryGiB} GiB, ${given.system}; Node ${given.node} (V8 ${given.v8}).`,
    `${packages.join(", ")}.`,
    `Load average ${given.loadBefore.toFixed(2)} before and ${given.loadAfter.toFixed(2)} after; 1.00 is this benchmark.`
  ].join("\n")
}

/** The report for programs, in JSON. Digits that are noise are left out, and the rounds of a candidate stay on a line. */
export const jsonOf = (report: Report): string =>
  JSON.stringify(
    report,
    (_, value: unknown) => (typeof value === "number" ? Number(value.toPrecision(6)) : value),
    2
  ).replaceAll(/\[[\d.,\s]+\]/g, (numbers) =>
    numbers.replaceAll(/\s+/g, " ").replace("[ ", "[").replace(" ]", "]")
  )

/** The report for people, in Markdown. */
export const textOf = ({ bench, circumstances, facts, factsTitle, notes, rows, targets }: Report): string =>
  [
    `# pnpm bench ${bench}`,
    circumstancesText(circumstances),
    ...rows.map(rowText),
    ...(facts.length === 0 ? [] : [factsText(factsTitle, facts)]),
    ...(targets.length === 0 ? [] : [targetsText(targets)]),
    `## Notes\n\n${notes.map((note) => `- ${note}`).join("\n")}`
  ].join("\n\n")
