/** What callers feel when the server stops, with a thousand reads a second offered. */
import { performance } from "node:perf_hooks"
import { IoRedis, ResilientRedis } from "@failsoft/redis"
import { RedisServer } from "@failsoft/testing"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { PolicyEvent } from "failsoft"
import type { Fact } from "../model.ts"
import { quantile } from "../statistics.ts"

const timeoutMillis = 200
const threshold = 5
const openMillis = 1000
const offeredEveryMillis = 1

/** How long the outage goes on once the circuit has opened: a few openings, and a part of one that chance decides. */
const outageMillis = 4000 + Math.random() * (openMillis + timeoutMillis)

interface Read {
  readonly startedAt: number
  readonly endedAt: number
  readonly source: string
}

const times: PolicyEvent.Listener & { openedAt?: number } = (event) => {
  if (event._tag === "CircuitOpened" && event.from === "closed") times.openedAt ??= performance.now()
}

const program = Effect.gen(function* () {
  const server = yield* RedisServer.make()
  const layer = ResilientRedis.layer({
    connection: IoRedis.layer({ url: server.url, commandTimeout: timeoutMillis }),
    breaker: { openDuration: openMillis },
    probeEvery: openMillis
  })
  return yield* Effect.provide(measure(server), layer)
}).pipe(
  Effect.scoped,
  Effect.provideService(PolicyEvent.Listeners, [times]),
  Effect.provideService(Logger.CurrentLoggers, new Set())
)

const measure = (server: RedisServer.RedisServer) =>
  Effect.gen(function* () {
    const redis = yield* ResilientRedis.ResilientRedis
    const reads: Array<Read> = []
    yield* redis.set("bench", "value")
    const one = Effect.suspend(() => {
      const startedAt = performance.now()
      return Effect.map(Effect.exit(redis.getServed("bench")), (exit) => {
        const source = exit._tag === "Success" ? exit.value.source : "failed"
        reads.push({ startedAt, endedAt: performance.now(), source })
      })
    })
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const offering = setInterval(() => fork(one), offeredEveryMillis)
    const until = (isSo: () => boolean) =>
      Effect.whileLoop({ while: () => !isSo(), body: () => Effect.sleep("1 millis"), step: () => undefined })

    yield* until(() => reads.length >= 500)
    const stoppedAt = performance.now()
    yield* server.stop
    yield* until(() => times.openedAt !== undefined)
    const openedAt = times.openedAt ?? Number.NaN
    yield* until(() => performance.now() > openedAt + outageMillis)
    const continuedAt = performance.now()
    yield* server.continue
    const isBack = (read: Read) => read.startedAt > continuedAt && read.source === "live"
    yield* until(() => reads.some(isBack))
    clearInterval(offering)

    // A read that is the probe waits for the server; every other one is answered at once.
    const during = reads.filter(({ startedAt }) => startedAt > openedAt && startedAt < continuedAt)
    const back = reads.find(isBack)?.endedAt ?? Number.NaN
    const facts: ReadonlyArray<Fact> = [
      {
        text: `time to open (${threshold} failures, timeout ${timeoutMillis} ms)`,
        unit: "ms",
        value: openedAt - stoppedAt,
        atMost: threshold * timeoutMillis
      },
      {
        text: `p99 of ${Math.round(1000 / offeredEveryMillis)} reads a second after it has opened`,
        unit: "ms",
        value: quantile(
          during.map(({ endedAt, startedAt }) => endedAt - startedAt),
          0.99
        ),
        atMost: 1
      },
      {
        text: `live again after the server goes on (open ${openMillis} ms, a probe may hang for ${timeoutMillis})`,
        unit: "ms",
        value: back - continuedAt,
        atMost: openMillis + timeoutMillis
      }
    ]
    return facts
  })

/** Runs one outage. */
export const outage = (): Promise<ReadonlyArray<Fact>> => Effect.runPromise(program)
