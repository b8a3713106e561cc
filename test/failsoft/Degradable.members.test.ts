import { describe, expect, it } from "@effect/vitest"
import {
  Context,
  Data,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Result,
  Schedule,
  Scope,
  Stream
} from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, Degradable, ServiceUnavailable, UnavailableReason } from "failsoft"

class Down extends Data.TaggedError("Down") {}

const isUnavailable = (error: unknown) => error instanceof Down

const unavailable = new ServiceUnavailable({ service: "notes", reason: UnavailableReason.NotConnected() })

/** Opens at the first failure, for a second, and closes at the first successful probe. */
const breaker = {
  trip: CircuitBreaker.consecutive(1),
  openDuration: "1 second",
  halfOpen: { successes: 1 }
} as const

/** A Layer that is built at the second attempt, a second after the first. */
const late = <I, S>(key: Context.Key<I, S>, service: S) => {
  let attempts = 0
  return Layer.effect(
    key,
    Effect.suspend(() => (attempts++ === 0 ? Effect.fail(unavailable) : Effect.succeed(service)))
  )
}

const inASecond = { recovery: Schedule.spaced("1 second") }

interface Note {
  readonly text: string
}

const hidden = Symbol("hidden")

abstract class Base {
  abstract readonly side: string

  /** Found above the class of the service. */
  get whoAmI(): Effect.Effect<string> {
    return Effect.sync(() => this.side)
  }
}

class MemoryNotes extends Base {
  readonly side: string
  readonly limits = { notes: 10 }
  readonly Note = class {
    readonly text = "a class is data"
  }
  #notes: ReadonlyArray<Note> = []
  #isDown = false

  constructor(side: string) {
    super()
    this.side = side
  }

  get size(): Effect.Effect<number, Down> {
    return this.#up(() => this.#notes.length)
  }
  get capacity(): number {
    return this.limits.notes - this.#notes.length
  }
  readonly last = Effect.suspend(() => this.#up(() => this.#notes.at(-1)?.text))

  add<A extends Note>(note: A): Effect.Effect<A, Down> {
    return this.#up(() => {
      this.#notes = [...this.#notes, note]
      return note
    })
  }
  matching(part: string): Stream.Stream<string, Down> {
    return Stream.unwrap(this.#up(() => Stream.fromIterable(this.#notes))).pipe(
      Stream.map(({ text }) => text),
      Stream.filter((text) => text.includes(part))
    )
  }
  get all(): Stream.Stream<string, Down> {
    return this.matching("")
  }
  [hidden](): Effect.Effect<string> {
    return Effect.succeed(`hidden in ${this.side}`)
  }

  /** Not part of the service: for the test. */
  static goDown(notes: MemoryNotes): void {
    notes.#isDown = true
  }
  static comeUp(notes: MemoryNotes): void {
    notes.#isDown = false
  }

  #up<A>(f: () => A): Effect.Effect<A, Down> {
    return Effect.suspend(() => (this.#isDown ? Effect.fail(new Down()) : Effect.sync(f)))
  }
}

class Notes extends Context.Service<Notes, MemoryNotes>()("test/Notes") {}

