/**
 * How the gateway starts as a process, whatever Redis does and however it is set up: live, degraded, or with a message.
 */
import { readFileSync } from "node:fs"
import { describe, expect, it } from "@effect/vitest"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Effect, Schema } from "effect"
import * as Processes from "failsoft-example-chat-gateway/Processes"
import { vi } from "vitest"
import { type Command, run, sourceOf, untilPrinted } from "./commands.ts"
import { eventually } from "./inProcess.ts"
import { redisEnv, secret, urlOf } from "./withRedis.ts"

vi.setConfig({ testTimeout: 40_000, maxConcurrency: 3 })

const password = "canary-redis-password-9e2b"

const gateway = (env: Readonly<Record<string, string>>) =>
  run("gateway/main", { env: { PORT: "0", REDIS_ENABLED: "true", ...env } })

/** Where a server would be, as a URL with a password. */
const at = ({ host, port }: { readonly host: string; readonly port: number }, word = password): string =>
  `redis://:${word}@${host}:${port}`

const withPassword = RedisServer.make({ password })

/** Ends with one message and no secret. */
const refusal = (command: Command, says: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const { code, signal, stderr, stdout } = yield* command.ended
    expect([code, signal]).toEqual([1, null])
    expect(stderr).toMatch(/^cannot start: /)
    for (const text of says) expect(stderr).toContain(text)
    expect(stderr, "a stack trace").not.toMatch(/^\s+at .*:\d+:\d+/m)
    expect(stdout + stderr).not.toContain("canary")
    expect(stdout).not.toContain("Listening")
  })

describe.concurrent("with REDIS_REQUIRED=true the gateway ends and says what to do", () => {
  const required = (url: string) => gateway({ ...redisEnv(url), REDIS_REQUIRED: "true" })

  it.live("if Redis refuses connections", () =>
    Effect.gen(function* () {
      const server = yield* withPassword
      yield* server.kill
      yield* refusal(yield* required(at(server)), [
        "REDIS_REQUIRED is true",
        `Redis at 127.0.0.1:${server.port} does not serve`,
        "Start it, correct REDIS_URL, or set REDIS_REQUIRED=false"
      ])
    })
  )

  it.live("if Redis accepts and stays silent", () =>
    Effect.gen(function* () {
      const proxy = yield* FaultProxy.make(yield* withPassword)
      yield* proxy.setMode(FaultProxy.acceptAndSilent)
      yield* refusal(yield* required(at(proxy)), ["REDIS_REQUIRED is true", `127.0.0.1:${proxy.port}`])
    })
  )

  it.live("after the tries that REDIS_MAX_RETRIES allows", () =>
    Effect.gen(function* () {
      const proxy = yield* FaultProxy.make(yield* withPassword)
      yield* proxy.setMode(FaultProxy.acceptAndSilent)
      const env = { ...redisEnv(at(proxy)), REDIS_REQUIRED: "true", REDIS_MAX_RETRIES: "2" }
      yield* refusal(yield* gateway({ ...env, REDIS_CONNECT_TIMEOUT: "200 millis" }), ["REDIS_REQUIRED"])
      expect((yield* proxy.stats).accepted).toBe(2)
    })
  )

  it.live("and starts if Redis serves by then", () =>
    Effect.gen(function* () {
      const proxy = yield* FaultProxy.make(yield* withPassword)
      yield* proxy.setMode(FaultProxy.acceptAndSilent)
      const command = yield* required(at(proxy))
      yield* eventually(async () => {
        expect((await Effect.runPromise(proxy.stats)).accepted).toBe(1)
      })
      yield* proxy.setMode(FaultProxy.pass)
      yield* untilPrinted(command, "redis: live")
    })
  )
})

describe.concurrent("a Redis that refuses us ends the start, required or not", () => {
  for (const required of ["true", "false"]) {
    it.live(`for a wrong password, REDIS_REQUIRED=${required}`, () =>
      Effect.gen(function* () {
        const server = yield* RedisServer.make({ password: "another" })
        const command = yield* gateway({ ...redisEnv(at(server)), REDIS_REQUIRED: required })
        yield* refusal(command, [
          `REDIS_URL: Redis at 127.0.0.1:${server.port} is there`,
          "WRONGPASS",
          "Correct the user, the password or the database",
          "REDIS_ENABLED=false"
        ])
      })
    )
  }

  it.live("for want of a password", () =>
    Effect.gen(function* () {
      const { host, port } = yield* withPassword
      yield* refusal(yield* gateway(redisEnv(`redis://${host}:${port}`)), ["REDIS_URL", "NOAUTH"])
    })
  )
})

