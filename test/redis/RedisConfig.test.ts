import { describe, expect, it } from "@effect/vitest"
import { RedisConfig } from "@failsoft/redis"
import { ConfigProvider, Duration, Effect, Redacted } from "effect"

const read = (env: Record<string, string>) =>
  RedisConfig.fromEnvironment.parse(ConfigProvider.fromEnv({ env }))

it.effect("has its defaults where nothing is set", () =>
  Effect.gen(function* () {
    const { url, ...rest } = yield* read({})
    expect(Redacted.value(url)).toBe("redis://127.0.0.1:6379")
    expect(rest).toEqual({
      enabled: true,
      required: false,
      connectTimeout: Duration.seconds(5),
      commandTimeout: Duration.seconds(5),
      connectAttempts: 3
    })
  })
)

it.effect("reads the six variables, bare numbers as seconds", () =>
  Effect.gen(function* () {
    const config = yield* read({
      REDIS_URL: "rediss://user:pw@redis.internal:6380/2",
      REDIS_ENABLED: "true",
      REDIS_REQUIRED: "true",
      REDIS_CONNECT_TIMEOUT: "2",
      REDIS_SOCKET_TIMEOUT: "500 millis",
      REDIS_MAX_RETRIES: "7"
    })
    expect(Redacted.value(config.url)).toBe("rediss://user:pw@redis.internal:6380/2")
    expect(config).toMatchObject({
      required: true,
      connectTimeout: Duration.seconds(2),
      commandTimeout: Duration.millis(500),
      connectAttempts: 7
    })
  })
)

describe("a wrong variable", () => {
  it.effect.each([
    [{ REDIS_ENABLED: "maybe" }, ["REDIS_ENABLED", "true or false", '"maybe"']],
    [{ REDIS_CONNECT_TIMEOUT: "soon" }, ["REDIS_CONNECT_TIMEOUT", "500 millis", '"soon"']],
    [{ REDIS_MAX_RETRIES: "0" }, ["REDIS_MAX_RETRIES", "a whole number from 1 to 100", "0"]],
    [{ REDIS_MAX_RETRIES: "2.5" }, ["REDIS_MAX_RETRIES", "a whole number from 1 to 100", "2.5"]],
    [{ REDIS_URL: "http://user:s3cret@redis" }, ["REDIS_URL", "redis://127.0.0.1:6379"]],
    [{ REDIS_ENABLED: "false", REDIS_REQUIRED: "true" }, ["REDIS_REQUIRED", "REDIS_ENABLED"]]
  ] as const)("%j is named, with what is allowed", ([env, says]) =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(read(env))
      for (const text of says) expect(message).toContain(text)
      expect(message).not.toContain("s3cret")
    })
  )
})
