/**
 * The gateway's routes. Each handler says what it needs; what an outage of a service means is written in the service of
 * the gateway that talks to it.
 */
import { Problem } from "@failsoft/http"
import { Effect, Layer, Option, Schema } from "effect"
import {
  type HttpClientError,
  HttpClientResponse,
  HttpRouter,
  HttpServerRequest,
  HttpServerResponse
} from "effect/http"
import { Billing } from "./Billing.ts"
import { ContextSearch } from "./ContextSearch.ts"
import { Credentials, Identity } from "./Identity.ts"
import { LoginLimit } from "./LoginLimit.ts"
import { Projects } from "./Projects.ts"
import { ExternalService, FilesystemService, GitService } from "./Services.ts"
import { Sessions } from "./Sessions.ts"

/** Becomes a part of a service's path, so it must not be `..`, which leads to another. */
const Name = Schema.String.check(Schema.isPattern(/^\w[\w.-]{0,63}$/))
const ProjectPath = Schema.Struct({ projectId: Name })

const Chat = Schema.Struct({
  message: Schema.NonEmptyString.check(Schema.isMaxLength(4000)),
  projectId: Schema.optionalKey(Name)
})

/** The token of the request, from its Bearer header or its `token` cookie; 401 without. */
const token = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const bearer = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? "")?.[1]
  return bearer ?? request.cookies.token ?? (yield* Problem.unauthenticated("no token was sent"))
})

/** The user of the request; 401 without. */
const user = Effect.gen(function* () {
  return yield* (yield* Identity).userOf(yield* token)
})

const session = Effect.gen(function* () {
  return HttpServerResponse.jsonUnsafe(yield* (yield* Sessions).check(yield* token))
})

const logOut = Effect.gen(function* () {
  yield* (yield* Sessions).revoke(yield* token)
  return HttpServerResponse.empty({ status: 204 })
})

const login = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  yield* (yield* LoginLimit).check(Option.getOrElse(request.remoteAddress, () => "unknown"))
  const loggedIn = yield* (yield* Identity).login(yield* Problem.body(Credentials))
  const response = HttpServerResponse.jsonUnsafe(loggedIn)
  return HttpServerResponse.setCookieUnsafe(response, "token", loggedIn.token, {
    httpOnly: true,
    sameSite: "strict",
    path: "/"
  })
})

const chat = Effect.gen(function* () {
  const { message, projectId } = yield* Problem.body(Chat)
  const { userId } = yield* user
  if (projectId !== undefined) yield* (yield* Projects).requireOwner(projectId, userId)
  const billing = yield* Billing
  const [credits, context] = yield* Effect.all(
    [billing.requireCredits(userId), (yield* ContextSearch).search(message)],
    { concurrency: "unbounded" }
  )
  const answer = answerFrom(context.documents.map(({ text }) => text))
  const charged = yield* billing.charge(userId, crypto.randomUUID())
  return HttpServerResponse.jsonUnsafe({ answer, context, charged, credits: credits ?? null })
})

/** Stands in for a language model, which would be one more service. */
const answerFrom = (texts: ReadonlyArray<string>): string =>
  texts.length === 0 ? "I found nothing about that." : `This is what I found: ${texts.join(" ")}`

/** Passes on what a service answers: its 404 is a 404, its outage a 503. */
const passOn = (
  response: HttpClientResponse.HttpClientResponse
): Effect.Effect<HttpServerResponse.HttpServerResponse, Problem.Problem | HttpClientError.HttpClientError> =>
  response.status === 404
    ? Effect.fail(Problem.notFound())
    : Effect.flatMap(HttpClientResponse.filterStatusOk(response), (ok) =>
        Effect.map(ok.json, (json) => HttpServerResponse.jsonUnsafe(json))
      )

const ownProject = Effect.gen(function* () {
  const { projectId } = yield* Problem.pathParams(ProjectPath)
  const { userId } = yield* user
  yield* (yield* Projects).requireOwner(projectId, userId)
  return projectId
})

const files = Effect.gen(function* () {
  const projectId = yield* ownProject
  return yield* Effect.flatMap((yield* FilesystemService).get(`/projects/${projectId}/files`), passOn)
})

const commits = Effect.gen(function* () {
  const projectId = yield* ownProject
  return yield* Effect.flatMap((yield* GitService).get(`/projects/${projectId}/commits`), passOn)
})

const external = Effect.gen(function* () {
  const { topic } = yield* Problem.pathParams(Schema.Struct({ topic: Name }))
  return yield* Effect.flatMap((yield* ExternalService).get(`/data/${topic}`), passOn)
})

/** All routes of the gateway but for health. */
export const layer = Layer.mergeAll(
  HttpRouter.add("POST", "/api/v1/login", login),
  HttpRouter.add("GET", "/api/v1/session", session),
  HttpRouter.add("DELETE", "/api/v1/session", logOut),
  HttpRouter.add("GET", "/api/v1/me", Effect.map(user, HttpServerResponse.jsonUnsafe)),
  HttpRouter.add("POST", "/api/v1/chat", chat),
  HttpRouter.add("GET", "/api/v1/projects/:projectId/files", files),
  HttpRouter.add("GET", "/api/v1/projects/:projectId/commits", commits),
  HttpRouter.add("GET", "/api/v1/data/:topic", external),
  HttpRouter.add(
    "GET",
    "/api/v1/charging",
    Effect.gen(function* () {
      return HttpServerResponse.jsonUnsafe({ uncharged: yield* (yield* Billing).uncharged })
    })
  )
)
