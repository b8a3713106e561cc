import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { afterAll, describe, expect, it } from "vitest"
import { type Kind, type Library, playHistories, WrongHistory } from "./breakerHistories.ts"

const root = join(import.meta.dirname, "../..")
const src = join(root, "packages/failsoft/src")

/** Copies stand where they find Effect, and are plain JavaScript, for Node strips no types below `node_modules`. */
const cache = join(root, "node_modules/.cache")
mkdirSync(cache, { recursive: true })
const copies = mkdtempSync(join(cache, "mutants-"))
afterAll(() => rmSync(copies, { recursive: true, force: true }))

const compile = (text: string): string =>
  stripTypeScriptTypes(text).replaceAll(/(from "\.[^"]+)\.ts"/g, '$1.js"')

const original = join(copies, "original")
for (const file of readdirSync(src, { recursive: true, encoding: "utf8" })) {
  if (!file.endsWith(".ts")) continue
  mkdirSync(join(original, file, ".."), { recursive: true })
  writeFileSync(join(original, file.replace(/ts$/, "js")), compile(readFileSync(join(src, file), "utf8")))
}

const load = (copy: string): Promise<Library> =>
  import(/* @vite-ignore */ pathToFileURL(join(copy, "index.js")).href)

let planted = 0
const plant = (file: string, text: string): Promise<Library> => {
  const copy = join(copies, `${planted++}`)
  cpSync(original, copy, { recursive: true })
  writeFileSync(join(copy, file.replace(/ts$/, "js")), compile(text))
  return load(copy)
}

/** A planted bug: the text that it takes the place of, and what it puts there. */
interface Mutant {
  readonly bug: string
  readonly replace: string
  readonly by: string
}

