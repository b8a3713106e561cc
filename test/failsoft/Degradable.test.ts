import { describe, expect, it } from "@effect/vitest"
import {
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Result,
  Schedule,
  Schema,
  Scope
} from "effect"
import { TestClock } from "effect/testing"
import {
  CircuitBreaker,
  Deadline,
  Degradable,
  Health,
  type InvalidOption,
  Outcome,
  ServiceUnavailable,
  UnavailableReason
} from "failsoft"
import {
  degraded,
  Greeter,
  type GreeterError,
  greeterLayer,
  Lost,
  makeGreeter,
  primaryOf,
  Unknown,
  unavailable,
  wrongPassword
} from "./greeter.ts"
import { layers } from "./health.ts"
import { hearing, transitionsIn } from "./hearing.ts"
import { interruptEverywhere } from "./interruption.ts"

/** Opens at the first failure, for a second, and closes at the first successful probe. */
const breaker = {
  trip: CircuitBreaker.consecutive(1),
  openDuration: "1 second",
  halfOpen: { successes: 1 }
} as const

const isUnavailable = (error: unknown) => error instanceof Lost

/** A greeter whose primary does as it is told, and what was sent to it. */
const switching = (given: Partial<Parameters<typeof makeGreeter>[0]> = {}) =>
  Effect.gen(function* () {
    const server = { fails: undefined as GreeterError | undefined, sent: 0 }
    const { layer } = primaryOf([Effect.void], (name) =>
      Effect.suspend(() => {
        server.sent++
        return server.fails === undefined ? Effect.succeed(`live ${name}`) : Effect.fail(server.fails)
      })
    )
    const { greet } = yield* makeGreeter({ primary: layer, breaker, isUnavailable, ...given })
    const ask = Effect.map(Effect.result(greet("Ada")), Result.merge)
    return { server, ask }
  })

describe("a call", () => {
  it.effect("goes to the primary while its circuit is closed", () =>
    Effect.gen(function* () {
      const { ask, server } = yield* switching()
      expect([yield* ask, yield* ask, server.sent]).toEqual(["live Ada", "live Ada", 2])
    })
  )

  it.effect("that failed after it was sent keeps its error, and is not repeated", () =>
    Effect.gen(function* () {
      const { ask, server } = yield* switching()
      for (const error of [new Lost(), new Unknown(), unavailable, wrongPassword]) {
        yield* TestClock.adjust("1 second")
        server.fails = error
        server.sent = 0
        expect([yield* ask, server.sent]).toEqual([error, 1])
        server.fails = undefined
        yield* TestClock.adjust("1 second")
        expect(yield* ask).toBe("live Ada")
      }
    })
  )

  it.effect("that the circuit rejected goes to the degraded side, and is counted there", () =>
    Effect.gen(function* () {
      const { ask, server } = yield* switching()
      server.fails = new Lost()
      yield* ask
      expect([yield* ask, yield* ask, server.sent]).toEqual(["plain Ada", "plain Ada", 1])
      expect(yield* layers).toMatchObject([
        { circuit: { counts: { failed: 1, rejected: 2, fallback: 2, total: 3 } } }
      ])
    }).pipe(Effect.provide(Health.layer))
  )

  it.effect("goes back to the primary by probes, while the others stay on the degraded side", () =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<string>()
      const answers = [Effect.fail(new Lost()), Deferred.await(end), Effect.succeed("live again")]
      const { layer } = primaryOf([Effect.void], () => answers.shift() ?? Effect.die("asked too often"))
      const { greet } = yield* makeGreeter({ primary: layer, breaker, isUnavailable })
      yield* Effect.exit(greet("Ada"))
      yield* TestClock.adjust("1 second")
      const probe = yield* Effect.forkChild(greet("Ada"), { startImmediately: true })
      expect(yield* greet("Grace")).toBe("plain Grace")
      yield* Deferred.succeed(end, "live")
      expect(yield* Fiber.join(probe)).toBe("live")
      expect(yield* greet("Grace")).toBe("live again")
    })
  )

  it.effect("says nothing about the primary by an error that is an answer", () =>
    Effect.gen(function* () {
      const { ask, server } = yield* switching()
      server.fails = new Unknown()
      for (let call = 0; call < 10; call++) expect(yield* ask).toBe(server.fails)
      expect(server.sent).toBe(10)
    })
  )

  it.effect("counts a defect of the primary against it, and raises it", () =>
    Effect.gen(function* () {
      const { layer } = primaryOf([Effect.void], () => Effect.die("defect"))
      const { greet } = yield* makeGreeter({ primary: layer, breaker })
      expect(yield* Effect.exit(greet("Ada"))).toEqual(Exit.die("defect"))
      expect(yield* greet("Ada")).toBe("plain Ada")
    })
  )

  it.effect("counts a primary that throws against it", () =>
    Effect.gen(function* () {
      const error = new TypeError("no such name")
      const { layer } = primaryOf([Effect.void], (name) => {
        if (name === "Ada") throw error
        return Effect.succeed(`live ${name}`)
      })
      const { greet } = yield* makeGreeter({ primary: layer, breaker })
      expect(yield* greet("Grace")).toBe("live Grace")
      expect(yield* Effect.exit(greet("Ada"))).toEqual(Exit.die(error))
      expect(yield* greet("Ada")).toBe("plain Ada")
    })
  )

  it.effect("is not taken for rejected because the primary was rejected elsewhere", () =>
    Effect.gen(function* () {
      const inner = new ServiceUnavailable({ service: "greeter", reason: UnavailableReason.CircuitOpen() })
      const { ask, server } = yield* switching()
      server.fails = inner
      expect([yield* ask, yield* ask, server.sent]).toEqual([inner, inner, 2])
    })
  )
})

