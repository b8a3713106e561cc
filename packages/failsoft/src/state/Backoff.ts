/**
 * How long to wait before the next attempt, and how chance spreads it.
 *
 * The jitter kinds are those of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). Every result is
 * finite, at least 0 and at most the cap, for any attempt number.
 */

/** `full`: 0 to the backoff. `equal`: half of it, and up to as much again. `decorrelated`: from the last delay. */
export type Jitter = "none" | "full" | "equal" | "decorrelated"

export interface BackoffConfig {
  readonly baseMillis: number
  readonly factor: number
  readonly capMillis: number
  readonly jitter: Jitter
}

/**
 * The delay after a failed attempt.
 *
 * `attempt` counts from 1, `previousMillis` is the delay before it (the base at first), and `random` is a draw from
 * 0 (inclusive) to 1 (exclusive).
 */
export const delayMillis = (
  config: BackoffConfig,
  attempt: number,
  previousMillis: number,
  random: number
): number => {
  const backoff = Math.min(config.capMillis, config.baseMillis * config.factor ** (attempt - 1))
  switch (config.jitter) {
    case "none":
      return backoff
    case "full":
      return random * backoff
    case "equal":
      return backoff / 2 + (random * backoff) / 2
    case "decorrelated": {
      const spread = Math.max(0, previousMillis * 3 - config.baseMillis)
      return Math.min(config.capMillis, config.baseMillis + random * spread)
    }
  }
}
