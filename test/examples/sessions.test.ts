/**
 * Sessions over sockets, with a real Redis that is killed, restarted, stopped, filled and closed to the gateway.
 */
import { createHmac } from "node:crypto"
import { describe, expect, it } from "@effect/vitest"
import { RedisServer } from "@failsoft/testing"
import { Effect, Logger } from "effect"
import { TestClock } from "effect/testing"
import * as RevokedHere from "failsoft-example-chat-gateway/gateway/RevokedHere"
import { vi } from "vitest"
import { bearer, callsOf, eventually, logIn, type Running, start } from "./inProcess.ts"
import { begin, checkedBy, healthOf, logOut, secret, startWith, untilBack } from "./withRedis.ts"

vi.setConfig({ testTimeout: 20_000, maxConcurrency: 4 })

const sidOf = (session: string): string =>
  JSON.parse(Buffer.from(session.split(".")[1] ?? "", "base64url").toString()).sid

const keyOf = (session: string): string => `session:${sidOf(session)}`

describe.concurrent("a session", () => {
  it.live("is known to Redis until its token ends, and says whose it is", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server)
      const session = yield* begin(gateway)
      const reply = yield* gateway.send("/api/v1/session", { headers: bearer(session) })
      expect([reply.status, reply.body]).toEqual([
        200,
        { userId: "user-1", email: "ada@example.org", checked: "live", endsAt: expect.any(String) }
      ])
      const { endsAt } = reply.body as { readonly endsAt: string }
      const left = Date.parse(endsAt) - Date.now()
      expect(left).toBeGreaterThan(14.5 * 60_000)
      expect(left).toBeLessThanOrEqual(15 * 60_000 + 1_000)

      const hash = yield* server.command("HGETALL", keyOf(session))
      expect(hash).toEqual([
        "userId",
        "user-1",
        "email",
        "ada@example.org",
        "startedAt",
        expect.stringMatching(/^\d{4}-\d\d-\d\dT/)
      ])
      const ttl = Number(yield* server.command("PTTL", keyOf(session)))
      expect(Math.abs(ttl - left)).toBeLessThan(1_000)
    })
  )

  it.live("opens what a token of the auth service opens, without asking that, and with it down", () =>
    Effect.gen(function* () {
      const gateway = yield* startWith(yield* RedisServer.make())
      const session = yield* begin(gateway)
      const calls = callsOf(gateway, "auth")
      yield* gateway.setMode("auth", "refuse")
      for (const headers of [bearer(session), { cookie: `token=${session}` }]) {
        const me = yield* gateway.send("/api/v1/me", { headers })
        expect([me.status, me.body]).toEqual([200, { userId: "user-1", email: "ada@example.org" }])
      }
      const body = JSON.stringify({ message: "circuit" })
      const chat = yield* gateway.send("/api/v1/chat", { method: "POST", body, headers: bearer(session) })
      expect([chat.status, chat.body]).toMatchObject([200, { charged: true }])
      expect(callsOf(gateway, "auth")).toBe(calls)
    })
  )

  it.live("is refused once it is revoked, in every process, and its revocation ends with its token", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const [here, there] = [yield* startWith(server), yield* startWith(server)]
      const session = yield* begin(here)
      expect([yield* checkedBy(here, session), yield* checkedBy(there, session)]).toEqual(["live", "live"])
      expect((yield* logOut(here, session)).status).toBe(204)
      expect([yield* checkedBy(here, session), yield* checkedBy(there, session)]).toEqual([401, 401])
      const me = yield* there.send("/api/v1/me", { headers: bearer(session) })
      expect([me.status, me.headers.get("www-authenticate")]).toEqual([401, "Bearer"])
      // Again is no error, and it is marked, not deleted.
      expect((yield* logOut(there, session)).status).toBe(204)
      expect(yield* server.command("HEXISTS", keyOf(session), "revoked")).toBe(1)
      expect(Number(yield* server.command("PTTL", keyOf(session)))).toBeGreaterThan(0)
    })
  )

  it.live("ends with its token, in Redis too", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server, { env: { SESSION_LIFETIME: "1" } })
      const session = yield* begin(gateway)
      expect(yield* checkedBy(gateway, session)).toBe("live")
      yield* eventually(async () => {
        expect(await Effect.runPromise(checkedBy(gateway, session))).toBe(401)
      })
      yield* eventually(async () => {
        expect(await Effect.runPromise(server.command("EXISTS", keyOf(session)))).toBe(0)
      })
      expect((yield* logOut(gateway, session)).status).toBe(401)
    })
  )

  it.live("is refused where Redis knows nothing of it: what is lost may have been revoked", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server)
      const session = yield* begin(gateway)
      yield* server.command("DEL", keyOf(session))
      expect(yield* checkedBy(gateway, session)).toBe(401)
    })
  )
})

