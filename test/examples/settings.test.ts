/**
 * A gateway that is set up wrong does not start: it names what is wrong, its value and what is allowed, and ends.
 */
import { once } from "node:events"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { type AddressInfo, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { vi } from "vitest"
import { type Command, descendantsOf, isAlive, processCount, run } from "./commands.ts"
import { serviceNames, shipped } from "./inProcess.ts"

vi.setConfig({ testTimeout: 40_000, maxConcurrency: 3 })

/** A file that is there as long as the test. */
const fileWith = (content: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "failsoft-"))
      const file = join(folder, "services.json")
      writeFileSync(file, content)
      return { folder, file }
    }),
    ({ folder }) => Effect.sync(() => rmSync(folder, { recursive: true }))
  ).pipe(Effect.map(({ file }) => file))

const tableWith = (change: (services: Record<string, Record<string, unknown>>) => void): string => {
  const services = structuredClone(shipped) as unknown as Record<string, Record<string, unknown>>
  change(services)
  return JSON.stringify({ services })
}

/** A port that something else listens on. */
const takenPort = Effect.acquireRelease(
  Effect.promise(async () => {
    const server = createServer().listen(0, "127.0.0.1")
    await once(server, "listening")
    return server
  }),
  (server) => Effect.sync(() => server.close())
).pipe(Effect.map((server) => (server.address() as AddressInfo).port))

/** Ends by itself, soon, with one message that says all that is expected of it. */
const refusal = (command: Command, says: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const { code, signal, stderr, stdout } = yield* command.ended
    expect([code, signal]).toEqual([1, null])
    for (const text of says) expect(stderr).toContain(text)
    expect(stderr, "a stack trace").not.toMatch(/^\s+at .*:\d+:\d+/m)
    return { stdout, stderr }
  })

