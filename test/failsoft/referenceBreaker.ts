/**
 * A breaker by hand: what people set, what is counted, told and asked, around the circuit that remembers everything.
 *
 * It is the measure of the shell as `ReferenceCircuit` is that of the rules. Time is a number that the histories move.
 */
import type { CircuitBreaker } from "failsoft"
import type { CircuitConfig } from "../../packages/failsoft/src/state/Circuit.ts"
import type { Outcome } from "../../packages/failsoft/src/state/Outcome.ts"
import { ReferenceCircuit } from "./state/referenceCircuit.ts"

export type Mode = "open" | "closed" | "observe"

/** How a call ends. */
export type End =
  | { readonly kind: "success" | "failure" | "defect" | "ignored error" | "interruption" }
  | { readonly kind: "hinted failure"; readonly retryAfterMillis: number }

/** What an idle probe does: it ends at once, after a time, or not before it is given up. */
export interface Ping {
  readonly end: End
  readonly afterMillis: number
}

/** What is said of the end of a call. */
export const outcomeOf = (end: End): Outcome => {
  switch (end.kind) {
    case "success":
      return { _tag: "Success" }
    case "ignored error":
    case "interruption":
      return { _tag: "Ignored" }
    case "hinted failure":
      return { _tag: "Failure", retryAfterMillis: end.retryAfterMillis }
    default:
      return { _tag: "Failure", retryAfterMillis: undefined }
  }
}

export type Answer =
  | { readonly rejected: false; readonly call: number }
  | { readonly rejected: true; readonly retryAfterMillis: number | undefined }

/** An event in plain words. */
export interface Told {
  readonly _tag: string
  readonly from?: string
  readonly because?: unknown
  readonly openMillis?: number
  readonly openings?: number
  readonly successes?: number
  readonly mode?: Mode
  readonly reason?: string
  readonly ttlMillis?: number
  readonly wouldHaveRejected?: number
  readonly count?: number
  readonly at: number
}

interface Override {
  readonly mode: Mode
  readonly reason: string
  readonly untilMillis: number
  wouldHaveRejected: number
}

/** One opening's prober: when it wakes, and what for. */
interface Prober {
  readonly circuit: ReferenceCircuit
  readonly turn: number
  wakesAt: number
  ping: { readonly call: number; readonly end: End } | undefined
}

const minute = 60_000

export class ReferenceBreaker {
  readonly config: CircuitConfig
  readonly probe: { readonly everyMillis: number; readonly pings: ReadonlyArray<Ping> } | undefined
  circuit: ReferenceCircuit
  circuits = 1
  now: number
  override: Override | undefined
  prober: Prober | undefined
  pings = 0
  readonly counts = { successful: 0, failed: 0, ignored: 0, rejected: 0, fallback: 0 }
  failuresInARow = 0
  lastFailureAt: number | undefined
  events: Array<Told> = []
  private calls = 0
  /** The circuit that admitted a call; none did where a person let it through. */
  private readonly admittedBy = new Map<number, ReferenceCircuit>()
  private untold = 0
  private toldInMs: number | undefined
  summedAt = Number.NEGATIVE_INFINITY
  /** Whether the circuit has closed with a ramp that no call has found over. */
  private isRamping = false
  /** What chance says to the next call. */
  random = 0
  private rejection: { ms: number; of: string; retryAfterMillis: number | undefined } | undefined

  constructor(config: CircuitConfig, probe: ReferenceBreaker["probe"], now: number) {
    this.config = config
    this.probe = probe
    this.now = now
    this.circuit = new ReferenceCircuit(config)
  }

  tell(event: Omit<Told, "at">): void {
    this.events.push({ ...event, at: this.now })
  }

  /** The override that is in force. */
  inForce(): Override | undefined {
    return this.override !== undefined && this.now < this.override.untilMillis ? this.override : undefined
  }

  /** Whether the rules stand still, for a person holds the circuit. */
  isHeld(): boolean {
    const mode = this.inForce()?.mode
    return mode === "open" || mode === "closed"
  }

