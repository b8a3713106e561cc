import { it } from "@effect/vitest"
import { IoRedis, ResilientRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import { Effect, Layer } from "effect"
import { Health } from "failsoft"
import { describe, expect } from "vitest"

/** The Layers that the application's health knows, without the times. */
const layers = Effect.gen(function* () {
  const { components } = yield* Health.Health
  const all = yield* Effect.forEach(yield* components, (component) =>
    component._tag === "Layer" ? Effect.map(component.layer, (layer) => [layer]) : Effect.succeed([])
  )
  return all.flat().map(({ built, circuit, degraded, enabled, name }) => ({
    name,
    enabled,
    built,
    degraded,
    circuit
  }))
})

const redis = { name: "redis", enabled: true, built: true, degraded: false, circuit: undefined }

describe("the health of an application with a Redis", () => {
  it.live("tells of the connection as it is, once", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const connection = IoRedis.layer({ url: server.url, commandTimeout: "300 millis" })
      yield* Effect.gen(function* () {
        expect(yield* layers).toEqual([redis])
        const client = yield* ResilientRedis.ResilientRedis
        yield* server.kill
        yield* Effect.repeat(Effect.ignore(client.get("key")), {
          until: () => Effect.map(client.health, ({ circuit_breaker }) => circuit_breaker.state === "open")
        })
        // The connection was made once, and is of no use.
        expect(yield* layers).toEqual([{ ...redis, degraded: true }])
      }).pipe(Effect.provide(ResilientRedis.layer({ connection })))
      expect(yield* layers).toEqual([])
    }).pipe(Effect.provide(Health.layer))
  )

  it.live("tells that there is no connection yet", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      yield* server.kill
      const connection = IoRedis.layer({ url: server.url, connectAttempts: 1 })
      expect(yield* layers.pipe(Effect.provide(ResilientRedis.layer({ connection })))).toEqual([
        { ...redis, built: false, degraded: true }
      ])
    }).pipe(Effect.provide(Health.layer))
  )

  it.live("tells that it is switched off", () =>
    layers.pipe(
      Effect.tap((all) =>
        Effect.sync(() => expect(all).toEqual([{ ...redis, enabled: false, built: false, degraded: true }]))
      ),
      Effect.provide(Layer.provideMerge(ResilientRedis.layerDisabled(), Health.layer))
    )
  )
})