const encoded = (json: object): string => Buffer.from(JSON.stringify(json)).toString("base64url")

const signed = (header: object, claims: object, key = secret): string => {
  const text = `${encoded(header)}.${encoded(claims)}`
  return `${text}.${createHmac("sha256", key).update(text).digest("base64url")}`
}

describe.concurrent("a token that was not begun here", () => {
  const soon = Math.floor(Date.now() / 1000) + 600
  const hs256 = { alg: "HS256", typ: "JWT" }
  const claims = {
    iss: "failsoft-chat-gateway",
    sub: "user-1",
    email: "ada@example.org",
    sid: crypto.randomUUID(),
    exp: soon,
    stateless: true
  }
  const forged: Readonly<Record<string, string>> = {
    "signed with another secret": signed(hs256, claims, "x".repeat(40)),
    "not signed": `${encoded({ alg: "none" })}.${encoded(claims)}.`,
    "signed by another algorithm's name": signed({ alg: "HS512" }, claims),
    "with a signature that was cut": signed(hs256, claims).slice(0, -4),
    "with claims that were changed": signed(hs256, claims).replace(
      encoded(claims),
      encoded({ ...claims, sub: "user-2" })
    ),
    "that has ended": signed(hs256, { ...claims, exp: soon - 1_200 }),
    "without an end": signed(hs256, { ...claims, exp: undefined }),
    "without a session": signed(hs256, { ...claims, sid: undefined }),
    "with an end that is no time": signed(hs256, { ...claims, exp: "later" })
  }

  it.live("is refused, and never sent to the auth service, if it says that it is ours", () =>
    Effect.gen(function* () {
      const gateway = yield* start({ env: { REDIS_ENABLED: "false", SESSION_SECRET: secret } })
      expect(yield* checkedBy(gateway, signed(hs256, claims))).toBe("signature")
      for (const [what, token] of Object.entries(forged)) {
        expect([what, yield* checkedBy(gateway, token)]).toEqual([what, 401])
        const me = yield* gateway.send("/api/v1/me", { headers: bearer(token) })
        expect([what, me.status]).toEqual([what, 401])
        expect([what, (yield* logOut(gateway, token)).status]).toEqual([what, 401])
      }
      expect(callsOf(gateway, "auth")).toBe(0)
    })
  )

  it.live("goes to the auth service if it is another's, and is no session", () =>
    Effect.gen(function* () {
      const gateway = yield* start({ env: { REDIS_ENABLED: "false", SESSION_SECRET: secret } })
      const others = [signed(hs256, { ...claims, iss: "somebody" }), "a.b.c", "token", `${encoded(hs256)}..`]
      for (const [index, token] of others.entries()) {
        const me = yield* gateway.send("/api/v1/me", { headers: bearer(token) })
        expect([me.status, callsOf(gateway, "auth")]).toEqual([401, index + 1])
        expect(yield* checkedBy(gateway, token)).toBe(401)
      }
    })
  )
})

