/**
 * What callers may send the gateway: too many logins, malformed requests, secrets; and what they get back.
 */
import { once } from "node:events"
import { request as httpRequest } from "node:http"
import { connect } from "node:net"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { RateLimiter } from "effect/persistence"
import { TestClock } from "effect/testing"
import * as LoginLimit from "failsoft-example-chat-gateway/gateway/LoginLimit"
import * as Stack from "failsoft-example-chat-gateway/Stack"
import { vi } from "vitest"
import {
  bearer,
  callsOf,
  eventually,
  json,
  logIn,
  type Reply,
  type Running,
  start,
  stateOf,
  tokenOf
} from "./inProcess.ts"

vi.setConfig({ testTimeout: 20_000 })

const statusesOf = (replies: ReadonlyArray<Reply>): ReadonlyArray<number> =>
  replies.map(({ status }) => status)

describe("the login limit", () => {
  const logInFrom = (running: Running, addresses: ReadonlyArray<string>) =>
    Effect.map(
      Effect.forEach(addresses, (address) => logIn(running, "lovelace", address)),
      statusesOf
    )
  const client = "203.0.113.7"
  const six = Array.from({ length: 6 }, () => client)
  const sixthRefused = [200, 200, 200, 200, 200, 429]

  it.live("refuses the sixth try of a minute, right or wrong, and says when to come back", () =>
    Effect.gen(function* () {
      const running = yield* start()
      const wrong = yield* Effect.forEach([1, 2, 3, 4], () => logIn(running, "babbage"))
      expect(statusesOf(wrong)).toEqual([401, 401, 401, 401])
      expect((yield* logIn(running)).status).toBe(200)
      const calls = callsOf(running, "auth")
      const refused = yield* logIn(running)
      expect([refused.status, refused.body]).toMatchObject([
        429,
        { code: "rate_limited", retryable: true, retryAfterMs: expect.any(Number) }
      ])
      const retryAfter = refused.headers.get("retry-after")
      expect(retryAfter).toMatch(/^\d+$/)
      // Up to a minute, and a fifth more so that callers do not come back together.
      expect(Number(retryAfter)).toBeGreaterThan(50)
      expect(Number(retryAfter)).toBeLessThanOrEqual(72)
      expect(callsOf(running, "auth")).toBe(calls)
    })
  )

  it.live("takes no word for it where a request comes from, if not from a trusted proxy", () =>
    Effect.gen(function* () {
      for (const trustedProxies of [[], ["10.0.0.0/8", "192.168.1.1/32"]]) {
        const addresses = six.map((_, index) => `203.0.113.${index}`)
        expect(yield* logInFrom(yield* start({ trustedProxies }), addresses)).toEqual(sixthRefused)
      }
    })
  )

  it.live("counts by the forwarded address behind a trusted proxy", () =>
    Effect.gen(function* () {
      const running = yield* start({ trustedProxies: ["127.0.0.0/8"] })
      expect(yield* logInFrom(running, six)).toEqual(sixthRefused)
      expect(yield* logInFrom(running, ["203.0.113.8"])).toEqual([200])
      // What a client put in front of the proxy's own entry is the client's word.
      expect(yield* logInFrom(running, [`203.0.113.9, ${client}`, `unknown, ${client}`])).toEqual([429, 429])
      // What is no address says nothing, so the proxy itself is counted.
      const nonsense = ["unknown", "", "203.0.113", "a, b", "999.1.1.1", "localhost"]
      expect(yield* logInFrom(running, nonsense)).toEqual(sixthRefused)
    })
  )

  it.effect("lets an address try again after a minute, and not before", () =>
    Effect.gen(function* () {
      const { check } = yield* LoginLimit.LoginLimit
      const tries = Effect.map(
        Effect.forEach([1, 2, 3, 4, 5, 6], () => Effect.isSuccess(check("203.0.113.7"))),
        (passed) => passed.filter((ok) => ok).length
      )
      expect(yield* tries).toBe(5)
      yield* TestClock.adjust("59 seconds")
      expect(yield* tries).toBe(0)
      yield* TestClock.adjust("1 second")
      expect(yield* tries).toBe(5)
      expect(yield* Effect.isSuccess(check("203.0.113.8"))).toBe(true)
    }).pipe(Effect.provide(LoginLimit.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))))
  )
})

const login = "/api/v1/login"
const ada = { email: "ada@example.org", password: "lovelace" }

