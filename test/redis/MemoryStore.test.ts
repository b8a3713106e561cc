import { describe, expect, it } from "vitest"
import * as ErrorClass from "../../packages/redis/src/state/ErrorClass.ts"
import * as MemoryStore from "../../packages/redis/src/state/MemoryStore.ts"

const roomy = { maxEntries: 1000, maxBytes: 1_000_000 }

const wallMillis = 1_700_000_000_000

/** A store and a clock that starts at 0 and moves only by hand. */
const storeOf = (bounds: Parameters<typeof MemoryStore.make>[0] = roomy) => {
  const store = MemoryStore.make(bounds)
  let millis = 0
  return {
    store,
    pass: (passed: number) => {
      millis += passed
    },
    run: (line: string) => {
      const [name = "", ...args] = line.split(" ")
      return store.run(name, args, { millis, wallMillis: wallMillis + millis })
    }
  }
}

describe("a time to live", () => {
  it("that begins at 0 ends", () => {
    const { pass, run } = storeOf()
    run("SET k v PX 10")
    expect(run("PTTL k")).toBe(10)
    pass(9)
    expect(run("GET k")).toBe("v")
    pass(1)
    expect(run("GET k")).toBeNull()
    expect(run("PTTL k")).toBe(-2)
  })

  it.each(["SET k v PX 0", "SET k v PXAT 0", "SET k v EX -1"])("of nothing is refused: %s", (line) => {
    const { run } = storeOf()
    expect(run(line)).toMatchObject({ message: "ERR invalid expire time in 'set' command" })
    expect(run("EXISTS k")).toBe(0)
  })

  it("given by the calendar runs on the monotonic clock from then on", () => {
    const store = MemoryStore.make(roomy)
    const at = (millis: number, wall: number) => ({ millis, wallMillis: wall })
    store.run("SET", ["k", "v", "PXAT", String(wallMillis + 1000)], at(0, wallMillis))
    expect(store.run("PTTL", ["k"], at(400, wallMillis - 3_600_000))).toBe(600)
    expect(store.run("GET", ["k"], at(1000, wallMillis - 3_600_000))).toBeNull()
  })

  it("is whole milliseconds on a clock that is finer", () => {
    const store = MemoryStore.make(roomy)
    store.run("SET", ["k", "v", "PX", "1000"], { millis: 0.3, wallMillis })
    expect(store.run("PTTL", ["k"], { millis: 0.3, wallMillis })).toBe(1000)
    expect(store.run("PTTL", ["k"], { millis: 100.7, wallMillis })).toBe(900)
  })

  it("outlives what changes a value, and nothing else", () => {
    const { run } = storeOf()
    for (const line of ["SET n 1 EX 10", "INCR n"]) run(line)
    expect(run("TTL n")).toBe(10)
    run("SET n 1 KEEPTTL")
    expect(run("TTL n")).toBe(10)
    run("SET n 1")
    expect(run("TTL n")).toBe(-1)
  })

  it("that is over is over for whoever asks for the entry", () => {
    const { store } = storeOf()
    store.put("k", { value: { _tag: "String", text: "v" }, expiresAtMillis: 5 })
    expect(store.get("k", 4)).toMatchObject({ expiresAtMillis: 5 })
    expect(store.get("k", 5)).toBeUndefined()
    expect(store.size).toBe(0)
  })
})

describe("the bounds", () => {
  it("let the least recently used go, and count it", () => {
    const { run, store } = storeOf({ maxEntries: 2, maxBytes: 1_000_000 })
    for (const line of ["SET a 1", "SET b 2", "GET a", "SET c 3"]) run(line)
    expect(run("MGET a b c")).toEqual(["1", null, "3"])
    expect(store.evicted).toBe(1)
    expect(store.size).toBe(2)
  })

  it("hold for values that grow in place", () => {
    const { run, store } = storeOf({ maxEntries: 1000, maxBytes: 3000 })
    run("SET other v")
    for (let index = 0; index < 10; index++) run(`HSET hash field${index} ${"x".repeat(50)}`)
    expect(store.bytes).toBeLessThanOrEqual(3000)
    expect(run("GET other")).toBe("v")
    for (let index = 10; index < 100; index++) {
      run(`HSET hash field${index} ${"x".repeat(50)}`)
      expect(store.bytes).toBeLessThanOrEqual(3000)
    }
    // Used least recently when the hash first needed its room.
    expect(run("GET other")).toBeNull()
    expect(store.evicted).toBeGreaterThan(0)
  })

  it("refuse what is too large, and what was there before it", () => {
    const { run, store } = storeOf({ maxEntries: 10, maxBytes: 1000 })
    run("SET k small")
    expect(run(`SET k ${"x".repeat(1000)}`)).toBe("OK")
    expect(run("GET k")).toBeNull()
    expect(store.evicted).toBe(1)
    expect(store.bytes).toBe(0)
  })

  it("weigh a value the same, whether it grew or was put there whole", () => {
    const { run, store } = storeOf()
    for (const line of [
      ...["HSET h a 1 b 22", "HSET h a 333 c 4", "HDEL h b"],
      ...["ZADD z 1 a 2 b 3 c", "ZADD z XX 5 a", "ZREMRANGEBYSCORE z 2 2"],
      ...["SET s 1", "INCRBY s 1000"]
    ]) {
      run(line)
    }
    const grown = store.bytes
    const copy = MemoryStore.make(roomy)
    for (const key of ["h", "z", "s"]) {
      const entry = store.get(key, 0)
      if (entry !== undefined) copy.put(key, { ...entry, value: MemoryStore.cloneValue(entry.value) })
    }
    expect(grown).toBe(copy.bytes)
    run("DEL h z s")
    expect(store.bytes).toBe(0)
  })
})