describe.concurrent("through an outage of Redis", () => {
  it.live("sessions are live, then stale or by signature, then live again", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make({ keepData: true })
      const [here, there] = [yield* startWith(server), yield* startWith(server)]
      const [mine, unseen] = [yield* begin(here), yield* begin(there)]
      expect(yield* checkedBy(here, mine)).toBe("live")

      yield* server.kill
      expect(yield* checkedBy(here, mine)).toBe("stale")
      expect(yield* checkedBy(here, unseen)).toBe("signature")
      const during = yield* begin(here)
      expect([yield* checkedBy(here, during), yield* checkedBy(there, during)]).toEqual([
        "signature",
        "signature"
      ])
      yield* untilOpen(here)
      expect(yield* checkedBy(here, mine)).toBe("stale")
      const me = yield* here.send("/api/v1/me", { headers: bearer(mine) })
      expect([me.status, me.body]).toEqual([200, { userId: "user-1", email: "ada@example.org" }])

      yield* server.restart
      yield* untilBack(here)
      expect([yield* checkedBy(here, mine), yield* checkedBy(here, unseen)]).toEqual(["live", "live"])
      // What was begun without Redis stays so until it ends.
      expect(yield* checkedBy(here, during)).toBe("signature")
      expect(yield* checkedBy(here, yield* begin(here))).toBe("live")
      expect(yield* server.command("EXISTS", keyOf(during))).toBe(0)
    })
  )

  it.live("what is revoked stays revoked where that is known, and everywhere once it reached Redis", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make({ keepData: true })
      const [here, there] = [yield* startWith(server), yield* startWith(server)]
      const [own, seen, unseen, later] = [
        yield* begin(here),
        yield* begin(here),
        yield* begin(here),
        yield* begin(here)
      ]
      yield* Effect.forEach([own, seen, unseen, later], (session) => checkedBy(here, session))
      expect((yield* logOut(here, own)).status).toBe(204)
      expect((yield* logOut(there, seen)).status).toBe(204)
      expect((yield* logOut(there, unseen)).status).toBe(204)
      expect(yield* checkedBy(here, seen)).toBe(401)

      yield* server.kill
      expect([yield* checkedBy(here, own), yield* checkedBy(here, seen)]).toEqual([401, 401])
      // The window that is written down: a revocation made elsewhere that this process had not seen.
      expect(yield* checkedBy(here, unseen)).toBe("stale")
      const reply = yield* logOut(here, later)
      expect([reply.status, reply.body]).toMatchObject([
        503,
        { code: "service_unavailable", retryable: true, detail: expect.stringContaining("refused here") }
      ])
      expect(Number(reply.headers.get("retry-after"))).toBeGreaterThanOrEqual(1)
      expect([yield* checkedBy(here, later), yield* checkedBy(there, later)]).toEqual([401, "signature"])

      yield* server.restart
      yield* untilBack(here)
      yield* untilBack(there)
      for (const session of [own, seen, unseen, later]) expect(yield* checkedBy(here, session)).toBe(401)
      // It did not reach Redis, as its caller was told.
      expect(yield* checkedBy(there, later)).toBe("live")
      expect((yield* logOut(here, later)).status).toBe(204)
      expect(yield* checkedBy(there, later)).toBe(401)
    })
  )

  it.live("one that was begun during it can be revoked after it", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const [here, there] = [yield* startWith(server), yield* startWith(server)]
      yield* server.kill
      const session = yield* begin(here)
      yield* server.restart
      yield* untilBack(here)
      yield* untilBack(there)
      expect(yield* checkedBy(there, session)).toBe("signature")
      expect((yield* logOut(here, session)).status).toBe(204)
      expect([yield* checkedBy(here, session), yield* checkedBy(there, session)]).toEqual([401, 401])
      // Whoever has seen that it is revoked needs no Redis to know it from then on.
      yield* server.command("DEL", keyOf(session))
      expect([yield* checkedBy(here, session), yield* checkedBy(there, session)]).toEqual([401, 401])
    })
  )

  it.live("a Redis that comes back empty passes nothing that it should know of", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server)
      const [before, revoked] = [yield* begin(gateway), yield* begin(gateway)]
      yield* logOut(gateway, revoked)
      yield* server.kill
      const during = yield* begin(gateway)
      yield* server.restart
      yield* untilBack(gateway)
      expect([yield* checkedBy(gateway, before), yield* checkedBy(gateway, revoked)]).toEqual([401, 401])
      expect(yield* checkedBy(gateway, during)).toBe("signature")
    })
  )

  it.live(
    "a Redis that is silent costs each caller one wait at most, and none once the circuit is open",
    () =>
      Effect.gen(function* () {
        const server = yield* RedisServer.make()
        const gateway = yield* startWith(server)
        const session = yield* begin(gateway)
        yield* server.stop
        const ask = gateway.send("/api/v1/session", { headers: bearer(session) })
        const first = yield* Effect.all(
          Array.from({ length: 5 }, () => ask),
          { concurrency: "unbounded" }
        )
        for (const { body, millis, status } of first) {
          expect([status, body]).toMatchObject([200, { checked: "stale" }])
          expect(millis).toBeGreaterThan(450)
          expect(millis).toBeLessThan(1_500)
        }
        const { circuit_breaker } = yield* healthOf(gateway)
        expect(circuit_breaker.state).not.toBe("closed")
        yield* server.continue
        yield* untilBack(gateway)
        expect(yield* checkedBy(gateway, session)).toBe("live")
      })
  )

  it.live("a gateway that started without Redis finds it when it comes", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      yield* server.kill
      const gateway = yield* startWith(server)
      const before = yield* begin(gateway)
      expect(yield* checkedBy(gateway, before)).toBe("signature")
      expect(yield* healthOf(gateway)).toMatchObject({ redis_available: false, degraded_mode: true })
      yield* server.restart
      yield* untilBack(gateway)
      expect(yield* checkedBy(gateway, yield* begin(gateway))).toBe("live")
      expect(yield* checkedBy(gateway, before)).toBe("signature")
    })
  )
})

