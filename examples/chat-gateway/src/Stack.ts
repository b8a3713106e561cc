/**
 * The whole example as processes: six stand-in upstreams and the gateway in front of them.
 */

import { fileURLToPath } from "node:url"
import { Effect, Schema, Scope } from "effect"
import * as Processes from "./Processes.ts"
import { upstreams } from "./upstreams/Upstreams.ts"

/** A running upstream, which can be killed and started again on the same ports. */
export interface Upstream {
  readonly name: string
  readonly port: number
  readonly controlPort: number
  /** Switches to a mode: a name, or JSON with the options of the mode. */
  readonly setMode: (mode: string) => Effect.Effect<void>
  /** How many requests it has seen. */
  readonly requests: Effect.Effect<number>
  readonly kill: Effect.Effect<void>
  readonly restart: Effect.Effect<void, Processes.ProcessFailed>
}

/** What to set for the gateway, and where what the processes print goes. */
export interface Options {
  readonly gatewayEnv: Readonly<Record<string, string>>
  readonly print?: (line: string) => void
}

const GatewayReady = Schema.Struct({ port: Schema.Port, redis: Schema.Literals(["live", "degraded"]) })

const printTo = (print: Options["print"]) => (print === undefined ? {} : { print })

const Stats = Schema.Struct({ total: Schema.Finite })

const startUpstream = Effect.fnUntraced(function* (name: string, print: Options["print"]) {
  const scope = yield* Effect.scope
  const first = yield* Processes.spawnUpstream(name, printTo(print))
  let running = first
  const upstream: Upstream = {
    name,
    ...first.ready,
    setMode: (mode) => Effect.asVoid(control(first.ready.controlPort, "mode", { method: "PUT", body: mode })),
    requests: Effect.map(
      control(first.ready.controlPort, "stats"),
      (stats) => Schema.decodeUnknownSync(Stats)(stats).total
    ),
    kill: Effect.suspend(() => running.kill),
    restart: Processes.spawnUpstream(name, { ...first.ready, ...printTo(print) }).pipe(
      Effect.tap((process) => Effect.sync(() => (running = process))),
      Effect.asVoid,
      Effect.provideService(Scope.Scope, scope)
    )
  }
  return upstream
})

const control = (port: number, path: string, init?: RequestInit): Effect.Effect<unknown> =>
  Effect.promise(async (signal) => {
    const response = await fetch(`http://127.0.0.1:${port}/${path}`, { ...init, signal })
    if (!response.ok) throw new Error(await response.text())
    return await response.json()
  })

/** Starts the upstreams on free ports and a gateway that knows them. Closing the scope ends every process. */
export const start = Effect.fnUntraced(function* ({ gatewayEnv, print }: Options) {
  const running = yield* Effect.forEach(upstreams, ({ name }) => startUpstream(name, print), {
    concurrency: "unbounded"
  })
  const urls = running.map(({ name, port }) => [
    `SERVICES_${name.toUpperCase()}_URL`,
    `http://127.0.0.1:${port}`
  ])
  const gateway = yield* Processes.spawn({
    name: "gateway",
    file: fileURLToPath(new URL("./gateway/main.ts", import.meta.url)),
    env: { ...Object.fromEntries(urls), ...gatewayEnv },
    ready: GatewayReady,
    ...printTo(print)
  })
  return { upstreams: running, gateway, url: `http://127.0.0.1:${gateway.ready.port}` }
})
