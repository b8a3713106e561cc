import * as failsoft from "failsoft"
import { expect, it } from "vitest"
import { playHistories, situationsOf } from "./breakerHistories.ts"

const kind = "with an idle probe"

it("does what the reference does in 5,000 random histories with an idle probe", { timeout: 120_000 }, () => {
  const counts = playHistories(failsoft, kind, 1, 5000)
  expect(situationsOf(kind).filter((name) => (counts.get(name) ?? 0) < 25)).toEqual([])
})
