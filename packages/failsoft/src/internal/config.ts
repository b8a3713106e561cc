/** Reading options from configuration: what JSON and environment variables hold, decoded to what `make` takes. */
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

const bareNumber = /^\d+(\.\d+)?$/
const numberWithUnit = /^\d+(\.\d+)? (nano|micro|milli|second|minute|hour|day)s?$/

const DurationText = Schema.Union([Schema.String, Schema.Finite]).check(
  Schema.makeFilter((input) => {
    const text = String(input)
    return (
      bareNumber.test(text) ||
      numberWithUnit.test(text) ||
      `expected seconds as a bare number, or a number with its unit such as "500 millis", got ${JSON.stringify(input)}`
    )
  })
)

/** A duration in configuration: a bare number is seconds, else a number with its unit such as `"500 millis"`. */
export const ConfigDuration = DurationText.pipe(
  Schema.decodeTo(
    Schema.DurationFromString,
    SchemaTransformation.transform({
      decode: (input) => (bareNumber.test(String(input)) ? `${input} seconds` : String(input)),
      encode: (text): string | number => text
    })
  )
)
