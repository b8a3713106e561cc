/** Fields of a hash whose time had run out were served as those of a new one under the same key. */
import { expect, it } from "vitest"
import { answer } from "../../packages/redis/src/state/held/answer.ts"
import * as Held from "../../packages/redis/src/state/held/Held.ts"
import { learn } from "../../packages/redis/src/state/held/learn.ts"

const held = Held.make({ maxEntries: 10, maxBytes: 10_000, maxStaleMillis: 1_000, keepWrites: true })
const at = (millis: number) => ({ millis, wallMillis: millis })

it("a hash that was made anew has nothing of the one before", () => {
  learn(held, { name: "HGETALL", args: ["h"] }, ["old", "v"], at(0))
  learn(held, { name: "PTTL", args: ["h"] }, 100, at(0))
  learn(held, { name: "HGET", args: ["h", "new"] }, "v", at(200))
  learn(held, { name: "PTTL", args: ["h"] }, 500, at(200))
  expect(answer(held, { name: "HGET", args: ["h", "old"] }, at(300))).toBeUndefined()
  expect(answer(held, { name: "HGET", args: ["h", "new"] }, at(300))).toMatchObject({ reply: "v" })
})
