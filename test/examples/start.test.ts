/**
 * The commands `start` and `demo`: what they print, how they end, and that no process is left over.
 */
import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { vi } from "vitest"
import { descendantsOf, isAlive, processCount, run, untilGone, untilPrinted } from "./commands.ts"

// The demos mostly wait, so they run beside the rest, and the longest of them begins.
vi.setConfig({ testTimeout: 60_000, maxConcurrency: 4 })

const DemoEvent = Schema.Struct({
  atMillis: Schema.Finite,
  event: Schema.String,
  circuits: Schema.Record(Schema.String, Schema.Struct({ state: Schema.String })),
  got: Schema.String
})

/** Circuits that are not closed; those in front of Redis go by its name. */
const troubledOf = (circuits: typeof DemoEvent.Type.circuits): string => {
  const ofRedis = /^(?:cache|redis-read|redis-write|login-limit)$/
  const names = Object.entries(circuits).flatMap(([name, { state }]) =>
    state === "closed" ? [] : [ofRedis.test(name) ? "redis" : name]
  )
  return [...new Set(names)].toSorted().join(" ")
}

const eventsOf = (stdout: string): ReadonlyArray<typeof DemoEvent.Type> =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => Schema.decodeUnknownSync(DemoEvent)(JSON.parse(line), { onExcessProperty: "error" }))

/** What the demo must show in order: the event, the circuits that are not closed, and what a caller got. */
type Script = ReadonlyArray<readonly [event: string, troubled: string, got: RegExp]>

const searchAndOverload: Script = [
  ["search stutters, and is hedged", "", /^chat 200, charged, context live, /],
  ["search killed, a known question", "", /^chat 200, charged, context stale, /],
  ["search killed, a new question", "", /^chat 200, charged, context graph, /],
  [
    "external hangs, 60 callers",
    "",
    /^\d+ turned away by the bulkhead, \d+ let go at their deadline of 800 ms, /
  ]
]

const withRedis: Script = [
  ["all services run", "", /^login 200, /],
  ["session", "", /live, in Redis$/],
  ["six logins from one address", "", /^5 let in, 1 refused, counted in Redis$/],
  ["chat", "", /^chat 200, charged, context live, /],
  ...searchAndOverload,
  ["Redis killed", "redis", /^session checked by what Redis said before$/],
  ["six logins from one address", "redis", /^5 let in, 1 refused, counted by this process$/],
  ["login without Redis", "redis", /^login 200, .* signature alone$/],
  ["logout without Redis", "redis", /^logout 503, /],
  ["billing killed", "redis", /^chat 200, not charged, context live, /],
  ["billing's circuit opened", "billing redis", /^chat 200, not charged, /],
  ["auth killed, its circuit opened", "auth billing redis", /^login 503, /],
  ["token check without auth", "auth billing redis", /^token check 401, /],
  ["session without auth and Redis", "auth billing redis", /what Redis said before$/],
  ["Redis, auth and billing restarted", "auth billing redis", /only probes/],
  ["circuits closed by themselves", "", /only probes/],
  ["session", "", /live, in Redis$/],
  ["logout again", "", /^logout 204, /],
  ["six logins from one address", "", /^5 let in, 1 refused, counted in Redis$/],
  ["chat", "", /^chat 200, charged, context live, /],
  ["what it took", "", /^\d+ attempts, and \d+ more by retries and hedges$/]
]

const withoutRedis: Script = [
  ["no redis-server on the PATH", "", /^no Redis from start to end$/],
  ["all services run", "", /^login 200, /],
  ["session", "", /signature alone$/],
  ["six logins from one address", "", /counted by this process$/],
  ["chat", "", /^chat 200, charged, /],
  ...searchAndOverload,
  ["login without Redis", "", /signature alone$/],
  ["logout without Redis", "", /^logout 503, /],
  ["billing killed", "", /^chat 200, not charged, /],
  ["billing's circuit opened", "billing", /^chat 200, not charged, /],
  ["auth killed, its circuit opened", "auth billing", /^login 503, /],
  ["token check without auth", "auth billing", /^token check 401, /],
  ["session without auth and Redis", "auth billing", /signature alone$/],
  ["auth and billing restarted", "auth billing", /only probes/],
  ["circuits closed by themselves", "", /only probes/],
  ["chat", "", /^chat 200, charged, /],
  ["what it took", "", /^\d+ attempts, and \d+ more by retries and hedges$/]
]