describe("failover", () => {
  it.effect("answers the errors that it names, each of which still counts", () =>
    Effect.gen(function* () {
      const { ask, server } = yield* switching({ failover: (error) => error instanceof Lost })
      server.fails = new Unknown()
      expect(yield* ask).toBe(server.fails)
      server.fails = new Lost()
      expect([yield* ask, server.sent]).toEqual(["plain Ada", 2])
      server.fails = undefined
      expect([yield* ask, server.sent]).toEqual(["plain Ada", 2])
    })
  )

  it.effect("never answers a wrong password", () =>
    Effect.gen(function* () {
      const { ask, server } = yield* switching({ failover: () => true })
      server.fails = wrongPassword
      expect(yield* ask).toBe(wrongPassword)
      server.fails = unavailable
      expect(yield* ask).toBe("plain Ada")
    })
  )

  it.effect("that throws answers nothing", () =>
    Effect.gen(function* () {
      const failover = () => {
        throw new Error("a bug")
      }
      const { ask, server } = yield* switching({ failover })
      server.fails = new Lost()
      expect(yield* ask).toBe(server.fails)
    })
  )

  it.effect("repeats nothing on the degraded side", () =>
    Effect.gen(function* () {
      const lost = new Lost()
      let asked = 0
      const failing = Layer.succeed(Greeter, {
        greet: () => Effect.suspend(() => (asked++ === 0 ? Effect.fail(lost) : Effect.succeed("asked again")))
      })
      const { ask, server } = yield* switching({ failover: () => true, degraded: failing })
      server.fails = lost
      expect([yield* ask, asked]).toEqual([lost, 1])
      asked = 0
      expect([yield* ask, asked]).toEqual([lost, 1])
    })
  )
})

