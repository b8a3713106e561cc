/**
 * How Redis is, over HTTP: `GET /health/redis`, and the check `cache` of `/health/ready`.
 */
import { ResilientRedis } from "@failsoft/redis"
import { Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Health } from "failsoft"

/** Tells of the Layers below under the name that the gateway's callers know. */
export const layer: Layer.Layer<Health.Health, never, Health.Health> = Layer.effect(
  Health.Health,
  Effect.map(Health.Health, ({ components, register }) => ({
    components,
    register: (component: Health.Component) =>
      component._tag === "Circuit"
        ? register(component)
        : register({
            ...component,
            name: "cache",
            layer: Effect.map(component.layer, (snapshot) => ({ ...snapshot, name: "cache" }))
          })
  }))
)

/** `GET /health/redis`: computed when asked for, without asking Redis. */
export const route = HttpRouter.add(
  "GET",
  "/health/redis",
  Effect.gen(function* () {
    const { health } = yield* ResilientRedis.ResilientRedis
    return HttpServerResponse.jsonUnsafe(yield* health, { headers: { "cache-control": "no-store" } })
  })
)
