import { it } from "@effect/vitest"
import { IoRedis } from "@failsoft/redis"
import { type Duration, Effect, Layer, Redacted } from "effect"
import { expect } from "vitest"

const url = Redacted.make("redis://127.0.0.1:1")
// As it may come from configuration that nobody has typed.
const soon: Duration.Input = JSON.parse('"soon"')

it.effect.each(["connectTimeout", "commandTimeout"])(
  "a %s that is no duration is refused by its name, and is no defect",
  (option) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(IoRedis.layer({ url, [option]: soon })))
      expect(error).toMatchObject({ _tag: "InvalidOption", option, value: "soon" })
    })
)
