/**
 * What must hold of a policy whatever happens to it, found out from outside: what reaches the dependency is compared with what
 * the stages say of themselves and with what the table allows.
 */
import { type Effect, Equal, Exit, type Fiber } from "effect"
import type { Bulkhead, CircuitBreaker, Policy, RateLimiter, RetryBudget } from "failsoft"
import { reasonOf } from "./calls.ts"
import { attemptMillis, type CallSpec, type LimiterRow, on, type Row } from "./policyRows.ts"

/** All that can be seen of a policy at a moment. */
export interface Seen {
  readonly stages: Pick<Policy.Policy, "breaker" | "bulkhead" | "rateLimiter" | "retryBudget">
  readonly describe: ReadonlyArray<Policy.StageDescription>
  readonly circuit: CircuitBreaker.Snapshot | undefined
  readonly permits: Bulkhead.Snapshot | undefined
  readonly limiter: RateLimiter.Snapshot | undefined
  /** What the limiter would let through now. */
  readonly remaining: number | undefined
  readonly budget: RetryBudget.Snapshot | undefined
}

/** A call of a history. */
export interface Call {
  readonly number: number
  readonly spec: CallSpec
  readonly beganAt: number
  /** The table and the stages that count for it, whatever becomes of them later. */
  readonly row: Row
  readonly breaker: CircuitBreaker.CircuitBreaker | undefined
  readonly bulkhead: Bulkhead.Bulkhead | undefined
  readonly limiter: RateLimiter.RateLimiter | undefined
  readonly budget: RetryBudget.RetryBudget | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  attempts: number
  wasInterrupted: boolean
  hasClung: boolean
  isKnownToHaveEnded: boolean
  /** How it failed. */
  how: string | undefined
}

/** An attempt that reached the dependency. */
export interface Attempt {
  readonly call: Call
  readonly beganAt: number
  /** Whether it holds a slot of a half-open circuit, and of which of its openings. */
  isProbe: boolean
  readonly opening: number
  /** Ends one that hangs. */
  end: ((how: "answers" | "fails" | "dies") => void) | undefined
}

/** What a bulkhead may have in it: more than its options say only as long as what came before them is there. */
interface Room {
  inFlight: number
  queued: number
}

/** What a limiter may let through from a moment on. */
interface Mark {
  readonly atMillis: number
  readonly reached: number
  /** Cost of calls that had taken it by then and had not reached the dependency. */
  readonly underway: number
}

interface Limit {
  row: LimiterRow
  readonly madeAt: number
  marks: Array<Mark>
  attempts: number
  /** What reached the dependency, in units of cost. */
  reached: number
  /** Calls that wait for a turn which another table gave them. */
  fromBefore: number
}

interface Purse {
  row: NonNullable<Row["retryBudget"]>
  /** The most that can have come into it so far. */
  granted: number
  seenAt: number
  deposited: number
  /** Attempts after the first of calls that it pays for. */
  further: number
}

interface Tally {
  row: NonNullable<Row["breaker"]>
  answered: number
  /** Attempts that failed by themselves or had all the time that there is for one. */
  failed: number
  /** Attempts that were interrupted otherwise: they may have had enough of their time to count. */
  others: number
}

const maxCost = 2

const floorOf = ({ minPerSecond }: Purse["row"]): number =>
  minPerSecond === 0 ? 0 : Math.max(1, minPerSecond)

export const capacityOf = ({ algorithm, burst, limit }: LimiterRow): number =>
  algorithm === "gcra" ? burst : limit

export class Watch {
  readonly problems: Array<string> = []
  readonly situations: Record<string, number> = {}
  readonly calls: Array<Call> = []
  readonly running = new Set<Attempt>()
  row: Row
  /** How late a timer may have been: it counts whole milliseconds, and comes round when the process has time for it. */
  lateMillis = 1
  /** Changes of any circuit so far. */
  openings = 0
  /** Whether the policy was never switched off, so that it has counted every call. */
  countsAll: boolean
  private readonly rooms = new Map<Bulkhead.Bulkhead, Room & { row: NonNullable<Row["bulkhead"]> }>()
  private readonly limits = new Map<RateLimiter.RateLimiter, Limit>()
  private readonly purses = new Map<RetryBudget.RetryBudget, Purse>()
  private readonly tallies = new Map<CircuitBreaker.CircuitBreaker, Tally>()
  private readonly policy: Policy.Policy
  private readonly now: () => number
  private readonly look: <A>(effect: Effect.Effect<A>) => A

