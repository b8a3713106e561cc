/**
 * What the gateway makes of answers that are strange rather than absent, of too little time, and of callers that leave.
 */
import type { RequestListener, ServerResponse } from "node:http"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { vi } from "vitest"
import {
  bearer,
  byService,
  callsOf,
  eventually,
  json,
  maxBodyBytes,
  type Reply,
  type Running,
  serve,
  serviceNames,
  start,
  stateOf,
  tokenOf
} from "./inProcess.ts"

vi.setConfig({ testTimeout: 20_000, maxConcurrency: 8 })

type Respond = (response: ServerResponse) => void

const answer =
  (status: number, body = "", headers: Record<string, string> = {}): Respond =>
  (response) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(body)

const ok = (body: unknown): Respond => answer(200, JSON.stringify(body))

/** Answers that no client of a service can use, whatever it asked. */
const unusable: Readonly<Record<string, Respond>> = {
  "500": answer(500),
  "503 with Retry-After": answer(503, "", { "retry-after": "7" }),
  "429": answer(429),
  "400": answer(400, '{"error":"no"}'),
  "403": answer(403, '{"error":"no"}'),
  "404": answer(404, '{"error":"no"}'),
  "a redirect": answer(302, "", { location: "http://127.0.0.1:1/" }),
  "204": answer(204),
  "200 and nothing": answer(200),
  "200 and no JSON": answer(200, "<html>"),
  "200 and half of its JSON": answer(200, '{"ownerId":'),
  "200 and null": ok(null),
  "200 and other fields": ok({ error: "maintenance" }),
  "200 and fields of other types": ok({
    ownerId: 1,
    credits: "many",
    documents: {},
    token: 1,
    userId: ["user-1"],
    email: null
  }),
  "200 and a body larger than is read": answer(200, `"${"x".repeat(maxBodyBytes)}"`),
  "200 and an encoding that it is not in": answer(200, "plain", { "content-encoding": "gzip" }),
  "a body that breaks": (response) => {
    response.writeHead(200, { "content-length": "1000" }).write("{", () => response.destroy())
  },
  "a connection that breaks": (response) => void response.destroy(),
  nothing: () => {}
}

const ada = { userId: "user-1", email: "ada@example.org" }

/** An auth service that knows everybody as ada and answers `odd` on one path. */
const authWith =
  (path: RegExp, odd: Respond): RequestListener =>
  (request, response) => {
    request.resume()
    if (path.test(request.url ?? "")) return odd(response)
    const usual = request.url === "/verify" ? ada : { ownerId: ada.userId, token: "t", ...ada }
    return ok(usual)(response)
  }

const within = (reply: Reply): Reply => {
  // Two calls of a second at most, and a machine that is busy.
  expect(reply.millis).toBeLessThan(4_000)
  return reply
}

const chat = ({ send }: Running, token: string, body: object = { message: "circuit" }) =>
  Effect.map(send("/api/v1/chat", json(body, bearer(token))), within)

const each = Object.entries(unusable)

describe.concurrent("an owner lookup answered with", () => {
  for (const [name, odd] of each) {
    it.live(`${name} is 403`, () =>
      Effect.gen(function* () {
        const auth = yield* serve(authWith(/owner$/, odd))
        const running = yield* start({ urls: { auth } })
        const init = { headers: bearer("t") }
        for (const route of ["files", "commits"]) {
          const reply = within(yield* running.send(`/api/v1/projects/p-1/${route}`, init))
          expect([reply.status, reply.body]).toMatchObject([403, { code: "forbidden" }])
        }
        const chatted = yield* chat(running, "t", { message: "circuit", projectId: "p-1" })
        expect([chatted.status, chatted.body]).toMatchObject([403, { code: "forbidden" }])
        expect([callsOf(running, "filesystem"), callsOf(running, "git")]).toEqual([0, 0])
      })
    )
  }
})

describe.concurrent("a token check answered with", () => {
  for (const [name, odd] of each) {
    it.live(`${name} is 401, for the header and the cookie`, () =>
      Effect.gen(function* () {
        const auth = yield* serve(authWith(/verify$/, odd))
        const { send } = yield* start({ urls: { auth } })
        for (const headers of [bearer("t"), { cookie: "token=t" }]) {
          const reply = within(yield* send("/api/v1/me", { headers }))
          expect([reply.status, reply.body]).toMatchObject([401, { code: "unauthenticated" }])
          expect(reply.headers.get("www-authenticate")).toBe("Bearer")
        }
      })
    )
  }
})

