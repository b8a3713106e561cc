/**
 * Sessions: a signed token that the caller keeps, and a hash in Redis that says whether it is revoked.
 *
 * | Redis | a session is checked by | `checked` |
 * | --- | --- | --- |
 * | there | signature, end, its hash | `live` |
 * | away, the hash was seen before | signature, end, the hash as it was | `stale` |
 * | away, the hash was never seen | signature, end | `signature` |
 *
 * In each case a session that this process knows to be revoked is refused. What this process cannot know while Redis is
 * away is a revocation made by another one. So the time in which a revoked session may still pass somewhere is at most
 * what is left of its token's lifetime, `SESSION_LIFETIME` (15 minutes).
 *
 * A session begun while Redis is away is stateless until it ends: its token says so, it is checked by signature, and its
 * hash is looked at for a revocation only. For any other session a hash that is not there is a refusal, never a pass:
 * Redis may have lost the revocation together with it. So a revoked session is marked, and not deleted.
 *
 * Begin and revoke are never pretended. A revocation that does not reach Redis fails, so that the caller repeats it, though
 * this process refuses the session from then on. A Redis that refuses us is no outage: what needs it fails, and is logged.
 */
import { Problem } from "@failsoft/http"
import { Command, type RedisViews, ResilientRedis } from "@failsoft/redis"
import { Clock, Config, Context, DateTime, Duration, Effect, Layer, type Result, Schema } from "effect"
import { type Misconfigured, PolicyConfig } from "failsoft"
import * as Refusals from "./Refusals.ts"
import * as RevokedHere from "./RevokedHere.ts"
import * as SessionToken from "./SessionToken.ts"

/** Whose session it is. */
export interface User {
  readonly userId: string
  readonly email: string
}

/** A session that was checked, and how. */
export interface Checked extends User {
  readonly checked: "live" | "stale" | "signature"
  /** ISO 8601. */
  readonly endsAt: string
}

/** The sessions of the gateway. */
export class Sessions extends Context.Service<
  Sessions,
  {
    /** Begins a session and gives its token, with Redis or without. */
    readonly begin: (user: User) => Effect.Effect<string, Misconfigured>
    /** Whether a token is that of a session, be it valid or not. Others are the auth service's. */
    readonly isSession: (token: string) => boolean
    /** Whose session it is. 401 when it has ended, is revoked or forged. */
    readonly check: (token: string) => Effect.Effect<Checked, Problem.Problem | Misconfigured>
    /** Revokes a session. 503 when that did not reach Redis, so that only this process refuses it. */
    readonly revoke: (token: string) => Effect.Effect<void, Problem.Problem>
  }
>()("gateway/Sessions") {}

const Lifetime = PolicyConfig.ConfigDuration.check(
  Schema.makeFilter(
    (lifetime) =>
      Duration.between(lifetime, { minimum: Duration.seconds(1), maximum: Duration.days(1) }) ||
      `expected from 1 second to 1 day, got ${Duration.format(lifetime)}`
  )
)

/** `SESSION_LIFETIME`, the time from the login to the end of its session. */
export const lifetime = Config.schema(Lifetime, "SESSION_LIFETIME").pipe(
  Config.withDefault(Duration.minutes(15))
)

const maxRevokedHere = 10_000

