/**
 * Random histories of a policy with all its stages: calls that answer, fail, hang, die and are interrupted, time, people, and new
 * tables that are right or wrong. No reference says what each call comes to; `Watch` says what may never happen.
 */
import { ConfigProvider, Context, Duration, Effect, Exit, Layer, Random, Scope } from "effect"
import { Health, Policies, type Policy, PolicyEvent } from "failsoft"
import { drawFrom } from "./draw.ts"
import { World } from "./interruption.ts"
import { numbers, scrape } from "./metrics.ts"
import {
  type CallSpec,
  configOf,
  drawHistory,
  type End,
  type History,
  on,
  type Row,
  type Step
} from "./policyRows.ts"
import { type Attempt, type Call, capacityOf, type Seen, Watch } from "./policyWatch.ts"

class Billing extends Context.Service<Billing, Policy.Policy>()("test/Billing") {}

/** The call that an attempt belongs to, for effects that were put together once for all calls. */
const Current = Context.Reference<Call | undefined>("test/Call", { defaultValue: () => undefined })

const providerOf = (config: unknown) => ConfigProvider.fromUnknown({ services: { billing: config } })

/** What must have happened often enough for the histories to mean something. */
export const situations = [
  "hedge",
  "retry",
  "probe",
  "several probes",
  "waits for a permit",
  "more in flight than the limit",
  "waits for its turn",
  "CircuitOpen",
  "BulkheadFull",
  "RateLimited",
  "TimedOut",
  "RetriesExhausted",
  "RetryBudgetExhausted",
  "interrupted",
  "died",
  "failed",
  "let through while observed open",
  "reloaded while open",
  "reloaded while half-open with a probe",
  "reloaded while overridden",
  "reloaded while calls wait for a permit",
  "reloaded while calls wait for their turn",
  "reloaded with another limit",
  "a stage with calls in it went",
  "refused",
  "refused at the gate",
  "hung",
  "recovered"
] as const

class Play {
  readonly world = new World()
  readonly events: Array<PolicyEvent.PolicyEvent> = []
  readonly scope = Scope.makeUnsafe()
  readonly context: Context.Context<Billing | Policies.Policies | Health.Health>
  readonly policy: Policy.Policy
  readonly watch: Watch
  /** Effects that were put together before the tables that they are run under. */
  private readonly built = new Map<string, Effect.Effect<unknown, unknown>>()
  private readonly random: { readonly nextDoubleUnsafe: () => number; readonly nextIntUnsafe: () => number }
  private isWell = false
  private counters: Readonly<Record<string, number>> = {}

  constructor({ first, seed }: History) {
    const draw = drawFrom(-seed)
    this.random = { nextDoubleUnsafe: draw.next, nextIntUnsafe: () => draw.integer(0, 1000) }
    const live = Policies.layerConfig({ billing: Billing }, "services").pipe(
      Layer.provideMerge(Health.layer),
      Layer.provide(ConfigProvider.layer(providerOf(configOf(first))))
    )
    this.context = this.world.value(
      Layer.buildWithScope(live, this.scope).pipe(
        Effect.provideService(PolicyEvent.Listeners, [(event) => this.hear(event)])
      )
    )
    this.policy = Context.get(this.context, Billing)
    this.watch = new Watch(this.policy, first, () => this.world.clock.nowMillis, this.look)
    this.counters = this.look(numbers)
  }

  private readonly look = <A>(effect: Effect.Effect<A>): A => Effect.runSyncWith(this.world.context)(effect)

  private hear(event: PolicyEvent.PolicyEvent): void {
    this.events.push(event)
    const isChange = event._tag.startsWith("Circuit") && event._tag !== "CircuitOverridden"
    if (isChange) this.watch.openings++
    if (event._tag === "CircuitOpened" && event.because._tag === "Consecutive") {
      this.watch.judgeOpening(event.because.threshold)
    }
  }

  turn(steps: ReadonlyArray<Step>): void {
    const exit = this.world.run(Effect.forEach(steps, (step) => Effect.suspend(() => this.step(step))))
    if (Exit.isFailure(exit)) this.watch.problems.push(`a step failed: ${exit.cause}`)
    for (const step of steps) {
      if (step._tag === "Advance") this.advance(step.millis)
    }
    this.watch.judge()
    if (steps.some(({ _tag }) => _tag === "Advance")) this.watch.judgeDeadlines()
  }

