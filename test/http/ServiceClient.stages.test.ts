/**
 * Bulkhead, rate limiter, hedge and budget around requests: over sockets where the wire matters, else in controlled time.
 */
import { describe, expect, it } from "@effect/vitest"
import { ServiceClient, ServiceClients } from "@failsoft/http"
import { ConfigProvider, Context, Duration, Effect, Fiber, Layer } from "effect"
import { HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { Deadline, InvalidOption, RateLimiter, RetryBudget } from "failsoft"
import * as Server from "./server.ts"

const { eventually, makeClient, scripted, serve } = Server

const up = () => new Response("ok")
const down = () => new Response("", { status: 503 })

const charge = HttpClientRequest.post("/charges")

describe("a hedge", () => {
  it.live("answers with what comes first, and takes the other request off the wire", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.hang, Server.ok)
      const client = yield* makeClient(server.url, { hedge: { delay: "20 millis" } })
      const answer = yield* client.get("/balance")
      expect([answer.status, server.requests.length]).toEqual([200, 2])
      yield* eventually(() => {
        expect(server.requests.map(({ abandoned }) => abandoned())).toEqual([true, false])
      })
    }).pipe(Effect.provide(Server.live))
  )

  it.effect.each([
    { what: "a GET", request: HttpClientRequest.get("/balance"), mark: false, times: 2 },
    { what: "a POST", request: charge, mark: false, times: 1 },
    { what: "a POST that is marked", request: charge, mark: true, times: 2 },
    {
      what: "a POST with a key",
      request: HttpClientRequest.setHeader(charge, "idempotency-key", "charge-1"),
      mark: false,
      times: 2
    }
  ])("sends $what $times times", ({ mark, request, times }) =>
    Effect.gen(function* () {
      const transport = scripted(() => undefined)
      const client = yield* Effect.provide(
        makeClient("http://billing", { hedge: { delay: "100 millis" }, retry: { attempts: 1 } }),
        transport.layer
      )
      const call = client.execute(request)
      const fiber = yield* Effect.forkChild(mark ? ServiceClient.idempotent(call) : call)
      yield* TestClock.adjust("1 second")
      expect(transport.sent).toHaveLength(times)
      yield* Fiber.interrupt(fiber)
    })
  )
})

describe("a bulkhead", () => {
  const full = { _tag: "ServiceUnavailable", service: "billing", reason: { _tag: "BulkheadFull" } }

  it.live("bounds what is under way at the server, and refuses the rest before the wire", () =>
    Effect.gen(function* () {
      const server = yield* serve(Server.hang)
      const client = yield* makeClient(server.url, { bulkhead: { limit: 3 } })
      const held = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(client.get("/balance")))
      yield* eventually(() => expect(server.requests).toHaveLength(3))
      expect(yield* Effect.flip(client.get("/balance"))).toMatchObject(full)
      expect(yield* Effect.flip(client.execute(charge))).toMatchObject(full)
      yield* Fiber.interruptAll(held)
      expect(server.requests).toHaveLength(3)
      const freed = yield* client.policy.bulkhead?.snapshot ?? Effect.undefined
      expect(freed).toMatchObject({ inFlight: 0, queued: 0 })
    }).pipe(Effect.provide(Server.live))
  )

  it.effect("serves the queue by the priority that its callers ask for", () =>
    Effect.gen(function* () {
      const transport = scripted(() => undefined, up)
      const client = yield* Effect.provide(
        makeClient("http://billing", { bulkhead: { limit: 1, queue: 2, priorities: 2 } }),
        transport.layer
      )
      const first = yield* Effect.forkChild(client.get("/first"))
      yield* TestClock.adjust(0)
      yield* Effect.forkChild(client.get("/later"))
      yield* TestClock.adjust(0)
      yield* Effect.forkChild(client.get("/sooner").pipe(ServiceClient.withPriority(1)))
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust(0)
      expect(transport.sent.map(({ request }) => new URL(request.url).pathname)).toEqual([
        "/first",
        "/sooner",
        "/later"
      ])
    })
  )

  /** A client whose only permit is taken by a GET, and a POST behind it that waits no longer than 300 ms in all. */
  const queued = Effect.gen(function* () {
    const transport = scripted(() => undefined)
    const client = yield* Effect.provide(
      makeClient("http://billing", { bulkhead: { limit: 1, queue: 1 } }),
      transport.layer
    )
    const first = yield* Effect.forkChild(client.get("/first"))
    yield* TestClock.adjust(0)
    const post = yield* client.execute(charge).pipe(Deadline.within("300 millis"), Effect.forkChild)
    return { first, post, methods: () => transport.sent.map(({ method }) => method) }
  })

  it.effect("a POST that its deadline took out of the queue was not sent: it is no Ambiguous", () =>
    Effect.gen(function* () {
      const { first, methods, post } = yield* queued
      yield* TestClock.adjust("300 millis")
      expect(yield* Effect.flip(Fiber.join(post))).toMatchObject({ _tag: "ServiceUnavailable" })
      yield* Fiber.interrupt(first)
      expect(methods()).toEqual(["GET"])
    })
  )

  it.effect("a POST that timed out after it waited and was sent is Ambiguous", () =>
    Effect.gen(function* () {
      const { first, methods, post } = yield* queued
      yield* TestClock.adjust("100 millis")
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("200 millis")
      expect(yield* Effect.flip(Fiber.join(post))).toMatchObject({ _tag: "Ambiguous", service: "billing" })
      expect(methods()).toEqual(["GET", "POST"])
    })
  )
})

