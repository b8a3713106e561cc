/**
 * The gateway over sockets while services fail: what each route answers, before and after circuits open, and after.
 */
import { isDeepStrictEqual } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Name } from "failsoft-example-chat-gateway/upstreams/Mode"
import { vi } from "vitest"
import {
  bearer,
  callsOf,
  json,
  logIn,
  type Reply,
  type Running,
  type ServiceName,
  serviceNames,
  shipped,
  start,
  stateOf,
  tokenOf,
  untilState
} from "./inProcess.ts"

// Waits, not work: so many at once that the file takes a third of a minute.
vi.setConfig({ testTimeout: 40_000, maxConcurrency: 10 })

const requestDeadlineMillis = 6_000

/** Less than any attempt may take, so that whoever waits for a service that hangs is slower. */
const fastMillis = 500

/** Which services cannot serve, and whether that shows only when a call has run out of time. */
interface Outage {
  readonly down: ReadonlySet<ServiceName>
  readonly late: boolean
}

const healthy: Outage = { down: new Set(), late: false }

type Answer = readonly [status: number, body: object]

const unauthenticated: Answer = [401, { code: "unauthenticated" }]
const forbidden: Answer = [403, { code: "forbidden" }]
const loginUnavailable: Answer = [503, { detail: "login is temporarily unavailable", retryable: true }]

/** What is passed on has no other answer than that of its service. */
const passedOn = (name: ServiceName, { down, late }: Outage, answer: Answer): Answer => {
  if (!down.has(name)) return answer
  return late ? [504, { code: "timed_out" }] : [503, { code: "service_unavailable", retryable: true }]
}

const forUser = ({ down }: Outage, answer: Answer): Answer => (down.has("auth") ? unauthenticated : answer)

const chatted = ({ down }: Outage, withoutChroma: "stale" | "graph" | "none"): Answer => [
  200,
  {
    charged: !down.has("billing"),
    credits: down.has("billing") ? null : expect.any(Number),
    context: { source: down.has("chroma") ? withoutChroma : "live" }
  }
]

const get = (path: string) => (running: Running, token: string) =>
  running.send(path, { headers: bearer(token) })
const chat = (body: object) => (running: Running, token: string) =>
  running.send("/api/v1/chat", json(body, bearer(token)))

let asked = 0
/** What nobody has asked before, so that no cache has the answer. */
const chatAboutNews = (topic: string) => (running: Running, token: string) =>
  chat({ message: `${topic} ${++asked}` })(running, token)

interface Route {
  readonly send: (running: Running, token: string) => Effect.Effect<Reply>
  readonly answer: (outage: Outage) => Answer
}

