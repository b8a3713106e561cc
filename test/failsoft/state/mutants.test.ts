import { readFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { playHistories, type Rules, WrongHistory } from "./circuitHistories.ts"

const modules = ["Window", "Trip", "Ramp", "Circuit"] as const

type Module = (typeof modules)[number]

const sources = Object.fromEntries(
  modules.map((name) => [
    name,
    readFileSync(join(import.meta.dirname, `../../../packages/failsoft/src/state/${name}.ts`), "utf8")
  ])
) as Record<Module, string>

/** Loads the rules from text; each module is imported by those after it. */
const load = (texts: Record<Module, string>): Promise<Rules> => {
  const urls = new Map<string, string>()
  for (const name of modules) {
    const code = stripTypeScriptTypes(texts[name]).replaceAll(
      /from "\.\/(\w+)\.ts"/g,
      (_, imported: string) => `from "${urls.get(imported)}"`
    )
    urls.set(name, `data:text/javascript,${encodeURIComponent(code)}`)
  }
  return import(/* @vite-ignore */ `${urls.get("Circuit")}`)
}

/** A planted bug: the text that it takes the place of, and what it puts there. */
interface Mutant {
  /** Where it is planted. Default: `Circuit`. */
  readonly in?: Module
  readonly bug: string
  readonly replace: string
  readonly by: string
}

const mutants: ReadonlyArray<Mutant> = [
  {
    bug: "the generation check is dropped",
    replace: "if (permit.generation !== circuit.generation) return [undefined, circuit]",
    by: ""
  },
  {
    bug: "a stale success is settled",
    replace: "if (permit.generation !== circuit.generation)",
    by: `if (permit.generation !== circuit.generation && outcome._tag !== "Success")`
  },
  {
    bug: "a stale failure is settled",
    replace: "if (permit.generation !== circuit.generation)",
    by: `if (permit.generation !== circuit.generation && outcome._tag !== "Failure")`
  },
  {
    bug: "half-open starts no generation",
    replace: "const generation = circuit.generation + 1\n        return [",
    by: "const generation = circuit.generation\n        return ["
  },
  {
    bug: "open starts no generation",
    replace: "const generation = circuit.generation + 1\n  const from",
    by: "const generation = circuit.generation\n  const from"
  },
  {
    bug: "closed starts no generation",
    replace: "closed(config, circuit.generation + 1, growth,",
    by: "closed(config, circuit.generation, growth,"
  },
  {
    bug: "a settled probe keeps its slot",
    replace: "settleProbe(config, { ...circuit, probes }, outcome, tookMillis, nowMillis)",
    by: "settleProbe(config, circuit, outcome, tookMillis, nowMillis)"
  },
  {
    bug: "an ignored probe keeps its slot",
    replace: "settleProbe(config, { ...circuit, probes }, outcome, tookMillis, nowMillis)",
    by: `settleProbe(config, outcome._tag === "Ignored" ? circuit : { ...circuit, probes }, outcome, tookMillis, nowMillis)`
  },
  {
    bug: "a probe that lost its slot is settled",
    replace: "const lostItsSlot = probes.length === circuit.probes.length",
    by: "const lostItsSlot = false"
  },
  {
    bug: "a lost probe is replaced but not removed",
    replace: "probes: [...live, probe]",
    by: "probes: [...circuit.probes, probe]"
  },
  {
    bug: "a hanging probe never loses its slot",
    replace: "(probe) => nowMillis - probe.admittedAtMillis < config.probeMaxAgeMillis",
    by: "() => true"
  },
  { bug: "two probes share a number", replace: "nextProbe: probe.id + 1", by: "nextProbe: probe.id" },
  {
    bug: "the first probe and the second share a number",
    replace: "nextProbe: 1",
    by: "nextProbe: 0"
  },
  {
    bug: "a probe keeps its slot one moment too long",
    replace: "nowMillis - probe.admittedAtMillis < config.probeMaxAgeMillis",
    by: "nowMillis - probe.admittedAtMillis <= config.probeMaxAgeMillis"
  },
  {
    bug: "one probe too many is admitted",
    replace: "live.length >= config.probes",
    by: "live.length > config.probes"
  },
  {
    bug: "the circuit is due one moment too late",
    replace: "const dueIn = dueInMillis(circuit, nowMillis)\n        if (dueIn !== undefined)",
    by: "const dueIn = circuit.untilMillis - nowMillis\n        if (dueIn >= 0)"
  },
  {
    bug: "the state reads open when it is due",
    replace: `nowMillis < circuit.untilMillis ? "open"`,
    by: `nowMillis <= circuit.untilMillis ? "open"`
  },
  {
    bug: "the time until due reads 0 when it is due",
    replace: "nowMillis < circuit.untilMillis ? circuit.untilMillis - nowMillis",
    by: "nowMillis <= circuit.untilMillis ? circuit.untilMillis - nowMillis"
  },
  {
    bug: "one failure too many is needed to open",
    in: "Trip",
    replace: "failures >= trip.failures",
    by: "failures > trip.failures"
  },
  {
    bug: "one success too many is needed to close",
    replace: "if (successes < config.successes)",
    by: "if (successes <= config.successes)"
  },
  {
    bug: "growth is forgotten one moment too late",
    replace: "nowMillis < circuit.growth.forgetAtMillis",
    by: "nowMillis <= circuit.growth.forgetAtMillis"
  },
  {
    bug: "growth is never forgotten",
    replace: "circuit.growth !== undefined && nowMillis < circuit.growth.forgetAtMillis",
    by: "circuit.growth !== undefined"
  },
  {
    bug: "growth is forgotten at once",
    replace:
      "const growth = { openings: circuit.openings, forgetAtMillis: nowMillis + circuit.lastOpenMillis }",
    by: "const growth = undefined"
  },
  {
    bug: "the open time does not grow in half-open",
    replace: `if (circuit._tag !== "Closed") return circuit.openings`,
    by: `if (circuit._tag !== "Closed") return circuit.openings - 1`
  },
  {
    bug: "a late probe stretches the memory of growth",
    replace: "lastOpenMillis: circuit.untilMillis - circuit.sinceMillis",
    by: "lastOpenMillis: nowMillis - circuit.sinceMillis"
  },
  {
    bug: "the last entry of the open times is left out",
    replace: "Math.min(row, config.openMillis.length) - 1",
    by: "Math.min(row, config.openMillis.length - 1) - 1"
  },
  {
    bug: "retryAfter is not capped",
    replace: "Math.min(retryAfterMillis || 0, config.maxOpenMillis)",
    by: "retryAfterMillis || 0"
  },
  {
    bug: "retryAfter shortens an opening",
    replace: "Math.max(scheduled, Math.min(retryAfterMillis || 0, config.maxOpenMillis))",
    by: "Math.min(retryAfterMillis || scheduled, config.maxOpenMillis)"
  },
  {
    bug: "a retryAfter that is no number ends an opening at once",
    replace: "retryAfterMillis || 0",
    by: "retryAfterMillis ?? 0"
  },
  {
    bug: "Ignored breaks a row of failures",
    replace: `(outcome._tag === "Ignored" ||\n    (`,
    by: "(("
  },
  {
    bug: "Ignored counts as a failed probe",
    replace: `if (outcome._tag === "Ignored") return [undefined, circuit]\n  if (outcome._tag === "Failure"`,
    by: `if (outcome._tag !== "Success"`
  },
  {
    bug: "Ignored counts as a successful probe",
    replace: `if (outcome._tag === "Ignored") return [undefined, circuit]\n`,
    by: ""
  },
  {
    bug: "a probe's success is thought to move nothing",
    replace: `circuit._tag === "Closed" &&\n  (outcome`,
    by: `((circuit._tag !== "Closed" && outcome._tag === "Success") ||\n  outcome`
  },
  {
    bug: "a success does not break a row of failures",
    replace: "circuit.failures + 1 : 0",
    by: "circuit.failures + 1 : circuit.failures"
  },
  {
    bug: "a success before an opening counts towards closing",
    replace: "successes: 0,\n            probes",
    by: "successes: 1,\n            probes"
  },
  {
    bug: "a closed circuit keeps its failures",
    replace: "failures: 0,",
    by: "failures: generation === 0 ? 0 : 1,"
  },
  {
    bug: "a success is kept out of the windows",
    replace: " && circuit.watches.length === 0",
    by: ""
  },
  {
    bug: "a slow probe counts as a successful one",
    replace: ` || tookMillis >= Trip.slowerThanMillis(config.trips)`,
    by: ""
  },
  {
    bug: "slow time starts when the call ends",
    replace: "nowMillis - (permit.admittedAtMillis ?? nowMillis)",
    by: "0"
  },
  {
    bug: "a closed circuit keeps the windows of the one before it",
    in: "Trip",
    replace: "export const watch = (trips: ReadonlyArray<Trip>): ReadonlyArray<Watch> =>",
    by: "const kept = new WeakMap()\nexport const watch = (trips) => kept.get(trips) ?? kept.set(trips, make(trips)).get(trips)\nconst make = (trips) =>"
  },
  {
    bug: "only the quickest of the slow rules is a rule for probes",
    in: "Trip",
    replace: "Math.min(",
    by: "Math.max("
  },
  {
    bug: "a call that took exactly the time is not slow",
    in: "Trip",
    replace: "tookMillis >= rule.slowerThanMillis",
    by: "tookMillis > rule.slowerThanMillis"
  },
  {
    bug: "a failure counts as slow",
    in: "Trip",
    replace: "tookMillis >= rule.slowerThanMillis",
    by: "isFailure || tookMillis >= rule.slowerThanMillis"
  },
  {
    bug: "a slow call counts as failed",
    in: "Trip",
    replace: `rule._tag === "FailureRate" ? isFailure :`,
    by: `rule._tag === "FailureRate" ? isFailure || tookMillis >= 5 :`
  },
  {
    bug: "a rate needs one call too many",
    in: "Trip",
    replace: "window.calls >= rule.minimumCalls",
    by: "window.calls > rule.minimumCalls"
  },
  {
    bug: "a rate counts before its minimum of calls",
    in: "Trip",
    replace: "window.calls >= rule.minimumCalls && ",
    by: ""
  },
  {
    bug: "a rate at its threshold does not open",
    in: "Trip",
    replace: "rate >= rule.threshold",
    by: "rate > rule.threshold"
  },
  {
    bug: "only the first rate is looked at",
    in: "Trip",
    replace: "of watches) {\n    const rate",
    by: "of watches.slice(0, 1)) {\n    const rate"
  },
  {
    bug: "a count window forgets no hit",
    in: "Window",
    replace: "else if ((bits & bit) !== 0) this.hits--",
    by: ""
  },
  {
    bug: "a count window holds one call too few",
    in: "Window",
    replace: "this.#next + 1 === this.#size",
    by: "this.#next + 1 >= this.#size - 1"
  },
  {
    bug: "a bit that is not a hit is left as it was",
    in: "Window",
    replace: "isHit ? bits | bit : bits & ~bit",
    by: "isHit ? bits | bit : bits"
  },
  {
    bug: "a time window lets go one bucket too early",
    in: "Window",
    replace: "this.#slot(bucket - back)",
    by: "this.#slot(bucket - back + 1)"
  },
  {
    bug: "an idle gap lets go of the newest bucket alone",
    in: "Window",
    replace: "back < entered",
    by: "back < 1"
  },
  {
    bug: "hits outlive their calls",
    in: "Window",
    replace: "this.hits -= this.#hits[slot] ?? 0",
    by: ""
  },
  {
    bug: "a time window never lets go",
    in: "Window",
    replace: "if (bucket <= this.#latest) return",
    by: "if (this.#latest > 0) return"
  }
]

const rampMutants: ReadonlyArray<Mutant> = [
  {
    bug: "a ramp admits a draw of exactly its share",
    replace: "random >= share",
    by: "random > share"
  },
  {
    bug: "a ramp admits all",
    replace: "share !== undefined && random >= share",
    by: "false"
  },
  {
    bug: "a ramp that is over is kept",
    replace: "isOver ? { ...circuit, rampSinceMillis: undefined } : circuit",
    by: "circuit"
  },
  {
    bug: "a ramp is dropped by the first call that it admits",
    replace: "const isOver = share === undefined &&",
    by: "const isOver ="
  },
  {
    bug: "a circuit that never opened has a ramp",
    replace: "closed(config, generation, undefined, undefined)",
    by: "closed(config, generation, undefined, 0)"
  },
  {
    bug: "a closing starts no ramp",
    replace: "config.ramp && nowMillis",
    by: "undefined"
  },
  {
    bug: "a ramp lasts one moment too long",
    in: "Ramp",
    replace: "elapsedMillis < durationMillis",
    by: "elapsedMillis <= durationMillis"
  },
  {
    bug: "a ramp does not grow",
    in: "Ramp",
    replace: "from + (1 - from) * (Math.max(0, elapsedMillis) / durationMillis)",
    by: "from"
  },
  {
    bug: "a ramp begins with nothing",
    in: "Ramp",
    replace: "from + (1 - from) *",
    by: ""
  }
]

const play = (rules: Rules): void => {
  playHistories(rules, 1, 2000)
}

describe("the histories find each planted bug", () => {
  it("and none where there is none", { timeout: 30_000 }, async () => {
    play(await load(sources))
  })

  it.each([...mutants, ...rampMutants])("$bug", async ({ by, in: name = "Circuit", replace }) => {
    expect(sources[name].split(replace)).toHaveLength(2)
    const mutant = await load({ ...sources, [name]: sources[name].replace(replace, () => by) })
    expect(() => play(mutant)).toThrow(WrongHistory)
  })
})
