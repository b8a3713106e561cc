/**
 * How many cascade failures the policies prevent: the same gateway with and without them, side by side, while services
 * fail under load.
 *
 * A cascade is a request that does not need the failing service, or has a fallback for it, and yet gets a 5xx or passes
 * its deadline. Prevented is the share of the bare gateway's cascades that the guarded one does not have.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Stack from "failsoft-example-chat-gateway/Stack"
import { vi } from "vitest"
import { bearer, type ServiceName, serviceNames } from "./inProcess.ts"
import { fire, type Load, percentile, type Request, type Shot } from "./load.ts"

const load: Load = { perSecond: 100, seconds: 30, deadlineMillis: 10_000 }
const failsAtMillis = 5_000
const restoredAtMillis = 20_000

interface Route {
  /** How many of twenty requests are for it. */
  readonly share: number
  readonly request: (token: string, index: number) => Request
  /** Services that it has no answer without. */
  readonly needs: ReadonlyArray<ServiceName>
  /** Services that it has another answer without, but one that is no use to its caller: 401 for want of auth. */
  readonly refusesWithout: ReadonlyArray<ServiceName>
}

const get = (path: string) => (token: string) => ({ method: "GET", path, headers: bearer(token) })
const post = (path: string, body: unknown, headers: Record<string, string>): Request => {
  const text = JSON.stringify(body)
  return {
    method: "POST",
    path,
    body: text,
    headers: {
      ...headers,
      "content-type": "application/json",
      "content-length": `${Buffer.byteLength(text)}`
    }
  }
}

/** An address of its own for each login, so that the login limit is not what is measured. */
const addressOf = (index: number): string => `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`

/** Section 3 of the requirements, and what each route does when a service of it is away. */
const routes: Readonly<Record<string, Route>> = {
  login: {
    share: 2,
    request: (_, index) =>
      post(
        "/api/v1/login",
        { email: "ada@example.org", password: "lovelace" },
        { "x-forwarded-for": addressOf(index) }
      ),
    needs: ["auth"],
    refusesWithout: []
  },
  "token check": { share: 5, request: get("/api/v1/me"), needs: [], refusesWithout: ["auth"] },
  chat: {
    share: 5,
    request: (token) => post("/api/v1/chat", { message: "what does an open circuit do" }, bearer(token)),
    needs: [],
    refusesWithout: ["auth"]
  },
  "chat in a project": {
    share: 2,
    request: (token) => post("/api/v1/chat", { message: "retry", projectId: "p-1" }, bearer(token)),
    needs: [],
    refusesWithout: ["auth"]
  },
  files: {
    share: 2,
    request: get("/api/v1/projects/p-1/files"),
    needs: ["filesystem"],
    refusesWithout: ["auth"]
  },
  commits: {
    share: 2,
    request: get("/api/v1/projects/p-1/commits"),
    needs: ["git"],
    refusesWithout: ["auth"]
  },
  "external data": {
    share: 2,
    request: get("/api/v1/data/weather"),
    needs: ["external"],
    refusesWithout: []
  }
}

/** The routes in a fixed order in which each is spread out. */
const mix: ReadonlyArray<string> = Object.entries(routes)
  .flatMap(([name, { share }]) =>
    Array.from({ length: share }, (_, index) => ({ name, at: (index + 0.5) / share }))
  )
  .toSorted((a, b) => a.at - b.at)
  .map(({ name }) => name)

const failed = ({ result }: Shot): boolean => typeof result !== "number" || result >= 500

/** By the definition; `strictly`, a refusal for want of auth is no fallback either, so such requests do not count. */
const cascadesIn = (
  shots: ReadonlyArray<Shot>,
  down: ReadonlyArray<ServiceName>,
  strictly = false
): ReadonlyArray<Shot> =>
  shots.filter((shot) => {
    const route = routes[shot.route]
    const needed = strictly ? [...(route?.needs ?? []), ...(route?.refusesWithout ?? [])] : route?.needs
    return failed(shot) && !down.some((name) => needed?.includes(name))
  })

