import { describe, expect, it } from "@effect/vitest"
import { ServiceClient } from "@failsoft/http"
import { Context, Duration, Effect, Exit, Fiber, Layer, Stream } from "effect"
import {
  HttpBody,
  HttpClient,
  HttpClientError,
  HttpClientRequest,
  type HttpClientResponse
} from "effect/http"
import { Ambiguous, InvalidOption, ServiceUnavailable } from "failsoft"
import { start } from "failsoft-example-chat-gateway/upstreams/Upstream"
import * as Server from "./server.ts"

const { eventually, makeClient, reply, serve } = Server

const statusOf = Effect.map(({ status }: HttpClientResponse.HttpClientResponse) => status)

const unavailable = (attempts: number) => ({
  _tag: "ServiceUnavailable",
  service: "billing",
  reason: { _tag: "RetriesExhausted", attempts, lastError: { _tag: "HttpClientError" } }
})

const statusError = (status: number) => ({
  _tag: "HttpClientError",
  reason: { _tag: "StatusCodeError", response: { status } }
})

const transportError = { _tag: "HttpClientError", reason: { _tag: "TransportError" } }

describe("the URL", () => {
  it.live.each([
    { base: "", path: "/balance", is: "/balance" },
    { base: "/", path: "/balance", is: "/balance" },
    { base: "", path: "balance", is: "/balance" },
    { base: "/", path: "balance", is: "/balance" },
    { base: "/api/v1", path: "/balance", is: "/api/v1/balance" },
    { base: "/api/v1/", path: "/balance", is: "/api/v1/balance" },
    { base: "/api", path: "/balance?of=ada&to=a%20b", is: "/api/balance?of=ada&to=a%20b" },
    { base: "/api", path: "", is: "/api/" }
  ])("is $base and $path put together", ({ base, path, is }) =>
    Effect.gen(function* () {
      const server = yield* serve(Server.ok)
      const client = yield* makeClient(`${server.url}${base}`)
      yield* client.get(path)
      expect(server.requests.map((request) => request.path)).toEqual([is])
    }).pipe(Effect.provide(Server.live))
  )

  it.live("stays the service's own, whatever the path says", () =>
    Effect.gen(function* () {
      const [server, elsewhere] = [yield* serve(Server.ok), yield* serve(Server.ok)]
      const client = yield* makeClient(server.url)
      yield* client.get(`${elsewhere.url}/balance`)
      yield* client.get("//elsewhere.example/balance")
      expect([server.requests.length, elsewhere.requests.length]).toEqual([2, 0])
    }).pipe(Effect.provide(Server.live))
  )

  it.live("takes parameters, headers and a body", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.ok)
      const client = yield* makeClient(server.url)
      yield* HttpClientRequest.put("/balance").pipe(
        HttpClientRequest.setUrlParams({ of: "ada", since: "a b" }),
        HttpClientRequest.bearerToken("token"),
        HttpClientRequest.bodyJson({ amount: 1 }),
        Effect.flatMap(client.execute)
      )
      expect(server.requests[0]).toMatchObject({
        method: "PUT",
        path: "/balance?of=ada&since=a+b",
        headers: { authorization: "Bearer token", "content-type": "application/json" },
        body: '{"amount":1}'
      })
    }).pipe(Effect.provide(Server.live))
  )

  it.live("is prepended by what a caller's own client adds", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.ok)
      const client = yield* makeClient(`${server.url}/api`)
      const users = client.pipe(HttpClient.mapRequest(HttpClientRequest.prependUrl("/users")))
      yield* users.get("/ada")
      expect(server.requests[0]?.path).toBe("/api/users/ada")
    }).pipe(Effect.provide(Server.live))
  )
})