  private advance(millis: number): void {
    const { clock } = this.world
    const untilMillis = clock.nowMillis + millis
    while (clock.sleepers.some(({ atMillis }) => atMillis <= untilMillis)) {
      clock.wakeNext()
      this.world.run(Effect.void)
      this.watch.judge()
      if (this.watch.problems.length > 0) return
    }
    clock.nowMillis = untilMillis
  }

  private step(step: Step): Effect.Effect<unknown, unknown> {
    switch (step._tag) {
      case "Call":
        return this.call(step)
      case "Finish":
        return Effect.sync(() => this.finish(step.which, step.how))
      case "Interrupt":
        return Effect.sync(() => this.interrupt(step.which))
      case "Advance":
        return Effect.void
      case "Stall":
        return Effect.sync(() => {
          this.world.clock.nowMillis += step.millis
          this.watch.lateMillis += step.millis
        })
      case "Reload":
        return this.reload(step.row)
      case "Refused":
        return this.refuse(step.config, step.problems)
      case "Override": {
        const { breaker } = this.policy
        const ttl = Duration.millis(step.millis)
        return Effect.ignore(breaker?.override(step.mode, { reason: "drill", ttl }) ?? Effect.void)
      }
      case "Reset":
        return this.policy.breaker?.reset ?? Effect.void
    }
  }

  private call(spec: CallSpec): Effect.Effect<void> {
    const call = this.watch.begin(spec)
    const { cost, idempotent, priority, retry } = spec
    const options = { cost, idempotent, priority, retry }
    const key = JSON.stringify(options)
    const guarded = this.built.get(key) ?? this.policy.executeWith(this.attempt, options)
    this.built.set(key, guarded)
    const before = this.seen()
    return guarded.pipe(
      Effect.provideService(Current, call),
      Effect.provideService(Random.Random, this.random),
      Effect.forkDetach({ startImmediately: true }),
      Effect.map((fiber) => {
        call.fiber = fiber
        this.watch.judgeStart(call, before, this.seen())
      })
    )
  }

  /** What the dependency does. */
  private readonly attempt: Effect.Effect<string, string> = Effect.flatMap(Current, (call) => {
    if (call === undefined) return Effect.die("an attempt of no call")
    const { ends } = call.spec
    const attempt = this.watch.reach(call)
    const end = this.isWell ? ({ kind: "answers" } as const) : ends[Math.min(call.attempts, ends.length) - 1]
    return Effect.onExit(behave(attempt, end), (exit) => Effect.sync(() => this.watch.leave(attempt, exit)))
  })

  private finish(which: number, how: "answers" | "fails" | "dies"): void {
    const hanging = [...this.watch.running].filter(({ end }) => end !== undefined)
    hanging[which % Math.max(1, hanging.length)]?.end?.(how)
  }

  private interrupt(which: number): void {
    const open = this.watch.calls.filter(
      ({ fiber }) => fiber !== undefined && fiber.pollUnsafe() === undefined
    )
    const call = open[which % Math.max(1, open.length)]
    if (call === undefined) return
    call.wasInterrupted = true
    call.fiber?.interruptUnsafe()
  }

  /** All that can be seen of the policy. */
  private seen(): Seen {
    const { breaker, bulkhead, rateLimiter, retryBudget } = this.policy
    return {
      stages: { breaker, bulkhead, rateLimiter, retryBudget },
      describe: this.look(this.policy.describe),
      circuit: breaker && this.look(breaker.snapshot),
      permits: bulkhead && this.look(bulkhead.snapshot),
      limiter: rateLimiter && this.look(rateLimiter.snapshot),
      remaining: rateLimiter && this.look(rateLimiter.peek()).remaining,
      budget: retryBudget && this.look(retryBudget.snapshot)
    }
  }