/** One outage under load, as both gateways took it. */
interface Run {
  readonly outage: string
  readonly down: ReadonlyArray<ServiceName>
  readonly guarded: ReadonlyArray<Shot>
  readonly bare: ReadonlyArray<Shot>
}

/** Short waits for recovery, so that circuits open, are probed in vain, and close again while the load lasts. */
const gatewayEnv = (enabled: boolean): Readonly<Record<string, string>> => ({
  PORT: "0",
  REDIS_ENABLED: "false",
  TRUSTED_PROXIES: "127.0.0.1/32",
  ...Object.fromEntries(
    serviceNames.flatMap((name) => [
      [`SERVICES_${name.toUpperCase()}_ENABLED`, `${enabled}`],
      [`SERVICES_${name.toUpperCase()}_BREAKER_OPEN_DURATION`, "5 seconds"],
      [`SERVICES_${name.toUpperCase()}_PROBE_EVERY`, "1 second"]
    ])
  )
})

const startGateway = Effect.fnUntraced(function* (enabled: boolean) {
  const { gateway, upstreams, url } = yield* Stack.start({
    gatewayEnv: gatewayEnv(enabled),
    print: () => {}
  })
  const body = JSON.stringify({ email: "ada@example.org", password: "lovelace" })
  const { token } = yield* Effect.promise(async () => {
    const response = await fetch(`${url}/api/v1/login`, { method: "POST", body })
    return (await response.json()) as { readonly token: string }
  })
  const next = (index: number): readonly [string, Request] => {
    const route = mix[index % mix.length] ?? ""
    return [route, routes[route]?.request(token, index) ?? { method: "GET", path: "/", headers: {} }]
  }
  return { url, upstreams, target: { port: gateway.ready.port, next } }
})

type Fault = (upstream: Stack.Upstream) => Effect.Effect<unknown, unknown>

const switchTo =
  (mode: string): Fault =>
  ({ controlPort }) =>
    Effect.promise(() => fetch(`http://127.0.0.1:${controlPort}/mode`, { method: "PUT", body: mode }))

/** Plays one outage against both gateways at once, and waits until the guarded one has recovered by itself. */
const play = (outage: string, down: ReadonlyArray<ServiceName>, fail: Fault, restore: Fault) =>
  Effect.gen(function* () {
    const [guarded, bare] = yield* Effect.all([startGateway(true), startGateway(false)])
    const failing = [...guarded.upstreams, ...bare.upstreams].filter((upstream) =>
      down.some((name) => name === upstream.name)
    )
    const faults = Effect.forEach(failing, fail, { concurrency: "unbounded" }).pipe(
      Effect.delay(failsAtMillis),
      Effect.andThen(
        Effect.delay(
          Effect.forEach(failing, restore, { concurrency: "unbounded" }),
          restoredAtMillis - failsAtMillis
        )
      )
    )
    const targets = [guarded.target, bare.target]
    // Compiled code is what runs in production.
    yield* Effect.promise(() => fire({ ...load, seconds: 2 }, targets))
    const [[ofGuarded = [], ofBare = []]] = yield* Effect.all(
      [Effect.promise(() => fire(load, targets)), faults],
      { concurrency: "unbounded" }
    )
    yield* Effect.promise(() =>
      vi.waitFor(
        async () => {
          const health = await fetch(`${guarded.url}/health/ready`)
          expect(await health.json()).toMatchObject({ status: "healthy" })
        },
        { timeout: 15_000, interval: 100 }
      )
    )
    const run: Run = { outage, down, guarded: ofGuarded, bare: ofBare }
    checkOffered(run)
    console.log(rowOf(run) + cascadesOf(run))
    return run
  }).pipe(Effect.scoped)

/** The load was offered in full and on time, and nothing fails that has no reason to. */
const checkOffered = ({ bare, guarded }: Run): void => {
  for (const shots of [guarded, bare]) {
    expect(shots).toHaveLength(load.perSecond * load.seconds)
    expect(
      percentile(
        shots.map(({ lagMillis }) => lagMillis),
        0.99
      )
    ).toBeLessThan(500)
    const endedBeforeTheFault = shots.filter(
      ({ millis }, index) => (index * 1000) / load.perSecond + millis < failsAtMillis
    )
    expect(endedBeforeTheFault.length).toBeGreaterThan(0)
    expect(endedBeforeTheFault.filter(({ result }) => result !== 200)).toEqual([])
  }
}