describe.concurrent("a login answered with", () => {
  for (const [name, odd] of each) {
    it.live(`${name} is 503`, () =>
      Effect.gen(function* () {
        const auth = yield* serve(authWith(/login$/, odd))
        const { send } = yield* start({ urls: { auth } })
        const credentials = { email: "ada@example.org", password: "lovelace" }
        const reply = within(yield* send("/api/v1/login", json(credentials)))
        const problem = { code: "service_unavailable", detail: "login is temporarily unavailable" }
        expect([reply.status, reply.body]).toMatchObject([503, problem])
        expect(reply.headers.get("set-cookie")).toBeNull()
      })
    )
  }
})

describe.concurrent("billing answering with", () => {
  for (const [name, odd] of each) {
    it.live(`${name} charges nothing, counts it, and lets the chat go on`, () =>
      Effect.gen(function* () {
        const billing = yield* serve((request, response) => {
          request.resume()
          odd(response)
        })
        const running = yield* start({ urls: { billing } })
        const token = yield* tokenOf(running)
        const reply = yield* chat(running, token)
        expect([reply.status, reply.body]).toMatchObject([200, { charged: false, credits: null }])
        expect((yield* running.send("/api/v1/charging")).body).toEqual({ uncharged: 1 })
      })
    )
  }

  it.live("no credits is 402, and nothing is charged", () =>
    Effect.gen(function* () {
      const paths: Array<string> = []
      const billing = yield* serve((request, response) => {
        paths.push(`${request.method} ${request.url}`)
        request.resume()
        ok({ credits: 0.5 })(response)
      })
      const running = yield* start({ urls: { billing } })
      const reply = yield* chat(running, yield* tokenOf(running))
      expect([reply.status, reply.body]).toMatchObject([402, { code: "payment_required" }])
      expect(paths).toEqual(["GET /balance/user-1"])
      expect((yield* running.send("/api/v1/charging")).body).toEqual({ uncharged: 0 })
    })
  )
})

describe.concurrent("the vector search answering with", () => {
  for (const [name, odd] of each) {
    it.live(`${name} makes the chat search its graph`, () =>
      Effect.gen(function* () {
        const chroma = yield* serve((request, response) => {
          request.resume()
          odd(response)
        })
        const running = yield* start({ urls: { chroma } })
        const token = yield* tokenOf(running)
        for (const [message, source] of [
          ["a circuit", "graph"],
          ["xyzzy", "none"]
        ]) {
          const reply = yield* chat(running, token, { message })
          expect([reply.status, reply.body]).toMatchObject([200, { charged: true, context: { source } }])
        }
      })
    )
  }
})

describe.concurrent("passing on", () => {
  const passedOn = (odd: Respond) =>
    Effect.gen(function* () {
      const external = yield* serve((request, response) => {
        request.resume()
        odd(response)
      })
      const { send } = yield* start({ urls: { external } })
      return within(yield* send("/api/v1/data/weather"))
    })

  const unavailable = [503, { code: "service_unavailable", retryable: true }]
  const badGateway = [502, { code: "bad_gateway" }]
  const expected: Readonly<Record<keyof typeof unusable, ReadonlyArray<unknown>>> = {
    "500": unavailable,
    "503 with Retry-After": unavailable,
    "429": unavailable,
    "400": badGateway,
    "403": badGateway,
    "404": [404, { code: "not_found" }],
    "a redirect": badGateway,
    "204": [200, null],
    "200 and nothing": [200, null],
    "200 and no JSON": badGateway,
    "200 and half of its JSON": badGateway,
    "200 and null": [200, null],
    "200 and other fields": [200, { error: "maintenance" }],
    "200 and fields of other types": [200, { ownerId: 1 }],
    "200 and a body larger than is read": badGateway,
    "200 and an encoding that it is not in": badGateway,
    "a body that breaks": unavailable,
    "a connection that breaks": unavailable,
    nothing: [504, { code: "timed_out" }]
  }
  for (const [name, odd] of each) {
    it.live(`${name} is ${expected[name]?.[0]}`, () =>
      Effect.gen(function* () {
        const { body, status } = yield* passedOn(odd)
        expect([status, body]).toMatchObject(expected[name] ?? [])
      })
    )
  }
})

