/**
 * Reads a table of policies from a provider of configuration, and checks all of it: a person who changed the table wants to know
 * everything that is wrong with it.
 */
import * as Config from "effect/Config"
import type * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Health from "../../Health.ts"
import type { InvalidOption } from "../../InvalidOption.ts"
import * as Policy from "../../Policy.ts"
import { PolicyConfig } from "../../PolicyConfig.ts"
import { fieldsAt } from "../config.ts"
import * as stages from "./stages.ts"

/** The rows as far as they could be read, and why no more of them could be. */
export interface Table {
  readonly rows: Readonly<Record<string, PolicyConfig>>
  readonly error: Config.ConfigError | undefined
}

/** Reads the rows of these names below `path`. */
export const read = (
  provider: ConfigProvider.ConfigProvider,
  names: ReadonlyArray<string>,
  path: ConfigProvider.Path
): Effect.Effect<Table> =>
  Effect.gen(function* () {
    const rows: Record<string, PolicyConfig> = {}
    const issues: Array<SchemaIssue.Issue> = []
    for (const name of names) {
      const found = yield* fieldsAt(provider, [...path, name], SchemaAST.toEncoded(PolicyConfig.ast))
      const decoded = yield* Effect.result(decodeRow(name, found))
      if (decoded._tag === "Failure") issues.push(decoded.failure)
      rows[name] = decoded._tag === "Success" ? decoded.success : yield* legibleOf(name, found)
    }
    const [first, ...others] = issues
    if (first === undefined) return { rows, error: undefined }
    const all = new SchemaIssue.Composite(Table.ast, [first, ...others])
    return { rows, error: new Config.ConfigError(new Schema.SchemaError(new SchemaIssue.Pointer(path, all))) }
  }).pipe(Effect.catch((error) => Effect.succeed({ rows: {}, error: new Config.ConfigError(error) })))

const Table = Schema.Record(Schema.String, PolicyConfig)

const decodeRow = (name: string, found: unknown): Effect.Effect<PolicyConfig, SchemaIssue.Issue> =>
  Schema.decodeUnknownEffect(Schema.Struct({ [name]: PolicyConfig }))(
    found === undefined ? {} : { [name]: found },
    { errors: "all", onExcessProperty: "error" }
  ).pipe(
    Effect.map((row) => row[name] ?? {}),
    Effect.mapError(({ issue }) => issue)
  )

/** Of a row that cannot be read, the fields that can: what is out of range in them is to be told as well. */
const legibleOf = (name: string, found: unknown): Effect.Effect<PolicyConfig> =>
  Effect.map(
    Effect.forEach(Object.entries(Object(found)), ([field, value]) =>
      Effect.orElseSucceed(decodeRow(name, { [field]: value }), (): PolicyConfig => ({}))
    ),
    (rows) => Object.assign({}, ...rows)
  )

/** What is out of its range in a row: one option of each stage at most. Nothing of what is made for it is seen anywhere. */
export const check = (name: string, row: PolicyConfig): Effect.Effect<ReadonlyArray<InvalidOption>> => {
  const { enabled, ...given } = Policy.fromConfig(row)
  const checks = Object.entries(given).map(([stage, options]) =>
    stages
      .make(name, { enabled, [stage]: options })
      .pipe(Effect.match({ onFailure: (error) => [error], onSuccess: () => [] }), Effect.scoped)
  )
  return Effect.map(Effect.all(checks), (found) => found.flat()).pipe(
    Effect.provideService(Metric.MetricRegistry, new Map()),
    Effect.updateContext((context: Context.Context<never>) => Context.omit(Health.Health)(context))
  )
}
