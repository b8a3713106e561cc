/**
 * The table of services as it is shipped: how often each is tried, how long it may take, when its circuit opens and for
 * how long.
 */
import { describe, expect, it } from "@effect/vitest"
import type { ServiceClient } from "@failsoft/http"
import { ConfigProvider, Duration, Effect, Fiber, Layer, Logger } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { ServiceUnavailable } from "failsoft"
import * as Services from "failsoft-example-chat-gateway/gateway/Services"
import { vi } from "vitest"
import {
  type ByService,
  bearer,
  byService,
  json,
  logIn,
  type Running,
  type ServiceName,
  serviceNames,
  shipped,
  start,
  tokenOf
} from "./inProcess.ts"

vi.setConfig({ testTimeout: 20_000, maxConcurrency: 8 })

/** Section 3 of the requirements. */
const required: ByService<{
  readonly attempts: number
  readonly timeoutSeconds: number
  readonly failures: number
  readonly openSeconds: number
}> = {
  auth: { attempts: 2, timeoutSeconds: 5, failures: 5, openSeconds: 60 },
  billing: { attempts: 2, timeoutSeconds: 5, failures: 10, openSeconds: 30 },
  chroma: { attempts: 1, timeoutSeconds: 30, failures: 5, openSeconds: 60 },
  filesystem: { attempts: 2, timeoutSeconds: 10, failures: 5, openSeconds: 60 },
  git: { attempts: 1, timeoutSeconds: 10, failures: 5, openSeconds: 90 },
  external: { attempts: 1, timeoutSeconds: 15, failures: 5, openSeconds: 60 }
}

/** What to ask of the gateway, and the requests that the service must see for it while it answers 500. */
const seen: ByService<
  readonly [path: string, init: RequestInit | undefined, routes: Record<string, number>]
> = {
  auth: ["/api/v1/me", undefined, { "POST /verify": 2 }],
  billing: ["/api/v1/chat", json({ message: "circuit" }), { "GET /balance/:userId": 2, "POST /charges": 2 }],
  chroma: ["/api/v1/chat", json({ message: "circuit" }), { "POST /query": 1 }],
  filesystem: ["/api/v1/projects/p-1/files", undefined, { "GET /projects/:id/files": 2 }],
  git: ["/api/v1/projects/p-1/commits", undefined, { "GET /projects/:id/commits": 1 }],
  external: ["/api/v1/data/weather", undefined, { "GET /data/:topic": 1 }]
}

const routesOf = ({ upstreams }: Running, name: ServiceName) => upstreams[name].stats().routes

describe.concurrent("over sockets, with the table as shipped, one request makes", () => {
  for (const name of serviceNames) {
    const [path, init, routes] = seen[name]
    it.live(`${required[name].attempts} attempts of each call to ${name} when it answers 500`, () =>
      Effect.gen(function* () {
        const running = yield* start({ rows: shipped })
        const token = yield* tokenOf(running)
        yield* running.setMode(name, "fail")
        const before = routesOf(running, name)
        yield* running.send(path, { ...init, headers: { ...init?.headers, ...bearer(token) } })
        expect(routesOf(running, name)).toEqual({ ...before, ...routes })
        expect(Object.values(routes).every((count) => count === required[name].attempts)).toBe(true)
      })
    )
  }

  it.live("one attempt to log in, which must not run twice", () =>
    Effect.gen(function* () {
      const running = yield* start({ rows: shipped })
      yield* running.setMode("auth", "fail")
      expect((yield* logIn(running)).status).toBe(503)
      expect(routesOf(running, "auth")).toEqual({ "POST /login": 1 })
    })
  )

  it.live("two attempts to look an owner up", () =>
    Effect.gen(function* () {
      const running = yield* start({ rows: shipped })
      const token = yield* tokenOf(running)
      const files = running.send("/api/v1/projects/p-1/files", { headers: bearer(token) })
      yield* running.setMode("auth", { mode: "slow", delayMillis: 300 })
      const asking = yield* Effect.forkChild(files)
      // It has been let through by the token check by the time that the owner is asked for.
      yield* Effect.promise(() =>
        vi.waitFor(() => expect(routesOf(running, "auth")["POST /verify"]).toBe(1), { interval: 5 })
      )
      yield* running.setMode("auth", "fail")
      expect((yield* Fiber.join(asking)).status).toBe(403)
      expect(routesOf(running, "auth")["GET /projects/:id/owner"]).toBe(2)
    })
  )
})

const clients = Effect.gen(function* () {
  return {
    auth: yield* Services.AuthService,
    billing: yield* Services.BillingService,
    chroma: yield* Services.ChromaService,
    filesystem: yield* Services.FilesystemService,
    git: yield* Services.GitService,
    external: yield* Services.ExternalService
  } satisfies ByService<ServiceClient.ServiceClient>
})

type Behaviour = "answers" | "fails" | "hangs"

