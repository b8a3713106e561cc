/**
 * A bulkhead and calls through it, against a reference that keeps lists: whatever is done to the calls and in whatever
 * order, the same calls run, wait, and are rejected. What is done in one turn is done before any fiber can go on, so that
 * a call may be handed a permit, and be interrupted before it knows.
 */
import { Effect, Exit, type Fiber, Scope } from "effect"
import { Bulkhead, Deadline } from "failsoft"
import fc from "fast-check"
import { expect, it } from "vitest"
import { reasonOf } from "./calls.ts"
import { World } from "./interruption.ts"

type Action =
  | {
      readonly _tag: "Start"
      readonly priority: number
      readonly queue: boolean
      readonly deadlineMillis: number | undefined
    }
  | { readonly _tag: "Finish"; readonly which: number; readonly how: "succeeds" | "fails" | "dies" }
  | { readonly _tag: "Interrupt"; readonly which: number }
  | { readonly _tag: "Resize"; readonly limit: number }

type Status = "waiting" | "runs" | "ended" | "refused"

/** A bulkhead as lists of calls by number. */
class Reference {
  limit: number
  nowMillis = 0
  readonly queue: number
  readonly queueTimeoutMillis: number
  readonly calls: Array<{
    readonly priority: number
    readonly sinceMillis: number
    readonly untilMillis: number
    status: Status
  }> = []
  readonly counts = { admitted: 0, rejected: 0, timedOut: 0, interrupted: 0 }
  readonly waits = { count: 0, sumMillis: 0, maxMillis: 0 }
  readonly happened: Record<string, number> = {}

  constructor(limit: number, queue: number, queueTimeoutMillis: number | undefined) {
    this.limit = limit
    this.queue = queue
    this.queueTimeoutMillis = queueTimeoutMillis ?? Number.POSITIVE_INFINITY
  }

  note(name: string): void {
    this.happened[name] = (this.happened[name] ?? 0) + 1
  }

  those(status: Status): ReadonlyArray<number> {
    return this.calls.flatMap((call, number) => (call.status === status ? [number] : []))
  }

  /** Who waits, in the order in which they are served. */
  get line(): ReadonlyArray<number> {
    const priorityOf = (number: number): number => this.calls[number]?.priority ?? 0
    return this.those("waiting").toSorted((one, other) => priorityOf(other) - priorityOf(one) || one - other)
  }

  start({ deadlineMillis, priority, queue }: Extract<Action, { readonly _tag: "Start" }>): void {
    const leftMillis = deadlineMillis ?? Number.POSITIVE_INFINITY
    const call = {
      priority,
      sinceMillis: this.nowMillis,
      untilMillis: this.nowMillis + Math.min(leftMillis, this.queueTimeoutMillis),
      status: "refused" as Status
    }
    this.calls.push(call)
    if (this.those("runs").length < this.limit) {
      call.status = "runs"
      this.counts.admitted++
    } else if (queue && leftMillis >= 1 && this.makesRoom(priority)) {
      call.status = "waiting"
    } else {
      this.counts.rejected++
    }
  }

  private makesRoom(priority: number): boolean {
    const last = this.line.at(-1)
    if (this.line.length < this.queue) return true
    if (last === undefined || (this.calls[last]?.priority ?? 0) >= priority) return false
    this.note("a waiter was displaced")
    this.leave(last, "rejected")
    return true
  }

  leave(number: number, because: "rejected" | "timedOut" | "interrupted" | "admitted"): void {
    const call = this.calls[number]
    if (call === undefined) return
    this.counts[because]++
    const waitedMillis = this.nowMillis - call.sinceMillis
    this.waits.count++
    this.waits.sumMillis += waitedMillis
    this.waits.maxMillis = Math.max(this.waits.maxMillis, waitedMillis)
    call.status = because === "admitted" ? "runs" : because === "interrupted" ? "ended" : "refused"
  }

  end(number: number): void {
    const call = this.calls[number]
    if (call === undefined) return
    call.status = "ended"
    this.handOver()
  }

  handOver(): void {
    for (const number of this.line) {
      if (this.those("runs").length >= this.limit) return
      const isOver = (this.calls[number]?.untilMillis ?? 0) <= this.nowMillis
      if (isOver) this.note("the time of a waiter was over at its turn")
      this.leave(number, isOver ? "timedOut" : "admitted")
    }
  }

