import { connect } from "node:net"
import { NodeHttpServer } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Problem, RequestDeadline, ServiceClient } from "@failsoft/http"
import { Deferred, Duration, Effect, Fiber, Layer, Option } from "effect"
import { Headers, HttpClientRequest, HttpRouter, HttpServerResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { Deadline } from "failsoft"
import { doors } from "./gateway.ts"
import { live, ok, scripted, serve } from "./server.ts"

const asked = (headers: Record<string, string>) =>
  Option.getOrUndefined(
    Option.map(RequestDeadline.fromHeaders(Headers.fromInput(headers)), Duration.toMillis)
  )

describe("what a caller will wait for", () => {
  it.each([
    ["2H", 7_200_000],
    ["3M", 180_000],
    ["10S", 10_000],
    ["250m", 250],
    ["1500u", 1.5],
    ["2000000n", 2],
    ["00000000S", 0],
    ["99999999S", 99_999_999_000]
  ])("grpc-timeout: %s", (header, millis) => {
    expect(asked({ "grpc-timeout": header })).toBe(millis)
  })

  it.each([
    ["x-envoy-expected-rq-timeout-ms", "1500", 1500],
    ["x-envoy-expected-rq-timeout-ms", "0", 0],
    ["x-request-timeout", "3", 3000],
    ["x-request-timeout", "0.5", 500]
  ])("%s: %s", (name, header, millis) => {
    expect(asked({ [name]: header })).toBe(millis)
  })

  it.each([
    ["grpc-timeout", "10"],
    ["grpc-timeout", "10s"],
    ["grpc-timeout", "-1S"],
    ["grpc-timeout", "999999999S"],
    ["grpc-timeout", "1.5S"],
    ["x-envoy-expected-rq-timeout-ms", ""],
    ["x-envoy-expected-rq-timeout-ms", "-1"],
    ["x-envoy-expected-rq-timeout-ms", "NaN"],
    ["x-envoy-expected-rq-timeout-ms", "1e3"],
    ["x-envoy-expected-rq-timeout-ms", "Infinity"],
    ["x-request-timeout", "soon"],
    ["x-request-timeout", "10000000000"]
  ])("is not known where %s is %j", (name, header) => {
    expect(asked({ [name]: header })).toBeUndefined()
  })

  it("is the least of what it says", () => {
    const headers = {
      "grpc-timeout": "2S",
      "x-envoy-expected-rq-timeout-ms": "1500",
      "x-request-timeout": "1"
    }
    expect(asked(headers)).toBe(1000)
    expect(asked({ ...headers, "x-request-timeout": "never" })).toBe(1500)
    expect(asked({})).toBeUndefined()
  })
})

const left = Effect.map(Deadline.remaining, (remaining) =>
  HttpServerResponse.jsonUnsafe({ left: Option.getOrNull(Option.map(remaining, Duration.toMillis)) })
)

const routes = (atMost: Duration.Input) =>
  Layer.mergeAll(
    HttpRouter.add("GET", "/left", left),
    HttpRouter.add("GET", "/hang", Effect.never),
    Problem.layer(),
    Layer.orDie(RequestDeadline.layer({ atMost }))
  )

for (const [name, open] of Object.entries(doors)) {
  describe(`a request through ${name}`, () => {
    it.live("has what the server allows, and less where its caller waits less", () =>
      Effect.gen(function* () {
        const { ask } = yield* open(routes("10 seconds"))
        const remaining = (headers: Record<string, string>) =>
          Effect.map(ask("/left", { headers }), ({ json }) => json?.left)
        const allowed = yield* remaining({})
        expect(allowed).toBeGreaterThan(5_000)
        expect(allowed).toBeLessThanOrEqual(10_000)
        const less = yield* remaining({ "grpc-timeout": "4S" })
        expect(less).toBeGreaterThan(0)
        expect(less).toBeLessThanOrEqual(4_000)
        expect(yield* remaining({ "x-request-timeout": "3600" })).toBeLessThanOrEqual(10_000)
        expect(yield* remaining({ "x-request-timeout": "junk" })).toBeGreaterThan(4_000)
      }).pipe(Effect.scoped)
    )

    it.live("is not begun when its caller has stopped waiting", () =>
      Effect.gen(function* () {
        const { ask } = yield* open(routes("10 seconds"))
        for (const patience of ["0S", "1n", "999u"]) {
          const { headers, json, status } = yield* ask("/left", { headers: { "grpc-timeout": patience } })
          expect(status).toBe(504)
          expect(headers["content-type"]).toBe("application/problem+json")
          expect(json).toMatchObject({ code: "deadline_exceeded", retryable: true, path: "/left" })
        }
      }).pipe(Effect.scoped)
    )

    it.live("ends when its handler asks nothing of the deadline", () =>
      Effect.gen(function* () {
        const { ask } = yield* open(routes("10 seconds"))
        const { json, status } = yield* ask("/hang", { headers: { "grpc-timeout": "20m" } })
        expect([status, json?.code]).toEqual([504, "deadline_exceeded"])
      }).pipe(Effect.scoped)
    )
  })
}

describe("headers on a socket", () => {
  it.live("that came twice, or are too long to mean anything, are ignored", () =>
    Effect.gen(function* () {
      let port = 0
      const where = HttpRouter.add("GET", "/where", (request) =>
        Effect.sync(() => {
          port = Number(new URL(`http://${request.headers.host}`).port)
          return HttpServerResponse.empty()
        })
      )
      const { ask } = yield* doors["a socket"]?.(Layer.merge(routes("10 seconds"), where)) ??
        Effect.die("no socket")
      yield* ask("/where")
      const leftWith = (...lines: ReadonlyArray<string>) =>
        Effect.callback<number>((resume) => {
          const socket = connect({ host: "127.0.0.1", port })
          let reply = ""
          socket.setEncoding("utf8").on("data", (text: string) => {
            reply += text
          })
          socket.once("close", () => resume(Effect.sync(() => Number(/"left":([\d.]+)/.exec(reply)?.[1]))))
          socket.write(
            ["GET /left HTTP/1.1", "host: gateway", "connection: close", ...lines, "", ""].join("\r\n")
          )
          return Effect.sync(() => socket.destroy())
        })
      expect(yield* leftWith("Grpc-Timeout:   2S  ")).toBeLessThanOrEqual(2_000)
      expect(yield* leftWith("grpc-timeout: 2S", "grpc-timeout: 1S")).toBeGreaterThan(5_000)
      expect(yield* leftWith("x-request-timeout: 1", "x-request-timeout: 1")).toBeGreaterThan(5_000)
      expect(yield* leftWith(`grpc-timeout: ${"0".repeat(8_000)}1S`)).toBeGreaterThan(5_000)
      expect(yield* leftWith("x-request-timeout: 1", "grpc-timeout: 2S, 3S")).toBeLessThanOrEqual(1_000)
    }).pipe(Effect.scoped)
  )
})

describe("a caller that leaves", () => {
  it.live("takes its handler along, long before the deadline", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const work = HttpRouter.add("GET", "/work", () =>
        Effect.andThen(
          Deferred.succeed(begun, undefined),
          Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
        )
      )
      const { send } = yield* doors["a socket"]?.(Layer.merge(routes("1 hour"), work)) ??
        Effect.die("no socket")
      const leave = new AbortController()
      const left = send("/work", { signal: leave.signal }).catch(() => "left")
      yield* Deferred.await(begun)
      leave.abort()
      expect(yield* Effect.promise(() => left)).toBe("left")
      yield* Deferred.await(interrupted)
    }).pipe(Effect.scoped)
  )
})

