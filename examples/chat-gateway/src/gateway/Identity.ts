/**
 * Who asks: login, and the check of a token.
 *
 * Both fail closed. Without the auth service nobody logs in (503, at once when the circuit is open), and a token that
 * cannot be checked is treated as none (401), so that a hang of the auth service locks nobody's request up.
 *
 * A login gives two tokens: that of the auth service, which only that can check, and that of a session, which the gateway
 * checks by itself. Either says who asks.
 */
import { Problem, ServiceClient } from "@failsoft/http"
import { Context, Effect, Layer, Schema } from "effect"
import { HttpClientRequest, HttpClientResponse } from "effect/http"
import type { Misconfigured, ServiceUnavailable } from "failsoft"
import { AuthService, answerOf, type WireError } from "./Services.ts"
import { Sessions } from "./Sessions.ts"

/** What a person logs in with. */
export const Credentials = Schema.Struct({
  email: Schema.String.check(Schema.isPattern(/^[^@\s]+@[^@\s]+$/), Schema.isMaxLength(254)),
  password: Schema.NonEmptyString.check(Schema.isMaxLength(1024))
})

/** A successful login, as the auth service answers it. */
const LoggedIn = Schema.Struct({ token: Schema.String, userId: Schema.String })

/** A person. */
export const User = Schema.Struct({ userId: Schema.String, email: Schema.String })

/** Who asks. */
export class Identity extends Context.Service<
  Identity,
  {
    /** Logs in. 401 for wrong credentials, 503 when nobody can tell. */
    readonly login: (
      credentials: typeof Credentials.Type
    ) => Effect.Effect<typeof LoggedIn.Type & { readonly session: string }, Problem.Problem | Misconfigured>
    /** Whose token it is. 401 for a wrong one, and when nobody can tell. */
    readonly userOf: (
      token: string
    ) => Effect.Effect<typeof User.Type, Problem.Problem | Misconfigured | WireError>
  }
>()("gateway/Identity") {}

/** Identity by the auth service. */
export const layer = Layer.effect(
  Identity,
  Effect.gen(function* () {
    const auth = yield* AuthService
    const sessions = yield* Sessions

    const logIn = Effect.fnUntraced(
      function* (credentials: typeof Credentials.Type) {
        const response = yield* auth.execute(
          HttpClientRequest.post("/login").pipe(HttpClientRequest.bodyJsonUnsafe(credentials))
        )
        if (response.status === 401) return yield* Problem.unauthenticated("wrong email or password")
        return yield* HttpClientResponse.schemaBodyJson(LoggedIn)(response)
      },
      Effect.catchTags({
        // A login is not repeated, so what went wrong on the wire arrives as it is.
        Ambiguous: () => loginUnavailable(),
        HttpClientError: () => loginUnavailable(),
        SchemaError: () => loginUnavailable(),
        ServiceUnavailable: (error) => loginUnavailable(error)
      })
    )

    const userByAuth = Effect.fnUntraced(
      function* (token: string) {
        const request = HttpClientRequest.post("/verify").pipe(HttpClientRequest.bodyJsonUnsafe({ token }))
        const user = yield* auth.execute(request).pipe(ServiceClient.idempotent, answerOf(User))
        return user ?? (yield* Problem.unauthenticated("the token is not valid"))
      },
      auth.policy.orElse(() => Effect.fail(Problem.unauthenticated("the token cannot be checked now")))
    )

    return {
      login: Effect.fnUntraced(function* (credentials) {
        const loggedIn = yield* logIn(credentials)
        const user = { userId: loggedIn.userId, email: credentials.email }
        return { ...loggedIn, session: yield* sessions.begin(user) }
      }),
      userOf: (token) =>
        sessions.isSession(token)
          ? Effect.map(sessions.check(token), ({ email, userId }) => ({ userId, email }))
          : userByAuth(token)
    }
  })
)

const loginUnavailable = (error?: ServiceUnavailable) =>
  Effect.fail(
    Problem.unavailable({ detail: "login is temporarily unavailable", retryAfter: error?.retryAfter })
  )
