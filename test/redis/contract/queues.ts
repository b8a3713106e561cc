import { describe, expect, it } from "@effect/vitest"
import type { RedisServer } from "@failsoft/testing"
import { Context, Deferred, Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { PersistedQueue, Redis } from "effect/persistence"
import { connect, type Subject, started, until } from "./subject.ts"

const Job = Schema.Struct({ name: Schema.String })

/** The queue in one more process. */
export const queueOf = (subject: Subject, server: RedisServer.RedisServer, maxAttempts = 3) =>
  Effect.gen(function* () {
    const redis = yield* connect(subject, server)
    const store = PersistedQueue.layerStoreRedis({ pollInterval: "10 millis" }).pipe(
      Layer.provide(Layer.succeed(Redis.Redis, redis))
    )
    const factory = Context.get(
      yield* Layer.build(PersistedQueue.layer.pipe(Layer.provide(store))),
      PersistedQueue.PersistedQueueFactory
    )
    return yield* factory.make({
      name: "jobs",
      schema: Job,
      maxAttempts,
      retrySchedule: Schedule.spaced("10 millis")
    })
  })

/** Effect's queue: each element once, again after a failure, and not for ever. */
export const queues = (subject: Subject): void => {
  describe("Effect's PersistedQueue", () => {
    it.live("hands each element to one of many takers in two processes", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const [here, there] = [yield* queueOf(subject, server), yield* queueOf(subject, server)]
        const names = Array.from({ length: 200 }, (_, index) => `job ${index}`)
        const taken: Array<string> = []
        const all = yield* Deferred.make<void>()
        const taker = (queue: typeof here) =>
          Effect.forever(
            queue.take(({ name }) =>
              Effect.sync(() => {
                taken.push(name)
                if (taken.length === names.length) Deferred.doneUnsafe(all, Effect.void)
              })
            )
          )
        yield* Effect.forEach([here, there, here, there, here, there], (queue) =>
          Effect.forkScoped(taker(queue))
        )
        yield* Effect.forEach(names, (name, index) => (index % 2 === 0 ? here : there).offer({ name }), {
          concurrency: 20,
          discard: true
        })
        yield* Deferred.await(all).pipe(Effect.timeout("8 seconds"))
        // Nothing is left that could be handed out a second time.
        yield* until(
          server.command("EXISTS", "effectq:jobs", "effectq:jobs:pending", "effectq:jobs:delayed"),
          (n) => n === 0
        )
        expect([...taken].sort()).toEqual([...names].sort())
      })
    )

    it.live("takes an element offered twice under one id once", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const queue = yield* queueOf(subject, server)
        yield* queue.offer({ name: "first" }, { id: "one" })
        yield* queue.offer({ name: "again" }, { id: "one" })
        yield* queue.offer({ name: "last" })
        const take = queue.take(({ name }) => Effect.succeed(name))
        expect([yield* take, yield* take]).toEqual(["first", "last"])
        yield* queue.offer({ name: "long after" }, { id: "one" })
        expect(yield* server.command("LLEN", "effectq:jobs")).toBe(0)
      })
    )

    it.live("hands an element out again when its taker failed, and counts the attempts", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const queue = yield* queueOf(subject, server)
        yield* queue.offer({ name: "job" }, { id: "one" })
        const attempt = queue.take((_, { attempts, id }) =>
          attempts < 3 ? Effect.fail(attempts) : Effect.succeed(`${id} at attempt ${attempts}`)
        )
        expect(yield* Effect.flip(attempt)).toBe(1)
        expect(yield* Effect.flip(attempt)).toBe(2)
        expect(yield* attempt).toBe("one at attempt 3")
        expect(yield* server.command("EXISTS", "effectq:jobs:failed")).toBe(0)
      })
    )

    it.live("puts an element aside that failed too often", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const queue = yield* queueOf(subject, server, 1)
        yield* queue.offer({ name: "hopeless" })
        yield* queue.offer({ name: "next" })
        expect(yield* Effect.flip(queue.take(() => Effect.fail("no")))).toBe("no")
        expect(yield* queue.take(({ name }) => Effect.succeed(name))).toBe("next")
        const [failed] = Array.from(
          Object(yield* server.command("LRANGE", "effectq:jobs:failed", 0, -1)),
          String
        )
        expect(JSON.parse(failed ?? "")).toMatchObject({ element: { name: "hopeless" }, attempts: 1 })
      })
    )

    it.live("gives an element back that its taker was interrupted with, without counting it", () =>
      Effect.gen(function* () {
        const { server } = yield* started(subject)
        const [here, there] = [yield* queueOf(subject, server), yield* queueOf(subject, server)]
        yield* here.offer({ name: "job" })
        const holding = yield* Deferred.make<void>()
        const taker = yield* Effect.forkChild(
          here.take(() => Effect.andThen(Deferred.succeed(holding, undefined), Effect.never))
        )
        yield* Deferred.await(holding)
        yield* Fiber.interrupt(taker)
        expect(yield* there.take(({ name }, { attempts }) => Effect.succeed([name, attempts]))).toEqual([
          "job",
          1
        ])
      })
    )
  })
}
