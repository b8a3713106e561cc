import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Queue, Scope } from "effect"
import { connect, type Subject, started, until } from "./subject.ts"

/** `subscribe`: messages to whoever listens, for as long as the scope lasts, across lost connections. */
export const subscriptions = (subject: Subject): void => {
  describe("subscribe", () => {
    it.live("receives what is published on its channel, in order", () =>
      Effect.gen(function* () {
        const { redis } = yield* started(subject)
        const messages = yield* redis.subscribe("news ✉")
        const texts = ["", "żółw 🐢", ...Array.from({ length: 500 }, (_, index) => `message ${index}`)]
        yield* redis.send("PUBLISH", "other", "not for us")
        yield* Effect.forEach(texts, (text) => redis.send("PUBLISH", "news ✉", text), { concurrency: 1 })
        const received = yield* Effect.forEach(texts, () => Queue.take(messages))
        expect(received).toEqual(texts.map((message) => ({ channel: "news ✉", message })))
      })
    )

    it.live("serves several subscribers, of one client and of others", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        const other = yield* connect(subject, server)
        const news = [
          yield* redis.subscribe("news"),
          yield* redis.subscribe("news"),
          yield* other.subscribe("news")
        ]
        const sport = yield* redis.subscribe("sport")
        expect(yield* redis.send("PUBLISH", "news", "rain")).toBe(3)
        expect(yield* redis.send("PUBLISH", "sport", "1:0")).toBe(1)
        for (const messages of news) {
          expect(yield* Queue.take(messages)).toEqual({ channel: "news", message: "rain" })
        }
        expect(yield* Queue.take(sport)).toEqual({ channel: "sport", message: "1:0" })
      })
    )

    it.live("ends with its scope, and ends only itself", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        const kept = yield* redis.subscribe("news")
        const scope = yield* Scope.make()
        const ended = yield* Scope.provide(redis.subscribe("news"), scope)
        expect(yield* server.command("PUBSUB", "NUMSUB", "news")).toEqual(["news", 2])
        yield* Scope.close(scope, Exit.void)
        yield* until(server.command("PUBSUB", "NUMSUB", "news"), (reply) => String(reply) === "news,1")
        yield* redis.send("PUBLISH", "news", "still here")
        expect(yield* Queue.take(kept)).toEqual({ channel: "news", message: "still here" })
        expect(Exit.hasInterrupts(yield* Effect.exit(Queue.take(ended)))).toBe(true)
      })
    )

    it.live("leaves nobody subscribed when the last scope ends", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        yield* Effect.scoped(Effect.forEach(["news", "news", "sport"], redis.subscribe))
        yield* until(
          server.command("PUBSUB", "NUMSUB", "news", "sport"),
          (reply) => String(reply) === "news,0,sport,0"
        )
      })
    )

    it.live("subscribes again when its connection was killed, as often as it happens", () =>
      Effect.gen(function* () {
        const { redis, server } = yield* started(subject)
        const messages = yield* redis.subscribe("news")
        for (const message of ["first", "second"]) {
          expect(yield* server.command("CLIENT", "KILL", "TYPE", "pubsub")).toBe(1)
          yield* until(server.command("PUBLISH", "news", message), (receivers) => receivers === 1)
          expect(yield* Queue.take(messages)).toEqual({ channel: "news", message })
        }
      })
    )
  })
}
