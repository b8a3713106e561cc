/** What a registry holds, as a scrape would find it. */
import { type Context, Effect, Metric } from "effect"

/** A series: its name, its labels in order, and what it says. */
export interface Found {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly state: Metric.Metric.Snapshot["state"]
}

const found = ({ attributes, id, state }: Metric.Metric.Snapshot): Found => ({
  name: id,
  labels: attributes ?? {},
  state
})

/** All series of the present registry that are failsoft's. */
export const scrape: Effect.Effect<ReadonlyArray<Found>> = Effect.map(Metric.snapshot, (all) =>
  all.filter(({ id }) => id.startsWith("failsoft_")).map(found)
)

/** The number that a series says: its count, or its value. */
export const numberOf = ({ state }: Found): number =>
  "value" in state ? Number(state.value) : "count" in state ? Number(state.count) : Number.NaN

const key = ({ labels, name }: Found): string =>
  `${name.replace(/^failsoft_/, "")}{${Object.entries(labels)
    .map(([label, value]) => `${label}=${value}`)
    .join()}}`

/** All counters and gauges with their numbers, under names such as `calls_total{policy=billing,outcome=success}`. */
export const numbers: Effect.Effect<Readonly<Record<string, number>>> = Effect.map(scrape, (all) =>
  Object.fromEntries(
    all.filter(({ state }) => !("sum" in state)).map((series) => [key(series), numberOf(series)])
  )
)

/** As `numbers`, but only what is not 0. */
export const counted: Effect.Effect<Readonly<Record<string, number>>> = Effect.map(numbers, (all) =>
  Object.fromEntries(Object.entries(all).filter(([, value]) => value !== 0))
)

/** A registry of one's own. */
export const withRegistry: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = (self) =>
  Effect.suspend(() => Effect.provideService(self, Metric.MetricRegistry, new Map()))

/** The series of a registry that is at hand. */
export const scrapeOf = (context: Context.Context<never>): ReadonlyArray<Found> =>
  Metric.snapshotUnsafe(context).map(found)
