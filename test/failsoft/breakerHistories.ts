/**
 * Random histories of a whole breaker, with what people set, an idle probe and time, played against the reference.
 *
 * The library under test is a parameter, so that planted bugs run through the same check.
 */
import { Deferred, Duration, Effect, Exit, Fiber, Random, Schedule, Scope, Stream } from "effect"
import type * as failsoft from "failsoft"
import type { CircuitConfig } from "../../packages/failsoft/src/state/Circuit.ts"
import type { Trip as Rule } from "../../packages/failsoft/src/state/Trip.ts"
import { type Draw, drawFrom } from "./draw.ts"
import { World } from "./interruption.ts"
import { type End, type Mode, type Ping, ReferenceBreaker, type Told } from "./referenceBreaker.ts"

/** What of the library a history needs. */
export type Library = Pick<
  typeof failsoft,
  "CircuitBreaker" | "Outcome" | "PolicyEvent" | "ServiceUnavailable"
>

/** What histories are made of; each is counted, so that a test can say that it happened often enough. */
const situations = [
  "closed: opened",
  "half-open: opened",
  "half-open: closed",
  "open: half-opened",
  "half-opened by the prober",
  "closed by the prober",
  "prober's ping interrupted by an opening",
  "prober's ping given up",
  "prober found no room",
  "prober kept still by a person",
  "rejected open",
  "rejected for want of a slot",
  "rejected by a person",
  "rejected by the ramp",
  "let through a ramp",
  "rejected again within a millisecond",
  "rejected a minute after rejections were told",
  "rejections summed up",
  "let through by a person while open",
  "let through while observed",
  "admitted while observed",
  "settled while held open",
  "settled while held closed",
  "probe settled while held",
  "settled after a reset",
  "settled after another opening",
  "opened while observed",
  "override over the moment it ends",
  "override ended, as a call found out",
  "override replaced",
  "override lifted by a reset",
  "reset while half-open with probes running",
  "reset while open",
  "opening lengthened by a hint",
  "interrupted while it runs",
  "died",
  "fallback"
] as const

export type Situation = (typeof situations)[number]

/** Whether the breaker asks its dependency while nobody calls. */
export type Kind = "without an idle probe" | "with an idle probe"

/** The situations of a kind. */
export const situationsOf = (kind: Kind): ReadonlyArray<Situation> =>
  situations.filter((name) => kind === "with an idle probe" || !name.includes("prober"))

export type Counts = Map<string, number>

/** A history that the library got wrong. */
export class WrongHistory extends Error {
  constructor(seed: number, options: unknown, steps: ReadonlyArray<string>, problem: string) {
    const lines = steps.map((step, index) => `${index + 1}. ${step}`).join("\n")
    super(`${problem}\nseed ${seed}, options ${JSON.stringify(options)}\n${lines}`)
    this.name = "WrongHistory"
  }
}

const durations = [1, 5, 10, 30, 100, 1000]

const drawRule = (draw: Draw): Rule => {
  if (draw.chance(0.5)) return { _tag: "Consecutive", failures: draw.integer(1, 4) }
  const window = draw.chance(0.5)
    ? ({ _tag: "Count", calls: draw.integer(1, 5) } as const)
    : ({ _tag: "Time", durationMillis: draw.pick([4, 16, 40]), buckets: draw.pick([1, 2, 4]) } as const)
  const rate = {
    threshold: draw.pick([0.25, 0.5, 0.6, 1]),
    minimumCalls: draw.integer(1, window._tag === "Count" ? window.calls : 4),
    window
  }
  return draw.chance(0.5)
    ? { _tag: "FailureRate", ...rate }
    : { _tag: "SlowCallRate", slowerThanMillis: draw.pick([1, 5, 10]), ...rate }
}

const drawConfig = (draw: Draw): CircuitConfig => {
  const openMillis = Array.from({ length: draw.integer(1, 3) }, () => draw.pick(durations))
  return {
    trips: Array.from({ length: draw.pick([1, 1, 2, 3]) }, () => drawRule(draw)),
    openMillis,
    maxOpenMillis: Math.max(...openMillis) * draw.integer(1, 3),
    probes: draw.integer(1, 3),
    successes: draw.integer(1, 3),
    probeMaxAgeMillis: draw.pick(durations),
    ramp: draw.chance(0.4)
      ? { durationMillis: draw.pick([10, 100]), from: draw.pick([0.125, 0.5, 1]) }
      : undefined
  }
}

