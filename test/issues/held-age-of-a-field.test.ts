/** Fields that were read one by one were as old as the first of them, however often they were read since. */
import { expect, it } from "vitest"
import { answer } from "../../packages/redis/src/state/held/answer.ts"
import * as Held from "../../packages/redis/src/state/held/Held.ts"
import { learn } from "../../packages/redis/src/state/held/learn.ts"

const held = Held.make({ maxEntries: 10, maxBytes: 10_000, maxStaleMillis: 1_000, keepWrites: true })
const at = (millis: number) => ({ millis, wallMillis: millis })

it("a field that was read again is as young as that", () => {
  for (const millis of [0, 900, 1_800]) learn(held, { name: "HGET", args: ["h", "f"] }, "v", at(millis))
  expect(answer(held, { name: "HGET", args: ["h", "f"] }, at(2_000))).toEqual({
    reply: "v",
    source: "stale",
    ageMillis: 200
  })
})
