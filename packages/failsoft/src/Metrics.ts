/**
 * The catalogue of metrics, and how a policy feeds it.
 *
 * A policy counts in plain numbers of its own. It says once, when it is made, where they are; they are read when somebody
 * asks, such as a scrape of `/metrics`. So a call pays for nothing but its increments. The series appear in Effect's
 * `Metric.MetricRegistry`, that of the context in which the policy is made, and leave it with the policy's scope.
 *
 * Series are told apart by the name of their policy, never by a key, a user or a path: every other label has a closed list of
 * values. At most 100 names have series of their own; later ones are summed under `_other`. Policies of one name
 * are summed too, and when one of several leaves, what it had counted stays counted.
 *
 * **Gotchas**
 *
 * - Effect's default registry belongs to the process. Provide `Metric.MetricRegistry` where an application, or a test,
 *   should have one to itself.
 * - Readers run at the scrape. They must be cheap, must not throw, and must not wait.
 *
 * **Example** (Counting what a policy of one's own does)
 *
 * ```ts import.meta.vitest
 * import { Effect, Metric } from "effect"
 * import { Metrics } from "failsoft"
 *
 * const program = Effect.gen(function* () {
 *   let calls = 0
 *   yield* Metrics.register("billing", [Metrics.series(Metrics.attempts, { kind: "first" }, () => calls)])
 *   calls++
 *   calls++
 *   return (yield* Metric.snapshot).map(({ id, attributes, state }) => ({ id, ...attributes, ...state }))
 * }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map()))
 *
 * const expected = { id: "failsoft_attempts_total", policy: "billing", kind: "first", count: 2, incremental: true }
 * await Effect.runPromise(program) // => [expected]
 * ```
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Rules from "./state/Histogram.ts"
import * as Places from "./state/Places.ts"

/** What a metric may be. There are no summaries: quantiles of several processes cannot be added up. */
export type Type = "counter" | "gauge" | "histogram"

/** The label that holds the name of what the series belong to. */
export type Owner = "policy" | "layer" | "cache"

/** Labels beside the owner's, each with all the values that it may have. */
export type Labels = Readonly<Record<string, ReadonlyArray<string>>>

/** A metric of the catalogue. */
export interface Entry<out T extends Type = Type, out L extends Labels = Labels> {
  readonly name: string
  readonly type: T
  /** What it counts, in one line. */
  readonly help: string
  readonly owner: Owner
  readonly labels: L
  /** The upper ends of a histogram's buckets, in seconds; empty for anything else. */
  readonly boundaries: ReadonlyArray<number>
  /** What several of one name come to. A share is that of the one that is worst off. */
  readonly several: "sum" | "least"
}

interface Given<L extends Labels> {
  readonly help: string
  readonly labels: L
  readonly owner?: Owner
}

const counter = <const L extends Labels>(
  name: `failsoft_${string}_total`,
  { help, labels, owner = "policy" }: Given<L>
): Entry<"counter", L> => ({ name, type: "counter", help, owner, labels, boundaries: [], several: "sum" })

const gauge = <const L extends Labels>(
  name: `failsoft_${string}`,
  { help, labels, owner = "policy", several = "sum" }: Given<L> & Partial<Pick<Entry, "several">>
): Entry<"gauge", L> => ({ name, type: "gauge", help, owner, labels, boundaries: [], several })

const histogram = <const L extends Labels>(
  name: `failsoft_${string}_seconds`,
  { boundaries, help, labels, owner = "policy" }: Given<L> & Pick<Entry, "boundaries">
): Entry<"histogram", L> => ({ name, type: "histogram", help, owner, labels, boundaries, several: "sum" })

const outcomes = ["success", "failure", "ignored", "timeout", "rejected", "fallback"] as const

/** What became of a call; see `calls`. */
export type CallOutcome = (typeof outcomes)[number]

/**
 * Calls that ended, by how:
 *
 * - `success`: with a value, or with an error that the classification takes for an answer.
 * - `failure`: with anything that counts against the dependency, after all attempts; but for a timeout.
 * - `timeout`: with this policy's `TimedOut`.
 * - `rejected`: refused by a stage of this policy; the last attempt was not made.
 * - `ignored`: with what says nothing about the dependency, such as interruption.
 * - `fallback`: in addition to one of the above, calls that `orElse` answered. Leave it out of sums.
 */
