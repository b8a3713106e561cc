/**
 * The stand-in upstreams as a client sees them, over real sockets in this process.
 */
import { once } from "node:events"
import { connect } from "node:net"
import { describe, expect, it } from "@effect/vitest"
import type { Definition } from "failsoft-example-chat-gateway/upstreams/Definition"
import type { Name } from "failsoft-example-chat-gateway/upstreams/Mode"
import * as Upstream from "failsoft-example-chat-gateway/upstreams/Upstream"
import { upstreams } from "failsoft-example-chat-gateway/upstreams/Upstreams"
import { onTestFinished, vi } from "vitest"

const tiny: Definition = { name: "tiny", routes: () => ({ "GET /tiny": () => [200, 42] }) }

const named = (name: string): Definition => {
  const found = upstreams.find((upstream) => upstream.name === name)
  if (found === undefined) throw new Error(`no upstream ${name}`)
  return found
}

const start = async (definition: Definition = tiny): Promise<Upstream.Upstream> => {
  const upstream = await Upstream.start(definition)
  onTestFinished(upstream.close)
  return upstream
}

const request = (port: number, path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5_000), ...init })

const call = async (
  port: number,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {}
): Promise<readonly [number, unknown]> => {
  const init = body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }
  const response = await request(port, path, { method, headers, ...init })
  return [response.status, await response.json()]
}

const eventually = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 5_000, interval: 10 })

const failureCode = async (response: Promise<Response>): Promise<unknown> => {
  try {
    await response
    return "answered"
  } catch (error) {
    return error instanceof Error && error.cause instanceof Error && "code" in error.cause
      ? error.cause.code
      : error
  }
}