describe("a rate limiter", () => {
  it.effect("lets through as many as told, by what each costs", () =>
    Effect.gen(function* () {
      const transport = scripted(up)
      const client = yield* Effect.provide(
        makeClient("http://billing", {
          rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 3, window: "1 minute" }) }
        }),
        transport.layer
      )
      yield* client.get("/balance").pipe(ServiceClient.withCost(2))
      yield* client.get("/balance")
      expect(yield* Effect.flip(client.get("/balance"))).toMatchObject({
        _tag: "ServiceUnavailable",
        reason: { _tag: "RateLimited" },
        retryAfter: Duration.minutes(1)
      })
      expect(transport.sent).toHaveLength(2)
    })
  )
})

describe("what requests ask of the policy", () => {
  type Ask = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  const asks: Readonly<Record<string, Ask>> = {
    idempotent: ServiceClient.idempotent,
    cost: ServiceClient.withCost(3),
    priority: ServiceClient.withPriority(1)
  }

  it.effect.each([
    ["idempotent", "cost", "priority"],
    ["priority", "idempotent", "cost"],
    ["cost", "priority", "idempotent"]
  ])("is all of what is said around them: %s, %s, %s", (order) =>
    Effect.gen(function* () {
      const transport = scripted(() => undefined, down)
      const client = yield* Effect.provide(
        makeClient("http://billing", {
          bulkhead: { limit: 1, queue: 2, priorities: 2 },
          rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 10, window: "1 minute" }) }
        }),
        transport.layer
      )
      const asked = order.reduce((call, name) => asks[name]?.(call) ?? call, client.execute(charge))
      const first = yield* Effect.forkChild(client.get("/first"))
      yield* TestClock.adjust(0)
      yield* Effect.forkChild(client.get("/later"))
      yield* TestClock.adjust(0)
      yield* Effect.forkChild(asked)
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("1 second")
      // It was served before the one that came first, and sent again.
      expect(transport.sent.map(({ method }) => method).slice(0, 2)).toEqual(["GET", "POST"])
      expect(transport.sent.filter(({ method }) => method === "POST")).toHaveLength(2)
      const left = yield* client.policy.rateLimiter!.peek()
      // Of ten: the first, two attempts of the second, and two of the request.
      expect(left.remaining).toBe(10 - 1 - 2 - 2 * 3)
    })
  )

  it.effect("is what is said the nearest to them", () =>
    Effect.gen(function* () {
      const transport = scripted(up)
      const client = yield* Effect.provide(
        makeClient("http://billing", {
          rateLimiter: { algorithm: RateLimiter.fixedWindow({ limit: 10, window: "1 minute" }) }
        }),
        transport.layer
      )
      yield* client.get("/balance").pipe(ServiceClient.withCost(2), ServiceClient.withCost(5))
      expect((yield* client.policy.rateLimiter!.peek()).remaining).toBe(8)
    })
  )
})

