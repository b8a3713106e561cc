/** Where no `Problem.layer` was beside the routes, a `Problem` was answered with an empty 500. */
import { expect, it } from "@effect/vitest"
import { HealthRoutes } from "@failsoft/http"
import { Effect, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { Health } from "failsoft"

it.live("an unknown circuit is a 404 also without Problem.layer", () =>
  Effect.gen(function* () {
    const { dispose, handler } = HttpRouter.toWebHandler(Layer.provide(HealthRoutes.layer(), Health.layer), {
      disableLogger: true
    })
    const response = yield* Effect.promise(() =>
      handler(new Request("http://gateway/health/circuit-breaker/none"))
    )
    const body = yield* Effect.promise(() => response.json())
    yield* Effect.promise(dispose)
    expect(response.status).toBe(404)
    expect(response.headers.get("content-type")).toBe("application/problem+json")
    expect(body).toMatchObject({ status: 404, code: "not_found", detail: "there is no circuit of that name" })
  })
)