describe("the circuit", () => {
  it.effect("has the name of the Layer, and tells of itself", () =>
    Effect.gen(function* () {
      const { events, made } = yield* hearing(switching())
      made.server.fails = new Lost()
      yield* made.ask
      yield* TestClock.adjust("1 second")
      made.server.fails = undefined
      yield* made.ask
      expect(transitionsIn(events)).toEqual(["CircuitOpened", "CircuitHalfOpened", "CircuitClosed"])
      expect(new Set(events.map(({ policy }) => policy))).toEqual(new Set(["greeter"]))
    })
  )

  it.effect("may judge calls in a way of its own", () =>
    Effect.gen(function* () {
      const classify = Outcome.fromError((error) => error instanceof Unknown)
      const { ask, server } = yield* switching({ breaker: { ...breaker, classify } })
      server.fails = new Lost()
      expect([yield* ask, yield* ask, server.sent]).toEqual([server.fails, server.fails, 2])
      server.fails = new Unknown()
      expect([yield* ask, yield* ask]).toEqual([server.fails, "plain Ada"])
    })
  )

  it.effect("may be switched off: then the primary has every call", () =>
    Effect.gen(function* () {
      const { ask, server } = yield* switching({ breaker: { ...breaker, enabled: false } })
      server.fails = new Lost()
      for (let call = 0; call < 10; call++) expect(yield* ask).toBe(server.fails)
      expect(server.sent).toBe(10)
    })
  )

  it.effect("may recover by a probe of its own", () =>
    Effect.gen(function* () {
      const probe = { effect: Effect.void, every: "1 second" } as const
      const { ask, server } = yield* switching({ breaker: { ...breaker, probe } })
      server.fails = new Lost()
      yield* ask
      server.fails = undefined
      expect(yield* ask).toBe("plain Ada")
      yield* TestClock.adjust("2 seconds")
      expect([yield* ask, server.sent]).toEqual(["live Ada", 2])
    })
  )
})

describe("a primary that comes and goes", () => {
  const Phase = Schema.Struct({
    isUp: Schema.Boolean,
    lasts: Schema.Literals([100, 900, 1500, 4000]),
    callEvery: Schema.Literals([50, 170, 400])
  })

  it.effect.prop(
    "answers or fails each call once, is left alone while its circuit is open, and serves all when it is back",
    [Schema.Array(Phase).check(Schema.isMaxLength(8))],
    ([phases]) =>
      Effect.gen(function* () {
        const server = { isUp: true, running: new Set<number>() }
        const calls: Array<{ sent: number; answer: string | undefined }> = []
        const { layer } = primaryOf([Effect.void], (id) =>
          Effect.gen(function* () {
            const call = calls[Number(id)]
            if (call !== undefined) call.sent++
            yield* Effect.sleep("300 millis")
            return server.isUp ? "live" : yield* new Lost()
          })
        )
        const { greet } = yield* makeGreeter({
          primary: layer,
          breaker: { ...breaker, trip: CircuitBreaker.consecutive(3) },
          isUnavailable
        })
        const fibers: Array<Fiber.Fiber<void>> = []
        const start = Effect.gen(function* () {
          const call = { sent: 0, answer: undefined as string | undefined }
          const id = calls.push(call) - 1
          const [before] = yield* layers
          const fiber = yield* Effect.forkChild(
            Effect.map(Effect.result(greet(`${id}`)), (result) => {
              call.answer = Result.isSuccess(result) ? result.success : result.failure._tag
            }),
            { startImmediately: true }
          )
          // An open circuit answers at once, from the degraded side, and sends nothing.
          if (before?.circuit?.state === "open") expect(call).toEqual({ sent: 0, answer: `plain ${id}` })
          fibers.push(fiber)
        })
        for (const { callEvery, isUp, lasts } of [...phases, { isUp: true, lasts: 4000, callEvery: 100 }]) {
          server.isUp = isUp
          for (let passed = 0; passed < lasts; passed += callEvery) {
            yield* start
            yield* TestClock.adjust(callEvery)
          }
        }
        yield* TestClock.adjust("1 second")
        yield* Fiber.joinAll(fibers)
        calls.forEach(({ answer, sent }, id) => {
          expect([sent, answer]).toEqual(
            sent === 0 ? [0, `plain ${id}`] : [1, answer === "Lost" ? "Lost" : "live"]
          )
        })
        expect(calls.slice(-5).map(({ answer }) => answer)).toEqual(Array(5).fill("live"))
      }).pipe(Effect.provide(Health.layer), Effect.scoped),
    { arbitrary: { runs: 40 } }
  )
})