describe("the modes", () => {
  it("ok: answers from the routes, and health", async () => {
    const { port } = await start()
    expect(await call(port, "GET", "/tiny?now")).toEqual([200, 42])
    expect(await call(port, "GET", "/health")).toEqual([200, { status: "ok" }])
  })

  it("fail: 500 on every request, health as well", async () => {
    const upstream = await start()
    await upstream.setMode("fail")
    expect(await call(upstream.port, "GET", "/tiny")).toEqual([500, { error: "failing, as told" }])
    expect((await request(upstream.port, "/health")).status).toBe(500)
    await upstream.setMode("ok")
    expect((await request(upstream.port, "/health")).status).toBe(200)
  })

  it("hang: accepts and never answers, until the mode leaves hang", async () => {
    const upstream = await start()
    await upstream.setMode("hang")
    const answer = failureCode(request(upstream.port, "/tiny"))
    await eventually(() => expect(upstream.stats().inflight).toBe(1))
    // A body that nobody reads must not hide that the client has left.
    const impatient = { method: "POST", body: "x".repeat(1_000_000), signal: AbortSignal.timeout(100) }
    const gaveUp = request(upstream.port, "/tiny", impatient)
    await expect(gaveUp).rejects.toMatchObject({ name: "TimeoutError" })
    await eventually(() => expect(upstream.stats().inflight).toBe(1))
    await upstream.setMode("ok")
    expect(await answer).toBe("UND_ERR_SOCKET")
    expect(await call(upstream.port, "GET", "/tiny")).toEqual([200, 42])
    expect(upstream.stats()).toMatchObject({ total: 3, inflight: 0, maxInflight: 2, bodiesCutOff: 0 })
  })

  it("refuse: destroys open sockets, refuses new ones, and comes back on the same port", async () => {
    const upstream = await start()
    const silent = connect(upstream.port, "127.0.0.1")
    onTestFinished(() => void silent.destroy())
    // A reset is as good as an end here.
    silent.on("error", () => {})
    await once(silent, "connect", { signal: AbortSignal.timeout(5_000) })
    expect((await request(upstream.port, "/tiny")).status).toBe(200)
    await upstream.setMode("drip")
    const dripping = (await request(upstream.port, "/health")).text()
    await upstream.setMode("hang")
    const hanging = failureCode(request(upstream.port, "/tiny"))
    await eventually(() => expect(upstream.stats().inflight).toBe(2))

    const silentClosed = once(silent.resume(), "close", { signal: AbortSignal.timeout(5_000) })
    await upstream.setMode("refuse")
    await silentClosed
    await expect(dripping).rejects.toThrow("terminated")
    expect(await hanging).toBe("UND_ERR_SOCKET")
    expect(await failureCode(request(upstream.port, "/tiny"))).toBe("ECONNREFUSED")
    await upstream.setMode("refuse")

    await upstream.setMode("ok")
    expect(await call(upstream.port, "GET", "/tiny")).toEqual([200, 42])
    expect(upstream.stats()).toMatchObject({ inflight: 0, bodiesCutOff: 0 })
  })

  it("refuse: says so when another process took the port meanwhile, and goes on refusing", async () => {
    const upstream = await start()
    await upstream.setMode("refuse")
    const thief = await Upstream.start(tiny, { port: upstream.port })
    onTestFinished(thief.close)
    expect(await call(upstream.controlPort, "PUT", "/mode", "ok")).toEqual([
      409,
      { error: `tiny: cannot listen on 127.0.0.1 port ${upstream.port}: the port is already in use` }
    ])
    expect(upstream.mode()).toEqual({ mode: "refuse" })
    await thief.close()
    await upstream.setMode("ok")
    expect(await call(upstream.port, "GET", "/tiny")).toEqual([200, 42])
  })

  it("drip: headers at once, then a byte at a time", async () => {
    const upstream = await start()
    await upstream.setMode("drip")
    const response = await request(upstream.port, "/tiny")
    expect(response.status).toBe(200)
    expect(upstream.stats().inflight).toBe(1)
    const chunks: Array<string> = []
    for await (const chunk of response.body ?? []) chunks.push(Buffer.from(chunk).toString())
    expect(chunks).toEqual(["4", "2"])
  })

  it("slow: answers after the delay", async () => {
    const upstream = await start()
    await upstream.setMode({ mode: "slow", delayMillis: 200 })
    const from = performance.now()
    expect(await call(upstream.port, "GET", "/tiny")).toEqual([200, 42])
    expect(performance.now() - from).toBeGreaterThan(190)
    await upstream.setMode("slow")
    expect(upstream.mode()).toEqual({ mode: "slow", delayMillis: 2_000 })
  })

  it("stutter: every second answer is late, and the first", async () => {
    const upstream = await start()
    await upstream.setMode({ mode: "stutter", delayMillis: 60_000 })
    const late = call(upstream.port, "GET", "/tiny")
    await vi.waitFor(() => expect(upstream.stats().inflight).toBe(1))
    expect(await call(upstream.port, "GET", "/tiny")).toEqual([200, 42])
    expect(upstream.stats().inflight).toBe(1)
    await upstream.close()
    await expect(late).rejects.toThrow()
  })

  it("unavailable: 503 with Retry-After in seconds", async () => {
    const upstream = await start()
    await upstream.setMode({ mode: "unavailable", retryAfterSeconds: 7 })
    const response = await request(upstream.port, "/tiny")
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "7"])
  })

  it("change in turn when several changes come at once", async () => {
    const upstream = await start()
    const changes: ReadonlyArray<Name> = ["refuse", "ok", "hang", "refuse"]
    await Promise.all(changes.map(upstream.setMode))
    expect(upstream.mode()).toEqual({ mode: "refuse" })
    expect(await failureCode(request(upstream.port, "/tiny"))).toBe("ECONNREFUSED")
  })
})

