import { describe, expect, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Layer, Logger, References, Scope } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker, PolicyEvent, Retry } from "failsoft"
import { World } from "./interruption.ts"

const refused = Effect.fail("refused")

interface Line {
  readonly level: string
  readonly message: unknown
  readonly annotations: unknown
}

/** A logger that keeps its lines, for whatever level. */
const logging = () => {
  const lines: Array<Line> = []
  const logger = Logger.make(({ fiber, logLevel, message }) => {
    const [first] = Array.isArray(message) ? message : [message]
    lines.push({
      level: logLevel,
      message: first,
      annotations: fiber.getRef(References.CurrentLogAnnotations)
    })
  })
  const layer = Layer.merge(Logger.layer([logger]), Layer.succeed(References.MinimumLogLevel, "All"))
  return { lines, layer }
}

const rejected = (atMillis = 0, policy = "billing"): PolicyEvent.PolicyEvent => ({
  _tag: "CallRejected",
  policy,
  atMillis,
  reason: "CircuitOpen"
})

interface Example {
  readonly event: PolicyEvent.PolicyEvent
  readonly line: Line
}

const common = { policy: "billing", atMillis: 0 }
const told = { service: "billing", policy: "billing" }

const examples: ReadonlyArray<Example> = [
  {
    event: {
      _tag: "CircuitOpened",
      ...common,
      from: "closed",
      because: { _tag: "Consecutive", failures: 5, threshold: 5 },
      openDuration: Duration.seconds(60),
      openings: 1
    },
    line: {
      level: "Error",
      message: "billing: circuit open, threshold reached: 5/5",
      annotations: { ...told, state: "open", retryAfter: "1m" }
    }
  },
  {
    event: {
      _tag: "CircuitOpened",
      ...common,
      from: "half_open",
      because: { _tag: "ProbeFailed", slow: false },
      openDuration: Duration.seconds(90),
      openings: 2
    },
    line: {
      level: "Error",
      message: "billing: circuit open, a probe failed",
      annotations: { ...told, state: "open", retryAfter: "1m 30s" }
    }
  },
  ...(
    [
      [{ _tag: "ProbeFailed", slow: true }, "a probe was slow"],
      [
        { _tag: "FailureRate", rate: 0.6, threshold: 0.5, calls: 10 },
        "failure rate 60 % of 10 calls, threshold 50 %"
      ],
      [
        { _tag: "SlowCallRate", rate: 2999 / 3000, threshold: 0.07, calls: 3000 },
        "slow-call rate 99.9 % of 3000 calls, threshold 7 %"
      ]
    ] as const
  ).map(
    ([because, why]): Example => ({
      event: {
        _tag: "CircuitOpened",
        ...common,
        from: because._tag === "ProbeFailed" ? "half_open" : "closed",
        because,
        openDuration: Duration.seconds(60),
        openings: 1
      },
      line: {
        level: "Error",
        message: `billing: circuit open, ${why}`,
        annotations: { ...told, state: "open", retryAfter: "1m" }
      }
    })
  ),
  {
    event: { _tag: "CircuitHalfOpened", ...common },
    line: {
      level: "Info",
      message: "billing: circuit half-open, probing",
      annotations: { ...told, state: "half_open" }
    }
  },
  {
    event: { _tag: "CircuitClosed", ...common, successes: 3 },
    line: {
      level: "Info",
      message: "billing: circuit closed after 3 successful probes",
      annotations: { ...told, state: "closed" }
    }
  },
  {
    event: {
      _tag: "CircuitOverridden",
      ...common,
      mode: "open",
      reason: "maintenance",
      ttl: Duration.minutes(10)
    },
    line: {
      level: "Warn",
      message: "billing: circuit overridden to open for 10m: maintenance",
      annotations: { ...told, mode: "open", reason: "maintenance", ttl: "10m" }
    }
  },
  {
    event: { _tag: "OverrideEnded", ...common, mode: "observe", wouldHaveRejected: 3 },
    line: {
      level: "Warn",
      message: "billing: circuit no longer overridden to observe",
      annotations: { ...told, mode: "observe", wouldHaveRejected: 3 }
    }
  },
  {
    event: { _tag: "CircuitReset", ...common },
    line: {
      level: "Warn",
      message: "billing: circuit reset by hand",
      annotations: { ...told, state: "closed" }
    }
  },
  {
    event: {
      _tag: "RetryScheduled",
      ...common,
      attempt: 1,
      of: 2,
      delay: Duration.millis(750),
      error: { tag: "Refused", name: "Refused" }
    },
    line: {
      level: "Warn",
      message: "billing: attempt 1/2 failed, next in 750ms",
      annotations: { ...told, attempt: 1, of: 2, delay: "750ms", error: "Refused" }
    }
  },
  {
    event: {
      _tag: "AttemptsExhausted",
      ...common,
      attempt: 2,
      of: 2,
      because: "attempts",
      error: { tag: undefined, name: "TypeError" }
    },
    line: {
      level: "Error",
      message: "billing: gave up after attempt 2/2",
      annotations: { ...told, attempt: 2, of: 2, because: "attempts", error: "TypeError" }
    }
  },
  {
    event: rejected(),
    line: {
      level: "Debug",
      message: "billing: call rejected",
      annotations: { ...told, reason: "CircuitOpen" }
    }
  },
  {
    event: { _tag: "CallsRejected", ...common, reason: "CircuitOpen", count: 120 },
    line: {
      level: "Warn",
      message: "billing: 120 calls rejected",
      annotations: { ...told, reason: "CircuitOpen", count: 120 }
    }
  },
  {
    event: {
      _tag: "DegradedStart",
      ...common,
      because: "unavailable",
      error: { tag: "ServiceUnavailable", name: "ServiceUnavailable" }
    },
    line: {
      level: "Warn",
      message: "billing: started degraded, the primary is unavailable",
      annotations: { ...told, because: "unavailable", error: "ServiceUnavailable" }
    }
  },
  {
    event: { _tag: "DegradedStart", ...common, because: "timeout", error: undefined },
    line: {
      level: "Warn",
      message: "billing: started degraded, the primary took too long",
      annotations: { ...told, because: "timeout" }
    }
  },
  {
    event: { _tag: "DegradedStart", ...common, because: "background", error: undefined },
    line: {
      level: "Warn",
      message: "billing: started degraded, the primary is built in the background",
      annotations: { ...told, because: "background" }
    }
  },
  {
    event: { _tag: "ReturnedToPrimary", ...common, attempts: 3, after: Duration.seconds(90) },
    line: {
      level: "Info",
      message: "billing: back on the primary after 1m 30s",
      annotations: { ...told, attempts: 3, after: "1m 30s" }
    }
  },
  {
    event: { _tag: "RefreshFailed", ...common, count: 1, error: { tag: undefined, name: "TypeError" } },
    line: {
      level: "Warn",
      message: "billing: 1 refresh failed, what is held stays",
      annotations: { ...told, count: 1, error: "TypeError" }
    }
  },
  {
    event: { _tag: "RefreshFailed", ...common, count: 3, error: { tag: "Refused", name: "Error" } },
    line: {
      level: "Warn",
      message: "billing: 3 refreshes failed, what is held stays",
      annotations: { ...told, count: 3, error: "Refused" }
    }
  }
]

