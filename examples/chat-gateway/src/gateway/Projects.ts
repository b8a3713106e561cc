/**
 * Who may do what with a project. Fails closed: an owner that cannot be found out is no owner, hence 403, never 500.
 */
import { Problem } from "@failsoft/http"
import { Context, Effect, Layer, Schema } from "effect"
import { AuthService, answerOf } from "./Services.ts"

const Owner = Schema.Struct({ ownerId: Schema.String })

/** The owners of projects. */
export class Projects extends Context.Service<
  Projects,
  {
    /** Succeeds if the user owns the project, else fails with 403. */
    readonly requireOwner: (projectId: string, userId: string) => Effect.Effect<void, Problem.Problem>
  }
>()("gateway/Projects") {}

/** Owners by the auth service. */
export const layer = Layer.effect(
  Projects,
  Effect.gen(function* () {
    const auth = yield* AuthService

    const ownerOf = (projectId: string) =>
      auth.get(`/projects/${encodeURIComponent(projectId)}/owner`).pipe(
        answerOf(Owner),
        Effect.map((owner) => owner?.ownerId),
        auth.policy.orElse(() => Effect.undefined),
        Effect.catch(() => Effect.undefined)
      )

    return {
      requireOwner: (projectId, userId) =>
        Effect.flatMap(ownerOf(projectId), (ownerId) =>
          ownerId === userId ? Effect.void : Effect.fail(Problem.forbidden("this is not your project"))
        )
    }
  })
)