const count = (runs: ReadonlyArray<Run>, of: "guarded" | "bare", strictly = false): number =>
  runs.reduce((sum, run) => sum + cascadesIn(run[of], run.down, strictly).length, 0)

const preventedIn = (runs: ReadonlyArray<Run>, strictly = false): number =>
  1 - count(runs, "guarded", strictly) / count(runs, "bare", strictly)

const widths = [30, 10, 18, 24, 14, 20, 20]
const line = (cells: ReadonlyArray<unknown>): string =>
  cells.map((cell, index) => String(cell).padEnd(widths[index] ?? 0)).join("")
const header = line([
  "outage",
  "requests",
  "cascades g/b",
  "without refusals g/b",
  "late g/b",
  "p50 / p99 guarded",
  "p50 / p99 bare"
])

const latency = (shots: ReadonlyArray<Shot>): string =>
  [0.5, 0.99]
    .map((share) =>
      percentile(
        shots.map(({ millis }) => millis),
        share
      ).toFixed(0)
    )
    .join(" / ")

const lateIn = (shots: ReadonlyArray<Shot>): number => shots.filter(({ result }) => result === "late").length

const rowOf = (run: Run): string =>
  line([
    run.outage,
    run.guarded.length,
    `${count([run], "guarded")} / ${count([run], "bare")}`,
    `${count([run], "guarded", true)} / ${count([run], "bare", true)}`,
    `${lateIn(run.guarded)} / ${lateIn(run.bare)}`,
    `${latency(run.guarded)} ms`,
    `${latency(run.bare)} ms`
  ])

/** What failed of the guarded gateway though it need not have, such as `chat 502: 3`. */
const cascadesOf = (run: Run): string => {
  const counts = new Map<string, number>()
  for (const { result, route } of cascadesIn(run.guarded, run.down)) {
    counts.set(`${route} ${result}`, (counts.get(`${route} ${result}`) ?? 0) + 1)
  }
  return [...counts].map(([what, times]) => `\n  guarded: ${what}: ${times}`).join("")
}

const totalOf = (runs: ReadonlyArray<Run>): string =>
  line([
    "all",
    runs.reduce((sum, { guarded }) => sum + guarded.length, 0),
    `${count(runs, "guarded")} / ${count(runs, "bare")}`,
    `${count(runs, "guarded", true)} / ${count(runs, "bare", true)}`,
    "",
    `prevented ${(preventedIn(runs) * 100).toFixed(2)} %`
  ])

describe("at 100 requests a second for 30 seconds", () => {
  it.live(
    "more than 95 % of cascades are prevented when each service in turn is killed and comes back",
    () =>
      Effect.gen(function* () {
        console.log(header)
        const runs = yield* Effect.forEach(serviceNames, (name) =>
          play(
            `${name} killed`,
            [name],
            ({ kill }) => kill,
            ({ restart }) => restart
          )
        )
        console.log(totalOf(runs))
        for (const strictly of [false, true]) {
          expect(count(runs, "bare", strictly)).toBeGreaterThan(0)
          expect(preventedIn(runs, strictly)).toBeGreaterThan(0.95)
        }
      }),
    400_000
  )

  it.live(
    "more than 95 % of cascades are prevented when auth, billing and chroma hang together",
    () =>
      Effect.gen(function* () {
        console.log(header)
        const names: ReadonlyArray<ServiceName> = ["auth", "billing", "chroma"]
        const run = yield* play("auth, billing, chroma hang", names, switchTo("hang"), switchTo("ok"))
        console.log(totalOf([run]))
        expect(count([run], "bare")).toBeGreaterThan(0)
        expect(preventedIn([run])).toBeGreaterThan(0.95)
      }),
    120_000
  )
})