describe("a service that is a class", () => {
  const make = Effect.gen(function* () {
    const [live, plain] = [new MemoryNotes("live"), new MemoryNotes("plain")]
    const layer = Degradable.layer(Notes, {
      name: "notes",
      primary: late(Notes, live),
      degraded: Layer.succeed(Notes, plain),
      breaker,
      isUnavailable,
      ...inASecond
    })
    const notes = Context.get(yield* Layer.build(layer), Notes)
    return { live, plain, notes }
  })

  const contents = (notes: MemoryNotes) => Stream.runCollect(notes.all)

  it.effect("is switched in all its members, wherever they stand", () =>
    Effect.gen(function* () {
      const { live, notes, plain } = yield* make
      const used = Effect.gen(function* () {
        const note = yield* notes.add({ text: "an apple", id: 1 })
        return {
          id: note.id,
          side: yield* notes.whoAmI,
          hidden: yield* notes[hidden](),
          size: yield* notes.size,
          last: yield* notes.last,
          matching: yield* Stream.runCollect(notes.matching("apple")),
          all: yield* Stream.runCollect(notes.all)
        }
      })
      const expected = { id: 1, size: 1, last: "an apple", matching: ["an apple"], all: ["an apple"] }
      expect(yield* used).toEqual({ ...expected, side: "plain", hidden: "hidden in plain" })
      yield* TestClock.adjust("1 second")
      expect(yield* used).toEqual({ ...expected, side: "live", hidden: "hidden in live" })
      MemoryNotes.goDown(live)
      expect(yield* Effect.flip(notes.size)).toEqual(new Down())
      expect(yield* used).toMatchObject({ side: "plain", size: 2, hidden: "hidden in plain" })
      MemoryNotes.comeUp(live)
      yield* TestClock.adjust("1 second")
      expect(yield* used).toMatchObject({ side: "live", size: 2, hidden: "hidden in live" })
      expect([yield* contents(live), yield* contents(plain)]).toEqual([
        ["an apple", "an apple"],
        ["an apple", "an apple"]
      ])
    })
  )

  it.effect("is still of its class, and its data is that of the degraded side", () =>
    Effect.gen(function* () {
      const { notes, plain } = yield* make
      yield* TestClock.adjust("1 second")
      expect(notes).toBeInstanceOf(MemoryNotes)
      expect(Object.getOwnPropertyNames(notes)).not.toContain("constructor")
      expect([notes.side, notes.limits, new notes.Note().text]).toEqual([
        "plain",
        plain.limits,
        "a class is data"
      ])
      expect(notes.capacity).toBe(10)
      yield* plain.add({ text: "a note" })
      expect(notes.capacity).toBe(9)
      expect(Object.keys(notes).sort()).toEqual(Object.keys(plain).sort())
    })
  )

  it.effect("chooses the side when a member runs, not when it is taken", () =>
    Effect.gen(function* () {
      const { live, notes } = yield* make
      const { add } = notes
      const [adding, all, last] = [add.call(undefined, { text: "taken early" }), notes.all, notes.last]
      yield* TestClock.adjust("1 second")
      yield* adding
      expect([yield* last, yield* Stream.runCollect(all)]).toEqual(["taken early", ["taken early"]])
      expect(yield* contents(live)).toEqual(["taken early"])
      MemoryNotes.goDown(live)
      yield* Effect.exit(adding)
      expect([yield* last, yield* Stream.runCollect(all)]).toEqual([undefined, []])
    })
  )
})

describe("a service that is an object", () => {
  interface Shape {
    readonly name: string
    readonly whoAmI: Effect.Effect<string>
  }
  class Named extends Context.Service<Named, Shape>()("test/Named") {}

  it.effect("may be frozen, and may inherit; the nearest member of a name counts", () =>
    Effect.gen(function* () {
      const side = (name: string): Shape =>
        Object.freeze(
          Object.assign(Object.create({ name: "above", whoAmI: Effect.succeed(`inherited by ${name}`) }), {
            name
          })
        )
      const layer = Degradable.layer(Named, {
        name: "named",
        primary: late(Named, side("live")),
        degraded: Layer.succeed(Named, side("plain")),
        ...inASecond
      })
      const named = Context.get(yield* Layer.build(layer), Named)
      expect([named.name, yield* named.whoAmI]).toEqual(["plain", "inherited by plain"])
      yield* TestClock.adjust("1 second")
      expect([named.name, yield* named.whoAmI]).toEqual(["plain", "inherited by live"])
    })
  )
})

describe("a function", () => {
  interface Shape {
    readonly call: (input: string) => Effect.Effect<string, Down>
    readonly list: (input: string) => Stream.Stream<string, Down>
  }
  class Service extends Context.Service<Service, Shape>()("test/Service") {}

  /** Both sides, with the calls that they saw and the effects that ran. */
  const recorded = () => {
    const called: Array<string> = []
    const ran: Array<string> = []
    const side = (name: string): Shape => {
      const run = (input: string) => Effect.sync(() => ran.push(`${name} ${input}`))
      const answer = (input: string) => {
        called.push(`${name} ${input}`)
        if (input === `bad ${name}`) throw new Error(input)
        return Effect.as(run(input), `${name} ${input}`)
      }
      return { call: answer, list: (input) => Stream.fromEffect(answer(input)) }
    }
    const layer = Degradable.layer(Service, {
      name: "service",
      primary: late(Service, side("live")),
      degraded: Layer.succeed(Service, side("plain")),
      breaker,
      ...inASecond
    })
    return { called, ran, make: Effect.map(Layer.build(layer), Context.get(Service)) }
  }

  it.effect("is called once for each time it runs, and nothing runs on the other side", () =>
    Effect.gen(function* () {
      const { called, make, ran } = recorded()
      const service = yield* make
      yield* service.call("1")
      yield* Stream.runDrain(service.list("2"))
      yield* TestClock.adjust("1 second")
      yield* service.call("3")
      yield* Stream.runDrain(service.list("4"))
      expect(ran).toEqual(["plain 1", "plain 2", "live 3", "live 4"])
      expect(called).toEqual(ran)
    })
  )

  it.effect("that throws raises a defect on the side that serves, and does not trouble the other", () =>
    Effect.gen(function* () {
      const { make } = recorded()
      const service = yield* make
      expect(() => service.call("bad plain")).toThrow("bad plain")
      yield* TestClock.adjust("1 second")
      expect(yield* service.call("bad plain")).toBe("live bad plain")
      expect(yield* Effect.exit(service.call("bad live"))).toEqual(Exit.die(new Error("bad live")))
      expect(yield* service.call("bad live")).toBe("plain bad live")
      expect(yield* Effect.exit(service.call("bad plain"))).toEqual(Exit.die(new Error("bad plain")))
    })
  )

  it.effect(
    "that gives something else, which an overload may hide from the types, says that it needs a guard",
    () =>
      Effect.gen(function* () {
        interface Hidden {
          readonly get: { (): string; (id: string): Effect.Effect<string> }
        }
        class HiddenService extends Context.Service<HiddenService, Hidden>()("test/Hidden") {}
        const get = ((id?: string) => (id === undefined ? "all" : Effect.succeed(id))) as Hidden["get"]
        const side = Layer.succeed(HiddenService, { get })
        const layer = Degradable.layer(HiddenService, { name: "hidden", primary: side, degraded: side })
        const service = Context.get(yield* Layer.build(layer), HiddenService)
        expect(yield* service.get("1")).toBe("1")
        const all: Effect.Effect<unknown> = Object(service.get())
        expect(String(yield* Effect.exit(all))).toContain(
          "get gave neither one effect nor one stream: it needs a guard"
        )
      })
  )
})