/** Circuits that are due are probed meanwhile, so they may be seen half-open or open, and that Redis is gone a moment late. */
const expectScript = (stdout: string, script: Script): void => {
  const events = eventsOf(stdout)
  expect(events.map(({ event }) => event)).toEqual(script.map(([event]) => event))
  for (const [index, [event, troubled, got]] of script.entries()) {
    const found = events[index]
    const maybe = event === "Redis killed" ? [troubled, ""] : [troubled]
    expect(maybe, event).toContain(troubledOf(found?.circuits ?? {}))
    expect(found?.got, event).toMatch(got)
  }
  const times = events.map(({ atMillis }) => atMillis)
  expect(times).toEqual(times.toSorted((a, b) => a - b))
  expect(times.at(-1)).toBeLessThan(20_000)
}

describe.concurrent("demo", () => {
  it.live("fails, and says which phase did, when nothing is restarted", () =>
    Effect.gen(function* () {
      const command = yield* run("demo", { args: ["--no-restart", "--json"] })
      const { code, stderr, stdout } = yield* command.ended
      expect(code).toBe(1)
      expect(stderr).toContain("The demo failed: the circuit of auth is not closed within 15 seconds")
      expect(JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "")).toMatchObject({
        event: "nothing restarted"
      })
    })
  )

  it.live("plays an outage and prints a timeline", () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* (yield* run("demo")).ended
      expect([code, stderr]).toEqual([0, ""])
      expect(stdout).toMatch(/^time +event +circuits not closed +what a caller got$/m)
      expect(stdout).toMatch(/^\d+\.\d s +Redis killed +.*session checked by what Redis said before/m)
      expect(stdout).toMatch(/^\d+\.\d s +billing killed +redis (half_)?open +chat 200, not charged/m)
      expect(stdout).toMatch(
        /^\d+\.\d s +auth killed, its circuit opened +auth open, billing open, redis (half_)?open +login 503/m
      )
      expect(stdout).toMatch(/^\d+\.\d s +token check without auth .* 401, /m)
      expect(stdout.trimEnd()).toMatch(/Every phase went as it must\.$/)
    })
  )

  it.live("prints its events in order, and nothing else, with --json", () =>
    Effect.gen(function* () {
      const command = yield* run("demo", { args: ["--json"] })
      const { code, stderr, stdout } = yield* command.ended
      expect([code, stderr]).toEqual([0, ""])
      expectScript(stdout, withRedis)
    })
  )

  it.live("says that it has no Redis where there is no program for one, and plays the rest", () =>
    Effect.gen(function* () {
      const command = yield* run("demo", { args: ["--json"], env: { PATH: "/nowhere" } })
      const { code, stderr, stdout } = yield* command.ended
      expect([code, stderr]).toEqual([0, ""])
      expectScript(stdout, withoutRedis)
    })
  )

  it.live("leaves no process when it is killed", () =>
    Effect.gen(function* () {
      const command = yield* run("demo", { args: ["--json"] })
      yield* untilPrinted(command, "billing killed")
      const children = descendantsOf(command.pid)
      // Without billing, and with the guard of the Redis that was killed.
      expect(children.length).toBe(processCount)
      command.signal("SIGKILL")
      yield* command.ended
      yield* untilGone(children, 5_000)
    })
  )

  it.live("refuses an option that it does not know", () =>
    Effect.gen(function* () {
      const { code, stderr } = yield* (yield* run("demo", { args: ["--jason"] })).ended
      expect([code, stderr]).toEqual([1, expect.stringContaining("--jason")])
    })
  )
})

const started = Effect.gen(function* () {
  const command = yield* run("start", { env: { PORT: "0" } })
  yield* untilPrinted(command, "Ctrl-C ends everything.")
  const url = /listens on (http:\/\/127\.0\.0\.1:\d+)/.exec(command.stdout())?.[1]
  return { command, url: url ?? "no address", children: descendantsOf(command.pid) }
})

const statusOf = (url: string): Effect.Effect<number> =>
  Effect.promise(async () => (await fetch(url, { signal: AbortSignal.timeout(5_000) })).status)

/** The numbered commands that it printed, as a person would paste them. */
const commandsIn = (printed: string): ReadonlyArray<string> =>
  printed
    .split(/^ {2}\d\. .*$/m)
    .slice(1)
    .map((text) => text.split("\n\n")[0] ?? "")