/** A request whose path is sent as it stands, which `fetch` would tidy up. */
const sendRaw = ({ port }: Running, path: string, method = "GET"): Effect.Effect<number | undefined> =>
  Effect.promise(async () => {
    const request = httpRequest({ host: "127.0.0.1", port, path, method }).end()
    const [response] = await once(request, "response", { signal: AbortSignal.timeout(5_000) })
    response.resume()
    return response.statusCode
  })

/** Bytes sent as they stand, and what came back before the connection closed. */
const sendBytes = ({ port }: Running, bytes: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    const socket = connect(port, "127.0.0.1")
    const chunks: Array<Buffer> = []
    // A reset is as good as an end here.
    socket.on("error", () => {}).on("data", (chunk: Buffer) => chunks.push(chunk))
    const closed = once(socket, "close", { signal: AbortSignal.timeout(5_000) })
    socket.end(bytes)
    await closed.finally(() => socket.destroy())
    return Buffer.concat(chunks).toString()
  })

/** It goes on serving, which it would not if what came before had ended the process or locked something up. */
const stillServes = (running: Running) =>
  Effect.gen(function* () {
    expect((yield* running.send("/api/v1/data/weather")).status).toBe(200)
    expect((yield* running.send("/health/ready")).body).toMatchObject({ status: "healthy" })
    expect(running.log.filter((line) => line.includes("incident"))).toEqual([])
  })

