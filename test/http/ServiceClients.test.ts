import { describe, expect, it } from "@effect/vitest"
import { ServiceClient, ServiceClients } from "@failsoft/http"
import { ConfigProvider, Context, Duration, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as Server from "./server.ts"

const { reply, scripted, serve } = Server

class Auth extends Context.Service<Auth, ServiceClient.ServiceClient>()("test/Auth") {}
class Billing extends Context.Service<Billing, ServiceClient.ServiceClient>()("test/Billing") {}
class Chroma extends Context.Service<Chroma, ServiceClient.ServiceClient>()("test/Chroma") {}
class Filesystem extends Context.Service<Filesystem, ServiceClient.ServiceClient>()("test/Filesystem") {}
class Git extends Context.Service<Git, ServiceClient.ServiceClient>()("test/Git") {}
class External extends Context.Service<External, ServiceClient.ServiceClient>()("test/External") {}

const keys = {
  auth: Auth,
  billing: Billing,
  chroma: Chroma,
  filesystem: Filesystem,
  git: Git,
  external: External
}

type Name = keyof typeof keys

/** The table of the six services: tries in all, seconds for each, failures in a row, seconds open. */
const six = [
  { name: "auth", attempts: 2, timeout: 5, failures: 5, wait: 60 },
  { name: "billing", attempts: 2, timeout: 5, failures: 10, wait: 30 },
  { name: "chroma", attempts: 1, timeout: 30, failures: 5, wait: 60 },
  { name: "filesystem", attempts: 2, timeout: 10, failures: 5, wait: 60 },
  { name: "git", attempts: 1, timeout: 10, failures: 5, wait: 90 },
  { name: "external", attempts: 1, timeout: 15, failures: 5, wait: 60 }
] as const satisfies ReadonlyArray<{ readonly name: Name } & Record<string, unknown>>

const urlOf = (name: string): string => `http://${name}.internal`

/** The table as configuration has it. */
const table = (url: (name: Name) => string, retry: object = {}) =>
  Object.fromEntries(
    six.map(({ attempts, failures, name, timeout, wait }) => [
      name,
      {
        url: url(name),
        attemptTimeout: timeout,
        retry: { attempts, ...retry },
        breaker: { failures, openDuration: wait }
      }
    ])
  )

/** The variables that say the same as a tree of configuration. */
const variables = (tree: object, prefix: string): Record<string, string> =>
  Object.assign(
    {},
    ...Object.entries(tree).map(([key, value]) => {
      const name = `${prefix}_${key.replace(/[A-Z]/g, (letter) => `_${letter}`)}`.toUpperCase()
      return typeof value === "object" ? variables(value, name) : { [name]: String(value) }
    })
  )

const fromJson = (services: object) => ConfigProvider.fromUnknown(JSON.parse(JSON.stringify({ services })))

const fromVariables = (env: Record<string, string>) =>
  ConfigProvider.constantCase(ConfigProvider.fromEnv({ env }))

const fromEnv = (services: object) => fromVariables(variables(services, "SERVICES"))

const clients = (provider: ConfigProvider.ConfigProvider) =>
  Effect.map(
    Layer.build(
      ServiceClients.layerConfig(keys, "services").pipe(Layer.provide(ConfigProvider.layer(provider)))
    ),
    (context) =>
      (name: Name): ServiceClient.ServiceClient =>
        Context.get(context, keys[name] as Context.Key<Auth, ServiceClient.ServiceClient>)
  )

describe.each([
  { source: "JSON", provider: fromJson },
  { source: "environment variables", provider: fromEnv }
])("the table of six from $source", ({ provider }) => {
  it.live("makes exactly as many requests as it has attempts", () =>
    Effect.gen(function* () {
      const servers = new Map<Name, Server.Server>()
      for (const { name } of six) servers.set(name, yield* serve(reply(500)))
      const client = yield* clients(
        provider(table((name) => servers.get(name)?.url ?? "", { base: "1 millis", jitter: "none" }))
      )
      for (const { attempts, name } of six) {
        const error = yield* Effect.flip(client(name).get("/"))
        expect(error).toMatchObject({ service: name, reason: { _tag: "RetriesExhausted", attempts } })
      }
      const seen = six.map(({ name }) => [name, servers.get(name)?.requests.length])
      expect(seen).toEqual([
        ["auth", 2],
        ["billing", 2],
        ["chroma", 1],
        ["filesystem", 2],
        ["git", 1],
        ["external", 1]
      ])
    }).pipe(Effect.provide(Server.live))
  )

  it.effect.each(six)("gives each attempt of $name $timeout seconds", ({ attempts, name, timeout }) =>
    Effect.gen(function* () {
      const transport = scripted(() => undefined)
      const client = yield* Effect.provide(
        clients(provider(table(urlOf, { jitter: "none" }))),
        transport.layer
      )
      const call = yield* Effect.forkChild(Effect.flip(client(name).get("/")))
      yield* TestClock.adjust(Duration.seconds(timeout - 0.001))
      expect(call.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      // The first wait is a second.
      if (attempts === 2) yield* TestClock.adjust(Duration.seconds(1 + timeout))
      expect(yield* Fiber.join(call)).toMatchObject({
        reason: { _tag: "TimedOut", after: Duration.seconds(timeout), of: Duration.seconds(timeout) }
      })
      const again = attempts === 2 ? [(timeout + 1) * 1000] : []
      expect(transport.sent.map(({ atMillis }) => atMillis)).toEqual([0, ...again])
    })
  )

  it.effect.each(six)(
    "opens the circuit of $name after $failures failures, for $wait seconds, and closes it after one success",
    ({ failures, name, wait }) =>
      Effect.gen(function* () {
        const transport = scripted(
          ...Array.from({ length: failures }, () => () => new Response("", { status: 500 })),
          () => new Response("ok")
        )
        const client = yield* Effect.provide(clients(provider(table(urlOf))), transport.layer)
        const { breaker } = client(name).policy
        const state = Effect.map(breaker!.snapshot, (snapshot) => snapshot.state)
        for (let failure = 1; failure <= failures; failure++) {
          expect(yield* state).toBe("closed")
          yield* Effect.exit(client(name).post("/"))
        }
        expect(yield* Effect.flip(client(name).post("/"))).toMatchObject({
          reason: { _tag: "CircuitOpen" },
          retryAfter: Duration.seconds(wait)
        })
        expect(transport.sent).toHaveLength(failures)
        yield* TestClock.adjust(Duration.seconds(wait - 0.001))
        expect(yield* state).toBe("open")
        yield* TestClock.adjust("1 millis")
        expect(yield* state).toBe("half_open")
        expect((yield* client(name).post("/")).status).toBe(200)
        expect(yield* state).toBe("closed")
      })
  )

  it.effect("gives each service a circuit of its own", () =>
    Effect.gen(function* () {
      const transport = scripted(
        ({ url }) => new Response("", { status: url.startsWith(urlOf("billing")) ? 500 : 200 })
      )
      const client = yield* Effect.provide(clients(provider(table(urlOf))), transport.layer)
      for (let call = 0; call < 10; call++) yield* Effect.exit(client("billing").post("/"))
      const states = yield* Effect.forEach(six, ({ name }) =>
        Effect.map(client(name).policy.breaker!.snapshot, ({ state }) => state)
      )
      expect(states).toEqual(["closed", "open", "closed", "closed", "closed", "closed"])
      expect((yield* client("auth").get("/")).status).toBe(200)
    })
  )
})

describe("layerConfig", () => {
  const auth = { url: "http://auth" }

  const two = (provider: ConfigProvider.ConfigProvider, path: string | ConfigProvider.Path = "services") =>
    Layer.build(
      ServiceClients.layerConfig({ auth: Auth, billing: Billing }, path).pipe(
        Layer.provide(Server.live),
        Layer.provide(ConfigProvider.layer(provider))
      )
    )

  it.effect.each([
    ["http://", '"http://"'],
    ["ftp://billing", '"ftp://billing"'],
    ["billing", '"billing"'],
    ["http://ada:hunter2@billing", "a URL with credentials"],
    ["ftp://ada:hunter2@billing", "a URL with credentials"]
  ] as const)("refuses %s as a URL without telling secrets", ([url, told]) =>
    Effect.gen(function* () {
      for (const provider of [
        fromJson({ auth, billing: { url } }),
        fromVariables({ SERVICES_AUTH_URL: "http://auth", SERVICES_BILLING_URL: url })
      ]) {
        const { message } = yield* Effect.flip(two(provider))
        expect(message).toContain('billing: option "url" is ')
        expect(message).toContain(told)
        expect(message).toContain("allowed is an http or https URL")
        expect(message).not.toContain("hunter2")
      }
    })
  )

  it.effect.each([
    {
      billing: { url: "http://b", retry: { attempts: "many" } },
      field: "attempts",
      value: '"many"',
      allowed: "a number"
    },
    {
      billing: { url: "http://b", retry: { attempts: 0 } },
      field: "attempts",
      value: "0",
      allowed: "from 1 to 100"
    },
    {
      billing: { url: "http://b", retry: { attempts: 1.5 } },
      field: "attempts",
      value: "1.5",
      allowed: "a whole number"
    },
    {
      billing: { url: "http://b", retry: { jitter: "lots" } },
      field: "jitter",
      value: '"lots"',
      allowed: "full"
    },
    {
      billing: { url: "http://b", retry: { base: "a while" } },
      field: "base",
      value: '"a while"',
      allowed: "seconds"
    },
    {
      billing: { url: "http://b", attemptTimeout: "soon" },
      field: "attemptTimeout",
      value: '"soon"',
      allowed: "seconds"
    },
    {
      billing: { url: "http://b", attemptTimeout: -1 },
      field: "attemptTimeout",
      value: "-1",
      allowed: "seconds"
    },
    {
      billing: { url: "http://b", attemptTimeout: 0 },
      field: "attemptTimeout",
      value: "0",
      allowed: "longer than 0"
    },
    {
      billing: { url: "http://b", deadline: "1 parsec" },
      field: "deadline",
      value: '"1 parsec"',
      allowed: "seconds"
    },
    { billing: { url: "http://b", enabled: "maybe" }, field: "enabled", value: '"maybe"', allowed: "true" },
    {
      billing: { url: "http://b", breaker: { failures: "x" } },
      field: "failures",
      value: '"x"',
      allowed: "a number"
    },
    {
      billing: { url: "http://b", breaker: { failures: 0 } },
      field: "failures",
      value: "0",
      allowed: "from 1 to"
    },
    {
      billing: { url: "http://b", breaker: { openDuration: 0 } },
      field: "openDuration",
      value: "0",
      allowed: "longer than 0"
    },
    {
      billing: { url: "http://b", breaker: { successes: -1 } },
      field: "successes",
      value: "-1",
      allowed: "from 1 to"
    },
    {
      billing: { url: "http://b", maxBodyBytes: "all" },
      field: "maxBodyBytes",
      value: '"all"',
      allowed: "a number"
    },
    {
      billing: { url: "http://b", maxBodyBytes: 0 },
      field: "maxBodyBytes",
      value: "0",
      allowed: "from 1 to"
    },
    {
      billing: { url: "http://b", probePath: "/h", probeEvery: "x" },
      field: "probeEvery",
      value: '"x"',
      allowed: "seconds"
    }
  ])(
    "refuses $billing.$field with its row, field, value and what is allowed",
    ({ allowed, billing, field, value }) =>
      Effect.gen(function* () {
        for (const provider of [fromJson({ auth, billing }), fromEnv({ auth, billing })]) {
          const { message } = yield* Effect.flip(two(provider))
          for (const part of ["billing", field, allowed, value.replaceAll('"', "")])
            expect(message).toContain(part)
        }
      })
  )

  it.effect.each([
    { what: "row", provider: fromJson({ auth }), path: '["services"]["billing"]' },
    { what: "row", provider: fromEnv({ auth }), path: '["services"]["billing"]' },
    {
      what: "URL",
      provider: fromJson({ auth, billing: { deadline: 5 } }),
      path: '["services"]["billing"]["url"]'
    },
    {
      what: "URL",
      provider: fromEnv({ auth, billing: { deadline: 5 } }),
      path: '["services"]["billing"]["url"]'
    },
    {
      what: "URL",
      provider: fromEnv({ auth, billing: { url: "" } }),
      path: '["services"]["billing"]["url"]'
    },
    { what: "table", provider: fromJson({}), path: '["services"]' },
    { what: "table", provider: ConfigProvider.fromUnknown({}), path: '["services"]' }
  ])("names a missing $what", ({ path, provider }) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(two(provider))
      expect(error._tag).toBe("ConfigError")
      expect(error.message).toContain(path)
      expect(error.message).toMatch(/[Mm]issing|Expected object/)
    })
  )

  it.effect("reads durations with and without a unit, and ignores rows that nobody asked for", () =>
    Effect.gen(function* () {
      const transport = scripted(() => undefined)
      const context = yield* ServiceClients.layerConfig({ billing: Billing }, ["app", "services"]).pipe(
        Layer.provide(transport.layer),
        Layer.provide(
          ConfigProvider.layer(
            ConfigProvider.fromUnknown({
              app: {
                services: { billing: { url: "http://b", attemptTimeout: "500 millis" }, auth: { url: 1 } }
              }
            })
          )
        ),
        Layer.build
      )
      const call = yield* Effect.forkChild(Effect.flip(Context.get(context, Billing).post("/")))
      yield* TestClock.adjust("500 millis")
      expect(yield* Fiber.join(call)).toMatchObject({ _tag: "Ambiguous" })
    })
  )

  it.effect("switches a service off", () =>
    Effect.gen(function* () {
      for (const provider of [fromJson, fromEnv]) {
        const context = yield* two(provider({ auth, billing: { url: "http://b", enabled: false } }))
        const enabled = yield* Effect.forEach([Auth, Billing] as const, (key) =>
          Effect.map(
            Context.get(context, key as Context.Key<Auth, ServiceClient.ServiceClient>).policy.breaker!
              .snapshot,
            (snapshot) => snapshot.enabled
          )
        )
        expect(enabled).toEqual([true, false])
      }
    })
  )

  it.effect.each([
    { row: {}, times: 2 },
    { row: { retry: {} }, times: 2 },
    { row: { retry: { jitter: "none" } }, times: 2 },
    { row: { retry: { attempts: 3 } }, times: 3 },
    { row: { retry: { enabled: false } }, times: 1 }
  ])("tries $times times with $row", ({ row, times }) =>
    Effect.gen(function* () {
      const transport = scripted(() => new Response("", { status: 503 }))
      const context = yield* ServiceClients.layerConfig({ billing: Billing }, "services").pipe(
        Layer.provide(transport.layer),
        Layer.provide(ConfigProvider.layer(fromJson({ billing: { url: "http://b", ...row } }))),
        Layer.build
      )
      const call = yield* Effect.forkChild(Effect.exit(Context.get(context, Billing).get("/")))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(call)
      expect(transport.sent).toHaveLength(times)
    }).pipe(Effect.provide(Server.silent))
  )
})

