/** A pipeline of reads and writes was rejected as a whole by the circuit of the writes, though the server served reads. */
import { expect, it } from "@effect/vitest"
import { Command } from "@failsoft/redis"
import { Effect, Result } from "effect"
import { brittle, started } from "../../redis/resilient.ts"

it.live("the reads of a pipeline are sent when only its writes are rejected", () =>
  Effect.gen(function* () {
    const { redis, server } = yield* started(brittle)
    yield* server.command("SET", "unseen", "theirs")
    yield* server.command("CONFIG", "SET", "maxmemory", "1")
    yield* Effect.flip(redis.set("k", "v"))
    const [written, read] = yield* redis.pipeline([Command.set("k", "v"), Command.get("unseen")])
    expect(Result.isFailure(written)).toBe(true)
    expect(read).toEqual(Result.succeed("theirs"))
  })
)
