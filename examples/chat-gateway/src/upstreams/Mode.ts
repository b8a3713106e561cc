/**
 * How a stand-in upstream behaves, and how a mode is read from the text that a person sends to the switch.
 *
 * Plain TypeScript instead of a Schema: an upstream loads nothing but Node, so that six of them start at
 * once.
 */

const options = { slow: "delayMillis", stutter: "delayMillis", unavailable: "retryAfterSeconds" } as const
const defaults = { delayMillis: 2_000, retryAfterSeconds: 1 }
const largestOption = 600_000

/** Every mode, in the order in which messages name them. */
export const names = ["ok", "fail", "hang", "refuse", "drip", "slow", "stutter", "unavailable"] as const

/** The name of a mode. */
export type Name = (typeof names)[number]

/** A mode, with its option where it has one. */
export type Mode =
  | { readonly mode: Exclude<Name, keyof typeof options> }
  | { readonly mode: "slow" | "stutter"; readonly delayMillis: number }
  | { readonly mode: "unavailable"; readonly retryAfterSeconds: number }

/**
 * Reads a mode from a name or from an object; throws an `Error` that says what is wrong and what is allowed.
 */
export const from = (input: unknown): Mode => {
  const { mode: name, ...given } = isRecord(input) ? input : { mode: input }
  const mode = names.find((allowed) => allowed === name)
  if (mode === undefined) throw new Error(`unknown mode ${show(name)}; allowed: ${names.join(", ")}`)
  const option = mode === "slow" || mode === "stutter" || mode === "unavailable" ? options[mode] : undefined
  const unknown = Object.keys(given).find((key) => key !== option)
  if (unknown !== undefined) {
    throw new Error(`mode ${mode} has no option ${show(unknown)}; allowed: ${option ?? "none"}`)
  }
  if (mode === "slow" || mode === "stutter") return { mode, delayMillis: read(given, "delayMillis") }
  if (mode === "unavailable") return { mode, retryAfterSeconds: read(given, "retryAfterSeconds") }
  return { mode }
}

/** Reads a mode from a plain name, or from JSON such as `{"mode":"slow","delayMillis":3000}`. */
export const parse = (text: string): Mode => {
  const trimmed = text.trim()
  if (!trimmed.startsWith("{") && !trimmed.startsWith('"')) return from(trimmed)
  let input: unknown
  try {
    input = JSON.parse(trimmed)
  } catch {
    throw new Error(`the body is not JSON; send {"mode":"<name>"} or a plain name: ${names.join(", ")}`)
  }
  return from(input)
}

const read = (given: Record<string, unknown>, option: keyof typeof defaults): number => {
  const value = given[option] ?? defaults[option]
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= largestOption)
    return value
  throw new Error(`${option} is ${show(value)}; allowed: a whole number from 0 to ${largestOption}`)
}

const isRecord = (input: unknown): input is Record<string, unknown> =>
  typeof input === "object" && input !== null

const show = (value: unknown): string => JSON.stringify(value)?.slice(0, 60) ?? "undefined"