  private refuse(config: Record<string, unknown>, problems: number): Effect.Effect<void> {
    const { watch } = this
    const before = this.seen()
    const told = this.events.length
    const { reload } = Context.get(this.context, Policies.Policies)
    return Effect.map(Effect.result(reload(providerOf(config))), (result) => {
      watch.note("refused")
      if (result._tag === "Success") {
        watch.problems.push("a wrong table was taken")
        return
      }
      const found = result.failure.problems
      watch.must(
        found.length === problems,
        () => `${problems} things were wrong, told are ${found.join("; ")}`
      )
      const after = this.seen()
      const isSame = Object.entries(after.stages).every(
        ([name, stage]) => stage === before.stages[name as keyof typeof after.stages]
      )
      watch.must(isSame, () => "a refused table changed a stage")
      watch.must(plain(before) === plain(after), () => `refused, but ${plain(before)} is now ${plain(after)}`)
      watch.must(this.events.length === told, () => "a refused table told an event")
    })
  }

  private reload(row: Row): Effect.Effect<void> {
    const { watch } = this
    const before = this.seen()
    const was = watch.row
    const told = this.events.length
    const { reload } = Context.get(this.context, Policies.Policies)
    return Effect.map(Effect.result(reload(providerOf(configOf(row)))), (result) => {
      if (result._tag === "Failure") {
        watch.problems.push(result.failure.message)
        return
      }
      const after = this.seen()
      watch.follow(row)
      this.judgeStays(was, row, before, after)
      this.judgeLimits(was, row, before, after)
      const reloaded = this.events.slice(told).filter(({ _tag }) => _tag === "PolicyReloaded").length
      const isAnother = JSON.stringify(before.describe) !== JSON.stringify(after.describe)
      watch.must(reloaded === (isAnother ? 1 : 0), () => `${reloaded} events of a reload`)
      watch.must(
        JSON.stringify(after.describe.map(({ stage }) => stage)) === JSON.stringify(stagesOf(row)),
        () => `the stages are ${after.describe.map(({ stage }) => stage)}, should be ${stagesOf(row)}`
      )
      const counters = this.look(numbers)
      for (const [key, number] of Object.entries(counters)) {
        if (key.includes("_total")) {
          watch.must(number >= (this.counters[key] ?? 0), () => `${key} went down to ${number}`)
        }
      }
      this.counters = counters
      const components = this.look(Context.get(this.context, Health.Health).components).length
      watch.must(components === (row.breaker === undefined ? 0 : 1), () => `${components} circuits in health`)
      this.noteReload(was, row, before)
    })
  }

  /** What is in a stage that stays is in it afterwards. */
  private judgeStays(was: Row, row: Row, before: Seen, after: Seen): void {
    const { watch } = this
    const isStill = (name: "breaker" | "bulkhead" | "rateLimiter" | "retryBudget"): boolean => {
      const stays = on(was, was[name]) !== undefined && on(row, row[name]) !== undefined
      const isSame = before.stages[name] === after.stages[name]
      const isOff = on(was, was[name]) === undefined && on(row, row[name]) === undefined
      watch.must(isSame === stays || isOff, () => `the ${name} is ${isSame ? "the same" : "another"}`)
      return stays
    }
    if (isStill("breaker")) {
      const of = ({ circuit }: Seen) =>
        plain([
          circuit?.state,
          circuit?.halfOpenIn,
          circuit?.failuresInARow,
          circuit?.counts,
          circuit?.override
        ])
      watch.must(of(before) === of(after), () => `the circuit was ${of(before)}, is ${of(after)}`)
    }
    if (isStill("bulkhead") && before.permits !== undefined && after.permits !== undefined) {
      const of = ({ counts, inFlight, queued }: NonNullable<Seen["permits"]>) =>
        plain([inFlight + queued + counts.timedOut, counts.rejected, counts.interrupted])
      const [old, now] = [of(before.permits), of(after.permits)]
      watch.must(old === now, () => `the bulkhead had ${old}, has ${now}`)
    }
    if (isStill("retryBudget") && before.budget !== undefined && after.budget !== undefined) {
      const { left, most, ratio: _, ...counts } = before.budget
      const { left: leftNow, most: mostNow, ratio: __, ...countsNow } = after.budget
      watch.must(plain(counts) === plain(countsNow), () => "a budget lost its counts")
      watch.must(leftNow <= left, () => `a budget has ${leftNow} and had ${left}`)
      const isWider =
        (row.retryBudget?.cap ?? 0) >= (was.retryBudget?.cap ?? 0) &&
        (row.retryBudget?.minPerSecond ?? 0) >= (was.retryBudget?.minPerSecond ?? 0)
      watch.must(
        !isWider || leftNow === left,
        () => `a budget of ${mostNow} has ${leftNow}, had ${left} of ${most}`
      )
    }
    isStill("rateLimiter")
  }