describe.concurrent("a wrong variable ends the start with its name", () => {
  const wrong: ReadonlyArray<
    readonly [what: string, env: Readonly<Record<string, string>>, says: ReadonlyArray<string>]
  > = [
    ["REDIS_URL", { REDIS_URL: `http://:${password}@127.0.0.1` }, ["REDIS_URL", "redis://127.0.0.1:6379"]],
    ["REDIS_ENABLED", { REDIS_ENABLED: "perhaps" }, ["REDIS_ENABLED", '"perhaps"', "true or false"]],
    ["REDIS_REQUIRED", { REDIS_REQUIRED: "1" }, ["REDIS_REQUIRED", "got 1", "true or false"]],
    [
      "REDIS_REQUIRED with REDIS_ENABLED",
      { REDIS_REQUIRED: "true", REDIS_ENABLED: "false" },
      ["REDIS_REQUIRED is true", "REDIS_ENABLED"]
    ],
    [
      "REDIS_CONNECT_TIMEOUT",
      { REDIS_CONNECT_TIMEOUT: "soon" },
      ["REDIS_CONNECT_TIMEOUT", '"soon"', "seconds"]
    ],
    ["REDIS_SOCKET_TIMEOUT", { REDIS_SOCKET_TIMEOUT: "-1" }, ["REDIS_SOCKET_TIMEOUT", "got -1", "seconds"]],
    ["a timeout of nothing", { REDIS_SOCKET_TIMEOUT: "0" }, ["commandTimeout", "longer than 0"]],
    ["REDIS_MAX_RETRIES", { REDIS_MAX_RETRIES: "0" }, ["REDIS_MAX_RETRIES", "a whole number from 1 to 100"]],
    ["REDIS_PROBE_EVERY", { REDIS_PROBE_EVERY: "now" }, ["REDIS_PROBE_EVERY", '"now"', "seconds"]],
    [
      "REDIS_BREAKER_OPEN_DURATION",
      { REDIS_BREAKER_OPEN_DURATION: "a while" },
      ["redis", "openDuration", '"a while"', "seconds"]
    ],
    [
      "REDIS_BREAKER_FAILURES",
      { REDIS_BREAKER_FAILURES: "0" },
      ["redis", "trip.failures", "a whole number from 1 to 1000000"]
    ],
    [
      "SESSION_SECRET",
      { SESSION_SECRET: "canary-too-short" },
      ["SESSION_SECRET", "at least 32 characters, got 16"]
    ],
    ["SESSION_LIFETIME", { SESSION_LIFETIME: "long" }, ["SESSION_LIFETIME", '"long"', "seconds"]],
    ["a lifetime too long", { SESSION_LIFETIME: "2 days" }, ["SESSION_LIFETIME", "from 1 second to 1 day"]],
    ["a lifetime too short", { SESSION_LIFETIME: "0.5" }, ["SESSION_LIFETIME", "from 1 second to 1 day"]]
  ]
  for (const [what, env, says] of wrong) {
    it.live(what, () => Effect.flatMap(gateway(env), (command) => refusal(command, says)))
  }
})

const spawnGateway = Effect.fnUntraced(function* (env: Readonly<Record<string, string>>) {
  const lines: Array<string> = []
  const begun = performance.now()
  const { ready } = yield* Processes.spawn({
    name: "gateway",
    file: sourceOf("gateway/main"),
    env: { PORT: "0", REDIS_ENABLED: "true", ...env },
    ready: Schema.Struct({ port: Schema.Port, redis: Schema.String }),
    print: (line) => void lines.push(line)
  })
  return { ...ready, lines, millis: performance.now() - begun, url: `http://127.0.0.1:${ready.port}` }
})

const bodyOf = (url: string): Promise<unknown> =>
  fetch(url, { signal: AbortSignal.timeout(5_000) }).then((response) => response.json())

