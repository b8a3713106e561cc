import { expect, it } from "vitest"
import { playHistories, situations } from "./policyHistories.ts"

it.each([1, 2, 3, 4])(
  "a policy keeps what its stages promise in thousand %i of random histories",
  (thousand) => {
    const happened = playHistories(thousand * 1_000_000, 1000)
    expect(situations.filter((name) => (happened[name] ?? 0) < 40)).toEqual([])
  }
)
