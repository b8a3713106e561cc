/** What `docs/metrics.md` says of the catalogue is what the types have, and what a scrape finds. */
import { readFileSync } from "node:fs"
import { describe, expect, it } from "@effect/vitest"
import { ResilientRedis } from "@failsoft/redis"
import { Context, Effect, Layer, type Scope } from "effect"
import {
  Bulkhead,
  CircuitBreaker,
  Degradable,
  Fallback,
  Hedge,
  Metrics,
  Policy,
  RateLimiter,
  Retry,
  RetryBudget,
  Spans,
  StaleCache
} from "failsoft"
import { type Found, scrape, withRegistry } from "./metrics.ts"

const page = readFileSync(new URL("../../docs/metrics.md", import.meta.url), "utf8")

/** The rows of the table whose first column is headed so. */
const rowsOf = (heading: string, text = page): ReadonlyArray<ReadonlyArray<string>> => {
  const lines = text.split("\n")
  const head = lines.findIndex((line) => line.startsWith(`| ${heading} |`))
  const end = lines.findIndex((line, index) => index > head && !line.startsWith("|"))
  return lines.slice(head + 2, end).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim())
  )
}

const rowOf = ({ help, labels, name, owner, type }: Metrics.Entry): ReadonlyArray<string> => {
  const others = Object.entries(labels).map(([label, values]) => `\`${label}\`: ${values.join(", ")}`)
  return [`\`${name}\``, type, [`\`${owner}\``, ...others].join("; "), help]
}

class Store extends Context.Service<Store, { readonly read: Effect.Effect<string> }>()("test/Store") {}

const store = Layer.succeed(Store, { read: Effect.succeed("answer") })

/** What feeds the catalogue, made and left alone. */
const feeders: Readonly<Record<string, Effect.Effect<unknown, unknown, Scope.Scope>>> = {
  policy: Policy.make("search", {}),
  "circuit breaker": CircuitBreaker.make({ name: "search" }),
  "keyed circuit breaker": CircuitBreaker.makeKeyed({ name: "search" }),
  retry: Retry.make({ name: "search" }),
  "retry budget": RetryBudget.make({ name: "search" }),
  hedge: Hedge.make({ name: "search" }),
  bulkhead: Bulkhead.make({ name: "search", limit: 2 }),
  "keyed bulkhead": Bulkhead.makeKeyed({ name: "search", limit: 2 }),
  "rate limiter": RateLimiter.make({
    name: "search",
    algorithm: RateLimiter.fixedWindow({ limit: 2, window: "1 second" })
  }),
  "keyed rate limiter": RateLimiter.makeKeyed({
    name: "search",
    algorithm: RateLimiter.fixedWindow({ limit: 2, window: "1 second" })
  }),
  "stale cache": StaleCache.make({ name: "search", lookup: Effect.succeed, timeToLive: "1 minute" }),
  fallback: Fallback.make({ name: "search", answer: Fallback.value("nothing") }),
  "degradable Layer": Layer.build(
    Degradable.layer(Store, { name: "search", primary: store, degraded: store, breaker: { enabled: false } })
  ),
  "Redis client": Layer.build(
    ResilientRedis.layer({
      connection: Layer.effectContext(Effect.never),
      breaker: { enabled: false },
      retry: { enabled: false },
      startup: { mode: "background" }
    })
  )
}

describe("the page of the metrics", () => {
  it("has a row for each entry of the catalogue, as the types have it", () => {
    expect(rowsOf("metric").map((row) => row.slice(0, 4))).toEqual(Metrics.catalogue.map(rowOf))
  })

  it.effect.each(Object.entries(feeders))("says of each metric whether it is fed by a %s", ([feeder, made]) =>
    Effect.gen(function* () {
      const found = yield* Effect.andThen(made, scrape)
      const named = rowsOf("metric").filter((row) => row[4]?.split(", ").includes(feeder))
      expect(new Set(found.map(({ name }) => `\`${name}\``))).toEqual(new Set(named.map(([name]) => name)))
      // Whatever is found has labels that the catalogue knows.
      for (const { labels, name } of found) {
        const entry = Metrics.catalogue.find((entry) => entry.name === name)
        expect(Object.keys(labels)).toEqual([entry?.owner, ...Object.keys(entry?.labels ?? {})])
        for (const [label, values] of Object.entries(entry?.labels ?? {}))
          expect(values).toContain(labels[label])
      }
    }).pipe(withRegistry)
  )

  it("names no other feeder", () => {
    const named = rowsOf("metric").flatMap((row) => row[4]?.split(", ") ?? [])
    expect(new Set(named)).toEqual(new Set([...Object.keys(feeders), "nothing yet"]))
  })

  it.effect("says how many time series a policy is", () =>
    Effect.gen(function* () {
      const linesOf = ({ state }: Found) => ("buckets" in state ? state.buckets.length + 3 : 1)
      yield* Policy.make("search", { retry: {}, breaker: {} })
      const lines = (yield* scrape).reduce((sum, series) => sum + linesOf(series), 0)
      expect(page).toContain(`A policy with a retry and a circuit is ${lines} time series`)
    }).pipe(withRegistry)
  )

  it("explains each outcome", () => {
    expect(rowsOf("outcome").map(([outcome]) => outcome)).toEqual(
      Metrics.calls.labels.outcome.map((outcome) => `\`${outcome}\``)
    )
  })

  it("has the attributes of spans as the module has them", () => {
    const module = readFileSync(new URL("../../packages/failsoft/src/Spans.ts", import.meta.url), "utf8")
    const { from, to, ...set } = Spans.attributes
    expect(rowsOf("attribute").map(([name]) => name)).toEqual(Object.values(set).map((name) => `\`${name}\``))
    expect(rowsOf("attribute")).toEqual(rowsOf("attribute", module.replaceAll(/^ \* ?/gm, "")))
    expect(page).toContain(`The event \`${Spans.events.transition}\``)
    expect(page).toContain(`\`${from}\` and \`${to}\``)
  })
})
