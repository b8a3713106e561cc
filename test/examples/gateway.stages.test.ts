/**
 * What the gateway's table of services asks of the policies beside retry and circuit: a bulkhead for each service, one budget for
 * all, a hedged search with a cache that outlives its service, and a deadline that callers may shorten.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { vi } from "vitest"
import {
  askedEachTime,
  bearer,
  callsOf,
  eventually,
  json,
  type Reply,
  type Running,
  serve,
  shipped,
  start,
  stateOf,
  tokenOf
} from "./inProcess.ts"

vi.setConfig({ testTimeout: 20_000, maxConcurrency: 8 })

const sourceOf = ({ body }: Reply): string =>
  (body as { readonly context: { readonly source: string } }).context.source

const documentsOf = ({ body }: Reply): unknown =>
  (body as { readonly context: { readonly documents: unknown } }).context.documents

const chat = ({ send }: Running, token: string, message: string) =>
  send("/api/v1/chat", json({ message }, bearer(token)))

const queriesOf = ({ upstreams }: Running): number => upstreams.chroma.stats().routes["POST /query"] ?? 0

describe.concurrent("the search for context", () => {
  it.live("that takes long is asked again, and answers with what comes first", () =>
    Effect.gen(function* () {
      const running = yield* start({ attemptMillis: 5_000, requestDeadlineMillis: 15_000 })
      const token = yield* tokenOf(running)
      // The hedge of the hasty table waits for a fifth of the attempt timeout.
      yield* running.setMode("chroma", { mode: "stutter", delayMillis: 60_000 })
      const reply = yield* chat(running, token, "circuit")
      expect([reply.status, sourceOf(reply), queriesOf(running)]).toEqual([200, "live", 2])
      expect(reply.millis).toBeGreaterThan(900)
      expect(reply.millis).toBeLessThan(4_000)
      yield* eventually(() => expect(running.upstreams.chroma.stats().inflight).toBe(0))
    })
  )

  it.live("is asked once for all who ask the same at once", () =>
    Effect.gen(function* () {
      const running = yield* start({ attemptMillis: 5_000, contextCache: { timeToLive: 60 } })
      const token = yield* tokenOf(running)
      yield* running.setMode("chroma", { mode: "slow", delayMillis: 50 })
      const replies = yield* Effect.replicateEffect(chat(running, token, "circuit"), 20, {
        concurrency: "unbounded"
      })
      expect(new Set(replies.map(sourceOf))).toEqual(new Set(["live"]))
      expect(queriesOf(running)).toBe(1)
    })
  )

  it.live("that is away is answered by what it said before, then by the graph", () =>
    Effect.gen(function* () {
      const running = yield* start()
      const token = yield* tokenOf(running)
      const before = yield* chat(running, token, "what does an open circuit do")
      yield* running.setMode("chroma", "refuse")
      const same = yield* chat(running, token, "what does an open circuit do")
      const other = yield* chat(running, token, "what does a closed circuit do")
      const unknown = yield* chat(running, token, "xyzzy")
      expect([before, same, other, unknown].map(sourceOf)).toEqual(["live", "stale", "graph", "none"])
      expect(documentsOf(same)).toEqual(documentsOf(before))
      expect(same.body).toMatchObject({ charged: true })
    })
  )

  it.live("that hangs is left behind for what it said before, and its circuit still opens", () =>
    Effect.gen(function* () {
      const running = yield* start({
        attemptMillis: 2_000,
        requestDeadlineMillis: 10_000,
        contextCache: { ...askedEachTime, softTimeout: "100 millis" }
      })
      const token = yield* tokenOf(running)
      const questions = Array.from({ length: 5 }, (_, index) => `circuit ${index}`)
      yield* Effect.forEach(questions, (question) => chat(running, token, question))
      yield* running.setMode("chroma", "hang")
      const replies = yield* Effect.forEach(questions, (question) => chat(running, token, question))
      for (const reply of replies) {
        expect(sourceOf(reply)).toBe("stale")
        expect(reply.millis).toBeLessThan(1_500)
      }
      yield* eventually(async () => expect(await Effect.runPromise(stateOf(running, "chroma"))).toBe("open"))
    })
  )

  it.live.each([
    ["with other fields", 200, '{"answers":[]}'],
    ["with no JSON", 200, "maintenance"],
    ["that it does not know the question", 404, "{}"]
  ] as const)("that answers %s is answered by what it said before", ([, status, body]) =>
    Effect.gen(function* () {
      let isOdd = false
      const chroma = yield* serve((request, response) => {
        request.resume()
        const answer = isOdd ? body : '{"documents":[{"id":"1","text":"what was found"}]}'
        response.writeHead(isOdd ? status : 200, { "content-type": "application/json" }).end(answer)
      })
      const running = yield* start({ urls: { chroma } })
      const token = yield* tokenOf(running)
      const before = yield* chat(running, token, "circuit")
      isOdd = true
      const after = yield* chat(running, token, "circuit")
      expect([before, after].map(sourceOf)).toEqual(["live", "stale"])
      expect(documentsOf(after)).toEqual(documentsOf(before))
    })
  )
})

describe.concurrent("the bulkhead of a service", () => {
  const { limit, queue } = shipped.external.bulkhead
  const waiting = ({ send }: Running, seconds: string) =>
    send("/api/v1/data/weather", { headers: { "x-request-timeout": seconds } })

  it.live("lets no more under way than told, and sheds who finds no place, or waits too long for one", () =>
    Effect.gen(function* () {
      const running = yield* start({ attemptMillis: 8_000, requestDeadlineMillis: 15_000 })
      yield* running.setMode("external", "hang")
      const tooMany = 10
      const replies = yield* Effect.replicateEffect(waiting(running, "3"), limit + queue + tooMany, {
        concurrency: "unbounded"
      })
      const shed = replies.filter(({ status }) => status === 503)
      for (const { body } of shed)
        expect(body).toMatchObject({ code: "service_unavailable", retryable: true })
      expect(shed).toHaveLength(tooMany + queue)
      expect(replies.filter(({ status }) => status === 504)).toHaveLength(limit)
      expect(running.upstreams.external.stats().maxInflight).toBe(limit)
      // They waited for less than half of what an attempt may take: that says nothing about the service.
      expect(yield* stateOf(running, "external")).toBe("closed")
      yield* running.setMode("external", "ok")
      expect((yield* waiting(running, "5")).status).toBe(200)
    })
  )
})

describe.concurrent("the budget of retries", () => {
  it.live("is one for all services: what one has used, another cannot", () =>
    Effect.gen(function* () {
      const rows = (name: "filesystem" | "auth") => ({
        ...shipped[name],
        retry: { attempts: 4, base: "1 millis" },
        breaker: { failures: 1_000, openDuration: 60 }
      })
      const running = yield* start({
        rows: { filesystem: rows("filesystem"), auth: rows("auth") },
        // One token from the start, and none after.
        retryBudget: { ratio: 0, minPerSecond: 0.001 }
      })
      const token = yield* tokenOf(running)
      const files = running.send("/api/v1/projects/p-1/files", { headers: bearer(token) })
      yield* running.setMode("filesystem", "fail")
      const before = callsOf(running, "auth")
      yield* Effect.replicateEffect(files, 3)
      const used = callsOf(running, "filesystem")
      expect(callsOf(running, "auth") - before).toBe(6)
      yield* running.setMode("auth", "fail")
      yield* Effect.replicateEffect(files, 5)
      expect(used).toBe(3 + 1)
      expect(callsOf(running, "auth") - before).toBe(6 + 5)
    })
  )
})