describe("the log", () => {
  it.effect.each(examples)("has one line for each event: $line.message", ({ event, line }) => {
    const { layer, lines } = logging()
    return Effect.gen(function* () {
      const { emit } = yield* PolicyEvent.emitter
      yield* emit(event)
      expect(lines).toEqual([line])
    }).pipe(Effect.provide(layer))
  })

  it.effect("of an outage, from its first failure to its end", () => {
    const { layer, lines } = logging()
    return Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing", trip: CircuitBreaker.consecutive(2) })
      const retry = yield* Retry.make({
        name: "billing",
        attempts: 2,
        schedule: Retry.exponential({ base: "1 second", jitter: "none" })
      })
      const call = yield* Effect.forkChild(refused.pipe(breaker.execute, retry.execute))
      yield* TestClock.adjust("1 second")
      yield* Fiber.await(call)
      for (let second = 0; second < 61; second++) {
        yield* Effect.exit(breaker.execute(Effect.succeed("answer")))
        yield* TestClock.adjust("1 second")
      }
      yield* Effect.replicateEffect(breaker.execute(Effect.succeed("answer")), 2)
      expect(
        lines.filter(({ level }) => level !== "Debug").map(({ level, message }) => `${level} ${message}`)
      ).toEqual([
        "Warn billing: attempt 1/2 failed, next in 1s",
        "Error billing: circuit open, threshold reached: 2/2",
        "Error billing: gave up after attempt 2/2",
        "Warn billing: 1 call rejected",
        "Info billing: circuit half-open, probing",
        "Info billing: circuit closed after 3 successful probes",
        "Warn billing: 59 calls rejected"
      ])
    }).pipe(Effect.provide(layer))
  })

  it.effect("sums rejections by the minute while an outage lasts", () => {
    const { layer, lines } = logging()
    return Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({
        name: "billing",
        trip: CircuitBreaker.consecutive(1),
        openDuration: "1 hour"
      })
      yield* Effect.exit(breaker.execute(refused))
      for (let tenth = 0; tenth < 1800; tenth++) {
        yield* Effect.replicateEffect(Effect.exit(breaker.execute(Effect.void)), 2)
        yield* TestClock.adjust("100 millis")
      }
      const sums = lines.filter(({ level }) => level === "Warn").map(({ message }) => message)
      expect(sums).toEqual([
        "billing: 1 call rejected",
        "billing: 1200 calls rejected",
        "billing: 1200 calls rejected"
      ])
    }).pipe(Effect.provide(layer))
  })
})

