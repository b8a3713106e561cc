/**
 * A strict reader of Prometheus's text format 0.0.4: it throws at whatever a scraper may refuse or misunderstand.
 *
 * Source: "Exposition formats" in the Prometheus documentation.
 */

/** One line with a number. */
export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** A metric, and all of its samples. */
export interface Family {
  readonly name: string
  readonly help: string
  readonly type: "counter" | "gauge" | "histogram"
  readonly samples: ReadonlyArray<Sample>
}

const name = "[a-zA-Z_:][a-zA-Z0-9_:]*"
const label = "[a-zA-Z_][a-zA-Z0-9_]*"
const quoted = String.raw`"(?:[^"\\\n]|\\["\\n])*"`
const labels = new RegExp(`^(${label})=(${quoted})(?:,|$)`)
const sample = new RegExp(`^(${name})(?:\\{(.*)\\})? (\\S+)$`)
const number = /^(?:[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?)|[+-]Inf|NaN)$/

const fail = (line: string, why: string): never => {
  throw new Error(`${why}: ${line}`)
}

const unquote = (text: string): string =>
  text.slice(1, -1).replace(/\\(.)/g, (_, escaped) => (escaped === "n" ? "\n" : escaped))

const labelsOf = (line: string, text: string): Readonly<Record<string, string>> => {
  const found = new Map<string, string>()
  let rest = text
  while (rest !== "") {
    const [whole = fail(line, "no label"), key = "", value = ""] = labels.exec(rest) ?? []
    if (found.has(key) || key.startsWith("__")) fail(line, `the label ${key}`)
    if (whole.endsWith(",") && whole === rest) fail(line, "a comma too many")
    found.set(key, unquote(value))
    rest = rest.slice(whole.length)
  }
  return Object.fromEntries(found)
}

const numberOf = (line: string, text: string): number => {
  if (!number.test(text)) fail(line, "no number")
  return text.endsWith("Inf") ? Number(text.replace("Inf", "Infinity")) : Number(text)
}

const sampleOf = (line: string): Sample => {
  const [, found = fail(line, "no sample"), inBraces = "", value = ""] = sample.exec(line) ?? []
  return { name: found, labels: labelsOf(line, inBraces), value: numberOf(line, value) }
}

const identity = ({ labels, name }: Sample): string =>
  JSON.stringify([name, Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))])

/** The samples of one series of a histogram must agree with each other. */
const checkHistogram = ({ name, samples }: Family): void => {
  const series = new Map<string, Array<Sample>>()
  for (const one of samples) {
    const { le: _, ...rest } = one.labels
    const key = identity({ ...one, name, labels: rest })
    series.set(key, [...(series.get(key) ?? []), one])
  }
  for (const [key, all] of series) {
    const buckets = all.filter((one) => one.name === `${name}_bucket`)
    const ends = buckets.map(({ labels }) => numberOf(key, labels.le ?? ""))
    const [count, ...otherCounts] = all.filter((one) => one.name === `${name}_count`)
    const sums = all.filter((one) => one.name === `${name}_sum`)
    if (count === undefined || otherCounts.length > 0 || sums.length !== 1) fail(key, "no sum and count")
    if (all.length !== buckets.length + 2) fail(key, "other samples")
    if (ends.at(-1) !== Number.POSITIVE_INFINITY) fail(key, "no last bucket")
    if (ends.some((end, index) => index > 0 && !(end > (ends[index - 1] ?? end))))
      fail(key, "unsorted buckets")
    const counts = buckets.map(({ value }) => value)
    if (counts.some((one, index) => one < (counts[index - 1] ?? 0))) fail(key, "buckets that do not add up")
    if (counts.at(-1) !== count?.value) fail(key, "a count that is not that of the last bucket")
  }
}

const check = (family: Family, seen: Set<string>): void => {
  const { name, samples, type } = family
  const suffixes = type === "histogram" ? ["_bucket", "_sum", "_count"] : [""]
  for (const one of samples) {
    if (!suffixes.some((suffix) => one.name === name + suffix)) fail(one.name, `a sample within ${name}`)
    if (seen.has(identity(one))) fail(identity(one), "the same sample twice")
    seen.add(identity(one))
    if (type !== "gauge" && !(one.value >= 0)) fail(identity(one), "a count below 0")
  }
  if (samples.length === 0) fail(name, "no sample")
  if ((type === "counter") !== name.endsWith("_total"))
    fail(name, "a counter ends in _total, and nothing else does")
  if (/_total_total$|_seconds_seconds$/.test(name)) fail(name, "a unit twice")
  if (type === "histogram") checkHistogram(family)
}

/** Reads an answer. Every metric has its help and type, once, before its samples, which stand together. */
export const parse = (text: string): ReadonlyArray<Family> => {
  if (text !== "" && !text.endsWith("\n")) fail(text.slice(-40), "the last line does not end")
  const families: Array<Omit<Family, "samples"> & { readonly samples: Array<Sample> }> = []
  let help: readonly [name: string, text: string] | undefined
  for (const line of text.split("\n").slice(0, -1)) {
    const [, keyword, about = "", what = ""] = new RegExp(`^# (HELP|TYPE) (${name}) (.+)$`).exec(line) ?? []
    if (keyword === "HELP") {
      if (help !== undefined) fail(line, "help without a type before it")
      if (/\\(?![\\n])/.test(what)) fail(line, "an escape that is none")
      help = [about, what]
    } else if (keyword === "TYPE") {
      if (help?.[0] !== about) fail(line, "no help")
      if (families.some((family) => family.name === about)) fail(line, "the same metric twice")
      if (what !== "counter" && what !== "gauge" && what !== "histogram") return fail(line, "no type")
      families.push({ name: about, help: help?.[1] ?? "", type: what, samples: [] })
      help = undefined
    } else {
      if (help !== undefined) fail(line, "no type")
      const family = families.at(-1) ?? fail(line, "no metric")
      family.samples.push(sampleOf(line))
    }
  }
  const seen = new Set<string>()
  for (const family of families) check(family, seen)
  return families
}