describe.concurrent("time", () => {
  const patient = byService(() => ({ deadline: 5, attemptTimeout: 5 }))
  const slowAll = (running: Running, delayMillis: number) =>
    Effect.forEach(serviceNames, (name) => running.setMode(name, { mode: "slow", delayMillis }))

  it.live("a service that is slow and in time is a healthy one", () =>
    Effect.gen(function* () {
      const running = yield* start()
      const token = yield* tokenOf(running)
      yield* slowAll(running, 50)
      const reply = yield* chat(running, token, { message: "circuit", projectId: "p-1" })
      expect([reply.status, reply.body]).toMatchObject([200, { charged: true, context: { source: "live" } }])
      for (const name of serviceNames) expect(yield* stateOf(running, name)).toBe("closed")
    })
  )

  it.live("a request ends by its deadline with what it has, though each service is within its own", () =>
    Effect.gen(function* () {
      const running = yield* start({ rows: patient, requestDeadlineMillis: 1_000 })
      const token = yield* tokenOf(running)
      // The token and the owner take a fifth of the second, balance and search would take two.
      yield* slowAll(running, 2_000)
      yield* running.setMode("auth", { mode: "slow", delayMillis: 100 })
      const reply = yield* chat(running, token, { message: "circuit", projectId: "p-1" })
      const degraded = { charged: false, credits: null, context: { source: "graph" } }
      expect([reply.status, reply.body]).toMatchObject([200, degraded])
      expect(reply.millis).toBeGreaterThan(950)
      expect(reply.millis).toBeLessThan(1_900)
      expect(running.upstreams.billing.stats().routes).toEqual({ "GET /balance/:userId": 1 })
      expect((yield* running.send("/api/v1/charging")).body).toEqual({ uncharged: 1 })
      // A deadline that was nearly spent says nothing about the service.
      expect((yield* running.send("/health/circuit-breaker/chroma")).body).toMatchObject({ failed_calls: 0 })
    })
  )

  it.live("what remains of the deadline is forwarded", () =>
    Effect.gen(function* () {
      const forwarded: Array<number> = []
      const external = yield* serve((request, response) => {
        forwarded.push(Number(request.headers["x-envoy-expected-rq-timeout-ms"]))
        ok({})(response)
      })
      const { send } = yield* start({ rows: patient, urls: { external }, requestDeadlineMillis: 1_000 })
      yield* send("/api/v1/data/weather")
      expect(forwarded).toEqual([expect.any(Number)])
      expect(forwarded[0]).toBeGreaterThan(0)
      expect(forwarded[0]).toBeLessThan(1_000)
    })
  )

  it.live(
    "a caller that leaves takes its request to the service along, and is no failure of the service",
    () =>
      Effect.gen(function* () {
        const running = yield* start({ rows: patient })
        yield* running.setMode("external", "hang")
        const { external } = running.upstreams
        const leaving = new AbortController()
        const reply = fetch(`${running.url}/api/v1/data/weather`, { signal: leaving.signal })
        const left = expect(reply).rejects.toThrow("aborted")
        yield* eventually(() => expect(external.stats().inflight).toBe(1))
        leaving.abort()
        yield* Effect.promise(() => left)
        yield* eventually(() => expect(external.stats().inflight).toBe(0))
        expect((yield* running.send("/health/circuit-breaker/external")).body).toMatchObject({
          failed_calls: 0,
          total_calls: 1
        })
      })
  )

  it.live("a probe waits no longer than a call may, so a service too slow for every call stays open", () =>
    Effect.gen(function* () {
      const row = {
        // The shape of chroma's row: 3 seconds in all, of which an attempt may take 30.
        deadline: "100 millis",
        attemptTimeout: "20 seconds",
        retry: { attempts: 1 },
        breaker: { failures: 1, openDuration: "200 millis" },
        probePath: "/health",
        probeEvery: "100 millis"
      }
      const running = yield* start({ rows: { external: row } })
      const circuit = Effect.map(running.send("/health/circuit-breaker/external"), ({ body }) => body)
      yield* running.setMode("external", { mode: "slow", delayMillis: 60_000 })
      yield* running.send("/api/v1/data/weather")
      const probed = (): void => {
        expect(running.upstreams.external.stats().routes["GET /health"]).toBeGreaterThan(1)
      }
      yield* eventually(probed, 3_000)
      expect(yield* circuit).not.toMatchObject({ state: "closed" })
      yield* running.setMode("external", "ok")
      yield* eventually(async () => {
        expect(await Effect.runPromise(circuit)).toMatchObject({ state: "closed" })
      }, 3_000)
    })
  )
})
