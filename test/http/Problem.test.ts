import { connect } from "node:net"
import { describe, expect, it } from "@effect/vitest"
import { Problem } from "@failsoft/http"
import { ByteSize, Data, Deferred, Duration, Effect, Layer, Schema } from "effect"
import {
  HttpClientError,
  HttpClientRequest,
  HttpClientResponse,
  HttpIncomingMessage,
  HttpRouter,
  HttpServerResponse
} from "effect/http"
import {
  Ambiguous,
  Misconfigured,
  QuotaExceeded,
  ServiceUnavailable,
  UnavailableReason,
  Unsupported
} from "failsoft"
import { doors } from "./gateway.ts"
import { eventually } from "./server.ts"

const canary = "canary-hunter2"

const ok = HttpServerResponse.text("ok")

const failing = (path: `/${string}`, failure: Effect.Effect<never, unknown>) =>
  HttpRouter.add("GET", path, Effect.as(failure, ok))

const wire = (reason: HttpClientError.HttpClientError["reason"]) =>
  new HttpClientError.HttpClientError({ reason })

const request = HttpClientRequest.get(`http://upstream/?key=${canary}`).pipe(
  HttpClientRequest.bearerToken(canary)
)

const upstream = (status: number) => HttpClientResponse.fromWeb(request, new Response(canary, { status }))

class Unknown extends Data.TaggedError("Unknown")<{ readonly secret: string }> {}

const unavailable = (reason: UnavailableReason, retryAfter?: Duration.Duration) =>
  new ServiceUnavailable({ service: "billing", reason, retryAfter })

const { CircuitOpen, NotConnected, RetriesExhausted, TimedOut } = UnavailableReason

const second = Duration.seconds(1)

/** What handlers may fail with, and what their callers are told. */
const failures = [
  { what: "unauthenticated", error: Problem.unauthenticated(), status: 401, code: "unauthenticated" },
  { what: "forbidden", error: Problem.forbidden(), status: 403, code: "forbidden" },
  { what: "notFound", error: Problem.notFound(), status: 404, code: "not_found" },
  { what: "contentTooLarge", error: Problem.contentTooLarge(), status: 413, code: "content_too_large" },
  { what: "rateLimited", error: Problem.rateLimited(second), status: 429, code: "rate_limited" },
  { what: "unavailable", error: Problem.unavailable(), status: 503, code: "service_unavailable" },
  {
    what: "an open circuit",
    error: unavailable(CircuitOpen(), second),
    status: 503,
    code: "service_unavailable"
  },
  { what: "no connection", error: unavailable(NotConnected()), status: 503, code: "service_unavailable" },
  {
    what: "spent retries",
    error: unavailable(RetriesExhausted({ attempts: 2, lastError: new Error(canary) })),
    status: 503,
    code: "service_unavailable"
  },
  {
    what: "a timeout",
    error: unavailable(TimedOut({ after: second, of: second })),
    status: 504,
    code: "timed_out"
  },
  {
    what: "a quota",
    error: new QuotaExceeded({ quota: canary, limit: 5, retryAfter: second }),
    status: 429,
    code: "rate_limited"
  },
  {
    what: "an unknown fate",
    error: new Ambiguous({ service: "billing", operation: canary, cause: new Error(canary) }),
    status: 504,
    code: "timed_out"
  },
  {
    what: "no degraded form",
    error: new Unsupported({ service: "redis", operation: canary }),
    status: 503,
    code: "service_unavailable"
  },
  {
    what: "a wrong password",
    error: new Misconfigured({ service: "redis", problem: canary }),
    status: 502,
    code: "bad_gateway"
  },
  ...[
    new HttpClientError.TransportError({ request, cause: new Error(canary), description: canary }),
    new HttpClientError.StatusCodeError({ request, response: upstream(500), description: canary }),
    new HttpClientError.StatusCodeError({ request, response: upstream(404) }),
    new HttpClientError.DecodeError({ request, response: upstream(200), cause: new Error(canary) }),
    new HttpClientError.EmptyBodyError({ request, response: upstream(200) })
  ].map((reason) => ({
    what: `${reason._tag} of a client`,
    error: wire(reason),
    status: 502,
    code: "bad_gateway"
  }))
] as const

