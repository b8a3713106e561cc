import * as failsoft from "failsoft"
import { expect, it } from "vitest"
import { playHistories, situationsOf } from "./breakerHistories.ts"

it.each(["without an idle probe", "with an idle probe"] as const)(
  "does what the reference does in 50,000 random histories %s",
  (kind) => {
    const counts = playHistories(failsoft, kind, 1_000_000, 50_000)
    expect(situationsOf(kind).filter((name) => (counts.get(name) ?? 0) < 250)).toEqual([])
  }
)
