/** Plays random histories against the rules of a bulkhead and against a reference that sorts a list at each question. */
import fc from "fast-check"
import type * as Permits from "../../../packages/failsoft/src/state/Permits.ts"

/** The rules, as `state/Permits` has them. */
export type Rules = Pick<typeof Permits, "make">

type Place = Permits.Place<number>

/** What must be so, by the plainest means. */
class Reference {
  inFlight = 0
  /** By number of the waiter, in the order in which they came. */
  readonly states: Array<{ readonly priority: number; state: Place["state"] }> = []
  readonly happened = new Map<string, number>()
  limit: number
  queue: number
  priorities: number
  /** What the rules are held to, which may change under them. */
  readonly given: { -readonly [Option in keyof Permits.PermitsConfig]: Permits.PermitsConfig[Option] }

  constructor(given: Permits.PermitsConfig) {
    this.given = { ...given }
    this.limit = given.limit
    this.queue = given.queue
    this.priorities = given.priorities
  }

  note(name: string): void {
    this.happened.set(name, (this.happened.get(name) ?? 0) + 1)
  }

  /** Who waits, in the order in which they are served. */
  get waiting(): ReadonlyArray<number> {
    return this.states
      .map((place, number) => ({ ...place, number }))
      .filter(({ state }) => state === "waiting")
      .sort((one, other) => other.priority - one.priority || one.number - other.number)
      .map(({ number }) => number)
  }

  get next(): number | undefined {
    return this.inFlight < this.limit ? this.waiting[0] : undefined
  }

  displaceable(priority: number): number | undefined {
    const last = this.waiting.at(-1)
    if (last === undefined || this.waiting.length < this.queue) return undefined
    return (this.states[last]?.priority ?? 0) < priority ? last : undefined
  }

  set(number: number, state: Place["state"]): void {
    const place = this.states[number]
    if (place !== undefined) place.state = state
  }
}

interface Real {
  readonly permits: Permits.Permits<number>
  readonly places: Array<Place>
}

const agree = (what: string, found: unknown, meant: unknown): void => {
  if (found !== meant) throw new Error(`${what}: ${String(found)}, not ${String(meant)}`)
}

type Step = (reference: Reference, real: Real) => void

/** A step, and afterwards everything that can be seen of both. */
class Command implements fc.Command<Reference, Real> {
  readonly name: string
  readonly step: Step

  constructor(name: string, step: Step) {
    this.name = name
    this.step = step
  }

  check(): boolean {
    return true
  }

  run(reference: Reference, real: Real): void {
    this.step(reference, real)
    const { permits, places } = real
    agree("limit", permits.limit, reference.limit)
    agree("in flight", permits.inFlight, reference.inFlight)
    agree("queued", permits.queued, reference.waiting.length)
    agree("next", permits.next()?.waiter, reference.next)
    places.forEach(({ state, waiter }, number) => {
      agree("waiter", waiter, number)
      agree(`state of ${number}`, state, reference.states[number]?.state)
    })
    if (reference.inFlight > reference.limit) reference.note("more in flight than the limit")
  }

  toString(): string {
    return this.name
  }
}

const take: Step = (reference, { permits }) => {
  const isFree = reference.inFlight < reference.limit
  agree("take", permits.take(), isFree)
  if (isFree) reference.inFlight++
}

const join =
  (priority: number): Step =>
  (reference, { permits, places }) => {
    const place = permits.join(places.length, priority)
    const hasRoom = reference.waiting.length < reference.queue && priority < reference.priorities
    agree("has a place", place !== undefined, hasRoom)
    if (place === undefined) return
    places.push(place)
    reference.states.push({ priority, state: "waiting" })
  }

/** Those who could make room for others, and whether a call would come in at all. */
const ask =
  (priority: number): Step =>
  (reference, { permits }) => {
    const displaceable = reference.displaceable(priority)
    agree("displaceable", permits.displaceable(priority)?.waiter, displaceable)
    if (displaceable !== undefined) reference.note("one can be displaced")
    const isFree = reference.inFlight < reference.limit
    const hasRoom = reference.waiting.length < reference.queue || displaceable !== undefined
    agree("is open at once", permits.isOpenTo(priority, false), isFree)
    agree("is open", permits.isOpenTo(priority, true), isFree || hasRoom)
  }

