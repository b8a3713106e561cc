/**
 * The signed token of a session: a JWT (HS256) that says whose session it is, when it ends, and whether Redis knows of it.
 */
import { Clock, Config, Effect, Option, Redacted, Schema } from "effect"
import { decodeJwt, jwtVerify, SignJWT } from "jose"

const issuer = "failsoft-chat-gateway"
const algorithm = "HS256"
const shortestSecret = 32

/** What a token says. */
export const Claims = Schema.Struct({
  /** The user's id. */
  sub: Schema.NonEmptyString,
  email: Schema.NonEmptyString,
  /** The id of the session. */
  sid: Schema.NonEmptyString,
  /** The end of the session, in seconds since 1970. */
  exp: Schema.Int,
  /** Whether Redis was away when it was begun, so that the token is all there is. */
  stateless: Schema.Boolean
})

/** What a token says. */
export type Claims = typeof Claims.Type

/** Signs tokens and reads them. */
export interface Tokens {
  readonly sign: (claims: Claims) => Effect.Effect<string>
  /** What a token of ours says, unless it is forged or its session has ended. */
  readonly read: (token: string) => Effect.Effect<Claims, Schema.SchemaError | TokenRefused>
}

/** The token is forged, was signed with another secret, or has ended. */
export class TokenRefused extends Schema.TaggedError<TokenRefused>()("TokenRefused", {}) {}

/** Whether a token says that it is ours. Nothing else that it says is looked at, since anybody may have written it. */
export const isOurs = (token: string): boolean => {
  try {
    return decodeJwt(token).iss === issuer
  } catch {
    return false
  }
}

// The value is not repeated in the message.
const Secret = Schema.String.check(
  Schema.makeFilter(
    (secret) =>
      secret.length >= shortestSecret ||
      `expected at least ${shortestSecret} characters, got ${secret.length}; openssl rand -base64 32 makes a good one`
  )
)

const secret = Config.schema(Secret, "SESSION_SECRET").pipe(Config.map(Redacted.make), Config.option)

/** Tokens signed with `SESSION_SECRET`, or with a secret of this process's own. */
export const make = Effect.gen(function* () {
  const given = yield* secret
  if (Option.isNone(given)) {
    yield* Effect.logWarning(
      "sessions: SESSION_SECRET is not set, so sessions end with this process and count in no other"
    )
  }
  const key = Option.match(given, {
    onNone: () => crypto.getRandomValues(new Uint8Array(32)),
    onSome: (secret) => new TextEncoder().encode(Redacted.value(secret))
  })
  return {
    sign: (claims) =>
      Effect.promise(() =>
        new SignJWT(claims).setProtectedHeader({ alg: algorithm, typ: "JWT" }).setIssuer(issuer).sign(key)
      ),
    read: (token) =>
      Effect.flatMap(Clock.currentTimeMillis, (nowMillis) =>
        Effect.tryPromise({
          try: () =>
            jwtVerify(token, key, { algorithms: [algorithm], issuer, currentDate: new Date(nowMillis) }),
          catch: () => new TokenRefused()
        })
      ).pipe(Effect.flatMap(({ payload }) => Schema.decodeUnknownEffect(Claims)(payload)))
  } satisfies Tokens
})
