import { describe, expect, it } from "@effect/vitest"
import type { ServiceClient } from "@failsoft/http"
import { Duration, Effect, Exit, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, PolicyEvent, Retry } from "failsoft"
import * as Server from "./server.ts"

const { makeClient, scripted } = Server

const noon = Date.UTC(2026, 0, 1, 12)
const httpDate = (offsetSeconds: number): string => new Date(noon + offsetSeconds * 1000).toUTCString()

const answer = (status: number, retryAfter?: string) => () =>
  new Response("", { status, headers: retryAfter === undefined ? {} : { "retry-after": retryAfter } })

const everySecond = Retry.exponential({ base: "1 second", factor: 1, jitter: "none" })

const sentAt = (transport: ReturnType<typeof scripted>): ReadonlyArray<number> =>
  transport.sent.map(({ atMillis }) => atMillis - noon)

describe("Retry-After", () => {
  it.effect.each([
    { form: "seconds", header: "7" },
    { form: "an HTTP date", header: httpDate(7) },
    { form: "an RFC 850 date", header: "Thursday, 01-Jan-26 12:00:07 GMT" },
    { form: "an asctime date", header: "Thu Jan  1 12:00:07 2026" }
  ])("is waited for when it is $form", ({ header }) =>
    Effect.gen(function* () {
      const transport = scripted(answer(503, header), answer(200))
      yield* TestClock.setTime(noon)
      const call = yield* makeClient("http://billing").pipe(
        Effect.flatMap((client) => client.get("/balance")),
        Effect.provide(transport.layer),
        Effect.forkChild
      )
      yield* TestClock.adjust("6999 millis")
      expect(sentAt(transport)).toEqual([0])
      yield* TestClock.adjust("1 millis")
      expect(sentAt(transport)).toEqual([0, 7000])
      expect((yield* Fiber.join(call)).status).toBe(200)
    })
  )

  it.effect.each([408, 429, 500, 502, 503, 504])("is waited for on a %d", (status) =>
    Effect.gen(function* () {
      const transport = scripted(answer(status, "3"), answer(200))
      yield* TestClock.setTime(noon)
      const client = yield* Effect.provide(makeClient("http://billing"), transport.layer)
      yield* Effect.forkChild(client.get("/balance").pipe(Effect.provide(transport.layer)))
      yield* TestClock.adjust("3 seconds")
      expect(sentAt(transport)).toEqual([0, 3000])
    })
  )

  it.effect.each([
    { form: "a date that has passed", header: httpDate(-60) },
    { form: "this very moment", header: httpDate(0) },
    { form: "zero", header: "0" },
    { form: "less than the schedule's wait", header: "1" },
    { form: "not a time", header: "soon" },
    { form: "negative", header: "-5" },
    { form: "empty", header: "" }
  ])("leaves the schedule's wait as it is when it is $form", ({ header }) =>
    Effect.gen(function* () {
      const transport = scripted(answer(503, header), answer(200))
      yield* TestClock.setTime(noon)
      const client = yield* Effect.provide(
        makeClient("http://billing", { retry: { schedule: everySecond } }),
        transport.layer
      )
      yield* Effect.forkChild(client.get("/balance").pipe(Effect.provide(transport.layer)))
      yield* TestClock.adjust("999 millis")
      expect(sentAt(transport)).toEqual([0])
      yield* TestClock.adjust("1 millis")
      expect(sentAt(transport)).toEqual([0, 1000])
    })
  )

  it.effect.each([
    { header: "31", max: undefined },
    { header: httpDate(31), max: undefined },
    { header: "99999999999999999999", max: undefined },
    { header: "3", max: "2 seconds" as const }
  ])("ends the attempts at once when $header is more than $max (30 seconds by default)", ({ header, max }) =>
    Effect.gen(function* () {
      const transport = scripted(answer(503, header))
      yield* TestClock.setTime(noon)
      const client = yield* Effect.provide(
        makeClient("http://billing", { retry: { attempts: 3, maxRetryAfter: max } }),
        transport.layer
      )
      const error = yield* Effect.flip(client.get("/balance")).pipe(Effect.provide(transport.layer))
      expect(error).toMatchObject({ _tag: "ServiceUnavailable", reason: { attempts: 1 } })
      expect(sentAt(transport)).toEqual([0])
      const seconds = header.includes("GMT") ? 31 : Number(header)
      const told = error._tag === "ServiceUnavailable" && error.retryAfter
      expect(Duration.toSeconds(told || Duration.zero) / seconds).toBeCloseTo(1)
    })
  )

  it.effect("is waited for when it is just maxRetryAfter", () =>
    Effect.gen(function* () {
      const transport = scripted(answer(503, "30"), answer(200))
      yield* TestClock.setTime(noon)
      const client = yield* Effect.provide(makeClient("http://billing"), transport.layer)
      yield* Effect.forkChild(client.get("/balance").pipe(Effect.provide(transport.layer)))
      yield* TestClock.adjust("30 seconds")
      expect(sentAt(transport)).toEqual([0, 30_000])
    })
  )

  it.effect("ends the attempts at once when it does not fit the deadline", () =>
    Effect.gen(function* () {
      const transport = scripted(answer(503, "5"))
      yield* TestClock.setTime(noon)
      const client = yield* Effect.provide(
        makeClient("http://billing", { deadline: "5 seconds" }),
        transport.layer
      )
      const error = yield* Effect.flip(client.get("/balance")).pipe(Effect.provide(transport.layer))
      expect(error).toMatchObject({ reason: { _tag: "RetriesExhausted", attempts: 1 } })
    })
  )

  it.effect("keeps an opened circuit open as long", () =>
    Effect.gen(function* () {
      const transport = scripted(answer(503, "120"))
      const client = yield* Effect.provide(
        makeClient("http://billing", { breaker: { trip: { _tag: "Consecutive", failures: 1 } } }),
        transport.layer
      )
      yield* Effect.exit(client.post("/charge")).pipe(Effect.provide(transport.layer))
      const error = yield* Effect.flip(client.get("/balance")).pipe(Effect.provide(transport.layer))
      expect(error).toMatchObject({
        reason: { _tag: "CircuitOpen" },
        retryAfter: Duration.seconds(120)
      })
    })
  )

  it.effect("is heard over a real socket", () =>
    Effect.gen(function* () {
      const server = yield* Server.serve(
        Server.reply(503, "", { "retry-after": "7" }),
        Server.reply(503, "", { "retry-after": httpDate(9) }),
        Server.ok
      )
      yield* TestClock.setTime(noon)
      const delays: Array<number> = []
      const listener: PolicyEvent.Listener = (event) => {
        if (event._tag === "RetryScheduled") delays.push(Duration.toMillis(event.delay))
      }
      const client = yield* makeClient(server.url, { retry: { attempts: 3 } }).pipe(
        Effect.provideService(PolicyEvent.Listeners, [listener])
      )
      const call = yield* Effect.forkChild(client.get("/balance"))
      yield* Server.eventually(() => expect(delays).toEqual([7000]))
      yield* TestClock.adjust("7 seconds")
      yield* Server.eventually(() => expect(delays).toEqual([7000, 2000]))
      yield* TestClock.adjust("2 seconds")
      expect((yield* Fiber.join(call)).status).toBe(200)
      expect(server.requests).toHaveLength(3)
    }).pipe(Effect.provide(Server.live))
  )
})

