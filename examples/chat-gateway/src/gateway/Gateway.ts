/**
 * The gateway put together: services, routes, health, one error model, a deadline for every request.
 */
import { HealthRoutes, Problem } from "@failsoft/http"
import { ByteSize, type Duration, Effect, Layer } from "effect"
import { HttpIncomingMessage, HttpMiddleware, HttpRouter, type HttpServerResponse } from "effect/http"
import type { IpNetwork } from "effect/net"
import { Deadline, Health } from "failsoft"
import * as Billing from "./Billing.ts"
import * as ContextSearch from "./ContextSearch.ts"
import * as Identity from "./Identity.ts"
import * as LoginLimit from "./LoginLimit.ts"
import * as Projects from "./Projects.ts"
import * as Routes from "./Routes.ts"
import * as Services from "./Services.ts"

/** What the gateway can be set to beside its services. */
export interface Options {
  /** How long any request may take. */
  readonly requestDeadline: Duration.Input
  /** How errors are written. */
  readonly errorFormat: Problem.Format
  /** The networks whose `X-Forwarded-For` says where a request came from. */
  readonly trustedProxies: ReadonlyArray<IpNetwork.IpNetwork>
}

/** The gateway on the HTTP server and client of the context, with services as the configuration has them. */
export const layer = ({ errorFormat, requestDeadline, trustedProxies }: Options) =>
  HttpRouter.serve(
    Layer.mergeAll(
      Routes.layer,
      HealthRoutes.layer(),
      Problem.layer({ format: errorFormat }),
      bodyLimit,
      deadline(requestDeadline)
    ),
    {
      disableLogger: true,
      disableListenLog: true,
      middleware: HttpMiddleware.xForwardedHeaders({ trustedProxies })
    }
  ).pipe(Layer.provide(application), Layer.provide(Services.layer), Layer.provide(Health.layer))

const application = Layer.mergeAll(
  Identity.layer,
  Projects.layer,
  Billing.layer,
  ContextSearch.layer,
  LoginLimit.layer
)

/** The largest body that is read. The largest that a route can use is 16 kB, a message of 4,000 characters. */
const maxBodySize = ByteSize.kibibytes(64)

const bodyLimit = HttpRouter.middleware(
  <E, R>(handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
    Effect.provideService(handler, HttpIncomingMessage.MaxBodySize, maxBodySize),
  { global: true }
)

const deadline = (duration: Duration.Input) =>
  HttpRouter.middleware(
    <E, R>(handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
      Deadline.within(handler, duration),
    { global: true }
  )
