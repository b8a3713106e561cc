import { describe, expect, it } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Metric, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Metrics } from "failsoft"
import fc from "fast-check"
import { type Found, numberOf, numbers, scrape, scrapeOf, withRegistry } from "./metrics.ts"

/** A registry, and policies that are made in it and leave it. */
const makeRegistry = () => {
  const registry: Metric.MetricRegistry = new Map()
  const context = Context.make(Metric.MetricRegistry, registry)
  const join = (
    name: string,
    series: ReadonlyArray<Metrics.Series>,
    around: Context.Context<never> = context
  ) => {
    const scope = Scope.makeUnsafe()
    Effect.runSyncWith(around)(Scope.provide(Metrics.register(name, series), scope))
    return () => Effect.runSyncWith(around)(Scope.close(scope, Exit.void))
  }
  return { registry, context, join, found: () => scrapeOf(context) }
}

const limit = 100

/** A policy as the model knows it. */
interface Member {
  readonly name: string
  readonly place: string
  counted: number
  level: number
  readonly durations: Array<number>
  alive: boolean
  readonly leave: () => void
  readonly histogram: Metrics.Histogram
}

interface Step {
  readonly do: "make" | "leave" | "call" | "thin"
  readonly which: number
  readonly by: number
  readonly millis: number
}

const step: fc.Arbitrary<Step> = fc.record({
  do: fc.oneof(
    { weight: 5, arbitrary: fc.constant("make" as const) },
    { weight: 3, arbitrary: fc.constant("leave" as const) },
    { weight: 4, arbitrary: fc.constant("call" as const) },
    { weight: 1, arbitrary: fc.constant("thin" as const) }
  ),
  which: fc.nat(1000),
  by: fc.integer({ min: 1, max: 9 }),
  millis: fc.double({ min: 0, max: 40_000, noNaN: true })
})

const makeMember = (
  name: string,
  placeOf: (name: string) => string,
  join: ReturnType<typeof makeRegistry>["join"]
): Member => {
  const place = placeOf(name)
  const histogram = Metrics.durations(Metrics.queueWait)
  const member: Member = {
    name,
    place,
    counted: 0,
    level: 0,
    durations: [],
    alive: true,
    histogram,
    leave: join(name, [
      Metrics.series(Metrics.attempts, { kind: "first" }, () => member.counted),
      Metrics.series(Metrics.inflight, {}, () => member.level),
      Metrics.series(Metrics.retryBudgetRatio, {}, () => member.level),
      Metrics.series(Metrics.queueWait, {}, histogram)
    ])
  }
  return member
}

/** What the series of each place say. */
type Said = Readonly<Record<string, Readonly<Record<string, number>>>>

/** What each place should say, from all that have been there since it was last empty. */
const expected = (members: ReadonlyArray<Member>): Said =>
  Object.fromEntries(
    [...new Set(members.map(({ place }) => place))].map((place) => {
      const all = members.filter((member) => member.place === place)
      const levels = all.filter(({ alive }) => alive).map(({ level }) => level)
      const waits = all.flatMap(({ durations }) => durations)
      const said = {
        attempts: all.reduce((sum, { counted }) => sum + counted, 0),
        inflight: levels.reduce((sum, level) => sum + level, 0),
        budget: Math.min(...levels),
        waits: waits.length,
        time: waits.reduce((sum, millis) => sum + micros(millis), 0) / 1e6,
        shortest: waits.length === 0 ? 0 : Math.min(...waits.map(micros)) / 1e6,
        longest: Math.max(0, ...waits.map(micros)) / 1e6
      }
      return [place, said]
    })
  )

const short: Readonly<Record<string, string>> = {
  failsoft_attempts_total: "attempts",
  failsoft_inflight: "inflight",
  failsoft_retry_budget_ratio: "budget"
}

const saidBy = (all: ReadonlyArray<Found>): Said => {
  const said: Record<string, Record<string, number>> = {}
  for (const { labels, name, state } of all) {
    said[labels.policy ?? ""] = {
      ...said[labels.policy ?? ""],
      ...("sum" in state
        ? { waits: state.count, time: state.sum, shortest: state.min, longest: state.max }
        : { [short[name] ?? name]: numberOf({ labels, name, state }) })
    }
  }
  return said
}

const micros = (millis: number) => Math.round(millis * 1000)