  constructor(policy: Policy.Policy, row: Row, now: () => number, look: <A>(effect: Effect.Effect<A>) => A) {
    this.policy = policy
    this.row = row
    this.countsAll = row.enabled
    this.now = now
    this.look = look
    this.follow(row)
  }

  note(situation: string, happened = true): void {
    if (happened) this.situations[situation] = (this.situations[situation] ?? 0) + 1
  }

  must(holds: boolean, otherwise: () => string): void {
    if (!holds) this.problems.push(otherwise())
  }

  /** A call that is about to begin. */
  begin(spec: CallSpec): Call {
    const { breaker, bulkhead, rateLimiter, retryBudget } = this.policy
    const { row } = this
    const call: Call = {
      number: this.calls.length,
      spec,
      beganAt: this.now(),
      row,
      breaker: on(row, row.breaker) && breaker,
      bulkhead: on(row, row.bulkhead) && bulkhead,
      limiter: on(row, row.rateLimiter) && rateLimiter,
      budget: on(row, row.retryBudget) && retryBudget,
      fiber: undefined,
      attempts: 0,
      wasInterrupted: false,
      hasClung: false,
      isKnownToHaveEnded: false,
      how: undefined
    }
    this.calls.push(call)
    return call
  }

  /** A call has got as far as it gets at once. */
  judgeStart(call: Call, before: Seen, after: Seen): void {
    const exit = call.fiber?.pollUnsafe()
    const how = exit !== undefined && Exit.isFailure(exit) ? howOf(exit) : undefined
    if (call.breaker !== undefined && before.circuit?.state === "open") {
      const { override } = before.circuit
      const isAtTheGate = override?.mode !== "observe" && (call.bulkhead ?? call.limiter) !== undefined
      this.must(!isAtTheGate || how === "CircuitOpen", () => `call ${call.number} passed a closed gate`)
      this.note("refused at the gate", isAtTheGate)
      if (!isAtTheGate) return
      const wants = JSON.stringify([before.permits, before.limiter])
      const has = JSON.stringify([after.permits, after.limiter])
      this.must(wants === has, () => `call ${call.number} went by the gate: ${has}, before ${wants}`)
    }
    const wasTurnedAway = how === "CircuitOpen" || how === "BulkheadFull"
    if (wasTurnedAway && call.attempts === 0 && before.limiter?.waiting === 0) {
      const [had, has] = [before.remaining, after.remaining]
      this.must(had === has, () => `call ${call.number} was turned away and cost ${had} - ${has}`)
    }
  }

  /** An attempt is at the dependency. */
  reach(call: Call): Attempt {
    const { breaker } = call
    const circuit = breaker && this.look(breaker.snapshot)
    const attempt: Attempt = {
      call,
      beganAt: this.now(),
      isProbe: circuit?.state === "half_open" && circuit.override === undefined,
      opening: this.openings,
      end: undefined
    }
    const others = [...this.running].filter((other) => other.call === call)
    this.running.add(attempt)
    call.attempts++
    this.judgeCall(attempt, others.length)
    this.judgeStages(attempt)
    if (circuit !== undefined) {
      const { override, state } = circuit
      this.must(
        state !== "open" || override?.mode === "observe",
        () => `call ${call.number} reached it while open`
      )
      this.must(
        others.length === 0 || state === "closed",
        () => `call ${call.number} was hedged while ${state}`
      )
      this.note("let through while observed open", state === "open")
      if (attempt.isProbe) this.judgeProbe(attempt)
    }
    return attempt
  }