describe("a stream", () => {
  interface Shape {
    readonly lines: Stream.Stream<string, Down>
  }
  class Lines extends Context.Service<Lines, Shape>()("test/Lines") {}

  const make = (
    live: Stream.Stream<string, Down>,
    given: { readonly failover?: typeof isUnavailable } = {}
  ) =>
    Effect.map(
      Layer.build(
        Degradable.layer(Lines, {
          name: "lines",
          primary: Layer.succeed(Lines, { lines: live }),
          degraded: Layer.succeed(Lines, { lines: Stream.make("plain") }),
          breaker,
          isUnavailable,
          ...given
        })
      ),
      (context) => Context.get(context, Lines).lines
    )

  /** What a stream gave, and what it failed with. */
  const read = (lines: Stream.Stream<string, Down>) =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const end = yield* Effect.result(Stream.runForEach(lines, (line) => Effect.sync(() => seen.push(line))))
      return Result.isFailure(end) ? [...seen, end.failure._tag] : seen
    })

  it.effect("is the primary's from its first element to its end", () =>
    Effect.gen(function* () {
      const lines = yield* make(Stream.make("1", "2").pipe(Stream.concat(Stream.make("3"))))
      expect(yield* read(lines)).toEqual(["1", "2", "3"])
      expect(yield* read(yield* make(Stream.empty))).toEqual([])
    })
  )

  it.effect("counts against the primary when it fails to begin", () =>
    Effect.gen(function* () {
      const lines = yield* make(Stream.fail(new Down()))
      expect(yield* read(lines)).toEqual(["Down"])
      expect(yield* read(lines)).toEqual(["plain"])
    })
  )

  it.effect("that fails to begin may fail over, and one that fails later does not", () =>
    Effect.gen(function* () {
      const failover = isUnavailable
      expect(yield* read(yield* make(Stream.fail(new Down()), { failover }))).toEqual(["plain"])
      const broken = yield* make(Stream.make("1").pipe(Stream.concat(Stream.fail(new Down()))), { failover })
      expect(yield* read(broken)).toEqual(["1", "Down"])
      expect(yield* read(broken)).toEqual(["1", "Down"])
    })
  )

  it.effect("gives its elements as they come, and lets go when nobody reads on", () =>
    Effect.gen(function* () {
      const go = yield* Deferred.make<string>()
      let open = 0
      const opened = Stream.unwrap(
        Effect.as(
          Effect.acquireRelease(
            Effect.sync(() => open++),
            () => Effect.sync(() => open--)
          ),
          Stream.make("1").pipe(
            Stream.concat(Stream.fromEffect(Deferred.await(go))),
            Stream.concat(Stream.never)
          )
        )
      )
      const lines = yield* make(opened)
      expect(yield* read(Stream.take(lines, 1))).toEqual(["1"])
      expect(open).toBe(0)
      const fiber = yield* Effect.forkChild(read(Stream.take(lines, 2)), { startImmediately: true })
      expect(open).toBe(1)
      yield* Deferred.succeed(go, "2")
      expect(yield* Fiber.join(fiber)).toEqual(["1", "2"])
      expect(open).toBe(0)
    })
  )

  it.effect("that is waited for in vain says nothing about the primary", () =>
    Effect.gen(function* () {
      const lines = yield* make(Stream.never)
      for (let reader = 0; reader < 3; reader++) {
        const fiber = yield* Effect.forkChild(read(lines), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
      }
      const fiber = yield* Effect.forkChild(read(lines), { startImmediately: true })
      expect(fiber.pollUnsafe()).toBeUndefined()
    })
  )
})