describe("what is retried", () => {
  it.live.each([
    ...(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] as const).map((method) => ({
      what: method,
      request: HttpClientRequest.make(method)("/balance"),
      mark: false,
      times: 3
    })),
    ...(["POST", "PATCH"] as const).flatMap((method) => {
      const request = HttpClientRequest.make(method)("/charges")
      return [
        { what: method, request, mark: false, times: 1 },
        { what: `${method} marked idempotent`, request, mark: true, times: 3 },
        {
          what: `${method} with Idempotency-Key`,
          request: HttpClientRequest.setHeader(request, "Idempotency-Key", "charge-1"),
          mark: false,
          times: 3
        },
        {
          what: `${method} with a body in memory, marked`,
          request: HttpClientRequest.bodyJsonUnsafe(request, { amount: 1 }),
          mark: true,
          times: 3
        }
      ]
    }),
    {
      what: "PUT with a stream",
      request: HttpClientRequest.put("/charges").pipe(
        HttpClientRequest.bodyStream(Stream.make(new TextEncoder().encode("charge")))
      ),
      mark: false,
      times: 1
    },
    {
      what: "POST with a stream, marked",
      request: HttpClientRequest.post("/charges").pipe(
        HttpClientRequest.bodyStream(Stream.make(new TextEncoder().encode("charge")))
      ),
      mark: true,
      times: 1
    }
  ])("$what: $times of 3", ({ mark, request, times }) =>
    Effect.gen(function* () {
      const server = yield* serve(reply(503))
      const client = yield* makeClient(server.url, { retry: { attempts: 3 } })
      const call = client.execute(request)
      const error = yield* Effect.flip(mark ? ServiceClient.idempotent(call) : call)
      expect(server.requests).toHaveLength(times)
      expect(new Set(server.requests.map(({ body, method }) => `${method} ${body}`)).size).toBe(1)
      expect(error).toMatchObject(times === 1 ? statusError(503) : unavailable(3))
    }).pipe(Effect.provide(Server.live))
  )

  it.live("marks only the requests of its own effect", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(503))
      const client = yield* makeClient(server.url)
      yield* Effect.exit(ServiceClient.idempotent(client.post("/verify")))
      yield* Effect.exit(client.post("/charge"))
      expect(server.requests.map(({ path }) => path)).toEqual(["/verify", "/verify", "/charge"])
    }).pipe(Effect.provide(Server.live))
  )

  it.live.each([1, 2, 3])("%d attempts are that many requests", (attempts) =>
    Effect.gen(function* () {
      const server = yield* serve(reply(500))
      const client = yield* makeClient(server.url, { retry: { attempts } })
      expect(yield* Effect.flip(client.get("/balance"))).toMatchObject(unavailable(attempts))
      expect(server.requests).toHaveLength(attempts)
    }).pipe(Effect.provide(Server.live))
  )

  it.live.each([
    { given: "nothing", options: {} },
    { given: "a schedule alone", options: { retry: { schedule: Server.hasty } } },
    { given: "attempts left undefined", options: { retry: { attempts: undefined, schedule: Server.hasty } } }
  ])("is tried twice when $given says how often", ({ options }) =>
    Effect.gen(function* () {
      const server = yield* serve(reply(503), reply(503), Server.ok)
      const client = yield* ServiceClient.make("billing", { url: server.url, ...options })
      expect(yield* Effect.flip(client.get("/balance"))).toMatchObject(unavailable(2))
      expect(server.requests).toHaveLength(2)
    }).pipe(Effect.provide(Server.live))
  )

  it.live("stops at the first answer", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(502), Server.reset, Server.ok)
      const client = yield* makeClient(server.url, { retry: { attempts: 5 } })
      expect(yield* statusOf(client.get("/balance"))).toBe(200)
      expect(server.requests).toHaveLength(3)
    }).pipe(Effect.provide(Server.live))
  )

  it.live("is sent as it was at every attempt", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(503), reply(503), Server.ok)
      const client = yield* makeClient(server.url, { retry: { attempts: 3 } })
      yield* client.put("/balance", { body: HttpBody.text("everything"), headers: { "x-tenant": "a" } })
      expect(server.requests.map(({ body, headers }) => [body, headers["x-tenant"]])).toEqual(
        Array(3).fill(["everything", "a"])
      )
    }).pipe(Effect.provide(Server.live))
  )

  it.live("is sent once where retrying is switched off, and an outage is still one", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(503))
      const client = yield* makeClient(server.url, { retry: { enabled: false } })
      const error = yield* Effect.flip(client.get("/balance"))
      expect(error).toMatchObject({
        _tag: "ServiceUnavailable",
        reason: { _tag: "RetriesExhausted", attempts: 1 }
      })
      expect(server.requests).toHaveLength(1)
    }).pipe(Effect.provide(Server.live))
  )
})