  advance(millis: number): void {
    const untilMillis = this.nowMillis + millis
    for (;;) {
      const [next] = this.line.toSorted((one, other) => this.untilOf(one) - this.untilOf(other))
      if (next === undefined || this.untilOf(next) > untilMillis) break
      this.nowMillis = Math.max(this.nowMillis, this.untilOf(next))
      this.leave(next, "timedOut")
    }
    this.nowMillis = untilMillis
  }

  private untilOf(number: number): number {
    return this.calls[number]?.untilMillis ?? Number.POSITIVE_INFINITY
  }
}

/** A call that runs until it is told how to end. */
class Call {
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  private end: ((how: Effect.Effect<string, string>) => void) | undefined

  readonly body = Effect.callback<string, string>((resume) => {
    this.end = resume
    return Effect.sync(() => {
      this.end = undefined
    })
  })

  finish(how: "succeeds" | "fails" | "dies"): void {
    const { end } = this
    this.end = undefined
    end?.(
      how === "succeeds" ? Effect.succeed("answer") : how === "fails" ? Effect.fail("no") : Effect.die("bug")
    )
  }

  get status(): Status {
    const exit = this.fiber?.pollUnsafe()
    if (exit === undefined) return this.end === undefined ? "waiting" : "runs"
    return reasonOf(exit)?._tag === "BulkheadFull" ? "refused" : "ended"
  }
}

/** A bulkhead in a world of its own, and the calls that were made through it. */
class Real {
  readonly world = new World()
  readonly bulkhead: Bulkhead.Bulkhead
  readonly calls: Array<Call> = []

  constructor(options: Omit<Bulkhead.Options, "name">) {
    const scope = this.world.value(Scope.make())
    this.bulkhead = this.world.value(
      Bulkhead.make({ ...options, name: "billing" }).pipe(Effect.provideService(Scope.Scope, scope))
    )
  }

  advance(millis: number): void {
    const { clock } = this.world
    const untilMillis = clock.nowMillis + millis
    while (clock.sleepers.some(({ atMillis }) => atMillis <= untilMillis)) {
      clock.wakeNext()
      this.world.run(Effect.void)
    }
    clock.nowMillis = untilMillis
  }

  start({
    deadlineMillis,
    priority,
    queue
  }: Extract<Action, { readonly _tag: "Start" }>): Effect.Effect<void> {
    const call = new Call()
    this.calls.push(call)
    const guarded = call.body.pipe(Bulkhead.withBulkhead(this.bulkhead, { priority, queue }))
    return (deadlineMillis === undefined ? guarded : Deadline.within(guarded, deadlineMillis)).pipe(
      Effect.forkDetach({ startImmediately: true }),
      Effect.map((fiber) => {
        call.fiber = fiber
      })
    )
  }
}

const among = (which: number, calls: ReadonlyArray<number>): number | undefined =>
  calls[which % Math.max(calls.length, 1)]

/** Does an action to the reference, and says what it is to the real one. */
const act = (action: Action, reference: Reference, real: Real): Effect.Effect<unknown, unknown> => {
  switch (action._tag) {
    case "Start":
      reference.start(action)
      return real.start(action)
    case "Finish": {
      // Of those that run, some may have been handed their permit in this turn, and have not begun.
      const number = among(
        action.which,
        reference.those("runs").filter((number) => real.calls[number]?.status === "runs")
      )
      if (number === undefined) return Effect.void
      reference.end(number)
      return Effect.sync(() => real.calls[number]?.finish(action.how))
    }
    case "Interrupt": {
      const number = among(action.which, [...reference.those("waiting"), ...reference.those("runs")])
      const call = number === undefined ? undefined : reference.calls[number]
      if (number === undefined || call === undefined) return Effect.void
      if (call.status === "waiting") {
        reference.leave(number, "interrupted")
      } else {
        if (real.calls[number]?.status === "waiting")
          reference.note("interrupted as it was handed its permit")
        reference.end(number)
      }
      return Effect.sync(() => real.calls[number]?.fiber?.interruptUnsafe())
    }
    case "Resize":
      reference.limit = action.limit
      reference.handOver()
      return real.bulkhead.resize(action.limit)
  }
}

const agree = (reference: Reference, real: Real): void => {
  expect(real.calls.map(({ status }) => status)).toEqual(reference.calls.map(({ status }) => status))
  const { counts, inFlight, limit, queued, waits } = real.world.value(real.bulkhead.snapshot)
  expect({ counts, inFlight, limit, queued, waits }).toEqual({
    counts: reference.counts,
    inFlight: reference.those("runs").length,
    limit: reference.limit,
    queued: reference.line.length,
    waits: reference.waits
  })
  expect(queued).toBeLessThanOrEqual(reference.queue)
  if (inFlight > limit) reference.note("more in flight than the limit")
}