  hasRoom(): boolean {
    const state = this.circuit.state()
    if (state === "closed") return true
    if (state === "opened") return this.now >= this.circuit.dueAt()
    const young = this.circuit.probes().filter(({ at }) => this.now - at < this.config.probeMaxAgeMillis)
    return young.length < this.config.probes
  }

  /** A call arrives. */
  call(): Answer {
    if (this.override !== undefined && this.inForce() === undefined) this.endOverride(this.override)
    const call = this.calls++
    const override = this.override
    if (override?.mode === "open") return this.reject("a person", override.untilMillis - this.now)
    if (override?.mode === "closed") return { rejected: false, call }
    if (override?.mode === "observe" && !this.hasRoom()) {
      override.wouldHaveRejected++
      return { rejected: false, call }
    }
    this.findRampOver()
    const answer = this.circuit.admit(call, this.now, this.random)
    if (!answer.admitted && override?.mode === "observe") {
      override.wouldHaveRejected++
      return { rejected: false, call }
    }
    if (!answer.admitted) {
      return this.reject(`${this.circuits}.${this.circuit.turns().length}`, answer.retryAfterMillis)
    }
    this.admittedBy.set(call, this.circuit)
    if (answer.halfOpened) this.tell({ _tag: "CircuitHalfOpened" })
    return { rejected: false, call }
  }

  /** What was rejected at the end of a ramp is told by the first call after it. */
  private findRampOver(): void {
    if (!this.isRamping || this.circuit.state() !== "closed" || !Number.isNaN(this.circuit.share(this.now)))
      return
    this.isRamping = false
    this.sumUp()
  }

  private endOverride({ mode, wouldHaveRejected }: Override): void {
    this.override = undefined
    this.tell({ _tag: "OverrideEnded", mode, wouldHaveRejected })
    if (mode === "open") this.sumUp()
  }

  private reject(of: string, dueInMillis: number | undefined): Answer {
    this.counts.rejected++
    this.untold++
    const ms = Math.floor(this.now)
    if (this.rejection?.ms !== ms || this.rejection.of !== of) {
      const retryAfterMillis = dueInMillis === undefined ? undefined : Math.ceil(dueInMillis)
      this.rejection = { ms, of, retryAfterMillis }
      if (this.toldInMs !== ms) {
        this.toldInMs = ms
        if (this.now - this.summedAt < minute) this.tell({ _tag: "CallRejected" })
        else this.sumUp()
      }
    }
    return { rejected: true, retryAfterMillis: this.rejection.retryAfterMillis }
  }

  private sumUp(): void {
    if (this.untold === 0) return
    this.tell({ _tag: "CallsRejected", count: this.untold })
    this.untold = 0
    this.summedAt = this.now
  }

  /** A call ends. */
  settle(call: number, end: End): void {
    const outcome = outcomeOf(end)
    this.count(outcome)
    if (this.admittedBy.get(call) !== this.circuit) return
    const told = this.isHeld() ? ({ _tag: "Ignored" } as const) : outcome
    const from = this.circuit.state() === "closed" ? "closed" : "half_open"
    const transition = this.circuit.settle(call, told, this.now)
    if (transition?.to === "closed") {
      this.isRamping = this.config.ramp !== undefined
      this.rejection = undefined
      this.tell({ _tag: "CircuitClosed", successes: transition.successes })
      this.sumUp()
    }
    if (transition?.to === "open") {
      const { because, openMillis, openings } = transition
      this.tell({ _tag: "CircuitOpened", from, because, openMillis, openings })
      this.startProber()
    }
  }

  private count(outcome: Outcome): void {
    if (outcome._tag === "Ignored") this.counts.ignored++
    if (outcome._tag === "Success") {
      this.counts.successful++
      this.failuresInARow = 0
    }
    if (outcome._tag === "Failure") {
      this.counts.failed++
      this.failuresInARow++
      this.lastFailureAt = this.now
    }
  }

  setOverride(mode: Mode, reason: string, ttlMillis: number): void {
    this.override = { mode, reason, untilMillis: this.now + ttlMillis, wouldHaveRejected: 0 }
    this.rejection = undefined
    this.tell({ _tag: "CircuitOverridden", mode, reason, ttlMillis })
  }

