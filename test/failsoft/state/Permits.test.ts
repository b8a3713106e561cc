import { readFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import * as Permits from "../../../packages/failsoft/src/state/Permits.ts"
import { playHistories, type Rules, situations } from "./permitsHistories.ts"

const source = readFileSync(
  join(import.meta.dirname, "../../../packages/failsoft/src/state/Permits.ts"),
  "utf8"
)

/** Loads the rules from text. */
const load = <Loaded extends Rules>(text: string): Promise<Loaded> =>
  import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(stripTypeScriptTypes(text))}`)

const replaced = (replace: string, by: string): string => {
  expect(source.split(replace)).toHaveLength(2)
  return source.replace(replace, () => by)
}

it("does what the reference does in 10,000 random histories", { timeout: 60_000 }, () => {
  const happened = playHistories(Permits, 1, 10_000)
  expect(situations.filter((name) => (happened.get(name) ?? 0) < 1000)).toEqual([])
})

it("a place that is over holds none of those who were beside it, which would chain them together for ever", () => {
  const permits = Permits.make<{ readonly name: string }>({ limit: 1, queue: 10, priorities: 1 })
  permits.take()
  const places = ["a", "b", "c", "d", "e"].map((name) => permits.join({ name }, 0)!)
  const [a, b, c] = places
  permits.leave(b!)
  permits.leave(c!)
  permits.release()
  permits.admit(a!)
  /** The names that a place leads to; of its line, only those who still wait are there. */
  const heldBy = (from: unknown, seen = new Set<unknown>()): ReadonlyArray<string> => {
    if (typeof from !== "object" || from === null || seen.has(from)) return []
    seen.add(from)
    const held = Object.values(from).flatMap((value) => heldBy(value, seen))
    return "name" in from && typeof from.name === "string" ? [from.name, ...held] : held
  }
  expect([a, b, c].map((place) => heldBy(place).toSorted())).toEqual([
    ["a", "d", "e"],
    ["b", "d", "e"],
    ["c", "d", "e"]
  ])
})

describe("the cost of a step", { timeout: 30_000 }, () => {
  interface Counting extends Rules {
    readonly steps: { count: number }
  }

  /** The rules with a count of every block that is entered: each turn of a loop, each function, each branch. */
  const counting = (text: string): Promise<Counting> =>
    load(`export const steps = { count: 0 }\n${text.replaceAll(/\) ?(:.*)?\{$/gm, "$& steps.count++;")}`)

  /** The most that any step costs while so many waiters of three priorities come, are served, and leave. */
  const mostOf = ({ make, steps }: Counting, waiters: number): number => {
    let most = 0
    const measured = <A>(step: () => A): A => {
      const before = steps.count
      const result = step()
      most = Math.max(most, steps.count - before)
      return result
    }
    const permits = make<number>({ limit: 1, queue: waiters, priorities: 3 })
    expect(measured(() => permits.take())).toBe(true)
    const places = Array.from({ length: waiters }, (_, number) => {
      const place = measured(() => permits.join(number, number % 3))
      if (place === undefined) throw new Error("there is no room")
      return place
    })
    expect(measured(() => permits.displaceable(2))).toBeDefined()
    // Every other one leaves, from the middle outwards; the others are served.
    const half = waiters / 2
    for (let away = 0; away < half; away += 2) {
      for (const place of [places[half + away], places[half - 1 - away]]) {
        if (place !== undefined) expect(measured(() => permits.leave(place))).toBe(true)
      }
    }
    let served = 0
    for (; permits.queued > 0; served++) {
      measured(() => permits.release())
      const place = measured(() => permits.next())
      if (place !== undefined) measured(() => permits.admit(place))
    }
    expect(served).toBe(half)
    return most
  }

  it("is the same behind 10,000 waiters as behind 12", async () => {
    const rules = await counting(source)
    const few = mostOf(rules, 12)
    expect(few).toBeGreaterThan(1)
    expect(mostOf(rules, 10_000)).toBe(few)
  })

  it("would be seen to grow", async () => {
    const searching = await counting(
      replaced(
        "const node: Node<Waiter> = place\n",
        "const node: Node<Waiter> = place\nfor (let other = node.line.first; other !== node; other = other?.after) {\n}\n"
      )
    )
    expect(mostOf(searching, 10_000)).toBeGreaterThan(1000)
  })
})

describe("a planted bug", { timeout: 30_000 }, () => {
  it.each<readonly [bug: string, replace: string, by: string]>([
    [
      "one more than the limit",
      "if (this.inFlight >= this.limit) return false",
      "if (this.inFlight > this.limit) return false"
    ],
    ["a permit is taken and not counted", "    this.inFlight++\n    return true", "    return true"],
    ["a permit is never given back", "    this.inFlight--", ""],
    ["the limit never changes", "resize(limit: number): void {\n    this.limit = limit", "resize(): void {"],
    ["one place more", "this.queued >= this.#config.queue", "this.queued > this.#config.queue"],
    ["one place less", "this.queued >= this.#config.queue", "this.queued + 1 >= this.#config.queue"],
    ["who makes room does so for nobody", " && !replaces", ""],
    [
      "joins at the front",
      "else line.last.after = node",
      "else { node.before = undefined; node.after = line.first; if (line.first) line.first.before = node; line.first = node; this.queued++; return node }"
    ],
    ["the last is not remembered", "    line.last = node\n", "    line.last ??= node\n"],
    ["places are not counted", "    this.queued++\n", ""],
    [
      "the first of a full queue makes room",
      "const last = this.#lines[level]?.last",
      "const last = this.#lines[level]?.first"
    ],
    ["an equal makes room", "level < priority; level++", "level <= priority; level++"],
    [
      "the highest makes room",
      "for (let level = 0; level < priority; level++)",
      "for (let level = priority - 1; level >= 0; level--)"
    ],
    ["room is made where there is some", "if (this.queued < this.#config.queue) return undefined", ""],
    [
      "admits above the limit",
      "if (this.queued === 0 || this.inFlight >= this.limit) return undefined",
      "if (this.queued === 0) return undefined"
    ],
    [
      "a lowered limit admits when one leaves",
      "if (this.queued === 0 || this.inFlight >= this.limit) return undefined",
      "if (this.queued === 0 || this.inFlight === this.limit) return undefined"
    ],
    [
      "the lowest is next",
      "for (let level = this.#lines.length - 1; level >= 0; level--)",
      "for (let level = 0; level < this.#lines.length; level++)"
    ],
    [
      "the youngest is next",
      "const first = this.#lines[level]?.first",
      "const first = this.#lines[level]?.last"
    ],
    [
      "the highest level is left out",
      "let level = this.#lines.length - 1",
      "let level = this.#lines.length - 2"
    ],
    [
      "an admitted place holds no permit",
      `if (this.#end(place, "admitted")) this.inFlight++`,
      `this.#end(place, "admitted")`
    ],
    [
      "a place that has left is admitted",
      `if (this.#end(place, "admitted")) this.inFlight++`,
      `this.#end(place, "admitted")\nthis.inFlight++`
    ],
    ["a place leaves twice", `|| place.state !== "waiting") return false`, ") return false"],
    ["the state is not set", "    node.state = state\n", ""],
    ["a place that leaves keeps its room", "    this.queued--\n", ""],
    ["who comes after is lost", "else before.after = after", "else before.after = undefined"],
    ["who comes before is lost", "else after.before = before", "else after.before = undefined"],
    [
      "the line keeps its first",
      "if (before === undefined) line.first = after",
      "if (before === undefined) {}"
    ],
    ["the line keeps its last", "if (after === undefined) line.last = before", "if (after === undefined) {}"],
    ["a hedge may wait", "return mayWait && (", "return ("],
    ["nobody may displace", "|| this.displaceable(priority) !== undefined)", ")"],
    [
      "a full queue is open",
      "(this.queued < this.#config.queue || ",
      "(this.queued <= this.#config.queue || "
    ]
  ])("is found: %s", async (_, replace, by) => {
    const rules = await load(replaced(replace, by))
    expect(() => playHistories(rules, 1, 1000)).toThrow()
  })
})