describe("levels", () => {
  it.effect("can be changed one by one", () => {
    const { layer, lines } = logging()
    const Levels = PolicyEvent.layerLogLevels({
      CircuitOpened: "Fatal",
      CircuitClosed: "None",
      CallRejected: "All"
    })
    return Effect.gen(function* () {
      const { emit } = yield* PolicyEvent.emitter
      for (const { event } of examples) yield* emit(event)
      expect(lines.map(({ level }) => level)).toEqual([
        ...Array.from({ length: 5 }, () => "Fatal"),
        "Info",
        ...Array.from({ length: 3 }, () => "Warn"),
        "Warn",
        "Error",
        "Trace",
        "Warn",
        "Warn",
        "Warn",
        "Warn",
        "Info",
        "Warn",
        "Warn"
      ])
    }).pipe(Effect.provide(Levels.pipe(Layer.provideMerge(layer))))
  })

  it.effect("of one layer keep what another has changed", () => {
    const { layer, lines } = logging()
    const Levels = PolicyEvent.layerLogLevels({ CircuitHalfOpened: "Debug" }).pipe(
      Layer.provide(PolicyEvent.layerLogLevels({ CircuitClosed: "Warn", CircuitHalfOpened: "Error" }))
    )
    return Effect.gen(function* () {
      const { emit } = yield* PolicyEvent.emitter
      yield* emit({ _tag: "CircuitHalfOpened", ...common })
      yield* emit({ _tag: "CircuitClosed", ...common, successes: 1 })
      expect(lines.map(({ level }) => level)).toEqual(["Debug", "Warn"])
    }).pipe(Effect.provide(Levels.pipe(Layer.provideMerge(layer))))
  })
})

