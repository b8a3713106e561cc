/** What a pipeline had written here was given up at once, as if Redis had answered, though it reached nobody. */
import { expect, it } from "@effect/vitest"
import { Command } from "@failsoft/redis"
import { Effect } from "effect"
import { started } from "../../redis/resilient.ts"

it.live("a pipeline that finds no connection leaves what it wrote held", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* started({ retry: { enabled: false } })
    yield* server.kill
    yield* redis.set("alone", "held")
    yield* redis.pipeline([Command.set("piped", "held"), Command.get("alone")])
    expect(yield* redis.mgetServed(["alone", "piped"])).toEqual({ value: ["held", "held"], source: "local" })
  })
)