/** Every route, and what it answers when some services are down: section 3 of the requirements. */
const routes: Readonly<Record<string, Route>> = {
  login: {
    send: (running) => logIn(running),
    answer: ({ down }) =>
      down.has("auth") ? loginUnavailable : [200, { token: expect.any(String), userId: "user-1" }]
  },
  "login with a wrong password": {
    send: (running) => logIn(running, "babbage"),
    answer: ({ down }) => (down.has("auth") ? loginUnavailable : unauthenticated)
  },
  "token in the header": {
    send: get("/api/v1/me"),
    answer: (outage) => forUser(outage, [200, { userId: "user-1", email: "ada@example.org" }])
  },
  "token in the cookie": {
    send: ({ send }, token) => send("/api/v1/me", { headers: { cookie: `theme=dark; token=${token}` } }),
    answer: (outage) => forUser(outage, [200, { userId: "user-1" }])
  },
  "wrong token": {
    send: (running, token) => get("/api/v1/me")(running, `${token}x`),
    answer: () => unauthenticated
  },
  "no token": { send: ({ send }) => send("/api/v1/me"), answer: () => unauthenticated },
  chat: {
    send: chat({ message: "what does an open circuit do" }),
    answer: (outage) => forUser(outage, chatted(outage, "stale"))
  },
  "chat about something new": {
    send: chatAboutNews("circuit"),
    answer: (outage) => forUser(outage, chatted(outage, "graph"))
  },
  "chat about what nobody knows": {
    send: chatAboutNews("xyzzy"),
    answer: (outage) => forUser(outage, chatted(outage, "none"))
  },
  "chat in a project of one's own": {
    send: chat({ message: "retry", projectId: "p-1" }),
    answer: (outage) => forUser(outage, chatted(outage, "stale"))
  },
  "chat in another's project": {
    send: chat({ message: "retry", projectId: "p-2" }),
    answer: (outage) => forUser(outage, forbidden)
  },
  files: {
    send: get("/api/v1/projects/p-1/files"),
    answer: (outage) =>
      forUser(outage, passedOn("filesystem", outage, [200, { files: ["README.md", "notes.txt"] }]))
  },
  "files of another's project": {
    send: get("/api/v1/projects/p-2/files"),
    answer: (outage) => forUser(outage, forbidden)
  },
  "files of no project": {
    send: get("/api/v1/projects/p-9/files"),
    answer: (outage) => forUser(outage, forbidden)
  },
  commits: {
    send: get("/api/v1/projects/p-1/commits"),
    answer: (outage) =>
      forUser(outage, passedOn("git", outage, [200, { commits: [{ hash: "9f2c1ab" }, { hash: "41d07ee" }] }]))
  },
  "commits of another's project": {
    send: get("/api/v1/projects/p-2/commits"),
    answer: (outage) => forUser(outage, forbidden)
  },
  "external data": {
    send: ({ send }) => send("/api/v1/data/weather"),
    answer: (outage) => passedOn("external", outage, [200, { topic: "weather" }])
  },
  "external data on no topic": {
    send: ({ send }) => send("/api/v1/data/gossip"),
    answer: (outage) => passedOn("external", outage, [404, { code: "not_found" }])
  },
  "is it alive": { send: ({ send }) => send("/livez"), answer: () => [200, { status: "pass" }] },
  "is it ready": { send: ({ send }) => send("/readyz"), answer: () => [200, { status: "pass" }] }
}

const chats = Object.keys(routes).filter((name) => name.startsWith("chat"))

const unchargedOf = ({ send }: Running): Effect.Effect<number> =>
  Effect.map(send("/api/v1/charging"), ({ body }) => (body as { readonly uncharged: number }).uncharged)

/**
 * Asks every route in turn and checks its answer, and that what was not charged was counted. Gives back the replies
 * that are others than in health.
 */
const checkRoutes = (running: Running, token: string, outage: Outage): Effect.Effect<ReadonlyArray<Reply>> =>
  Effect.gen(function* () {
    const unchargedBefore = yield* unchargedOf(running)
    const replies: Array<Reply> = []
    for (const [name, { answer, send }] of Object.entries(routes)) {
      const reply = yield* send(running, token)
      const [status, body] = answer(outage)
      expect([name, reply.status, reply.body]).toMatchObject([name, status, body])
      expect(reply.millis, name).toBeLessThan(requestDeadlineMillis)
      if (status === 503) expect(Number(reply.headers.get("retry-after")), name).toBeGreaterThanOrEqual(1)
      if (!isDeepStrictEqual(answer(outage), answer(healthy))) replies.push(reply)
    }
    const isServed = (name: string): boolean => routes[name]?.answer(outage)[0] === 200
    const uncharged = outage.down.has("billing") ? chats.filter(isServed).length : 0
    expect((yield* unchargedOf(running)) - unchargedBefore).toBe(uncharged)
    return replies
  })

/** A request that needs the service, whatever becomes of it. */
const needs: Readonly<Record<ServiceName, keyof typeof routes>> = {
  auth: "token in the header",
  billing: "chat",
  chroma: "chat about something new",
  filesystem: "files",
  git: "commits",
  external: "external data"
}

/** Sends what a service must serve until its circuit is open. */
const openCircuit = (running: Running, token: string, name: ServiceName): Effect.Effect<void> =>
  Effect.gen(function* () {
    const send = routes[needs[name]]?.send(running, token) ?? Effect.die("no such route")
    const volley = Effect.all(
      Array.from({ length: shipped[name].breaker.failures }, () => send),
      { concurrency: "unbounded" }
    )
    const states = Effect.andThen(volley, stateOf(running, name))
    if ((yield* stateOf(running, name)) !== "open") {
      expect(yield* Effect.repeat(states, { until: (state) => state === "open", times: 3 }), name).toBe(
        "open"
      )
    }
  })

const medianOf = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

const servedCharges = ({ upstreams }: Running): Effect.Effect<number> =>
  Effect.promise(async () => {
    const response = await fetch(`http://127.0.0.1:${upstreams.billing.port}/charges`)
    return ((await response.json()) as { readonly count: number }).count
  })

