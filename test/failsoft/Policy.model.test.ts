import { expect, it } from "vitest"
import { playHistories, situations } from "./policyHistories.ts"

it("a policy keeps what its stages promise in 200 random histories", { timeout: 120_000 }, () => {
  const happened = playHistories(1, 200)
  expect(situations.filter((name) => (happened[name] ?? 0) < 5)).toEqual([])
})