export const calls = counter("failsoft_calls_total", {
  help: "Calls that ended, by outcome; fallback counts again those that orElse answered.",
  labels: { outcome: outcomes }
})

/** How long calls took, attempts and waits included; with `fallback`, how long the fallback took to answer. */
export const callDuration = histogram("failsoft_call_duration_seconds", {
  help: "How long calls took with all their attempts, by outcome; for fallback, how long the fallback took.",
  labels: { outcome: outcomes },
  boundaries: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
})

/** Attempts that were begun. All of them divided by the first ones is what retries and hedges multiply the load by. */
export const attempts = counter("failsoft_attempts_total", {
  help: "Attempts that were begun, by kind; all divided by first is the amplification.",
  labels: { kind: ["first", "retry", "hedge"] }
})

/** Calls that a stage refused, by its reason: the tag that `ServiceUnavailable` carries. */
export const rejections = counter("failsoft_rejections_total", {
  help: "Calls and attempts that a stage refused, by the reason of ServiceUnavailable.",
  labels: {
    reason: ["CircuitOpen", "BulkheadFull", "RateLimited", "RetryBudgetExhausted", "Throttled", "Shed"]
  }
})

const states = ["closed", "open", "half_open"] as const

/** The state that calls find, 1 for that one and 0 for the others: open and past due reads `half_open`. */
export const breakerState = gauge("failsoft_breaker_state", {
  help: "1 for the state that calls find now, 0 for the others.",
  labels: { state: states }
})

/** Changes of a circuit's state, by its rules or by hand. */
export const breakerTransitions = counter("failsoft_breaker_transitions_total", {
  help: "Changes of a circuit's state, by its rules or by a reset.",
  labels: { from: states, to: states }
})

/** Calls that are under way. */
export const inflight = gauge("failsoft_inflight", { help: "Calls that are under way.", labels: {} })

/** How many calls may be under way at once. */
export const limit = gauge("failsoft_limit", {
  help: "How many calls may be under way at once.",
  labels: {}
})

/** Calls that wait for a place. */
export const queueDepth = gauge("failsoft_queue_depth", { help: "Calls that wait for a place.", labels: {} })

/** How long calls waited for a place, whether they got one or not. */
export const queueWait = histogram("failsoft_queue_wait_seconds", {
  help: "How long calls waited for a place, whether they got one or not.",
  labels: {},
  boundaries: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
})

/** What is left of a retry budget, as a share from 0 to 1; of several, that of the emptiest. */
export const retryBudgetRatio = gauge("failsoft_retry_budget_ratio", {
  help: "What is left of the retry budget, from 0 to 1.",
  labels: {},
  several: "least"
})

/** Answers from elsewhere than the dependency, by where: the sources of `Served`. */
export const fallbacks = counter("failsoft_fallbacks_total", {
  help: "Answers from elsewhere than the dependency, by their source.",
  labels: { source: ["stale", "local", "fallback"] }
})

/** Whether the degraded side of a Layer answers, for some calls or all. */
export const degraded = gauge("failsoft_degraded", {
  help: "1 while the degraded side of a Layer answers, for some calls or all.",
  labels: {},
  owner: "layer"
})

/** Lookups in a cache, by what was found. */
export const cacheRequests = counter("failsoft_cache_requests_total", {
  help: "Lookups in a cache, by what was found.",
  labels: { result: ["hit", "miss", "stale"] },
  owner: "cache"
})

/** Entries that a cache holds. */
export const cacheEntries = gauge("failsoft_cache_entries", {
  help: "Entries that a cache holds.",
  labels: {},
  owner: "cache"
})

/** Whether a person has overridden a circuit. */
export const overridesActive = gauge("failsoft_overrides_active", {
  help: "1 while a person overrides the circuit.",
  labels: {}
})

/** Whether faults are injected. */
export const chaosActive = gauge("failsoft_chaos_active", {
  help: "1 while faults are injected.",
  labels: {}
})

/** Every metric there is. */
export const catalogue: ReadonlyArray<Entry> = [
  calls,
  callDuration,
  attempts,
  rejections,
  breakerState,
  breakerTransitions,
  inflight,
  limit,
  queueDepth,
  queueWait,
  retryBudgetRatio,
  fallbacks,
  degraded,
  cacheRequests,
  cacheEntries,
  overridesActive,
  chaosActive
]