/** Plays an outage from the first failure to the last circuit that closes. */
const play = (modes: Partial<Readonly<Record<ServiceName, Name>>>) =>
  Effect.gen(function* () {
    const down = serviceNames.filter((name) => modes[name] !== undefined)
    const late = down.some((name) => modes[name] !== "refuse" && modes[name] !== "fail")
    const outage: Outage = { down: new Set(down), late }
    const running = yield* start({
      requestDeadlineMillis,
      trustedProxies: ["127.0.0.1/32"],
      // A service that answers at once is given time, so that a machine that is busy does not look like an outage.
      attemptMillis: late ? 750 : 2_500
    })
    const token = yield* tokenOf(running)
    yield* checkRoutes(running, token, healthy)

    for (const name of down) {
      const mode = modes[name] ?? "ok"
      yield* running.setMode(name, mode === "slow" ? { mode, delayMillis: 60_000 } : mode)
    }
    yield* checkRoutes(running, token, outage)

    // Without auth nobody gets as far as the services behind it.
    const opening = down.includes("auth")
      ? down.filter((name) => name === "auth" || name === "external")
      : down
    yield* Effect.forEach(opening, (name) => openCircuit(running, token, name), { concurrency: "unbounded" })
    const callsBefore = opening.map((name) => callsOf(running, name))
    expect((yield* running.send("/health/ready")).body).toMatchObject({ status: "degraded" })
    const refused = yield* checkRoutes(running, token, { ...outage, late: false })
    expect(medianOf(refused.map(({ millis }) => millis))).toBeLessThan(fastMillis)
    expect(opening.map((name) => callsOf(running, name))).toEqual(callsBefore)

    const uncharged = yield* unchargedOf(running)
    yield* Effect.forEach(down, (name) => running.setMode(name, "ok"))
    yield* Effect.forEach(opening, (name) => untilState(running, name, "closed"))
    // No caller: what closed the circuits were probes.
    expect(opening.map((name) => callsOf(running, name))).toEqual(callsBefore)
    const applied = yield* servedCharges(running)
    yield* checkRoutes(running, token, healthy)
    expect((yield* running.send("/health/ready")).body).toMatchObject({ status: "healthy" })
    expect(yield* unchargedOf(running)).toBe(uncharged)
    const charged = chats.filter((name) => routes[name]?.answer(healthy)[0] === 200).length
    expect((yield* servedCharges(running)) - applied).toBe(charged)
  })

const modes: ReadonlyArray<Name> = ["refuse", "fail", "hang", "slow", "drip"]

describe.concurrent.each(modes)("in mode %s", (mode) => {
  for (const name of serviceNames) it.live(`${name} alone`, () => play({ [name]: mode }))
})

const together: ReadonlyArray<ReadonlyArray<ServiceName>> = [
  ["auth", "billing"],
  ["billing", "chroma"],
  ["auth", "billing", "chroma"]
]

describe.concurrent("together", () => {
  for (const names of together) {
    for (const mode of ["refuse", "hang"]) {
      it.live(`${names.join(", ")} in mode ${mode}`, () =>
        play(Object.fromEntries(names.map((name) => [name, mode])))
      )
    }
  }

  it.live("auth refuses, billing fails, chroma hangs; and back one by one", () =>
    Effect.gen(function* () {
      const running = yield* start({
        requestDeadlineMillis,
        trustedProxies: ["127.0.0.1/32"],
        attemptMillis: 750
      })
      const token = yield* tokenOf(running)
      yield* checkRoutes(running, token, healthy)
      yield* running.setMode("billing", "fail")
      yield* running.setMode("chroma", "hang")
      yield* openCircuit(running, token, "chroma")
      yield* openCircuit(running, token, "billing")
      yield* running.setMode("auth", "refuse")
      yield* openCircuit(running, token, "auth")
      const down = new Set<ServiceName>(["auth", "billing", "chroma"])
      yield* checkRoutes(running, token, { down, late: false })
      for (const name of ["auth", "billing", "chroma"] as const) {
        yield* running.setMode(name, "ok")
        yield* untilState(running, name, "closed")
        down.delete(name)
        yield* checkRoutes(running, token, { down, late: false })
      }
    })
  )
})