describe.concurrent("start", () => {
  it.live("prints where it listens and four commands to try", () =>
    Effect.gen(function* () {
      const { children, command, url } = yield* started
      expect(children).toHaveLength(processCount)
      expect(yield* statusOf(`${url}/readyz`)).toBe(200)
      const commands = commandsIn(command.stdout())
      expect(commands).toHaveLength(4)
      for (const text of commands) expect(text).toMatch(/curl -s .*http:\/\/127\.0\.0\.1:\d+\//)
    })
  )

  const shell = (script: string): Promise<string> =>
    promisify(execFile)("bash", ["-c", script], { timeout: 20_000 }).then(({ stdout }) => stdout)

  it.live("prints commands that do what it says", () =>
    Effect.gen(function* () {
      const { command } = yield* started
      const [login = "", chat = "", fail = "", circuits = ""] = commandsIn(command.stdout())
      const echo = "echo; echo ---"
      const script = [
        login,
        chat,
        echo,
        fail,
        echo,
        ...Array<string>(6).fill(chat),
        echo,
        chat,
        echo,
        circuits
      ]
      const printed = yield* Effect.promise(() => shell(script.join("\n")))
      const [first = "", failing = "", , last = "", state = ""] = printed.split("---\n")
      expect(JSON.parse(first)).toMatchObject({ charged: true, context: { source: "live" } })
      expect(JSON.parse(failing)).toEqual({ mode: "fail" })
      expect(JSON.parse(last)).toMatchObject({ charged: false, credits: null })
      expect(JSON.parse(state)).toMatchObject({
        services: { billing: { state: "open" }, auth: { state: "closed" } }
      })
    })
  )

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.live(`ends every process on ${signal}`, () =>
      Effect.gen(function* () {
        const { children, command } = yield* started
        command.signal(signal)
        // What a shell reports of a program that a person interrupted.
        expect(yield* command.ended).toMatchObject({ code: 130, signal: null })
        expect(children.filter(isAlive)).toEqual([])
      })
    )
  }

  it.live("ends every process on SIGTERM while a service hangs and callers wait for it", () =>
    Effect.gen(function* () {
      const { children, command, url } = yield* started
      const control = /http:\/\/127\.0\.0\.1:\d+(?=\/mode)/.exec(command.stdout())?.[0]
      const waiting = yield* Effect.promise(async () => {
        const headers = { "content-type": "application/json" }
        const credentials = JSON.stringify({ email: "ada@example.org", password: "lovelace" })
        const login = await fetch(`${url}/api/v1/login`, { method: "POST", headers, body: credentials })
        const { token } = (await login.json()) as { readonly token: string }
        await fetch(`${control}/mode`, { method: "PUT", body: "hang" })
        const init = {
          method: "POST",
          body: '{"message":"hello"}',
          headers: { authorization: `Bearer ${token}` }
        }
        return Array.from({ length: 5 }, () =>
          fetch(`${url}/api/v1/chat`, init).then(
            (response) => response.status,
            () => "cut off"
          )
        )
      })
      yield* Effect.promise(() =>
        vi.waitFor(
          async () => {
            const stats = await fetch(`${control}/stats`)
            expect(await stats.json()).toMatchObject({ inflight: 5 })
          },
          { timeout: 5_000, interval: 20 }
        )
      )
      command.signal("SIGTERM")
      expect(yield* command.ended).toMatchObject({ code: 130 })
      expect(children.filter(isAlive)).toEqual([])
      for (const answer of yield* Effect.promise(() => Promise.all(waiting)))
        expect([200, "cut off"]).toContain(answer)
    })
  )

  it.live("leaves no process when it is killed", () =>
    Effect.gen(function* () {
      const { children, command } = yield* started
      expect(children.filter(isAlive)).toHaveLength(processCount)
      command.signal("SIGKILL")
      expect((yield* command.ended).signal).toBe("SIGKILL")
      yield* untilGone(children, 5_000)
    })
  )

  it.live("ends when its gateway does, and says so", () =>
    Effect.gen(function* () {
      const { children, command } = yield* started
      const gateway = children.at(-1)
      process.kill(gateway ?? 0, "SIGKILL")
      const { code, stderr } = yield* command.ended
      expect([code, stderr]).toEqual([1, expect.stringContaining("the gateway ended with SIGKILL")])
      expect(children.filter(isAlive)).toEqual([])
    })
  )
})