describe("a budget", () => {
  class Auth extends Context.Service<Auth, ServiceClient.ServiceClient>()("test/Auth") {}
  class Billing extends Context.Service<Billing, ServiceClient.ServiceClient>()("test/Billing") {}
  class Search extends Context.Service<Search, ServiceClient.ServiceClient>()("test/Search") {}

  it.effect("is shared by the clients of a table, but for one that has its own", () =>
    Effect.gen(function* () {
      const transport = scripted(down)
      const budget = yield* RetryBudget.make({ name: "all", minPerSecond: 0.001, ratio: 0 })
      const row = (host: string) => ({ url: `http://${host}`, retry: { attempts: 5, base: "1 millis" } })
      const table = {
        auth: row("auth"),
        billing: row("billing"),
        search: { ...row("search"), retryBudget: { enabled: false } }
      }
      const keys = { auth: Auth, billing: Billing, search: Search }
      const Live = ServiceClients.layerConfig(keys, "services", { retryBudget: budget }).pipe(
        Layer.provide(transport.layer),
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ services: table })))
      )
      yield* Effect.gen(function* () {
        const clients = [yield* Auth, yield* Billing, yield* Search]
        expect(clients.map(({ policy }) => policy.retryBudget === budget)).toEqual([true, true, false])
        for (const client of clients) {
          const fiber = yield* Effect.forkChild(Effect.exit(client.get("/")))
          yield* TestClock.adjust("1 second")
          yield* Fiber.join(fiber)
        }
      }).pipe(Effect.provide(Live))
      const hosts = transport.sent.map(({ request }) => new URL(request.url).hostname)
      const times = (name: string) => hosts.filter((host) => host === name).length
      // One token in all: the first client's first retry takes it.
      expect([times("auth"), times("billing"), times("search")]).toEqual([2, 1, 5])
    })
  )
})

describe("options of these stages", () => {
  it.effect.each([
    { options: { bulkhead: { limit: 0 } }, option: "bulkhead.limit" },
    { options: { hedge: { hedges: 9 } }, option: "hedge.hedges" },
    { options: { retryBudget: { ratio: 2 } }, option: "retryBudget.ratio" },
    {
      options: { rateLimiter: { algorithm: RateLimiter.gcra({ limit: 0, period: "1 second" }) } },
      option: "rateLimiter.algorithm.limit"
    }
  ])("are checked where the client is made: $option", ({ option, options }) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(makeClient("http://billing", options))
      expect(error).toBeInstanceOf(InvalidOption)
      expect(error).toMatchObject({ policy: "billing", option })
    }).pipe(Effect.provide(scripted(up).layer))
  )

  it.effect("come from configuration, and the policy describes them", () =>
    Effect.gen(function* () {
      class Billing extends Context.Service<Billing, ServiceClient.ServiceClient>()("test/Billing") {}
      const row = {
        url: "http://billing",
        deadline: 3,
        hedge: { delay: "300 millis" },
        retryBudget: { ratio: 0.2 },
        bulkhead: { limit: 20, queue: 20, queueTimeout: 1 },
        rateLimiter: { algorithm: "gcra", limit: 100, period: 1 }
      }
      const Live = ServiceClient.layerConfig(Billing, "billing").pipe(
        Layer.provide(scripted(up).layer),
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ billing: row })))
      )
      const stages = yield* Effect.flatMap(Billing, ({ policy }) => policy.describe).pipe(
        Effect.provide(Live)
      )
      expect(stages.map(({ stage }) => stage)).toEqual([
        "deadline",
        "retry",
        "hedge",
        "circuit gate",
        "rate limiter",
        "bulkhead",
        "circuit breaker",
        "attempt timeout"
      ])
    })
  )
})