describe("a body that stalls", () => {
  it.live("does not hold its handler for ever", () =>
    Effect.gen(function* () {
      let url = ""
      const ended: Array<string> = []
      const read = HttpRouter.add("POST", "/body", (request) =>
        request.text.pipe(
          Effect.onExit(({ _tag }) => Effect.sync(() => ended.push(_tag))),
          Effect.as(HttpServerResponse.empty())
        )
      )
      const { ask } = yield* doors["a socket"]?.(
        Layer.mergeAll(
          routes("50 millis"),
          read,
          HttpRouter.add("GET", "/where", (request) =>
            Effect.sync(() => {
              url = request.headers.host ?? ""
              return HttpServerResponse.empty()
            })
          )
        )
      ) ?? Effect.die("no socket")
      yield* ask("/where")
      // What is left of the body cannot be read past, so the connection ends with the handler.
      yield* Effect.callback<void>((resume) => {
        const { hostname, port } = new URL(`http://${url}`)
        const socket = connect({ host: hostname, port: Number(port) })
        socket.resume().once("close", () => resume(Effect.void))
        socket.write("POST /body HTTP/1.1\r\nhost: gateway\r\ncontent-length: 100\r\n\r\nhalf")
        return Effect.sync(() => socket.destroy())
      })
      expect(ended).toEqual(["Failure"])
    }).pipe(Effect.scoped)
  )
})

describe("down the line", () => {
  it.effect("a service is told what remains, and not what there was", () => {
    const { layer, sent } = scripted(() => new Response("{}"))
    return Effect.gen(function* () {
      const client = yield* ServiceClient.make("billing", { url: "http://billing" })
      const handler = Effect.andThen(
        Effect.sleep("1 second"),
        client.execute(HttpClientRequest.get("/balance"))
      )
      const fiber = yield* Effect.forkChild(Deadline.within(handler, "3 seconds"))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      const next = asked({ "x-envoy-expected-rq-timeout-ms": sent[0]?.deadline ?? "" })
      expect(next).toBeGreaterThan(1_900)
      expect(next).toBeLessThan(2_000)
    }).pipe(Effect.provide(layer))
  })

  it.live("a deadline crosses two sockets and only gets shorter", () =>
    Effect.gen(function* () {
      const { requests, url } = yield* serve(ok)
      const client = yield* ServiceClient.make("billing", { url })
      const forward = HttpRouter.add(
        "GET",
        "/forward",
        Effect.as(client.execute(HttpClientRequest.get("/balance")), HttpServerResponse.empty())
      )
      const { ask } = yield* doors["a socket"]?.(Layer.merge(routes("10 seconds"), forward)) ??
        Effect.die("no socket")
      yield* ask("/forward", { headers: { "x-request-timeout": "2" } })
      const told = Number(requests[0]?.headers["x-envoy-expected-rq-timeout-ms"])
      expect(told).toBeGreaterThan(0)
      expect(told).toBeLessThan(2_000)
    }).pipe(Effect.scoped, Effect.provide(live))
  )
})

describe("bad options", () => {
  it.effect.each(["0 seconds", "25 hours"] as const)("%s is refused", (atMost) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        Layer.build(HttpRouter.serve(RequestDeadline.layer({ atMost }))).pipe(
          Effect.provide(NodeHttpServer.layerTest)
        )
      )
      expect(error).toMatchObject({ _tag: "InvalidOption", option: "atMost" })
    })
  )
})