const shell: ReadonlyArray<Mutant> = [
  {
    bug: "a ramp rejects what is only observed",
    replace: `refuse(cell, fiber, nowMillis, answer), ({ permit })`,
    by: `reject(cell, fiber, nowMillis, answer), ({ permit })`
  },
  {
    bug: "the end of a ramp tells of no rejections",
    replace: "next === circuit || cell.shell.rejections.untold === 0",
    by: "true"
  },
  {
    bug: "a ramp is not asked",
    replace: "if (circuit.rampSinceMillis !== undefined) return ramped(cell, fiber, self, classify)\n",
    by: ""
  },
  {
    bug: "calls that a ramp admits take no permit",
    replace: "call(answer.permit)\n    : Effect",
    by: "call(noPermit)\n    : Effect"
  },
  {
    bug: "an override outlives its time by a moment",
    replace: "if (leftMillis <= 0) return Effect.andThen",
    by: "if (leftMillis < 0) return Effect.andThen"
  },
  {
    bug: "an override seems to last a moment longer",
    replace: "nowMillis < override.untilMillis ? override",
    by: "nowMillis <= override.untilMillis ? override"
  },
  {
    bug: "an override never ends",
    replace: "if (leftMillis <= 0) return Effect.andThen(end(cell, override), execute(cell, self, classify))",
    by: ""
  },
  {
    bug: "the end of an override is not told",
    replace: "const ended = tell(shell, fiber, {",
    by: "const ended = ((_shell, _event) => Effect.void)(shell, {"
  },
  {
    bug: "an override to open says nothing of its end",
    replace: "retryAfterMillis: leftMillis",
    by: "retryAfterMillis: undefined"
  },
  {
    bug: "a new override hands out a rejection of the one before",
    replace: "wouldHaveRejected: 0 }\n  cell.rejection = undefined",
    by: "wouldHaveRejected: 0 }"
  },
  {
    bug: "an override to closed lets the rules decide",
    replace: `if (override.mode === "observe") {`,
    by: `if (override.mode !== "open") {`
  },
  {
    bug: "an override to closed takes a permit",
    replace: "return run(cell, fiber, noPermit, self, classify)",
    by: "return run(cell, fiber, { generation: Ref.getUnsafe(cell.state).generation }, self, classify)"
  },
  {
    bug: "what is only observed is not counted",
    replace: "wouldAdmit(cell, fiber)) return undefined\n    override.wouldHaveRejected++",
    by: "wouldAdmit(cell, fiber)) return undefined"
  },
  {
    bug: "all that is observed is counted",
    replace: "if (wouldAdmit(cell, fiber)) return undefined\n    override.wouldHaveRejected++",
    by: "override.wouldHaveRejected++\n    if (wouldAdmit(cell, fiber)) return undefined"
  },
  {
    bug: "an observed circuit gives out no permits",
    replace: "if (wouldAdmit(cell, fiber)) return undefined\n",
    by: `if (Ref.getUnsafe(cell.state)._tag === "Closed") return undefined\n`
  },
  {
    bug: "the rules go on while the circuit is held open",
    replace: `const isHeld = mode === "open" || mode === "closed"`,
    by: `const isHeld = mode === "closed"`
  },
  {
    bug: "the rules go on while the circuit is held closed",
    replace: `const isHeld = mode === "open" || mode === "closed"`,
    by: `const isHeld = mode === "open"`
  },
  {
    bug: "the rules stand still while the circuit is observed",
    replace: `const isHeld = mode === "open" || mode === "closed"`,
    by: `const isHeld = mode !== undefined`
  },
  {
    bug: "the rules stand still until a call finds the override over",
    replace: "cell.override === undefined ? undefined : overrideAt(cell, nowMillis)?.mode",
    by: "cell.override?.mode"
  },
  {
    bug: "a probe that ends while the circuit is held keeps its slot",
    replace: "const told = isHeld",
    by: "if (isHeld) return undefined\n  const told = isHeld"
  },
  {
    bug: "a reset starts no generation",
    replace: "Circuit.initial(shell.config, circuit.generation + 1)",
    by: "Circuit.initial(shell.config, circuit.generation)"
  },
  {
    bug: "a reset begins the generations anew",
    replace: "Circuit.initial(shell.config, circuit.generation + 1)",
    by: "Circuit.initial(shell.config)"
  },
  {
    bug: "a reset leaves the override",
    replace: "cell.override = undefined\n      cell.rejection",
    by: "cell.rejection"
  },
  {
    bug: "a reset leaves the failures in a row",
    replace: "cell.failuresInARow = 0\n      if",
    by: "if"
  },
  {
    bug: "a reset tells of no rejections",
    replace: "return Effect.andThen(tellReaders(shell, fiber, event), tellUntold(shell, fiber))",
    by: "return tellReaders(shell, fiber, event)"
  },
  {
    bug: "a reset is not streamed",
    replace: "tellReaders(shell, fiber, event), tellUntold",
    by: "tell(shell, fiber, event), tellUntold"
  },
  {
    bug: "the end of an override to open tells of no rejections",
    replace: `override.mode === "open" ? Effect.andThen(ended, tellUntold(shell, fiber)) : ended`,
    by: "ended"
  },
  {
    bug: "isOpen goes by the rules while the circuit is held",
    replace: `: override.mode === "open"\n}`,
    by: `: Circuit.stateName(Ref.getUnsafe(cell.state), nowMillis) === "open"\n}`
  },
  {
    bug: "the prober asks while the circuit is held open",
    replace: `mode !== "open" && mode !== "closed" && wouldAdmit`,
    by: `mode !== "closed" && wouldAdmit`
  },
  {
    bug: "the prober asks while the circuit is held closed",
    replace: `mode !== "open" && mode !== "closed" && wouldAdmit`,
    by: `mode !== "open" && wouldAdmit`
  },
  {
    bug: "the prober asks without room",
    replace: `mode !== "open" && mode !== "closed" && wouldAdmit(cell, fiber)`,
    by: `mode !== "open" && mode !== "closed"`
  },
  {
    bug: "the prober does not ask while the circuit is observed",
    replace: `mode !== "open" && mode !== "closed" && wouldAdmit`,
    by: `mode === undefined && wouldAdmit`
  },
  { bug: "an ignored call is not counted", replace: "shell.counters.ignored++", by: "" },
  {
    bug: "a success leaves the failures in a row",
    replace: "shell.counters.successful++\n      cell.failuresInARow = 0",
    by: "shell.counters.successful++"
  },
  {
    bug: "slow time starts when the call ends",
    replace: "admittedAtMillis: monotonicMillis(fiber) }",
    by: "admittedAtMillis: undefined }"
  }
]