const drawEnd = (draw: Draw, failureRate: number): End => {
  if (draw.chance(0.1)) return { kind: draw.pick(["ignored error", "interruption"] as const) }
  if (!draw.chance(failureRate)) return { kind: "success" }
  if (draw.chance(0.6)) return { kind: "failure" }
  return draw.chance(0.5)
    ? { kind: "defect" }
    : { kind: "hinted failure", retryAfterMillis: draw.pick([0, 3, 50, 5000]) }
}

/** Fractions of their own, so that nothing of the prober's falls on a moment of something else. */
const drawPing = (draw: Draw, failureRate: number): Ping => ({
  end: drawEnd(draw, failureRate),
  afterMillis: draw.chance(0.6) ? 0 : draw.pick([0.5, 2.5, 7.5, 40.5, 5000.5])
})

/** The options that a configuration of the rules stands for. */
const optionsOf = (library: Library, config: CircuitConfig, draw: Draw): failsoft.CircuitBreaker.Options => {
  const { CircuitBreaker, Outcome } = library
  const windowOf = (window: Extract<Rule, { readonly window: unknown }>["window"]) =>
    window._tag === "Count"
      ? CircuitBreaker.count(window.calls)
      : CircuitBreaker.time(window.durationMillis, window.buckets)
  const trips = config.trips.map((rule) => {
    if (rule._tag === "Consecutive") return CircuitBreaker.consecutive(rule.failures)
    const { minimumCalls, threshold } = rule
    const rate = { minimumCalls, threshold, window: windowOf(rule.window) }
    return rule._tag === "FailureRate"
      ? CircuitBreaker.failureRate(rate)
      : CircuitBreaker.slowCallRate({ ...rate, slowerThan: rule.slowerThanMillis })
  })
  const [first, ...others] = trips
  const delays = config.openMillis
  const schedule = Schedule.fromStep(
    Effect.sync(() => {
      let at = 0
      return () => {
        const millis = delays[at++]
        return millis === undefined
          ? Effect.die("it is over")
          : Effect.succeed<[number, Duration.Duration]>([at, Duration.millis(millis)])
      }
    })
  )
  return {
    name: "billing",
    trip: others.length === 0 && draw.chance(0.5) ? first : CircuitBreaker.any(first!, ...others),
    openDuration: delays.length === 1 && draw.chance(0.5) ? delays[0] : schedule,
    maxOpenDuration: config.maxOpenMillis,
    halfOpen: { probes: config.probes, successes: config.successes, maxWait: config.probeMaxAgeMillis },
    ramp: config.ramp && { duration: config.ramp.durationMillis, from: config.ramp.from },
    classify: (exit) =>
      Exit.isFailure(exit) &&
      exit.cause.reasons.some((reason) => reason._tag === "Fail" && reason.error === "ignore")
        ? Outcome.ignored
        : Outcome.fromExit(exit)
  }
}

const callThat = (end: End): Effect.Effect<string, unknown> => {
  switch (end.kind) {
    case "success":
      return Effect.succeed("answer")
    case "failure":
      return Effect.fail("refused")
    case "defect":
      return Effect.die("defect")
    case "ignored error":
      return Effect.fail("ignore")
    case "interruption":
      return Effect.interrupt
    case "hinted failure":
      return Effect.fail({ retryAfter: Duration.millis(end.retryAfterMillis) })
  }
}

/** Two ways of writing a share differ in their last digit. */
const rounded = (share: number): number => Math.round(share * 1e9) / 1e9

interface Running {
  readonly call: number
  readonly circuit: number
  readonly turn: number
  readonly end: Deferred.Deferred<End>
  readonly fiber: Fiber.Fiber<string, unknown>
}

const stepsInHistory = 32

/** What is told is heard by listeners; lines of the log would only take time. */
const silent = {
  CircuitOpened: "None",
  CircuitHalfOpened: "None",
  CircuitClosed: "None",
  CircuitOverridden: "None",
  OverrideEnded: "None",
  CircuitReset: "None",
  CallRejected: "None",
  CallsRejected: "None"
} as const

