/**
 * Random histories of a circuit, played against the reference and checked step by step.
 *
 * The rules under test are a parameter, so that planted bugs run through the same check.
 */
import type * as Circuit from "../../../packages/failsoft/src/state/Circuit.ts"
import type { Outcome } from "../../../packages/failsoft/src/state/Outcome.ts"
import type { Trip } from "../../../packages/failsoft/src/state/Trip.ts"
import { type Draw, drawFrom } from "../draw.ts"
import { ReferenceCircuit } from "./referenceCircuit.ts"

/** The module under test. */
export type Rules = typeof Circuit

/** What histories are made of; each is counted, so that a test can say that it happened often enough. */
export const situations = [
  "admitted closed",
  "rejected open",
  "rejected 1 ms before due",
  "admitted exactly when due",
  "admitted as a further probe",
  "rejected for want of a slot",
  "rejected 1 ms before a probe is lost",
  "replaced a lost probe",
  "replaced a probe exactly at its age",
  "settled closed",
  "settled probe",
  "ignored closed",
  "ignored probe",
  "settled stale success",
  "settled stale failure",
  "settled lost probe",
  "settled probe beyond its age that was not replaced",
  "settled probe twice",
  "failure amid other failures in a row",
  "a failure later than its window",
  "a rate at its threshold with a call too few",
  "opened by a success",
  "opening lengthened by retryAfter",
  "retryAfter capped",
  "opening grown in half-open",
  "opening grown after closing",
  "growth forgotten",
  "growth forgotten exactly in time",
  "opening beyond the end of the schedule",
  "admitted in a ramp",
  "rejected in a ramp",
  "drawn exactly the share of a ramp",
  "admitted exactly at the end of a ramp",
  "opened in a ramp"
] as const

export type Situation = (typeof situations)[number]

/** The transitions that a circuit may make. */
export const transitions = [
  "closed → open",
  "open → half_open",
  "half_open → open",
  "half_open → closed"
] as const

/** What may open a circuit. */
export const causes = [
  "opened because Consecutive",
  "opened because FailureRate",
  "opened because SlowCallRate",
  "opened because ProbeFailed",
  "opened because ProbeFailed, slow"
] as const

export type Counts = Map<string, number>

/** A history that the rules got wrong. */
export class WrongHistory extends Error {
  constructor(seed: number, config: Circuit.CircuitConfig, steps: ReadonlyArray<string>, problem: string) {
    super(
      `${problem}\nseed ${seed}, config ${JSON.stringify(config)}\n${steps.map((step, index) => `${index + 1}. ${step}`).join("\n")}`
    )
    this.name = "WrongHistory"
  }
}

/** Quarters of a millisecond add up exactly, so that boundaries can be hit. */
const durations = [0.25, 1, 5, 10.5, 30, 100, 1000.75]

const drawWindow = (draw: Draw): Extract<Trip, { readonly window: unknown }>["window"] =>
  draw.chance(0.5)
    ? { _tag: "Count", calls: draw.integer(1, 5) }
    : { _tag: "Time", durationMillis: draw.pick([4, 10, 32]), buckets: draw.pick([1, 2, 4]) }

const drawTrip = (draw: Draw): Trip => {
  if (draw.chance(0.5)) return { _tag: "Consecutive", failures: draw.integer(1, 4) }
  const window = drawWindow(draw)
  const rate = {
    threshold: draw.pick([0.25, 0.5, 0.6, 1]),
    minimumCalls: draw.integer(1, window._tag === "Count" ? window.calls : 4),
    window
  }
  return draw.chance(0.5)
    ? { _tag: "FailureRate", ...rate }
    : { _tag: "SlowCallRate", slowerThanMillis: draw.pick([0.25, 5, 10.5]), ...rate }
}

const drawConfig = (draw: Draw): Circuit.CircuitConfig => {
  const openMillis = Array.from({ length: draw.integer(1, 4) }, () => draw.pick(durations))
  return {
    trips: Array.from({ length: draw.pick([1, 1, 2, 3]) }, () => drawTrip(draw)),
    openMillis,
    maxOpenMillis: Math.max(...openMillis) * draw.integer(1, 3),
    probes: draw.integer(1, 3),
    successes: draw.integer(1, 4),
    probeMaxAgeMillis: draw.pick(durations),
    ramp: draw.chance(0.5)
      ? { durationMillis: draw.pick([4, 16]), from: draw.pick([0.25, 0.5, 1]) }
      : undefined
  }
}

