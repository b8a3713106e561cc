import { expect, it } from "vitest"
import * as Circuit from "../../../packages/failsoft/src/state/Circuit.ts"
import { causes, playHistories, situations, transitions } from "./circuitHistories.ts"

it("does what the reference does in 100,000 random histories", () => {
  const counts = playHistories(Circuit, 1_000_000, 100_000)
  const happened = (name: string): number => counts.get(name) ?? 0
  expect(transitions.filter((name) => happened(name) < 10_000)).toEqual([])
  expect(causes.filter((name) => happened(name) < 5000)).toEqual([])
  expect(situations.filter((name) => happened(name) < 1000)).toEqual([])
})
