import { Served } from "failsoft"
import { expect, it } from "vitest"

it("only a live value is not degraded, however old it is", () => {
  const sources: ReadonlyArray<Served.Source> = ["live", "stale", "local", "fallback"]
  expect(sources.filter((source) => !Served.isDegraded({ value: 1, source }))).toEqual(["live"])
  expect(Served.isDegraded({ value: 1, source: "live", ageMillis: 60_000 })).toBe(false)
  expect(Served.live(1)).toEqual({ value: 1, source: "live" })
})
