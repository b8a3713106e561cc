import { describe, expect, it } from "@effect/vitest"
import type { ServiceClient } from "@failsoft/http"
import { Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Health, PolicyEvent } from "failsoft"
import { circuits } from "../failsoft/health.ts"
import * as Server from "./server.ts"

const { eventually, makeClient, reply, scripted, serve } = Server

const down = () => new Response("", { status: 503 })
const up = () => new Response("ok")

const stateOf = (client: ServiceClient.ServiceClient) =>
  Effect.map(client.policy.breaker!.snapshot, ({ state }) => state)

/** The requests of a transport so far, by path. */
const pathsOf = ({ sent }: ReturnType<typeof scripted>) =>
  sent.map(({ request }) => request.url.replace("http://billing", ""))

const make = (transport: ReturnType<typeof scripted>, options: Omit<ServiceClient.Options, "url">) =>
  Effect.provide(
    makeClient("http://billing", {
      ...options,
      breaker: { trip: CircuitBreaker.consecutive(2), ...options.breaker },
      retry: { attempts: 1, ...options.retry }
    }),
    transport.layer
  )

describe("the circuit", () => {
  it.live("opens after as many failures as told, and nothing reaches the server while it is open", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(500), Server.reset, reply(503), Server.ok)
      const client = yield* makeClient(server.url, {
        retry: { attempts: 1 },
        breaker: { trip: CircuitBreaker.consecutive(3) }
      })
      for (let call = 0; call < 3; call++) {
        expect(yield* Effect.flip(client.get("/balance"))).toMatchObject({
          reason: { _tag: "RetriesExhausted" }
        })
      }
      const methods = ["get", "put", "del", "post", "patch", "head"] as const
      const rejected = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, call) => methods[call % methods.length] ?? "get"),
        (method) => Effect.flip(client[method]("/balance")),
        { concurrency: 10 }
      )
      expect(new Set(rejected.map((error) => "reason" in error && error.reason._tag))).toEqual(
        new Set(["CircuitOpen"])
      )
      expect(server.requests).toHaveLength(3)
      expect(yield* client.policy.breaker!.snapshot).toMatchObject({
        state: "open",
        counts: { failed: 3, rejected: 100, total: 103 }
      })
    }).pipe(Effect.provide(Server.live))
  )

  it.effect("opens after five failures by default and stays open for a minute", () =>
    Effect.gen(function* () {
      const transport = scripted(down)
      const client = yield* Effect.provide(makeClient("http://billing"), transport.layer)
      for (let call = 0; call < 5; call++) yield* Effect.exit(client.post("/charge"))
      expect(yield* stateOf(client)).toBe("open")
      const error = yield* Effect.flip(client.post("/charge"))
      expect(error).toMatchObject({ reason: { _tag: "CircuitOpen" }, retryAfter: Duration.minutes(1) })
      expect(transport.sent).toHaveLength(5)
    })
  )

  it.effect("counts every attempt, and ends the attempts when it opens", () =>
    Effect.gen(function* () {
      const transport = scripted(down)
      const client = yield* make(transport, {
        retry: { attempts: 2 },
        breaker: { trip: CircuitBreaker.consecutive(3) }
      })
      const calls = yield* Effect.forkChild(
        Effect.all([Effect.flip(client.get("/balance")), Effect.flip(client.get("/balance"))])
      )
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(calls)).toMatchObject([
        { reason: { attempts: 2 } },
        { reason: { attempts: 1 } }
      ])
      expect(transport.sent).toHaveLength(3)
    })
  )

  it.effect("is not opened by answers, however unwelcome, and they end a row of failures", () =>
    Effect.gen(function* () {
      const transport = scripted(
        down,
        () => new Response("", { status: 404 }),
        down,
        () => new Response("", { status: 401 })
      )
      const client = yield* make(transport, {})
      for (let call = 0; call < 20; call++) yield* Effect.exit(client.get("/balance"))
      expect(transport.sent).toHaveLength(20)
      expect(yield* client.policy.breaker!.snapshot).toMatchObject({
        state: "closed",
        counts: { failed: 2, successful: 18 }
      })
    })
  )

  it.effect("closes after one successful call", () =>
    Effect.gen(function* () {
      const transport = scripted(down, down, up)
      const client = yield* make(transport, {})
      yield* Effect.all([Effect.exit(client.get("/1")), Effect.exit(client.get("/2"))])
      yield* TestClock.adjust("59999 millis")
      expect(yield* stateOf(client)).toBe("open")
      yield* TestClock.adjust("1 millis")
      expect(yield* stateOf(client)).toBe("half_open")
      yield* client.get("/3")
      expect(yield* stateOf(client)).toBe("closed")
    })
  )

  it.effect("closes after as many successful calls as told", () =>
    Effect.gen(function* () {
      const transport = scripted(down, down, up)
      const client = yield* make(transport, { breaker: { halfOpen: { successes: 3 } } })
      yield* Effect.all([Effect.exit(client.get("/1")), Effect.exit(client.get("/2"))])
      yield* TestClock.adjust("1 minute")
      const states: Array<string> = []
      for (let call = 0; call < 3; call++) {
        yield* client.get("/balance")
        states.push(yield* stateOf(client))
      }
      expect(states).toEqual(["half_open", "half_open", "closed"])
    })
  )

  it.effect("admits one call at a time while half-open, and opens anew after an Ambiguous one", () =>
    Effect.gen(function* () {
      const transport = scripted(down, down, () => undefined, up)
      const client = yield* make(transport, {})
      yield* Effect.all([Effect.exit(client.get("/1")), Effect.exit(client.get("/2"))])
      yield* TestClock.adjust("1 minute")
      const first = yield* Effect.forkChild(Effect.flip(client.post("/charge")))
      yield* TestClock.adjust(0)
      expect(yield* Effect.flip(client.post("/charge"))).toMatchObject({ reason: { _tag: "CircuitOpen" } })
      yield* TestClock.adjust("5 seconds")
      expect(yield* Fiber.join(first)).toMatchObject({ _tag: "Ambiguous" })
      expect(yield* stateOf(client)).toBe("open")
      expect(transport.sent).toHaveLength(3)
    })
  )

  it.effect("can be switched off by itself", () =>
    Effect.gen(function* () {
      const transport = scripted(down)
      const client = yield* make(transport, { breaker: { enabled: false } })
      for (let call = 0; call < 20; call++) yield* Effect.exit(client.get("/balance"))
      expect(transport.sent).toHaveLength(20)
    })
  )

  it.effect("is a component of health, named as the client, as long as its scope lives", () =>
    Effect.gen(function* () {
      const transport = scripted(up)
      const names = Effect.map(circuits, (all) => all.map(({ enabled, name }) => [name, enabled]))
      const inside = yield* Effect.scoped(Effect.andThen(make(transport, {}), names))
      const without = yield* Effect.scoped(Effect.andThen(make(transport, { enabled: false }), names))
      expect([inside, without, yield* names]).toEqual([[["billing", true]], [["billing", false]], []])
    }).pipe(Effect.provide(Health.layer))
  )

  it.effect("counts what a fallback answered", () =>
    Effect.gen(function* () {
      const transport = scripted(down)
      const client = yield* make(transport, {})
      const balance = client.get("/balance").pipe(
        Effect.map(({ status }) => status),
        client.policy.orElse(() => Effect.succeed(0))
      )
      for (let call = 0; call < 5; call++) expect(yield* balance).toBe(0)
      expect(yield* client.policy.breaker!.snapshot).toMatchObject({
        counts: { failed: 2, rejected: 3, fallback: 3, total: 5 }
      })
    })
  )
})