  private judgeCall({ beganAt, call }: Attempt, others: number): void {
    const { number, row, spec } = call
    const deadline = row.enabled ? (row.deadline ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY
    this.must(beganAt <= call.beganAt + deadline - 1, () => `call ${number} was sent after its deadline`)
    this.must(
      spec.idempotent || others === 0,
      () => `call ${number} is not idempotent and was sent twice at once`
    )
    const tries = spec.retry ? (on(row, row.retry)?.attempts ?? 1) : 1
    const hedges = spec.idempotent ? (on(row, row.hedge)?.hedges ?? 0) : 0
    this.must(call.attempts <= tries * (1 + hedges), () => `call ${number} was sent ${call.attempts} times`)
    this.must(!call.isKnownToHaveEnded, () => `call ${number} was sent after it had ended`)
    this.note("hedge", others > 0)
    this.note("retry", others === 0 && call.attempts > 1)
  }

  private judgeStages({ call }: Attempt): void {
    const { budget, bulkhead, limiter } = call
    if (bulkhead !== undefined) this.judgeRoom(bulkhead)
    const limit = limiter && this.limits.get(limiter)
    if (limiter !== undefined && limit !== undefined) {
      limit.attempts++
      limit.reached += call.spec.cost
      const { admitted } = this.look(limiter.snapshot)
      this.must(
        limit.attempts <= admitted,
        () => `${limit.attempts} attempts, ${admitted} admitted by the limiter`
      )
    }
    const purse = budget && this.purses.get(budget)
    if (budget !== undefined && purse !== undefined && call.attempts > 1) {
      purse.further++
      const { refunded, withdrawn } = this.look(budget.snapshot)
      const paid = withdrawn - refunded
      this.must(purse.further <= paid, () => `${purse.further} further attempts, ${paid} paid for`)
    }
  }

  private judgeProbe(attempt: Attempt): void {
    const { breaker } = attempt.call
    const tally = breaker && this.tallies.get(breaker)
    if (tally === undefined) return
    const probes = [...this.running].filter(
      ({ call, isProbe, opening }) => isProbe && call.breaker === breaker && opening === attempt.opening
    )
    const holders = probes.filter(({ beganAt }) => attempt.beganAt - beganAt < tally.row.maxWait)
    // Those that were too old have lost their slots to this one, for good.
    for (const probe of probes) probe.isProbe = holders.includes(probe)
    this.must(holders.length <= tally.row.probes, () => `${holders.length} probes at once`)
    this.note("probe")
    this.note("several probes", holders.length > 1)
  }

  /** A circuit has opened after so many failures in a row. */
  judgeOpening(threshold: number): void {
    const rows = [...this.tallies.values()].map(({ row }) => row)
    const isOfOne = rows.some(({ failures, rule }) => rule !== "rate" && failures === threshold)
    this.must(isOfOne, () => `a circuit opened after ${threshold} failures, as no table says`)
  }

  /** An attempt has ended. */
  leave(attempt: Attempt, exit: Exit.Exit<unknown, unknown>): void {
    this.running.delete(attempt)
    const { breaker, row, spec, wasInterrupted } = attempt.call
    const tally = breaker && this.tallies.get(breaker)
    if (tally === undefined) return
    const hadItsTime =
      this.now() - attempt.beganAt >= attemptMillis(row) && !wasInterrupted && !spec.idempotent
    const hasFailed = Exit.isFailure(exit) && (howOf(exit) !== "interrupted" || hadItsTime)
    this.note("hung", Exit.isFailure(exit) && hadItsTime)
    tally[Exit.isSuccess(exit) ? "answered" : hasFailed ? "failed" : "others"]++
  }

  /** A table counts from now on. */
  follow(row: Row): void {
    this.row = row
    const { breaker, bulkhead, rateLimiter, retryBudget } = this.policy
    const rows = {
      breaker: on(row, row.breaker),
      bulkhead: on(row, row.bulkhead),
      limiter: on(row, row.rateLimiter),
      budget: on(row, row.retryBudget)
    }
    if (!row.enabled) this.countsAll = false
    if (breaker !== undefined && rows.breaker !== undefined) {
      const known = this.tallies.get(breaker)
      this.tallies.set(breaker, { answered: 0, failed: 0, others: 0, ...known, row: rows.breaker })
    }
    if (bulkhead !== undefined && rows.bulkhead !== undefined) {
      const { inFlight, queued } = this.look(bulkhead.snapshot)
      const { limit, queue } = rows.bulkhead
      this.rooms.set(bulkhead, {
        row: rows.bulkhead,
        inFlight: Math.max(limit, inFlight),
        queued: Math.max(queue, queued)
      })
    }
    if (rateLimiter !== undefined && rows.limiter !== undefined) this.followLimiter(rateLimiter, rows.limiter)
    if (retryBudget !== undefined && rows.budget !== undefined) this.followBudget(retryBudget, rows.budget)
  }

  private followLimiter(limiter: RateLimiter.RateLimiter, row: LimiterRow): void {
    const known = this.limits.get(limiter)
    const limit = known ?? { row, madeAt: this.now(), marks: [], attempts: 0, reached: 0, fromBefore: 0 }
    if (known !== undefined && Equal.equals(known.row, row)) return
    limit.row = row
    limit.marks = []
    limit.fromBefore = this.look(limiter.snapshot).waiting
    this.limits.set(limiter, limit)
    this.mark(limit)
  }

  private followBudget(budget: RetryBudget.RetryBudget, row: Purse["row"]): void {
    const known = this.purses.get(budget)
    if (known === undefined) {
      const purse = { row, granted: floorOf(row), seenAt: this.now(), deposited: 0, further: 0 }
      this.purses.set(budget, purse)
      return
    }
    this.grant(budget, known)
    known.row = row
  }

  private grant(budget: RetryBudget.RetryBudget, purse: Purse): void {
    const { deposited } = this.look(budget.snapshot)
    const { minPerSecond, ratio } = purse.row
    purse.granted +=
      ((this.now() - purse.seenAt) / 1000) * minPerSecond + (deposited - purse.deposited) * ratio
    purse.seenAt = this.now()
    purse.deposited = deposited
  }

  /** Notes what is under way, so that what comes after can be told from it. */
  private mark(limit: Limit): void {
    let queued = 0
    for (const bulkhead of this.rooms.keys()) queued += this.look(bulkhead.snapshot).queued
    const underway = (queued + limit.fromBefore) * maxCost
    limit.marks.push({ atMillis: this.now(), reached: limit.reached, underway })
  }

  /** What must hold between any two steps. */
  judge(): void {
    for (const call of this.calls) if (!call.isKnownToHaveEnded) this.judgeEnd(call)
    for (const bulkhead of this.rooms.keys()) {
      this.judgeRoom(bulkhead)
      const turnedAway = this.calls.filter(
        (call) => call.bulkhead === bulkhead && (call.wasInterrupted || call.how === "BulkheadFull")
      ).length
      const { counts } = this.look(bulkhead.snapshot)
      const refused = counts.rejected + counts.timedOut
      this.must(refused <= turnedAway, () => `${refused} attempts of ${turnedAway} calls were refused`)
    }
    for (const [limiter, limit] of this.limits) this.judgeLimit(limiter, limit)
    for (const [budget, purse] of this.purses) this.judgeBudget(budget, purse)
    for (const [breaker, tally] of this.tallies) {
      const { counts } = this.look(breaker.snapshot)
      const { answered, failed, others } = tally
      this.must(counts.successful <= answered, () => `${counts.successful} successes of ${answered} answers`)
      const isRight = failed <= counts.failed && counts.failed <= failed + others
      this.must(isRight, () => `${counts.failed} failures of ${failed} to ${failed + others} attempts`)
    }
  }

  private judgeRoom(bulkhead: Bulkhead.Bulkhead): void {
    const room = this.rooms.get(bulkhead)
    if (room === undefined) return
    const { inFlight, limit, queued } = this.look(bulkhead.snapshot)
    let running = 0
    for (const { call } of this.running) if (call.bulkhead === bulkhead) running++
    this.must(limit === room.row.limit, () => `the limit is ${limit}, should be ${room.row.limit}`)
    this.must(running <= inFlight, () => `${running} attempts with ${inFlight} permits`)
    this.must(inFlight <= room.inFlight, () => `${inFlight} in flight, at most ${room.inFlight}`)
    this.must(queued <= room.queued, () => `${queued} wait, at most ${room.queued}`)
    this.must(queued === 0 || inFlight >= limit, () => `${queued} wait beside a free permit`)
    this.note("waits for a permit", queued > 0)
    this.note("more in flight than the limit", inFlight > limit)
    room.inFlight = Math.max(room.row.limit, inFlight)
    room.queued = Math.max(room.row.queue, queued)
  }

  private judgeLimit(limiter: RateLimiter.RateLimiter, limit: Limit): void {
    const { waiting } = this.look(limiter.snapshot)
    const { fromBefore, row } = limit
    limit.fromBefore = Math.min(fromBefore, waiting)
    const mayWait = Math.max(row.delay?.maxWaiting ?? 0, fromBefore)
    this.must(waiting <= mayWait, () => `${waiting} wait for the limiter, at most ${mayWait}`)
    this.note("waits for its turn", waiting > 0)
    const now = this.now()
    const windowAt = (millis: number): number => Math.floor((millis - limit.madeAt) / row.millis)
    for (const { atMillis, reached, underway } of limit.marks) {
      // Those whose turn was before it may have come after it.
      const from = atMillis - this.lateMillis
      const allowed =
        row.algorithm === "gcra"
          ? row.burst + (row.limit * (now - from)) / row.millis
          : row.limit * (windowAt(now) - windowAt(from) + 1)
      const came = limit.reached - reached
      this.must(
        came <= allowed + underway + 1e-6,
        () => `${came} since ${atMillis}, at most ${allowed} + ${underway}`
      )
    }
    this.mark(limit)
  }

  private judgeBudget(budget: RetryBudget.RetryBudget, purse: Purse): void {
    const { deposited, left, most, refunded, withdrawn } = this.look(budget.snapshot)
    const credited = this.calls.filter((call) => call.budget === budget && isCredited(call)).length
    this.must(deposited === credited, () => `${deposited} deposits of ${credited} calls`)
    this.grant(budget, purse)
    const expected = purse.row.cap + floorOf(purse.row)
    this.must(Math.abs(most - expected) < 1e-6, () => `a budget of ${most}, should be ${expected}`)
    this.must(left >= 0 && left <= most, () => `a budget has ${left} of ${most}`)
    const paid = withdrawn - refunded
    this.must(paid + left <= purse.granted + 1e-6, () => `${paid} paid and ${left} left of ${purse.granted}`)
  }

  private judgeEnd(call: Call): void {
    const exit = call.fiber?.pollUnsafe()
    if (exit === undefined) return
    call.isKnownToHaveEnded = true
    const { row, spec } = call
    const mine = [...this.running].filter((attempt) => attempt.call === call)
    this.must(
      mine.length === 0 || spec.ends.some(({ kind }) => kind === "clings"),
      () => `call ${call.number} has ended and left ${mine.length} attempts behind`
    )
    if (Exit.isSuccess(exit)) {
      this.must(call.attempts > 0, () => `call ${call.number} was answered by nobody`)
      return
    }
    const retries = spec.retry && on(row, row.retry) !== undefined
    const may: Record<string, boolean> = {
      CircuitOpen: call.breaker !== undefined,
      BulkheadFull: call.bulkhead !== undefined,
      RateLimited: call.limiter !== undefined,
      TimedOut: row.enabled && attemptMillis(row) < Number.POSITIVE_INFINITY,
      RetriesExhausted: retries,
      RetryBudgetExhausted: retries && call.budget !== undefined
    }
    const how = howOf(exit)
    call.how = how
    this.note(how)
    const isRight =
      how === "interrupted" ? call.wasInterrupted : how === "failed" ? !retries : (may[how] ?? true)
    this.must(isRight, () => `call ${call.number} ended as ${how}`)
  }

  /** Timers have come round: nobody is late. */
  judgeDeadlines(): void {
    for (const { beganAt, hasClung, isKnownToHaveEnded, number, row } of this.calls) {
      if (isKnownToHaveEnded || hasClung || !row.enabled || row.deadline === undefined) continue
      this.must(this.now() < beganAt + row.deadline, () => `call ${number} goes on after its deadline`)
    }
  }

  /** Nobody calls any more, and nothing of what was is left in any stage. */
  judgeQuiet(): void {
    const left = this.calls.filter(({ isKnownToHaveEnded }) => !isKnownToHaveEnded)
    this.must(left.length === 0, () => `calls ${left.map(({ number }) => number)} did not end`)
    this.must(this.running.size === 0, () => `${this.running.size} attempts did not end`)
    for (const bulkhead of this.rooms.keys()) {
      const { inFlight, queued } = this.look(bulkhead.snapshot)
      this.must(
        inFlight === 0 && queued === 0,
        () => `${inFlight} in flight and ${queued} waiting when all is quiet`
      )
    }
    for (const limiter of this.limits.keys()) {
      const { waiting } = this.look(limiter.snapshot)
      this.must(waiting === 0, () => `${waiting} wait for the limiter when all is quiet`)
    }
  }
}

/** By the retry, or else by the hedge. */
const isCredited = ({ fiber, row, spec }: Call): boolean => {
  const isHeld = (spec.retry && on(row, row.retry) !== undefined) || on(row, row.hedge) !== undefined
  if (!isHeld || row.retryBudget?.credit === "request") return isHeld
  const exit = fiber?.pollUnsafe()
  return exit !== undefined && Exit.isSuccess(exit)
}

const howOf = (exit: Exit.Failure<unknown, unknown>): string => {
  const reason = reasonOf(exit)?._tag
  if (reason !== undefined) return reason
  if (exit.cause.reasons.some(({ _tag }) => _tag === "Die")) return "died"
  return exit.cause.reasons.some(({ _tag }) => _tag === "Fail") ? "failed" : "interrupted"
}
