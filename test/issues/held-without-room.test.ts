/** A write that was too large to be held was answered as if it were. */
import { expect, it } from "vitest"
import { answer } from "../../packages/redis/src/state/held/answer.ts"
import * as Held from "../../packages/redis/src/state/held/Held.ts"
import { hold } from "../../packages/redis/src/state/held/hold.ts"

const held = Held.make({ maxEntries: 10, maxBytes: 10_000, maxStaleMillis: 1_000, keepWrites: true })
const at = (millis: number) => ({ millis, wallMillis: millis })

it("what has no room is not held, and not said to be", () => {
  expect(hold(held, { name: "SET", args: ["k", "x".repeat(10_000)] }, at(0), false)).toBeUndefined()
  expect(answer(held, { name: "GET", args: ["k"] }, at(0))).toBeUndefined()
})
