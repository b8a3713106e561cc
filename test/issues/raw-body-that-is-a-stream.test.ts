/**
 * A raw body may be a stream of the platform's own. The second attempt of a PUT found it read to its end, and sent nothing or broke off:
 * the service was charged with a failure, or stored less than it was sent.
 */
import { Readable } from "node:stream"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { HttpBody, HttpClientRequest } from "effect/http"
import * as Server from "../http/server.ts"

const { makeClient, reply, serve, transports } = Server

const send = (body: HttpBody.HttpBody, transport: keyof typeof transports, hedge: boolean) =>
  Effect.gen(function* () {
    const server = yield* hedge ? serve(Server.hang, Server.ok) : serve(reply(503), Server.ok)
    const client = yield* makeClient(server.url, {
      retry: { attempts: 3 },
      ...(hedge ? { hedge: { delay: "30 millis" }, attemptTimeout: "200 millis" } : {})
    })
    const request = HttpClientRequest.put("/charges").pipe(HttpClientRequest.setBody(body))
    const exit = yield* Effect.exit(client.execute(request))
    return { exit: exit._tag, sent: server.requests.map(({ body }) => body) }
  }).pipe(Effect.provide([transports[transport], Server.silent]))

const form = () => {
  const data = new FormData()
  data.set("amount", "1")
  return data
}

function* chunks() {
  yield Buffer.from("charge")
}

describe.each([false, true])("an attempt after the first, hedged: %s", (hedge) => {
  it.live.each([
    ["a Node stream", () => Readable.from([Buffer.from("charge")])],
    ["a web stream", () => new Blob(["charge"]).stream()],
    ["an iterator", chunks]
  ] as const)("is not made of %s", ([, body]) =>
    Effect.gen(function* () {
      const { exit, sent } = yield* send(HttpBody.raw(body(), { contentType: "text/plain" }), "undici", hedge)
      expect({ exit, sent }).toEqual({ exit: "Failure", sent: ["charge"] })
    })
  )

  it.live.each([
    ["raw text", "undici", HttpBody.raw("charge")],
    ["raw bytes", "undici", HttpBody.raw(new TextEncoder().encode("charge"))],
    ["raw bytes", "node:http", HttpBody.raw(Buffer.from("charge"))],
    ["bytes", "fetch", HttpBody.uint8Array(new TextEncoder().encode("charge"))],
    ["a buffer", "fetch", HttpBody.raw(new TextEncoder().encode("charge").buffer)],
    ["a blob", "fetch", HttpBody.raw(new Blob(["charge"]))],
    ["a raw form", "fetch", HttpBody.raw(form())],
    ["parameters", "fetch", HttpBody.raw(new URLSearchParams({ amount: "1" }))],
    ["a form", "undici", HttpBody.formData(form())],
    ["a form", "fetch", HttpBody.formData(form())],
    ["a form", "node:http", HttpBody.formData(form())]
  ] as const)("sends the same of %s over %s", ([, transport, body]) =>
    Effect.gen(function* () {
      const { exit, sent } = yield* send(body, transport, hedge)
      const plain = sent.map((body) => body.replaceAll(/-+[\w-]*form[\w-]+|-{4,}\S+/gi, "boundary"))
      expect({ exit, sent: plain }).toEqual({ exit: "Success", sent: [plain[0], plain[0]] })
      expect(plain[0]).toMatch(/charge|amount/)
    })
  )
})
