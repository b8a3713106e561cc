import { describe, expect, it } from "@effect/vitest"
import { RedisFailure } from "@failsoft/redis"
import { Cause } from "effect"
import { Redis } from "effect/persistence"

const reply = (message: string): Error => Object.assign(new Error(message), { name: "ReplyError" })
const network = (code: string): Error => Object.assign(new Error(`connect ${code}`), { code })

describe("the class of an error", () => {
  it.each([
    ["LOADING Redis is loading the dataset in memory", "unavailable", "LOADING"],
    ["MASTERDOWN Link with MASTER is down", "unavailable", "MASTERDOWN"],
    ["CLUSTERDOWN The cluster is down", "unavailable", "CLUSTERDOWN"],
    ["BUSY Redis is busy running a script", "unavailable", "BUSY"],
    ["ERR max number of clients reached", "unavailable", "ERR"],
    ["READONLY You can't write against a read only replica.", "write-path", "READONLY"],
    ["OOM command not allowed when used memory > 'maxmemory'.", "write-path", "OOM"],
    ["MISCONF Errors writing to the AOF file", "write-path", "MISCONF"],
    ["NOREPLICAS Not enough good replicas to write.", "write-path", "NOREPLICAS"],
    ["NOAUTH Authentication required.", "misconfigured", "NOAUTH"],
    ["WRONGPASS invalid username-password pair", "misconfigured", "WRONGPASS"],
    ["NOPERM this user has no permissions", "misconfigured", "NOPERM"],
    ["NOPROTO unsupported protocol version", "misconfigured", "NOPROTO"],
    ["ERR AUTH <password> called without any password configured", "misconfigured", "ERR"],
    ["TRYAGAIN Multiple keys request during rehashing", "transient", "TRYAGAIN"],
    ["MOVED 3999 127.0.0.1:6381", "transient", "MOVED"],
    ["ASK 3999 127.0.0.1:6381", "transient", "ASK"],
    ["NOSCRIPT No matching script.", "transient", "NOSCRIPT"],
    ["WRONGTYPE Operation against a key", "caller", "WRONGTYPE"],
    ["ERR value is not an integer or out of range", "caller", "ERR"],
    ["BUSYGROUP Consumer Group name already exists", "caller", "BUSYGROUP"],
    ["CROSSSLOT Keys in request don't hash to the same slot", "caller", "CROSSSLOT"],
    ["EXECABORT Transaction discarded", "caller", "EXECABORT"]
  ])("of the reply %j is %s", (message, kind, code) => {
    const failure = RedisFailure.from(reply(message), "INCR", ["n"])
    // An answer, whatever it says, means that nothing was applied behind our back.
    expect(failure).toMatchObject({ class: kind, code, sent: true, mayBeApplied: false, mayRepeat: true })
  })

  it.each([
    [network("ECONNREFUSED"), "ECONNREFUSED", false],
    [network("ENOTFOUND"), "ENOTFOUND", false],
    [network("EAI_AGAIN"), "EAI_AGAIN", false],
    [network("ECONNRESET"), "ECONNRESET", true],
    [network("EPIPE"), "EPIPE", true],
    [new Error("Stream isn't writeable and enableOfflineQueue options is false"), "NOT_CONNECTED", false],
    [new Error("Connection is closed."), "CONNECTION_LOST", true],
    [new Error("Reached the max retries per request limit (which is 0)."), "CONNECTION_LOST", true],
    [new Error("Command timed out"), "TIMED_OUT", true],
    [new Cause.TimeoutError(), "TIMED_OUT", true],
    [new Error("All sentinels are unreachable."), "NO_SENTINEL", false],
    ["something else", "UNKNOWN", true]
  ])("of %s without a reply is unavailable, %s, sent %s", (error, code, sent) => {
    const failure = RedisFailure.from(error, "INCR", ["n"])
    expect(failure).toMatchObject({ class: "unavailable", code, sent, mayBeApplied: sent, mayRepeat: !sent })
  })

  it("is that of the error inside a RedisError", () => {
    const error = new Redis.RedisError({ cause: reply("WRONGTYPE Operation against a key") })
    expect(RedisFailure.from(error, "GET", ["k"])).toMatchObject({ class: "caller", code: "WRONGTYPE" })
  })
})

describe("what becomes of a command that is applied twice", () => {
  it.each([
    ["GET", ["k"], "read"],
    ["get", ["k"], "read"],
    ["SET", ["k", "v"], "write-last-wins"],
    ["SET", ["k", "v", "EX", "5"], "write-last-wins"],
    ["SET", ["k", "NX"], "write-last-wins"],
    ["SET", ["k", "v", "nx"], "write-checked"],
    ["SET", ["k", "v", "XX"], "write-checked"],
    ["SET", ["k", "v", "NX", "GET"], "write-accumulating"],
    ["SETNX", ["k", "v"], "write-checked"],
    ["DEL", ["k"], "write-last-wins"],
    ["EXPIRE", ["k", 5], "write-last-wins"],
    ["HSET", ["k", "f", "v"], "write-last-wins"],
    ["ZADD", ["k", 1, "INCR"], "write-last-wins"],
    ["ZADD", ["k", "INCR", 1, "m"], "write-accumulating"],
    ["ZADD", ["k", "CH", "GT", 1, "m"], "write-checked"],
    ["INCR", ["k"], "write-accumulating"],
    ["LPUSH", ["k", "v"], "write-accumulating"],
    ["PUBLISH", ["c", "m"], "write-accumulating"],
    ["XADD", ["s", "*", "f", "v"], "write-accumulating"],
    ["XADD", ["s", "1-1", "f", "v"], "write-checked"],
    ["XREAD", ["STREAMS", "s", "0"], "read"],
    ["XREAD", ["BLOCK", "0", "STREAMS", "s", "$"], "never"],
    ["BLPOP", ["l", "0"], "never"],
    ["EVALSHA", ["abc", "0"], "never"],
    ["FROBNICATE", [], "never"]
  ] as const)("%s %j: %s", (command, args, safety) => {
    expect(RedisFailure.safetyOf(command, args)).toBe(safety)
    const unknownFate = RedisFailure.from(new Error("Command timed out"), command, args)
    const isSafe = safety === "read" || safety === "write-checked" || safety === "write-last-wins"
    expect(unknownFate.mayRepeat).toBe(isSafe)
  })
})

it("repeats no argument and no message of the server", () => {
  const canary = "s3cret-canary"
  const error = reply(`ERR unknown command 'NOPE', with args beginning with: '${canary}'`)
  const failure = RedisFailure.from(error, "nope", [canary])
  expect(failure.message).toBe("NOPE failed: ERR")
  expect(JSON.stringify(failure) + String(failure) + (failure.stack ?? "")).not.toContain(canary)
})