describe("layer", () => {
  it.effect("provides a client for each key", () =>
    Effect.gen(function* () {
      const transport = scripted(() => new Response("ok"))
      const context = yield* ServiceClients.layer(
        { auth: Auth, billing: Billing },
        { auth: { url: "http://a" }, billing: { url: "http://b" }, unasked: { url: "" } }
      ).pipe(Layer.provide(transport.layer), Layer.build)
      yield* Context.get(context, Auth).get("/x")
      yield* Context.get(context, Billing).get("/y")
      expect(transport.sent.map(({ request }) => request.url)).toEqual(["http://a/x", "http://b/y"])
      expect(Context.get(context, Billing).policy.name).toBe("billing")
    })
  )

  it.effect("names a row that is missing and a row that is wrong", () =>
    Effect.gen(function* () {
      const build = (rows: ServiceClients.Table) =>
        Effect.flip(
          Layer.build(
            ServiceClients.layer({ auth: Auth, billing: Billing }, rows).pipe(Layer.provide(Server.live))
          )
        )
      expect((yield* build({ auth: { url: "http://a" } })).message).toBe(
        'billing: option "url" is absent, allowed is a row in the table'
      )
      const wrong = yield* build({ auth: { url: "http://a" }, billing: { url: "http://b", deadline: 0 } })
      expect(wrong).toMatchObject({ policy: "billing", option: "deadline" })
    })
  )
})

