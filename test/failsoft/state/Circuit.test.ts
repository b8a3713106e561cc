import { expect, it } from "vitest"
import * as Circuit from "../../../packages/failsoft/src/state/Circuit.ts"
import { causes, playHistories, situations, transitions } from "./circuitHistories.ts"

it("does what the reference does in 10,000 random histories", { timeout: 60_000 }, () => {
  const counts = playHistories(Circuit, 1, 10_000)
  const happened = (name: string): number => counts.get(name) ?? 0
  expect(transitions.filter((name) => happened(name) < 1000)).toEqual([])
  expect(causes.filter((name) => happened(name) < 500)).toEqual([])
  expect(situations.filter((name) => happened(name) < 100)).toEqual([])
})