describe("the deadline", () => {
  const headers = (transport: ReturnType<typeof scripted>) => transport.sent.map(({ deadline }) => deadline)

  const fork = (
    transport: ReturnType<typeof scripted>,
    options: Omit<ServiceClient.Options, "url">,
    within?: Duration.Input
  ) =>
    Effect.gen(function* () {
      const client = yield* makeClient("http://billing", options)
      const call = client.get("/balance")
      return yield* Effect.forkChild(Effect.exit(within === undefined ? call : Deadline.within(call, within)))
    }).pipe(Effect.provide(transport.layer))

  it.effect("is not forwarded where there is none", () =>
    Effect.gen(function* () {
      const transport = scripted(answer(200))
      yield* fork(transport, { attemptTimeout: "5 seconds" }).pipe(Effect.flatMap(Fiber.join))
      expect(headers(transport)).toEqual([undefined])
    })
  )

  it.effect.each([
    { deadline: "3 seconds", attemptTimeout: "5 seconds", is: "2990" },
    { deadline: "3 seconds", attemptTimeout: undefined, is: "2990" },
    { deadline: "3 seconds", attemptTimeout: "1 second", is: "990" },
    { deadline: "8 seconds", attemptTimeout: undefined, is: "4990" },
    { deadline: "11 millis", attemptTimeout: undefined, is: "1" },
    { deadline: "10 millis", attemptTimeout: undefined, is: "1" },
    { deadline: "1 millis", attemptTimeout: undefined, is: "1" },
    { deadline: "1500 micros", attemptTimeout: undefined, is: "1" },
    { deadline: "100900 micros", attemptTimeout: undefined, is: "90" }
  ] as const)("of $deadline with attempts of $attemptTimeout is forwarded as $is ms", ({ is, ...options }) =>
    Effect.gen(function* () {
      const transport = scripted(answer(200))
      yield* fork(transport, options).pipe(Effect.flatMap(Fiber.join))
      expect(headers(transport)).toEqual([is])
    })
  )

  it.effect.prop(
    "is forwarded as a whole number below what remains and below the attempt timeout, and at least 1",
    {
      deadline: Schema.Int.check(Schema.isBetween({ minimum: 1_000, maximum: 20_000_000 })),
      attemptTimeout: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 20_000_000 }))
    },
    ({ attemptTimeout, deadline }) =>
      Effect.gen(function* () {
        const transport = scripted(answer(200))
        yield* fork(transport, {
          deadline: Duration.micros(BigInt(deadline)),
          attemptTimeout: Duration.micros(BigInt(attemptTimeout))
        }).pipe(Effect.flatMap(Fiber.join))
        const [header = ""] = headers(transport)
        expect(header).toMatch(/^[1-9]\d*$/)
        expect(Number(header)).toBeLessThanOrEqual(
          Math.max(1, Math.min(deadline, attemptTimeout) / 1000 - 10)
        )
      }),
    { arbitrary: { runs: 200 } }
  )

  it.effect("has less left at the second attempt", () =>
    Effect.gen(function* () {
      const transport = scripted(answer(503), answer(503), answer(200))
      yield* fork(transport, { deadline: "4 seconds", retry: { attempts: 3, schedule: everySecond } })
      yield* TestClock.adjust("2 seconds")
      expect(headers(transport)).toEqual(["3990", "2990", "1990"])
    })
  )

  it.effect("is the caller's own where that is nearer", () =>
    Effect.gen(function* () {
      const transport = scripted(answer(200))
      yield* fork(transport, { deadline: "4 seconds" }, "2 seconds").pipe(Effect.flatMap(Fiber.join))
      yield* fork(transport, { deadline: "4 seconds" }, "6 seconds").pipe(Effect.flatMap(Fiber.join))
      yield* fork(transport, {}, "2 seconds").pipe(Effect.flatMap(Fiber.join))
      expect(headers(transport)).toEqual(["1990", "3990", "1990"])
    })
  )

  it.effect("ends an attempt that hangs, and no other follows", () =>
    Effect.gen(function* () {
      const transport = scripted(() => undefined)
      const call = yield* fork(transport, { deadline: "3 seconds", retry: { attempts: 5 } })
      yield* TestClock.adjust("2999 millis")
      expect(call.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      const exit = yield* Fiber.join(call)
      expect(Exit.findErrorOption(exit)).toMatchObject({
        value: { reason: { _tag: "TimedOut", after: Duration.seconds(3), of: Duration.seconds(3) } }
      })
      expect(transport.sent).toHaveLength(1)
    })
  )

  it.effect("takes the wait before an attempt into account", () =>
    Effect.gen(function* () {
      const transport = scripted(answer(503))
      const call = yield* fork(transport, {
        deadline: "2500 millis",
        retry: { attempts: 10, schedule: everySecond }
      })
      yield* TestClock.adjust("2 seconds")
      expect(Exit.findErrorOption(yield* Fiber.join(call))).toMatchObject({
        value: { reason: { _tag: "RetriesExhausted", attempts: 3 } }
      })
    })
  )

  it.live.each(["get", "post"] as const)("when spent, sends nothing (%s)", (method) =>
    Effect.gen(function* () {
      const server = yield* Server.serve(Server.ok)
      const client = yield* makeClient(server.url)
      const error = yield* Effect.flip(Deadline.within(client[method]("/balance"), 0))
      expect(error).toMatchObject({
        _tag: "ServiceUnavailable",
        reason: { _tag: "TimedOut", after: Duration.zero }
      })
      expect([server.requests.length, server.connections()]).toEqual([0, 0])
      expect(yield* client.policy.breaker!.snapshot).toMatchObject({ counts: { ignored: 1, failed: 0 } })
    }).pipe(Effect.provide(Server.live))
  )

  it.effect("that was nearly spent does not count against the service, and a POST is Ambiguous", () =>
    Effect.gen(function* () {
      const transport = scripted(() => undefined)
      const client = yield* Effect.provide(makeClient("http://billing"), transport.layer)
      const call = yield* Effect.forkChild(
        Effect.flip(Deadline.within(client.post("/charge"), "2 seconds")).pipe(
          Effect.provide(transport.layer)
        )
      )
      yield* TestClock.adjust("2 seconds")
      expect(yield* Fiber.join(call)).toMatchObject({
        _tag: "Ambiguous",
        cause: { reason: { _tag: "TimedOut", after: Duration.seconds(2), of: Duration.seconds(5) } }
      })
      expect(yield* client.policy.breaker!.snapshot).toMatchObject({ counts: { ignored: 1, failed: 0 } })
    })
  )
})