  reset(): void {
    this.circuit = new ReferenceCircuit(this.config)
    this.circuits++
    this.override = undefined
    this.rejection = undefined
    this.isRamping = false
    this.failuresInARow = 0
    this.tell({ _tag: "CircuitReset" })
    this.sumUp()
  }

  /** A new opening has a prober of its own; the one before is interrupted, and so is its ping. */
  private startProber(): void {
    if (this.probe === undefined) return
    const before = this.prober?.ping
    const { circuit } = this
    this.prober = { circuit, turn: circuit.turns().length, wakesAt: circuit.dueAt(), ping: undefined }
    if (before !== undefined) this.settle(before.call, { kind: "interruption" })
  }

  /** Time goes on, and the prober does what it has to do on the way. */
  advance(to: number): void {
    while (this.prober !== undefined && this.prober.wakesAt <= to) {
      this.now = Math.max(this.now, this.prober.wakesAt)
      this.wake(this.prober)
    }
    this.now = to
  }

  private wake(prober: Prober): void {
    const { ping } = prober
    prober.ping = undefined
    if (ping !== undefined) this.settle(ping.call, ping.end)
    else if (!this.isOver(prober) && !this.isHeld() && this.hasRoom()) this.ask(prober)
    if (prober.ping === undefined) this.goOn(prober)
  }

  private ask(prober: Prober): void {
    const { pings } = this.probe!
    const { afterMillis, end } = pings[this.pings++ % pings.length]!
    const answer = this.call()
    if (answer.rejected) throw new Error("the reference asked for a slot that it does not have")
    const { probeMaxAgeMillis } = this.config
    const isGivenUp = afterMillis > probeMaxAgeMillis
    prober.wakesAt = this.now + Math.min(afterMillis, probeMaxAgeMillis)
    if (afterMillis === 0) this.settle(answer.call, end)
    else prober.ping = { call: answer.call, end: isGivenUp ? { kind: "failure" } : end }
  }

  private goOn(prober: Prober): void {
    if (!this.isOver(prober)) prober.wakesAt = this.now + this.probe!.everyMillis
    else if (this.prober === prober) this.prober = undefined
  }

  private isOver({ circuit, turn }: Prober): boolean {
    return this.circuit !== circuit || circuit.state() === "closed" || circuit.turns().length > turn + 1
  }

  stateName(): string {
    const mode = this.inForce()?.mode
    return mode === "open" || mode === "closed" ? mode : this.circuit.stateName(this.now)
  }

  isOpen(): boolean {
    const mode = this.inForce()?.mode
    return mode === undefined ? this.circuit.stateName(this.now) === "open" : mode === "open"
  }

  snapshot() {
    const { counts, now } = this
    const override = this.inForce()
    const rates = this.config.trips.flatMap((trip) => {
      if (trip._tag === "Consecutive" || this.circuit.state() !== "closed") return []
      const { calls, hits } = this.circuit.rate(trip, now)
      const rate = calls === 0 ? undefined : hits / calls
      return [{ _tag: trip._tag, rate, threshold: trip.threshold, calls, minimumCalls: trip.minimumCalls }]
    })
    const due = this.circuit.dueAt()
    return {
      state: this.stateName() as CircuitBreaker.Snapshot["state"],
      override: override && {
        mode: override.mode,
        reason: override.reason,
        endsInMillis: override.untilMillis - now,
        wouldHaveRejected: override.wouldHaveRejected
      },
      failuresInARow: this.failuresInARow,
      ramp: this.isHeld() || Number.isNaN(this.circuit.share(now)) ? undefined : this.circuit.share(now),
      rates,
      counts: {
        total: counts.successful + counts.failed + counts.ignored + counts.rejected,
        successful: counts.successful,
        failed: counts.failed,
        ignored: counts.ignored,
        rejected: counts.rejected,
        fallback: Math.min(counts.fallback, counts.rejected)
      },
      lastFailureAt: this.lastFailureAt,
      halfOpenInMillis: now < due ? due - now : undefined
    }
  }
}