describe.concurrent("a gateway that is set up wrong ends with a message about", () => {
  const wrong: ReadonlyArray<
    readonly [what: string, env: Readonly<Record<string, string>>, says: ReadonlyArray<string>]
  > = [
    ["a port", { PORT: "http" }, ["PORT", '"http"', "a port from 0 to 65535"]],
    ["a port that is too high", { PORT: "65536" }, ["PORT", '"65536"', "a port from 0 to 65535"]],
    ["a deadline", { REQUEST_DEADLINE: "soon" }, ["REQUEST_DEADLINE", '"soon"', '"500 millis"']],
    ["a format", { ERROR_FORMAT: "xml" }, ["ERROR_FORMAT", '"xml"', "problem or envelope"]],
    ["a network", { TRUSTED_PROXIES: "10.0.0.0/8,lan" }, ["TRUSTED_PROXIES", "lan", "10.0.0.0/8"]],
    ["a number", { SERVICES_BILLING_RETRY_ATTEMPTS: "two" }, ["billing", "attempts", '"two"', "a number"]],
    [
      "a number out of range",
      { SERVICES_BILLING_RETRY_ATTEMPTS: "0" },
      ["billing", "attempts", " 0", "a whole number from 1 to 100"]
    ],
    [
      "a threshold",
      { SERVICES_AUTH_BREAKER_FAILURES: "2.5" },
      ["auth", "failures", "2.5", "a whole number from 1 to 1000000"]
    ],
    [
      "a duration",
      { SERVICES_GIT_BREAKER_OPEN_DURATION: "a while" },
      ["git", "openDuration", '"a while"', "seconds"]
    ],
    ["a duration of nothing", { SERVICES_GIT_DEADLINE: "0" }, ["git", "deadline", "longer than 0"]],
    ["a switch", { SERVICES_CHROMA_ENABLED: "maybe" }, ["chroma", "enabled", '"maybe"', "true or false"]],
    ["a jitter", { SERVICES_AUTH_RETRY_JITTER: "some" }, ["auth", "jitter", '"some"', "none, full, equal"]],
    [
      "a URL",
      { SERVICES_AUTH_URL: "auth.internal" },
      ["auth", "url", '"auth.internal"', "http or https URL"]
    ],
    ["a file that is not there", { SERVICES_FILE: "/nowhere.json" }, ["/nowhere.json", "cannot be read"]],
    ["a file that is a folder", { SERVICES_FILE: tmpdir() }, [tmpdir(), "cannot be read"]]
  ]
  for (const [what, env, says] of wrong) {
    it.live(what, () =>
      Effect.gen(function* () {
        const { stderr } = yield* refusal(yield* run("gateway/main", { env: { PORT: "0", ...env } }), says)
        expect(stderr).toMatch(/^cannot start: /)
      })
    )
  }

  const tables: ReadonlyArray<readonly [what: string, table: string, says: ReadonlyArray<string>]> = [
    ["a table that is no JSON", '{"services":', ["JSON"]],
    ["a table that is another", "[]", ["object"]],
    [
      "an entry of the wrong type",
      tableWith(({ billing }) => Object.assign(billing ?? {}, { attemptTimeout: "never" })),
      ["billing", "attemptTimeout", '"never"', "seconds"]
    ],
    [
      "an unknown field",
      tableWith(({ billing }) => Object.assign(billing ?? {}, { attemptTimout: 5 })),
      ["billing", "attemptTimout", "allowed: ", "attemptTimeout"]
    ],
    [
      "an unknown field of a stage",
      tableWith(({ git }) => Object.assign(git ?? {}, { breaker: { failuers: 5 } })),
      ["git", "breaker", "failuers", "allowed: ", "failures"]
    ],
    [
      "an unknown service",
      tableWith((services) => Object.assign(services, { mail: services.git })),
      ["mail", `allowed: ${serviceNames.join(", ")}`]
    ],
    ["a service that is missing", tableWith((services) => delete services.git), ["git"]],
    ["a URL that is missing", tableWith(({ git }) => delete git?.url), ["git", "url"]]
  ]
  for (const [what, table, says] of tables) {
    it.live(what, () =>
      Effect.gen(function* () {
        const file = yield* fileWith(table)
        const command = yield* run("gateway/main", { env: { PORT: "0", SERVICES_FILE: file } })
        expect((yield* refusal(command, says)).stderr).toMatch(/^cannot start: /)
      })
    )
  }

  it.live("a port in use", () =>
    Effect.gen(function* () {
      const port = yield* takenPort
      yield* refusal(yield* run("gateway/main", { env: { PORT: `${port}` } }), ["PORT", `${port}`, "in use"])
    })
  )

  it.live("an address that is not this machine's", () =>
    Effect.gen(function* () {
      const command = yield* run("gateway/main", { env: { PORT: "0", HOST: "203.0.113.1" } })
      yield* refusal(command, ["HOST", "203.0.113.1"])
    })
  )

  it.live("a URL with a password, which it does not repeat", () =>
    Effect.gen(function* () {
      const env = { PORT: "0", SERVICES_AUTH_URL: "http://me:canary@auth.internal" }
      const { stderr, stdout } = yield* refusal(yield* run("gateway/main", { env }), ["auth", "url"])
      expect(stderr + stdout).not.toContain("canary")
    })
  )
})

describe.concurrent("start ends with what its gateway says, and leaves no process, after", () => {
  it.live("a wrong variable", () =>
    Effect.gen(function* () {
      const command = yield* run("start", { env: { PORT: "99999" } })
      yield* leavesNone(command, ["PORT", '"99999"', "a port from 0 to 65535"])
    })
  )

  it.live("a wrong table", () =>
    Effect.gen(function* () {
      const file = yield* fileWith(tableWith(({ auth }) => Object.assign(auth ?? {}, { retries: 3 })))
      yield* leavesNone(yield* run("start", { env: { PORT: "0", SERVICES_FILE: file } }), [
        file,
        "auth",
        "retries"
      ])
    })
  )

  it.live("a port in use", () =>
    Effect.gen(function* () {
      const port = yield* takenPort
      yield* leavesNone(yield* run("start", { env: { PORT: `${port}` } }), ["PORT", `${port}`, "in use"])
    })
  )

  const leavesNone = (command: Command, says: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const seen = new Set<number>()
      const look = setInterval(() => {
        for (const pid of descendantsOf(command.pid)) seen.add(pid)
      }, 20)
      yield* refusal(command, says)
      clearInterval(look)
      expect(seen.size).toBeGreaterThanOrEqual(processCount)
      expect([...seen].filter(isAlive)).toEqual([])
    })
})