const retryable = new Set([
  "an open circuit",
  "no connection",
  "spent retries",
  "a timeout",
  "a quota",
  "no degraded form",
  "rateLimited",
  "unavailable"
])

describe.each(Object.entries(doors))("over %s", (door, open) => {
  const gateway = (routes: Parameters<typeof open>[0], format?: Problem.Format) =>
    open(Layer.merge(routes, Problem.layer({ format })))

  describe("a handler that fails with", () => {
    it.live.each(failures)("$what is answered with $status $code", ({ code, error, status, what }) =>
      Effect.gen(function* () {
        const { ask, log } = yield* gateway(failing("/it", Effect.fail(error)))
        const before = Date.now()
        const reply = yield* ask("/it?token=x")
        const { requestId, timestamp, title, ...rest } = reply.json ?? {}
        expect(rest).toEqual({
          type: "about:blank",
          status,
          code,
          retryable: retryable.has(what),
          path: "/it",
          ...("retryAfterMs" in rest ? { retryAfterMs: 1000 } : {})
        })
        expect(reply.status).toBe(status)
        expect(title).toMatch(/^[A-Z].+[a-z]$/)
        expect(requestId).toBe(reply.headers["x-request-id"])
        expect(String(timestamp)).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
        expect(Date.parse(String(timestamp))).toBeGreaterThanOrEqual(before)
        expect(Date.parse(String(timestamp))).toBeLessThanOrEqual(Date.now())
        expect(reply.headers["content-type"]).toBe("application/problem+json")
        expect(reply.headers["cache-control"]).toBe("no-store")
        expect(reply.headers["www-authenticate"]).toBe(status === 401 ? "Bearer" : undefined)
        const again = status === 429 || status === 503
        expect("retryAfterMs" in rest).toBe(again)
        expect(reply.headers["retry-after"] ?? "none").toMatch(again ? /^[12]$/ : /^none$/)
        expect(JSON.stringify(reply)).not.toContain(canary)
        // Only the log tells who answered as it should not, and by its name alone.
        expect(log).toHaveLength(status === 502 ? 1 : 0)
        expect(JSON.stringify(log)).not.toContain(canary)
      })
    )

    it.live("says what its author wrote", () =>
      Effect.gen(function* () {
        const { ask } = yield* gateway(
          Layer.mergeAll(
            failing("/401", Effect.fail(Problem.unauthenticated("wrong email or password"))),
            failing("/403", Effect.fail(Problem.forbidden("not your project"))),
            failing("/404", Effect.fail(Problem.notFound("no such project"))),
            failing("/400", Effect.fail(Problem.invalidRequest([{ field: "a", message: "no" }]))),
            failing(
              "/503",
              Effect.fail(
                Problem.unavailable({
                  detail: "closed for the night",
                  retryAfter: Duration.hours(8),
                  retryable: false
                })
              )
            )
          )
        )
        expect((yield* ask("/401")).json).toMatchObject({ detail: "wrong email or password" })
        expect((yield* ask("/403")).json).toMatchObject({ detail: "not your project" })
        expect((yield* ask("/404")).json).toMatchObject({ detail: "no such project" })
        expect((yield* ask("/400")).json).toMatchObject({
          detail: "a: no",
          errors: [{ field: "a", message: "no" }]
        })
        expect((yield* ask("/503")).json).toMatchObject({
          detail: "closed for the night",
          retryable: false,
          retryAfterMs: 28_800_000
        })
      })
    )

    it.live.each<{ what: string; failure: Effect.Effect<unknown, unknown> }>([
      { what: "a defect", failure: Effect.die(new Error(canary)) },
      { what: "a defect that is no error", failure: Effect.die(canary) },
      { what: "an error that nobody knows", failure: Effect.fail(new Unknown({ secret: canary })) },
      { what: "a text", failure: Effect.fail(canary) },
      { what: "nothing", failure: Effect.fail(undefined) },
      {
        what: "a request to another that could not be written",
        failure: Effect.fail(wire(new HttpClientError.EncodeError({ request, cause: new Error(canary) })))
      },
      {
        what: "a request to another that has no URL",
        failure: Effect.fail(wire(new HttpClientError.InvalidUrlError({ request, cause: new Error(canary) })))
      },
      {
        what: "an answer of its own that does not fit its schema",
        failure: Schema.decodeUnknownEffect(Schema.Literal("a"))(canary)
      }
    ])("$what is answered with 500 and an incident, under which the cause is logged", ({ failure, what }) =>
      Effect.gen(function* () {
        const { ask, log } = yield* gateway(failing("/it", Effect.andThen(failure, Effect.never)))
        const reply = yield* ask("/it", { headers: { "x-request-id": "request-7" } })
        expect(reply.status).toBe(500)
        const { detail, timestamp: _, ...rest } = reply.json ?? {}
        expect(rest).toEqual({
          type: "about:blank",
          title: "Something went wrong here",
          status: 500,
          code: "internal",
          retryable: false,
          requestId: "request-7",
          path: "/it"
        })
        const [, incident = ""] = /^incident ([0-9a-f]{16})$/.exec(String(detail)) ?? []
        expect(JSON.stringify(reply)).not.toContain(canary)
        expect(log).toHaveLength(1)
        expect(log[0]).toMatchObject({ level: "Error", annotations: { requestId: "request-7" } })
        expect(log[0]?.text).toContain(`incident ${incident}`)
        if (what.includes("defect") || what === "a text") expect(log[0]?.text).toContain(canary)
      })
    )

    it.live("an incident differs each time", () =>
      Effect.gen(function* () {
        const { ask } = yield* gateway(failing("/it", Effect.die("defect")))
        const details = yield* Effect.forEach(Array(5).fill("/it"), (path) =>
          Effect.map(ask(path), ({ json }) => json?.detail)
        )
        expect(new Set(details).size).toBe(5)
      })
    )
  })

  it.live("an unknown route is a 404, and an answer stays as it is", () =>
    Effect.gen(function* () {
      const { ask } = yield* gateway(HttpRouter.add("GET", "/it", Effect.succeed(ok)))
      expect(yield* ask("/other")).toMatchObject({
        status: 404,
        json: { code: "not_found", detail: "there is no such route", path: "/other" }
      })
      expect(yield* ask("/it", { method: "DELETE" })).toMatchObject({ status: 404 })
      const reply = yield* ask("/it")
      expect([reply.status, reply.text]).toEqual([200, "ok"])
      expect(reply.headers["x-request-id"]).toMatch(/^[0-9a-f]{16}$/)
    })
  )

  describe("the id of a request", () => {
    it.live.each(["a", "7f3c-11", "A_b.c:d-9", "x".repeat(128)])("is taken: %s", (id) =>
      Effect.gen(function* () {
        const { ask } = yield* gateway(failing("/it", Effect.fail(Problem.forbidden())))
        const reply = yield* ask("/it", { headers: { "x-request-id": id } })
        expect([reply.headers["x-request-id"], reply.json?.requestId]).toEqual([id, id])
      })
    )

    it.live.each(["", "a b", "a,b", "<script>", "a;b", "ä", '"', "../x", "a\tb", "x".repeat(129)])(
      "is refused and another made: %j",
      (id) =>
        Effect.gen(function* () {
          const { ask } = yield* gateway(failing("/it", Effect.fail(Problem.forbidden())))
          const reply = yield* ask("/it", { headers: { "x-request-id": id } })
          expect(reply.headers["x-request-id"]).toMatch(/^[0-9a-f]{16}$/)
          expect(reply.json?.requestId).toBe(reply.headers["x-request-id"])
        })
    )

    it.live("is made anew for each request that brings none, and annotates what the request logs", () =>
      Effect.gen(function* () {
        const { ask, log } = yield* gateway(
          HttpRouter.add("GET", "/it", Effect.as(Effect.logWarning("halfway"), ok))
        )
        const replies = yield* Effect.all([ask("/it"), ask("/it"), ask("/it")], { concurrency: 3 })
        const ids = replies.map(({ headers }) => headers["x-request-id"])
        expect(new Set(ids).size).toBe(3)
        expect(log.map(({ annotations }) => annotations.requestId).toSorted()).toEqual(ids.toSorted())
      })
    )
  })

  it.live("the envelope has exactly its six members", () =>
    Effect.gen(function* () {
      const { ask } = yield* gateway(
        Layer.mergeAll(
          failing("/429", Effect.fail(Problem.rateLimited(second))),
          failing("/401", Effect.fail(Problem.unauthenticated("who are you?"))),
          failing("/500", Effect.die(canary))
        ),
        "envelope"
      )
      const limited = yield* ask("/429?a=1", { headers: { "x-request-id": "r-1" } })
      expect(limited.json).toEqual({
        error: {
          code: "rate_limited",
          message: "Too many requests",
          type: "rate_limited",
          timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
          request_id: "r-1",
          path: "/429"
        }
      })
      expect(limited.status).toBe(429)
      expect(limited.headers).toMatchObject({ "content-type": "application/json", "x-request-id": "r-1" })
      expect(limited.headers["retry-after"]).toMatch(/^[12]$/)
      const unknown = yield* ask("/401")
      expect(unknown.json).toMatchObject({ error: { code: "unauthenticated", message: "who are you?" } })
      expect(unknown.headers["www-authenticate"]).toBe("Bearer")
      const broken = yield* ask("/500")
      expect(broken.json).toMatchObject({
        error: { code: "internal", message: expect.stringMatching(/^incident [0-9a-f]{16}$/) }
      })
      expect(broken.text).not.toContain(canary)
      expect(yield* ask("/nowhere")).toMatchObject({ status: 404, json: { error: { code: "not_found" } } })
    })
  )

  describe("a request's body", () => {
    const Login = Schema.Struct({
      email: Schema.String,
      password: Schema.String.check(Schema.isMinLength(8)),
      user: Schema.optionalKey(
        Schema.Struct({
          age: Schema.Int,
          tags: Schema.Array(Schema.String),
          role: Schema.Literals(["a", "b"])
        })
      )
    })
    const routes = Layer.merge(
      HttpRouter.add("POST", "/login", Effect.map(Problem.body(Login), HttpServerResponse.jsonUnsafe)),
      HttpRouter.add(
        "POST",
        "/small",
        Effect.as(Problem.body(Login), ok).pipe(
          Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.fromInputUnsafe(64))
        )
      )
    )
    const post = (path: string, body: string) =>
      Effect.flatMap(gateway(routes), ({ ask, log }) =>
        Effect.map(
          ask(path, { method: "POST", body, headers: { "content-type": "application/json" } }),
          (reply) => ({
            ...reply,
            log
          })
        )
      )

    it.live("that is right is decoded", () =>
      Effect.gen(function* () {
        const login = { email: "ada@example.org", password: "lovelace" }
        const reply = yield* post("/login", JSON.stringify(login))
        expect([reply.status, reply.json]).toEqual([200, login])
      })
    )

    it.live.each(["", "{", `{"email": ${canary}`, "\u0000", "'x'", "undefined"])(
      "that is not JSON is a 400: %j",
      (body) =>
        Effect.gen(function* () {
          const reply = yield* post("/login", body)
          expect(reply.status).toBe(400)
          expect(reply.json).toMatchObject({
            code: "invalid_request",
            detail: "the body is not JSON",
            errors: [{ field: "", message: "the body is not JSON" }],
            retryable: false
          })
          expect(reply.text).not.toContain(canary)
          expect(reply.log).toEqual([])
        })
    )

    it.live.each([
      { body: {}, fields: ["email", "password"] },
      { body: { email: 1, password: "short" }, fields: ["email", "password"] },
      {
        body: { email: { canary }, password: [canary], user: canary },
        fields: ["email", "password", "user"]
      },
      {
        body: {
          email: "e",
          password: canary,
          user: { age: canary, tags: ["ok", 7, { canary }], role: canary }
        },
        fields: ["user.age", "user.tags.1", "user.tags.2", "user.role"]
      },
      { body: { email: "e", password: canary, user: {} }, fields: ["user.age", "user.tags", "user.role"] },
      { body: null, fields: [""] },
      { body: [canary], fields: [""] },
      { body: canary, fields: [""] },
      { body: 5, fields: [""] }
    ])("with wrong fields is a 400 that names all of them: $fields", ({ body, fields }) =>
      Effect.gen(function* () {
        const reply = yield* post("/login", JSON.stringify(body))
        expect(reply.status).toBe(400)
        const errors = reply.json?.errors as ReadonlyArray<Problem.FieldError>
        expect(errors.map(({ field }) => field)).toEqual(fields)
        expect(errors.every(({ message }) => message.length > 0)).toBe(true)
        for (const { field, message } of errors)
          expect(reply.json?.detail).toContain(`${field && `${field}: `}${message}`)
        expect(reply.text).not.toContain(canary)
        expect(reply.log).toEqual([])
      })
    )

    it.live("that is larger than is read is a 413", () =>
      Effect.gen(function* () {
        const reply = yield* post("/small", JSON.stringify({ email: "e".repeat(100), password: "lovelace" }))
        expect(reply).toMatchObject({ status: 413, json: { code: "content_too_large" }, log: [] })
        const small = yield* post("/small", JSON.stringify({ email: "e", password: "lovelace" }))
        expect(small.status).toBe(200)
      })
    )
  })

  it.live("wrong parameters of a path are a 400 that names them", () =>
    Effect.gen(function* () {
      const Params = Schema.Struct({ id: Schema.NumberFromString, page: Schema.Literals(["1", "2"]) })
      const { ask } = yield* gateway(
        HttpRouter.add(
          "GET",
          "/projects/:id/:page",
          Effect.map(Problem.pathParams(Params), HttpServerResponse.jsonUnsafe)
        )
      )
      expect((yield* ask("/projects/7/1")).json).toEqual({ id: 7, page: "1" })
      expect(yield* ask("/projects/7/3")).toMatchObject({
        status: 400,
        json: { errors: [{ field: "page" }] }
      })
    })
  )

  describe("Retry-After", () => {
    const ask = (retryAfter: Duration.Duration | undefined, times: number) =>
      Effect.gen(function* () {
        const { ask } = yield* gateway(failing("/it", Effect.fail(Problem.unavailable({ retryAfter }))))
        return yield* Effect.forEach(Array(times).fill("/it"), (path) => ask(path), { concurrency: 10 })
      })

    it.live("is spread from what was asked to a fifth more", () =>
      Effect.gen(function* () {
        const replies = yield* ask(Duration.seconds(100), 100)
        const seconds = replies.map(({ headers }) => Number(headers["retry-after"]))
        expect(Math.min(...seconds)).toBeGreaterThanOrEqual(100)
        expect(Math.max(...seconds)).toBeLessThanOrEqual(120)
        expect(new Set(seconds).size).toBeGreaterThan(10)
        expect(seconds.every(Number.isInteger)).toBe(true)
        expect(new Set(replies.map(({ json }) => json?.retryAfterMs))).toEqual(new Set([100_000]))
      })
    )

    it.live.each([
      { asked: undefined, from: 1, to: 2, millis: 1000 },
      { asked: Duration.millis(1), from: 1, to: 1, millis: 1 },
      { asked: Duration.zero, from: 1, to: 1, millis: 0 },
      { asked: Duration.micros(1500n), from: 1, to: 1, millis: 2 },
      { asked: Duration.millis(1500), from: 2, to: 2, millis: 1500 },
      { asked: Duration.days(400), from: 86_400, to: 103_680, millis: 86_400_000 },
      { asked: Duration.infinity, from: 86_400, to: 103_680, millis: 86_400_000 }
    ])("of $asked is $from to $to whole seconds", ({ asked, from, millis, to }) =>
      Effect.gen(function* () {
        for (const { headers, json } of yield* ask(asked, 10)) {
          expect(headers["retry-after"]).toMatch(/^\d+$/)
          expect(Number(headers["retry-after"])).toBeGreaterThanOrEqual(from)
          expect(Number(headers["retry-after"])).toBeLessThanOrEqual(to)
          expect(json?.retryAfterMs).toBe(millis)
        }
      })
    )
  })

  it.live("a client that leaves interrupts its handler, and is no incident", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const { ask, log, send } = yield* gateway(
        Layer.merge(
          HttpRouter.add(
            "GET",
            "/slow",
            Effect.andThen(Deferred.succeed(started, undefined), Effect.never).pipe(
              Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
            )
          ),
          HttpRouter.add("GET", "/it", Effect.succeed(ok))
        )
      )
      const controller = new AbortController()
      const gone = send("/slow", { signal: controller.signal }).then(
        ({ status }) => status,
        () => "gone"
      )
      yield* Deferred.await(started)
      controller.abort()
      yield* Deferred.await(interrupted)
      // Who calls a handler directly hears the status that is meant for logs and metrics.
      expect(yield* Effect.promise(() => gone)).toBe(door === "a socket" ? "gone" : 499)
      expect((yield* ask("/it")).status).toBe(200)
      expect(log.filter(({ text }) => text.includes("incident"))).toEqual([])
      expect(log.filter(({ level }) => level === "Error")).toEqual([])
    })
  )
})