/** A client of one service, from a table, over a transport without sockets: all of its time is the test's own. */
const withClient = <A, E>(
  name: ServiceName,
  services: ByService<object>,
  use: (
    client: ServiceClient.ServiceClient,
    service: { behaviour: Behaviour; readonly sent: Array<string> }
  ) => Effect.Effect<A, E>
): Effect.Effect<A, E> => {
  const service = { behaviour: "answers" as Behaviour, sent: [] as Array<string> }
  const transport = HttpClient.make((request) =>
    Effect.suspend(() => {
      service.sent.push(`${request.method} ${new URL(request.url).pathname}`)
      if (service.behaviour === "hangs") return Effect.never
      const status = service.behaviour === "fails" ? 500 : 200
      return Effect.succeed(HttpClientResponse.fromWeb(request, new Response("{}", { status })))
    })
  )
  const Live = Services.layer.pipe(
    Layer.provide(Layer.succeed(HttpClient.HttpClient, transport)),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ services }))),
    Layer.provide(Logger.layer([])),
    Layer.orDie
  )
  return Effect.flatMap(clients, (all) => use(all[name], service)).pipe(Effect.provide(Live))
}

const stateOf = ({ policy }: ServiceClient.ServiceClient): Effect.Effect<string> =>
  policy.breaker === undefined
    ? Effect.succeed("no circuit")
    : Effect.map(policy.breaker.snapshot, ({ state }) => state)

describe("the circuit, with the table as shipped", () => {
  for (const name of serviceNames) {
    const { failures, openSeconds } = required[name]

    it.effect(
      `of ${name} opens at failure ${failures} and is probed after ${openSeconds} s, not before`,
      () =>
        withClient(name, shipped, (client, service) =>
          Effect.gen(function* () {
            service.behaviour = "fails"
            // A POST is tried once, so that calls and failures are as many.
            const call = Effect.exit(client.post("/call"))
            for (let failed = 0; failed < failures; failed++) {
              expect([failed, yield* stateOf(client)]).toEqual([failed, "closed"])
              yield* call
            }
            expect(yield* stateOf(client)).toBe("open")
            expect(yield* Effect.flip(client.post("/call"))).toMatchObject({
              reason: { _tag: "CircuitOpen" }
            })
            expect(service.sent).toEqual(Array.from({ length: failures }, () => "POST /call"))

            service.behaviour = "answers"
            service.sent.length = 0
            yield* TestClock.adjust(Duration.millis(openSeconds * 1000 - 1))
            expect([yield* stateOf(client), service.sent]).toEqual(["open", []])
            yield* TestClock.adjust("1 millis")
            expect([yield* stateOf(client), service.sent]).toEqual(["closed", ["GET /health"]])
          })
        )
    )

    it.effect(`of ${name} opens again when its probe fails, for as long`, () =>
      withClient(name, shipped, (client, service) =>
        Effect.gen(function* () {
          service.behaviour = "fails"
          yield* Effect.repeat(Effect.exit(client.post("/call")), { times: failures - 1 })
          service.sent.length = 0
          for (let opening = 1; opening <= 3; opening++) {
            yield* TestClock.adjust(Duration.seconds(openSeconds))
            expect([yield* stateOf(client), service.sent.length]).toEqual(["open", opening])
          }
        })
      )
    )
  }
})

describe("time", () => {
  /** Milliseconds of the test's clock until a call to a service that hangs is given up. */
  const patienceOf = (name: ServiceName, services: ByService<object>) =>
    withClient(name, services, (client, service) =>
      Effect.gen(function* () {
        service.behaviour = "hangs"
        const call = yield* Effect.forkChild(Effect.flip(client.post("/call")))
        let waited = 0
        while (call.pollUnsafe() === undefined && waited < 120) {
          yield* TestClock.adjust("1 second")
          waited++
        }
        expect(yield* Fiber.join(call)).toMatchObject({
          _tag: "Ambiguous",
          cause: expect.any(ServiceUnavailable)
        })
        return waited
      })
    )
  const withoutDeadlines = byService((name) => ({ ...shipped[name], deadline: 600 }))

  for (const name of serviceNames) {
    const { timeoutSeconds } = required[name]

    it.effect(`an attempt at ${name} may take ${timeoutSeconds} s`, () =>
      Effect.gen(function* () {
        expect(shipped[name].attemptTimeout).toBe(timeoutSeconds)
        expect(yield* patienceOf(name, withoutDeadlines)).toBe(timeoutSeconds)
      })
    )

    it.effect(`a call to ${name} ends by its deadline, ${shipped[name].deadline} s`, () =>
      Effect.gen(function* () {
        expect(shipped[name].deadline).toBeLessThan(10)
        expect(yield* patienceOf(name, shipped)).toBe(Math.min(shipped[name].deadline, timeoutSeconds))
      })
    )
  }
})
