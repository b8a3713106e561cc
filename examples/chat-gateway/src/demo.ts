/**
 * Plays an outage against the real processes: `pnpm demo`. Exits 0 if everything went as it must.
 *
 * `--json` prints the events, one to a line. `--no-restart` leaves the killed services dead, so that the demo must fail.
 */

import { parseArgs } from "node:util"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Schedule } from "effect"
import * as Caller from "./demo/Caller.ts"
import * as Redis from "./demo/Redis.ts"
import * as Timeline from "./demo/Timeline.ts"
import * as Stack from "./Stack.ts"

const { json, "no-restart": noRestart } = parseArgs({
  options: { json: { type: "boolean", default: false }, "no-restart": { type: "boolean", default: false } }
}).values

/** Short waits, so that the demo is over in less than a minute. Everything else is as in `services.json`. */
const gatewayEnv = {
  PORT: "0",
  // Each login names an address of its own, as a proxy would.
  TRUSTED_PROXIES: "127.0.0.1/32",
  SESSION_SECRET: crypto.randomUUID(),
  SERVICES_AUTH_RETRY_BASE: "100 millis",
  SERVICES_AUTH_BREAKER_OPEN_DURATION: "5 seconds",
  SERVICES_AUTH_PROBE_EVERY: "1 second",
  SERVICES_BILLING_RETRY_BASE: "100 millis",
  SERVICES_BILLING_BREAKER_OPEN_DURATION: "5 seconds",
  SERVICES_BILLING_PROBE_EVERY: "1 second",
  CONTEXT_CACHE_TIME_TO_LIVE: "500 millis",
  CONTEXT_CACHE_PAUSE_AFTER_FAILURE: "500 millis"
}

/** Long enough for a circuit that was opened to be probed, short enough for a demo. */
const recoversWithin = "15 seconds"

/** How late every second search is: more than a chat waits for. */
const lateMillis = 5_000

/** The budget lets a tenth of the successes be tried again, and beside that five a second, for so short a time. */
const maxAdded = 0.5

/** How many ask at once for what a service does not answer, and how many of them its bulkhead takes in. */
const callers = 60
const places = 40

/** The circuits in front of Redis. */
const ofRedis = ["redis-read", "redis-write", "login-limit"]

/** What every phase works with. */
interface Stage {
  readonly caller: Caller.Caller
  readonly tell: Timeline.Tell<Caller.Unexpected>
  readonly redis: Redis.Redis
  readonly upstreams: ReadonlyArray<Stack.Upstream>
}

/** What a caller holds: a token of the auth service, a session, and a session that it ends during the outage. */
interface Held {
  readonly token: string
  readonly session: string
  readonly other: string
}

/** Repeats something until circuits are in a state. */
const waitForCircuits = (
  { caller }: Stage,
  names: ReadonlyArray<string>,
  state: string,
  between: Effect.Effect<unknown, Caller.Unexpected>
) =>
  between.pipe(
    Effect.andThen(caller.circuits),
    Effect.repeat({
      until: (circuits) => names.every((name) => circuits[name]?.state === state),
      schedule: Schedule.spaced("100 millis")
    }),
    Effect.timeoutOrElse({
      duration: recoversWithin,
      orElse: () =>
        Effect.fail(
          new Caller.Unexpected({
            message: `the circuit of ${names.join(", ")} is not ${state} within ${recoversWithin}`
          })
        )
    })
  )

const ofUpstreams = ({ upstreams }: Stage, names: ReadonlyArray<string>) =>
  upstreams.filter(({ name }) => names.includes(name))

/** Logs in too often from one address, and says where that was counted: in Redis by any gateway, or in this one. */
const exceedLimit = (stage: Stage, live: boolean) =>
  Effect.gen(function* () {
    const { caller, redis, tell } = stage
    const address = yield* caller.exceedLimit
    if (live && redis.server !== undefined) {
      const counted = yield* Effect.orDie(Redis.triesOf(redis.server, address))
      yield* Caller.expectSame(counted, 5, "the count of the login limit in Redis")
    }
    yield* tell(
      "six logins from one address",
      `5 let in, 1 refused, counted ${live ? "in Redis" : "by this process"}`
    )
  })