  /** What is taken of a limiter is taken of the next. */
  private judgeLimits(was: Row, row: Row, before: Seen, after: Seen): void {
    const [old, next] = [on(was, was.rateLimiter), on(row, row.rateLimiter)]
    if (old === undefined || next === undefined) return
    if (before.remaining === undefined || after.remaining === undefined) return
    const isSame = plain({ ...old, delay: 0 }) === plain({ ...next, delay: 0 })
    const isOnlyBurst =
      old.algorithm !== "gcra" &&
      plain({ ...old, delay: 0, burst: 0 }) === plain({ ...next, delay: 0, burst: 0 })
    const taken = capacityOf(old) - before.remaining
    const remaining = isSame || isOnlyBurst ? before.remaining : Math.max(0, capacityOf(next) - taken)
    this.watch.must(
      after.remaining === remaining,
      () => `${after.remaining} remain of the new limit, should be ${remaining}`
    )
    this.watch.must(plain(before.limiter) === plain(after.limiter), () => "a limiter lost its counts")
    this.watch.note("reloaded with another limit", !isSame)
  }

  private noteReload(was: Row, row: Row, { circuit, limiter, permits }: Seen): void {
    const { watch } = this
    const stays = (name: "breaker" | "bulkhead" | "rateLimiter") => on(row, row[name]) !== undefined
    const wasOn = (name: "breaker" | "bulkhead" | "rateLimiter") => on(was, was[name]) !== undefined
    if (wasOn("breaker") && stays("breaker")) {
      watch.note("reloaded while open", circuit?.state === "open")
      watch.note(
        "reloaded while half-open with a probe",
        circuit?.state === "half_open" && [...watch.running].some(({ isProbe }) => isProbe)
      )
      watch.note("reloaded while overridden", circuit?.override !== undefined)
    }
    watch.note("reloaded while calls wait for a permit", (permits?.queued ?? 0) > 0)
    watch.note("reloaded while calls wait for their turn", (limiter?.waiting ?? 0) > 0)
    watch.note("a stage with calls in it went", (permits?.inFlight ?? 0) > 0 && !stays("bulkhead"))
  }

  /** The dependency is well again, and nobody calls: everything ends, and the policy serves as ever. */
  end(): void {
    const { watch, world } = this
    this.isWell = true
    for (let rounds = 0; rounds < 20 && watch.problems.length === 0; rounds++) {
      for (const attempt of [...watch.running]) attempt.end?.("answers")
      world.run(Effect.void)
      this.advance(100)
      watch.judge()
    }
    watch.judgeDeadlines()
    watch.judgeQuiet()
    watch.must(world.isIdle, () => "something still waits when all is quiet")
    if (watch.problems.length > 0) return
    this.judgeNumbers()
    const { breaker } = this.policy
    for (let tries = 0; tries < 100; tries++) {
      this.advance(50)
      this.turn([
        { _tag: "Call", ends: [{ kind: "answers" }], idempotent: false, retry: false, priority: 0, cost: 1 }
      ])
      const exit = watch.calls.at(-1)?.fiber?.pollUnsafe()
      const state = breaker === undefined ? "closed" : this.look(breaker.snapshot).state
      if (exit !== undefined && Exit.isSuccess(exit) && state === "closed") {
        this.close()
        return
      }
    }
    watch.problems.push("it did not recover")
  }

  /** Every call is counted once, by what became of it. */
  private judgeNumbers(): void {
    if (!this.watch.countsAll) return
    let ended = 0
    for (const [key, number] of Object.entries(this.look(numbers))) {
      if (key.startsWith("calls_total") && !key.includes("fallback")) ended += number
    }
    const { length } = this.watch.calls
    this.watch.must(ended === length, () => `${ended} calls were counted of ${length}`)
  }

