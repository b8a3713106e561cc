/**
 * Someone who calls the gateway, and who knows what each phase of the demo must look like.
 */
import { Clock, Effect, Schema } from "effect"

/** What a phase of the demo expected and did not see. */
export class Unexpected extends Schema.TaggedError<Unexpected>()("Unexpected", { message: Schema.String }) {}

/** One observed reply of the gateway. */
export interface Reply {
  readonly status: number
  readonly body: unknown
  readonly millis: number
}

const Circuits = Schema.Struct({
  services: Schema.Record(
    Schema.String,
    Schema.Struct({ state: Schema.Literals(["closed", "open", "half_open"]) })
  )
})

/** The state of each circuit by its name. */
export type Circuits = typeof Circuits.Type.services

/** What a login gives: the token of the auth service, and that of a session. */
const LoggedIn = Schema.Struct({ token: Schema.String, session: Schema.String })

const Checked = Schema.Struct({ checked: Schema.Literals(["live", "stale", "signature"]) })

/** How a session was checked, or that it was refused. */
export type CheckedBy = typeof Checked.Type.checked | "refused"

const Chatted = Schema.Struct({
  charged: Schema.Boolean,
  context: Schema.Struct({ source: Schema.String })
})

/** A circuit that is open answers at once; this is generous for a machine that is busy. */
const fastMillis = 250

const triesAMinute = 5

/** Calls a gateway. */
export const make = (url: string) => {
  const request = (path: string, init?: RequestInit): Effect.Effect<Reply, Unexpected> =>
    Effect.gen(function* () {
      const before = yield* Clock.currentTimeMillis
      const reply = yield* Effect.tryPromise({
        try: async (signal) => {
          const response = await fetch(`${url}${path}`, { ...init, signal })
          const text = await response.text()
          const body: unknown = text === "" ? undefined : JSON.parse(text)
          return { status: response.status, body }
        },
        catch: () => new Unexpected({ message: `the gateway did not answer ${path}` })
      }).pipe(
        Effect.timeoutOrElse({
          duration: "15 seconds",
          orElse: () => Effect.fail(new Unexpected({ message: `no answer to ${path} in time` }))
        })
      )
      return { ...reply, millis: (yield* Clock.currentTimeMillis) - before }
    })

  const metrics = Effect.tryPromise({
    try: async (signal) => (await fetch(`${url}/metrics`, { signal })).text(),
    catch: () => new Unexpected({ message: "the gateway did not answer /metrics" })
  })

  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    request(path, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json", ...headers }
    })

  /** Each login comes from an address that nobody used before, so that the limit is met only where it is meant to be. */
  let addresses = 0
  const nextAddress = (): string => `10.0.0.${++addresses}`
  const logInFrom = (address: string) =>
    post("/api/v1/login", { email: "ada@example.org", password: "lovelace" }, { "x-forwarded-for": address })

  return {
    /** Asks to log in, whatever comes of it. */
    tryToLogIn: Effect.suspend(() => logInFrom(nextAddress())),
    /** Logs in. */
    logIn: Effect.gen(function* () {
      const reply = yield* logInFrom(nextAddress())
      yield* expect(reply, 200, "a login")
      return { ...(yield* decode(LoggedIn, reply.body)), millis: reply.millis }
    }),
    /** Logs in once more than an address may, and gives the address. */
    exceedLimit: Effect.gen(function* () {
      const address = nextAddress()
      const replies = yield* Effect.replicateEffect(logInFrom(address), triesAMinute + 1)
      yield* Effect.forEach(replies, (reply, index) =>
        expect(reply, index < triesAMinute ? 200 : 429, `login ${index + 1} of an address`)
      )
      return address
    }),
    checkToken: (token: string) => request("/api/v1/me", { headers: authorization(token) }),
    /** How a session is checked. */
    checkSession: Effect.fnUntraced(function* (session: string) {
      const reply = yield* request("/api/v1/session", { headers: authorization(session) })
      if (reply.status === 401) return "refused"
      yield* expect(reply, 200, "the check of a session")
      return (yield* decode(Checked, reply.body)).checked
    }),
    logOut: (session: string) =>
      request("/api/v1/session", { method: "DELETE", headers: authorization(session) }),
    chat: (token: string, message = "what does an open circuit do") =>
      post("/api/v1/chat", { message }, authorization(token)),
    /** Asks for external data, and says for how long it will wait. */
    externalData: (patience: string) =>
      request("/api/v1/data/weather", { headers: { "x-request-timeout": patience } }),
    /** How many attempts the gateway has made at the six services: those of calls, and those that retries and hedges added. */
    attempts: Effect.map(metrics, (text) => {
      const sum = (kind: string) =>
        [
          ...text.matchAll(
            new RegExp(`^failsoft_attempts_total{policy="(?!redis).*kind="${kind}".*} (\\d+)$`, "gm")
          )
        ].reduce((sum, [, count]) => sum + Number(count), 0)
      return { first: sum("first"), added: sum("retry") + sum("hedge") }
    }),
    circuits: Effect.flatMap(request("/health/circuit-breaker"), ({ body }) =>
      Effect.map(decode(Circuits, body), ({ services }) => services)
    )
  }
}

/** Calls a gateway. */
export type Caller = ReturnType<typeof make>

const authorization = (token: string) => ({ authorization: `Bearer ${token}` })

const decode = <A>(schema: Schema.ConstraintDecoder<A>, body: unknown): Effect.Effect<A, Unexpected> =>
  Effect.mapError(
    Schema.decodeUnknownEffect(schema)(body),
    (error) => new Unexpected({ message: `an answer is not as expected: ${error.message}` })
  )

/** Fails unless a reply has a status. */
export const expect = (reply: Reply, status: number, what: string): Effect.Effect<void, Unexpected> =>
  expectSame(reply.status, status, what)

/** Fails unless something is as it must be. */
export const expectSame = <A extends string | number>(
  got: A,
  expected: A,
  what: string
): Effect.Effect<void, Unexpected> =>
  got === expected
    ? Effect.void
    : Effect.fail(new Unexpected({ message: `${what} got ${got}, expected ${expected}` }))

/** Fails if a reply was slow for one that asks nobody. */
export const expectFast = (reply: Reply, what: string): Effect.Effect<void, Unexpected> =>
  expectWithin(reply, fastMillis, what)

/** Fails if a reply took longer. */
export const expectWithin = (reply: Reply, millis: number, what: string): Effect.Effect<void, Unexpected> =>
  reply.millis <= millis
    ? Effect.void
    : Effect.fail(
        new Unexpected({ message: `${what} took ${reply.millis} ms, expected at most ${millis} ms` })
      )

/** Fails unless a chat was answered, charged or not, from a source. Succeeds with what to tell of it. */
export const expectChat = (
  reply: Reply,
  what: string,
  expected: { readonly charged: boolean; readonly source: "live" | "stale" | "graph" }
): Effect.Effect<string, Unexpected> =>
  Effect.gen(function* () {
    yield* expect(reply, 200, what)
    const { charged, context } = yield* decode(Chatted, reply.body)
    const tell = (charged: boolean, source: string) =>
      `${charged ? "charged" : "not charged"}, context ${source}`
    const got = tell(charged, context.source)
    yield* expectSame(got, tell(expected.charged, expected.source), what)
    return `chat 200, ${got}, ${reply.millis} ms`
  })
