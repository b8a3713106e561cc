import { describe, expect, it } from "@effect/vitest"
import { MetricsRoute, Problem } from "@failsoft/http"
import { Effect, Layer, Metric } from "effect"
import { CircuitBreaker, Metrics, Policy } from "failsoft"
import { parse } from "./exposition.ts"
import { doors } from "./gateway.ts"
import * as Server from "./server.ts"

const answer = Effect.succeed("answer")
const refused = Effect.fail("refused")

describe.each(Object.entries(doors))("over %s", (_, open) => {
  /** The route over a registry, and the registry. */
  const over = (options?: MetricsRoute.Options) =>
    Effect.gen(function* () {
      const registry: Metric.MetricRegistry = new Map()
      const { ask } = yield* open(
        Layer.merge(MetricsRoute.layer(options), Problem.layer()).pipe(
          Layer.provide(Layer.succeed(Metric.MetricRegistry, registry))
        )
      )
      const inRegistry = <A, E, R>(self: Effect.Effect<A, E, R>) =>
        Effect.provideService(self, Metric.MetricRegistry, registry)
      const scrape = (path = "/metrics") => Effect.map(ask(path), ({ text }) => parse(text))
      return { ask, inRegistry, scrape }
    })

  it.live("an empty registry is an empty answer, which nobody keeps", () =>
    Effect.gen(function* () {
      const { ask } = yield* over()
      expect(yield* ask("/metrics")).toMatchObject({
        status: 200,
        text: "",
        headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8", "cache-control": "no-store" }
      })
    })
  )

  it.live("the path may be another", () =>
    Effect.gen(function* () {
      const { ask } = yield* over({ path: "/internal/prometheus" })
      expect((yield* ask("/internal/prometheus")).status).toBe(200)
      expect((yield* ask("/metrics")).status).toBe(404)
      expect((yield* ask("/internal/prometheus", { method: "POST" })).status).toBe(404)
    })
  )

  it.live("what it answers is what the policies have counted, in the format that Prometheus reads", () =>
    Effect.gen(function* () {
      const { inRegistry, scrape } = yield* over()
      const policy = yield* inRegistry(
        Policy.make("billing", {
          attemptTimeout: "1 second",
          retry: { attempts: 2, schedule: Server.hasty },
          breaker: { trip: CircuitBreaker.consecutive(4) }
        })
      )
      const call = (effect: Effect.Effect<string, string>) => Effect.exit(effect.pipe(policy.execute))
      yield* call(answer)
      yield* call(answer)
      yield* call(refused)
      yield* call(refused)
      yield* call(answer)
      yield* answer.pipe(
        policy.execute,
        policy.orElse(() => answer)
      )
      const families = yield* scrape()
      const byName = new Map(families.map((family) => [family.name, family]))
      const of = (name: string) =>
        (byName.get(name)?.samples ?? [])
          .filter(({ value }) => value !== 0)
          .map(({ labels, value }) => [labels, value])
      const policyIs = { policy: "billing" }
      expect(of("failsoft_calls_total")).toEqual([
        [{ ...policyIs, outcome: "success" }, 2],
        [{ ...policyIs, outcome: "failure" }, 2],
        [{ ...policyIs, outcome: "rejected" }, 2],
        [{ ...policyIs, outcome: "fallback" }, 1]
      ])
      expect(of("failsoft_attempts_total")).toEqual([
        [{ ...policyIs, kind: "retry" }, 2],
        [{ ...policyIs, kind: "first" }, 6]
      ])
      expect(of("failsoft_rejections_total")).toEqual([[{ ...policyIs, reason: "CircuitOpen" }, 2]])
      expect(of("failsoft_breaker_state")).toEqual([[{ ...policyIs, state: "open" }, 1]])
      const durations = byName.get("failsoft_call_duration_seconds")?.samples ?? []
      expect(
        durations
          .filter(({ name }) => name.endsWith("_count"))
          .map(({ labels, value }) => [labels.outcome, value])
      ).toEqual([
        ["success", 2],
        ["failure", 2],
        ["ignored", 0],
        ["timeout", 0],
        ["rejected", 2],
        ["fallback", 1]
      ])
      const buckets = durations.filter(
        ({ labels }) => labels.outcome === "success" && labels.le !== undefined
      )
      expect(buckets.map(({ labels }) => labels.le)).toEqual([
        ...Metrics.callDuration.boundaries.map(String),
        "+Inf"
      ])
      expect(buckets.at(-1)?.value).toBe(2)
    }).pipe(Effect.provide(Server.silent))
  )

  it.live("has every entry of the catalogue under its name, type and help", () =>
    Effect.gen(function* () {
      const { inRegistry, scrape } = yield* over()
      for (const entry of Metrics.catalogue) {
        yield* inRegistry(
          Metrics.register("billing", [
            ...(entry.type === "histogram"
              ? Metrics.each(entry as Metrics.Entry<"histogram">, () =>
                  Metrics.durations(entry as Metrics.Entry<"histogram">)
                )
              : Metrics.each(entry as Metrics.Entry<"gauge" | "counter">, () => () => 1))
          ])
        )
      }
      expect((yield* scrape()).map(({ help, name, type }) => ({ help, name, type }))).toEqual(
        Metrics.catalogue.map(({ help, name, type }) => ({ help, name, type }))
      )
    })
  )

  it.live.each(['a "quoted" name', "a back\\slash", "two\nlines", "größe {x}, y=1", "-"])(
    "a policy may be called %j",
    (name) =>
      Effect.gen(function* () {
        const { inRegistry, scrape } = yield* over()
        yield* inRegistry(Policy.make(name, { breaker: {} }))
        const names = (yield* scrape()).flatMap(({ samples }) => samples.map(({ labels }) => labels.policy))
        expect(new Set(names)).toEqual(new Set([name]))
      })
  )

  it.live("has the application's own metrics beside them, and other attributes as labels", () =>
    Effect.gen(function* () {
      const { inRegistry, scrape } = yield* over()
      const charged = Metric.counter("app_charges_total", { description: "Charges.", incremental: true })
      yield* inRegistry(Metric.update(charged, 3))
      yield* Policy.make("billing", {}).pipe(
        inRegistry,
        Effect.provideService(Metric.CurrentMetricAttributes, { zone: "a" })
      )
      const families = yield* scrape()
      expect(families.find(({ name }) => name === "app_charges_total")?.samples).toEqual([
        { name: "app_charges_total", labels: {}, value: 3 }
      ])
      const calls = families.find(({ name }) => name === "failsoft_calls_total")
      expect(new Set(calls?.samples.map(({ labels }) => labels.zone))).toEqual(new Set(["a"]))
    })
  )

  it.live("a policy is there as long as its scope", () =>
    Effect.gen(function* () {
      const { inRegistry, scrape } = yield* over()
      const names = Effect.map(scrape(), (families) => [
        ...new Set(families.flatMap(({ samples }) => samples.map(({ labels }) => labels.policy)))
      ])
      const inside = yield* Effect.scoped(Effect.andThen(inRegistry(Policy.make("goes", {})), names))
      yield* inRegistry(Policy.make("stays", {}))
      expect([inside, yield* names]).toEqual([["goes"], ["stays"]])
    })
  )
})