class Turn implements fc.Command<Reference, Real> {
  readonly actions: ReadonlyArray<Action>
  constructor(actions: ReadonlyArray<Action>) {
    this.actions = actions
  }
  check(): boolean {
    return true
  }
  run(reference: Reference, real: Real): void {
    // Each is decided when those before it are done, and none of their fibers has gone on.
    const turn = Effect.forEach(this.actions, (action) => Effect.suspend(() => act(action, reference, real)))
    expect(Exit.isSuccess(real.world.run(turn))).toBe(true)
    agree(reference, real)
  }
  toString(): string {
    return JSON.stringify(this.actions)
  }
}

class Advance implements fc.Command<Reference, Real> {
  readonly millis: number
  readonly isStalled: boolean
  constructor(millis: number, isStalled: boolean) {
    this.millis = millis
    this.isStalled = isStalled
  }
  check(): boolean {
    return true
  }
  run(reference: Reference, real: Real): void {
    if (this.isStalled) {
      // As when the process was busy: time has passed, and no timer has come round.
      reference.nowMillis += this.millis
      real.world.clock.nowMillis += this.millis
      real.world.clock.wallOffsetMillis -= 10_000
    } else {
      reference.advance(this.millis)
      real.advance(this.millis)
    }
    agree(reference, real)
  }
  toString(): string {
    return `${this.isStalled ? "stall" : "advance"} ${this.millis}`
  }
}

const start = fc.record({
  _tag: fc.constant("Start" as const),
  priority: fc.integer({ min: 0, max: 2 }),
  queue: fc.boolean(),
  deadlineMillis: fc.option(fc.constantFrom(0, 0.5, 1, 30, 200), { nil: undefined, freq: 3 })
})

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 5, arbitrary: start },
  { weight: 5, arbitrary: start.map((call) => ({ ...call, queue: true })) },
  {
    weight: 5,
    arbitrary: fc.record({
      _tag: fc.constant("Finish" as const),
      which: fc.nat(20),
      how: fc.constantFrom("succeeds" as const, "fails" as const, "dies" as const)
    })
  },
  { weight: 4, arbitrary: fc.record({ _tag: fc.constant("Interrupt" as const), which: fc.nat(20) }) },
  {
    weight: 1,
    arbitrary: fc.record({ _tag: fc.constant("Resize" as const), limit: fc.integer({ min: 1, max: 4 }) })
  }
)

const commands = fc.commands(
  [
    fc.array(action, { minLength: 1, maxLength: 4 }).map((actions) => new Turn(actions)),
    fc.array(action, { minLength: 1, maxLength: 4 }).map((actions) => new Turn(actions)),
    fc
      .tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 0, max: 2 }))
      .map(([millis, chance]) => new Advance(millis, chance === 0))
  ],
  { maxCommands: 40, size: "max" }
)

const options = fc.record({
  limit: fc.integer({ min: 1, max: 2 }),
  queue: fc.integer({ min: 0, max: 5 }),
  queueTimeout: fc.option(fc.constantFrom(20, 100), { nil: undefined, freq: 3 })
})

/** What must have happened often enough for the histories to mean something. */
const situations = [
  "admitted",
  "rejected",
  "timedOut",
  "interrupted",
  "a waiter was displaced",
  "interrupted as it was handed its permit",
  "the time of a waiter was over at its turn",
  "more in flight than the limit"
]

it("does what the reference does in 500 random histories", { timeout: 120_000 }, () => {
  const happened: Record<string, number> = {}
  fc.assert(
    fc.property(options, commands, (given, history) => {
      const reference = new Reference(given.limit, given.queue, given.queueTimeout)
      const real = new Real({ ...given, priorities: 3 })
      fc.modelRun(() => ({ model: reference, real }), history)
      for (const { fiber } of real.calls) real.world.run(Effect.sync(() => fiber?.interruptUnsafe()))
      const { inFlight, queued } = real.world.value(real.bulkhead.snapshot)
      expect({ inFlight, queued, isIdle: real.world.isIdle }).toEqual({
        inFlight: 0,
        queued: 0,
        isIdle: true
      })
      for (const [name, times] of Object.entries(reference.happened))
        happened[name] = (happened[name] ?? 0) + times
      for (const [name, times] of Object.entries(reference.counts))
        happened[name] = (happened[name] ?? 0) + times
    }),
    { seed: 1, numRuns: 500, endOnFailure: true }
  )
  expect(situations.filter((name) => (happened[name] ?? 0) < 20)).toEqual([])
})
