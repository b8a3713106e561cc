import { describe, expect, it } from "@effect/vitest"
import { HealthRoutes, Problem, ServiceClient } from "@failsoft/http"
import { Clock, Context, Duration, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Health } from "failsoft"
import { doors } from "./gateway.ts"
import * as Server from "./server.ts"

const noon = Date.UTC(2026, 0, 1, 12)

const snapshot = (name: string, given: Partial<Health.CircuitSnapshot> = {}): Health.CircuitSnapshot => ({
  name,
  enabled: true,
  state: "closed",
  failuresInARow: 0,
  ramp: undefined,
  override: undefined,
  rates: [],
  counts: { total: 0, successful: 0, failed: 0, ignored: 0, rejected: 0, fallback: 0 },
  lastFailureAtMillis: undefined,
  halfOpenIn: undefined,
  ...given
})

const wire = (given: object = {}) => ({
  state: "closed",
  failure_count: 0,
  total_calls: 0,
  successful_calls: 0,
  failed_calls: 0,
  rejected_calls: 0,
  fallback_calls: 0,
  last_failure_time: null,
  ...given
})

/** As `wire`, with what only the route of one circuit has. */
const detail = (given: object = {}) => wire({ override: null, rates: [], ...given })

const makeHealth = Effect.map(Layer.build(Health.layer), Context.get(Health.Health))

const allPaths = [
  "/livez",
  "/readyz",
  "/health/ready",
  "/health/circuit-breaker",
  "/health/circuit-breaker/billing"
]