describe("a malformed request", () => {
  const fields: ReadonlyArray<readonly [path: string, body: unknown, fields: ReadonlyArray<string>]> = [
    [login, {}, ["email", "password"]],
    [login, { email: "ada", password: "" }, ["email", "password"]],
    [login, { email: "ada@example.org" }, ["password"]],
    [login, { ...ada, email: `${"a".repeat(300)}@example.org` }, ["email"]],
    [login, { ...ada, password: "x".repeat(1_025) }, ["password"]],
    [login, { email: ["ada@example.org"], password: null }, ["email", "password"]],
    [login, [], [""]],
    [login, null, [""]],
    [login, "ada", [""]],
    ["/api/v1/chat", {}, ["message"]],
    ["/api/v1/chat", { message: "" }, ["message"]],
    ["/api/v1/chat", { message: "x".repeat(4_001) }, ["message"]],
    ["/api/v1/chat", { message: 7, projectId: "a/b" }, ["message", "projectId"]],
    ["/api/v1/chat", { message: "hello", projectId: ".." }, ["projectId"]],
    ["/api/v1/chat", { message: "hello", projectId: "x".repeat(65) }, ["projectId"]]
  ]
  it.live("gets 400 that lists its fields", () =>
    Effect.gen(function* () {
      const running = yield* start({ trustedProxies: ["127.0.0.1/32"] })
      const token = yield* tokenOf(running)
      for (const [index, [path, body, names]] of fields.entries()) {
        const headers = { ...bearer(token), "x-forwarded-for": `10.9.0.${index}` }
        const reply = yield* running.send(path, json(body, headers))
        const errors = names.map((field) => ({ field, message: expect.stringMatching(/./) }))
        const problem = { code: "invalid_request", status: 400, path, errors, retryable: false }
        expect([body, reply.status, reply.body]).toMatchObject([body, 400, problem])
        expect(reply.headers.get("content-type")).toBe("application/problem+json")
      }
      yield* stillServes(running)
    })
  )

  it.live("gets 400 when its body is no JSON, whatever it says it is", () =>
    Effect.gen(function* () {
      const running = yield* start({ trustedProxies: ["127.0.0.1/32"] })
      const bodies: ReadonlyArray<string | Buffer<ArrayBuffer> | FormData> = [
        "",
        "{",
        '{"email":',
        "email=ada",
        "\u0000",
        Buffer.from([0xff, 0xfe, 0x00]),
        new FormData(),
        `${"[".repeat(20_000)}`
      ]
      for (const [index, body] of bodies.entries()) {
        const headers = { "x-forwarded-for": `10.9.1.${index}` }
        const reply = yield* running.send(login, { method: "POST", body, headers })
        const errors = [{ field: "", message: expect.any(String) }]
        expect([index, reply.status, reply.body]).toMatchObject([index, 400, { errors }])
      }
      yield* stillServes(running)
    })
  )

  it.live("gets 413 when it is huge, announced or not, and is not kept", () =>
    Effect.gen(function* () {
      const running = yield* start()
      const chunk = new Uint8Array(1_000_000).fill(97)
      let sent = 0
      const endless = (): ReadableStream<Uint8Array> =>
        new ReadableStream({
          pull: (controller) => {
            sent += chunk.length
            if (sent > 300_000_000) controller.close()
            else controller.enqueue(chunk)
          }
        })
      const announced = yield* running.send(login, { method: "POST", body: chunk })
      expect([announced.status, announced.body]).toMatchObject([413, { code: "content_too_large" }])
      const streamed = yield* Effect.promise(async () => {
        const init = { method: "POST", body: endless(), duplex: "half" as const }
        const reply = await fetch(`${running.url}${login}`, init).catch(() => undefined)
        return reply?.status
      })
      // Whoever goes on sending may find the connection closed before it reads the answer.
      expect([413, undefined]).toContain(streamed)
      expect(sent).toBeLessThan(50_000_000)
      yield* stillServes(running)
    })
  )

  it.live("gets 404 for a route, or a method of a route, that there is none of", () =>
    Effect.gen(function* () {
      const running = yield* start()
      const requests: ReadonlyArray<readonly [method: string, path: string]> = [
        ["GET", "/"],
        ["GET", "/nothing"],
        ["GET", login],
        ["PUT", login],
        ["OPTIONS", login],
        ["DELETE", "/api/v1/me"],
        ["GET", "/api/v1/chat"],
        ["POST", "/api/v1/data/weather"],
        ["GET", "/api/v1/projects/p-1"],
        ["GET", "/api/v1/projects//files"],
        ["GET", "/api/v1/projects/%E0%A4/files"],
        ["GET", "/health/circuit-breaker/none"],
        ["POST", "/livez"]
      ]
      for (const [method, path] of requests) {
        const reply = yield* running.send(path, { method })
        expect([method, path, reply.status, reply.body]).toMatchObject([
          method,
          path,
          404,
          { code: "not_found", path, requestId: reply.headers.get("x-request-id") }
        ])
      }
      yield* stillServes(running)
    })
  )

  it.live("gets no further by the names in its path", () =>
    Effect.gen(function* () {
      const running = yield* start()
      const names = ["..", ".", "%2e%2e", "%2E.", "a%2Fb", "..%2fcharges", "a%00b", "%0d%0a", "x".repeat(65)]
      for (const name of names) {
        expect([name, yield* sendRaw(running, `/api/v1/data/${name}`)]).toEqual([name, 400])
        const files = yield* sendRaw(running, `/api/v1/projects/${name}/files`)
        expect([name, files]).toEqual([name, 400])
      }
      expect([callsOf(running, "external"), callsOf(running, "auth")]).toEqual([0, 0])
      yield* stillServes(running)
    })
  )

  it.live("gets 401 for headers and cookies that are none", () =>
    Effect.gen(function* () {
      const running = yield* start()
      const headers: ReadonlyArray<Record<string, string>> = [
        { authorization: "Basic YTpi" },
        { authorization: "Bearer" },
        { authorization: "Bearer a b" },
        { authorization: "" },
        { cookie: "=;;;===token" },
        { cookie: "token" },
        { cookie: "token=" },
        { cookie: "token=%E0%A4%A" },
        { cookie: `token=${"x".repeat(8_000)}` },
        { "x-request-id": "a b\tc" }
      ]
      for (const given of headers) {
        const reply = yield* running.send("/api/v1/me", { headers: given })
        expect([given, reply.status]).toEqual([given, 401])
        expect(reply.headers.get("x-request-id")).toMatch(/^[\w.:-]{1,128}$/)
      }
      yield* stillServes(running)
    })
  )

  it.live("that is no HTTP at all, or ends half-way, hurts nobody else", () =>
    Effect.gen(function* () {
      const running = yield* start()
      const host = "Host: gateway"
      const bytes: ReadonlyArray<readonly [bytes: string, answer: RegExp]> = [
        ["not http at all\r\n\r\n", /^HTTP\/1\.1 400 /],
        [`GET / HTTP/1.1\r\n${host}\r\nbad header\r\n\r\n`, /^HTTP\/1\.1 400 /],
        [`POST ${login} HTTP/1.1\r\n${host}\r\nContent-Length: -1\r\n\r\n`, /^HTTP\/1\.1 400 /],
        [`GET /livez HTTP/1.1\r\n${host}\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
        [`GET http://[::1/livez HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`, /^HTTP\/1\.1 [24]/],
        [`GET // HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`, /^HTTP\/1\.1 404 /],
        [`GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n`, /^HTTP\/1\.1 400 /],
        [`POST ${login} HTTP/1.1\r\n${host}\r\nContent-Length: 100\r\n\r\n{"email":`, /^$|^HTTP\/1\.1 400 /],
        [`POST ${login} HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`, /^HTTP\/1\.1 400 /],
        ["", /^$/]
      ]
      for (const [sent, answer] of bytes) {
        expect([sent.slice(0, 80), yield* sendBytes(running, sent)]).toEqual([
          sent.slice(0, 80),
          expect.stringMatching(answer)
        ])
      }
      yield* stillServes(running)
    })
  )
})

describe("a request id", () => {
  it.live("is the caller's where it is a plain word, and is in the reply, the problem and the log", () =>
    Effect.gen(function* () {
      const running = yield* start()
      yield* running.setMode("external", "fail")
      const headers = { "x-request-id": "trace-0042" }
      const reply = yield* running.send("/api/v1/data/weather", { headers })
      expect(reply.headers.get("x-request-id")).toBe("trace-0042")
      expect(reply.body).toMatchObject({ requestId: "trace-0042", status: 503 })
      expect(running.log.filter((line) => line.includes("trace-0042")).length).toBeGreaterThan(0)
    })
  )
})

const password = "canary-password-7f3a9"
const token = "canary-token-51c2e"

/** Sends the canaries every way that a caller can, and gives back all that came back. */
const sendCanaries = (send: Running["send"]): Effect.Effect<ReadonlyArray<Reply>> =>
  Effect.all([
    send(login, json({ ...ada, password })),
    send(login, json({ email: "ada", password })),
    send(login, json({ email: "ada@example.org", password, token })),
    send(login, { method: "POST", body: `{"password":"${password}"` }),
    send("/api/v1/me", { headers: bearer(token) }),
    send("/api/v1/me", { headers: { cookie: `token=${token}` } }),
    send("/api/v1/chat", json({ message: "hello" }, bearer(token))),
    send("/api/v1/chat", json({ password, token }, bearer(token))),
    send("/api/v1/projects/p-1/files", { headers: bearer(token) }),
    send("/api/v1/projects/p-1/commits", { headers: { cookie: `token=${token}` } }),
    send(`/api/v1/nothing?token=${token}&password=${password}`),
    send(`/api/v1/data/weather?token=${token}`),
    send("/health/ready"),
    send("/health/circuit-breaker"),
    send("/health/circuit-breaker/auth"),
    send("/api/v1/charging")
  ])

const wordsOf = ({ headers, text }: Reply): string => `${JSON.stringify([...headers])} ${text}`

const expectNoCanary = (texts: ReadonlyArray<string>): void => {
  for (const text of texts) expect(text).not.toMatch(/canary|7f3a9|51c2e/i)
}

describe("secrets", () => {
  it.live("are in no reply, log line or health body, however the services fail", () =>
    Effect.gen(function* () {
      const running = yield* start({ trustedProxies: ["127.0.0.1/32"] })
      const send: Running["send"] = (path, init) =>
        running.send(path, {
          ...init,
          headers: { ...(init?.headers as object), "x-forwarded-for": crypto.randomUUID() }
        })
      for (const mode of ["ok", "fail", "refuse", "hang", "drip", "unavailable"] as const) {
        yield* Effect.forEach(["auth", "external"] as const, (name) => running.setMode(name, mode))
        expectNoCanary((yield* sendCanaries(send)).map(wordsOf))
      }
      expect(yield* stateOf(running, "auth")).not.toBe("closed")
      // Else it would prove nothing that the log has no secrets.
      expect(running.log.length).toBeGreaterThan(30)
      expectNoCanary(running.log)
    })
  )

  it.live("are in no line that the processes print", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const { upstreams, url } = yield* Stack.start({
        gatewayEnv: { PORT: "0", REDIS_ENABLED: "false", SERVICES_AUTH_RETRY_BASE: "10 millis" },
        print: (line) => void lines.push(line)
      })
      const send: Running["send"] = (path, init) =>
        Effect.promise(async () => {
          const response = await fetch(`${url}${path}`, init)
          const { headers, status } = response
          return { status, headers, text: await response.text(), body: undefined, millis: 0 }
        })
      expectNoCanary((yield* sendCanaries(send)).map(wordsOf))
      for (const { kill, name } of upstreams) if (name === "auth" || name === "external") yield* kill
      expectNoCanary((yield* sendCanaries(send)).map(wordsOf))
      yield* eventually(() => expect(lines.join("\n")).toContain("auth: circuit open"))
      expectNoCanary(lines)
    })
  )

  it.live("is in the cookie of a login, which no script can read", () =>
    Effect.gen(function* () {
      const reply = yield* logIn(yield* start())
      const cookie = reply.headers.get("set-cookie")
      expect(cookie).toMatch(/^token=[^;]+; Path=\/; HttpOnly; SameSite=Strict$/i)
    })
  )
})
