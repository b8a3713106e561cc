/**
 * The gateway put together: services, routes, health, metrics, one error model, a deadline for every request.
 */
import { HealthRoutes, MetricsRoute, Problem, RequestDeadline } from "@failsoft/http"
import { ByteSize, type Duration, Effect, Layer } from "effect"
import { HttpIncomingMessage, HttpMiddleware, HttpRouter, type HttpServerResponse } from "effect/http"
import type { IpNetwork } from "effect/net"
import { Health } from "failsoft"
import * as Billing from "./Billing.ts"
import * as CacheHealth from "./CacheHealth.ts"
import * as ContextSearch from "./ContextSearch.ts"
import * as Identity from "./Identity.ts"
import * as LoginLimit from "./LoginLimit.ts"
import * as Projects from "./Projects.ts"
import * as Redis from "./Redis.ts"
import * as Routes from "./Routes.ts"
import * as Services from "./Services.ts"
import * as Sessions from "./Sessions.ts"

/** What the gateway can be set to beside its services. */
export interface Options {
  /** How long any request may take; less where its caller says that it waits less. */
  readonly requestDeadline: Duration.Input
  /** How errors are written. */
  readonly errorFormat: Problem.Format
  /** The networks whose `X-Forwarded-For` says where a request came from. */
  readonly trustedProxies: ReadonlyArray<IpNetwork.IpNetwork>
}

/** The gateway on the HTTP server of the context: its routes, over what `application` provides. */
export const layer = ({ errorFormat, requestDeadline, trustedProxies }: Options) =>
  HttpRouter.serve(
    Layer.mergeAll(
      Routes.layer,
      HealthRoutes.layer(),
      CacheHealth.route,
      MetricsRoute.layer(),
      Problem.layer({ format: errorFormat }),
      bodyLimit,
      RequestDeadline.layer({ atMost: requestDeadline })
    ),
    {
      disableLogger: true,
      disableListenLog: true,
      middleware: HttpMiddleware.xForwardedHeaders({ trustedProxies })
    }
  )

/**
 * What the routes need, over the HTTP client of the context, with services and Redis as the configuration has them.
 *
 * Apart from `layer`, so that a program can start it before it listens: nobody is let in to wait for Redis.
 */
export const application = Layer.mergeAll(
  Identity.layer,
  Projects.layer,
  Billing.layer,
  ContextSearch.layer,
  LoginLimit.layer
).pipe(
  Layer.provideMerge(Sessions.layer),
  Layer.provideMerge(Redis.layer),
  Layer.provideMerge(Services.layer),
  Layer.provideMerge(Health.layer)
)

/** The largest body that is read. The largest that a route can use is 16 kB, a message of 4,000 characters. */
const maxBodySize = ByteSize.kibibytes(64)

const bodyLimit = HttpRouter.middleware(
  <E, R>(handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
    Effect.provideService(handler, HttpIncomingMessage.MaxBodySize, maxBodySize),
  { global: true }
)