describe("the attempt timeout", () => {
  it.effect("is 5 seconds unless told, for each attempt anew", () =>
    Effect.gen(function* () {
      const transport = scripted(() => undefined)
      const client = yield* Effect.provide(makeClient("http://billing"), transport.layer)
      const call = yield* Effect.forkChild(
        Effect.flip(client.get("/balance")).pipe(Effect.provide(transport.layer))
      )
      yield* TestClock.adjust("4999 millis")
      expect(transport.sent).toHaveLength(1)
      yield* TestClock.adjust("2 millis")
      expect(transport.sent).toHaveLength(2)
      yield* TestClock.adjust("5 seconds")
      expect(yield* Fiber.join(call)).toMatchObject({ reason: { _tag: "TimedOut", of: Duration.seconds(5) } })
    })
  )

  it.effect("includes the body", () =>
    Effect.gen(function* () {
      let cancelled = 0
      const endless = () =>
        new Response(
          new ReadableStream({
            start: (controller) => controller.enqueue(new Uint8Array(1)),
            cancel: () => void cancelled++
          })
        )
      const transport = scripted(endless)
      const client = yield* Effect.provide(
        makeClient("http://billing", { retry: { attempts: 1 } }),
        transport.layer
      )
      const call = yield* Effect.forkChild(
        Effect.flip(client.get("/balance")).pipe(Effect.provide(transport.layer))
      )
      yield* TestClock.adjust("5 seconds")
      expect(yield* Fiber.join(call)).toMatchObject({ reason: { _tag: "TimedOut" } })
      expect(cancelled).toBe(1)
    })
  )
})