/** One value for each label of an entry, out of those that it may have. */
export type LabelValues<L extends Labels> = [keyof L] extends [never]
  ? Readonly<Record<string, never>>
  : { readonly [K in keyof L]: L[K][number] }

/**
 * Reads a number at the scrape. `nowMillis` is monotonic time by the scrape's clock, comparable with that of calls; `context`
 * is the scrape's, for what can only be read by an effect. A counter's number starts at 0 and never goes down.
 */
export type Reader = (nowMillis: number, context: Context.Context<never>) => number

/** Durations counted by how long they were. Made by `durations`, changed by `record`. */
export type Histogram = Rules.Histogram

/** Where the numbers of a series are: a reader for counters and gauges, a histogram for histograms. */
export type Source<T extends Type> = T extends "histogram" ? Histogram : Reader

/** One series of a policy, and where its numbers are. */
export interface Series extends Some {
  readonly source: Reader | Histogram
}

/** One series of an entry. */
export const series = <T extends Type, const L extends Labels>(
  entry: Entry<T, L>,
  labels: NoInfer<LabelValues<L>>,
  source: NoInfer<Source<T>>
): Series => ({ entry, labels, source })

/** A series for every combination of an entry's labels. */
export const each = <T extends Type, const L extends Labels>(
  entry: Entry<T, L>,
  source: (labels: LabelValues<L>) => NoInfer<Source<T>>
): ReadonlyArray<Series> =>
  Object.entries(entry.labels)
    .reduce<ReadonlyArray<Readonly<Record<string, string>>>>(
      (combinations, [label, values]) =>
        combinations.flatMap((labels) => values.map((value) => ({ ...labels, [label]: value }))),
      [{}]
    )
    .map((labels) => ({ entry, labels, source: source(labels as LabelValues<L>) }))

const boundaries = new Map(catalogue.map((entry) => [entry, Rules.boundariesOf(entry.boundaries)]))

/** An empty histogram for an entry. */
export const durations = (entry: Entry<"histogram">): Histogram => empty(entry)

const empty = (entry: Entry): Histogram =>
  Rules.make(boundaries.get(entry) ?? Rules.boundariesOf(entry.boundaries))

/** Counts one duration, in milliseconds. Allocates nothing. */
export const record: (histogram: Histogram, millis: number) => void = Rules.record

/** Some series of an entry: those that have these labels, whatever others they have. */
export interface Some {
  readonly entry: Entry
  readonly labels: Readonly<Record<string, string>>
}

/**
 * Series that something around what is being made counts itself, as a `Policy` counts the calls that its stages see again.
 * `register` leaves them out. None by default.
 */
export const CountedAround: Context.Reference<ReadonlyArray<Some>> = Context.Reference(
  "failsoft/Metrics/CountedAround",
  { defaultValue: (): ReadonlyArray<Some> => [] }
)

/** Whether `register` would leave a series out: then nothing need be counted for it. */
export const isCountedAround = <const L extends Labels>(
  entry: Entry<Type, L>,
  labels: NoInfer<LabelValues<L>>
): Effect.Effect<boolean> => Effect.map(CountedAround, (around) => isAmong(around, { entry, labels }))

const isAmong = (around: ReadonlyArray<Some>, { entry, labels }: Some): boolean =>
  around.some(
    (some) =>
      some.entry === entry && Object.entries(some.labels).every(([label, value]) => labels[label] === value)
  )

/** How many names have series of their own, for each owner label of a registry. */
const maxNames = 100

/**
 * Publishes series under the name of a policy, Layer or cache, in the registry of the present context, for as long as the
 * scope lives. `Metric.CurrentMetricAttributes` of that context are added as labels, but for those that have the name of a label
 * of the catalogue.
 */
export const register = (
  name: string,
  given: ReadonlyArray<Series>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.contextWith((context: Context.Context<never>) => Effect.sync(() => join(context, name, given))),
      (leave) => Effect.contextWith((context: Context.Context<never>) => Effect.sync(() => leave(context)))
    )
  )

type Leave = (context: Context.Context<never>) => void

/** What is published in one registry: the names that have a place, and the series by what tells them apart. */
interface Book {
  readonly places: Readonly<Record<Owner, Places.Places>>
  readonly published: Map<string, Published>
}

/** One series of the registry, which has as many parts as there are policies of its name. */
interface Published {
  readonly parts: Set<Series>
  /** Lets one part go, keeping what it has counted. */
  readonly keep: (part: Series, context: Context.Context<never>) => void
  readonly registration: Metric.Registration
}