describe("a guard", () => {
  interface Session {
    readonly send: (text: string) => Effect.Effect<string, Down>
  }
  interface Shape {
    readonly open: (name: string) => Effect.Effect<Session, Down, Scope.Scope>
    readonly name: string
  }
  class Sessions extends Context.Service<Sessions, Shape>()("test/Sessions") {}

  const sides = () => {
    const log: Array<string> = []
    const side = (name: string): Shape => ({
      name,
      open: (session) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            log.push(`${name} opens ${session}`)
            return {
              send: (text: string) =>
                text === "down" ? Effect.fail(new Down()) : Effect.succeed(`${name} ${session} ${text}`)
            }
          }),
          () => Effect.sync(() => log.push(`${name} closes ${session}`))
        )
    })
    return { log, live: side("live"), plain: side("plain") }
  }

  const build = (open: (from: Degradable.Switch<Shape>) => Shape["open"]) => {
    const { live, log, plain } = sides()
    const layer = Degradable.layer(Sessions, {
      name: "sessions",
      primary: late(Sessions, live),
      degraded: Layer.succeed(Sessions, plain),
      guard: { open },
      breaker,
      isUnavailable,
      ...inASecond
    })
    return { live, log, plain, make: Effect.map(Layer.build(layer), Context.get(Sessions)) }
  }

  it.effect("settles on the side that handed out, whichever serves by then", () =>
    Effect.gen(function* () {
      const { log, make } = build((from) => (name) => from.run((sessions) => sessions.open(name)))
      const sessions = yield* make
      const scopes = [yield* Scope.make(), yield* Scope.make()] as const
      const first = yield* Effect.provideService(sessions.open("1"), Scope.Scope, scopes[0])
      yield* TestClock.adjust("1 second")
      const second = yield* Effect.provideService(sessions.open("2"), Scope.Scope, scopes[1])
      expect([yield* first.send("hi"), yield* second.send("hi")]).toEqual(["plain 1 hi", "live 2 hi"])
      yield* Scope.close(scopes[0], Exit.void)
      yield* Scope.close(scopes[1], Exit.void)
      expect(log).toEqual(["plain opens 1", "live opens 2", "plain closes 1", "live closes 2"])
    })
  )

  it.effect("knows the sides", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const { live, make, plain } = build((from) => (name) => {
        const look = Effect.gen(function* () {
          seen.push([yield* from.side, yield* from.primary, from.degraded])
        })
        return Effect.andThen(
          look,
          from.run((sessions) => Effect.tap(sessions.open(name), (session) => session.send(name)))
        )
      })
      const sessions = yield* make
      yield* sessions.open("1")
      yield* TestClock.adjust("1 second")
      yield* Effect.exit(sessions.open("down"))
      yield* Effect.exit(sessions.open("3"))
      yield* TestClock.adjust("1 second")
      yield* sessions.open("4")
      expect(seen).toEqual([
        ["degraded", undefined, plain],
        ["primary", live, plain],
        ["degraded", live, plain],
        ["primary", live, plain]
      ])
    })
  )

  it.effect("is made once, and its member is the same each time", () =>
    Effect.gen(function* () {
      let made = 0
      const { make } = build((from) => {
        made++
        return from.degraded.open
      })
      const sessions = yield* make
      const { open } = sessions
      expect([sessions.open, made, sessions.name]).toEqual([open, 1, "plain"])
    })
  )
})

describe("the log", () => {
  it.effect("says that a Layer starts degraded, and that it is back", () => {
    const lines: Array<unknown> = []
    const logger = Logger.make(({ logLevel, message }) => void lines.push([logLevel, message]))
    return Effect.gen(function* () {
      const side = new MemoryNotes("plain")
      yield* Layer.build(
        Degradable.layer(Notes, {
          name: "notes",
          primary: late(Notes, side),
          degraded: Layer.succeed(Notes, side),
          ...inASecond
        })
      )
      yield* TestClock.adjust("1 second")
      expect(lines).toEqual([
        ["Warn", ["notes: started degraded, the primary is unavailable"]],
        ["Info", ["notes: back on the primary after 1s"]]
      ])
    }).pipe(Effect.provide(Logger.layer([logger])))
  })
})