  private close(): void {
    this.watch.note("recovered")
    this.world.run(Scope.close(this.scope, Exit.void))
    const series = this.look(scrape).length
    this.watch.must(series === 0, () => `${series} series are left`)
    const { length } = this.look(Context.get(this.context, Health.Health).components)
    this.watch.must(length === 0, () => `${length} circuits are left in health`)
  }
}

const plain = (value: unknown): string =>
  JSON.stringify(value, (key, part) => (key === "stages" || key === "describe" ? undefined : part))

/** The stages that a row stands for. */
const stagesOf = (row: Row): ReadonlyArray<string> => {
  if (!row.enabled) return []
  const breaker = on(row, row.breaker) !== undefined
  const bulkhead = on(row, row.bulkhead) !== undefined
  const limiter = on(row, row.rateLimiter) !== undefined
  const names: ReadonlyArray<readonly [string, boolean]> = [
    ["deadline", row.deadline !== undefined],
    ["retry", on(row, row.retry) !== undefined],
    ["hedge", on(row, row.hedge) !== undefined],
    ["circuit gate", breaker && (bulkhead || limiter)],
    ["rate limiter", limiter],
    ["bulkhead", bulkhead],
    ["circuit breaker", breaker],
    ["attempt timeout", (row.attemptTimeout ?? row.deadline) !== undefined]
  ]
  return names.flatMap(([name, isThere]) => (isThere ? [name] : []))
}

const behave = (attempt: Attempt, end: End | undefined): Effect.Effect<string, string> => {
  switch (end?.kind) {
    case "dies":
      return Effect.die("bug")
    case "hangs":
      return Effect.callback((resume) => {
        attempt.end = (how) => {
          attempt.end = undefined
          resume(
            how === "answers"
              ? Effect.succeed("answer")
              : how === "fails"
                ? Effect.fail("down")
                : Effect.die("bug")
          )
        }
        return Effect.sync(() => {
          attempt.end = undefined
        })
      })
    case "clings":
      attempt.call.hasClung = true
      return Effect.as(Effect.uninterruptible(Effect.sleep(end.afterMillis)), "answer")
    case "answers":
    case "fails": {
      const ended = end.kind === "answers" ? Effect.succeed("answer") : Effect.fail("down")
      return "afterMillis" in end ? Effect.andThen(Effect.sleep(end.afterMillis), ended) : ended
    }
    default:
      return Effect.succeed("answer")
  }
}

/** What went wrong in a history, or `undefined`. */
const problemOf = (history: History, happened: Record<string, number>): string | undefined => {
  const play = new Play(history)
  for (const turn of history.turns) {
    play.turn(turn)
    if (play.watch.problems.length > 0) break
  }
  if (play.watch.problems.length === 0) play.end()
  for (const [name, times] of Object.entries(play.watch.situations))
    happened[name] = (happened[name] ?? 0) + times
  return play.watch.problems[0]
}

/** A shorter history that goes wrong too: without each turn that it can do without. */
const shortened = (history: History): History => {
  let { turns } = history
  for (let at = turns.length - 1; at >= 0; at--) {
    const without = turns.filter((_, index) => index !== at)
    if (problemOf({ ...history, turns: without }, {}) !== undefined) turns = without
  }
  return { ...history, turns }
}

/** Plays histories from so many seeds; throws at the first that goes wrong. The result is what happened, and how often. */
export const playHistories = (firstSeed: number, count: number): Readonly<Record<string, number>> => {
  const happened: Record<string, number> = {}
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    const history = drawHistory(drawFrom(seed), seed)
    if (problemOf(history, happened) === undefined) continue
    const short = shortened(history)
    const steps = short.turns.map(
      (turn, index) => `${index + 1}. ${turn.map((step) => JSON.stringify(step)).join("; ")}`
    )
    const problem = problemOf(short, {})
    throw new Error(`${problem}\nseed ${seed}, first ${JSON.stringify(short.first)}\n${steps.join("\n")}`)
  }
  return happened
}