describe("a status", () => {
  const snapshotOf = (client: ServiceClient.ServiceClient) =>
    client.policy.breaker?.snapshot ?? Effect.undefined

  it.live.each([200, 201, 301, 302, 400, 401, 403, 404, 409, 410, 418, 422, 499, 501, 505, 511, 999])(
    "%d is an answer",
    (status) =>
      Effect.gen(function* () {
        const server = yield* serve(reply(status, "read me"))
        const client = yield* makeClient(server.url, {
          breaker: { trip: { _tag: "Consecutive", failures: 1 } }
        })
        const response = yield* client.get("/balance")
        expect([response.status, yield* response.text]).toEqual([status, "read me"])
        expect(server.requests).toHaveLength(1)
        expect(yield* snapshotOf(client)).toMatchObject({
          state: "closed",
          counts: { successful: 1, total: 1 }
        })
      }).pipe(Effect.provide(Server.live))
  )

  it.live.each([408, 500, 502, 503, 504])("%d is retried and counts against the service", (status) =>
    Effect.gen(function* () {
      const server = yield* serve(reply(status, "no"))
      const client = yield* makeClient(server.url)
      expect(yield* Effect.flip(client.get("/balance"))).toMatchObject({
        reason: { _tag: "RetriesExhausted", attempts: 2, lastError: statusError(status) }
      })
      expect(server.requests).toHaveLength(2)
      expect(yield* snapshotOf(client)).toMatchObject({ failuresInARow: 2, counts: { failed: 2, total: 2 } })
    }).pipe(Effect.provide(Server.live))
  )

  it.live("429 is retried and says nothing about the service's health", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(429))
      const client = yield* makeClient(server.url, {
        breaker: { trip: { _tag: "Consecutive", failures: 1 } }
      })
      expect(yield* Effect.flip(client.get("/balance"))).toMatchObject({
        reason: { _tag: "RetriesExhausted", attempts: 2, lastError: statusError(429) }
      })
      expect(server.requests).toHaveLength(2)
      expect(yield* snapshotOf(client)).toMatchObject({ state: "closed", counts: { ignored: 2, total: 2 } })
    }).pipe(Effect.provide(Server.live))
  )

  it.live.each([408, 429, 500, 503])("%d to a POST is its own error", (status) =>
    Effect.gen(function* () {
      const server = yield* serve(reply(status))
      const client = yield* makeClient(server.url)
      const error = yield* Effect.flip(client.post("/charges"))
      expect(error).toMatchObject(statusError(status))
      expect(HttpClientError.isHttpClientError(error)).toBe(true)
      expect(server.requests).toHaveLength(1)
    }).pipe(Effect.provide(Server.live))
  )
})