describe("the bound on lines", () => {
  const annotationsOf = (lines: ReadonlyArray<Line>) =>
    lines.map(({ annotations }) => (annotations as { readonly suppressed?: number }).suppressed)

  it.effect("is ten a second; the next line tells how many were left out", () => {
    const { layer, lines } = logging()
    return Effect.gen(function* () {
      const { emit } = yield* PolicyEvent.emitter
      yield* Effect.replicateEffect(emit(rejected()), 1000)
      expect(lines).toHaveLength(10)
      yield* TestClock.adjust("999 millis")
      yield* emit(rejected())
      expect(lines).toHaveLength(10)
      yield* TestClock.adjust("1 millis")
      yield* emit(rejected())
      yield* emit(rejected())
      expect(annotationsOf(lines.slice(10))).toEqual([991, undefined])
    }).pipe(Effect.provide(layer))
  })

  it.effect("is one for each kind of event and each policy", () => {
    const { layer, lines } = logging()
    return Effect.gen(function* () {
      const billing = yield* PolicyEvent.emitter
      const search = yield* PolicyEvent.emitter
      yield* Effect.replicateEffect(billing.emit(rejected()), 20)
      yield* Effect.replicateEffect(billing.emit({ _tag: "CircuitHalfOpened", ...common }), 20)
      yield* search.emit(rejected(0, "search"))
      expect(lines.slice(10).map(({ message }) => message)).toEqual([
        ...Array.from({ length: 10 }, () => "billing: circuit half-open, probing"),
        "search: call rejected"
      ])
    }).pipe(Effect.provide(layer))
  })

  it.effect("is not spent by events that are not logged", () => {
    const { layer, lines } = logging()
    return Effect.gen(function* () {
      const quiet = yield* PolicyEvent.emitter.pipe(
        Effect.provide(PolicyEvent.layerLogLevels({ CallRejected: "None" }))
      )
      yield* Effect.replicateEffect(quiet.emit(rejected()), 20)
      expect(lines).toEqual([])
    }).pipe(Effect.provide(layer))
  })

  it.effect("lasts no longer when the wall clock is set back", () => {
    const { layer, lines } = logging()
    return Effect.gen(function* () {
      yield* TestClock.setTime(3_600_000)
      const { emit } = yield* PolicyEvent.emitter
      yield* Effect.replicateEffect(emit(rejected(3_600_000)), 11)
      yield* TestClock.setTime(0)
      yield* TestClock.adjust("1 second")
      yield* emit(rejected(1000))
      expect(annotationsOf(lines.slice(10))).toEqual([1])
    }).pipe(Effect.provide(layer))
  })

  it.effect("holds for the reports of a listener that fails each time", () => {
    const { layer, lines } = logging()
    const throwing = (): void => {
      throw new Error("a bug in a listener")
    }
    return Effect.gen(function* () {
      const { emit } = yield* PolicyEvent.emitter.pipe(
        Effect.provideService(PolicyEvent.Listeners, [throwing, throwing])
      )
      yield* Effect.replicateEffect(emit(rejected()), 1000)
      expect(lines.filter(({ message }) => message === "failsoft: a listener failed")).toHaveLength(10)
    }).pipe(Effect.provide(layer))
  })
})

describe("a listener that throws", () => {
  const throwing = (): void => {
    throw new Error("a bug in a listener")
  }
  const emitTo = (listener: PolicyEvent.Listener) =>
    Effect.gen(function* () {
      const { emit } = yield* PolicyEvent.emitter.pipe(
        Effect.provideService(PolicyEvent.Listeners, [listener])
      )
      return yield* emit(rejected())
    })

  it.effect.each(["Warn", "Debug", undefined] as const)(
    "is reported at the level for the unhandled: %s",
    (level) => {
      const { layer, lines } = logging()
      return Effect.gen(function* () {
        yield* emitTo(throwing).pipe(Effect.provideService(References.UnhandledLogLevel, level))
        const reports = lines.filter(({ message }) => message === "failsoft: a listener failed")
        expect(reports.map((line) => line.level)).toEqual(level === undefined ? [] : [level])
      }).pipe(Effect.provide(layer))
    }
  )
})

describe("a logger that throws", () => {
  it.effect("is not felt by calls", () => {
    const throwing = Logger.make(() => {
      throw new Error("the disk is full")
    })
    return Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ name: "billing", trip: CircuitBreaker.consecutive(1) })
      expect(yield* Effect.exit(breaker.execute(refused))).toEqual(Exit.fail("refused"))
      const rejection = yield* Effect.exit(breaker.execute(Effect.void))
      expect(Exit.isFailure(rejection) && rejection.cause.reasons.map(({ _tag }) => _tag)).toEqual(["Fail"])
    }).pipe(Effect.provide(Logger.layer([throwing])))
  })
})

