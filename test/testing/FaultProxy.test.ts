/**
 * Every mode of the proxy, seen from a client and from a server over real sockets.
 */
import type { Socket } from "node:net"
import { describe, expect, it } from "@effect/vitest"
import { FaultProxy, RedisServer } from "@failsoft/testing"
import { Effect, Exit, Random, Scope } from "effect"
import { TestClock } from "effect/testing"
import { echo, eventually, listen, open } from "./sockets.ts"

/** A real server behind a proxy, and a client that has already been answered. */
const redisBehindProxy = Effect.gen(function* () {
  const redis = yield* RedisServer.make()
  const proxy = yield* FaultProxy.make(redis)
  const client = yield* openAnswered(proxy)
  return { redis, proxy, client }
})

const openAnswered = (proxy: FaultProxy.FaultProxy) =>
  Effect.gen(function* () {
    const client = yield* open(proxy.port)
    yield* client.send("PING\r\n")
    yield* eventually(() => expect(client.received()).toBe("+PONG\r\n"))
    return client
  })

const is = <A, E>(self: Effect.Effect<A, E>, expected: unknown) =>
  eventually(async () => expect(await Effect.runPromise(self)).toEqual(expected))

/** What became of the last connection that a server has accepted. */
const watched = Effect.gen(function* () {
  const seen: Array<string> = []
  const port = yield* listen((socket: Socket) => {
    seen.push("open")
    socket.resume()
    socket.once("end", () => seen.push("end"))
    socket.once("error", (error) => seen.push("code" in error ? `${error.code}` : error.message))
  })
  return { port, seen }
})

describe("pass", () => {
  it.live("carries both directions, and counts them", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      expect(yield* proxy.mode).toEqual(FaultProxy.pass)
      expect(yield* proxy.connections).toBe(1)
      expect(yield* proxy.stats).toEqual({ accepted: 1, toServer: 6, toClient: 7, lost: 0 })
      client.socket.destroy()
      yield* is(proxy.connections, 0)
    })
  )

  it.live("carries the end of each direction by itself", () =>
    Effect.gen(function* () {
      const port = yield* listen((socket) => {
        socket.once("end", () => socket.end("after the end"))
        socket.resume()
      })
      const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port })
      const client = yield* open(proxy.port)
      client.socket.end("bye")
      yield* eventually(() => expect(client.state()).toBe("ended"))
      expect(client.received()).toBe("after the end")
      yield* is(proxy.connections, 0)
    })
  )

  it.live("tells each side that the other was reset", () =>
    Effect.gen(function* () {
      const { port, seen } = yield* watched
      const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port })
      const client = yield* open(proxy.port)
      yield* eventually(() => expect(seen).toEqual(["open"]))
      client.socket.resetAndDestroy()
      yield* eventually(() => expect(seen).toEqual(["open", "ECONNRESET"]))

      const resetting = yield* listen((socket) => void socket.resetAndDestroy())
      const other = yield* FaultProxy.make({ host: "127.0.0.1", port: resetting })
      const victim = yield* open(other.port)
      yield* eventually(() => expect(victim.state()).toBe("ECONNRESET"))
    })
  )

  it.live("resets a client whose server refuses", () =>
    Effect.gen(function* () {
      const { redis, proxy } = yield* redisBehindProxy
      yield* redis.kill
      const client = yield* open(proxy.port)
      yield* eventually(() => expect(client.state()).toBe("ECONNRESET"))
      yield* redis.restart
      yield* openAnswered(proxy)
    })
  )

  it.live("stops reading when the other side does, and loses nothing", () =>
    Effect.gen(function* () {
      const total = 96 * 1_048_576
      const block = Buffer.alloc(65_536, "0123456789abcdef")
      let written = 0
      const port = yield* listen((socket) => {
        const write = (): void => {
          while (written < total) {
            written += block.length
            if (!socket.write(block)) return void socket.once("drain", write)
          }
          socket.end()
        }
        write()
      })
      const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port })
      const client = yield* open(proxy.port)
      client.socket.removeAllListeners("data").pause()

      let before = -1
      yield* eventually(() => {
        const since = before
        before = written
        expect(written).toBe(since)
      }, 100)
      expect(written).toBeGreaterThan(0)
      expect(written).toBeLessThan(total / 3)

      let received = 0
      let intact = true
      client.socket.on("data", (text) => {
        if (!`${text}`.startsWith("0123456789abcdef"[received % 16] ?? "")) intact = false
        received += text.length
      })
      client.socket.resume()
      yield* eventually(() => expect(client.state()).toBe("ended"))
      expect([received, intact]).toEqual([total, true])
    })
  )
})

