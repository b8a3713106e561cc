/**
 * Health over HTTP: is the process alive, should it get traffic, and what is degraded.
 *
 * Components appear by themselves: every circuit and every degradable Layer that is made where `Health` is provided. State
 * is computed when it is asked for, so an open circuit that is due reads `half_open`, and no handler does I/O. An open
 * circuit is *degraded*, not down, unless its service is named critical: a shared dependency must not take every replica out
 * of rotation. A degradable Layer is never more than degraded. Under an override to `observe` calls run, so the circuit reads
 * `closed`; what its rules come to is in the `override` of its own route.
 *
 * | path | answers | status |
 * | --- | --- | --- |
 * | `/livez` | is the process alive; never asks a dependency | 200 |
 * | `/readyz` | route to me? | 200; 503 when a critical service is unavailable |
 * | `/health/ready` | `{"status","checks"}` | 200; 503 only when unhealthy |
 * | `/health/circuit-breaker` | all circuits as one, the worst state, and each by its service | 200 |
 * | `/health/circuit-breaker/:service` | one circuit, with its rates and what a person has set | 200; 404 |
 *
 * **Example** (A circuit seen over HTTP)
 *
 * ```ts import.meta.vitest
 * import { Context, Effect, Layer } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { HealthRoutes } from "@failsoft/http"
 * import { CircuitBreaker, Health } from "failsoft"
 *
 * class Billing extends Context.Service<Billing, CircuitBreaker.CircuitBreaker>()("app/Billing") {}
 *
 * const Live = Layer.merge(HealthRoutes.layer(), CircuitBreaker.layer(Billing, { name: "billing" })).pipe(
 *   Layer.provide(Health.layer)
 * )
 * const { dispose, handler } = HttpRouter.toWebHandler(Live, { disableLogger: true })
 *
 * const response = await handler(new Request("http://gateway/health/ready"))
 * await dispose()
 *
 * const billing = { status: "ok", enabled: true, initialized: true, circuit_breaker: "closed" }
 * await response.json() // => { status: "healthy", checks: { billing } }
 * ```
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Health } from "failsoft"
import * as Problem from "./Problem.ts"

/** Where the routes are and what counts. */
export interface Options {
  /** Put in front of every path, such as `/api/v1`. Default: none. */
  readonly prefix?: `/${string}` | undefined
  /** Services without which this process is no use to anyone: their open circuit makes it unhealthy. Default: none. */
  readonly critical?: ReadonlyArray<string> | undefined
}

/** A Layer that adds the health routes to the router. */
export const layer = (
  options?: Options
): Layer.Layer<
  never,
  never,
  HttpRouter.HttpRouter | Health.Health | HttpRouter.Request<"Error", Problem.Problem>
> => {
  const critical = new Set(options?.critical)
  return HttpRouter.addAll(
    Effect.map(Health.Health, (health) => {
      const checks = Effect.flatMap(
        health.components,
        Effect.forEach((component) => checkOf(component, critical))
      )
      const circuits = Effect.map(checks, (all) => all.flatMap(({ circuit }) => circuit ?? []))
      return [
        HttpRouter.route("GET", "/livez", answer(200, { status: "pass" })),
        HttpRouter.route("GET", "/readyz", Effect.flatMap(checks, readyz)),
        HttpRouter.route("GET", "/health/ready", Effect.flatMap(checks, ready)),
        HttpRouter.route(
          "GET",
          "/health/circuit-breaker",
          Effect.flatMap(circuits, (all) => answer(200, { ...summary(all), services: byService(all) }))
        ),
        HttpRouter.route("GET", "/health/circuit-breaker/:service", Effect.flatMap(circuits, oneCircuit))
      ]
    }),
    { prefix: options?.prefix }
  )
}

const answer = (status: number, content: unknown): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  Effect.succeed(HttpServerResponse.jsonUnsafe(content, { status, headers: { "cache-control": "no-store" } }))

type Status = "healthy" | "degraded" | "unhealthy"

/** How one component is. */
interface Check {
  readonly name: string
  readonly status: Status
  /** `false` when it is switched off by configuration. */
  readonly enabled: boolean
  /** Whether it can serve by its own means at all: always, but for a Layer whose primary has not been built. */
  readonly initialized: boolean
  readonly circuit: Health.CircuitSnapshot | undefined
}

const checkOf = (component: Health.Component, critical: ReadonlySet<string>): Effect.Effect<Check> =>
  component._tag === "Circuit"
    ? Effect.map(component.circuit, (circuit) => ({
        name: circuit.name,
        status: statusOf(circuit, critical),
        enabled: circuit.enabled,
        initialized: true,
        circuit
      }))
    : Effect.map(component.layer, ({ built, circuit, degraded, enabled, name }) => ({
        name,
        // What is switched off is degraded on purpose, and nobody need look at it.
        status: degraded && enabled ? "degraded" : "healthy",
        enabled,
        initialized: built,
        circuit
      }))

