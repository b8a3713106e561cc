/** A text that was seen was served on after this process had written fields, or members, to its key. */
import { expect, it } from "vitest"
import { answer } from "../../packages/redis/src/state/held/answer.ts"
import * as Held from "../../packages/redis/src/state/held/Held.ts"
import { learn } from "../../packages/redis/src/state/held/learn.ts"

const held = Held.make({ maxEntries: 10, maxBytes: 10_000, maxStaleMillis: 1_000, keepWrites: true })
const at = (millis: number) => ({ millis, wallMillis: millis })

it("a write that only another type allows ends what was seen", () => {
  for (const command of [
    { name: "HSET", args: ["k", "f", "v"] },
    { name: "ZADD", args: ["k", "1", "m"] },
    { name: "HDEL", args: ["k", "f"] }
  ]) {
    learn(held, { name: "GET", args: ["k"] }, "text", at(0))
    learn(held, command, 1, at(1))
    expect(answer(held, { name: "GET", args: ["k"] }, at(2))?.reply).not.toBe("text")
  }
})