describe("a call that is interrupted at any point", () => {
  it.each(["closed", "open", "open and due"])("leaves a circuit that is %s as usable as it was", (state) => {
    const interruptions = interruptEverywhere((world) => {
      const server = { isUp: true }
      const { layer } = primaryOf([Effect.void], () =>
        Effect.andThen(
          Effect.sleep("10 millis"),
          Effect.suspend(() => (server.isUp ? Effect.succeed("live") : Effect.fail(new Lost())))
        )
      )
      const scope = world.value(Scope.make())
      const { greet } = world.value(
        Effect.provideService(
          Effect.orDie(makeGreeter({ primary: layer, breaker, isUnavailable })),
          Scope.Scope,
          scope
        )
      )
      if (state !== "closed") {
        server.isUp = false
        world.run(greet("Ada"))
        server.isUp = true
      }
      if (state === "open and due") world.clock.nowMillis += 1000
      return {
        program: greet("Ada"),
        verify: () => {
          world.clock.nowMillis += 1000
          expect(world.value(Effect.orDie(Effect.replicateEffect(greet("Ada"), 3)))).toEqual([
            "live",
            "live",
            "live"
          ])
          world.run(Scope.close(scope, Exit.void))
          expect(world.isIdle).toBe(true)
        }
      }
    })
    expect(interruptions).toBeGreaterThan(3)
  })
})

describe("health", () => {
  it.effect("shows the Layer with its circuit, once, for as long as it lives", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1000)
      const server = { isUp: true }
      const { layer } = primaryOf([Effect.fail(unavailable), Effect.void], () =>
        Effect.suspend(() => (server.isUp ? Effect.succeed("live") : Effect.fail(unavailable)))
      )
      const scope = yield* Scope.make()
      const { greet } = yield* makeGreeter({
        primary: layer,
        breaker,
        recovery: Schedule.spaced("2 seconds")
      }).pipe(Effect.provideService(Scope.Scope, scope))
      const shown = Effect.map(layers, (all) =>
        all.map(({ built, circuit, degraded, name, sinceMillis }) => [
          name,
          built,
          degraded,
          sinceMillis,
          circuit?.state
        ])
      )
      expect(yield* shown).toEqual([["greeter", false, true, 1000, "closed"]])
      yield* TestClock.adjust("2 seconds")
      expect(yield* shown).toEqual([["greeter", true, false, 3000, "closed"]])
      server.isUp = false
      yield* Effect.exit(greet("Ada"))
      expect(yield* shown).toEqual([["greeter", true, true, 3000, "open"]])
      yield* TestClock.adjust("1 second")
      expect(yield* shown).toEqual([["greeter", true, true, 3000, "half_open"]])
      server.isUp = true
      yield* greet("Ada")
      expect(yield* shown).toEqual([["greeter", true, false, 3000, "closed"]])
      yield* Scope.close(scope, Exit.void)
      expect(yield* shown).toEqual([])
    }).pipe(Effect.provide(Health.layer))
  )

  it.effect("shows the Layer while its start still waits", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(makeGreeter({ primary: primaryOf([Effect.never]).layer }))
      yield* TestClock.adjust("1 second")
      expect(yield* layers).toMatchObject([{ built: false, degraded: true }])
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(Health.layer))
  )
})

describe("a deadline", () => {
  it.effect("of whoever builds the Layer first is none of the primary's", () =>
    Effect.gen(function* () {
      const seen: Array<Option.Option<Duration.Duration>> = []
      const see = Effect.map(Deadline.remaining, (remaining) => seen.push(remaining))
      const { layer } = primaryOf([Effect.andThen(see, Effect.fail(unavailable)), see])
      yield* makeGreeter({ primary: layer, recovery: Schedule.spaced("1 minute") }).pipe(
        Deadline.within("1 second")
      )
      yield* TestClock.adjust("1 minute")
      expect(seen).toEqual([Option.none(), Option.none()])
    })
  )

  it.effect("of a call reaches the side that serves it", () =>
    Effect.gen(function* () {
      const { layer } = primaryOf([Effect.void], () => Effect.map(Deadline.remaining, String))
      const { greet } = yield* makeGreeter({ primary: layer })
      const remaining = yield* greet("Ada").pipe(Deadline.within("1 second"))
      expect(remaining).toBe(String(Option.some(Duration.seconds(1))))
    })
  )
})

