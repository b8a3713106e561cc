/** How often each command was compared, and on what. */
import { specs } from "./generate.ts"

const classes = ["comparisons", "hit", "absent", "expired", "wrong type", "errors"] as const

export type Class = (typeof classes)[number]

const wanted: Readonly<Record<Class, number>> = {
  comparisons: 500,
  hit: 50,
  absent: 50,
  expired: 50,
  "wrong type": 50,
  errors: 10
}

/** Whether there is such a thing for a command: PING has no key, and any type is right for DEL. */
const applies = (name: string, found: Class): boolean => {
  const on = specs[name]?.on
  if (found === "comparisons" || found === "errors") return true
  return on !== "nothing" && !(on === "key" && found === "wrong type")
}

export interface Coverage {
  readonly count: (name: string, found: Class) => void
  /** What was not compared often enough. */
  readonly gaps: () => ReadonlyArray<string>
  readonly table: () => string
}

export const make = (): Coverage => {
  const counts = new Map<string, number>()
  const of = (name: string, found: Class): number => counts.get(`${name} ${found}`) ?? 0
  const names = Object.keys(specs)
  return {
    count: (name, found) => {
      counts.set(`${name} ${found}`, of(name, found) + 1)
    },
    gaps: () =>
      names.flatMap((name) =>
        classes
          .filter((found) => applies(name, found) && of(name, found) < wanted[found])
          .map((found) => `${name}: ${of(name, found)} ${found}, wanted are ${wanted[found]}`)
      ),
    table: () =>
      [
        ["command", ...classes],
        ...names.map((name) => [
          name,
          ...classes.map((found) => (applies(name, found) ? String(of(name, found)) : "—"))
        ])
      ]
        .map(([name = "", ...cells]) => [name.padEnd(17), ...cells.map((cell) => cell.padStart(12))].join(""))
        .join("\n")
  }
}
