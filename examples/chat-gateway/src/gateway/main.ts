/**
 * The gateway as a process: reads its configuration, listens, and ends with a message that names what is wrong.
 *
 * `PORT` (3000), `HOST` (127.0.0.1), `SERVICES_FILE` (the table of services), `TRUSTED_PROXIES` (networks whose
 * `X-Forwarded-For` counts, separated by commas), `REQUEST_DEADLINE` (seconds, 10), `ERROR_FORMAT` (problem | envelope).
 */

import { createServer } from "node:http"
import { fileURLToPath } from "node:url"
import { NodeHttpClient, NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Duration, Effect, Layer, Result, Schema } from "effect"
import { HttpServer } from "effect/http"
import { IpNetwork } from "effect/net"
import { PolicyConfig } from "failsoft"
import * as Parent from "../Parent.ts"
import * as Gateway from "./Gateway.ts"
import * as Services from "./Services.ts"

const Network = Schema.String.check(
  Schema.makeFilter(
    (text) =>
      Result.isSuccess(IpNetwork.fromString(text)) ||
      `expected a network such as 10.0.0.0/8, got ${JSON.stringify(text)}`
  )
)

const settings = Config.all({
  host: Config.String("HOST").pipe(Config.withDefault("127.0.0.1")),
  port: Config.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 })), "PORT").pipe(
    Config.withDefault(3000)
  ),
  trustedProxies: Config.Array(Network, "TRUSTED_PROXIES").pipe(
    Config.withDefault([]),
    Config.map((networks) => networks.map(IpNetwork.fromStringUnsafe))
  ),
  requestDeadline: Config.schema(PolicyConfig.ConfigDuration, "REQUEST_DEADLINE").pipe(
    Config.withDefault(Duration.seconds(10))
  ),
  errorFormat: Config.Literals(["problem", "envelope"], "ERROR_FORMAT").pipe(Config.withDefault("problem"))
})

const tableFile = Config.String("SERVICES_FILE").pipe(
  Config.withDefault(fileURLToPath(new URL("../../services.json", import.meta.url)))
)

/** Tells the parent, or the log, where the gateway listens. */
const announce = Layer.effectDiscard(
  Effect.flatMap(HttpServer.HttpServer, ({ address }) =>
    Effect.sync(() => {
      if (address._tag !== "UnixPathAddress") Parent.ready({ port: address.port })
    }).pipe(Effect.andThen(HttpServer.logAddress))
  )
)

const Main = Layer.unwrap(
  Effect.map(settings, ({ host, port, ...options }) =>
    Layer.merge(announce, Gateway.layer(options)).pipe(
      Layer.provide(NodeHttpServer.layer(() => createServer(), { host, port })),
      Layer.provide(NodeHttpClient.layerUndici)
    )
  )
)

Parent.whenGone(() => process.exit(0))

const program = Effect.gen(function* () {
  const Table = Services.layerTable(yield* tableFile)
  return yield* Layer.launch(Main).pipe(Effect.provide(Table))
}).pipe(
  Effect.tapError((error) => Effect.sync(() => process.stderr.write(`cannot start: ${error.message}\n`)))
)

NodeRuntime.runMain(program, { disableErrorReporting: true })