describe("the switch", () => {
  it("works while the upstream refuses connections", async () => {
    const { controlPort, port } = await start()
    expect(await call(controlPort, "PUT", "/mode", "refuse\n")).toEqual([200, { mode: "refuse" }])
    expect(await failureCode(request(port, "/tiny"))).toBe("ECONNREFUSED")
    expect(await call(controlPort, "GET", "/mode")).toEqual([200, { mode: "refuse" }])
    const slow = { mode: "slow", delayMillis: 10 }
    expect(await call(controlPort, "PUT", "/mode", slow)).toEqual([200, slow])
    expect(await call(port, "GET", "/tiny")).toEqual([200, 42])
  })

  const allowed = "allowed: ok, fail, hang, refuse, drip, slow, stutter, unavailable"
  it.each([
    ["explode", `unknown mode "explode"; ${allowed}`],
    ["", `unknown mode ""; ${allowed}`],
    ['{"mode":7}', `unknown mode 7; ${allowed}`],
    ["{}", `unknown mode undefined; ${allowed}`],
    ['{"mode":', 'the body is not JSON; send {"mode":"<name>"} or a plain name: ok, fail, '],
    ['{"mode":"fail","delayMillis":1}', 'mode fail has no option "delayMillis"; allowed: none'],
    ['{"mode":"slow","delay":1}', 'mode slow has no option "delay"; allowed: delayMillis'],
    ['{"mode":"slow","delayMillis":-1}', "delayMillis is -1; allowed: a whole number from 0 to 600000"],
    ['{"mode":"unavailable","retryAfterSeconds":"2"}', 'retryAfterSeconds is "2"; allowed: ']
  ])("answers %j with 400 and keeps its mode", async (body, error) => {
    const { controlPort } = await start()
    expect(await call(controlPort, "PUT", "/mode", body)).toEqual([
      400,
      { error: expect.stringContaining(error) }
    ])
    expect(await call(controlPort, "GET", "/mode")).toEqual([200, { mode: "ok" }])
  })

  it("answers 404 with its routes to anything else", async () => {
    const { controlPort } = await start()
    const routes = ["GET /mode", "PUT /mode", "GET /stats"]
    expect(await call(controlPort, "POST", "/mode", "ok")).toEqual([404, { error: "no such route", routes }])
  })

  it("counts requests in total, by route, at once, and bodies cut off by the client", async () => {
    const upstream = await start()
    await request(upstream.port, "/tiny")
    await request(upstream.port, "/nothing")
    await upstream.setMode("hang")
    const hanging = [1, 2, 3].map(() => failureCode(request(upstream.port, "/health")))
    await eventually(() => expect(upstream.stats().inflight).toBe(3))
    await upstream.setMode("drip")
    await Promise.all(hanging)
    const dripping = await request(upstream.port, "/health")
    await dripping.body?.cancel()
    await eventually(() => expect(upstream.stats().bodiesCutOff).toBe(1))
    expect(await call(upstream.controlPort, "GET", "/stats")).toEqual([
      200,
      {
        total: 6,
        routes: { "GET /tiny": 1, unmatched: 1, "GET /health": 4 },
        inflight: 0,
        maxInflight: 3,
        bodiesCutOff: 1
      }
    ])
  })
})

describe("bad input", () => {
  it("is answered, and the upstream goes on", async () => {
    const { port } = await start(named("auth"))
    expect(await call(port, "POST", "/login", '{"email":')).toEqual([400, { error: "the body is not JSON" }])
    expect(await call(port, "POST", "/login", "[]")).toEqual([
      400,
      { error: "the body must be a JSON object" }
    ])
    expect(await call(port, "POST", "/login", "x".repeat(1_000_001))).toMatchObject([413, {}])
    expect(await call(port, "GET", "/projects/%E0%A4/owner")).toEqual([
      400,
      { error: "the path is not percent-encoded" }
    ])
    expect(await call(port, "GET", "/projects//owner")).toMatchObject([404, { error: "no such route" }])
    const raw = connect(port, "127.0.0.1")
    onTestFinished(() => void raw.destroy())
    const closed = once(raw.resume(), "close", { signal: AbortSignal.timeout(5_000) })
    raw.end("not http at all\r\n\r\n")
    await closed
    expect(await call(port, "GET", "/health")).toEqual([200, { status: "ok" }])
  })

  it("rejects a port in use, and leaves nothing listening", async () => {
    const first = await start()
    const { controlPort } = first
    const message = `tiny control: cannot listen on 127.0.0.1 port ${controlPort}: the port is already in use`
    await expect(Upstream.start(tiny, { controlPort })).rejects.toThrow(message)
    await expect(Upstream.start(tiny, { port: first.port })).rejects.toThrow("the port is already in use")
  })

  it("rejects a change of mode after close", async () => {
    const upstream = await start()
    await upstream.close()
    await expect(upstream.setMode("ok")).rejects.toThrow("tiny is closed")
    expect(await failureCode(request(upstream.port, "/tiny"))).toBe("ECONNREFUSED")
  })
})

