import { createHash, randomBytes } from "node:crypto"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer, Option, Stream } from "effect"
import { Cookies, HttpClientResponse, UrlParams } from "effect/http"
import * as Server from "./server.ts"

const { eventually, makeClient, reply, serve } = Server

const utf8 = "grüße, 世界 🌍"

describe.each(Object.entries(Server.transports))("an answer over %s", (_, transport) => {
  const provide = Effect.provide(Layer.merge(transport, Server.silent))

  const get = (...script: Parameters<typeof serve>) =>
    Effect.gen(function* () {
      const server = yield* serve(...script)
      const client = yield* makeClient(server.url)
      return yield* client.get("/")
    })

  it.live("can be read in every form", () =>
    Effect.gen(function* () {
      const json = reply(200, JSON.stringify({ utf8 }), { "content-type": "application/json" })
      expect(yield* (yield* get(json)).json).toEqual({ utf8 })
      expect(yield* (yield* get(json)).text).toBe(JSON.stringify({ utf8 }))
      const bytes = yield* (yield* get(reply(200, utf8))).arrayBuffer
      expect(Buffer.from(bytes).toString()).toBe(utf8)
      const chunks = yield* Stream.runCollect((yield* get(reply(200, utf8))).stream)
      expect(Buffer.concat(chunks).toString()).toBe(utf8)
      const params = yield* (yield* get(reply(200, "a=1&a=2&b=%20"))).urlParamsBody
      expect(UrlParams.getAll(params, "a")).toEqual(["1", "2"])
      const form = reply(200, 'x\r\n--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n', {
        "content-type": "multipart/form-data; boundary=b"
      })
      expect((yield* (yield* get(form)).formData).get("a")).toBe("1")
    }).pipe(provide)
  )

  it.live("can be read more than once", () =>
    Effect.gen(function* () {
      const response = yield* get(reply(200, '{"a":1}'))
      const once = yield* Effect.all([response.text, response.json, response.text])
      expect(once).toEqual(['{"a":1}', { a: 1 }, '{"a":1}'])
    }).pipe(provide)
  )

  it.live("keeps its headers and every cookie", () =>
    Effect.gen(function* () {
      const response = yield* get(
        reply(200, "ok", {
          "content-type": "text/plain",
          "x-served-by": ["a", "b"],
          etag: '"1"',
          "set-cookie": [
            "session=s1; Path=/; HttpOnly; Secure; SameSite=Lax",
            "theme=dark; Max-Age=60",
            "empty=",
            "encoded=a%20b%3Bc; Expires=Wed, 21 Oct 2026 07:28:00 GMT"
          ]
        })
      )
      expect(response.headers).toMatchObject({
        "content-type": "text/plain",
        "x-served-by": "a, b",
        etag: '"1"'
      })
      expect(Object.keys(response.cookies.cookies)).toEqual(["session", "theme", "empty", "encoded"])
      expect(Cookies.toRecord(response.cookies)).toEqual({
        session: "s1",
        theme: "dark",
        empty: "",
        encoded: "a b;c"
      })
      expect(response.cookies.cookies.session?.options).toMatchObject({
        path: "/",
        httpOnly: true,
        secure: true,
        sameSite: "lax"
      })
      expect(response.cookies.cookies.encoded?.options?.expires?.toISOString()).toBe(
        "2026-10-21T07:28:00.000Z"
      )
    }).pipe(provide)
  )

  it.live("says where it came from", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(302, "", { location: "/moved" }), Server.ok)
      const client = yield* makeClient(server.url)
      const response = yield* client.get("/old?a=1")
      // Only fetch follows redirects by itself.
      const followed = server.requests.length === 2
      expect(response.status).toBe(followed ? 200 : 302)
      expect(response.url).toBe(`${server.url}${followed ? "/moved" : "/old?a=1"}`)
      expect(response.request.url).toBe(`${server.url}/old?a=1`)
    }).pipe(provide)
  )

  it.live.each([
    { what: "HEAD", method: "head", status: 200, headers: { "content-length": "1000" } },
    { what: "HEAD of what is missing", method: "head", status: 404, headers: { "content-length": "9" } },
    { what: "204", method: "get", status: 204, headers: {} },
    { what: "205", method: "get", status: 205, headers: { "content-length": "0" } },
    { what: "304", method: "get", status: 304, headers: { etag: '"1"' } },
    { what: "an empty 200", method: "get", status: 200, headers: { "content-length": "0" } }
  ] as const)("$what has no body, and leaves the connection usable", ({ headers, method, status }) =>
    Effect.gen(function* () {
      const server = yield* serve(reply(status, "", headers))
      const client = yield* makeClient(server.url)
      const responses: Array<HttpClientResponse.HttpClientResponse> = []
      for (let call = 0; call < 5; call++) responses.push(yield* client[method]("/"))
      for (const response of responses) {
        expect(response.status).toBe(status)
        expect(response.headers).toMatchObject(headers)
        expect(yield* response.text).toBe("")
        expect((yield* response.arrayBuffer).byteLength).toBe(0)
      }
      expect(server.requests.map(({ abandoned }) => abandoned())).toEqual(Array(5).fill(false))
    }).pipe(provide)
  )

  it.live("with a body that its status does not have is an answer all the same", () =>
    Effect.gen(function* () {
      const response = yield* get(reply(205, "surplus", { "content-length": "7" }))
      expect(response.status).toBe(205)
      // fetch drops it.
      expect(["", "surplus"]).toContain(yield* response.text)
    }).pipe(provide)
  )

  it.live.each([200, 204, 304, 404, 999])("%d keeps its status as a web response", (status) =>
    Effect.gen(function* () {
      const web = Option.getOrThrow(HttpClientResponse.toWeb(yield* get(reply(status))))
      expect([web.status, web.ok]).toEqual([status, status < 300])
    }).pipe(provide)
  )

  it.live("is whole when it is large", () =>
    Effect.gen(function* () {
      const body = randomBytes(5_000_000)
      const response = yield* get((_request, response) => response.end(body))
      const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")
      expect(digest(new Uint8Array(yield* response.arrayBuffer))).toBe(digest(body))
    }).pipe(provide)
  )

  it.live("of exactly maxBodyBytes is read", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(200, "x".repeat(1000)))
      const client = yield* makeClient(server.url, { maxBodyBytes: 1000 })
      expect(yield* Effect.flatMap(client.get("/"), ({ text }) => text)).toHaveLength(1000)
    }).pipe(provide)
  )

  it.live.each([
    { length: "told", answer: reply(200, "x".repeat(1001)) },
    {
      length: "not told and endless",
      answer: ((_request, response) => {
        const timer = setInterval(() => response.write("x".repeat(600)), 1)
        response.once("close", () => clearInterval(timer))
      }) satisfies Server.Answer
    }
  ])(
    "larger than maxBodyBytes, its length $length, is an error, and no failure of the service",
    ({ answer }) =>
      Effect.gen(function* () {
        const server = yield* serve(answer)
        const client = yield* makeClient(server.url, { maxBodyBytes: 1000, retry: { attempts: 3 } })
        const error = yield* Effect.flip(client.get("/"))
        expect(error).toMatchObject({ _tag: "HttpClientError", reason: { _tag: "DecodeError" } })
        expect(error.message).toContain("the body is larger than 1000 bytes")
        expect(server.requests).toHaveLength(1)
        expect(yield* client.policy.breaker!.snapshot).toMatchObject({ counts: { ignored: 1, failed: 0 } })
        yield* eventually(() => expect(server.sockets()).toBeLessThanOrEqual(1))
      }).pipe(provide)
  )

  it.live("of an error is not read, however large", () =>
    Effect.gen(function* () {
      const server = yield* serve((_request, response) => {
        response.writeHead(503)
        const more = () => void (response.writable && response.write(Buffer.alloc(1_000_000), more))
        more()
      })
      const client = yield* makeClient(server.url, { maxBodyBytes: 1000 })
      expect(yield* Effect.flip(client.get("/"))).toMatchObject({ reason: { attempts: 2 } })
      yield* eventually(() =>
        expect(server.requests.map(({ abandoned }) => abandoned())).toEqual([true, true])
      )
    }).pipe(provide)
  )

  it.live("that nobody reads leaves no connection behind", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(404, "not found"), reply(200, "read by nobody"))
      const client = yield* makeClient(server.url)
      for (let call = 0; call < 50; call++) yield* client.get("/")
      expect(server.requests).toHaveLength(50)
      expect(server.requests.every(({ abandoned }) => !abandoned())).toBe(true)
      // A transport may open another connection while it gets one back.
      yield* eventually(() => expect(server.sockets()).toBeLessThanOrEqual(3))
    }).pipe(provide)
  )
})

it.live("connections are kept, whatever the answer", () =>
  Effect.gen(function* () {
    const kinds = [Server.ok, reply(204), reply(304), reply(404, "no"), reply(200)]
    const server = yield* serve(Server.ok, ...Array.from({ length: 8 }, () => kinds).flat())
    const client = yield* makeClient(server.url)
    for (let call = 0; call < 40; call++) yield* client.get("/")
    expect(server.requests).toHaveLength(40)
    expect(server.connections()).toBeLessThanOrEqual(3)
  }).pipe(Effect.provide(Server.live))
)