describe("a listener that waits", () => {
  /** Lets other fibers run until something has happened. */
  const until = (condition: () => boolean) =>
    Effect.repeat(Effect.yieldNow, { until: condition, times: 100_000 })

  const emitAll = (number: number) =>
    Effect.gen(function* () {
      const { emit } = yield* PolicyEvent.emitter
      for (let at = 0; at < number; at++) yield* emit(rejected(at))
    }).pipe(Effect.provide(PolicyEvent.layerLogLevels({ CallRejected: "None" })))

  it.effect("gets every event, one after another", () => {
    const heard: Array<string> = []
    const Listening = PolicyEvent.layerListener(({ atMillis }) =>
      Effect.gen(function* () {
        heard.push(`${atMillis} begins`)
        yield* Effect.sleep("1 second")
        heard.push(`${atMillis} ends`)
      })
    )
    return Effect.gen(function* () {
      yield* emitAll(3)
      yield* TestClock.adjust("10 seconds")
      expect(heard).toEqual(["0 begins", "0 ends", "1 begins", "1 ends", "2 begins", "2 ends"])
    }).pipe(Effect.provide(Listening))
  })

  const endings: Record<string, Effect.Effect<unknown, string>> = {
    fails: Effect.fail("webhook down"),
    dies: Effect.die("a bug in a listener"),
    hangs: Effect.never,
    "is interrupted from within": Effect.interrupt
  }

  it.effect.each(Object.entries(endings))(
    "and %s goes on with the next event, and is reported",
    ([, ending]) => {
      const { layer, lines } = logging()
      const heard: Array<number> = []
      const Listening = PolicyEvent.layerListener(({ atMillis }) => {
        heard.push(atMillis)
        return ending
      })
      return Effect.gen(function* () {
        yield* emitAll(3)
        for (let event = 0; event < 3; event++) {
          yield* TestClock.adjust("10 seconds")
          yield* until(() => lines.length > event)
        }
        expect(heard).toEqual([0, 1, 2])

        expect(lines.map(({ message }) => message)).toEqual(heard.map(() => "failsoft: a listener failed"))
      }).pipe(Effect.provide(Layer.provideMerge(Listening, layer)))
    }
  )

  it.effect("and throws before it waits does the same", () => {
    const heard: Array<number> = []
    const Listening = PolicyEvent.layerListener(({ atMillis }): Effect.Effect<void> => {
      heard.push(atMillis)
      throw new Error("a bug in a listener")
    })
    return Effect.gen(function* () {
      yield* emitAll(3)
      yield* until(() => heard.length === 3)
      expect(heard).toEqual([0, 1, 2])
    }).pipe(Effect.provide(Listening))
  })

  it.effect("is given ten seconds for each event", () => {
    const { layer, lines } = logging()
    const Listening = PolicyEvent.layerListener(() => Effect.never)
    return Effect.gen(function* () {
      yield* emitAll(2)
      yield* TestClock.adjust("9999 millis")
      expect(lines).toHaveLength(0)
      yield* TestClock.adjust("1 millis")
      expect(lines).toHaveLength(1)
    }).pipe(Effect.provide(Layer.provideMerge(Listening, layer)))
  })

  it.effect("keeps the newest 1,024 events when it cannot keep up", () => {
    const heard: Array<number> = []
    const gate = Deferred.makeUnsafe<void>()
    const Listening = PolicyEvent.layerListener(({ atMillis }) => {
      heard.push(atMillis)
      return Deferred.await(gate)
    })
    return Effect.gen(function* () {
      yield* emitAll(1)
      yield* until(() => heard.length === 1)
      yield* emitAll(3000)
      yield* Deferred.succeed(gate, undefined)
      yield* until(() => heard.length === 1025)

      expect(heard).toEqual([0, ...Array.from({ length: 1024 }, (_, index) => 3000 - 1024 + index)])
    }).pipe(Effect.provide(Listening))
  })

  it.effect("stands beside the listeners that were there", () => {
    const heard: Array<string> = []
    const Listening = PolicyEvent.layerListener(() => Effect.sync(() => heard.push("second"))).pipe(
      Layer.provide(PolicyEvent.layerListener(() => Effect.sync(() => heard.push("first"))))
    )
    return Effect.gen(function* () {
      yield* emitAll(1)
      yield* until(() => heard.length === 2)
      expect(heard.toSorted()).toEqual(["first", "second"])
    }).pipe(Effect.provide(Listening))
  })

  it("leaves no fiber when its layer's scope closes, even while it hangs", () => {
    const world = new World()
    const scope = world.value(Scope.make())
    const Listening = PolicyEvent.layerListener(() => Effect.never)
    const context = world.value(Layer.buildWithScope(Listening, scope))
    world.value(emitAll(2).pipe(Effect.provide(context)))
    expect(world.isIdle).toBe(false)
    world.value(Scope.close(scope, Exit.void))
    expect(world.isIdle).toBe(true)
  })
})
