import { readFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { playHistories, type Rules, WrongHistory } from "./limitHistories.ts"

const modules = ["Limit", "Gcra", "FixedWindow", "SlidingWindow"] as const

type Module = (typeof modules)[number]

const sources = Object.fromEntries(
  modules.map((name) => [
    name,
    readFileSync(join(import.meta.dirname, `../../../packages/failsoft/src/state/${name}.ts`), "utf8")
  ])
) as Record<Module, string>

/** Loads the rules from text; each module is imported by those after it. */
const load = async (texts: Record<Module, string>): Promise<Rules> => {
  const urls = new Map<string, string>()
  for (const name of modules) {
    const code = stripTypeScriptTypes(texts[name]).replaceAll(
      /from "\.\/(\w+)\.ts"/g,
      (_, imported: string) => `from "${urls.get(imported)}"`
    )
    urls.set(name, `data:text/javascript,${encodeURIComponent(code)}`)
  }
  const [Gcra, FixedWindow, SlidingWindow] = await Promise.all(
    modules.slice(1).map((name) => import(/* @vite-ignore */ `${urls.get(name)}`))
  )
  return { Gcra, FixedWindow, SlidingWindow }
}

/** Planted bugs by module: what each is, the text that it takes the place of, and what it puts there. */
const mutants: Record<Module, ReadonlyArray<readonly [bug: string, replace: string, by: string]>> = {
  Limit: [
    ["everybody may wait", "waitMillis <= maxWaitMillis", "true"],
    ["a wait as long as is allowed is not", "waitMillis <= maxWaitMillis", "waitMillis < maxWaitMillis"]
  ],
  Gcra: [
    ["time that passed is not forgotten", "Math.max(now, tat) + cost", "tat + cost"],
    ["a debt is forgotten", "Math.max(now, tat) + cost", "now + cost"],
    ["every call costs 1", "cost * config.emissionTicks\n  const wait", "config.emissionTicks\n  const wait"],
    ["there is no burst", "next - config.burstTicks - now", "next - now"],
    [
      "one more than the burst",
      "next - config.burstTicks - now",
      "next - config.burstTicks - config.emissionTicks - now"
    ],
    ["a part of a microsecond is let off", "Math.ceil(waitTicks", "Math.floor(waitTicks"],
    ["who is rejected has taken", `decision._tag === "Admitted" ? next : tat`, "next"],
    ["who waits has taken nothing", `decision._tag === "Admitted" ? next : tat`, "tat"],
    ["the burst itself is too much", "cost <= config.burst)", "cost < config.burst)"],
    ["more than the burst is just a long wait", "!(cost >= 0 && cost <= config.burst)", "!(cost >= 0)"],
    ["a cost below 0 gives something", "cost >= 0 && ", ""],
    ["nothing costs something", "if (cost === 0) return [atOnce, tat]", ""],
    [
      "a refund is for everybody in line",
      "cost > 0 && tat - config.burstTicks <= ticksOf(config, nowMillis)",
      "cost > 0"
    ],
    ["a refund comes back once", "tat - cost * config", "tat - config"],
    ["a refund below 0 takes", "cost > 0 && tat", "tat"],
    ["what remains is rounded up", "Math.floor((now", "Math.ceil((now"],
    [
      "more than the burst remains",
      "now + config.burstTicks - Math.max(now, tat)",
      "now + config.burstTicks - tat"
    ],
    ["less than nothing remains", "Math.max(0, Math.floor(", "((it: number) => it)(Math.floor("],
    ["it is free a burst early", "tat / ticksPerMicro / 1000", "tat / ticksPerMicro / 1000 - 0.002"],
    ["it is free too late", "tat / ticksPerMicro / 1000", "tat / ticksPerMicro / 1000 + 0.001"],
    [
      "a part of a tick is let off",
      "const emissionTicks = micros / common",
      "const emissionTicks = Math.floor(micros / limit)"
    ]
  ],
  FixedWindow: [
    ["one more than the limit", "used + cost <= config.limit", "used + cost <= config.limit + 1"],
    ["the limit itself is too much", "used + cost <= config.limit", "used + cost < config.limit"],
    ["more than the limit is just a long wait", "cost <= config.limit))", "true))"],
    ["a cost below 0 gives something", "cost >= 0 && ", ""],
    ["nothing costs something", "if (cost === 0) return [atOnce, state]", ""],
    ["a new window remembers the old", "latest === state.window ? state.used : 0", "state.used"],
    ["a full window is forgotten", "latest === state.window ? state.used : 0", "0"],
    ["a clock that goes back gives", "Math.max(window, state.window)", "window"],
    [
      "the next window begins full",
      "window: latest + 1, used: cost",
      "window: latest + 1, used: config.limit"
    ],
    ["the next window begins empty", "window: latest + 1, used: cost", "window: latest + 1, used: 0"],
    ["who waits skips a window", "window: latest + 1", "window: latest + 2"],
    ["who waits runs at once", "if (next.window === window) return", "if (next.window >= window) return"],
    ["who is rejected has taken", `decision._tag === "Admitted" ? next : state`, "next"],
    ["a refund outlives its window", "cost > 0 && state.window === windowAt(config, nowMillis)", "cost > 0"],
    ["a refund exceeds the limit", "Math.max(0, state.used - cost)", "state.used - cost"],
    ["a refund below 0 takes", "cost > 0 && state", "state"],
    ["the old window still counts", "if (state.window < window) return config.limit", ""],
    ["something remains of a window to come", "state.window > window ? 0 : ", ""],
    ["what remains is rounded up", "Math.floor(config", "Math.ceil(config"],
    ["it is free at the beginning of its window", "(window + 1) * windowMicros", "window * windowMicros"],
    ["it is free a window late", "(window + 1) * windowMicros", "(window + 2) * windowMicros"],
    ["it is never free early", "used === 0 ? Number.NEGATIVE_INFINITY : ", ""]
  ],
  SlidingWindow: [
    ["the window before is forgotten", "windows === 1 ? state.current : 0", "0"],
    ["the windows before that are not", "windows === 1 ? state.current : 0", "state.current"],
    [
      "a new window remembers what was current",
      "previous: windows === 1 ? state.current : 0, current: 0",
      "previous: state.previous, current: state.current"
    ],
    [
      "the window before counts in full",
      "previous * (end - atMicros) <= room",
      "previous * windowMicros <= room"
    ],
    [
      "the window before has to leave more than enough",
      "previous * (end - atMicros) <= room",
      "previous * (end - atMicros) < room"
    ],
    [
      "a turn is a moment early",
      "end - Math.floor((room * windowMicros) / previous)",
      "end - Math.ceil((room * windowMicros) / previous)"
    ],
    [
      "a turn is a moment late",
      "end - Math.floor((room * windowMicros) / previous)",
      "end - Math.floor((room * windowMicros) / previous) + 1"
    ],
    ["a turn waits for the next window", "end - Math.floor((room * windowMicros) / previous)", "end"],
    ["a turn in the next window is a moment early", "Math.floor(((limit", "Math.ceil(((limit"],
    [
      "a turn in the next window is its beginning",
      "return end + windowMicros - Math.floor(((limit - cost) * windowMicros) / current)",
      "return end"
    ],
    [
      "one more than the limit",
      "const room = limit - current - cost",
      "const room = limit - current - cost + 1"
    ],
    ["more than the limit is just a long wait", "cost <= config.limit))", "true))"],
    ["a cost below 0 gives something", "cost >= 0 && ", ""],
    ["nothing costs something", "if (cost === 0) return [atOnce, state]", ""],
    ["a clock that goes back gives, and a line is overtaken", "Math.max(now, state.atMicros)", "now"],
    ["who is rejected has taken", `if (decision._tag === "Rejected") return [decision, state]`, ""],
    ["who waits has taken now", "rolled(config, present, turn)", "rolled(config, present, present.atMicros)"],
    ["every call costs 1", "current: current + cost", "current: current + 1"],
    [
      "a refund outlives its window",
      "cost > 0 && windowAt(config, state.atMicros) === windowAt(config, Math.round(nowMillis * 1000))",
      "cost > 0"
    ],
    ["a refund exceeds the limit", "Math.max(0, state.current - cost)", "state.current - cost"],
    ["a refund below 0 takes", "cost > 0 && windowAt", "windowAt"],
    ["something remains while there is a line", "if (state.atMicros > now) return 0", ""],
    ["what remains is rounded up", "Math.floor((room * config", "Math.ceil((room * config"],
    ["it is free as soon as its window is over", "current === 0 ? 1 : 2", "1"],
    ["it is free a window late", "current === 0 ? 1 : 2", "2"],
    ["it is never free early", "if (current === 0 && previous === 0) return Number.NEGATIVE_INFINITY", ""]
  ]
}

const play = (rules: Rules): void => {
  playHistories(rules, 400)
}

describe("the histories find each planted bug", () => {
  it("and none where there is none", async () => {
    play(await load(sources))
  })

  const all = modules.flatMap((name) =>
    mutants[name].map(([bug, replace, by]) => ({ name, bug, replace, by }))
  )
  it.each(all)("$name: $bug", async ({ by, name, replace }) => {
    expect(sources[name].split(replace)).toHaveLength(2)
    const mutant = await load({ ...sources, [name]: sources[name].replace(replace, () => by) })
    expect(() => play(mutant)).toThrow(WrongHistory)
  })
})
