/**
 * Plays an outage against the real processes: `pnpm demo`. Exits 0 if everything went as it must.
 *
 * `--json` prints the events, one to a line. `--no-restart` leaves the killed services dead, so that the demo must fail.
 */

import { parseArgs } from "node:util"
import { NodeRuntime } from "@effect/platform-node"
import { Clock, Console, Effect, Schedule, Schema } from "effect"
import * as Stack from "./Stack.ts"

const { json, "no-restart": noRestart } = parseArgs({
  options: { json: { type: "boolean", default: false }, "no-restart": { type: "boolean", default: false } }
}).values

/** Short waits, so that the demo is over in less than a minute. Everything else is as in `services.json`. */
const gatewayEnv = {
  PORT: "0",
  SERVICES_AUTH_RETRY_BASE: "100 millis",
  SERVICES_AUTH_BREAKER_OPEN_DURATION: "5 seconds",
  SERVICES_AUTH_PROBE_EVERY: "1 second",
  SERVICES_BILLING_RETRY_BASE: "100 millis",
  SERVICES_BILLING_BREAKER_OPEN_DURATION: "5 seconds",
  SERVICES_BILLING_PROBE_EVERY: "1 second"
}

/** Long enough for a circuit that was opened to be probed, short enough for a demo. */
const recoversWithin = "15 seconds"

/** A circuit that is open answers at once; this is generous for a machine that is busy. */
const fastMillis = 250

/** What a phase of the demo expected and did not see. */
class Unexpected extends Schema.TaggedError<Unexpected>()("Unexpected", { message: Schema.String }) {}

const Circuits = Schema.Struct({
  services: Schema.Record(
    Schema.String,
    Schema.Struct({ state: Schema.Literals(["closed", "open", "half_open"]) })
  )
})
const Session = Schema.Struct({ token: Schema.String })
const ChatAnswer = Schema.Struct({
  charged: Schema.Boolean,
  context: Schema.Struct({ source: Schema.String })
})

/** One observed reply of the gateway. */
interface Reply {
  readonly status: number
  readonly body: unknown
  readonly millis: number
}

type Circuits = typeof Circuits.Type.services

/** One line of the timeline. */
interface Event {
  readonly atMillis: number
  readonly event: string
  readonly circuits: Circuits
  readonly got: string
}

const play = Effect.gen(function* () {
  const started = yield* Clock.currentTimeMillis
  const { upstreams, url } = yield* Stack.start({ gatewayEnv, print: () => {} })

  const request = (path: string, init?: RequestInit): Effect.Effect<Reply, Unexpected> =>
    Effect.gen(function* () {
      const before = yield* Clock.currentTimeMillis
      const reply = yield* Effect.tryPromise({
        try: async (signal) => {
          const response = await fetch(`${url}${path}`, { ...init, signal })
          const body: unknown = await response.json()
          return { status: response.status, body }
        },
        catch: () => new Unexpected({ message: `the gateway did not answer ${path}` })
      }).pipe(Effect.timeoutOrElse({ duration: "15 seconds", orElse: () => unanswered(path) }))
      return { ...reply, millis: (yield* Clock.currentTimeMillis) - before }
    })

  const post = (path: string, body: unknown, token?: string) =>
    request(path, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json", ...authorization(token) }
    })
  const logIn = post("/api/v1/login", { email: "ada@example.org", password: "lovelace" })
  const checkToken = (token: string) => request("/api/v1/me", { headers: authorization(token) })
  const chat = (token: string) => post("/api/v1/chat", { message: "what does an open circuit do" }, token)
  const circuits = Effect.flatMap(request("/health/circuit-breaker"), ({ body }) => decode(Circuits, body))

  const tell = (event: string, got: string) =>
    Effect.gen(function* () {
      const { services } = yield* circuits
      const atMillis = (yield* Clock.currentTimeMillis) - started
      yield* Console.log(
        json
          ? JSON.stringify({ atMillis, event, circuits: services, got })
          : line({ atMillis, event, circuits: services, got })
      )
    })
  const kill = (name: string) =>
    Effect.forEach(
      upstreams.filter((upstream) => upstream.name === name),
      ({ kill }) => kill
    )
  const waitForCircuit = (name: string, state: string, between: Effect.Effect<unknown, Unexpected>) =>
    between.pipe(
      Effect.andThen(circuits),
      Effect.repeat({
        until: ({ services }) => services[name]?.state === state,
        schedule: Schedule.spaced("100 millis")
      }),
      Effect.timeoutOrElse({
        duration: recoversWithin,
        orElse: () =>
          Effect.fail(
            new Unexpected({ message: `the circuit of ${name} is not ${state} within ${recoversWithin}` })
          )
      })
    )

  if (!json) yield* Console.log(header)

  const login = yield* logIn
  yield* expect(login, 200, "a login")
  const { token } = yield* decode(Session, login.body)
  yield* tell("all services run", `login ${login.status}, ${login.millis} ms`)

  const healthy = yield* chat(token)
  yield* expectChat(healthy, true, "a chat while all services run")
  yield* tell("chat", chatted(healthy))

  yield* kill("billing")
  const uncharged = yield* chat(token)
  yield* expectChat(uncharged, false, "a chat without billing")
  yield* tell("billing killed", chatted(uncharged))

  yield* waitForCircuit("billing", "open", chat(token))
  const rejected = yield* chat(token)
  yield* expectChat(rejected, false, "a chat while billing's circuit is open")
  yield* expectFast(rejected, "a chat while billing's circuit is open")
  yield* tell("billing's circuit opened", chatted(rejected))

  yield* kill("auth")
  yield* waitForCircuit("auth", "open", checkToken(token))
  const lockedOut = yield* logIn
  yield* expect(lockedOut, 503, "a login while auth's circuit is open")
  yield* expectFast(lockedOut, "a login while auth's circuit is open")
  yield* tell("auth killed, its circuit opened", `login ${lockedOut.status}, ${lockedOut.millis} ms`)

  const unknown = yield* checkToken(token)
  yield* expect(unknown, 401, "a token check while auth is down")
  yield* tell("token check without auth", `${unknown.status}, ${unknown.millis} ms`)

  if (!noRestart) {
    yield* Effect.forEach(
      upstreams.filter(({ name }) => name === "auth" || name === "billing"),
      ({ restart }) => restart
    )
  }
  yield* tell(noRestart ? "nothing restarted" : "auth and billing restarted", "no caller, only probes")
  yield* waitForCircuit("auth", "closed", Effect.void)
  yield* waitForCircuit("billing", "closed", Effect.void)
  yield* tell("circuits closed by themselves", "no caller, only probes")

  const again = yield* chat(token)
  yield* expectChat(again, true, "a chat after the outage")
  yield* tell("chat", chatted(again))
})

