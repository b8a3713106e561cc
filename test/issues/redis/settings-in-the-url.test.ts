/** What the query of a URL said won over the settings that keep a command from being applied twice. */
import { expect, it } from "@effect/vitest"
import { IoRedis, RedisConfig } from "@failsoft/redis"
import { Effect, Layer, Redacted } from "effect"
import { InvalidOption } from "failsoft"

it.effect.each([
  ["a query", "redis://127.0.0.1:1?enableOfflineQueue=true&password=s3cret"],
  ["a password that cannot be decoded", "redis://:s3cret%@127.0.0.1:1"]
] as const)("a URL with %s is an invalid option, and is not repeated", ([, url]) =>
  Effect.gen(function* () {
    expect(RedisConfig.isRedisUrl(url)).toBe(false)
    const error = yield* Effect.flip(Layer.build(IoRedis.layer({ url: Redacted.make(url) })))
    expect(error).toBeInstanceOf(InvalidOption)
    expect(String(error)).not.toContain("s3cret")
  })
)