const healthy = (stage: Stage) =>
  Effect.gen(function* () {
    const { caller, redis, tell } = stage
    const isLive = redis.server !== undefined
    if (!isLive) yield* tell("no redis-server on the PATH", "no Redis from start to end")
    const { millis, session, token } = yield* caller.logIn
    yield* tell("all services run", `login 200, ${millis} ms`)
    const held: Held = { token, session, other: (yield* caller.logIn).session }
    yield* expectSession(stage, held.session, isLive ? "live" : "signature")
    yield* tell("session", checkedBy(isLive ? "live" : "signature"))
    yield* exceedLimit(stage, isLive)
    yield* tell(
      "chat",
      yield* Caller.expectChat(yield* caller.chat(token), "a chat while all services run", {
        charged: true,
        source: "live"
      })
    )
    return held
  })

const upstreamOf = ({ upstreams }: Stage, name: string): Effect.Effect<Stack.Upstream> => {
  const upstream = upstreams.find((upstream) => upstream.name === name)
  return upstream === undefined ? Effect.die(`no upstream ${name}`) : Effect.succeed(upstream)
}

const searchInTrouble = (stage: Stage, { token }: Held) =>
  Effect.gen(function* () {
    const { caller, tell } = stage
    const chroma = yield* upstreamOf(stage, "chroma")
    const requests = yield* chroma.requests
    yield* chroma.setMode(JSON.stringify({ mode: "stutter", delayMillis: lateMillis }))
    const hedged = yield* caller.chat(token, "who hedges a circuit")
    const hedges = "a chat while every second search is late"
    const live = yield* Caller.expectChat(hedged, hedges, { charged: true, source: "live" })
    yield* Caller.expectSame((yield* chroma.requests) - requests, 2, `the searches of ${hedges}`)
    yield* Caller.expectWithin(hedged, lateMillis / 2, hedges)
    yield* tell("search stutters, and is hedged", live)

    yield* chroma.kill
    // Longer than an answer is fresh.
    yield* Effect.sleep("600 millis")
    const same = yield* caller.chat(token)
    const stale = { charged: true, source: "stale" } as const
    yield* tell("search killed, a known question", yield* Caller.expectChat(same, "a chat on it", stale))
    const other = yield* caller.chat(token, "what is a fallback")
    const graph = { charged: true, source: "graph" } as const
    yield* tell("search killed, a new question", yield* Caller.expectChat(other, "a chat on it", graph))
    yield* chroma.restart
  })

const overload = (stage: Stage) =>
  Effect.gen(function* () {
    const { caller, tell } = stage
    const external = yield* upstreamOf(stage, "external")
    yield* external.setMode("hang")
    const replies = yield* Effect.replicateEffect(caller.externalData("0.8"), callers, {
      concurrency: "unbounded"
    })
    yield* external.setMode("ok")
    const shed = replies.filter(({ status }) => status === 503)
    const late = replies.filter(({ status }) => status === 504)
    const what = "callers of a service that hangs"
    yield* Caller.expectSame(shed.length + late.length, callers, `${what}, turned away`)
    yield* Caller.expectSame(
      shed.length >= callers - places ? "shed" : "let in",
      "shed",
      `${what}, without a place`
    )
    const slowest = Math.max(...late.map(({ millis }) => millis))
    yield* tell(
      `external hangs, ${callers} callers`,
      `${shed.length} turned away by the bulkhead, ${late.length} let go at their deadline of 800 ms, in ${slowest} ms`
    )
  })

const checkedBy = (checked: Caller.CheckedBy): string =>
  ({
    live: "session checked live, in Redis",
    stale: "session checked by what Redis said before",
    signature: "session checked by its signature alone",
    refused: "session refused, 401"
  })[checked]

const expectSession = ({ caller }: Stage, session: string, expected: Caller.CheckedBy) =>
  Effect.flatMap(caller.checkSession(session), (got) =>
    Caller.expectSame(got, expected, "the check of a session")
  )

const redisAway = (stage: Stage, held: Held) =>
  Effect.gen(function* () {
    const { caller, redis, tell } = stage
    if (redis.server !== undefined) {
      yield* redis.server.kill
      yield* expectSession(stage, held.session, "stale")
      yield* tell("Redis killed", checkedBy("stale"))
      yield* exceedLimit(stage, false)
      yield* waitForCircuits(
        stage,
        ofRedis,
        "open",
        Effect.andThen(caller.logIn, caller.checkSession(held.session))
      )
    }
    const { millis, session } = yield* caller.logIn
    yield* expectSession(stage, session, "signature")
    yield* tell("login without Redis", `login 200, ${millis} ms, ${checkedBy("signature")}`)
    const loggedOut = yield* caller.logOut(held.other)
    yield* Caller.expect(loggedOut, 503, "a logout without Redis")
    yield* expectSession(stage, held.other, "refused")
    yield* tell("logout without Redis", "logout 503, but refused by this gateway")
  })

