/**
 * Reading options from configuration: what JSON and environment variables hold, decoded to what `make` takes.
 *
 * Each message names what is allowed and what was found, because a person reads it when an application does not start.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"

/** What JSON and the environment may hold for an option. */
type Encoded = string | number | boolean

/** JSON has numbers and booleans, the environment has only text. */
const Scalar = Schema.Union([Schema.String, Schema.Finite, Schema.Boolean])

/** Text that `parse` can read, normalised; anything else fails with a message that says what was expected. */
const text = (expected: string, parse: (text: string) => string | undefined): Schema.Codec<string, Encoded> =>
  Scalar.pipe(
    Schema.decodeTo(Schema.String, {
      decode: SchemaGetter.transformEffect((input: Encoded) => {
        const parsed = parse(String(input).trim())
        return parsed === undefined
          ? Effect.fail(
              new SchemaIssue.InvalidValue({ message: `expected ${expected}, got ${JSON.stringify(input)}` })
            )
          : Effect.succeed(parsed)
      }),
      encode: SchemaGetter.passthroughSupertype()
    })
  )

const bareNumber = /^\d+(\.\d+)?$/
const numberWithUnit = /^\d+(\.\d+)? (nano|micro|milli|second|minute|hour|day)s?$/

/** A duration in configuration: a bare number is seconds, else a number with its unit such as `"500 millis"`. */
export const ConfigDuration: Schema.Codec<Duration.Duration, Encoded> = text(
  'seconds as a bare number, or a number with its unit such as "500 millis"',
  (input) => (bareNumber.test(input) ? `${input} seconds` : numberWithUnit.test(input) ? input : undefined)
).pipe(Schema.decodeTo(Schema.DurationFromString))

/** A number in configuration. */
export const ConfigNumber: Schema.Codec<number, Encoded> = text("a number", (input) =>
  input !== "" && Number.isFinite(Number(input)) ? input : undefined
).pipe(Schema.decodeTo(Schema.FiniteFromString))

/** `true` or `false` in configuration. */
export const ConfigBoolean: Schema.Codec<boolean, Encoded> = text("true or false", (input) =>
  input === "true" || input === "false" ? input : undefined
).pipe(
  Schema.decodeTo(Schema.Literals(["true", "false"])),
  Schema.decodeTo(Schema.Boolean, {
    decode: SchemaGetter.transform((input: "true" | "false") => input === "true"),
    encode: SchemaGetter.transform((value: boolean) => (value ? "true" : "false"))
  })
)

/** One of a few words in configuration. */
export const ConfigWord = <const Word extends string>(
  words: ReadonlyArray<Word>
): Schema.Codec<Word, Encoded> =>
  text(words.join(", "), (input) => (words.some((word) => word === input) ? input : undefined)).pipe(
    Schema.decodeTo(Schema.Literals(words))
  )

/** A group of options in configuration. Where unknown fields are refused, the message says which there are. */
export const ConfigStruct = <const Fields extends Schema.Struct.Fields>(
  fields: Fields
): Schema.Struct<Fields> =>
  Schema.Struct(fields).annotate({
    messageUnexpectedKey: `unknown field; allowed: ${Object.keys(fields).join(", ")}`
  })