const drawOutcome = (draw: Draw, failureRate: number): Outcome => {
  if (draw.chance(0.15)) return { _tag: "Ignored" }
  if (!draw.chance(failureRate)) return { _tag: "Success" }
  const hints = [
    undefined,
    undefined,
    undefined,
    0,
    -5,
    0.5,
    20,
    150,
    5000,
    Number.POSITIVE_INFINITY,
    Number.NaN
  ]
  return { _tag: "Failure", retryAfterMillis: draw.pick(hints) }
}

interface Call {
  readonly id: number
  readonly at: number
  readonly permit: Circuit.Permit
  /** Whether the circuit was closed when it admitted the call: then the shell alone keeps it from settling twice. */
  readonly closed: boolean
  settled: boolean
}

/** All but the windows, which change in place. */
const frozen = <A>(value: A): A => {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value) && !("expire" in value)) {
    Object.freeze(value)
    Object.values(value).forEach(frozen)
  }
  return value
}

const stepsInHistory = 60

/** Plays one history; throws `WrongHistory` at the first step that differs from the reference. */
export const playHistory = (rules: Rules, seed: number, counts: Counts): void => {
  const draw = drawFrom(seed)
  const config = frozen(drawConfig(draw))
  const failureRate = draw.pick([0.15, 0.4, 0.7])
  const reference = new ReferenceCircuit(config)
  const calls: Array<Call> = []
  const steps: Array<string> = []
  let circuit: Circuit.Circuit = frozen(rules.initial(config))
  let now = draw.integer(0, 4000) / 4

  const note = (situation: Situation, happened = true): void => {
    if (happened) counts.set(situation, (counts.get(situation) ?? 0) + 1)
  }
  const wrong = (problem: string): never => {
    throw new WrongHistory(seed, config, steps, problem)
  }
  const same = (what: string, actual: unknown, expected: unknown): void => {
    if (!Object.is(actual, expected)) wrong(`${what} is ${String(actual)}, should be ${String(expected)}`)
  }

  const observe = (): void => {
    same("generation", circuit.generation, reference.turns().length)
    same(
      "state",
      circuit._tag,
      { closed: "Closed", opened: "Open", "half-opened": "HalfOpen" }[reference.state()]
    )
    const due = reference.dueAt()
    for (const at of Number.isNaN(due) ? [now] : [now, due - 0.25, due, due + 0.25]) {
      same(`stateName at ${at}`, rules.stateName(circuit, at), reference.stateName(at))
      same(`dueInMillis at ${at}`, rules.dueInMillis(circuit, at), at < due ? due - at : undefined)
    }
    for (const at of [now, now + 1, now + 4, now + 16]) {
      same(`the share at ${at}`, rules.rampShare(config, circuit, at) ?? Number.NaN, reference.share(at))
    }
    const held = circuit._tag === "HalfOpen" ? circuit.probes.length : 0
    same("probes in flight", held, reference.probes().length)
    checkWindows()
    if (held > config.probes) wrong(`${held} probes in flight, ${config.probes} are allowed`)
  }

  const checkWindows = (): void => {
    if (circuit._tag !== "Closed") return
    const rates = config.trips.filter((trip) => trip._tag !== "Consecutive")
    same("windows", circuit.watches.length, rates.length)
    for (const { rule, window } of circuit.watches) {
      const { calls, hits } = reference.rate(rule, now)
      window.expire(now)
      same(`calls in the window of ${rule._tag}`, window.calls, calls)
      same(`hits in the window of ${rule._tag}`, window.hits, hits)
      note("a failure later than its window", calls === 0 && reference.told().length > 0)
      note(
        "a rate at its threshold with a call too few",
        hits > 0 && calls === rule.minimumCalls - 1 && hits / calls >= rule.threshold
      )
    }
  }

  const follow = (transition: Circuit.Transition | undefined, next: Circuit.Circuit): void => {
    if (transition === undefined) {
      same("generation without a transition", next.generation, circuit.generation)
      same("state without a transition", next._tag, circuit._tag)
    } else {
      const tags = { closed: "Closed", open: "Open", half_open: "HalfOpen" } as const
      same("transition.from", tags[transition.from], circuit._tag)
      same("transition.to", tags[transition.to], next._tag)
      same("generation after a transition", next.generation, circuit.generation + 1)
      const name = `${transition.from} → ${transition.to}`
      if (!(transitions as ReadonlyArray<string>).includes(name)) wrong(`${name} is no legal transition`)
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    circuit = frozen(next)
    observe()
  }

  const admit = (): void => {
    const id = calls.length
    const before = reference.state()
    const due = reference.dueAt()
    const held = reference.probes()
    const share = reference.share(now)
    const random = Number.isNaN(share) ? draw.next() : draw.pick([0, share - 2 ** -20, share, draw.next()])
    const expected = reference.admit(id, now, random)
    const [actual, next] = rules.admit(config, now, random)(circuit)
    steps.push(`at ${now}: admit call ${id}, drawn ${random}: ${actual._tag}`)
    same("admission", actual._tag, expected.admitted ? "Admitted" : "Rejected")
    if (expected.admitted) {
      if (actual._tag !== "Admitted") return
      same("half-opened", actual.transition?.to, expected.halfOpened ? "half_open" : undefined)
      calls.push({ id, at: now, permit: actual.permit, closed: before === "closed", settled: false })
      follow(actual.transition, next)
      note("admitted closed", before === "closed")
      note("admitted in a ramp", !Number.isNaN(share))
      if (Number.isNaN(share) && next._tag === "Closed") same("ramp", next.rampSinceMillis, undefined)
      note("admitted exactly at the end of a ramp", now === endOfRamp())
      note("admitted exactly when due", now === due)
      note("admitted as a further probe", before === "half-opened")
      const ages = held.map(({ at }) => now - at)
      note("replaced a lost probe", held.length > 0 && ages.some((age) => age >= config.probeMaxAgeMillis))
      note("replaced a probe exactly at its age", ages.includes(config.probeMaxAgeMillis))
    } else {
      if (actual._tag !== "Rejected") return
      same("retryAfterMillis", actual.retryAfterMillis, expected.retryAfterMillis)
      same("circuit after a rejection", next, circuit)
      follow(undefined, next)
      note("rejected open", before === "opened")
      note("rejected in a ramp", before === "closed")
      note("drawn exactly the share of a ramp", random === share)
      note("rejected 1 ms before due", now === due - 1)
      note("rejected for want of a slot", before === "half-opened")
      note(
        "rejected 1 ms before a probe is lost",
        held.some(({ at }) => now - at === config.probeMaxAgeMillis - 1)
      )
    }
  }

  const endOfRamp = (): number => {
    const closed = reference.turns().at(-1)
    return closed?.kind === "closed" && config.ramp ? closed.at + config.ramp.durationMillis : Number.NaN
  }

  const settle = (call: Call, outcome: Outcome): void => {
    const before = reference.state()
    const rampEnds = endOfRamp()
    const counted = reference.counts(call.id)
    const era = reference.era()
    const admittedNow = era.some((entry) => entry.kind === "admitted" && entry.call === call.id)
    const settledNow = era.some((entry) => entry.kind === "settled" && entry.call === call.id)
    const expected = reference.settle(call.id, outcome, now)
    const unmoved = rules.isUnmoved(circuit, outcome)
    const [actual, next] = rules.settle(config, call.permit, outcome, now)(circuit)
    const hint = outcome._tag === "Failure" ? ` (retryAfter ${outcome.retryAfterMillis})` : ""
    steps.push(
      `at ${now}: settle call ${call.id} as ${outcome._tag}${hint}: ${actual?.to ?? "no transition"}`
    )
    call.settled = true
    same("transition", actual?.to, expected?.to)
    if (unmoved || !counted) same("circuit when nothing moves", next, circuit)
    note("opened in a ramp", expected?.to === "open" && now < rampEnds)
    note("opened by a success", before === "closed" && outcome._tag === "Success" && expected?.to === "open")
    if (actual?.to === "closed" && expected?.to === "closed") {
      same("successes", actual.successes, expected.successes)
      same("successes to close", actual.successes, config.successes)
    }
    if (actual?.to === "open" && expected?.to === "open") checkOpening(actual, expected)
    follow(actual, next)
    if (counted) {
      note("settled closed", before === "closed")
      note("settled probe", before === "half-opened")
      note("ignored closed", before === "closed" && outcome._tag === "Ignored")
      note("ignored probe", before === "half-opened" && outcome._tag === "Ignored")
      note(
        "settled probe beyond its age that was not replaced",
        before === "half-opened" && now - call.at >= config.probeMaxAgeMillis
      )
      note(
        "failure amid other failures in a row",
        before === "closed" && outcome._tag === "Failure" && !expected
      )
    } else {
      note("settled stale success", !admittedNow && outcome._tag === "Success")
      note("settled stale failure", !admittedNow && outcome._tag === "Failure")
      note("settled lost probe", admittedNow && !settledNow)
      note("settled probe twice", admittedNow && settledNow)
    }
  }

  const checkOpening = (
    actual: Extract<Circuit.Transition, { readonly to: "open" }>,
    expected: { readonly because: Circuit.Because; readonly openings: number; readonly openMillis: number }
  ): void => {
    const { because } = actual
    same("because", JSON.stringify(because), JSON.stringify(expected.because))
    const cause = `opened because ${because._tag}${because._tag === "ProbeFailed" && because.slow ? ", slow" : ""}`
    counts.set(cause, (counts.get(cause) ?? 0) + 1)
    same("openings", actual.openings, expected.openings)
    same("openMillis", actual.openMillis, expected.openMillis)
    same("generation of the transition", actual.generation, reference.turns().length)
    if (!(actual.openMillis > 0 && actual.openMillis <= config.maxOpenMillis)) {
      wrong(`open for ${actual.openMillis} ms, allowed is (0, ${config.maxOpenMillis}]`)
    }
    const turns = reference.turns().slice(0, -1)
    const last = turns.at(-1)
    const opening = turns.findLast((turn) => turn.kind === "opened")
    const asked = reference.turns().findLast((turn) => turn.kind === "opened")?.asked ?? 0
    const scheduled = config.openMillis[actual.openings - 1] ?? config.openMillis.at(-1) ?? 0
    note("opening lengthened by retryAfter", actual.openMillis > scheduled)
    note("retryAfter capped", asked > config.maxOpenMillis)
    note("opening grown in half-open", last?.kind === "half-opened")
    note("opening grown after closing", last?.kind === "closed" && actual.openings > 1)
    note("growth forgotten", last?.kind === "closed" && actual.openings === 1)
    note(
      "growth forgotten exactly in time",
      last?.kind === "closed" && opening?.kind === "opened" && now - last.at === opening.lasts
    )
    note("opening beyond the end of the schedule", actual.openings > config.openMillis.length)
  }

  /** When the newest of the calls that a window may hold is let go of. */
  const endOfBucket = ({ buckets, durationMillis }: { buckets: number; durationMillis: number }): number => {
    const bucketMillis = durationMillis / buckets
    const last = reference.told().at(-1)?.at ?? now
    return (Math.floor(last / bucketMillis) + buckets) * bucketMillis
  }

  /** Moments at which the answer changes: the circuit is due, a probe is lost or slow, growth or calls are forgotten, a ramp ends. */
  const boundaries = (): ReadonlyArray<number> => {
    const turns = reference.turns()
    const last = turns.at(-1)
    const opening = turns.findLast((turn) => turn.kind === "opened")
    return [
      ...[reference.dueAt(), endOfRamp()].filter((moment) => !Number.isNaN(moment)),
      ...reference.probes().map(({ at }) => at + config.probeMaxAgeMillis),
      ...config.trips.flatMap((trip) =>
        trip._tag === "SlowCallRate"
          ? calls.filter(({ settled }) => !settled).map(({ at }) => at + trip.slowerThanMillis)
          : []
      ),
      ...config.trips.flatMap((trip) =>
        trip._tag !== "Consecutive" && trip.window._tag === "Time" ? [endOfBucket(trip.window)] : []
      ),
      ...(last?.kind === "closed" && opening?.kind === "opened" ? [last.at + opening.lasts] : [])
    ]
  }

  const wait = (): void => {
    const targets = boundaries().flatMap((moment) => [moment, moment - 1, moment + 1])
    const target = targets.length > 0 && draw.chance(0.8) ? draw.pick(targets) : now + draw.integer(0, 80) / 4
    now = Math.max(now, target)
    steps.push(`wait until ${now}`)
    observe()
  }

  const settleOne = (): void => {
    // A closed circuit is itself the permit of its calls, so that only other calls may settle twice.
    const mayAgain = (call: Call): boolean => !call.closed || !reference.counts(call.id)
    const again = draw.chance(0.15)
    const open = calls.filter((call) => (again ? mayAgain(call) : !call.settled))
    if (open.length > 0) settle(draw.pick(open), drawOutcome(draw, failureRate))
  }

  observe()
  for (let step = 0; step < stepsInHistory; step++) {
    const choice = draw.next()
    if (choice < 0.4) admit()
    else if (choice < 0.8) settleOne()
    else wait()
  }

  // All that was taken comes back: after the last call has ended, every slot can be taken again.
  for (const call of calls.filter((call) => !call.settled)) settle(call, { _tag: "Ignored" })
  if (reference.probes().length > 0) wrong("a probe is in flight though every call has ended")
  if (reference.state() === "opened") {
    now = Math.max(now, reference.dueAt())
    steps.push(`wait until ${now}`)
  }
  if (reference.state() !== "closed") {
    for (let probe = 0; probe <= config.probes; probe++) admit()
    const admitted = calls.filter((call) => !call.settled).length
    same("probes admitted once every call has ended", admitted, config.probes)
  }
}

/** Plays `runs` histories, seeded from `firstSeed` on, and counts what happened in them. */
export const playHistories = (rules: Rules, firstSeed: number, runs: number): Counts => {
  const counts: Counts = new Map()
  for (let run = 0; run < runs; run++) playHistory(rules, firstSeed + run, counts)
  return counts
}
