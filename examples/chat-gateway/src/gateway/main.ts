/**
 * The gateway as a process: reads its configuration, listens, and ends with a message that names what is wrong.
 *
 * `PORT` (3000), `HOST` (127.0.0.1), `SERVICES_FILE` (the table of services), `TRUSTED_PROXIES` (networks whose
 * `X-Forwarded-For` counts, separated by commas), `REQUEST_DEADLINE` (seconds, 10), `ERROR_FORMAT` (problem | envelope).
 * Those of Redis are in `Redis`, those of sessions in `SessionToken` and `Sessions`; `.env.example` has them all.
 */

import { createServer } from "node:http"
import { fileURLToPath } from "node:url"
import { NodeHttpClient, NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { ResilientRedis } from "@failsoft/redis"
import { Config, Duration, Effect, Layer, Result, Schema } from "effect"
import { HttpServer } from "effect/http"
import { IpNetwork } from "effect/net"
import { PolicyConfig } from "failsoft"
import * as Parent from "../Parent.ts"
import * as Gateway from "./Gateway.ts"
import * as Services from "./Services.ts"

/** Text that a check accepts; else the message says what was expected and what was found. */
const text = (expected: string, isValid: (text: string) => boolean) =>
  Schema.String.check(
    Schema.makeFilter((found) => isValid(found) || `expected ${expected}, got ${JSON.stringify(found)}`)
  )

const Port = text("a port from 0 to 65535", (found) => /^\d{1,5}$/.test(found) && Number(found) <= 65_535)

const networksOf = (found: string) => found.split(",").map((network) => IpNetwork.fromString(network.trim()))
const Networks = text("networks such as 10.0.0.0/8, separated by commas", (found) =>
  networksOf(found).every(Result.isSuccess)
)

const settings = Config.all({
  host: Config.String("HOST").pipe(Config.withDefault("127.0.0.1")),
  port: Config.schema(Port, "PORT").pipe(Config.map(Number), Config.withDefault(3000)),
  trustedProxies: Config.schema(Networks, "TRUSTED_PROXIES").pipe(
    Config.map((found) =>
      networksOf(found)
        .filter(Result.isSuccess)
        .map(({ success }) => success)
    ),
    Config.withDefault([])
  ),
  requestDeadline: Config.schema(PolicyConfig.ConfigDuration, "REQUEST_DEADLINE").pipe(
    Config.withDefault(Duration.seconds(10))
  ),
  errorFormat: Config.schema(
    text("problem or envelope", (found) => found === "problem" || found === "envelope"),
    "ERROR_FORMAT"
  ).pipe(
    Config.map((found) => (found === "envelope" ? found : "problem")),
    Config.withDefault("problem" as const)
  )
})

const tableFile = Config.String("SERVICES_FILE").pipe(
  Config.withDefault(fileURLToPath(new URL("../../services.json", import.meta.url)))
)

/** Tells the parent, and the log, where the gateway listens and whether it has its Redis. */
const announce = Layer.effectDiscard(
  Effect.gen(function* () {
    const { address } = yield* HttpServer.HttpServer
    const { redis_available } = yield* (yield* ResilientRedis.ResilientRedis).health
    const redis = redis_available ? "live" : "degraded"
    if (address._tag !== "UnixPathAddress") Parent.ready({ port: address.port, redis })
    yield* HttpServer.logAddress
    yield* Effect.logInfo(`redis: ${redis}`)
  })
)

const Main = Layer.unwrap(
  Effect.map(settings, ({ host, port, ...options }) =>
    announce.pipe(
      Layer.provide(Gateway.layer(options)),
      Layer.provide(NodeHttpServer.layer(() => createServer(), { host, port })),
      Layer.provide(Gateway.application),
      Layer.provide(NodeHttpClient.layerUndici)
    )
  )
)

Parent.whenGone(() => process.exit(0))

const explain = (error: {
  readonly _tag: string
  readonly message: string
  readonly cause?: unknown
}): string =>
  error._tag === "ServeError" && error.cause instanceof Error
    ? `HOST and PORT: ${error.cause.message}`
    : error.message

const program = Effect.gen(function* () {
  const Table = Services.layerTable(yield* tableFile)
  return yield* Layer.launch(Main).pipe(Effect.provide(Table))
}).pipe(
  Effect.tapError((error) => Effect.sync(() => process.stderr.write(`cannot start: ${explain(error)}\n`)))
)

NodeRuntime.runMain(program, { disableErrorReporting: true })
