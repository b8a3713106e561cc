/**
 * The stand-in for the billing service: balances, and charges that an `Idempotency-Key` applies once.
 */
import type { Definition, Reply } from "./Definition.ts"

const startingCredits = 100_000

/** `GET /balance/:userId`, `POST /charges`, `GET /charges`. */
export const Billing: Definition = {
  name: "billing",
  routes: () => {
    const balances = new Map([
      ["user-1", startingCredits],
      ["user-2", startingCredits]
    ])
    const repliesByKey = new Map<string, Reply>()
    let applied = 0

    const charge = (userId: unknown, amount: unknown): Reply => {
      if (typeof userId !== "string") return [400, { error: "userId must be a string" }]
      if (typeof amount !== "number" || !Number.isSafeInteger(amount) || amount < 1) {
        return [400, { error: "amount must be a whole number, at least 1" }]
      }
      const credits = balances.get(userId)
      if (credits === undefined) return [404, { error: "no such user" }]
      if (credits < amount) return [402, { error: "not enough credits", credits }]
      balances.set(userId, credits - amount)
      applied++
      return [200, { credits: credits - amount }]
    }

    return {
      "GET /balance/:userId": ({ param }) => {
        const credits = balances.get(param("userId"))
        return credits === undefined ? [404, { error: "no such user" }] : [200, { credits }]
      },
      "POST /charges": ({ body, headers }) => {
        const key = headers["idempotency-key"]
        const earlier = typeof key === "string" ? repliesByKey.get(key) : undefined
        if (earlier !== undefined) return earlier
        const reply = charge(body.userId, body.amount)
        if (typeof key === "string" && reply[0] === 200) repliesByKey.set(key, reply)
        return reply
      },
      "GET /charges": () => [200, { count: applied }]
    }
  }
}
