/**
 * Reading options from configuration: what JSON and environment variables hold, decoded to what `make` takes.
 *
 * Each message names what is allowed and what was found, because a person reads it when an application does not start. Effect's
 * own `Config` stops at the first thing that is wrong, does not look at fields that nobody asked for, and takes a group for absent
 * whose name has several words where only variables have it.
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
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

/**
 * Reads a group of options at a path of the configuration. Where the group is absent, every field of it is left out.
 *
 * Fails with everything that is wrong: fields that cannot be read, that are missing, or that there are not. A variable of the
 * environment that there is not cannot be told from somebody else's.
 */
export const readConfig = <A>(
  group: Schema.ConstraintDecoder<A>,
  path: string | ConfigProvider.Path
): Effect.Effect<A, Config.ConfigError> =>
  Effect.gen(function* () {
    const whole = typeof path === "string" ? [path] : path
    const found = yield* fieldsAt(
      yield* ConfigProvider.ConfigProvider,
      whole,
      SchemaAST.toEncoded(group.ast)
    ).pipe(Effect.mapError((error) => new Config.ConfigError(error)))
    return yield* Schema.decodeUnknownEffect(group)(found ?? {}, {
      errors: "all",
      onExcessProperty: "error"
    }).pipe(Effect.mapError(({ issue }) => errorAt(whole, issue)))
  })

const errorAt = (path: ConfigProvider.Path, issue: SchemaIssue.Issue): Config.ConfigError =>
  new Config.ConfigError(new Schema.SchemaError(new SchemaIssue.Pointer(path, issue)))

/** A part of the name of an environment variable: what a provider for those calls a field may be the beginning of one. */
const isPartOfVariable = (key: string): boolean => /^[A-Z0-9_]+$/.test(key)

/**
 * What a provider has at a path, as plain data: every field that a schema asks for, and the names of all others. Variables of the
 * environment are no fields, but there are none where the provider lists names as the schema has them, here or for the group.
 */
export const fieldsAt = (
  provider: ConfigProvider.ConfigProvider,
  path: ConfigProvider.Path,
  ast: SchemaAST.AST,
  mayBeVariables = true
): Effect.Effect<unknown, ConfigProvider.SourceError> =>
  Effect.gen(function* () {
    const node = yield* provider.load(path)
    const properties = ast._tag === "Objects" ? ast.propertySignatures : []
    const listed = new Set<PropertyKey>(node?._tag === "Record" ? node.keys : [])
    const listsNone = !properties.some(({ name }) => listed.has(name))
    const fields: Record<string, unknown> = {}
    for (const { name, type } of properties) {
      const key = String(name)
      const found = yield* fieldsAt(provider, [...path, key], type, !listed.has(key))
      if (found !== undefined) fields[key] = found
    }
    const isScalar = ast._tag !== "Objects"
    if (node === undefined || node._tag !== "Record" || (isScalar && node.value !== undefined)) {
      return Object.keys(fields).length > 0 ? fields : node && (node.value ?? [])
    }
    // A provider that has fields which it does not list calls them otherwise, and may so call what else it lists.
    if (listsNone && Object.keys(fields).length > 0) return fields
    const others = [...node.keys].filter((key) => !properties.some(({ name }) => name === key))
    for (const key of others) {
      if (!mayBeVariables || !listsNone || !isPartOfVariable(key)) fields[key] = "present"
    }
    return Object.keys(fields).length > 0 || others.length === 0 ? fields : undefined
  })
