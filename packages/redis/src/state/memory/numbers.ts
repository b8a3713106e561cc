/** Numbers as Redis reads and writes them: 64-bit integers, and doubles in the notation of C. */
import { error } from "./reply.ts"

export const maxInteger = 2n ** 63n - 1n
export const minInteger = -(2n ** 63n)

/** Reads a 64-bit integer, or throws the error that the server answers with. */
export const integer = (text: string): bigint => {
  if (/^(?:0|-?[1-9]\d{0,18})$/.test(text)) {
    const value = BigInt(text)
    if (value >= minInteger && value <= maxInteger) return value
  }
  throw error("value is not an integer or out of range")
}

/** An integer as a reply: near 2^53 and beyond as inexact as what ioredis makes of the digits, one after another. */
export const integerReply = (value: bigint): number => {
  const rounded = Number(value)
  if (Math.abs(rounded) < 2 ** 52) return rounded
  let size = 0
  for (const digit of String(value).replace("-", "")) size = size * 10 + digit.charCodeAt(0) - 48
  return value < 0n ? -size : size
}

const decimal = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i
const infinite = /^([+-]?)inf(?:inity)?$/i

/** What C's `strtod` reads in all of a text; the hexadecimal notation is left out. */
const double = (text: string): number | undefined => {
  if (decimal.test(text)) return Number(text)
  const sign = infinite.exec(text)?.[1]
  return sign === undefined ? undefined : sign === "-" ? -Infinity : Infinity
}

/** Reads a score. What is too great or too small for a double is none, and -0 is 0. */
export const score = (text: string): number => {
  const value = double(text)
  const isLost =
    value === 0
      ? /[1-9]/.test(text.replace(/e.*/i, ""))
      : value !== undefined && !Number.isFinite(value) && !infinite.test(text)
  if (value === undefined || isLost) throw error("value is not a valid float")
  return value + 0
}

/** One end of a range of scores. */
export interface Bound {
  readonly score: number
  readonly exclusive: boolean
}

/** Reads an end of a range: `5`, `(5` without the 5 itself, or an infinity. Nothing at all counts as 0. */
export const bound = (text: string): Bound => {
  const exclusive = text.startsWith("(")
  const digits = exclusive ? text.slice(1) : text
  const value = digits === "" ? 0 : double(digits.replace(/^[ \t-\r]+/, ""))
  if (value === undefined) throw error("min or max is not a float")
  return { score: value, exclusive }
}

const significant = 17

/** A score as the server prints it: `%.17g`. */
export const scoreReply = (value: number): string => {
  if (Number.isSafeInteger(value)) return String(value)
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf"
  const [mantissa = "", exponent = ""] = rounded(Math.abs(value)).split("e")
  const power = Number(exponent)
  const digits = mantissa.replace(".", "")
  const sign = value < 0 ? "-" : ""
  if (power < -4 || power >= significant) {
    const size = String(Math.abs(power)).padStart(2, "0")
    return `${sign}${withoutZeros(mantissa)}e${power < 0 ? "-" : "+"}${size}`
  }
  return power < 0
    ? `${sign}${withoutZeros(`0.${"0".repeat(-power - 1)}${digits}`)}`
    : `${sign}${withoutZeros(`${digits.slice(0, power + 1)}.${digits.slice(power + 1)}`)}`
}

/** To 17 digits. What is exactly in the middle goes to an even digit in C, and up in JavaScript. */
const rounded = (value: number): string => {
  const up = value.toExponential(significant - 1)
  const [exact = ""] = value.toExponential(2 * significant).split("e")
  const isMiddle = /^50+$/.test(exact.slice(-significant - 1))
  return isMiddle ? up.replace(/[13579](?=e)/, (digit) => String(Number(digit) - 1)) : up
}

const withoutZeros = (digits: string): string => digits.replace(/\.?0*$/, "")
