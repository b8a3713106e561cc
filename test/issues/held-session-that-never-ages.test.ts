/** A hash that was seen and then written here, one field at a time, was served for ever, whatever `maxStale` said. */
import { expect, it } from "vitest"
import { answer } from "../../packages/redis/src/state/held/answer.ts"
import * as Held from "../../packages/redis/src/state/held/Held.ts"
import { hold } from "../../packages/redis/src/state/held/hold.ts"
import { learn } from "../../packages/redis/src/state/held/learn.ts"

const held = Held.make({ maxEntries: 10, maxBytes: 10_000, maxStaleMillis: 1_000, keepWrites: true })
const at = (millis: number) => ({ millis, wallMillis: millis })

it("what was seen ages on under a write of one field", () => {
  learn(held, { name: "HGETALL", args: ["session"] }, ["user", "ada"], at(0))
  hold(held, { name: "HSET", args: ["session", "page", "home"] }, at(900), false)
  expect(answer(held, { name: "HGET", args: ["session", "user"] }, at(1_000))).toMatchObject({ reply: "ada" })
  expect(answer(held, { name: "HGET", args: ["session", "user"] }, at(1_001))).toBeUndefined()
  expect(answer(held, { name: "HGETALL", args: ["session"] }, at(1_001))).toBeUndefined()
  expect(answer(held, { name: "HGET", args: ["session", "page"] }, at(9_000))).toMatchObject({
    reply: "home"
  })
})
