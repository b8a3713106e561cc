/** Replies that say that a key is not there, or not how it is, left what had been seen of it. */
import { expect, it } from "vitest"
import { answer } from "../../packages/redis/src/state/held/answer.ts"
import * as Held from "../../packages/redis/src/state/held/Held.ts"
import { learn } from "../../packages/redis/src/state/held/learn.ts"

const held = Held.make({ maxEntries: 10, maxBytes: 10_000, maxStaleMillis: 1_000, keepWrites: true })
const at = (millis: number) => ({ millis, wallMillis: millis })

it.each([
  ["EXPIRE", ["k", "10"], 0],
  ["SET", ["k", "v", "XX"], null],
  ["EXISTS", ["k", "other"], 0],
  // The text before, and not that it was replaced.
  ["SET", ["k", "new", "NX", "GET"], "OK"],
  // ioredis reads 2^53 + 1 as another number.
  ["INCRBY", ["k", "1"], 2 ** 53]
])("%s %j, which is answered by %j, ends it", (name, args, reply) => {
  learn(held, { name: "GET", args: ["k"] }, "old", at(0))
  learn(held, { name, args }, reply, at(1))
  expect(answer(held, { name: "GET", args: ["k"] }, at(2))).toBeUndefined()
})
