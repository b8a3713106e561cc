/**
 * A limit that nobody told us, learned from a service that answers 429 with the time after which to come back.
 *
 * After such an answer calls wait (`cooldown`). Then they are counted until the next one (`learning`), which shows how many the
 * service takes in what time. From then on calls are spread by that (`learned`), until an answer shows it to be wrong.
 * It does what Effect's own memory store does for `adaptiveConsume` and `adaptiveFeedback`.
 *
 * An epoch is what a call was let through by. What an answer to a call of another epoch says is not about this one.
 */

export type LearnedLimit = Cooldown | Learning | Learned

interface Cooldown {
  readonly phase: "cooldown"
  readonly epoch: number
  readonly untilMillis: number
  readonly freeAtMillis: number
}

interface Learning {
  readonly phase: "learning"
  readonly epoch: number
  readonly sinceMillis: number
  readonly tokens: number
  readonly freeAtMillis: number
}

interface Learned {
  readonly phase: "learned"
  readonly epoch: number
  /** What was taken since everything was there, and when all of it is there again. */
  readonly tokens: number
  readonly untilMillis: number
  readonly limit: number
  readonly windowMillis: number
  readonly freeAtMillis: number
}

/** What a call finds: how long to wait, and the epoch to which its answer belongs. */
export interface Found {
  readonly delayMillis: number
  readonly epoch: number
  readonly phase: "inactive" | LearnedLimit["phase"]
}

/** How long something is remembered beyond the time in which it matters. */
const graceMillis = 60_000

/** No service is believed that asks for more. */
const maxMillis = 3_600_000

const bounded = (millis: number): number => (millis > 0 ? Math.min(millis, maxMillis) : 1)

const cooldown = (epoch: number, untilMillis: number): Cooldown => ({
  phase: "cooldown",
  epoch,
  untilMillis,
  freeAtMillis: untilMillis + graceMillis
})

/** What is still remembered. */
const present = (held: LearnedLimit | undefined, nowMillis: number): LearnedLimit | undefined =>
  held === undefined || held.freeAtMillis <= nowMillis ? undefined : held

/** Takes tokens for a call. `windowMillis` is how long to learn at most, before nothing was learned. */
export const consume =
  (tokens: number, windowMillis: number, nowMillis: number) =>
  (held: LearnedLimit | undefined): readonly [Found, LearnedLimit | undefined] => {
    const state = present(held, nowMillis)
    if (state === undefined) return [{ delayMillis: 0, epoch: 0, phase: "inactive" }, state]
    const { epoch } = state
    switch (state.phase) {
      case "cooldown": {
        if (state.untilMillis > nowMillis) {
          return [{ delayMillis: state.untilMillis - nowMillis, epoch, phase: "cooldown" }, state]
        }
        const freeAtMillis = nowMillis + windowMillis + graceMillis
        return [
          { delayMillis: 0, epoch: epoch + 1, phase: "learning" },
          { phase: "learning", epoch: epoch + 1, sinceMillis: nowMillis, tokens, freeAtMillis }
        ]
      }
      case "learning":
        return [
          { delayMillis: 0, epoch, phase: "learning" },
          { ...state, tokens: state.tokens + tokens }
        ]
      case "learned":
        return consumeLearned(state, tokens, nowMillis)
    }
  }

/** Lets the limit run in each window, and has the rest wait for the window that is theirs. */
const consumeLearned = (
  state: Learned,
  tokens: number,
  nowMillis: number
): readonly [Found, LearnedLimit] => {
  const { epoch, limit, windowMillis } = state
  const isOver = state.untilMillis <= nowMillis
  const refillMillis = windowMillis / limit
  const taken = (isOver ? 0 : state.tokens) + tokens
  const untilMillis = (isOver ? nowMillis : state.untilMillis) + refillMillis * tokens
  const elapsedMillis = taken * refillMillis - (untilMillis - nowMillis)
  const delayMillis = Math.max(0, Math.floor((taken - 1) / limit) * windowMillis - elapsedMillis)
  return [
    { delayMillis, epoch, phase: "learned" },
    { ...state, tokens: taken, untilMillis }
  ]
}

/** Takes in that a call of `tokens`, let through in `epoch`, was told to come back after `retryAfterMillis`. */
export const feedback =
  (epoch: number, tokens: number, retryAfterMillis: number, nowMillis: number) =>
  (held: LearnedLimit | undefined): LearnedLimit | undefined => {
    const state = present(held, nowMillis)
    const untilMillis = nowMillis + bounded(retryAfterMillis)
    if (epoch !== (state?.epoch ?? 0)) return state
    switch (state?.phase) {
      case undefined:
      case "learned":
        return cooldown(epoch, untilMillis)
      case "cooldown":
        return cooldown(epoch, Math.max(state.untilMillis, untilMillis))
      case "learning": {
        const accepted = state.tokens - tokens
        if (accepted <= 0) return cooldown(epoch, untilMillis)
        const windowMillis = bounded(untilMillis - state.sinceMillis)
        return {
          phase: "learned",
          epoch: epoch + 1,
          tokens: accepted,
          untilMillis: state.sinceMillis + windowMillis,
          limit: accepted,
          windowMillis,
          freeAtMillis: nowMillis + windowMillis + graceMillis
        }
      }
    }
  }