/** Sessions signed with `SESSION_SECRET`, their state in Redis. */
export const layer = Layer.effect(
  Sessions,
  Effect.gen(function* () {
    const redis = yield* ResilientRedis.ResilientRedis
    const tokens = yield* SessionToken.make
    const lasts = yield* lifetime
    const revokedHere = RevokedHere.make(maxRevokedHere)
    const tellRefusals = Refusals.make()
    return {
      isSession: SessionToken.isOurs,
      begin: (user) => tellRefusals(begin(redis, tokens, lasts, user)),
      check: Effect.fnUntraced(function* (token) {
        const claims = yield* read(tokens, token)
        if (revokedHere.has(claims.sid)) return yield* refused()
        const { hash, source } = yield* tellRefusals(stateOf(redis, claims))
        if (hash.revoked !== undefined) {
          yield* revokedHere.add(claims.sid, endOf(claims))
          return yield* refused()
        }
        if (!claims.stateless && source === "live" && hash.userId === undefined) return yield* refused()
        return {
          userId: claims.sub,
          email: claims.email,
          checked: claims.stateless ? "signature" : source,
          endsAt: DateTime.formatIso(DateTime.makeUnsafe(endOf(claims)))
        }
      }),
      // Not `check`: a revocation that did not reach Redis is repeated by a caller whose session is refused here by now.
      revoke: Effect.fnUntraced(function* (token) {
        const claims = yield* read(tokens, token)
        yield* revokedHere.add(claims.sid, endOf(claims))
        const revoked = DateTime.formatIso(yield* DateTime.now)
        yield* write(redis, claims, { revoked }).pipe(tellRefusals, Effect.catch(notRevoked))
      })
    }
  })
)

const refused = () => Problem.unauthenticated("this is no session, or it has ended")

const endOf = ({ exp }: SessionToken.Claims): number => exp * 1000

const keyOf = ({ sid }: SessionToken.Claims): string => `session:${sid}`

const read = (tokens: SessionToken.Tokens, token: string) => Effect.mapError(tokens.read(token), refused)

const begin = Effect.fnUntraced(function* (
  redis: ResilientRedis.Client,
  tokens: SessionToken.Tokens,
  lasts: Duration.Duration,
  { email, userId }: User
) {
  const now = yield* DateTime.now
  const exp = Math.ceil((DateTime.toEpochMillis(now) + Duration.toMillis(lasts)) / 1000)
  const claims = { sub: userId, email, sid: crypto.randomUUID(), exp, stateless: false }
  const state = { userId, email, startedAt: DateTime.formatIso(now) }
  const stateless = yield* write(redis, claims, state).pipe(
    Effect.as(false),
    Effect.catchTags({
      Ambiguous: () => Effect.succeed(true),
      ServiceUnavailable: () => Effect.succeed(true),
      RedisFailure: ({ message }) =>
        Effect.as(Effect.logWarning(`sessions: begun without Redis: ${message}`), true)
    })
  )
  return yield* tokens.sign({ ...claims, stateless })
})

/** Writes fields of a session's hash, which ends with the session. The read makes the hash known for an outage. */
const write = Effect.fnUntraced(function* (
  redis: ResilientRedis.Client,
  claims: SessionToken.Claims,
  fields: Readonly<Record<string, string>>
) {
  const key = keyOf(claims)
  const left = Duration.millis(Math.max(1, endOf(claims) - (yield* Clock.currentTimeMillis)))
  const results: ReadonlyArray<Result.Result<unknown, RedisViews.WriteError>> = yield* redis.multi([
    Command.hset(key, fields),
    Command.expire(key, left),
    Command.hgetall(key)
  ])
  yield* Effect.forEach(results, Effect.fromResult, { discard: true })
})

/** What is known of a session's hash, and how. Nothing at all is known of one that cannot be asked for. */
const stateOf = (redis: ResilientRedis.Client, claims: SessionToken.Claims) =>
  redis.hgetallServed(keyOf(claims)).pipe(
    Effect.map(({ source, value }): State => ({ hash: value, source: source === "live" ? "live" : "stale" })),
    Effect.catchTag("ServiceUnavailable", () => Effect.succeed(unknown)),
    Effect.catchTag("RedisFailure", Effect.die)
  )

interface State {
  readonly hash: Readonly<Record<string, string>>
  readonly source: Checked["checked"]
}

const unknown: State = { hash: {}, source: "signature" }

const notRevoked = (error: RedisViews.WriteError) =>
  Effect.fail(
    Problem.unavailable({
      detail: "the session is refused here, but others may accept it until its end unless this is repeated",
      retryAfter: error._tag === "ServiceUnavailable" ? error.retryAfter : undefined
    })
  )