describe("refuse", () => {
  it.live("resets what is open, refuses what is new, and listens on the same port again", () =>
    Effect.gen(function* () {
      const { redis, proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.refuse)
      expect(yield* proxy.connections).toBe(0)
      yield* eventually(() => expect(client.state()).toBe("ECONNRESET"))
      const refused = yield* open(proxy.port)
      yield* eventually(() => expect(refused.state()).toBe("ECONNREFUSED"))
      expect(yield* redis.command("PING")).toBe("PONG")

      yield* proxy.setMode(FaultProxy.refuse)
      yield* proxy.setMode(FaultProxy.pass)
      yield* openAnswered(proxy)
    })
  )

  it.live("may end in any other mode", () =>
    Effect.gen(function* () {
      const { proxy } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.refuse)
      yield* proxy.setMode(FaultProxy.dropReplies)
      const client = yield* open(proxy.port)
      yield* client.send("PING\r\n")
      yield* eventually(async () => expect((await Effect.runPromise(proxy.stats)).lost).toBe(7))
      expect(client.received()).toBe("")
    })
  )
})

describe("acceptAndSilent", () => {
  it.live("accepts, never connects on, never answers; what was open goes on", () =>
    Effect.gen(function* () {
      const { redis, proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.acceptAndSilent)
      const silent = yield* open(proxy.port)
      yield* silent.send("PING\r\n")
      yield* is(proxy.stats, { accepted: 2, toServer: 6, toClient: 7, lost: 6 })
      expect(`${yield* redis.command("CLIENT", "LIST")}`.trimEnd().split("\n")).toHaveLength(2)
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(client.received()).toBe("+PONG\r\n+PONG\r\n"))

      yield* proxy.setMode(FaultProxy.pass)
      yield* silent.send("PING\r\n")
      yield* is(proxy.stats, { accepted: 2, toServer: 12, toClient: 14, lost: 12 })
      expect([silent.state(), silent.received()]).toEqual(["open", ""])
      silent.socket.destroy()
      yield* is(proxy.connections, 1)
    })
  )
})

