/** With `REDIS_REQUIRED=true` the first connection was tried for 5 seconds, however few tries `REDIS_MAX_RETRIES` allowed. */
import { expect, it } from "@effect/vitest"
import { ResilientRedis } from "@failsoft/redis"
import { ConfigProvider, Effect, Layer } from "effect"
import { listen } from "../../testing/sockets.ts"

it.live("a start that requires Redis gives up after as many tries as it has", () =>
  Effect.gen(function* () {
    let tries = 0
    const port = yield* listen((socket) => {
      tries++
      socket.destroy()
    })
    const env = { REDIS_URL: `redis://127.0.0.1:${port}`, REDIS_REQUIRED: "true", REDIS_MAX_RETRIES: "2" }
    const error = yield* Effect.flip(Layer.build(ResilientRedis.layerConfig())).pipe(
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
    )
    expect(error).toMatchObject({ _tag: "ServiceUnavailable", reason: { _tag: "NotConnected" } })
    expect(tries).toBe(2)
  })
)
