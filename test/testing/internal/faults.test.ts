import { FaultProxy } from "@failsoft/testing"
import { describe, expect, it } from "vitest"
import { modeOf, type Piece, step } from "../../../packages/testing/src/internal/faults.ts"

const piece = (fields: Partial<Piece> = {}): Piece => ({
  size: 10,
  ageMillis: 0,
  jitter: 0,
  passed: 0,
  idleMillis: Infinity,
  ...fields
})

const passes = (bytes: number, reset = false) => ({ _tag: "Pass", bytes, reset })
const waits = (millis: number) => ({ _tag: "Wait", millis })

describe("latency", () => {
  const mode = FaultProxy.latency({ millis: 100, jitterMillis: 50 })

  it("counts from when a piece came, and adds its share of the jitter", () => {
    expect(step(mode, "reply", piece())).toEqual(waits(100))
    expect(step(mode, "reply", piece({ ageMillis: 60 }))).toEqual(waits(40))
    expect(step(mode, "reply", piece({ ageMillis: 60, jitter: 0.5 }))).toEqual(waits(65))
    expect(step(mode, "reply", piece({ ageMillis: 100 }))).toEqual(passes(10))
    expect(step(mode, "reply", piece({ ageMillis: 149, jitter: 1 }))).toEqual(waits(1))
    expect(step(mode, "reply", piece({ ageMillis: 150, jitter: 1 }))).toEqual(passes(10))
  })

  it("delays the end of the stream too, so that it does not overtake", () => {
    expect(step(mode, "reply", piece({ size: 0 }))).toEqual(waits(100))
  })

  it("delays requests only where both directions are", () => {
    expect(step(mode, "request", piece())).toEqual(passes(10))
    expect(step(FaultProxy.latency({ millis: 100, direction: "both" }), "request", piece())).toEqual(
      waits(100)
    )
  })
})

describe("drip", () => {
  const mode = FaultProxy.drip({ bytes: 3, everyMillis: 20 })

  it("lets a few bytes of a reply through, and the next ones a while later", () => {
    expect(step(mode, "reply", piece())).toEqual(passes(3))
    expect(step(mode, "reply", piece({ size: 2 }))).toEqual(passes(2))
    expect(step(mode, "reply", piece({ idleMillis: 15 }))).toEqual(waits(5))
    expect(step(mode, "reply", piece({ idleMillis: 20 }))).toEqual(passes(3))
  })

  it("holds up neither requests nor the end of the stream", () => {
    expect(step(mode, "request", piece({ idleMillis: 0 }))).toEqual(passes(10))
    expect(step(mode, "reply", piece({ size: 0, idleMillis: 0 }))).toEqual(passes(0))
  })
})

describe("resetMidReply", () => {
  const mode = FaultProxy.resetMidReply({ afterBytes: 12 })

  it("resets once so many bytes of replies have gone on", () => {
    expect(step(mode, "reply", piece())).toEqual(passes(10))
    expect(step(mode, "reply", piece({ passed: 10 }))).toEqual(passes(2, true))
    expect(step(mode, "reply", piece({ size: 2, passed: 10 }))).toEqual(passes(2, true))
    expect(step(FaultProxy.resetMidReply({ afterBytes: 0 }), "reply", piece())).toEqual(passes(0, true))
  })

  it("counts neither requests nor the end of the stream", () => {
    expect(step(mode, "request", piece({ size: 99 }))).toEqual(passes(99))
    expect(step(mode, "reply", piece({ size: 0, passed: 12 }))).toEqual(passes(0))
  })
})

describe("what was lost", () => {
  it("stays lost, whatever the mode becomes", () => {
    expect(modeOf(FaultProxy.pass, "nothing")).toBe(FaultProxy.pass)
    expect(modeOf(FaultProxy.pass, "replies")).toEqual(FaultProxy.dropReplies)
    expect(modeOf(FaultProxy.pass, "everything")).toEqual(FaultProxy.blackhole)
    expect(modeOf(FaultProxy.blackhole, "replies")).toEqual(FaultProxy.blackhole)
  })

  it("is everything in a black hole, where only the client's end is heard", () => {
    for (const direction of ["request", "reply"] as const)
      expect(step(FaultProxy.blackhole, direction, piece())).toEqual({ _tag: "Lose", lost: "everything" })
    expect(step(FaultProxy.blackhole, "request", piece({ size: 0 }))).toEqual({ _tag: "Close" })
    expect(step(FaultProxy.blackhole, "reply", piece({ size: 0 }))).toEqual(waits(Infinity))
  })

  it("is what the server says where replies are dropped", () => {
    expect(step(FaultProxy.dropReplies, "request", piece())).toEqual(passes(10))
    expect(step(FaultProxy.dropReplies, "reply", piece())).toEqual({ _tag: "Lose", lost: "replies" })
    expect(step(FaultProxy.dropReplies, "reply", piece({ size: 0 }))).toEqual(passes(0))
  })
})