describe("blackhole", () => {
  it.live("keeps connections open and loses everything, for good", () =>
    Effect.gen(function* () {
      const { redis, proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.blackhole)
      const fresh = yield* open(proxy.port)
      yield* client.send("INCR n\r\n")
      yield* fresh.send("INCR n\r\n")
      yield* is(proxy.stats, { accepted: 2, toServer: 6, toClient: 7, lost: 16 })
      expect(yield* redis.command("GET", "n")).toBeNull()

      yield* proxy.setMode(FaultProxy.pass)
      yield* client.send("INCR n\r\n")
      yield* is(proxy.stats, { accepted: 2, toServer: 6, toClient: 7, lost: 24 })
      expect([client.state(), client.received()]).toEqual(["open", "+PONG\r\n"])
      expect([fresh.state(), fresh.received()]).toEqual(["open", ""])
    })
  )

  it.live("loses a reply that is on its way", () =>
    Effect.gen(function* () {
      const { redis, proxy, client } = yield* redisBehindProxy
      yield* client.send("BLPOP list 0\r\n")
      yield* eventually(async () =>
        expect(await Effect.runPromise(redis.command("CLIENT", "LIST"))).toContain("cmd=blpop")
      )
      yield* proxy.setMode(FaultProxy.blackhole)
      yield* redis.command("LPUSH", "list", "element")
      yield* eventually(async () => expect((await Effect.runPromise(proxy.stats)).lost).toBeGreaterThan(0))
      expect(client.received()).toBe("+PONG\r\n")
      expect(yield* redis.command("LLEN", "list")).toBe(0)
    })
  )

  it.live("leaves alone what nothing was lost from", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.blackhole)
      const fresh = yield* open(proxy.port)
      yield* is(proxy.connections, 2)
      yield* proxy.setMode(FaultProxy.pass)
      yield* client.send("PING\r\n")
      yield* fresh.send("PING\r\n")
      yield* eventually(() => expect(client.received()).toBe("+PONG\r\n+PONG\r\n"))
      yield* eventually(() => expect(fresh.received()).toBe("+PONG\r\n"))
    })
  )

  it.live.each(["kill", "shutdown"] as const)("hides a %s of the server until it ends", (end) =>
    Effect.gen(function* () {
      const { redis, proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.blackhole)
      yield* redis[end]
      const fresh = yield* open(proxy.port)
      yield* is(proxy.connections, 2)
      expect(client.state()).toBe("open")
      yield* proxy.setMode(FaultProxy.pass)
      yield* eventually(() => expect(client.state()).toBe("ended"))
      yield* eventually(() => expect(fresh.state()).toBe("ECONNRESET"))
    })
  )

  it.live("hears when the client goes away", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.blackhole)
      client.socket.destroy()
      yield* is(proxy.connections, 0)
    })
  )
})

describe("latency", () => {
  it.live("delays replies", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.latency({ millis: 60 }))
      const started = performance.now()
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(client.received()).toBe("+PONG\r\n+PONG\r\n"))
      expect(performance.now() - started).toBeGreaterThanOrEqual(59)
    })
  )

  it.live("delays both directions where it is told to", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.latency({ millis: 60, direction: "both" }))
      const started = performance.now()
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(client.received()).toBe("+PONG\r\n+PONG\r\n"))
      expect(performance.now() - started).toBeGreaterThanOrEqual(119)
    })
  )

  it.live("keeps the order, whatever the jitter", () =>
    Effect.gen(function* () {
      const port = yield* echo
      const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port })
      yield* proxy.setMode(FaultProxy.latency({ millis: 1, jitterMillis: 20, direction: "both" }))
      const client = yield* open(proxy.port)
      const lines = Array.from({ length: 100 }, (_, index) => `${index}\n`)
      for (const line of lines)
        yield* Effect.andThen(
          client.send(line),
          Effect.promise(() => new Promise(setImmediate))
        )
      yield* eventually(() => expect(client.received()).toBe(lines.join("")))
    })
  )

  it.effect("follows the clock of the test", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.latency({ millis: 3_600_000 }))
      yield* client.send("PING\r\n")
      yield* is(
        Effect.map(proxy.stats, ({ toServer }) => toServer),
        12
      )
      expect(client.received()).toBe("+PONG\r\n")
      while (client.received() === "+PONG\r\n") {
        yield* Effect.andThen(
          TestClock.adjust("1 hour"),
          Effect.promise(() => new Promise(setImmediate))
        )
      }
    })
  )

  it.live("ends at once for what still waits", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.latency({ millis: 3_600_000, direction: "both" }))
      yield* client.send("PING\r\n")
      yield* proxy.setMode(FaultProxy.pass)
      yield* eventually(() => expect(client.received()).toBe("+PONG\r\n+PONG\r\n"))
    })
  )

  it.live("leaves the draws of the test as they are, however many pieces come", () =>
    Effect.gen(function* () {
      const port = yield* echo
      const drawAfter = (pieces: number) =>
        Effect.gen(function* () {
          const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port })
          yield* proxy.setMode(FaultProxy.latency({ millis: 0, jitterMillis: 2 }))
          const client = yield* open(proxy.port)
          for (let sent = 1; sent <= pieces; sent++) {
            yield* client.send(".")
            yield* eventually(() => expect(client.received()).toHaveLength(sent))
          }
          return yield* Random.next
        }).pipe(Effect.scoped, Random.withSeed("seed"))
      expect(yield* drawAfter(1)).toBe(yield* drawAfter(5))
    })
  )
})