describe("registration", () => {
  it("publishes what is alive, within bounds, summed by name, and never counts down", () => {
    let shared = 0
    // Others have taken most places already, so that few steps go beyond the bound.
    const crowds = fc.constantFrom(0, limit - 3, limit)
    fc.assert(
      fc.property(crowds, fc.array(step, { minLength: 1, maxLength: 60, size: "max" }), (size, steps) => {
        const { found, join, registry } = makeRegistry()
        const alone = Metrics.series(Metrics.inflight, {}, () => 1)
        const crowd = Array.from({ length: size }, (_, index) => join(`crowd-${index}`, [alone]))
        let members: ReadonlyArray<Member> = []
        const alive = () => members.filter((member) => member.alive)
        const placeOf = (name: string) => {
          const own = new Set(alive().map(({ place }) => place))
          own.delete("_other")
          return (
            alive().find((other) => other.name === name)?.place ??
            (own.size + crowd.length < limit ? name : "_other")
          )
        }
        const take = (todo: Step) => {
          const live = alive()
          const member = live[todo.which % live.length]
          switch (todo.do) {
            case "make":
              members = [...members, makeMember(`policy-${todo.which % 9}`, placeOf, join)]
              break
            case "thin":
              crowd.pop()?.()
              break
            case "leave":
              if (member === undefined) break
              member.alive = false
              member.leave()
              // A place that nobody is in any more is forgotten with all that was counted there.
              if (!alive().some(({ place }) => place === member.place)) {
                members = members.filter(({ place }) => place !== member.place)
              }
              break
            case "call":
              if (member === undefined) break
              member.counted += todo.by
              member.level = todo.by
              member.durations.push(todo.millis)
              Metrics.record(member.histogram, todo.millis)
          }
        }
        let before: Said = {}
        for (const todo of steps) {
          take(todo)
          const all = found()
          const rest = all.filter(({ labels }) => labels.policy?.startsWith("crowd") === false)
          expect(all.length - rest.length).toBe(crowd.length)
          const said = saidBy(rest)
          expect(said).toEqual(expected(members))
          expect(Object.keys(said).length + crowd.length).toBeLessThanOrEqual(limit + 1)
          for (const [place, { attempts, time, waits }] of Object.entries(said)) {
            expect(attempts).toBeGreaterThanOrEqual(before[place]?.attempts ?? 0)
            expect(waits).toBeGreaterThanOrEqual(before[place]?.waits ?? 0)
            expect(time).toBeGreaterThanOrEqual(before[place]?.time ?? 0)
          }
          if (alive().filter(({ place }) => place === "_other").length > 1) shared++
          before = said
        }
        for (const leave of [...crowd, ...alive().map((member) => member.leave)]) leave()
        expect(registry.size).toBe(0)
      })
    )
    expect(shared).toBeGreaterThan(100)
  })

  it("gives the place of a name to the next when its last policy has left", () => {
    const { found, join } = makeRegistry()
    const one = Metrics.series(Metrics.inflight, {}, () => 1)
    const leaves = Array.from({ length: limit + 2 }, (_, index) => join(`p${index}`, [one]))
    const names = () =>
      found().map(({ labels, ...series }) => [labels.policy, numberOf({ labels, ...series })])
    expect(names()).toHaveLength(limit + 1)
    expect(names().at(-1)).toEqual(["_other", 2])
    leaves[0]?.()
    // Who came too late stays where it is, since its count would start anew elsewhere; and so does its name.
    expect(names().at(-1)).toEqual(["_other", 2])
    join(`p${limit}`, [one])
    expect(names().at(-1)).toEqual(["_other", 3])
    join("new", [one])
    expect(names().at(-1)).toEqual(["new", 1])
  })

  it("counts the names of policies, of Layers and of caches each by themselves", () => {
    const { found, join } = makeRegistry()
    for (let index = 0; index <= limit; index++) {
      join(`p${index}`, [
        Metrics.series(Metrics.inflight, {}, () => 1),
        Metrics.series(Metrics.degraded, {}, () => 1),
        Metrics.series(Metrics.cacheEntries, {}, () => 1)
      ])
    }
    expect(found()).toHaveLength(3 * (limit + 1))
    expect(found().filter(({ labels }) => Object.values(labels).includes("_other"))).toHaveLength(3)
  })

  it("sums a policy that is called _other with those that have no place of their own, and gives it none", () => {
    const { found, join } = makeRegistry()
    const one = Metrics.series(Metrics.inflight, {}, () => 1)
    join("_other", [one])
    for (let index = 0; index <= limit; index++) join(`p${index}`, [one])
    expect(found()).toHaveLength(limit + 1)
    expect(found().find(({ labels }) => labels.policy === "_other")?.state).toEqual({ value: 2 })
  })

  it("leaves nothing behind of 10,000 policies that came and went", () => {
    const { join, registry } = makeRegistry()
    const others = [join("stays", [Metrics.series(Metrics.inflight, {}, () => 1)])]
    for (let index = 0; index < 10_000; index++) {
      join(`p${index}`, [
        ...Metrics.each(Metrics.calls, () => () => 1),
        ...Metrics.each(Metrics.callDuration, () => Metrics.durations(Metrics.callDuration))
      ])()
    }
    expect(registry.size).toBe(1)
    // Nor is a place taken.
    for (let index = 1; index < limit; index++) {
      others.push(join(`q${index}`, [Metrics.series(Metrics.inflight, {}, () => 1)]))
    }
    expect(
      scrapeOf(Context.make(Metric.MetricRegistry, registry)).map(({ labels }) => labels.policy)
    ).not.toContain("_other")
    for (const leave of others) leave()
    expect(registry.size).toBe(0)
  })

  it("adds the attributes of the context, which change no label of ours", () => {
    const { context, found, join } = makeRegistry()
    const around = (attributes: Readonly<Record<string, string>>) =>
      Context.add(context, Metric.CurrentMetricAttributes, attributes)
    let calls = 0
    const one = Metrics.series(Metrics.attempts, { kind: "first" }, () => ++calls)
    join("billing", [one], around({ zone: "a", policy: "mine", kind: "mine" }))
    join("billing", [one], around({ zone: "a" }))
    join("billing", [one], around({ zone: "b" }))
    expect(found().map(({ labels }) => labels)).toEqual([
      { zone: "a", policy: "billing", kind: "first" },
      { zone: "b", policy: "billing", kind: "first" }
    ])
  })

  it.effect("reads the clock of the scrape", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1234 millis")
      yield* Metrics.register("billing", [Metrics.series(Metrics.inflight, {}, (nowMillis) => nowMillis)])
      const monotonic = (yield* Clock.monotonicTimeNanos) / 1_000_000n
      expect(yield* numbers).toEqual({ "inflight{policy=billing}": Number(monotonic) })
      yield* TestClock.adjust("1 second")
      const later = { "inflight{policy=billing}": Number(monotonic) + 1000 }
      expect(yield* numbers).toEqual(later)
      // Whatever the clock on the wall says.
      yield* TestClock.setTime(0)
      expect(yield* numbers).toEqual(later)
    }).pipe(withRegistry)
  )

  it.effect("is over with the scope, also one that fails", () =>
    Effect.gen(function* () {
      const within = Effect.gen(function* () {
        yield* Metrics.register("billing", [Metrics.series(Metrics.inflight, {}, () => 1)])
        return yield* Effect.fail((yield* scrape).length)
      })
      expect(yield* Effect.flip(Effect.scoped(within))).toBe(1)
      expect(yield* scrape).toEqual([])
    }).pipe(withRegistry)
  )
})