describe("ServiceClient.layerConfig", () => {
  it.effect.each([
    { path: undefined, at: ["billing"] },
    { path: "downstream", at: ["downstream"] },
    { path: ["app", "billing"], at: ["app", "billing"] }
  ])("reads one client below $path, its name by default", ({ at, path }) =>
    Effect.gen(function* () {
      const transport = scripted(() => new Response("ok"))
      const row = at.reduceRight<unknown>((inner, key) => ({ [key]: inner }), { url: "http://b/api" })
      const context = yield* ServiceClient.layerConfig(Billing, "billing", path).pipe(
        Layer.provide(transport.layer),
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(row))),
        Layer.build
      )
      yield* Context.get(context, Billing).get("/balance")
      expect(transport.sent[0]?.request.url).toBe("http://b/api/balance")
      expect(Context.get(context, Billing).policy.name).toBe("billing")
    })
  )

  it.live("recovers through the probe path that is configured", () =>
    Effect.gen(function* () {
      const server = yield* serve(reply(503), Server.ok)
      const layer = ServiceClient.layerConfig(Billing, "billing").pipe(
        Layer.provide(Server.live),
        Layer.provide(
          ConfigProvider.layer(
            fromVariables({
              BILLING_URL: server.url,
              BILLING_PROBE_PATH: "/health",
              BILLING_PROBE_EVERY: "0.01",
              BILLING_BREAKER_FAILURES: "1",
              BILLING_BREAKER_OPEN_DURATION: "0.02"
            })
          )
        )
      )
      const client = Context.get(yield* Layer.build(layer), Billing)
      yield* Effect.exit(client.post("/charge"))
      yield* Server.eventually(() =>
        expect(server.requests.map(({ path }) => path)).toEqual(["/charge", "/health"])
      )
      yield* Server.eventually(async () =>
        expect(await Effect.runPromise(client.policy.breaker!.snapshot)).toMatchObject({ state: "closed" })
      )
    }).pipe(Effect.provide(Server.silent))
  )
})