/** Plays one history; throws `WrongHistory` at the first step that differs from the reference. */
export const playHistory = (library: Library, kind: Kind, seed: number, counts: Counts): void => {
  const draw = drawFrom(seed)
  const config = drawConfig(draw)
  const failureRate = draw.pick([0.2, 0.5, 0.8])
  const probe =
    kind === "with an idle probe"
      ? {
          everyMillis: draw.pick([1.125, 6.125, 50.125]),
          pings: Array.from({ length: 4 }, () => drawPing(draw, failureRate))
        }
      : undefined
  const world = new World()
  world.clock.nowMillis = draw.integer(0, 4000) / 4
  const reference = new ReferenceBreaker(config, probe, world.clock.nowMillis)
  const options = optionsOf(library, config, draw)
  const steps: Array<string> = []
  const events: Array<failsoft.PolicyEvent.PolicyEvent> = []
  const streamed: Array<string> = []
  const transitions: Array<string> = []
  let running: Array<Running> = []
  let pings = 0

  const note = (situation: Situation, happened = true): void => {
    if (happened) counts.set(situation, (counts.get(situation) ?? 0) + 1)
  }
  const failed = (problem: string) => new WrongHistory(seed, { ...config, probe }, steps, problem)
  const same = (what: string, actual: unknown, expected: unknown): void => {
    const [is, should] = [JSON.stringify(actual), JSON.stringify(expected)]
    if (is !== should) throw failed(`${what} is ${is}, should be ${should}`)
  }

  const ping = Effect.suspend(() => {
    const { afterMillis, end } = probe!.pings[pings++ % probe!.pings.length]!
    return afterMillis === 0 ? callThat(end) : Effect.andThen(Effect.sleep(afterMillis), callThat(end))
  })
  const breaker = world.value(
    library.CircuitBreaker.make({
      ...options,
      probe: probe && { effect: ping, every: probe.everyMillis }
    }).pipe(
      Effect.provideService(Scope.Scope, world.value(Scope.make())),
      Effect.provideService(library.PolicyEvent.Listeners, [(event) => events.push(event)]),
      Effect.provide(library.PolicyEvent.layerLogLevels(silent))
    )
  )
  /** As the breaker takes it, with what chance says to it. */
  const guard = (effect: Effect.Effect<string, unknown>): Effect.Effect<string, unknown> => {
    const { random } = reference
    return breaker
      .execute(effect)
      .pipe(Effect.provideService(Random.Random, { nextDoubleUnsafe: () => random, nextIntUnsafe: () => 0 }))
  }
  const fork = <A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> => {
    const fiber = Effect.runForkWith(world.context)(effect, { scheduler: world })
    world.run(Effect.void)
    return fiber
  }
  fork(Stream.runForEach(breaker.transitions, ({ _tag }) => Effect.sync(() => streamed.push(_tag))))

  const plainly = (event: failsoft.PolicyEvent.PolicyEvent): Told => {
    const at = event.atMillis
    switch (event._tag) {
      case "CircuitOpened": {
        const { _tag, because, from, openDuration, openings } = event
        return { _tag, from, because, openMillis: Duration.toMillis(openDuration), openings, at }
      }
      case "CircuitClosed":
        return { _tag: event._tag, successes: event.successes, at }
      case "CircuitOverridden": {
        const { _tag, mode, reason, ttl } = event
        return { _tag, mode, reason, ttlMillis: Duration.toMillis(ttl), at }
      }
      case "OverrideEnded": {
        const { _tag, mode, wouldHaveRejected } = event
        return { _tag, mode, wouldHaveRejected, at }
      }
      case "CallsRejected":
        return { _tag: event._tag, count: event.count, at }
      default:
        return { _tag: event._tag, at }
    }
  }

  const plainSnapshot = () => {
    const { counts, failuresInARow, halfOpenIn, lastFailureAtMillis, override, ramp, rates, state } =
      world.value(breaker.snapshot)
    return {
      state,
      override: override && {
        mode: override.mode,
        reason: override.reason,
        endsInMillis: Duration.toMillis(override.endsIn),
        wouldHaveRejected: override.wouldHaveRejected
      },
      failuresInARow,
      ramp: ramp && rounded(ramp),
      rates: rates.map(({ _tag, calls, minimumCalls, rate, threshold }) => ({
        _tag,
        rate,
        threshold,
        calls,
        minimumCalls
      })),
      counts: {
        total: counts.total,
        successful: counts.successful,
        failed: counts.failed,
        ignored: counts.ignored,
        rejected: counts.rejected,
        fallback: counts.fallback
      },
      lastFailureAt: lastFailureAtMillis,
      halfOpenInMillis: halfOpenIn && Duration.toMillis(halfOpenIn)
    }
  }

  /** Compares everything that can be seen with what the reference has. */
  const observe = (): void => {
    const told = reference.events.splice(0)
    same("what is told", events.splice(0).map(plainly), told)
    const expected = reference.snapshot()
    same("the snapshot", plainSnapshot(), { ...expected, ramp: expected.ramp && rounded(expected.ramp) })
    same("isOpen", world.value(breaker.isOpen), reference.isOpen())
    same("pings", pings, reference.pings)
    for (const event of told) noteEvent(event)
    same("transitions streamed", streamed.length, transitions.length)
    const probing = reference.circuit.probes().length
    if (probing > config.probes) throw failed(`${probing} probes run, ${config.probes} are allowed`)
  }

  const noteEvent = (event: Told): void => {
    const tag = event._tag
    if (/^Circuit(Opened|HalfOpened|Closed|Reset)$/.test(tag)) transitions.push(tag)
    note("closed: opened", tag === "CircuitOpened" && event.from === "closed")
    note("half-open: opened", tag === "CircuitOpened" && event.from === "half_open")
    note("open: half-opened", tag === "CircuitHalfOpened")
    note("half-open: closed", tag === "CircuitClosed")
    note("rejections summed up", tag === "CallsRejected" && Number(event.count) > 1)
    note("override ended, as a call found out", tag === "OverrideEnded")
    note("opened while observed", tag === "CircuitOpened" && reference.inForce()?.mode === "observe")
    const { openMillis, openings } = event
    const scheduled = config.openMillis[Math.min(Number(openings), config.openMillis.length) - 1]
    note("opening lengthened by a hint", tag === "CircuitOpened" && Number(openMillis) > (scheduled ?? 0))
  }

  const noteArrival = (
    rejected: boolean,
    before: { readonly hadRoom: boolean; readonly told: number; readonly summedAt: number }
  ) => {
    const mode = reference.inForce()?.mode
    const state = reference.circuit.state()
    note(
      "rejected a minute after rejections were told",
      rejected && before.summedAt === reference.now - 60_000
    )
    note("rejected by a person", rejected && mode === "open")
    note("rejected open", rejected && mode !== "open" && state === "opened")
    note("rejected for want of a slot", rejected && mode !== "open" && state === "half-opened")
    note("rejected by the ramp", rejected && mode !== "open" && state === "closed")
    note("let through a ramp", !rejected && state === "closed" && reference.circuit.share(reference.now) < 1)
    note("rejected again within a millisecond", rejected && reference.events.length === before.told)
    note("let through by a person while open", !rejected && mode === "closed" && state === "opened")
    note("let through while observed", !rejected && mode === "observe" && !before.hadRoom)
    note("admitted while observed", !rejected && mode === "observe" && before.hadRoom)
  }

  /** A call arrives; the result is its number, or what it is rejected with. */
  const arrive = () => {
    const before = {
      hadRoom: reference.hasRoom(),
      told: reference.events.length,
      summedAt: reference.summedAt
    }
    reference.random = draw.next()
    note("override over the moment it ends", reference.override?.untilMillis === reference.now)
    const answer = reference.call()
    noteArrival(answer.rejected, before)
    return answer
  }

  const expectRejection = (exit: Exit.Exit<unknown, unknown>, retryAfterMillis: number | undefined): void => {
    const reason = Exit.isFailure(exit) ? exit.cause.reasons[0] : undefined
    const error = reason?._tag === "Fail" ? reason.error : undefined
    if (!(error instanceof library.ServiceUnavailable)) throw failed("the call is not rejected")
    same("the reason", error.reason._tag, "CircuitOpen")
    same("retryAfter", error.retryAfter && Duration.toMillis(error.retryAfter), retryAfterMillis)
  }

  const expectEnd = (exit: Exit.Exit<unknown, unknown>, end: End): void => {
    const own = Effect.runSync(Effect.exit(callThat(end)))
    const plain = (of: Exit.Exit<unknown, unknown>) =>
      Exit.isSuccess(of)
        ? of.value
        : of.cause.reasons.map((reason) =>
            reason._tag === "Fail" ? ["fails", reason.error] : [reason._tag === "Die" ? "dies" : "stops"]
          )
    same("the result of the call", plain(exit), plain(own))
  }

  const call = (): void => {
    const end = drawEnd(draw, failureRate)
    const withFallback = draw.chance(0.2)
    const answer = arrive()
    if (!answer.rejected) reference.settle(answer.call, end)
    note("died", !answer.rejected && end.kind === "defect")
    steps.push(`at ${reference.now}: call, ${answer.rejected ? "rejected" : end.kind}`)
    const guarded = guard(callThat(end))
    if (withFallback && answer.rejected) {
      reference.counts.fallback++
      note("fallback")
      const exit = world.run(guarded.pipe(breaker.orElse(() => Effect.succeed("instead"))))
      same("the fallback's answer", Exit.isSuccess(exit) && exit.value, "instead")
      return
    }
    const exit = world.run(guarded)
    if (answer.rejected) expectRejection(exit, answer.retryAfterMillis)
    else expectEnd(exit, end)
  }

  const start = (): void => {
    const answer = arrive()
    steps.push(`at ${reference.now}: start, ${answer.rejected ? "rejected" : `call ${answer.call}`}`)
    const end = Deferred.makeUnsafe<End>()
    const fiber = fork(guard(Effect.flatMap(Deferred.await(end), callThat)))
    const exit = fiber.pollUnsafe()
    if (answer.rejected) {
      if (exit === undefined) throw failed("the call runs, it should be rejected")
      expectRejection(exit, answer.retryAfterMillis)
      return
    }
    if (exit !== undefined) throw failed("the call has ended, it should run")
    const { circuits: circuit } = reference
    running.push({ call: answer.call, circuit, turn: reference.circuit.turns().length, end, fiber })
  }

  const settle = (): void => {
    if (running.length === 0) {
      call()
      return
    }
    const ends = draw.pick(running)
    running = running.filter((other) => other !== ends)
    const isInterrupted = draw.chance(0.15)
    const end: End = isInterrupted ? { kind: "interruption" } : drawEnd(draw, failureRate)
    const mode = reference.inForce()?.mode
    note("settled while held open", mode === "open")
    note("settled while held closed", mode === "closed")
    note(
      "probe settled while held",
      reference.isHeld() && reference.circuit.probes().some((probe) => probe.call === ends.call)
    )
    note("settled after a reset", ends.circuit !== reference.circuits)
    note("settled after another opening", ends.turn + 1 < reference.circuit.turns().length)
    note("interrupted while it runs", isInterrupted)
    reference.settle(ends.call, end)
    steps.push(`at ${reference.now}: end call ${ends.call}, ${isInterrupted ? "interrupted" : end.kind}`)
    if (isInterrupted) world.run(Fiber.interrupt(ends.fiber))
    else world.run(Deferred.succeed(ends.end, end))
    const exit = ends.fiber.pollUnsafe()
    if (exit === undefined) throw failed("the call goes on, it should have ended")
    expectEnd(exit, end)
  }

  /** Moments at which the answer changes. */
  const boundaries = (): ReadonlyArray<number> => {
    const { circuit, override, prober } = reference
    const turns = circuit.turns()
    const last = turns.at(-1)
    const opening = turns.findLast((turn) => turn.kind === "opened")
    const buckets = config.trips.flatMap((trip) => {
      if (trip._tag === "Consecutive" || trip.window._tag === "Count") return []
      const bucketMillis = trip.window.durationMillis / trip.window.buckets
      const ended = circuit.told().at(-1)?.at ?? reference.now
      return (Math.floor(ended / bucketMillis) + trip.window.buckets) * bucketMillis
    })
    return [
      circuit.dueAt(),
      override?.untilMillis ?? Number.NaN,
      ...(last?.kind === "closed" && config.ramp !== undefined ? [last.at + config.ramp.durationMillis] : []),
      prober?.wakesAt ?? Number.NaN,
      ...circuit.probes().map(({ at }) => at + config.probeMaxAgeMillis),
      ...buckets,
      ...(draw.chance(0.3) ? [reference.summedAt + 60_000] : []),
      ...(last?.kind === "closed" && opening?.kind === "opened" ? [last.at + opening.lasts] : [])
    ].filter(Number.isFinite)
  }

  const wait = (): void => {
    const targets = boundaries().flatMap((moment) => [moment, moment, moment - 1, moment + 1])
    const target =
      targets.length > 0 && draw.chance(0.8)
        ? draw.pick(targets)
        : reference.now + draw.pick([0.25, 0.75, 3, 20, 700, 61_000])
    // A prober whose circuit is due may ask very often: not so long that it does nothing else.
    const busyFrom = reference.prober?.wakesAt ?? Number.POSITIVE_INFINITY
    const to = Math.max(reference.now, Math.min(target, busyFrom + 10))
    notingTheProber(() => reference.advance(to))
    steps.push(`wait until ${to}`)
    const { clock } = world
    while (clock.sleepers.some(({ atMillis }) => atMillis <= to)) {
      clock.wakeNext()
      world.run(Effect.void)
    }
    clock.nowMillis = to
  }

  /** Counts what a prober comes to while time passes. */
  const notingTheProber = (advance: () => void): void => {
    const pingsBefore = reference.pings
    const told = reference.events.length
    const failedBefore = reference.counts.failed
    const wasPinging = reference.prober?.ping !== undefined
    advance()
    const after = reference.events.slice(told).map((event) => event._tag)
    note("half-opened by the prober", after.includes("CircuitHalfOpened"))
    note("closed by the prober", after.includes("CircuitClosed"))
    note("prober's ping given up", wasPinging && reference.counts.failed > failedBefore)
    const idle = reference.prober !== undefined && reference.pings === pingsBefore
    const isDue = reference.circuit.stateName(reference.now) === "half_open"
    note("prober kept still by a person", idle && isDue && reference.isHeld())
    note("prober found no room", idle && isDue && !reference.isHeld() && !reference.hasRoom())
  }

  const override = (mode: Mode): void => {
    const ttlMillis = draw.pick([...durations, 100_000])
    note("override replaced", reference.inForce() !== undefined)
    reference.setOverride(mode, "a test", ttlMillis)
    steps.push(`at ${reference.now}: override to ${mode} for ${ttlMillis} ms`)
    world.value(breaker.override(mode, { reason: "a test", ttl: ttlMillis }))
  }

  const reset = (): void => {
    const state = reference.circuit.state()
    note("override lifted by a reset", reference.inForce() !== undefined)
    note("reset while half-open with probes running", reference.circuit.probes().length > 0)
    note("reset while open", state === "opened")
    reference.reset()
    steps.push(`at ${reference.now}: reset`)
    world.value(breaker.reset)
  }

  const step = (): void => {
    const pinging = reference.prober?.ping
    const choice = draw.next()
    if (choice < 0.28) call()
    else if (choice < 0.46) start()
    else if (choice < 0.66) settle()
    else if (choice < 0.9) wait()
    else if (choice < 0.97) override(draw.pick(["open", "closed", "observe"]))
    else reset()
    // What became of probes while people held the circuit shows only once they let go, and both are rare by themselves.
    if (reference.circuit.state() === "half-opened" && draw.chance(0.15)) {
      observe()
      override(reference.isHeld() ? "observe" : draw.pick(["open", "closed"]))
    }
    note(
      "prober's ping interrupted by an opening",
      pinging !== undefined && choice < 0.66 && reference.prober?.ping !== pinging
    )
    observe()
  }

  /** Whatever was taken comes back: once all calls have ended, every slot can be taken again. */
  const finish = (): void => {
    while (running.length > 0) {
      settle()
      observe()
    }
    if (probe !== undefined) return
    if (reference.circuit.state() === "opened") {
      const to = Math.max(reference.now, reference.circuit.dueAt(), reference.override?.untilMillis ?? 0)
      reference.advance(to)
      world.clock.nowMillis = to
    }
    for (let slot = 0; slot <= config.probes; slot++) {
      start()
      observe()
    }
    if (reference.circuit.state() === "half-opened" && reference.override === undefined) {
      same("probes admitted once every call has ended", running.length, config.probes)
    }
  }

  observe()
  for (let number = 0; number < stepsInHistory; number++) step()
  finish()
  same("what is streamed", streamed, transitions)
}

/** Plays `runs` histories of a kind, seeded from `firstSeed` on, and counts what happened in them. */
export const playHistories = (library: Library, kind: Kind, firstSeed: number, runs: number): Counts => {
  const counts: Counts = new Map()
  for (let run = 0; run < runs; run++) playHistory(library, kind, firstSeed + run, counts)
  return counts
}