describe("a scraper's reader of the text format", () => {
  const valid = '# HELP a_total Help.\n# TYPE a_total counter\na_total{b="c"} 1\n'

  it("reads what is valid", () => {
    expect(parse(valid)).toEqual([
      {
        name: "a_total",
        help: "Help.",
        type: "counter",
        samples: [{ name: "a_total", labels: { b: "c" }, value: 1 }]
      }
    ])
  })

  it.each([
    valid.trimEnd(),
    valid.replace("# HELP a_total Help.\n", ""),
    valid.replace("# TYPE a_total counter\n", ""),
    valid.replaceAll("a_total", "a"),
    valid.replaceAll("a_total", "a_total_total"),
    valid.replace("counter", "gauge"),
    valid.replace("counter", "summary"),
    valid.replace("Help.", "a \\t b"),
    valid.replace('"c"', '"c"d"'),
    valid.replace('"c"', '"c\\d"'),
    valid.replace('"c"', '"c",b="c"'),
    valid.replace('"c"', '"c",'),
    valid.replace(" 1", " one"),
    valid.replace(" 1", " -1"),
    valid.replace("{", "_sum{"),
    valid + valid,
    `${valid}a_total{b="c"} 2\n`,
    `${valid}b_total 2\n`
  ])("refuses %j", (text) => {
    expect(() => parse(text)).toThrow()
  })

  const histogram = (buckets: ReadonlyArray<readonly [string, number]>, count: number) =>
    [
      "# HELP a_seconds Help.",
      "# TYPE a_seconds histogram",
      ...buckets.map(([le, value]) => `a_seconds_bucket{le="${le}"} ${value}`),
      "a_seconds_sum 1",
      `a_seconds_count ${count}`,
      ""
    ].join("\n")

  it("reads a histogram whose numbers agree, and no other", () => {
    expect(
      parse(
        histogram(
          [
            ["0.1", 1],
            ["+Inf", 2]
          ],
          2
        )
      )
    ).toHaveLength(1)
    expect(() => parse(histogram([["0.1", 1]], 1))).toThrow("no last bucket")
    expect(() =>
      parse(
        histogram(
          [
            ["0.1", 1],
            ["+Inf", 2]
          ],
          3
        )
      )
    ).toThrow("a count")
    expect(() =>
      parse(
        histogram(
          [
            ["0.1", 3],
            ["+Inf", 2]
          ],
          2
        )
      )
    ).toThrow("add up")
    expect(() =>
      parse(
        histogram(
          [
            ["0.2", 1],
            ["0.1", 1],
            ["+Inf", 2]
          ],
          2
        )
      )
    ).toThrow("unsorted")
  })
})