it.live("a request that cannot be parsed at all ends its own connection and nothing else", () =>
  Effect.gen(function* () {
    const open = doors["a socket"]
    const { ask, send } = yield* open!(
      Layer.merge(HttpRouter.add("GET", "/it", Effect.succeed(ok)), Problem.layer())
    )
    const { port } = new URL((yield* Effect.promise(() => send("/it"))).url)
    const socket = connect(Number(port), "127.0.0.1")
    let answer = ""
    let closed = false
    socket.on("data", (chunk) => {
      answer += chunk
    })
    socket.on("error", () => {})
    socket.on("close", () => {
      closed = true
    })
    socket.write("NONSENSE\r\n\r\n")
    yield* eventually(() => expect(closed).toBe(true))
    expect(answer).toMatch(/^(HTTP\/1.1 400 |$)/)
    expect((yield* ask("/it")).status).toBe(200)
  })
)

describe("fromError", () => {
  it.effect("knows nothing of an error that is none of ours", () =>
    Effect.sync(() => {
      for (const error of [new Error(canary), canary, undefined, null, 5, new Unknown({ secret: canary })]) {
        expect(Problem.fromError(error)).toBeUndefined()
      }
    })
  )

  it.effect("gives a problem back as it is, with a sentence for people", () =>
    Effect.sync(() => {
      const problem = Problem.forbidden("not yours")
      expect(Problem.fromError(problem)).toBe(problem)
      expect([problem.message, Problem.forbidden().message]).toEqual(["not yours", "This is not allowed"])
    })
  )
})
