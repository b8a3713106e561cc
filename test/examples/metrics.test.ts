/**
 * The gateway's metrics over a socket, as a scraper finds them.
 */
import { expect, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { vi } from "vitest"
import { parse } from "../http/exposition.ts"
import { bearer, json, type Running, serviceNames, start, tokenOf, untilState } from "./inProcess.ts"

vi.setConfig({ testTimeout: 20_000 })

const scrape = (running: Running) =>
  Effect.map(running.send("/metrics"), ({ headers, text }) => {
    expect(headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8")
    const samples = parse(text).flatMap((family) => family.samples)
    return (name: string, labels: Readonly<Record<string, string>>) =>
      samples
        .filter((one) => one.name === name)
        .find((one) => Object.entries(labels).every(([label, value]) => one.labels[label] === value))?.value
  })

it.live("tell of an outage of billing what a caller saw and what the service did", () =>
  Effect.gen(function* () {
    const running = yield* start()
    const before = yield* scrape(running)
    for (const policy of serviceNames) {
      expect(before("failsoft_calls_total", { policy, outcome: "success" })).toBe(0)
      expect(before("failsoft_breaker_state", { policy, state: "closed" })).toBe(1)
    }
    // Without a Redis nothing can be said of it.
    expect(before("failsoft_degraded", { layer: "redis" })).toBeUndefined()
    const token = yield* tokenOf(running)
    yield* running.setMode("billing", "fail")
    const chat = running.send("/api/v1/chat", json({ message: "hello" }, bearer(token)))
    // Six failures of two attempts each, of which the tenth opens the circuit.
    for (let asked = 0; asked < 6; asked++) expect((yield* chat).status).toBe(200)
    yield* untilState(running, "billing", "open")
    const after = yield* scrape(running)
    const billing = { policy: "billing" }
    expect(after("failsoft_calls_total", { policy: "auth", outcome: "success" })).toBeGreaterThanOrEqual(1)
    expect(after("failsoft_breaker_state", { ...billing, state: "closed" })).toBe(0)
    expect(after("failsoft_breaker_transitions_total", { ...billing, from: "closed", to: "open" })).toBe(1)
    expect(after("failsoft_calls_total", { ...billing, outcome: "failure" })).toBeGreaterThanOrEqual(1)
    expect(after("failsoft_fallbacks_total", { ...billing, source: "fallback" })).toBeGreaterThanOrEqual(1)
    expect(after("failsoft_attempts_total", { ...billing, kind: "retry" })).toBeGreaterThanOrEqual(1)
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
)