/** Serves as many as it can; each in turn may turn out to be served no longer. */
const handOver =
  (isOver: boolean): Step =>
  (reference, { permits }) => {
    for (let place = permits.next(); place !== undefined; place = permits.next()) {
      agree("turn", place.waiter, reference.next)
      if (isOver) {
        agree("leaves at its turn", permits.leave(place), true)
        reference.set(place.waiter, "left")
      } else {
        permits.admit(place)
        reference.set(place.waiter, "admitted")
        reference.inFlight++
        reference.note("admitted from the queue")
      }
    }
    agree("nobody's turn", reference.next, undefined)
  }

const release: Step = (reference, { permits }) => {
  if (reference.inFlight === 0) return
  permits.release()
  reference.inFlight--
}

/** Anyone may try to leave, at any time and again. */
const leave =
  (one: number): Step =>
  (reference, { permits, places }) => {
    const place = places[one % Math.max(places.length, 1)]
    if (place === undefined) return
    const before = reference.states[place.waiter]?.state
    agree("leaves", permits.leave(place), before === "waiting")
    if (before === "waiting") {
      const at = reference.waiting.indexOf(place.waiter)
      if (at > 0 && at < reference.waiting.length - 1) reference.note("left between others")
      reference.set(place.waiter, "left")
    } else {
      reference.note("left again")
    }
    if (before === "admitted") permits.admit(place)
  }

const resize =
  (limit: number): Step =>
  (reference, { permits }) => {
    permits.resize(limit)
    reference.limit = limit
  }

/** What the shell does for a call that finds the queue full. */
const replace =
  (priority: number): Step =>
  (reference, { permits, places }) => {
    const place = permits.displaceable(priority)
    if (place === undefined || priority >= reference.priorities) return
    if (reference.waiting.length > reference.queue) reference.note("displaced in a queue that is over full")
    permits.leave(place)
    reference.set(place.waiter, "left")
    const joined = permits.join(places.length, priority, true)
    agree("takes the place", joined !== undefined, true)
    if (joined === undefined) return
    places.push(joined)
    reference.states.push({ priority, state: "waiting" })
  }

/** Levels are only ever added: what comes in above them is for the shell to see to. */
const reconfigure =
  (queue: number, more: number): Step =>
  (reference) => {
    reference.queue = queue
    reference.priorities += more
    reference.given.queue = queue
    reference.given.priorities = reference.priorities
  }

const priority = fc.integer({ min: 0, max: 3 })

const commands = fc.commands(
  [
    fc.constant(new Command("take", take)),
    fc.constant(new Command("release", release)),
    priority.map((level) => new Command(`join(${level})`, join(level))),
    priority.map((level) => new Command(`join(${level})`, join(level))),
    priority.map((level) => new Command(`join(${level})`, join(level))),
    priority.map((level) => new Command(`ask(${level})`, ask(level))),
    priority.map((level) => new Command(`replace(${level})`, replace(level))),
    priority.map((level) => new Command(`replace(${level})`, replace(level))),
    fc
      .tuple(fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 1 }))
      .map(([queue, more]) => new Command(`reconfigure(${queue}, ${more})`, reconfigure(queue, more))),
    fc.boolean().map((isOver) => new Command(`handOver(${isOver})`, handOver(isOver))),
    fc.nat({ max: 30 }).map((one) => new Command(`leave(${one})`, leave(one))),
    fc.integer({ min: 1, max: 4 }).map((limit) => new Command(`resize(${limit})`, resize(limit)))
  ],
  { maxCommands: 80, size: "max" }
)

const config = fc.record({
  limit: fc.integer({ min: 1, max: 4 }),
  queue: fc.integer({ min: 0, max: 8 }),
  priorities: fc.integer({ min: 1, max: 4 })
})

/** What must have happened often enough for the histories to mean something. */
export const situations = [
  "more in flight than the limit",
  "one can be displaced",
  "admitted from the queue",
  "left between others",
  "left again",
  "displaced in a queue that is over full"
]

/** Plays so many histories, throws at the first step that differs, and counts what happened. */
export const playHistories = (rules: Rules, seed: number, numRuns: number): ReadonlyMap<string, number> => {
  const happened = new Map<string, number>()
  fc.assert(
    fc.property(config, commands, (given, history) => {
      const reference = new Reference(given)
      fc.modelRun(
        () => ({ model: reference, real: { permits: rules.make<number>(reference.given), places: [] } }),
        history
      )
      for (const [name, times] of reference.happened) happened.set(name, (happened.get(name) ?? 0) + times)
    }),
    { seed, numRuns, endOnFailure: true }
  )
  return happened
}