describe.each(Object.entries(doors))("over %s", (_, open) => {
  const gateway = (
    health: Health.Health["Service"],
    options?: HealthRoutes.Options,
    more: Layer.Layer<never> = Layer.empty
  ) =>
    open(
      Layer.mergeAll(HealthRoutes.layer(options), Problem.layer(), more).pipe(
        Layer.provide(Layer.succeed(Health.Health, health))
      )
    )

  /** The routes over circuits that look as told. */
  const over = (circuits: ReadonlyArray<Health.CircuitSnapshot>, options?: HealthRoutes.Options) =>
    Effect.gen(function* () {
      const health = yield* makeHealth
      for (const circuit of circuits) {
        yield* health.register({ _tag: "Circuit", name: circuit.name, circuit: Effect.succeed(circuit) })
      }
      return yield* gateway(health, options)
    })

  it.live("no circuit at all is healthy", () =>
    Effect.gen(function* () {
      const { ask } = yield* over([])
      expect(yield* ask("/livez")).toMatchObject({ status: 200, json: { status: "pass" } })
      expect(yield* ask("/readyz")).toMatchObject({ status: 200, json: { status: "pass" } })
      const ready = yield* ask("/health/ready")
      expect([ready.status, ready.json]).toEqual([200, { status: "healthy", checks: {} }])
      const all = yield* ask("/health/circuit-breaker")
      expect([all.status, all.json]).toEqual([200, { ...wire(), services: {} }])
    })
  )

  it.live("no answer is kept by anyone, and each is JSON", () =>
    Effect.gen(function* () {
      const { ask } = yield* over([snapshot("billing", { state: "open" })], { critical: ["billing"] })
      for (const path of [...allPaths, "/health/circuit-breaker/unknown"]) {
        const { headers, json } = yield* ask(path)
        expect([path, headers["cache-control"]]).toEqual([path, "no-store"])
        expect(headers["content-type"]).toMatch(/^application\/(problem\+)?json$/)
        expect(json).toBeDefined()
      }
    })
  )

  it.live.each(["/api/v1", "/internal"] as const)("every path is below the prefix %s", (prefix) =>
    Effect.gen(function* () {
      const { ask } = yield* over([snapshot("billing")], { prefix })
      for (const path of allPaths) {
        expect([path, (yield* ask(`${prefix}${path}`)).status]).toEqual([path, 200])
        expect([path, (yield* ask(path)).status]).toEqual([path, 404])
      }
      expect((yield* ask(`${prefix}/health/circuit-breaker/unknown`)).json).toMatchObject({
        path: `${prefix}/health/circuit-breaker/unknown`
      })
    })
  )

  it.live.each([
    { state: "closed", critical: false, ready: "healthy", check: "ok", status: 200 },
    { state: "closed", critical: true, ready: "healthy", check: "ok", status: 200 },
    { state: "half_open", critical: false, ready: "degraded", check: "degraded", status: 200 },
    { state: "half_open", critical: true, ready: "degraded", check: "degraded", status: 200 },
    { state: "open", critical: false, ready: "degraded", check: "degraded", status: 200 },
    { state: "open", critical: true, ready: "unhealthy", check: "degraded", status: 503 }
  ] as const)(
    "a circuit that is $state, critical $critical, makes it $ready",
    ({ check, critical, ready, state, status }) =>
      Effect.gen(function* () {
        const { ask } = yield* over([snapshot("auth"), snapshot("billing", { state })], {
          critical: critical ? ["billing", "never made"] : ["auth"]
        })
        const detail = yield* ask("/health/ready")
        expect([detail.status, detail.json]).toEqual([
          status,
          {
            status: ready,
            checks: {
              auth: { status: "ok", enabled: true, initialized: true, circuit_breaker: "closed" },
              billing: { status: check, enabled: true, initialized: true, circuit_breaker: state }
            }
          }
        ])
        const route = yield* ask("/readyz")
        expect([route.status, route.json]).toEqual([status, { status: status === 200 ? "pass" : "fail" }])
        // Never asks a dependency, nor gives any away.
        const alive = yield* ask("/livez")
        expect([alive.status, alive.json]).toEqual([200, { status: "pass" }])
        expect(route.text + alive.text).not.toContain("billing")
      })
  )

  it.live.each([
    { built: true, degraded: false, state: "closed", status: "ok", ready: "healthy" },
    { built: false, degraded: true, state: "closed", status: "degraded", ready: "degraded" },
    { built: true, degraded: true, state: "open", status: "degraded", ready: "degraded" },
    { built: true, degraded: true, state: "half_open", status: "degraded", ready: "degraded" }
  ] as const)(
    "a Layer that is built $built, degraded $degraded and has a circuit that is $state is $ready at worst, critical or not",
    ({ built, degraded, ready, state, status }) =>
      Effect.gen(function* () {
        const health = yield* makeHealth
        yield* health.register({ _tag: "Circuit", name: "auth", circuit: Effect.succeed(snapshot("auth")) })
        const circuit = snapshot("cache", { state, failuresInARow: 3 })
        yield* health.register({
          _tag: "Layer",
          name: "cache",
          layer: Effect.succeed({ name: "cache", enabled: true, built, degraded, sinceMillis: noon, circuit })
        })
        const { ask } = yield* gateway(health, { critical: ["cache"] })
        const detail = yield* ask("/health/ready")
        expect([detail.status, detail.json]).toEqual([
          200,
          {
            status: ready,
            checks: {
              auth: { status: "ok", enabled: true, initialized: true, circuit_breaker: "closed" },
              cache: { status, enabled: true, initialized: built, circuit_breaker: state }
            }
          }
        ])
        expect(yield* ask("/readyz")).toMatchObject({ status: 200, json: { status: "pass" } })
        // Its circuit is one among the others.
        const one = wire({ state, failure_count: 3 })
        expect((yield* ask("/health/circuit-breaker/cache")).json).toEqual({
          ...one,
          override: null,
          rates: []
        })
        expect((yield* ask("/health/circuit-breaker")).json).toEqual({
          ...one,
          services: { auth: wire(), cache: one }
        })
      })
  )

  it.live.each([
    { enabled: true, degraded: true, status: "degraded", ready: "degraded" },
    { enabled: true, degraded: false, status: "ok", ready: "healthy" },
    { enabled: false, degraded: true, status: "ok", ready: "healthy" }
  ])(
    "a Layer without a circuit of its own that is enabled $enabled and degraded $degraded is $ready",
    ({ degraded, enabled, ready, status }) =>
      Effect.gen(function* () {
        const health = yield* makeHealth
        const layer = { name: "cache", enabled, built: true, degraded, sinceMillis: noon, circuit: undefined }
        yield* health.register({ _tag: "Layer", name: "cache", layer: Effect.succeed(layer) })
        const { ask } = yield* gateway(health, {})
        const cache = { status, enabled, initialized: true }
        expect((yield* ask("/health/ready")).json).toEqual({ status: ready, checks: { cache } })
        expect((yield* ask("/health/circuit-breaker")).json).toMatchObject({ services: {} })
      })
  )

  it.live("one circuit looks as the wire has it", () =>
    Effect.gen(function* () {
      const { ask } = yield* over([
        snapshot("auth"),
        snapshot("billing", {
          state: "open",
          failuresInARow: 5,
          counts: { total: 20, successful: 7, failed: 6, ignored: 3, rejected: 4, fallback: 2 },
          lastFailureAtMillis: noon
        })
      ])
      const billing = yield* ask("/health/circuit-breaker/billing")
      expect([billing.status, billing.json]).toEqual([
        200,
        {
          state: "open",
          failure_count: 5,
          total_calls: 20,
          successful_calls: 7,
          failed_calls: 6,
          rejected_calls: 4,
          fallback_calls: 2,
          last_failure_time: "2026-01-01T12:00:00.000Z",
          override: null,
          rates: []
        }
      ])
      expect((yield* ask("/health/circuit-breaker/auth")).json).toEqual(detail())
    })
  )

  it.effect(
    "the route of one circuit has its rates, and what a person has set; the others keep their shape",
    () =>
      Effect.gen(function* () {
        yield* TestClock.setTime(noon)
        const health = yield* makeHealth
        const clock = yield* Clock.Clock
        const { ask } = yield* gateway(health, {}, Layer.succeed(Clock.Clock, clock))
        const breaker = yield* CircuitBreaker.make({
          name: "billing",
          trip: CircuitBreaker.any(
            CircuitBreaker.failureRate({ threshold: 0.5, minimumCalls: 4, window: CircuitBreaker.count(10) }),
            CircuitBreaker.slowCallRate({
              threshold: 0.8,
              slowerThan: "1 second",
              minimumCalls: 4,
              window: CircuitBreaker.time("1 minute")
            })
          )
        }).pipe(Effect.provideService(Health.Health, health))
        const inDetail = Effect.map(ask("/health/circuit-breaker/billing"), ({ json }) => [
          json?.state,
          json?.override,
          json?.rates
        ])
        const slow = { rule: "slow_call_rate", threshold: 0.8, minimum_calls: 4 }
        const failed = { rule: "failure_rate", threshold: 0.5, minimum_calls: 4 }
        expect(yield* inDetail).toEqual([
          "closed",
          null,
          [
            { ...failed, rate: null, calls: 0 },
            { ...slow, rate: null, calls: 0 }
          ]
        ])
        yield* breaker.override("observe", { reason: "a new rule", ttl: "10 minutes" })
        for (const call of [Effect.void, Effect.fail("refused"), Effect.fail("refused")]) {
          yield* Effect.exit(breaker.execute(call))
        }
        const observed = {
          mode: "observe",
          reason: "a new rule",
          ends_in_ms: 600_000,
          would_have_rejected: 0
        }
        expect(yield* inDetail).toEqual([
          "closed",
          { ...observed, rules_state: "closed" },
          [
            { ...failed, rate: 2 / 3, calls: 3 },
            { ...slow, rate: 0, calls: 3 }
          ]
        ])
        yield* Effect.exit(breaker.execute(Effect.fail("refused")))
        yield* TestClock.adjust("1500 micros")
        yield* breaker.execute(Effect.void)
        expect(yield* inDetail).toEqual([
          "closed",
          { ...observed, ends_in_ms: 599_999, would_have_rejected: 1, rules_state: "open" },
          []
        ])
        // No shape but that one has room for it.
        const keys = Object.keys(wire())
        const { services, ...all } = (yield* ask("/health/circuit-breaker")).json ?? {}
        expect([Object.keys(all), Object.keys((services as { billing: object }).billing)]).toEqual([
          keys,
          keys
        ])
        yield* breaker.override("open", { reason: "maintenance", ttl: "1 minute" })
        expect(yield* inDetail).toEqual([
          "open",
          { mode: "open", reason: "maintenance", ends_in_ms: 60_000, would_have_rejected: 0 },
          []
        ])
      }).pipe(Effect.provide(Server.silent))
  )

  it.live.each([
    { mode: "observe", state: "open", found: "closed", status: 200, ready: "healthy" },
    { mode: "observe", state: "half_open", found: "closed", status: 200, ready: "healthy" },
    { mode: "open", state: "open", found: "open", status: 503, ready: "unhealthy" },
    { mode: "closed", state: "closed", found: "closed", status: 200, ready: "healthy" }
  ] as const)(
    "a circuit that is overridden to $mode and reads $state is told as calls find it, $found",
    ({ found, mode, ready, state, status }) =>
      Effect.gen(function* () {
        const override = { mode, reason: "a drill", endsIn: Duration.minutes(1), wouldHaveRejected: 3 }
        const { ask } = yield* over([snapshot("billing", { state, override })], { critical: ["billing"] })
        expect([(yield* ask("/readyz")).status, (yield* ask("/health/ready")).json]).toMatchObject([
          status,
          { status: ready, checks: { billing: { circuit_breaker: found } } }
        ])
        expect((yield* ask("/health/circuit-breaker")).json).toMatchObject({
          state: found,
          services: { billing: { state: found } }
        })
        expect((yield* ask("/health/circuit-breaker/billing")).json).toMatchObject({ state: found })
      })
  )

  it.live.each([
    { states: ["closed", "closed"], worst: "closed" },
    { states: ["closed", "half_open"], worst: "half_open" },
    { states: ["open", "half_open", "closed"], worst: "open" },
    { states: ["closed", "open"], worst: "open" }
  ] as const)(
    "all circuits as one are in the worst state, $worst of $states, and the sum of their counts",
    ({ states, worst }) =>
      Effect.gen(function* () {
        const circuits = states.map((state, index) =>
          snapshot(`service-${index}`, {
            state,
            failuresInARow: index,
            counts: { total: 50, successful: 10, failed: 4 + index, ignored: 1, rejected: 3, fallback: 2 },
            lastFailureAtMillis: index === 1 ? noon : undefined
          })
        )
        const { ask } = yield* over(circuits)
        const n = states.length
        const { services, ...all } = (yield* ask("/health/circuit-breaker")).json ?? {}
        const sum = (n * (n - 1)) / 2
        expect(all).toEqual({
          state: worst,
          failure_count: sum,
          total_calls: 50 * n,
          successful_calls: 10 * n,
          failed_calls: 4 * n + sum,
          rejected_calls: 3 * n,
          fallback_calls: 2 * n,
          last_failure_time: "2026-01-01T12:00:00.000Z"
        })
        expect(Object.entries(services as object).map(([name, { state }]) => [name, state])).toEqual(
          circuits.map(({ name, state }) => [name, state])
        )
      })
  )

  it.live("the last failure of all is the latest", () =>
    Effect.gen(function* () {
      const { ask } = yield* over([
        snapshot("a", { lastFailureAtMillis: noon }),
        snapshot("b", { lastFailureAtMillis: noon + 1500 }),
        snapshot("c")
      ])
      expect((yield* ask("/health/circuit-breaker")).json).toMatchObject({
        last_failure_time: "2026-01-01T12:00:01.500Z"
      })
    })
  )

  it.live.each(["unknown", "Billing", "billing%20", "__proto__", "constructor", "%00"])(
    "a circuit that is not there is a 404: %s",
    (name) =>
      Effect.gen(function* () {
        const { ask, log } = yield* over([snapshot("billing")])
        const reply = yield* ask(`/health/circuit-breaker/${name}`)
        expect(reply).toMatchObject({
          status: 404,
          json: { code: "not_found", detail: "there is no circuit of that name" }
        })
        expect(reply.headers["content-type"]).toBe("application/problem+json")
        expect(log).toEqual([])
      })
  )

  it.live.each(["vector search", "a/b", "größe", "50%"])("a circuit may be called %s", (name) =>
    Effect.gen(function* () {
      const { ask } = yield* over([snapshot(name, { failuresInARow: 1 })])
      const reply = yield* ask(`/health/circuit-breaker/${encodeURIComponent(name)}`)
      expect([reply.status, reply.json]).toEqual([200, detail({ failure_count: 1 })])
      expect((yield* ask("/health/ready")).json).toMatchObject({ checks: { [name]: { status: "ok" } } })
    })
  )

  it.live("circuits come and go with their scopes", () =>
    Effect.gen(function* () {
      const health = yield* makeHealth
      const { ask } = yield* gateway(health)
      const names = Effect.map(ask("/health/circuit-breaker"), ({ json }) =>
        Object.keys(json?.services ?? {})
      )
      const breaker = (name: string, enabled?: boolean) =>
        Effect.provideService(CircuitBreaker.make({ name, enabled }), Health.Health, health)
      const inside = yield* Effect.scoped(
        Effect.andThen(Effect.all([breaker("a"), breaker("b"), breaker("off", false)]), names)
      )
      yield* breaker("c")
      expect([inside, yield* names]).toEqual([["a", "b", "off"], ["c"]])
    })
  )

  it.live("a circuit that is switched off says so", () =>
    Effect.gen(function* () {
      const health = yield* makeHealth
      const { ask } = yield* gateway(health, { critical: ["off"] })
      const off = yield* CircuitBreaker.make({
        name: "off",
        enabled: false,
        trip: CircuitBreaker.consecutive(1)
      }).pipe(Effect.provideService(Health.Health, health))
      yield* Effect.exit(off.execute(Effect.fail("refused")))
      expect((yield* ask("/health/ready")).json).toEqual({
        status: "healthy",
        checks: { off: { status: "ok", enabled: false, initialized: true, circuit_breaker: "closed" } }
      })
      expect((yield* ask("/health/circuit-breaker/off")).json).toEqual(detail())
    })
  )

  it.effect("an open circuit that is due reads half-open, though nobody called", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(noon)
      const health = yield* makeHealth
      const clock = yield* Clock.Clock
      const { ask } = yield* gateway(health, { critical: ["billing"] }, Layer.succeed(Clock.Clock, clock))
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(2),
        openDuration: "30 seconds"
      }).pipe(Effect.provideService(Health.Health, health))
      const call = (effect: Effect.Effect<unknown, string>) => Effect.exit(breaker.execute(effect))
      const read = Effect.gen(function* () {
        const { json } = yield* ask("/health/circuit-breaker/billing")
        return [json?.state, (yield* ask("/readyz")).status, (yield* ask("/health/ready")).json?.status]
      })
      expect(yield* read).toEqual(["closed", 200, "healthy"])
      yield* call(Effect.fail("refused"))
      expect(yield* read).toEqual(["closed", 200, "healthy"])
      yield* TestClock.adjust("1 second")
      yield* call(Effect.fail("refused"))
      expect(yield* read).toEqual(["open", 503, "unhealthy"])
      yield* TestClock.adjust("29999 millis")
      expect(yield* read).toEqual(["open", 503, "unhealthy"])
      yield* TestClock.adjust("1 millis")
      expect(yield* read).toEqual(["half_open", 200, "degraded"])
      expect((yield* ask("/health/circuit-breaker/billing")).json).toMatchObject({
        failure_count: 2,
        last_failure_time: "2026-01-01T12:00:01.000Z"
      })
      for (let probe = 0; probe < 3; probe++) yield* call(Effect.void)
      expect(yield* read).toEqual(["closed", 200, "healthy"])
      expect((yield* ask("/health/circuit-breaker/billing")).json).toMatchObject({
        failure_count: 0,
        last_failure_time: "2026-01-01T12:00:01.000Z"
      })
    }).pipe(Effect.provide(Server.silent))
  )

  it.live("the counts of real calls add up, and asking sends nothing to the service", () =>
    Effect.gen(function* () {
      const health = yield* makeHealth
      const { ask } = yield* gateway(health)
      const server = yield* Server.serve(Server.ok, Server.reply(503))
      const client = yield* ServiceClient.make("billing", {
        url: server.url,
        retry: { attempts: 2, schedule: Server.hasty },
        breaker: { trip: CircuitBreaker.consecutive(3) },
        probePath: "/health"
      }).pipe(Effect.provideService(Health.Health, health))
      const balance = client.get("/balance").pipe(client.policy.orElse(() => Effect.void))
      for (let call = 0; call < 10; call++) yield* balance
      yield* Effect.exit(client.get("/balance"))
      for (const path of allPaths) yield* ask(path)
      const { json } = yield* ask("/health/circuit-breaker")
      // One success; 2 + 1 failures until it opened; seven calls answered by the fallback, one by nothing.
      expect(json).toMatchObject({
        state: "open",
        total_calls: 12,
        successful_calls: 1,
        failed_calls: 3,
        rejected_calls: 8,
        fallback_calls: 7
      })
      const of = (key: string) => Number(json?.[key])
      expect(of("successful_calls") + of("failed_calls") + of("fallback_calls")).toBeLessThanOrEqual(
        of("total_calls")
      )
      expect(server.requests).toHaveLength(4)
    }).pipe(Effect.provide(Server.live))
  )
})