describe("options", () => {
  type Given = Parameters<typeof makeGreeter>[0]
  const wrong: ReadonlyArray<readonly [given: Given, option: string, value: string]> = [
    [{ name: "" }, "name", '""'],
    [{ startup: { timeout: 0 } }, "startup.timeout", "0"],
    [{ startup: { timeout: "25 days" } }, "startup.timeout", '"25 days"'],
    [{ startup: { timeout: "Infinity" } }, "startup.timeout", '"Infinity"'],
    [{ startup: { mode: "background", timeout: "-Infinity" } }, "startup.timeout", '"-Infinity"'],
    [{ breaker: { trip: CircuitBreaker.consecutive(0) } }, "breaker.trip.failures", "0"],
    [{ breaker: { openDuration: 0 } }, "breaker.openDuration", "0"],
    [{ breaker: { halfOpen: { probes: 1.5 } } }, "breaker.halfOpen.probes", "1.5"]
  ]

  it.effect.each(wrong)("out of their range are named, and nothing is built: %j", ([given, option, value]) =>
    Effect.gen(function* () {
      const { layer, ledger } = primaryOf([Effect.void])
      const error = yield* Effect.flip(makeGreeter({ primary: layer, ...given }))
      expect(error).toMatchObject({ _tag: "InvalidOption", option, value })
      yield* TestClock.adjust("1 minute")
      expect(ledger.attempts).toBe(0)
    })
  )

  it.effect("name the modes that there are", () =>
    Effect.gen(function* () {
      const startup = JSON.parse('{ "mode": "lazy" }')
      const error: InvalidOption = yield* Effect.flip(
        Effect.scoped(
          Layer.build(
            Degradable.layer(Greeter, { name: "greeter", primary: degraded, degraded, startup })
          ) as Effect.Effect<unknown, InvalidOption, Scope.Scope>
        )
      )
      expect(error.message).toContain("startup.mode")
      expect(error).toMatchObject({ value: '"lazy"', allowed: "optional, required, background" })
    })
  )
})

describe("a Layer", () => {
  it.effect("is built once for all who share it, and anew for each who does not", () =>
    Effect.gen(function* () {
      const { layer, ledger } = primaryOf([Effect.void])
      const greeter = greeterLayer({ primary: layer })
      class Other extends Context.Service<Other, Greeter["Service"]>()("test/Other") {}
      const other = Layer.effect(
        Other,
        Effect.map(Greeter, (service) => service)
      ).pipe(Layer.provide(greeter))
      yield* Layer.build(Layer.merge(greeter, other))
      expect(ledger.opened).toBe(1)
      yield* Layer.build(Layer.fresh(greeter))
      expect(ledger.opened).toBe(2)
    })
  )

  it.effect("shares what the application provides, and keeps what is the primary's own to itself", () =>
    Effect.gen(function* () {
      class Connection extends Context.Service<Connection, { readonly id: number }>()("test/Connection") {}
      const built: Array<string> = []
      const connection = (name: string) =>
        Layer.effect(
          Connection,
          Effect.acquireRelease(
            Effect.sync(() => ({ id: built.push(`+${name}`) })),
            () => Effect.sync(() => built.push(`-${name}`))
          )
        )
      const primary = Layer.effect(
        Greeter,
        Effect.map(Connection, ({ id }) => ({ greet: () => Effect.succeed(`live over ${id}`) }))
      )
      const shared = Degradable.layer(Greeter, { name: "greeter", primary, degraded }).pipe(
        Layer.provideMerge(connection("shared"))
      )
      const own = Degradable.layer(Greeter, {
        name: "greeter",
        primary: primary.pipe(Layer.provide(connection("own"))),
        degraded
      })
      const ask = Effect.flatMap(Greeter, ({ greet }) => greet("Ada"))
      expect(yield* Effect.provide(ask, shared)).toBe("live over 1")
      expect(yield* Effect.provide(ask, own)).toBe("live over 3")
      expect(built).toEqual(["+shared", "-shared", "+own", "-own"])
    })
  )
})
