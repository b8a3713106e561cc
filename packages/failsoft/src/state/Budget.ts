/**
 * The rules of a retry budget as plain functions over immutable data.
 *
 * Two stores of tokens, of which a retry takes one: the bank, which credited calls fill, and the floor, which time fills.
 * Time comes in as monotonic milliseconds.
 *
 * Everything is counted in billionths of a token and in whole microseconds, so that each step is one on whole numbers: ten
 * thousand deposits of a tenth are a thousand tokens, and not nearly. The largest bank, 1e15, is far from where a number
 * stops to be exact.
 */

/** What a budget is held to, in billionths of a token. */
export interface BudgetConfig {
  /** What a credited call is worth. */
  readonly credit: number
  /** The most that the bank holds. */
  readonly bankCap: number
  /** The most that the floor holds: what comes in a second, but no less than one token. */
  readonly floorCap: number
  /** What comes to the floor in a microsecond. */
  readonly floorPerMicro: number
}

export interface Budget {
  /** From 0 to `bankCap`. */
  readonly bank: number
  /** From 0 to `floorCap`, as it was at `atMicros`. */
  readonly floor: number
  readonly atMicros: number
}

/** One token. */
const token = 1e9

/** The config for a share of the credited calls, tokens a second (to the thousandth), and the tokens that the bank holds. */
export const configOf = (given: {
  readonly ratio: number
  readonly minPerSecond: number
  readonly cap: number
}): BudgetConfig => {
  const floorPerMicro = Math.round(given.minPerSecond * 1000)
  return {
    credit: Math.round(given.ratio * token),
    bankCap: Math.round(given.cap * token),
    floorCap: floorPerMicro === 0 ? 0 : Math.max(token, floorPerMicro * 1e6),
    floorPerMicro
  }
}

/** An empty bank over a full floor: nothing has been earned yet, and the first fault may be retried. */
export const initial = (config: BudgetConfig, nowMillis: number): Budget => ({
  bank: 0,
  floor: config.floorCap,
  atMicros: microsOf(nowMillis)
})

/** Credits a call. The same budget when the bank is full. */
export const deposit =
  (config: BudgetConfig) =>
  (budget: Budget): Budget => {
    const bank = Math.min(config.bankCap, budget.bank + config.credit)
    return bank === budget.bank ? budget : { ...budget, bank }
  }

/** Takes so many tokens, or none: from the floor first, which time fills again. */
export const withdraw =
  (config: BudgetConfig, tokens: number, nowMillis: number) =>
  (budget: Budget): readonly [boolean, Budget] => {
    const { atMicros, bank, floor } = advance(config, budget, nowMillis)
    const cost = tokens * token
    if (floor + bank < cost) return [false, budget]
    const fromFloor = Math.min(floor, cost)
    return [true, { bank: bank - (cost - fromFloor), floor: floor - fromFloor, atMicros }]
  }

/** Gives so many tokens back: to the floor as far as it has room, so that what time gave does not gather in the bank. */
export const refund =
  (config: BudgetConfig, tokens: number, nowMillis: number) =>
  (budget: Budget): Budget => {
    const { atMicros, bank, floor } = advance(config, budget, nowMillis)
    const cost = tokens * token
    const toFloor = Math.min(config.floorCap - floor, cost)
    return { bank: Math.min(config.bankCap, bank + cost - toFloor), floor: floor + toFloor, atMicros }
  }

/** The budget under another config: what was earned stays, as far as there is room for it. */
export const reconfigured = (
  from: BudgetConfig,
  to: BudgetConfig,
  budget: Budget,
  nowMillis: number
): Budget => {
  const { atMicros, bank, floor } = advance(from, budget, nowMillis)
  return { bank: Math.min(to.bankCap, bank), floor: Math.min(to.floorCap, floor), atMicros }
}

/** The tokens that are there now. */
export const left = (config: BudgetConfig, budget: Budget, nowMillis: number): number => {
  const { bank, floor } = advance(config, budget, nowMillis)
  return (bank + floor) / token
}

/** The most tokens that there may be. */
export const most = ({ bankCap, floorCap }: BudgetConfig): number => (bankCap + floorCap) / token

/** A clock that goes back is taken to stand still. */
const advance = (config: BudgetConfig, budget: Budget, nowMillis: number): Budget => {
  const nowMicros = microsOf(nowMillis)
  if (nowMicros <= budget.atMicros) return budget
  const came = (nowMicros - budget.atMicros) * config.floorPerMicro
  return { bank: budget.bank, floor: Math.min(config.floorCap, budget.floor + came), atMicros: nowMicros }
}

const microsOf = (millis: number): number => Math.round(millis * 1000)