describe.each(Object.entries(Server.transports))("a fault of the wire over %s", (_, transport) => {
  const provide = Effect.provide(Layer.merge(transport, Server.silent))

  it.live("a refused connection is retried, then the service is unavailable", () =>
    Effect.gen(function* () {
      const client = yield* makeClient(yield* Server.refusing, { retry: { attempts: 3 } })
      expect(yield* Effect.flip(client.get("/balance"))).toMatchObject({
        reason: { _tag: "RetriesExhausted", attempts: 3, lastError: transportError }
      })
    }).pipe(provide)
  )

  it.live.each([
    { fault: "before the headers", answer: Server.reset },
    { fault: "in the body", answer: Server.resetInBody }
  ])("a connection that is reset $fault is retried, then the service is unavailable", ({ answer }) =>
    Effect.gen(function* () {
      const server = yield* serve(answer, Server.ok, answer)
      const client = yield* makeClient(server.url)
      expect(yield* statusOf(client.get("/balance"))).toBe(200)
      expect(server.requests).toHaveLength(2)
      expect(yield* Effect.flip(client.get("/balance"))).toMatchObject({
        reason: { _tag: "RetriesExhausted", attempts: 2, lastError: transportError }
      })
      expect(server.requests).toHaveLength(4)
      expect(yield* client.policy.breaker!.snapshot).toMatchObject({ counts: { failed: 3, successful: 1 } })
    }).pipe(provide)
  )

  it.live.each([
    { fault: "before the headers", answer: Server.reset },
    { fault: "in the body", answer: Server.resetInBody }
  ])("a POST whose connection is reset $fault keeps its error and is sent once", ({ answer }) =>
    Effect.gen(function* () {
      const server = yield* serve(answer)
      const client = yield* makeClient(server.url)
      expect(yield* Effect.flip(client.post("/charges"))).toMatchObject(transportError)
      expect(server.requests).toHaveLength(1)
    }).pipe(provide)
  )

  it.live.each([
    { fault: "hangs", answer: Server.hang },
    { fault: "drips", answer: Server.drip() }
  ])("a service that $fault is given up at the attempt timeout, and its socket closed", ({ answer }) =>
    Effect.gen(function* () {
      const server = yield* serve(answer)
      const client = yield* makeClient(server.url, { attemptTimeout: "250 millis" })
      expect(yield* Effect.flip(client.get("/balance"))).toMatchObject({
        _tag: "ServiceUnavailable",
        service: "billing",
        reason: { _tag: "TimedOut", after: Duration.millis(250), of: Duration.millis(250) }
      })
      expect(server.requests).toHaveLength(2)
      yield* eventually(() =>
        expect(server.requests.map(({ abandoned }) => abandoned())).toEqual([true, true])
      )
      yield* eventually(() => expect(server.sockets()).toBe(0))
      expect(yield* client.policy.breaker!.snapshot).toMatchObject({ counts: { failed: 2 } })
    }).pipe(provide)
  )

  it.live("an interrupted caller aborts its request", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.hang)
      const client = yield* makeClient(server.url)
      const call = yield* Effect.forkChild(client.get("/balance"))
      yield* eventually(() => expect(server.requests).toHaveLength(1))
      yield* Fiber.interrupt(call)
      yield* eventually(() => expect(server.requests[0]?.abandoned()).toBe(true))
      yield* eventually(() => expect(server.sockets()).toBe(0))
      expect(yield* client.policy.breaker!.snapshot).toMatchObject({ counts: { ignored: 1, failed: 0 } })
    }).pipe(provide)
  )

  it.live("a caller that is interrupted while the body drips aborts its request", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.drip())
      const client = yield* makeClient(server.url)
      const call = yield* Effect.forkChild(client.get("/balance"))
      yield* eventually(() => expect(server.requests).toHaveLength(1))
      yield* Fiber.interrupt(call)
      yield* eventually(() => expect(server.requests[0]?.abandoned()).toBe(true))
    }).pipe(provide)
  )

  it.live("a discarded answer's body is cut off, and sockets do not pile up", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.drip(503))
      const client = yield* makeClient(server.url, {
        retry: { attempts: 1 },
        breaker: { trip: { _tag: "Consecutive", failures: 1000 } }
      })
      let most = 0
      for (let call = 1; call <= 50; call++) {
        yield* Effect.flip(client.get("/balance"))
        yield* eventually(() => expect(server.requests[call - 1]?.abandoned()).toBe(true))
        most = Math.max(most, server.sockets())
      }
      expect(server.requests).toHaveLength(50)
      expect(most).toBeLessThanOrEqual(2)
      yield* eventually(() => expect(server.sockets()).toBe(0))
    }).pipe(provide)
  )
})