describe("probePath", () => {
  const opened = (transport: ReturnType<typeof scripted>, options: Omit<ServiceClient.Options, "url"> = {}) =>
    Effect.gen(function* () {
      const client = yield* make(transport, { probePath: "/health", ...options })
      yield* Effect.all([Effect.exit(client.post("/1")), Effect.exit(client.post("/2"))])
      expect(yield* stateOf(client)).toBe("open")
      return client
    })

  it.effect("closes an idle circuit, asked when it is due and not before, and never again", () =>
    Effect.gen(function* () {
      const transport = scripted(down, down, up)
      const client = yield* opened(transport)
      yield* TestClock.adjust("59999 millis")
      expect(pathsOf(transport)).toEqual(["/1", "/2"])
      yield* TestClock.adjust("1 millis")
      expect(yield* stateOf(client)).toBe("closed")
      yield* TestClock.adjust("1 hour")
      expect(pathsOf(transport)).toEqual(["/1", "/2", "/health"])
      expect(transport.sent[2]).toMatchObject({ method: "GET", deadline: undefined })
    })
  )

  it.effect("is never asked while the circuit is closed", () =>
    Effect.gen(function* () {
      const transport = scripted(up)
      const client = yield* make(transport, { probePath: "/health" })
      yield* client.get("/balance")
      yield* TestClock.adjust("1 hour")
      expect(pathsOf(transport)).toEqual(["/balance"])
    })
  )

  it.effect("that fails is one request, and opens the circuit anew", () =>
    Effect.gen(function* () {
      const transport = scripted(down, down, down, down, up)
      const client = yield* opened(transport, { retry: { attempts: 5 } })
      yield* TestClock.adjust("1 minute")
      expect([transport.sent.length, yield* stateOf(client)]).toEqual([3, "open"])
      yield* TestClock.adjust("1 minute")
      expect([transport.sent.length, yield* stateOf(client)]).toEqual([4, "open"])
      yield* TestClock.adjust("1 minute")
      expect([transport.sent.length, yield* stateOf(client)]).toEqual([5, "closed"])
    })
  )

  it.effect("is asked every probeEvery until enough of them succeeded", () =>
    Effect.gen(function* () {
      const transport = scripted(down, down, up)
      const client = yield* opened(transport, {
        probeEvery: "2 seconds",
        breaker: { halfOpen: { successes: 3 } }
      })
      yield* TestClock.adjust("1 minute")
      yield* TestClock.adjust("4 seconds")
      expect(yield* stateOf(client)).toBe("closed")
      expect(transport.sent.slice(2).map(({ atMillis }) => atMillis)).toEqual([60_000, 62_000, 64_000])
    })
  )

  it.effect("that answers 404 closes the circuit: the service answers", () =>
    Effect.gen(function* () {
      const transport = scripted(down, down, () => new Response("", { status: 404 }))
      const client = yield* opened(transport)
      yield* TestClock.adjust("1 minute")
      expect(yield* stateOf(client)).toBe("closed")
    })
  )

  it.effect.each([
    ["the attempt timeout", { attemptTimeout: "2 seconds" }],
    ["the attempt timeout, which is sooner", { attemptTimeout: "2 seconds", deadline: "3 seconds" }],
    ["the deadline, which is sooner", { attemptTimeout: "5 seconds", deadline: "2 seconds" }]
  ] as const)("that hangs is given up at %s", ([, options]) =>
    Effect.gen(function* () {
      const transport = scripted(down, down, () => undefined, up)
      const client = yield* opened(transport, options)
      yield* TestClock.adjust("1 minute")
      yield* TestClock.adjust("1999 millis")
      expect([transport.sent.length, yield* stateOf(client)]).toEqual([3, "half_open"])
      yield* TestClock.adjust("1 millis")
      expect(yield* stateOf(client)).toBe("open")
    })
  )

  it.effect("that answers 429 says nothing about the service's health", () =>
    Effect.gen(function* () {
      const transport = scripted(down, down, () => new Response("", { status: 429 }), up)
      const client = yield* opened(transport)
      yield* TestClock.adjust("1 minute")
      expect([transport.sent.length, yield* stateOf(client)]).toEqual([3, "half_open"])
      yield* TestClock.adjust("5 seconds")
      expect([transport.sent.length, yield* stateOf(client)]).toEqual([4, "closed"])
    })
  )

  it.effect("is over with the client's scope", () =>
    Effect.gen(function* () {
      const transport = scripted(down)
      yield* Effect.scoped(opened(transport))
      yield* TestClock.adjust("1 hour")
      expect(pathsOf(transport)).toEqual(["/1", "/2"])
    })
  )

  it.live("brings an idle client back to a real server", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(503), Server.reset, reply(503), Server.drip(), reply(204), Server.ok)
      const told: Array<string> = []
      const client = yield* makeClient(`${server.url}/api`, {
        retry: { attempts: 1 },
        attemptTimeout: "300 millis",
        probePath: "/health",
        probeEvery: "10 millis",
        breaker: { trip: CircuitBreaker.consecutive(2), openDuration: "50 millis" }
      }).pipe(Effect.provideService(PolicyEvent.Listeners, [(event) => told.push(event._tag)]))
      yield* Effect.exit(client.get("/balance"))
      yield* Effect.exit(client.get("/balance"))
      yield* eventually(() => expect(told.at(-1)).toBe("CircuitClosed"))
      expect(server.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
        "GET /api/balance",
        "GET /api/balance",
        "GET /api/health",
        "GET /api/health",
        "GET /api/health"
      ])
      expect(told.filter((tag) => tag === "CircuitOpened")).toHaveLength(3)
      expect((yield* client.get("/balance")).status).toBe(200)
      yield* eventually(() => expect(server.requests[3]?.abandoned()).toBe(true))
    }).pipe(Effect.provide(Server.live))
  )
})

it.effect("callers that are interrupted while half-open leave the slot to others", () =>
  Effect.gen(function* () {
    const transport = scripted(down, down, () => undefined, up)
    const client = yield* make(transport, {})
    yield* Effect.all([Effect.exit(client.get("/1")), Effect.exit(client.get("/2"))])
    yield* TestClock.adjust("1 minute")
    const call = yield* Effect.forkChild(client.get("/3"))
    yield* TestClock.adjust(0)
    yield* Fiber.interrupt(call)
    expect(Exit.hasInterrupts(yield* Fiber.await(call))).toBe(true)
    expect((yield* client.get("/4")).status).toBe(200)
    expect(yield* stateOf(client)).toBe("closed")
  })
)
