import { readFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { playHistories, type Rules, WrongHistory } from "./circuitHistories.ts"

const source = readFileSync(
  join(import.meta.dirname, "../../../packages/failsoft/src/state/Circuit.ts"),
  "utf8"
)

const load = (text: string): Promise<Rules> => {
  const code = stripTypeScriptTypes(text)
  return import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(code)}`)
}

/** A planted bug: the text that it takes the place of, and what it puts there. */
interface Mutant {
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
    replace: "const generation = circuit.generation + 1\n  return [",
    by: "const generation = circuit.generation\n  return ["
  },
  {
    bug: "closed starts no generation",
    replace: "generation: circuit.generation + 1,\n          failures: 0",
    by: "generation: circuit.generation,\n          failures: 0"
  },
  {
    bug: "a settled probe keeps its slot",
    replace: "settleProbe(config, { ...circuit, probes }, outcome, nowMillis)",
    by: "settleProbe(config, circuit, outcome, nowMillis)"
  },
  {
    bug: "an ignored probe keeps its slot",
    replace: "settleProbe(config, { ...circuit, probes }, outcome, nowMillis)",
    by: `settleProbe(config, outcome._tag === "Ignored" ? circuit : { ...circuit, probes }, outcome, nowMillis)`
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
    replace: "if (nowMillis < circuit.untilMillis) {",
    by: "if (nowMillis <= circuit.untilMillis) {"
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
    replace: "if (failures < config.failures)",
    by: "if (failures <= config.failures)"
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
    replace: "growth: { openings: circuit.openings, forgetAtMillis: nowMillis + circuit.lastOpenMillis }",
    by: "growth: undefined"
  },
  {
    bug: "the open time does not grow in half-open",
    replace: `open(config, circuit, "half_open", 1, circuit.openings + 1,`,
    by: `open(config, circuit, "half_open", 1, circuit.openings,`
  },
  {
    bug: "a late probe stretches the memory of growth",
    replace: "lastOpenMillis: circuit.untilMillis - circuit.sinceMillis",
    by: "lastOpenMillis: nowMillis - circuit.sinceMillis"
  },
  {
    bug: "the last entry of the open times is left out",
    replace: "Math.min(openings, config.openMillis.length) - 1",
    by: "Math.min(openings, config.openMillis.length - 1) - 1"
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
    replace: `outcome._tag === "Ignored" || (`,
    by: "("
  },
  {
    bug: "Ignored counts as a failed probe",
    replace: `case "Ignored":\n      return [undefined, circuit]\n    case "Failure":`,
    by: `case "Ignored":\n    case "Failure":`
  },
  {
    bug: "Ignored counts as a successful probe",
    replace: `switch (outcome._tag) {\n    case "Ignored":\n      return [undefined, circuit]\n`,
    by: `switch (outcome._tag === "Ignored" ? "Success" : outcome._tag) {\n`
  },
  {
    bug: "a probe's success is thought to move nothing",
    replace: `circuit._tag === "Closed" &&\n  (outcome._tag === "Ignored" || (outcome._tag === "Success" && circuit.failures === 0))`,
    by: `outcome._tag === "Ignored" || (outcome._tag === "Success" && !circuit.failures)`
  },
  {
    bug: "a success does not break a row of failures",
    replace: "return [undefined, { ...circuit, failures: 0 }]",
    by: "return [undefined, circuit]"
  },
  {
    bug: "a success before an opening counts towards closing",
    replace: "successes: 0,\n            probes",
    by: "successes: 1,\n            probes"
  },
  {
    bug: "a closed circuit keeps its failures",
    replace: "generation: circuit.generation + 1,\n          failures: 0",
    by: "generation: circuit.generation + 1,\n          failures: 1"
  }
]

const play = (rules: Rules): void => {
  playHistories(rules, 1, 2000)
}

describe("the histories find each planted bug", () => {
  it("and none where there is none", async () => {
    play(await load(source))
  })

  it.each(mutants)("$bug", async ({ by, replace }) => {
    expect(source.split(replace)).toHaveLength(2)
    const mutant = await load(source.replace(replace, () => by))
    expect(() => play(mutant)).toThrow(WrongHistory)
  })
})
