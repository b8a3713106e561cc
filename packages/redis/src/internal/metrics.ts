/** What a client publishes beside its two circuits: attempts, answers from here, what is held, whether it is degraded. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Metrics } from "failsoft"
import type { RedisHealth } from "../ResilientRedis.ts"
import type { Engine } from "./engine.ts"

/** First attempts are counted here: the retry sees only commands whose first attempt has failed. */
export const firstAttempts: Metrics.Some = { entry: Metrics.attempts, labels: { kind: "first" } }

/** What the Layer of the connection would say of itself is less than what the client knows. */
export const ofTheConnection: ReadonlyArray<Metrics.Some> = [
  { entry: Metrics.degraded, labels: {} },
  { entry: Metrics.fallbacks, labels: {} }
]

/** Publishes the numbers of a client for as long as the scope lives. */
export const register = (
  { answers, counts, held, name }: Engine,
  health: Effect.Effect<RedisHealth>
): Effect.Effect<void, never, Scope.Scope> =>
  Metrics.register(name, [
    Metrics.series(Metrics.attempts, { kind: "first" }, () => counts.begun),
    ...Metrics.each(
      Metrics.fallbacks,
      ({ source }) =>
        () =>
          answers[source]
    ),
    Metrics.series(Metrics.cacheRequests, { result: "hit" }, () => counts.hits - answers.stale),
    Metrics.series(Metrics.cacheRequests, { result: "stale" }, () => answers.stale),
    Metrics.series(Metrics.cacheRequests, { result: "miss" }, () => counts.misses),
    Metrics.series(Metrics.cacheEntries, {}, () => held.seen.size + held.written.size),
    Metrics.series(Metrics.degraded, {}, (_, context) =>
      Effect.runSyncWith(context)(health).degraded_mode ? 1 : 0
    )
  ])