describe("a stand-in upstream", () => {
  const upstream = Effect.acquireRelease(
    Effect.promise(() =>
      start({ name: "billing", routes: () => ({ "GET /balance": () => [200, { balance: 7 }] }) })
    ),
    ({ close }) => Effect.promise(close)
  )

  it.live("is unavailable in every mode that fails, and answers again afterwards", () =>
    Effect.gen(function* () {
      const billing = yield* upstream
      const client = yield* makeClient(`http://127.0.0.1:${billing.port}`, {
        attemptTimeout: "300 millis",
        retry: { attempts: 2, maxRetryAfter: "500 millis" },
        breaker: { trip: { _tag: "Consecutive", failures: 1000 } }
      })
      const balance = client.get("/balance").pipe(
        Effect.flatMap(({ json }) => json),
        Effect.catchTag("ServiceUnavailable", ({ reason }) => Effect.succeed(reason._tag))
      )
      const seen: Array<unknown> = []
      for (const mode of ["ok", "fail", "hang", "drip", "slow", "unavailable", "refuse", "ok"] as const) {
        yield* Effect.promise(() => billing.setMode(mode))
        const before = billing.stats().total
        seen.push([mode, yield* balance, billing.stats().total - before])
      }
      expect(seen).toEqual([
        ["ok", { balance: 7 }, 1],
        ["fail", "RetriesExhausted", 2],
        ["hang", "TimedOut", 2],
        ["drip", "TimedOut", 2],
        ["slow", "TimedOut", 2],
        // It asks for a second of patience, which is more than this client has.
        ["unavailable", "RetriesExhausted", 1],
        ["refuse", "RetriesExhausted", 0],
        ["ok", { balance: 7 }, 1]
      ])
      yield* eventually(() => expect(billing.stats()).toMatchObject({ inflight: 0, bodiesCutOff: 2 }))
    }).pipe(Effect.provide(Server.live))
  )
})

describe("enabled: false", () => {
  it.live("sends every request once and as it is", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(404), reply(503))
      const client = yield* makeClient(server.url, {
        enabled: false,
        deadline: "1 second",
        attemptTimeout: "1 millis"
      })
      expect(yield* statusOf(client.get("/balance"))).toBe(404)
      for (let call = 0; call < 10; call++) {
        expect(yield* Effect.flip(client.get("/balance"))).toMatchObject(statusError(503))
      }
      expect(server.requests).toHaveLength(11)
      expect(server.requests[0]?.headers).not.toHaveProperty("x-envoy-expected-rq-timeout-ms")
      expect(yield* client.policy.breaker!.snapshot).toMatchObject({ enabled: false, counts: { total: 0 } })
    }).pipe(Effect.provide(Server.live))
  )
})

describe("layer", () => {
  class Billing extends Context.Service<Billing, ServiceClient.ServiceClient>()("test/Billing") {}

  it.live("provides a client, named", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.ok)
      const program = Effect.gen(function* () {
        const billing = yield* Billing
        return [billing.policy.name, yield* statusOf(billing.get("/balance"))]
      })
      const layer = ServiceClient.layer(Billing, "billing", { url: server.url })
      expect(yield* Effect.provide(program, Layer.provide(layer, Server.live))).toEqual(["billing", 200])
    })
  )

  it.live("is an HttpClient that Effect's own combinators take", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(404))
      const client = yield* makeClient(server.url)
      const strict = client.pipe(HttpClient.filterStatusOk)
      expect(yield* Effect.flip(strict.get("/balance"))).toMatchObject(statusError(404))
    }).pipe(Effect.provide(Server.live))
  )
})