const books = new WeakMap<Metric.MetricRegistry, Book>()

const bookOf = (registry: Metric.MetricRegistry): Book => {
  const known = books.get(registry)
  if (known !== undefined) return known
  const place = () => Places.make(maxNames)
  const book: Book = { places: { policy: place(), layer: place(), cache: place() }, published: new Map() }
  books.set(registry, book)
  return book
}

const join = (context: Context.Context<never>, name: string, given: ReadonlyArray<Series>): Leave => {
  const registry = Context.get(context, Metric.MetricRegistry)
  const around = Context.get(context, CountedAround)
  const attributes = Object.entries(Context.get(context, Metric.CurrentMetricAttributes))
    .filter(([attribute]) => !ownLabels.has(attribute))
    .sort(([one], [other]) => (one < other ? -1 : 1))
  const kept = Context.make(Metric.MetricRegistry, registry).pipe(
    Context.add(Metric.CurrentMetricAttributes, Object.fromEntries(attributes))
  )
  const { places, published } = bookOf(registry)
  const leaves = given.flatMap((part): Leave | [] => {
    if (isAmong(around, part)) return []
    const { entry, labels } = part
    const place = Places.take(places[entry.owner], name)
    const values = Object.keys(entry.labels).map((label) => labels[label])
    const key = JSON.stringify([entry.name, place, values, attributes])
    const series = published.get(key) ?? publish(entry, { [entry.owner]: place, ...labels }, kept)
    published.set(key, series)
    const member = { ...part }
    series.parts.add(member)
    return (context) => {
      series.parts.delete(member)
      Places.leave(places[entry.owner], name)
      if (series.parts.size > 0) return series.keep(member, context)
      series.registration.remove()
      published.delete(key)
    }
  })
  return (context) => {
    for (const leave of leaves) leave(context)
  }
}

const ownLabels = new Set(catalogue.flatMap(({ labels, owner }) => [owner, ...Object.keys(labels)]))

const publish = (
  entry: Entry,
  attributes: Readonly<Record<string, string>>,
  context: Context.Context<never>
): Published => {
  const parts = new Set<Series>()
  const options = { description: entry.help, attributes, boundaries: entry.boundaries }
  const hooks = { update: constVoid, modify: constVoid }
  if (entry.type === "histogram") {
    let departed: Histogram | undefined
    const get = () => Rules.read(sumOf(entry, departed, parts))
    const keep = (part: Series) => {
      departed = sumOf(entry, departed, [part])
    }
    const metric = Metric.histogram(entry.name, options)
    return { parts, keep, registration: Metric.registerUnsafe(metric, context, { ...hooks, get }) }
  }
  if (entry.type === "counter") {
    let departed = 0
    const get = (scrape: Context.Context<never>) => ({
      count: total(readAll(parts, scrape), departed),
      incremental: true
    })
    const keep = (part: Series, context: Context.Context<never>) => {
      departed = total(readAll([part], context), departed)
    }
    const metric = Metric.counter(entry.name, { ...options, incremental: true })
    return { parts, keep, registration: Metric.registerUnsafe(metric, context, { ...hooks, get }) }
  }
  const get = (scrape: Context.Context<never>) => {
    const values = readAll(parts, scrape)
    return { value: entry.several === "least" ? Math.min(...values) : total(values, 0) }
  }
  const metric = Metric.gauge(entry.name, options)
  return { parts, keep: constVoid, registration: Metric.registerUnsafe(metric, context, { ...hooks, get }) }
}

const total = (values: ReadonlyArray<number>, from: number): number =>
  values.reduce((sum, value) => sum + value, from)

const sumOf = (entry: Entry, from: Histogram | undefined, parts: Iterable<Series>): Histogram => {
  const sum = empty(entry)
  if (from !== undefined) Rules.add(sum, from)
  for (const { source } of parts) if (typeof source !== "function") Rules.add(sum, source)
  return sum
}

const readAll = (parts: Iterable<Series>, context: Context.Context<never>): ReadonlyArray<number> => {
  // As calls read it, to the microsecond.
  const nowMillis =
    Math.round(Number(Context.get(context, Clock.Clock).monotonicTimeNanosUnsafe()) / 1e3) / 1e3
  return Array.from(parts, ({ source }) => (typeof source === "function" ? source(nowMillis, context) : 0))
}