describe.concurrent("otherwise the gateway starts", () => {
  it.live("live, and tells no secret", () =>
    Effect.gen(function* () {
      const server = yield* withPassword
      const started = yield* spawnGateway(redisEnv(urlOf(server)))
      expect(started.redis).toBe("live")
      yield* eventually(() => expect(started.lines.join("\n")).toContain("redis: live"))
      expect(started.lines.join("\n")).not.toMatch(/degraded|canary/)
    })
  )

  const away: Readonly<Record<string, (server: RedisServer.RedisServer) => Effect.Effect<unknown>>> = {
    "refuses connections": ({ kill }) => kill,
    "is stopped": ({ stop }) => stop
  }
  for (const [what, leave] of Object.entries(away)) {
    it.live(`degraded if Redis ${what}, with its default waits, and recovers by itself`, () =>
      Effect.gen(function* () {
        const server = yield* withPassword
        yield* leave(server)
        const { lines, millis, redis, url } = yield* spawnGateway({
          REDIS_URL: urlOf(server),
          SESSION_SECRET: secret
        })
        expect(redis).toBe("degraded")
        expect(millis).toBeLessThan(10_000)
        const first = performance.now()
        expect(yield* Effect.promise(() => bodyOf(`${url}/health/redis`))).toMatchObject({
          redis_available: false,
          degraded_mode: true
        })
        expect(performance.now() - first).toBeLessThan(500)
        const printed = lines.join("\n")
        expect(printed).toMatch(/WARN .*redis: started degraded/)
        expect(printed).toMatch(/WARN .*login-limit: started degraded/)

        yield* server.kill
        yield* server.restart
        yield* eventually(async () => {
          expect(await bodyOf(`${url}/health/ready`)).toMatchObject({ status: "healthy" })
        }, 25_000)
        yield* eventually(() => expect(lines.join("\n")).toMatch(/INFO .*redis: back on the primary/))
        expect(lines.join("\n")).not.toContain("canary")
      })
    )
  }

  it.live("without Redis if that is switched off, wherever REDIS_URL leads", () =>
    Effect.gen(function* () {
      const server = yield* withPassword
      const { lines, redis } = yield* spawnGateway({ REDIS_URL: urlOf(server), REDIS_ENABLED: "false" })
      expect(redis).toBe("degraded")
      expect(lines.join("\n")).not.toContain("started degraded")
      expect(yield* server.command("INFO", "clients")).toContain("connected_clients:1")
    })
  )

  it.live("and warns of sessions that end with it if it has no secret for them", () =>
    Effect.gen(function* () {
      const { lines } = yield* spawnGateway({ REDIS_ENABLED: "false" })
      expect(lines.join("\n")).toMatch(/WARN .*SESSION_SECRET is not set, so sessions end with this process/)
    })
  )
})

describe.concurrent("start says", () => {
  it.live("that it runs degraded where there is no Redis", () =>
    Effect.gen(function* () {
      const server = yield* withPassword
      yield* server.kill
      const env = { PORT: "0", REDIS_ENABLED: "true", ...redisEnv(urlOf(server)) }
      const command = yield* run("start", { env })
      yield* untilPrinted(command, "Ctrl-C ends everything.")
      expect(command.stdout()).toContain("It runs degraded, without Redis")
      expect(command.stdout()).not.toContain("canary")
    })
  )

  it.live("that it runs live where REDIS_URL leads to one, and uses it", () =>
    Effect.gen(function* () {
      const server = yield* withPassword
      const env = { PORT: "0", REDIS_ENABLED: "true", ...redisEnv(urlOf(server)) }
      const command = yield* run("start", { env })
      yield* untilPrinted(command, "Ctrl-C ends everything.")
      expect(command.stdout()).toContain("It runs live")
      const url = /listens on (http:\/\/127\.0\.0\.1:\d+)/.exec(command.stdout())?.[1]
      const body = JSON.stringify({ email: "ada@example.org", password: "lovelace" })
      const login = yield* Effect.promise(() => fetch(`${url}/api/v1/login`, { method: "POST", body }))
      expect(login.status).toBe(200)
      expect(yield* server.command("KEYS", "session:*")).toHaveLength(1)
      expect(command.stdout()).not.toContain("canary")
    })
  )
})

describe(".env.example", () => {
  const text = readFileSync(new URL("../../.env.example", import.meta.url), "utf8")

  it("is all comment, with a comment for every variable that the gateway reads", () => {
    expect(text.split("\n").filter((line) => line !== "" && !line.startsWith("#"))).toEqual([])
    const named = [...text.matchAll(/^# ?([A-Z][A-Z_]+)=/gm)].map(([, name]) => name)
    const sources = ["gateway/main", "gateway/Sessions", "gateway/SessionToken", "gateway/Redis"].map(
      (name) => readFileSync(sourceOf(name), "utf8")
    )
    const config = readFileSync(new URL("../../packages/redis/src/RedisConfig.ts", import.meta.url), "utf8")
    const read = [...sources, config].join("\n").matchAll(/"((?:[A-Z]+_)+[A-Z]+|HOST|PORT)"/g)
    const variables = new Set([...read].map(([, name]) => name))
    expect([...variables].filter((name) => !named.includes(name))).toEqual([])
    expect(variables.size).toBeGreaterThan(10)
  })
})
