/**
 * What a chat costs. Fails open: when billing is away the chat goes on without a charge, what was not charged is
 * counted, and charging resumes by itself.
 */
import { Problem } from "@failsoft/http"
import { Context, Effect, Layer, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { answerOf, BillingService, type WireError } from "./Services.ts"

const Credits = Schema.Struct({ credits: Schema.Finite })

/** What one chat costs, in credits. */
const chatPrice = 1

/** Balances and charges. */
export class Billing extends Context.Service<
  Billing,
  {
    /** The user's credits, or `undefined` when nobody can tell. Fails with 402 when they do not pay for a chat. */
    readonly requireCredits: (
      userId: string
    ) => Effect.Effect<number | undefined, Problem.Problem | WireError>
    /** Charges one chat, at most once for each `key`. Succeeds with whether it was charged. */
    readonly charge: (userId: string, key: string) => Effect.Effect<boolean, WireError>
    /** How many chats were not charged since the start. */
    readonly uncharged: Effect.Effect<number>
  }
>()("gateway/Billing") {}

/** Balances and charges by the billing service. */
export const layer = Layer.effect(
  Billing,
  Effect.gen(function* () {
    const billing = yield* BillingService
    let uncharged = 0

    const balanceOf = (userId: string) =>
      billing.get(`/balance/${encodeURIComponent(userId)}`).pipe(
        answerOf(Credits),
        Effect.map((balance) => balance?.credits),
        billing.policy.orElse(() => Effect.undefined)
      )

    const charge = (userId: string, key: string) =>
      billing
        .execute(
          HttpClientRequest.post("/charges").pipe(
            HttpClientRequest.setHeader("idempotency-key", key),
            HttpClientRequest.bodyJsonUnsafe({ userId, amount: chatPrice })
          )
        )
        .pipe(
          answerOf(Credits),
          Effect.map((balance) => balance !== undefined),
          billing.policy.orElse(() => Effect.succeed(false)),
          Effect.tap((charged) => Effect.sync(() => charged || uncharged++))
        )

    return {
      requireCredits: (userId) =>
        Effect.flatMap(balanceOf(userId), (credits) =>
          credits !== undefined && credits < chatPrice
            ? Effect.fail(paymentRequired())
            : Effect.succeed(credits)
        ),
      charge,
      uncharged: Effect.sync(() => uncharged)
    }
  })
)

const paymentRequired = () =>
  new Problem.Problem({ status: 402, code: "payment_required", title: "No credits are left", details: {} })