describe("the six", () => {
  it("auth", async () => {
    const { port } = await start(named("auth"))
    const login = await request(port, "/login", {
      method: "POST",
      body: JSON.stringify({ email: "ada@example.org", password: "lovelace" })
    })
    const { token, userId } = (await login.json()) as Record<string, string>
    expect([login.status, userId]).toEqual([200, "user-1"])
    expect(
      await call(port, "POST", "/login", { email: "ada@example.org", password: "turing" })
    ).toMatchObject([401, {}])

    // A restart keeps tokens valid.
    const restarted = await start(named("auth"))
    const ada = { userId: "user-1", email: "ada@example.org" }
    expect(await call(restarted.port, "POST", "/verify", { token })).toEqual([200, ada])
    expect(await call(port, "POST", "/verify", { token: `${token}x` })).toEqual([
      401,
      { error: "invalid token" }
    ])
    expect(await call(port, "POST", "/verify", {})).toEqual([401, { error: "invalid token" }])

    expect(await call(port, "GET", "/projects/p-2/owner")).toEqual([200, { ownerId: "user-2" }])
    expect(await call(port, "GET", "/projects/p-3/owner")).toEqual([404, { error: "no such project" }])
  })

  it("billing charges once per idempotency key", async () => {
    const { port } = await start(named("billing"))
    const charge = { userId: "user-1", amount: 10 }
    expect(await call(port, "GET", "/balance/user-1")).toEqual([200, { credits: 100_000 }])
    for (let sent = 0; sent < 3; sent++) {
      const reply = await call(port, "POST", "/charges", charge, { "idempotency-key": "chat-1" })
      expect(reply).toEqual([200, { credits: 99_990 }])
    }
    expect(await call(port, "POST", "/charges", charge)).toEqual([200, { credits: 99_980 }])
    expect(await call(port, "POST", "/charges", { ...charge, amount: 0.5 })).toMatchObject([400, {}])
    expect(await call(port, "POST", "/charges", { ...charge, userId: "nobody" })).toMatchObject([404, {}])
    expect(await call(port, "POST", "/charges", { ...charge, amount: 1_000_000 })).toMatchObject([402, {}])
    expect(await call(port, "GET", "/balance/user-1")).toEqual([200, { credits: 99_980 }])
    expect(await call(port, "GET", "/charges")).toEqual([200, { count: 2 }])
  })

  it("chroma", async () => {
    const { port } = await start(named("chroma"))
    expect(await call(port, "POST", "/query", { text: "An open CIRCUIT!", limit: 2 })).toMatchObject([
      200,
      { documents: [{ id: "doc-2", score: 1 }, { id: "doc-1" }] }
    ])
    expect(await call(port, "POST", "/query", { text: "xyzzy" })).toEqual([200, { documents: [] }])
    expect(await call(port, "POST", "/query", { limit: 2 })).toMatchObject([400, {}])
  })

  it("filesystem", async () => {
    const { port } = await start(named("filesystem"))
    expect(await call(port, "GET", "/projects/p-1/files")).toEqual([
      200,
      { files: ["README.md", "notes.txt"] }
    ])
    const file = { name: "a b.md", content: "hello" }
    expect(await call(port, "PUT", "/projects/p-1/files/a%20b.md", { content: "hello" })).toEqual([200, file])
    expect(await call(port, "GET", "/projects/p-1/files/a%20b.md")).toEqual([200, file])
    expect(await call(port, "GET", "/projects/p-1/files/none")).toMatchObject([404, {}])
    expect(await call(port, "PUT", "/projects/p-9/files/x", { content: "" })).toMatchObject([404, {}])
  })

  it("git and external", async () => {
    const git = await start(named("git"))
    expect(await call(git.port, "GET", "/projects/p-2/commits")).toMatchObject([
      200,
      { commits: [{ hash: "c03b5d8" }] }
    ])
    const external = await start(named("external"))
    expect(await call(external.port, "GET", "/data/weather")).toMatchObject([200, { topic: "weather" }])
    expect(await call(external.port, "GET", "/data/__proto__")).toMatchObject([404, {}])
  })
})
