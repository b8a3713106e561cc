/**
 * How Redis is, over HTTP: `GET /health/redis`, and the check `cache` of `/health/ready`.
 *
 * `ResilientRedis` registers its two circuits, and apart from them a Layer that knows only whether a connection was ever
 * made. Here that Layer's check is replaced by one that also knows of the circuits and of the connection as it is now.
 */
import { ResilientRedis } from "@failsoft/redis"
import { Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Health } from "failsoft"

const name = "cache"

/** The given Redis, registered as the check `cache`. One that is switched off, on purpose, makes nothing degraded. */
export const layer = <E, R>(
  redis: Layer.Layer<ResilientRedis.ResilientRedis, E, R>,
  { enabled }: { readonly enabled: boolean }
) =>
  Layer.unwrap(
    Effect.sync(() => {
      let connection: Effect.Effect<Health.LayerSnapshot> | undefined
      const circuitsOnly = Layer.effect(
        Health.Health,
        Effect.map(Health.Health, ({ components, register }) => ({
          components,
          register: (component: Health.Component) =>
            component._tag === "Circuit"
              ? register(component)
              : Effect.sync(() => {
                  connection = component.layer
                })
        }))
      )
      const check = Layer.effectDiscard(
        Effect.gen(function* () {
          const { health } = yield* ResilientRedis.ResilientRedis
          const circuit = Effect.map(health, ({ circuit_breaker }) =>
            circuitOf(circuit_breaker.state, enabled)
          )
          if (connection === undefined) return yield* Health.register({ _tag: "Circuit", name, circuit })
          const layer = Effect.map(
            Effect.all([connection, circuit, health]),
            ([made, circuit, { degraded_mode }]) => ({ ...made, name, circuit, degraded: degraded_mode })
          )
          yield* Health.register({ _tag: "Layer", name, layer })
        })
      )
      return check.pipe(Layer.provideMerge(Layer.provide(redis, circuitsOnly)))
    })
  )

/** The state alone: calls are counted by the two circuits, which are components of their own. */
const circuitOf = (state: Health.CircuitState, enabled: boolean): Health.CircuitSnapshot => ({
  name,
  enabled,
  state,
  failuresInARow: 0,
  counts: { total: 0, successful: 0, failed: 0, ignored: 0, rejected: 0, fallback: 0 },
  lastFailureAtMillis: undefined,
  halfOpenIn: undefined
})

/** `GET /health/redis`: computed when asked for, without asking Redis. */
export const route = HttpRouter.add(
  "GET",
  "/health/redis",
  Effect.gen(function* () {
    const { health } = yield* ResilientRedis.ResilientRedis
    return HttpServerResponse.jsonUnsafe(yield* health, { headers: { "cache-control": "no-store" } })
  })
)
