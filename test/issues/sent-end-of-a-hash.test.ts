/**
 * The end of a hash was sent before fields that had been written again since, so that a hash which was not there was made
 * without one; and ZADD that counts changes was sent in pieces that no server reads.
 */
import { expect, it } from "vitest"
import * as Held from "../../packages/redis/src/state/held/Held.ts"
import { firstWritten, hold, writesOf } from "../../packages/redis/src/state/held/hold.ts"

const held = Held.make({ maxEntries: 10, maxBytes: 10_000, maxStaleMillis: 1_000, keepWrites: true })
const at = (millis: number) => ({ millis, wallMillis: millis })

const sent = (key: string, millis: number) => {
  const [, written] = firstWritten(held) ?? []
  held.written.clear()
  return written === undefined
    ? []
    : writesOf(key, written, millis).map(({ args, name }) => [name, ...args].join(" "))
}

it("the end of a key is sent after all that may make it", () => {
  hold(held, { name: "HSET", args: ["h", "f", "1"] }, at(0), false)
  hold(held, { name: "EXPIRE", args: ["h", "10"] }, at(0), false)
  hold(held, { name: "HSET", args: ["h", "f", "2"] }, at(1_000), false)
  expect(sent("h", 4_000)).toEqual(["HSET h f 2", "PEXPIRE h 6000"])
})

it("a text that lives on by EXPIRE is not taken for one whose first time is over", () => {
  hold(held, { name: "SET", args: ["k", "v", "EX", "1"] }, at(0), false)
  hold(held, { name: "EXPIRE", args: ["k", "10"] }, at(500), false)
  expect(sent("k", 2_000)).toEqual(["SET k v PX 8500"])
})

it("members are sent without the word that asked for changes", () => {
  hold(held, { name: "ZADD", args: ["z", "CH", "1", "a", "2", "b"] }, at(0), false)
  expect(sent("z", 0)).toEqual(["ZADD z 1 a", "ZADD z 2 b"])
})