describe("a histogram", () => {
  it("counts each duration in the bucket whose upper end it does not exceed", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: -5, max: 20_000, noNaN: true })), (millis) => {
        const { found, join } = makeRegistry()
        const histogram = Metrics.durations(Metrics.queueWait)
        join("billing", [Metrics.series(Metrics.queueWait, {}, histogram)])
        for (const one of millis) Metrics.record(histogram, one)
        const whole = millis.map((one) => Math.max(0, micros(one)))
        const sum = whole.reduce((total, one) => total + one, 0)
        expect(found().map(({ state }) => state)).toEqual([
          {
            buckets: Metrics.queueWait.boundaries.map((seconds) => [
              seconds,
              whole.filter((one) => one <= seconds * 1e6).length
            ]),
            count: millis.length,
            sum: sum / 1e6,
            min: millis.length === 0 ? 0 : Math.min(...whole) / 1e6,
            max: Math.max(0, ...whole) / 1e6
          }
        ])
      })
    )
  })

  it.each(Metrics.queueWait.boundaries)("has %s s itself in the bucket of that name", (seconds) => {
    const { found, join } = makeRegistry()
    const histogram = Metrics.durations(Metrics.queueWait)
    join("billing", [Metrics.series(Metrics.queueWait, {}, histogram)])
    Metrics.record(histogram, seconds * 1000)
    Metrics.record(histogram, seconds * 1000 + 0.001)
    const [state] = found().map((series) => series.state as Metric.HistogramState)
    expect(state?.buckets.find(([boundary]) => boundary === seconds)?.[1]).toBe(1)
  })
})

describe("the catalogue", () => {
  it("names each metric once, in base units, and by what it is", () => {
    const names = Metrics.catalogue.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
    for (const { boundaries, help, labels, name, owner, type } of Metrics.catalogue) {
      expect(name).toMatch(/^failsoft_[a-z_]+$/)
      expect(name.endsWith("_total")).toBe(type === "counter")
      expect(name.endsWith("_seconds")).toBe(type === "histogram")
      expect(boundaries.length > 0).toBe(type === "histogram")
      expect([...boundaries].sort((a, b) => a - b)).toEqual(boundaries)
      expect(help).toMatch(/^[A-Z1].*\.$/)
      expect(Object.keys(labels)).not.toContain(owner)
      for (const [label, values] of Object.entries(labels)) {
        expect(label).toMatch(/^[a-z_]+$/)
        expect(new Set(values).size).toBe(values.length)
      }
    }
  })

  it("has a value of this module for each entry", () => {
    const values: ReadonlyArray<unknown> = Object.values(Metrics)
    const entries = values.filter((value) => typeof value === "object" && value !== null && "help" in value)
    expect(new Set(entries)).toEqual(new Set(Metrics.catalogue))
  })

  it("makes a series for each combination of labels", () => {
    const pairs = Metrics.each(
      Metrics.breakerTransitions,
      ({ from, to }) =>
        () =>
          from === to ? 0 : 1
    )
    expect(pairs.map(({ labels }) => `${labels.from} ${labels.to}`)).toEqual(
      ["closed", "open", "half_open"].flatMap((from) =>
        ["closed", "open", "half_open"].map((to) => `${from} ${to}`)
      )
    )
    expect(Metrics.each(Metrics.inflight, () => () => 1).map(({ labels }) => labels)).toEqual([{}])
  })
})