describe("the table", () => {
  class VectorSearch extends Context.Service<VectorSearch, ServiceClient.ServiceClient>()(
    "test/VectorSearch"
  ) {}

  it.effect("has services of several words in variables", () =>
    Effect.gen(function* () {
      const env = {
        SERVICES_VECTOR_SEARCH_URL: "http://vectors",
        SERVICES_VECTOR_SEARCH_RATE_LIMITER_LIMIT: "7",
        SERVICES_VECTOR_SEARCH_RATE_LIMITER_PERIOD: "1"
      }
      const Live = ServiceClients.layerConfig({ vectorSearch: VectorSearch }, "services").pipe(
        Layer.provide(scripted().layer),
        Layer.provide(ConfigProvider.layer(fromVariables(env)))
      )
      const { policy } = yield* Effect.provide(VectorSearch, Live)
      expect(policy.rateLimiter).toBeDefined()
    })
  )

  it.effect("is refused for a field that there is not, with the name of the row", () =>
    Effect.gen(function* () {
      const services = { auth: { url: "http://auth", retry: { atempts: 2 } } }
      const Live = ServiceClients.layerConfig({ auth: Auth }, "services").pipe(
        Layer.provide(scripted().layer),
        Layer.provide(ConfigProvider.layer(fromJson(services)))
      )
      const error = yield* Effect.flip(Layer.build(Live))
      expect(error.message).toContain('["services"]["auth"]["retry"]["atempts"]')
      expect(error.message).toContain("unknown field; allowed: enabled, attempts")
    })
  )
})