describe("a wrong option", () => {
  it.effect.each([
    [{ url: "" }, "url", '""'],
    [{ url: "billing.internal" }, "url", '"billing.internal"'],
    [{ url: "/balance" }, "url", '"/balance"'],
    [{ url: "ftp://billing.internal" }, "url", '"ftp://billing.internal"'],
    [{ url: "file:///etc/passwd" }, "url", '"file:///etc/passwd"'],
    [{ url: "http://ada:hunter2@billing.internal" }, "url", "a URL with credentials or a query"],
    [{ url: "http://hunter2@billing.internal" }, "url", "a URL with credentials or a query"],
    [{ url: "redis://:hunter2@billing.internal" }, "url", "a URL with credentials or a query"],
    [{ url: "ada:hunter2@billing.internal" }, "url", "a URL with credentials or a query"],
    [{ url: "http://billing.internal?key=hunter2" }, "url", "a URL with credentials or a query"],
    [{ url: "http://billing.internal/#top" }, "url", '"http://billing.internal/#top"'],
    [{ attemptTimeout: 0 }, "attemptTimeout", "0"],
    [{ attemptTimeout: Duration.infinity }, "attemptTimeout", "Infinity"],
    [{ deadline: -5 }, "deadline", "-5"],
    [{ maxBodyBytes: 0 }, "maxBodyBytes", "0"],
    [{ maxBodyBytes: 1.5 }, "maxBodyBytes", "1.5"],
    [{ maxBodyBytes: 1024 ** 3 + 1 }, "maxBodyBytes", "1073741825"],
    [{ retry: { attempts: 0 } }, "retry.attempts", "0"],
    [{ retry: { attempts: 101 } }, "retry.attempts", "101"],
    [{ breaker: { trip: { _tag: "Consecutive", failures: 0 } } }, "breaker.trip.failures", "0"],
    [{ breaker: { openDuration: 0 } }, "breaker.openDuration", "0"],
    [{ breaker: { halfOpen: { successes: 0 } } }, "breaker.halfOpen.successes", "0"],
    [{ probePath: "/health", probeEvery: 0 }, "breaker.probe.every", "0"]
  ] satisfies ReadonlyArray<[Partial<ServiceClient.Options>, string, string]>)(
    "%j is refused",
    ([options, option, value]) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(
          ServiceClient.make("billing", { url: "http://billing.internal", ...options })
        )
        expect(error).toBeInstanceOf(InvalidOption)
        expect(error).toMatchObject({ policy: "billing", option, value })
        expect(error.allowed).not.toBe("")
        expect(error.message).toBe(`billing: option "${option}" is ${value}, allowed is ${error.allowed}`)
        expect(JSON.stringify(error)).not.toContain("hunter2")
      }).pipe(Effect.provide(Server.live))
  )

  it.effect("an empty name is refused", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(ServiceClient.make("", { url: "http://billing.internal" }))
      expect(error.message).toContain('option "name" is ""')
    }).pipe(Effect.provide(Server.live))
  )
})

describe("what a POST fails with", () => {
  it.live("Ambiguous when it timed out after it was sent", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.hang)
      const client = yield* makeClient(server.url, { attemptTimeout: "250 millis" })
      const error = yield* Effect.flip(client.post("/charges"))
      expect(error).toBeInstanceOf(Ambiguous)
      expect(error).toMatchObject({
        service: "billing",
        operation: "POST request",
        cause: { _tag: "ServiceUnavailable", reason: { _tag: "TimedOut", after: Duration.millis(250) } }
      })
      expect(server.requests).toHaveLength(1)
      // A fallback for an outage does not swallow it.
      const fallback = client.post("/charges").pipe(client.policy.orElse(() => Effect.succeed("fallback")))
      expect(yield* Effect.flip(fallback)).toBeInstanceOf(Ambiguous)
      yield* eventually(() => expect(server.sockets()).toBe(0))
    }).pipe(Effect.provide(Server.live))
  )

  it.live("the circuit's rejection when nothing was sent", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(503))
      const client = yield* makeClient(server.url, {
        breaker: { trip: { _tag: "Consecutive", failures: 1 } }
      })
      yield* Effect.flip(client.post("/charges"))
      const error = yield* Effect.flip(client.post("/charges"))
      expect(error).toBeInstanceOf(ServiceUnavailable)
      expect(error).toMatchObject({ reason: { _tag: "CircuitOpen" } })
      expect(server.requests).toHaveLength(1)
    }).pipe(Effect.provide(Server.live))
  )

  it.live("ServiceUnavailable, not Ambiguous, when it is marked idempotent", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.hang)
      const client = yield* makeClient(server.url, { attemptTimeout: "250 millis" })
      const error = yield* Effect.flip(ServiceClient.idempotent(client.post("/verify")))
      expect(error).toMatchObject({ _tag: "ServiceUnavailable", reason: { _tag: "TimedOut" } })
      expect(server.requests).toHaveLength(2)
    }).pipe(Effect.provide(Server.live))
  )

  it.live("no effect of it remains when its caller is interrupted", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.hang)
      const client = yield* makeClient(server.url)
      const call = yield* Effect.forkChild(client.post("/charges"))
      yield* eventually(() => expect(server.requests).toHaveLength(1))
      yield* Fiber.interrupt(call)
      expect(Exit.hasInterrupts(yield* Fiber.await(call))).toBe(true)
      yield* eventually(() => expect(server.sockets()).toBe(0))
    }).pipe(Effect.provide(Server.live))
  )
})