const tell: ReadonlyArray<Mutant> = [
  {
    bug: "a rejection is not counted",
    replace: "shell.counters.rejected++",
    by: ""
  },
  {
    bug: "a rejection serves for ever",
    replace: "cell.rejection?.atMillis === atMillis && cell.rejection.generation === generation",
    by: "cell.rejection?.generation === generation"
  },
  {
    bug: "a rejection of one state serves the next",
    replace: "cell.rejection?.atMillis === atMillis && cell.rejection.generation === generation",
    by: "cell.rejection?.atMillis === atMillis"
  },
  {
    bug: "the minute of rejections ends a moment late",
    replace: "nowMillis - rejections.summedAtMillis < tellEveryMillis",
    by: "nowMillis - rejections.summedAtMillis <= tellEveryMillis"
  },
  { bug: "rejections are told again and again", replace: "shell.rejections.untold = 0", by: "" },
  {
    bug: "closing tells of no rejections",
    replace: "Effect.andThen(tellReaders(shell, fiber, event), tellUntold(shell, fiber))",
    by: "tellReaders(shell, fiber, event)"
  },
  {
    bug: "a transition is streamed twice",
    replace: "PubSub.publish(shell.hub, [event])",
    by: "PubSub.publish(shell.hub, [event, event])"
  },
  {
    bug: "half-open is not told",
    replace: `case "half_open":\n      return tellReaders(shell, fiber, event)`,
    by: `case "half_open":\n      return Effect.void`
  },
  { bug: "no prober is started", replace: ", shell.startProber?.(cell, transition.generation)", by: "" }
]

const snapshot: ReadonlyArray<Mutant> = [
  {
    bug: "the snapshot shows the state of the rules while the circuit is held",
    replace: `return mode === "open" || mode === "closed" ? mode :`,
    by: `return mode === "half_open" ? mode :`
  },
  {
    bug: "a fallback of a fallback is counted twice",
    replace: "fallback: Math.min(counters.fallback, counters.rejected),",
    by: "fallback: 2 * counters.fallback,"
  },
  {
    bug: "the snapshot shows what a window let go of",
    replace: "window.expire(nowMillis)\n",
    by: ""
  },
  {
    bug: "the snapshot shows a ramp while the circuit is held",
    replace: "ramp: rulesDecide ?",
    by: "ramp: true ?"
  },
  {
    bug: "rejections are missing in the total",
    replace: "counters.ignored + counters.rejected\n",
    by: "counters.ignored\n"
  }
]

const prober: ReadonlyArray<Mutant> = [
  {
    bug: "the prober goes on after the circuit has closed",
    replace: `_tag === "Closed" || generation`,
    by: "generation"
  },
  {
    bug: "the prober ends when it has half-opened the circuit",
    replace: "generation > openedGeneration + 1",
    by: "generation > openedGeneration"
  },
  {
    bug: "the prober does not wait until the circuit is due",
    replace: "Effect.andThen(\n    untilDue,",
    by: "Effect.andThen(\n    Effect.void,"
  },
  {
    bug: "the prober of an earlier opening goes on",
    replace: "cell.prober?.interruptUnsafe()",
    by: ""
  },
  {
    bug: "a ping that hangs is never given up",
    replace: "duration: patience,",
    by: `duration: "1 hour",`
  },
  {
    bug: "a ping counts as no call",
    replace: "return circuitShell.execute(cell, asked, classify)",
    by: "return asked"
  }
]

const kinds: ReadonlyArray<Kind> = ["without an idle probe", "with an idle probe"]

/** A few of each kind in turn, for most bugs show in one kind soon. */
const play = (library: Library, runs: number): void => {
  for (let run = 0; run < runs; run += 50) {
    for (const kind of kinds) playHistories(library, kind, run, 50)
  }
}

it("the histories find no bug where none is planted", { timeout: 60_000 }, async () => {
  play(await load(original), 100)
})

describe.each([
  ["internal/circuit/shell.ts", shell],
  ["internal/circuit/tell.ts", tell],
  ["internal/circuit/snapshot.ts", snapshot],
  ["internal/circuit/prober.ts", prober]
] as const)("the histories find each bug planted in %s:", (file, mutants) => {
  const text = readFileSync(join(src, file), "utf8")

  it.each(mutants)("$bug", { timeout: 60_000 }, async ({ by, replace }) => {
    expect(text.split(replace)).toHaveLength(2)
    const mutant = await plant(
      file,
      text.replace(replace, () => by)
    )
    expect(() => play(mutant, 1500)).toThrow(WrongHistory)
  })
})