const statusOf = (circuit: Health.CircuitSnapshot, critical: ReadonlySet<string>): Status => {
  const state = Health.stateForCalls(circuit)
  if (state === "closed") return "healthy"
  return state === "open" && critical.has(circuit.name) ? "unhealthy" : "degraded"
}

const statuses: ReadonlyArray<Status> = ["healthy", "degraded", "unhealthy"]

const worst = (checks: ReadonlyArray<Check>): Status =>
  statuses[Math.max(0, ...checks.map(({ status }) => statuses.indexOf(status)))] ?? "healthy"

const readyz = (checks: ReadonlyArray<Check>) => {
  const unhealthy = worst(checks) === "unhealthy"
  return answer(unhealthy ? 503 : 200, { status: unhealthy ? "fail" : "pass" })
}

const ready = (checks: ReadonlyArray<Check>) => {
  const status = worst(checks)
  const named = checks.map(({ circuit, enabled, initialized, name, status }) => [
    name,
    {
      status: status === "healthy" ? "ok" : "degraded",
      enabled,
      initialized,
      ...(circuit === undefined ? {} : { circuit_breaker: Health.stateForCalls(circuit) })
    }
  ])
  return answer(status === "unhealthy" ? 503 : 200, { status, checks: Object.fromEntries(named) })
}

/** One circuit as the wire has it. */
const wire = (
  circuit: Pick<
    Health.CircuitSnapshot,
    "state" | "override" | "failuresInARow" | "counts" | "lastFailureAtMillis"
  >
) => ({
  state: Health.stateForCalls(circuit),
  failure_count: circuit.failuresInARow,
  total_calls: circuit.counts.total,
  successful_calls: circuit.counts.successful,
  failed_calls: circuit.counts.failed,
  rejected_calls: circuit.counts.rejected,
  fallback_calls: circuit.counts.fallback,
  last_failure_time:
    circuit.lastFailureAtMillis === undefined
      ? null
      : DateTime.formatIso(DateTime.makeUnsafe(circuit.lastFailureAtMillis))
})

/** One circuit with all there is to know about it. */
const wireInDetail = (circuit: Health.CircuitSnapshot) => ({
  ...wire(circuit),
  override:
    circuit.override === undefined
      ? null
      : {
          mode: circuit.override.mode,
          reason: circuit.override.reason,
          ends_in_ms: Math.ceil(Duration.toMillis(circuit.override.endsIn)),
          would_have_rejected: circuit.override.wouldHaveRejected,
          // The rules go on only while they are observed.
          ...(circuit.override.mode === "observe" ? { rules_state: circuit.state } : {})
        },
  rates: circuit.rates.map(({ _tag, calls, minimumCalls, rate, threshold }) => ({
    rule: _tag === "FailureRate" ? "failure_rate" : "slow_call_rate",
    rate: rate ?? null,
    threshold,
    calls,
    minimum_calls: minimumCalls
  }))
})

const byService = (circuits: ReadonlyArray<Health.CircuitSnapshot>) =>
  Object.fromEntries(circuits.map((circuit) => [circuit.name, wire(circuit)]))

const states: ReadonlyArray<Health.CircuitState> = ["closed", "half_open", "open"]

/** All circuits as one: the worst state, the sums of the counts, the last failure. */
const summary = (circuits: ReadonlyArray<Health.CircuitSnapshot>) => {
  const sum = (count: (circuit: Health.CircuitSnapshot) => number) =>
    circuits.reduce((total, circuit) => total + count(circuit), 0)
  const failures = circuits.flatMap((circuit) => circuit.lastFailureAtMillis ?? [])
  return wire({
    state:
      states[Math.max(0, ...circuits.map((circuit) => states.indexOf(Health.stateForCalls(circuit))))] ??
      "closed",
    override: undefined,
    failuresInARow: sum((circuit) => circuit.failuresInARow),
    counts: {
      total: sum(({ counts }) => counts.total),
      successful: sum(({ counts }) => counts.successful),
      failed: sum(({ counts }) => counts.failed),
      ignored: sum(({ counts }) => counts.ignored),
      rejected: sum(({ counts }) => counts.rejected),
      fallback: sum(({ counts }) => counts.fallback)
    },
    lastFailureAtMillis: failures.length === 0 ? undefined : Math.max(...failures)
  })
}

const oneCircuit = (circuits: ReadonlyArray<Health.CircuitSnapshot>) =>
  Effect.flatMap(Problem.pathParams(Schema.Struct({ service: Schema.String })), ({ service }) => {
    const circuit = circuits.find(({ name }) => name === service)
    return circuit === undefined
      ? Effect.fail(Problem.notFound("there is no circuit of that name"))
      : answer(200, wireInDetail(circuit))
  })
