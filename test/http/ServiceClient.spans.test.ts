import { describe, expect, it } from "@effect/vitest"
import { Effect, Tracer } from "effect"
import * as Server from "./server.ts"

/** A tracer that keeps its spans. */
const collecting = () => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer }
}

const resends = (spans: ReadonlyArray<Tracer.Span>) =>
  spans.map(({ attributes, name }) => [name, attributes.get("http.request.resend_count")])

describe("the spans of a request", () => {
  it.live("count the attempts that went before, on that of each attempt and on the caller's", () =>
    Effect.gen(function* () {
      const { spans, tracer } = collecting()
      const server = yield* Server.serve(Server.reply(503), Server.reply(503), Server.ok)
      const client = yield* Server.makeClient(server.url, { retry: { attempts: 3, schedule: Server.hasty } })
      const twice = Effect.andThen(client.get("/balance"), client.get("/balance"))
      yield* twice.pipe(Effect.withSpan("call"), Effect.withTracer(tracer))
      expect(server.requests).toHaveLength(4)
      expect(resends(spans)).toEqual([
        ["call", 2],
        ["GET", undefined],
        ["GET", 1],
        ["GET", 2],
        ["GET", undefined]
      ])
    }).pipe(Effect.provide(Server.live))
  )

  it.live("say nothing of a request that was sent once", () =>
    Effect.gen(function* () {
      const { spans, tracer } = collecting()
      const server = yield* Server.serve(Server.ok)
      const client = yield* Server.makeClient(server.url)
      yield* client.get("/balance").pipe(Effect.withSpan("call"), Effect.withTracer(tracer))
      expect(resends(spans)).toEqual([
        ["call", undefined],
        ["GET", undefined]
      ])
    }).pipe(Effect.provide(Server.live))
  )
})