describe("drip", () => {
  it.live("lets replies through a few bytes at a time", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.drip({ bytes: 2, everyMillis: 20 }))
      const started = performance.now()
      const seen: Array<string> = []
      client.socket.on("data", (text) => seen.push(String(text)))
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(seen.join("")).toBe("+PONG\r\n"))
      expect(seen.length).toBeGreaterThan(1)
      expect(performance.now() - started).toBeGreaterThanOrEqual(59)
    })
  )
})

describe("dropReplies", () => {
  it.live("applies what is asked and answers nothing, for good", () =>
    Effect.gen(function* () {
      const { redis, proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.dropReplies)
      yield* client.send("INCR n\r\n")
      yield* is(redis.command("GET", "n"), "1")
      yield* is(proxy.stats, { accepted: 1, toServer: 14, toClient: 7, lost: 4 })
      yield* proxy.setMode(FaultProxy.pass)
      yield* client.send("INCR n\r\n")
      yield* is(proxy.stats, { accepted: 1, toServer: 22, toClient: 7, lost: 8 })
      expect(yield* redis.command("GET", "n")).toBe("2")
      expect([client.state(), client.received()]).toEqual(["open", "+PONG\r\n"])
      yield* redis.kill
      yield* eventually(() => expect(client.state()).toBe("ended"))
    })
  )
})

describe("resetMidReply", () => {
  const send = (proxy: FaultProxy.FaultProxy, request: string) =>
    Effect.tap(open(proxy.port), (client) => client.send(request))

  it.live("resets each connection in the middle of a reply", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.resetMidReply({ afterBytes: 3 }))
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(client.state()).toBe("ECONNRESET"))
      expect(client.received()).toBe("+PONG\r\n+PO")
      const next = yield* send(proxy, "PING\r\n")
      yield* eventually(() => expect(next.state()).toBe("ECONNRESET"))
      expect(next.received()).toBe("+PO")
      yield* is(proxy.connections, 0)
    })
  )

  it.live("counts over replies, from the change of mode", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      const mode = FaultProxy.resetMidReply({ afterBytes: 10 })
      yield* proxy.setMode(mode)
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(client.received()).toBe("+PONG\r\n".repeat(2)))
      yield* proxy.setMode(mode)
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(client.received()).toBe("+PONG\r\n".repeat(3)))
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(client.state()).toBe("ECONNRESET"))
      expect(client.received()).toBe(`${"+PONG\r\n".repeat(3)}+PO`)
    })
  )

  it.live("may do so once", () =>
    Effect.gen(function* () {
      const { proxy, client } = yield* redisBehindProxy
      yield* proxy.setMode(FaultProxy.resetMidReply({ afterBytes: 0, once: true }))
      yield* client.send("PING\r\n")
      yield* eventually(() => expect(client.state()).toBe("ECONNRESET"))
      expect(client.received()).toBe("+PONG\r\n")
      expect(yield* proxy.mode).toEqual(FaultProxy.pass)
      yield* openAnswered(proxy)
    })
  )

  it.live("tells the server, too", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const port = yield* listen((socket) => {
        socket.once("error", (error) => seen.push("code" in error ? `${error.code}` : error.message))
        socket.pipe(socket)
      })
      const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port })
      yield* proxy.setMode(FaultProxy.resetMidReply({ afterBytes: 3 }))
      const client = yield* send(proxy, "hello")
      yield* eventually(() =>
        expect([client.state(), client.received(), seen]).toEqual(["ECONNRESET", "hel", ["ECONNRESET"]])
      )
    })
  )
})

