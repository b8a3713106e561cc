/**
 * How an application starts, whatever it finds in the place of Redis and whatever Redis means to it: in bounded time, live or
 * degraded or with a typed failure, with words that help and no secret in them; and what started degraded recovers by itself.
 */
import { expect, it } from "@effect/vitest"
import { ResilientRedis } from "@failsoft/redis"
import { FaultProxy } from "@failsoft/testing"
import { ConfigProvider, Context, Effect, Fiber, Layer, Scope } from "effect"
import { Misconfigured, ServiceUnavailable } from "failsoft"
import {
  becomes,
  errorOf,
  key,
  onStage,
  recovers,
  type Setting,
  type Stage,
  timeoutMillis,
  value
} from "./faults/stage.ts"

/** What is in the place of Redis, and how it mends. */
interface Place {
  readonly name: string
  /** Makes it so, and gives what mends it. */
  readonly happen: (stage: Stage) => Effect.Effect<Effect.Effect<unknown, unknown>, unknown, Scope.Scope>
  /** What the application has of the password. */
  readonly password: string
  readonly isThere: boolean
  readonly setting?: Setting
}

const password = "s3cret"

const behind =
  (mode: FaultProxy.Mode) =>
  ({ proxy }: Stage) =>
    Effect.as(proxy.setMode(mode), proxy.setMode(FaultProxy.pass))

/** Starts the server anew with so much data that it takes some seconds to load. */
const load = ({ server }: Stage) =>
  Effect.gen(function* () {
    yield* server.command("DEBUG", "POPULATE", 7_000)
    yield* server.command("SAVE")
    const restarting = yield* Effect.forkScoped(server.restart)
    yield* becomes(server.command("INFO", "persistence"), (info) =>
      String(info).includes("\r\nloading:1\r\n")
    )
    return Fiber.join(restarting)
  })

const places: ReadonlyArray<Place> = [
  { name: "running", happen: () => Effect.succeed(Effect.void), password, isThere: true },
  { name: "refused", happen: behind(FaultProxy.refuse), password, isThere: false },
  { name: "unreachable", happen: behind(FaultProxy.blackhole), password, isThere: false },
  { name: "accepting but silent", happen: behind(FaultProxy.acceptAndSilent), password, isThere: false },
  {
    name: "loading",
    happen: load,
    password,
    isThere: false,
    setting: { args: ["--key-load-delay", "300", "--loading-process-events-interval-bytes", "1024"] }
  },
  { name: "wrong password", happen: () => Effect.succeed(Effect.void), password: "wr0ng", isThere: true }
]

const tries = 2

/** Both tries in their time, and the wait between them. */
const startMillis = tries * timeoutMillis + 100

/** Starts as the environment says. */
const startBy = ({ clients, proxy }: Stage, place: Place, environment: Readonly<Record<string, string>>) =>
  Layer.build(
    ResilientRedis.layerConfig({
      breaker: { openDuration: "500 millis", halfOpen: { successes: 1 } },
      probeEvery: "100 millis"
    })
  ).pipe(
    Effect.map(Context.get(ResilientRedis.ResilientRedis)),
    Effect.provideService(Scope.Scope, clients),
    Effect.provideService(
      ConfigProvider.ConfigProvider,
      ConfigProvider.fromEnv({
        env: {
          REDIS_URL: `redis://:${place.password}@${proxy.host}:${proxy.port}`,
          REDIS_CONNECT_TIMEOUT: `${timeoutMillis} millis`,
          REDIS_SOCKET_TIMEOUT: `${timeoutMillis} millis`,
          REDIS_MAX_RETRIES: String(tries),
          ...environment
        }
      })
    )
  )

const test = (
  mode: string,
  place: Place,
  play: (stage: Stage, mend: Effect.Effect<unknown, unknown>) => Effect.Effect<void, unknown, Scope.Scope>
): void =>
  it.live(
    `Redis ${mode}, ${place.name}`,
    () =>
      onStage(
        `start-up, Redis ${mode}, ${place.name}`,
        (stage) => Effect.flatMap(place.happen(stage), (mend) => play(stage, mend)),
        { password, ...place.setting }
      ),
    20_000
  )

const servesLive = (redis: ResilientRedis.Client) =>
  Effect.gen(function* () {
    expect(yield* redis.setServed(key("a"), value("a"))).toEqual({ value: true, source: "live" })
    expect(yield* redis.getServed(key("a"))).toEqual({ value: value("a"), source: "live" })
    expect((yield* redis.health).degraded_mode).toBe(false)
  })

const isRefused = (error: unknown): void => {
  expect(error).toBeInstanceOf(Misconfigured)
  expect(String(error)).toContain("the server refuses the connection: WRONGPASS")
}

for (const place of places) {
  test("optional", place, (stage, mend) =>
    Effect.gen(function* () {
      const { logged, settling } = stage
      const started = yield* settling.by("the start", startMillis, startBy(stage, place, {}))
      if (place.password !== password) return isRefused(errorOf(started))
      const redis = yield* started.exit ?? Effect.die("not started")
      if (place.isThere) return yield* servesLive(redis)

      expect(logged().join("\n")).toMatch(
        /level=WARN.*"redis: started degraded, the primary is unavailable".*error=ServiceUnavailable/
      )
      const first = yield* settling.by("the first call", 0, redis.get(key("a")))
      expect(errorOf(first)).toBeInstanceOf(ServiceUnavailable)
      expect(yield* redis.setServed(key("a"), value("b"))).toEqual({ value: true, source: "local" })
      expect(yield* redis.health).toMatchObject({ redis_available: false, degraded_mode: true })

      yield* mend
      yield* recovers(redis)
      yield* becomes(redis.existsServed(key("a")), ({ source }) => source === "live")
      yield* servesLive(redis)
      expect(logged().join("\n")).toMatch(/level=INFO.*"redis: back on the primary/)
    })
  )

  test("required", place, (stage) =>
    Effect.gen(function* () {
      const { settling } = stage
      const starting = startBy(stage, place, { REDIS_REQUIRED: "true" })
      const started = yield* settling.by("the start", startMillis, starting)
      if (place.password !== password) return isRefused(errorOf(started))
      if (place.isThere) return yield* servesLive(yield* started.exit ?? Effect.die("not started"))
      expect(errorOf(started)).toBeInstanceOf(ServiceUnavailable)
      expect(String(errorOf(started))).toBe("ServiceUnavailable: redis is unavailable: not connected")
    })
  )

  test("disabled", place, (stage) =>
    Effect.gen(function* () {
      const { proxy, settling } = stage
      const { accepted } = yield* proxy.stats
      const starting = startBy(stage, place, { REDIS_ENABLED: "false" })
      const { exit } = yield* settling.by("the start", 0, starting)
      const redis = yield* exit ?? Effect.die("not started")
      const first = yield* settling.by("the first call", 0, redis.get(key("a")))
      expect(errorOf(first)).toBeInstanceOf(ServiceUnavailable)
      expect(yield* redis.setServed(key("a"), value("a"))).toEqual({ value: true, source: "local" })
      expect(yield* redis.lenient.ping).toBe(false)
      expect(yield* redis.health).toMatchObject({ redis_available: false, degraded_mode: true })
      expect((yield* proxy.stats).accepted).toBe(accepted)
    })
  )
}
