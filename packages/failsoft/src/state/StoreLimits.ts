/**
 * The two counts of Effect's `RateLimiterStore`, which are told their limit anew with every call.
 *
 * They do what Effect's own memory store does. Each state also says from when on it need not be held.
 */

/** What was taken, and when the last of it expires: each token lives for as long as a further one takes to come. */
export interface Counter {
  readonly count: number
  readonly freeAtMillis: number
}

/** Takes tokens, unless they exceed the limit: `[what is taken now, or would be; how long until it expires]`. */
export const fixedWindow =
  (tokens: number, refillMillis: number, limit: number | undefined, nowMillis: number) =>
  (held: Counter | undefined): readonly [readonly [count: number, ttl: number], Counter | undefined] => {
    const { count, freeAtMillis } =
      held === undefined || held.freeAtMillis <= nowMillis ? { count: 0, freeAtMillis: nowMillis } : held
    const next = count + tokens
    // A limit of 0 is none, as in the store of which this is the like.
    if (limit !== undefined && limit !== 0 && next > limit) return [[next, freeAtMillis - nowMillis], held]
    const expiresAtMillis = freeAtMillis + refillMillis * tokens
    return [[next, expiresAtMillis - nowMillis], { count: next, freeAtMillis: expiresAtMillis }]
  }

/** What a bucket holds, and the beginning of the interval in which the next token comes. */
export interface Bucket {
  readonly tokens: number
  readonly sinceMillis: number
  /** When it is full. */
  readonly freeAtMillis: number
}

/** Takes tokens, if they are there or may be owed: `[what is left, or would be; how long the interval has lasted]`. */
export const tokenBucket =
  (tokens: number, limit: number, refillMillis: number, mayOwe: boolean, nowMillis: number) =>
  (held: Bucket | undefined): readonly [readonly [remaining: number, elapsedMillis: number], Bucket] => {
    const { sinceMillis, tokens: before } = held ?? { tokens: limit, sinceMillis: nowMillis }
    const came = Math.max(0, Math.floor((nowMillis - sinceMillis) / refillMillis))
    const there = came > 0 ? Math.min(limit, before + came) : before
    const since = there >= limit ? nowMillis : sinceMillis + came * refillMillis
    const remaining = there - tokens
    const left = mayOwe || remaining >= 0 ? remaining : there
    const freeAtMillis = since + Math.max(0, Math.ceil(limit - left)) * refillMillis
    return [[remaining, Math.max(0, nowMillis - since)], { tokens: left, sinceMillis: since, freeAtMillis }]
  }
