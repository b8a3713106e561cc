/**
 * Effect's `RateLimiterStore` in memory, within a bound.
 *
 * Effect's own memory store holds every key for ever. This one does the same for the keys that it holds, holds a bounded number
 * of them, and lets go of each as soon as it would not tell it from a new one. It reads the monotonic clock, so that a wall
 * clock that is set back locks nobody out. Effect's `RateLimiter` and `HttpClient.withRateLimiter` run on it as they are.
 *
 * **Gotchas**
 *
 * - Effect marks its rate limiter as unstable, so this module may have to change with a minor version of Effect.
 * - It counts for this process alone.
 * - A bucket that is full may be forgotten. If its key comes back with a higher limit it is full by that, as in Effect's Redis
 *   store; Effect's memory store would fill it up from the old limit.
 *
 * **Example** (Effect's rate limiter with room for 1,000 users)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer } from "effect"
 * import { RateLimiter } from "effect/persistence"
 * import * as rateLimiterStore from "failsoft/interop/rateLimiterStore"
 *
 * const Live = RateLimiter.layer.pipe(Layer.provide(rateLimiterStore.layer({ maxKeys: 1000 })))
 *
 * const program = Effect.gen(function* () {
 *   const limiter = yield* RateLimiter.RateLimiter
 *   const { remaining } = yield* limiter.consume({ key: "ada", limit: 10, window: "1 minute" })
 *   return remaining
 * }).pipe(Effect.provide(Live))
 *
 * await Effect.runPromise(program) // => 9
 * ```
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RateLimiter from "effect/persistence/RateLimiter"
import type { InvalidOption } from "../InvalidOption.ts"
import { monotonicMillis } from "../internal/clock.ts"
import * as options from "../internal/options.ts"
import * as KeyTable from "../state/KeyTable.ts"
import * as LearnedLimit from "../state/LearnedLimit.ts"
import * as StoreLimits from "../state/StoreLimits.ts"

/** What a store is made from. */
export interface Options {
  /** Keys that are held at most of each kind: windows, buckets, learned limits. 1 to 1,000,000. Default: 10,000. */
  readonly maxKeys?: number | undefined
  /**
   * What becomes of a call of a new key while all that are held are in use: `"reject"` fails with `RateLimitExceeded`, whose
   * `retryAfter` is when a key may be free; `"admit"` lets it through without counting it. Default: `"reject"`.
   */
  readonly whenFull?: "reject" | "admit" | undefined
}

/**
 * Makes a store.
 *
 * Fails with `InvalidOption` when an option is out of its range. An answer of a service from which a limit could be learned is
 * passed over while there is no room for its key.
 */
export const make: (
  given?: Options
) => Effect.Effect<RateLimiter.RateLimiterStore["Service"], InvalidOption> = Effect.fnUntraced(function* (
  given: Options = {}
) {
  const name = "rateLimiterStore"
  const maxKeys = yield* options.integer(name, "maxKeys", given.maxKeys ?? 10_000, { min: 1, max: 1_000_000 })
  const whenFull = yield* options.oneOf(name, "whenFull", given.whenFull ?? "reject", ["reject", "admit"])
  const table = <State extends Held>(): KeyTable.KeyTable<State> =>
    KeyTable.make(maxKeys, ({ freeAtMillis }) => freeAtMillis)
  const counters = table<StoreLimits.Counter>()
  const buckets = table<StoreLimits.Bucket>()
  const learned = table<LearnedLimit.LearnedLimit>()
  return RateLimiter.RateLimiterStore.of({
    fixedWindow: ({ key, limit, refillRate, tokens }) =>
      modify(counters, whenFull, key, limit ?? 0, (now) =>
        StoreLimits.fixedWindow(tokens, Duration.toMillis(refillRate), limit, now)
      ),
    tokenBucket: ({ allowOverflow, key, limit, refillRate, tokens }) =>
      modify(buckets, whenFull, key, limit, (now) =>
        StoreLimits.tokenBucket(tokens, limit, Duration.toMillis(refillRate), allowOverflow, now)
      ),
    adaptiveConsume: ({ fallbackLimit, fallbackWindow, key, tokens }) =>
      Effect.map(
        modify(learned, whenFull, key, fallbackLimit, (now) =>
          LearnedLimit.consume(tokens, Duration.toMillis(fallbackWindow), now)
        ),
        ({ delayMillis, epoch, phase }) => ({ delay: Duration.millis(delayMillis), epoch, phase })
      ),
    adaptiveFeedback: ({ epoch, key, retryAfter, status, tokens }) =>
      status !== 429 || retryAfter === undefined
        ? Effect.void
        : Effect.asVoid(
            modify(learned, "admit", key, 0, (now) => (held) => [
              undefined,
              LearnedLimit.feedback(epoch, tokens, Duration.toMillis(retryAfter), now)(held)
            ])
          )
  })
})

/** A Layer that provides the store. Fails with `InvalidOption` when an option is out of its range. */
export const layer = (given?: Options): Layer.Layer<RateLimiter.RateLimiterStore, InvalidOption> =>
  Layer.effect(RateLimiter.RateLimiterStore, make(given))

/** Every state knows from when on it need not be held. */
interface Held {
  readonly freeAtMillis: number
}

/** Reads and writes the state of a key at once. */
const modify = <State extends Held, A>(
  states: KeyTable.KeyTable<State>,
  whenFull: "reject" | "admit",
  key: string,
  limit: number,
  step: (nowMillis: number) => (held: State | undefined) => readonly [A, State | undefined]
): Effect.Effect<A, RateLimiter.RateLimiterError> =>
  Effect.withFiber((fiber) => {
    const now = monotonicMillis(fiber)
    const held = states.get(key)
    const [found, next] = step(now)(held)
    if (next === undefined || next === held) return Effect.succeed(found)
    if (held === undefined && next.freeAtMillis <= now) return Effect.succeed(found)
    if (held !== undefined || states.hasRoom(now)) states.set(key, next)
    else if (whenFull === "reject") return noRoom(key, limit, states.freeAtMillis - now)
    return Effect.succeed(found)
  })

const noRoom = (
  key: string,
  limit: number,
  millis: number
): Effect.Effect<never, RateLimiter.RateLimiterError> =>
  Effect.fail(
    new RateLimiter.RateLimiterError({
      reason: new RateLimiter.RateLimitExceeded({
        key,
        limit,
        remaining: 0,
        retryAfter: Duration.millis(Math.ceil(millis))
      })
    })
  )