const billingAway = (stage: Stage, { token }: Held) =>
  Effect.gen(function* () {
    const { caller, tell } = stage
    const chat = caller.chat(token)
    yield* Effect.forEach(ofUpstreams(stage, ["billing"]), ({ kill }) => kill)
    const uncharged = { charged: false, source: "live" } as const
    yield* tell("billing killed", yield* Caller.expectChat(yield* chat, "a chat without billing", uncharged))
    yield* waitForCircuits(stage, ["billing"], "open", chat)
    const rejected = yield* chat
    const what = "a chat while billing's circuit is open"
    yield* Caller.expectFast(rejected, what)
    yield* tell("billing's circuit opened", yield* Caller.expectChat(rejected, what, uncharged))
  })

const authAway = (stage: Stage, { session, token }: Held) =>
  Effect.gen(function* () {
    const { caller, redis, tell } = stage
    yield* Effect.forEach(ofUpstreams(stage, ["auth"]), ({ kill }) => kill)
    yield* waitForCircuits(stage, ["auth"], "open", caller.checkToken(token))
    const lockedOut = yield* caller.tryToLogIn
    yield* Caller.expect(lockedOut, 503, "a login while auth's circuit is open")
    yield* Caller.expectFast(lockedOut, "a login while auth's circuit is open")
    yield* tell("auth killed, its circuit opened", `login 503, ${lockedOut.millis} ms`)
    const unknown = yield* caller.checkToken(token)
    yield* Caller.expect(unknown, 401, "a token check while auth is down")
    yield* tell("token check without auth", `token check 401, ${unknown.millis} ms`)
    const expected = redis.server === undefined ? "signature" : "stale"
    yield* expectSession(stage, session, expected)
    yield* tell("session without auth and Redis", checkedBy(expected))
  })

const recovery = (stage: Stage, held: Held) =>
  Effect.gen(function* () {
    const { caller, redis, tell } = stage
    const isLive = redis.server !== undefined
    const killed = isLive ? "Redis, auth and billing" : "auth and billing"
    if (!noRestart) {
      yield* Effect.forEach(ofUpstreams(stage, ["auth", "billing"]), ({ restart }) => restart)
      if (redis.server !== undefined) yield* redis.server.restart
    }
    yield* tell(noRestart ? "nothing restarted" : `${killed} restarted`, "no caller, only probes")
    for (const name of ["auth", "billing"]) yield* waitForCircuits(stage, [name], "closed", Effect.void)
    if (isLive) yield* waitForCircuits(stage, ofRedis, "closed", Effect.void)
    yield* tell("circuits closed by themselves", "no caller, only probes")
    if (isLive) {
      yield* expectSession(stage, held.session, "live")
      yield* tell("session", checkedBy("live"))
      yield* Caller.expect(yield* caller.logOut(held.other), 204, "a logout after the outage")
      yield* tell("logout again", "logout 204, refused by all")
      yield* exceedLimit(stage, true)
    }
    yield* tell(
      "chat",
      yield* Caller.expectChat(yield* caller.chat(held.token), "a chat after the outage", {
        charged: true,
        source: "live"
      })
    )
  })

/** What retries and hedges added: one budget pays for all of them, so an outage of several services does not add up. */
const cost = ({ caller, tell }: Stage) =>
  Effect.gen(function* () {
    const { added, first } = yield* caller.attempts
    const share = added / first
    yield* Caller.expectSame(
      added > 0 && share <= maxAdded ? "some" : `${added} of ${first}`,
      "some",
      "retries"
    )
    yield* tell("what it took", `${first} attempts, and ${added} more by retries and hedges`)
  })

const play = Effect.gen(function* () {
  const redis = yield* Redis.start
  const { upstreams, url } = yield* Stack.start({
    gatewayEnv: { ...gatewayEnv, ...redis.env },
    print: () => {}
  })
  const caller = Caller.make(url)
  const stage: Stage = { caller, redis, upstreams, tell: yield* Timeline.make(caller.circuits, json) }
  const held = yield* healthy(stage)
  yield* searchInTrouble(stage, held)
  yield* overload(stage)
  yield* redisAway(stage, held)
  yield* billingAway(stage, held)
  yield* authAway(stage, held)
  yield* recovery(stage, held)
  yield* cost(stage)
})

const program = Effect.scoped(play).pipe(
  Effect.andThen(json ? Effect.void : Console.log("\nEvery phase went as it must.")),
  Effect.tapError((error) => Effect.sync(() => console.error(`\nThe demo failed: ${error.message}`)))
)

NodeRuntime.runMain(program, { disableErrorReporting: true })
