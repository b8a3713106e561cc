/**
 * What the memory store holds under a key, and what that weighs.
 *
 * Bytes are a rough count: two for each UTF-16 unit of a text, and a constant for each entry, field and member, in place
 * of what the maps around them take.
 */

/** A value. Its maps belong to the store, which changes them in place. */
export type Value = { readonly _tag: "String"; readonly text: string } | Hash | SortedSet

export interface Hash {
  readonly _tag: "Hash"
  readonly fields: Map<string, string>
}

export interface SortedSet {
  readonly _tag: "SortedSet"
  readonly scores: Map<string, number>
  /** The members in their order, made when it is first needed and kept right from then on. */
  order?: Array<string> | undefined
}

/** A value and when it ends, in monotonic milliseconds. */
export interface Entry {
  readonly value: Value
  readonly expiresAtMillis: number | undefined
}

/** The time at which a command runs. */
export interface Now {
  /** Monotonic: what every time to live is counted on. */
  readonly millis: number
  /** Since 1970: only for times that are given by the calendar, and for `TIME`. */
  readonly wallMillis: number
}

/** What a command works on. */
export interface Database {
  /** The entry of a key, used now, unless its time is over. */
  readonly find: (key: string, nowMillis: number) => Entry | undefined
  readonly put: (key: string, entry: Entry) => void
  /** As `put`, where a value was changed in place and is known to weigh so much more. */
  readonly putChanged: (key: string, entry: Entry, addedBytes: number) => void
  readonly delete: (key: string) => boolean
}

const entryBytes = 128
const itemBytes = 64

export const itemWeight = (name: string, content = ""): number =>
  itemBytes + 2 * (name.length + content.length)

/** The bytes of a key and its value. */
export const weight = (key: string, value: Value): number => {
  let bytes = entryBytes + 2 * key.length
  switch (value._tag) {
    case "String":
      return bytes + 2 * value.text.length
    case "Hash":
      for (const [field, text] of value.fields) bytes += itemWeight(field, text)
      return bytes
    case "SortedSet":
      for (const member of value.scores.keys()) bytes += itemWeight(member)
      return bytes
  }
}

/** A copy that shares nothing with the value. */
export const cloneValue = (value: Value): Value => {
  switch (value._tag) {
    case "String":
      return value
    case "Hash":
      return { _tag: "Hash", fields: new Map(value.fields) }
    case "SortedSet":
      return { _tag: "SortedSet", scores: new Map(value.scores), order: value.order?.slice() }
  }
}