describe("a proxy", () => {
  it.live("drops its connections on both sides, and accepts new ones", () =>
    Effect.gen(function* () {
      const { port, seen } = yield* watched
      const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port })
      const clients = yield* Effect.all(Effect.replicate(open(proxy.port), 10))
      yield* eventually(() => expect(seen).toEqual(Array(10).fill("open")))
      yield* proxy.dropConnections
      expect(yield* proxy.connections).toBe(0)
      yield* eventually(() =>
        expect(clients.map(({ state }) => state())).toEqual(Array(10).fill("ECONNRESET"))
      )
      yield* eventually(() => expect(seen.slice(10)).toEqual(Array(10).fill("ECONNRESET")))
      yield* open(proxy.port)
      yield* eventually(() => expect(seen.at(-1)).toBe("open"))
    })
  )

  it.live("drops a connection whose client does not read", () =>
    Effect.gen(function* () {
      const block = Buffer.alloc(1_048_576)
      const port = yield* listen((socket) => {
        const write = (): void => {
          while (socket.write(block));
          socket.once("drain", write)
        }
        write()
      })
      const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port })
      const client = yield* open(proxy.port)
      client.socket.pause()
      yield* eventually(async () =>
        expect((await Effect.runPromise(proxy.stats)).toClient).toBeGreaterThan(block.length)
      )
      yield* proxy.dropConnections
      client.socket.resume()
      yield* eventually(() => expect(client.state()).toBe("ECONNRESET"))
    })
  )

  it.live("ends with its scope, and its connections with it", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const port = yield* echo
      const proxy = yield* Scope.provide(FaultProxy.make({ host: "127.0.0.1", port }), scope)
      const client = yield* open(proxy.port)
      yield* is(proxy.connections, 1)
      yield* Scope.close(scope, Exit.void)
      yield* eventually(() => expect(client.state()).toBe("ECONNRESET"))
      const late = yield* open(proxy.port)
      yield* eventually(() => expect(late.state()).toBe("ECONNREFUSED"))
      expect(yield* Effect.flip(proxy.setMode(FaultProxy.refuse))).toMatchObject({
        _tag: "FaultProxyError",
        message: "The proxy cannot listen: its scope is closed"
      })
    })
  )

  it.live("takes another port when one is lost", () =>
    Effect.gen(function* () {
      const target = { host: "127.0.0.1", port: yield* echo }
      const drawn = Random.withSeed(FaultProxy.make(target), "seed")
      const first = yield* Effect.scoped(Effect.map(drawn, ({ port }) => port))
      yield* listen(() => {}, first)
      const proxy = yield* drawn
      expect(proxy.port).not.toBe(first)
      const client = yield* open(proxy.port)
      yield* client.send("hello")
      yield* eventually(() => expect(client.received()).toBe("hello"))
    })
  )

  it.live.each([
    {
      mode: FaultProxy.drip({ bytes: 0, everyMillis: 1 }),
      option: "Drip.bytes",
      allowed: "a whole number from 1"
    },
    { mode: FaultProxy.latency({ millis: -1 }), option: "Latency.millis", allowed: "a whole number from 0" },
    {
      mode: FaultProxy.resetMidReply({ afterBytes: Number.NaN }),
      option: "ResetMidReply.afterBytes",
      allowed: "a whole number from 0"
    }
  ])("refuses a wrong $option", ({ mode, option, allowed }) =>
    Effect.gen(function* () {
      const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port: yield* echo })
      expect(yield* Effect.flip(proxy.setMode(mode))).toMatchObject({
        _tag: "InvalidOption",
        option,
        allowed
      })
      expect(yield* proxy.mode).toEqual(FaultProxy.pass)
    })
  )
})
