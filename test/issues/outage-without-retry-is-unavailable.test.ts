/** With the retry of a service client switched off, an outage arrived as `HttpClientError` and passed by its fallback. */
import { expect, it } from "@effect/vitest"
import { ServiceClient } from "@failsoft/http"
import { Effect, Layer } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"

let requests = 0
const down = Layer.succeed(
  HttpClient.HttpClient,
  HttpClient.make((request) =>
    Effect.sync(() => {
      requests++
      return HttpClientResponse.fromWeb(request, new Response(null, { status: 503 }))
    })
  )
)

it.effect("an outage is ServiceUnavailable also where nothing is tried again", () =>
  Effect.gen(function* () {
    const billing = yield* ServiceClient.make("billing", {
      url: "http://billing.internal",
      retry: { enabled: false, attempts: 5 }
    })
    const answer = billing.get("/balance").pipe(
      Effect.as("a balance"),
      billing.policy.orElse(({ reason }) => Effect.succeed(reason._tag))
    )
    expect(yield* answer).toBe("RetriesExhausted")
    expect(requests).toBe(1)
  }).pipe(Effect.provide(down))
)