describe.concurrent("a Redis that serves in part", () => {
  const refusesWrites: Readonly<
    Record<string, (server: RedisServer.RedisServer) => Effect.Effect<unknown, unknown>>
  > = {
    "is full": (server) => server.command("CONFIG", "SET", "maxmemory", "1"),
    "only reads": (server) => server.command("REPLICAOF", "127.0.0.1", "1"),
    "has too few replicas": (server) =>
      Effect.andThen(
        server.command("CONFIG", "SET", "min-replicas-to-write", "1"),
        server.command("CONFIG", "SET", "min-replicas-max-lag", "10")
      )
  }
  for (const [what, refuse] of Object.entries(refusesWrites)) {
    it.live(`that ${what}: sessions are read live, begun without it, and not revoked`, () =>
      Effect.gen(function* () {
        const server = yield* RedisServer.make()
        const gateway = yield* startWith(server)
        const before = yield* begin(gateway)
        yield* refuse(server)
        expect(yield* checkedBy(gateway, before)).toBe("live")
        expect(yield* checkedBy(gateway, yield* begin(gateway))).toBe("signature")
        expect((yield* logOut(gateway, before)).status).toBe(503)
        expect(yield* checkedBy(gateway, before)).toBe(401)
      })
    )
  }

  const errorsIn = ({ log }: Running) =>
    log.filter(
      (line) => line.startsWith("{") && line.includes('"level":"ERROR"') && line.includes("misconfigured")
    )

  it.live("that denies us a command is no outage: nothing passes, and the log says why, once", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make()
      const gateway = yield* startWith(server)
      const session = yield* begin(gateway)
      expect(yield* checkedBy(gateway, session)).toBe("live")
      yield* server.command("ACL", "SETUSER", "default", "-hgetall")
      for (let tries = 0; tries < 10; tries++) expect(yield* checkedBy(gateway, session)).toBe(502)
      expect(errorsIn(gateway)).toHaveLength(1)
      expect(errorsIn(gateway)[0]).toContain("the server answers NOPERM")
      yield* server.command("ACL", "SETUSER", "default", "+@all")
      expect(yield* checkedBy(gateway, session)).toBe("live")
    })
  )

  it.live("whose password was changed is no outage either, and is found again with the right one", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make({ password: "first" })
      const gateway = yield* startWith(server)
      const session = yield* begin(gateway)
      yield* server.command("CONFIG", "SET", "requirepass", "second")
      yield* server.command("CLIENT", "KILL", "USER", "default")
      yield* eventually(async () => {
        expect(await Effect.runPromise(checkedBy(gateway, session))).toBe(502)
      })
      expect((yield* logIn(gateway)).status).toBe(502)
      expect(errorsIn(gateway).length).toBeGreaterThanOrEqual(1)
      yield* server.command("CONFIG", "SET", "requirepass", "first")
      yield* eventually(async () => {
        expect(await Effect.runPromise(checkedBy(gateway, session))).toBe("live")
      })
    })
  )
})

const untilOpen = (running: Running): Effect.Effect<void> =>
  eventually(async () => {
    await Effect.runPromise(begin(running))
    expect((await Effect.runPromise(healthOf(running))).circuit_breaker.state).toBe("open")
  })

describe("the sessions that a process knows to be revoked", () => {
  const warnings: Array<string> = []
  const Log = Logger.layer([Logger.map(Logger.formatSimple, (line) => void warnings.push(line))])

  it.effect("are bounded: what has ended leaves, then what ends soonest, and the log says so", () =>
    Effect.gen(function* () {
      const revoked = RevokedHere.make(3)
      const known = (): ReadonlyArray<string> => ["a", "b", "c", "d", "e"].filter(revoked.has)
      for (const [sid, endsAtMillis] of [
        ["a", 3_000],
        ["b", 1_000],
        ["c", 2_000],
        ["a", 3_000]
      ] as const) {
        yield* revoked.add(sid, endsAtMillis)
      }
      expect(known()).toEqual(["a", "b", "c"])
      yield* TestClock.adjust("1 second")
      yield* revoked.add("d", 4_000)
      expect([known(), warnings]).toEqual([["a", "c", "d"], []])
      yield* revoked.add("e", 5_000)
      expect(known()).toEqual(["a", "d", "e"])
      expect(warnings).toEqual([expect.stringContaining("more than 3 are revoked")])
    }).pipe(Effect.provide(Log))
  )
})
