import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Layer, Schedule } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import { CircuitBreaker as EffectBreaker } from "effect/persistence"
import { CircuitBreaker, Health } from "failsoft"
import * as ToEffect from "failsoft/interop/toEffect"
import { circuits } from "../failsoft/health.ts"
import { ok, reply, reset, serve, silent } from "./server.ts"

/** What an application has that guards its client by Effect's breaker, whatever Layer that comes from. */
const client = Effect.gen(function* () {
  const breaker = yield* EffectBreaker.CircuitBreaker
  return (yield* HttpClient.HttpClient).pipe(HttpClient.withCircuitBreaker({ breaker }))
})

const breakers = {
  "Effect's own": EffectBreaker.layer({
    tripPolicy: EffectBreaker.consecutive(2),
    openDuration: "2 seconds"
  }).pipe(Layer.provide(EffectBreaker.layerStoreMemory())),
  our: ToEffect.layer({
    name: "origins",
    trip: CircuitBreaker.consecutive(2),
    openDuration: "2 seconds",
    halfOpen: { successes: 1 }
  })
}

const statusOf = (http: Effect.Success<typeof client>, url: string) =>
  Effect.map(http.get(url), (response) => response.status)

describe.each(Object.entries(breakers))("an HttpClient with %s breaker", (_, breaker) => {
  const Live = Layer.mergeAll(FetchHttpClient.layer, breaker, silent)

  it.live("has a circuit for each origin, and comes back by itself", () =>
    Effect.gen(function* () {
      const [bad, good] = [yield* serve(reply(500), reset, ok), yield* serve(reply(404))]
      const http = yield* client
      const { state } = yield* EffectBreaker.CircuitBreaker
      expect(yield* statusOf(http, bad.url)).toBe(500)
      expect(yield* Effect.flip(statusOf(http, bad.url))).toMatchObject({ _tag: "HttpClientError" })
      const error = yield* Effect.flip(statusOf(http, bad.url))
      expect(error).toMatchObject({
        _tag: "CircuitBreakerError",
        reason: { _tag: "CircuitOpen", key: bad.url }
      })
      expect(bad.requests).toHaveLength(2)
      // An answer that is no outage opens nothing, however often it comes.
      for (let request = 0; request < 5; request++) expect(yield* statusOf(http, good.url)).toBe(404)
      expect((yield* state(good.url))._tag).toBe("Closed")

      const again = Effect.retry(statusOf(http, bad.url), Schedule.spaced("20 millis"))
      expect(yield* again).toBe(200)
      expect(yield* state(bad.url)).toEqual({ _tag: "Closed", key: bad.url })
    }).pipe(Effect.provide(Live))
  )

  it.live("stays open as long as the server asks for", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(503, "", { "retry-after": "60" }))
      const http = yield* client
      yield* Effect.replicateEffect(statusOf(http, server.url), 2)
      const { state } = yield* EffectBreaker.CircuitBreaker
      const open = yield* state(server.url)
      expect(open._tag).toBe("Open")
      if (open._tag !== "Open") return
      expect(Duration.toSeconds(open.retryAfter)).toBeGreaterThan(50)
      expect(Duration.toSeconds(open.retryAfter)).toBeLessThanOrEqual(60)
    }).pipe(Effect.provide(Live))
  )
})

it.live("our circuits appear in health under the name of their breaker", () =>
  Effect.gen(function* () {
    const server = yield* serve(reply(500))
    const http = yield* client
    yield* Effect.replicateEffect(statusOf(http, server.url), 2)
    expect(yield* circuits).toMatchObject([{ name: "origins", state: "open", counts: { failed: 2 } }])
  }).pipe(
    Effect.provide(breakers.our),
    Effect.provide(Layer.mergeAll(FetchHttpClient.layer, Health.layer, silent))
  )
)
