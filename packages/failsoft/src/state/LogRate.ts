/** A bound on log lines: so many in a second, the rest counted and told with the next line that passes. */

export interface LogRate {
  readonly sinceMillis: number
  readonly lines: number
  readonly suppressed: number
}

export const initial: LogRate = { sinceMillis: Number.NEGATIVE_INFINITY, lines: 0, suppressed: 0 }

/** Takes room for one line: the number of lines suppressed before it, or `undefined` when it must not be written. */
export const take =
  (linesPerSecond: number, nowMillis: number) =>
  (rate: LogRate): readonly [number | undefined, LogRate] => {
    if (nowMillis - rate.sinceMillis >= 1000) {
      return [rate.suppressed, { sinceMillis: nowMillis, lines: 1, suppressed: 0 }]
    }
    return rate.lines < linesPerSecond
      ? [rate.suppressed, { ...rate, lines: rate.lines + 1, suppressed: 0 }]
      : [undefined, { ...rate, suppressed: rate.suppressed + 1 }]
  }
