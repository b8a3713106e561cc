/**
 * Metrics over HTTP, as Prometheus scrapes them.
 *
 * The answer holds every metric of Effect's registry: those of failsoft's policies, and the application's own. It is computed
 * when it is asked for, from numbers in memory.
 *
 * **Gotchas**
 *
 * - The registry is that of the context in which the route is made. Policies that are made where another one is provided do
 *   not appear.
 * - The names of an application's services are in the answer. Put the route on a port that only the scraper reaches, or
 *   behind a check of who asks.
 *
 * **Example** (A scrape)
 *
 * ```ts import.meta.vitest
 * import { Context, Effect, Layer, Metric } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { MetricsRoute } from "@failsoft/http"
 * import { CircuitBreaker } from "failsoft"
 *
 * class Billing extends Context.Service<Billing, CircuitBreaker.CircuitBreaker>()("app/Billing") {}
 *
 * const Live = Layer.merge(MetricsRoute.layer(), CircuitBreaker.layer(Billing, { name: "billing" })).pipe(
 *   Layer.provide(Layer.sync(Metric.MetricRegistry, () => new Map()))
 * )
 * const { dispose, handler } = HttpRouter.toWebHandler(Live, { disableLogger: true })
 *
 * const response = await handler(new Request("http://gateway/metrics"))
 * const lines = (await response.text()).split("\n")
 * await dispose()
 *
 * const closed = lines.find((line) => line.startsWith("failsoft_breaker_state") && line.includes("closed"))
 * closed // => 'failsoft_breaker_state{policy="billing",state="closed"} 1'
 * ```
 */
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"

/** Where the route is. */
export interface Options {
  /** Default: `/metrics`. */
  readonly path?: `/${string}` | undefined
}

/** A Layer that adds the route to the router. */
export const layer = (options?: Options): Layer.Layer<never, never, HttpRouter.HttpRouter> =>
  HttpRouter.addAll(
    Effect.map(Metric.MetricRegistry, (registry) => [
      HttpRouter.route(
        "GET",
        options?.path ?? "/metrics",
        Effect.provideService(answer, Metric.MetricRegistry, registry)
      )
    ])
  )

const answer = Effect.map(PrometheusMetrics.format(), (text) =>
  HttpServerResponse.text(text, {
    contentType: "text/plain; version=0.0.4; charset=utf-8",
    headers: { "cache-control": "no-store" }
  })
)