const unanswered = (path: string) => Effect.fail(new Unexpected({ message: `no answer to ${path} in time` }))

const authorization = (token?: string) => (token === undefined ? {} : { authorization: `Bearer ${token}` })

const decode = <A>(schema: Schema.ConstraintDecoder<A>, body: unknown): Effect.Effect<A, Unexpected> =>
  Effect.mapError(
    Schema.decodeUnknownEffect(schema)(body),
    (error) => new Unexpected({ message: `an answer is not as expected: ${error.message}` })
  )

const expect = (reply: Reply, status: number, what: string): Effect.Effect<void, Unexpected> =>
  reply.status === status
    ? Effect.void
    : Effect.fail(new Unexpected({ message: `${what} got ${reply.status}, expected ${status}` }))

const expectFast = (reply: Reply, what: string): Effect.Effect<void, Unexpected> =>
  reply.millis <= fastMillis
    ? Effect.void
    : Effect.fail(
        new Unexpected({ message: `${what} took ${reply.millis} ms, expected at most ${fastMillis} ms` })
      )

const expectChat = (reply: Reply, charged: boolean, what: string): Effect.Effect<void, Unexpected> =>
  Effect.gen(function* () {
    yield* expect(reply, 200, what)
    const answer = yield* decode(ChatAnswer, reply.body)
    if (answer.charged !== charged) {
      return yield* new Unexpected({ message: `${what} was ${answer.charged ? "" : "not "}charged` })
    }
  })

const chatted = ({ body, millis, status }: Reply): string => {
  const answer = Schema.decodeUnknownSync(ChatAnswer)(body)
  return `chat ${status}, ${answer.charged ? "charged" : "not charged"}, context ${answer.context.source}, ${millis} ms`
}

const columns = [9, 34, 34]
const row = (cells: ReadonlyArray<string>) =>
  cells.map((cell, index) => cell.padEnd(columns[index] ?? 0)).join("")
const header = row(["time", "event", "circuits not closed", "what a caller got"])

const line = ({ atMillis, circuits, event, got }: Event): string => {
  const troubled = Object.entries(circuits).flatMap(([name, { state }]) =>
    state === "closed" ? [] : `${name} ${state}`
  )
  return row([`${(atMillis / 1000).toFixed(1)} s`, event, troubled.join(", ") || "none", got])
}

const program = Effect.scoped(play).pipe(
  Effect.andThen(json ? Effect.void : Console.log("\nEvery phase went as it must.")),
  Effect.tapError((error) => Effect.sync(() => console.error(`\nThe demo failed: ${error.message}`)))
)

NodeRuntime.runMain(program, { disableErrorReporting: true })