describe("a value", () => {
  it("that was copied shares nothing with the store", () => {
    const { run, store } = storeOf()
    for (const line of ["HSET h a 1", "ZADD z 1 a 2 b", "ZRANGE z 0 -1"]) run(line)
    const copies = ["h", "z"].map((key) => {
      const entry = store.get(key, 0)
      return entry === undefined ? undefined : MemoryStore.cloneValue(entry.value)
    })
    for (const line of ["HSET h a 2", "ZADD z 9 a"]) run(line)
    expect(copies[0]).toEqual({ _tag: "Hash", fields: new Map([["a", "1"]]) })
    expect(copies[1]).toMatchObject({
      scores: new Map([
        ["a", 1],
        ["b", 2]
      ]),
      order: ["a", "b"]
    })
  })

  it("that was put there with scores alone has an order", () => {
    const { run, store } = storeOf()
    const scores = new Map([
      ["late", 2],
      ["early", 1]
    ])
    store.put("z", { value: { _tag: "SortedSet", scores }, expiresAtMillis: undefined })
    expect(run("ZRANGE z 0 -1")).toEqual(["early", "late"])
  })
})

describe("an error", () => {
  it("is judged as one of the server, and has no stack", () => {
    const { run } = storeOf()
    run("HSET h a 1")
    const reply = run("GET h")
    expect(reply).toBeInstanceOf(Error)
    expect(reply).toBeInstanceOf(MemoryStore.ReplyError)
    if (!(reply instanceof Error)) return
    expect(reply.name).toBe("ReplyError")
    expect(reply.stack ?? "").not.toContain("\n")
    expect(ErrorClass.judge(reply)).toEqual({
      class: "caller",
      code: "WRONGTYPE",
      sent: true,
      mayBeApplied: false
    })
    expect(new Error("after").stack).toContain("\n")
  })

  it("says what the store does not do", () => {
    const { run } = storeOf()
    expect(run("ZRANGE z - + BYLEX")).toMatchObject({
      message: "ERR ZRANGE with BYLEX is not supported by the memory store"
    })
    expect(run("LPUSH l secret")).toMatchObject({ message: "ERR unknown command 'LPUSH'" })
  })

  it("changes nothing", () => {
    const { run } = storeOf()
    run("ZADD z 1 a")
    expect(run("ZADD z 2 a x b")).toMatchObject({ message: "ERR value is not a valid float" })
    expect(run("ZRANGE z 0 -1 WITHSCORES")).toEqual(["a", "1"])
  })
})

describe("a command", () => {
  it("may be written in any case", () => {
    const { run } = storeOf()
    expect(run("set k v")).toBe("OK")
    expect(run("Get k")).toBe("v")
    expect(run("get")).toMatchObject({ message: "ERR wrong number of arguments for 'get' command" })
  })
})

describe("a score", () => {
  // Each is halfway between two numbers of 17 digits, and printf decides for the even one.
  it.each([
    ["2.98023223876953125e-8", "2.9802322387695312e-08"],
    ["-2.98023223876953125e-8", "-2.9802322387695312e-08"],
    ["8.94069671630859375e-8", "8.9406967163085938e-08"],
    ["0.1", "0.10000000000000001"],
    ["-0", "0"],
    ["1e17", "1e+17"],
    ["99999999999999984", "99999999999999984"],
    ["0.0001", "0.0001"],
    ["0.00001", "1.0000000000000001e-05"]
  ])("of %s is printed as %s", (given, printed) => {
    const { run } = storeOf()
    expect(run(`ZADD z INCR ${given} m`)).toBe(printed)
  })
})
