import { Effect, Exit, Scope } from "effect"
import type { Policy, PolicyEvent } from "failsoft"
import * as failsoft from "failsoft"
import { afterEach, describe, expect, it, vi } from "vitest"
import { interruptEverywhere, type World } from "./interruption.ts"

type Library = Pick<typeof failsoft, "CircuitBreaker" | "Policy" | "Retry" | "PolicyEvent">

const calls = {
  "that succeeds": Effect.andThen(Effect.sleep("10 millis"), Effect.succeed("answer")),
  "that fails": Effect.andThen(Effect.sleep("10 millis"), Effect.fail("refused")),
  "that dies": Effect.andThen(Effect.sleep("10 millis"), Effect.die("defect"))
}

const states = [
  "closed",
  "one failure before opening",
  "open",
  "open and due",
  "half-open",
  "half-open, last probe"
]

const admitting = states.filter((state) => state !== "open")

/** A breaker that has been brought into a state, and what it told on the way. */
const breakerIn = (library: Library, world: World, state: string) => {
  const events: Array<PolicyEvent.PolicyEvent> = []
  const scope = world.value(Scope.make())
  const make = library.Policy.make("billing", {
    deadline: "1 minute",
    attemptTimeout: "10 seconds",
    retry: { attempts: 2, schedule: library.Retry.exponential({ base: "20 millis", jitter: "none" }) },
    breaker: {
      trip: library.CircuitBreaker.consecutive(2),
      openDuration: "1 second",
      halfOpen: { probes: 1, successes: 2 }
    }
  })
  const policy = world.value(
    make.pipe(
      Effect.provideService(Scope.Scope, scope),
      Effect.provideService(library.PolicyEvent.Listeners, [(event) => events.push(event)])
    )
  )
  const breaker = policy.breaker
  if (breaker === undefined) throw new Error("the policy has no breaker")
  const run = (call: Effect.Effect<unknown, unknown>) => world.run(breaker.execute(call))
  if (state !== "closed") run(Effect.fail("refused"))
  if (state.includes("open") && state !== "one failure before opening") run(Effect.fail("refused"))
  if (state === "open and due" || state.startsWith("half-open")) world.clock.nowMillis += 1000
  if (state === "half-open") run(Effect.interrupt)
  if (state === "half-open, last probe") run(Effect.succeed("answer"))
  return { breaker, policy, events }
}

/** What is wrong with a breaker after a call was interrupted somewhere on its way. */
const damage = (world: World, { breaker, events }: ReturnType<typeof breakerIn>): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  if (!world.isIdle) wrong.push("a fiber is left")
  const { counts, state } = world.value(breaker.snapshot)
  const { failed, ignored, rejected, successful, total } = counts
  if (total !== successful + failed + ignored + rejected) wrong.push("the counts do not add up")
  const told = events.findLast((event) => event._tag.startsWith("Circuit"))?._tag ?? "CircuitClosed"
  const meant = { CircuitOpened: "open", CircuitHalfOpened: "half_open", CircuitClosed: "closed" }
  if (state !== "half_open" && meant[told as keyof typeof meant] !== state)
    wrong.push(`${state}, but told ${told}`)
  if (state === "open") world.clock.nowMillis += 1000
  // Whatever happened, the circuit can be closed from here.
  for (const probe of ["first", "second"]) {
    const exit = world.run(breaker.execute(Effect.succeed("answer")))
    if (Exit.isFailure(exit)) wrong.push(`the ${probe} call afterwards is refused`)
  }
  if (world.value(breaker.snapshot).state !== "closed") wrong.push("the circuit cannot be closed")
  return wrong
}

type Guard = (made: ReturnType<typeof breakerIn>) => Policy.Policy["execute"]

const damageBy = (library: Library, state: string, guard: Guard, call: Effect.Effect<string, string>) => {
  const found: Array<string> = []
  const exits: Array<Exit.Exit<unknown, unknown>> = []
  const interrupted = interruptEverywhere((world) => {
    const made = breakerIn(library, world, state)
    return {
      program: guard(made)(call),
      verify: (exit, at) => {
        exits.push(exit)
        found.push(...damage(world, made).map((problem) => `yield ${at}: ${problem}`))
      }
    }
  })
  return { found, interrupted, exits }
}

const guards: Record<string, Guard> = {
  "a breaker": ({ breaker }) => breaker.execute,
  "a policy": ({ policy }) => policy.execute
}

describe.each(Object.entries(guards))("a call through %s", (_, guard) => {
  describe.each(states)("whose circuit is %s", (state) => {
    it.each(Object.entries(calls))("and %s leaks nothing, wherever it is interrupted", (_, call) => {
      const { exits, found, interrupted } = damageBy(failsoft, state, guard, call)
      expect(found).toEqual([])
      expect(interrupted).toBeGreaterThan(3)
      expect(exits.slice(0, 2).map(Exit.hasInterrupts)).toEqual([true, true])
      expect(exits.map(Exit.hasInterrupts).at(-1)).toBe(false)
    })
  })
})

describe("a call through a breaker whose shell takes in the lean form", () => {
  afterEach(() => {
    vi.doUnmock("../../packages/failsoft/src/internal/admission.ts")
    vi.resetModules()
  })

  it("leaks", async () => {
    vi.resetModules()
    vi.doMock(import("../../packages/failsoft/src/internal/admission.ts"), async (original) => {
      const { lean, ...rest } = await original()
      return {
        ...rest,
        lean,
        masked: (self, take, settle) =>
          Effect.flatMap(take, ({ announce, permit }) =>
            lean(announce === undefined ? self : Effect.andThen(announce, self), (exit) =>
              settle(permit, exit)
            )
          )
      }
    })
    const planted: Library = await import("failsoft")
    const damaged = admitting.filter(
      (state) =>
        damageBy(planted, state, ({ breaker }) => breaker.execute, calls["that succeeds"]).found.length > 0
    )
    expect(damaged).toEqual(["open and due", "half-open", "half-open, last probe"])
  })
})

describe("a retry", () => {
  it("makes no attempt after it was interrupted, and leaves no timer", () => {
    const seen = new Set<number>()
    const interrupted = interruptEverywhere((world) => {
      let attempts = 0
      const retry = world.value(
        failsoft.Retry.make({
          name: "search",
          attempts: 3,
          schedule: failsoft.Retry.exponential({ base: "1 second", jitter: "none" })
        })
      )
      const call = Effect.andThen(
        Effect.sync(() => ++attempts),
        Effect.andThen(Effect.sleep("10 millis"), Effect.fail("refused"))
      )
      return {
        program: retry.execute(call),
        verify: (exit) => {
          seen.add(attempts)
          expect(world.isIdle).toBe(true)
          expect(Exit.hasInterrupts(exit) || attempts === 3).toBe(true)
        }
      }
    })
    expect(interrupted).toBeGreaterThan(20)
    expect([...seen]).toEqual([0, 1, 2, 3])
  })
})

describe("a retry with a budget", () => {
  it("is given back what it paid for attempts that it did not make", () => {
    const handedOver: Array<number> = []
    let refunds = 0
    const interrupted = interruptEverywhere((world) => {
      let attempts = 0
      const budget = world.value(failsoft.RetryBudget.make({ name: "search", minPerSecond: 10 }))
      const retry = world.value(
        failsoft.Retry.make({
          name: "search",
          attempts: 3,
          schedule: failsoft.Retry.exponential({ base: "1 millis", jitter: "none" }),
          budget
        })
      )
      const call = Effect.suspend(() => {
        attempts++
        return Effect.fail("refused")
      })
      return {
        program: retry.execute(call),
        verify: (_, at) => {
          expect(world.isIdle).toBe(true)
          const { refunded, withdrawn } = world.value(budget.snapshot)
          refunds += refunded
          const unmade = withdrawn - refunded - Math.max(0, attempts - 1)
          if (unmade !== 0) handedOver.push(at)
          // An attempt has begun when it is handed over, which is four yields before the first step of the call in it.
          expect([0, 1]).toContain(unmade)
        }
      }
    })
    expect(interrupted).toBeGreaterThan(20)
    expect(refunds).toBeGreaterThan(5)
    expect(handedOver).toHaveLength(8)
  })
})

describe("a hedge", () => {
  const sleeping = (millis: number) => (millis === 0 ? Effect.void : Effect.sleep(millis))
  const answering = (millis: number) => Effect.as(sleeping(millis), "answer")
  const failing = (millis: number) => Effect.andThen(sleeping(millis), Effect.fail("refused"))

  it.each([
    ["nobody hedges", "1 millis", [answering(0)]],
    ["the first attempt wins", "10 millis", [answering(15), answering(50)]],
    ["the second attempt wins", "10 millis", [answering(50), answering(5)]],
    ["the second attempt wins at once", "10 millis", [answering(50), answering(0)]],
    ["both fail", "10 millis", [failing(15), failing(2)]],
    ["all start at once", 0, [answering(50), failing(0), answering(20)]],
    ["the budget is spent", "10 millis", [answering(60), answering(50), answering(45), answering(1)]]
  ] as const)(
    "leaves no attempt and no token behind when %s, wherever it is interrupted",
    (_, delay, script) => {
      const hedged = new Set<number>()
      const interrupted = interruptEverywhere((world) => {
        let begun = 0
        let ended = 0
        const budget = world.value(failsoft.RetryBudget.make({ name: "search", ratio: 0, minPerSecond: 2 }))
        const hedge = world.value(failsoft.Hedge.make({ name: "search", delay, hedges: 3, budget }))
        const attempt = Effect.suspend(() => {
          let hasBegun = false
          const call = Effect.suspend((): Effect.Effect<string, string> => {
            hasBegun = true
            return script[begun++] ?? Effect.never
          })
          const end = Effect.sync(() => {
            if (hasBegun) ended++
          })
          return Effect.ensuring(call, end)
        })
        return {
          program: hedge.executeWith(attempt, { idempotent: true, mayHedge: Effect.sync(() => true) }),
          verify: (exit) => {
            expect(world.isIdle).toBe(true)
            expect(ended).toBe(begun)
            const { hedges } = world.value(hedge.snapshot)
            const { refunded, withdrawn } = world.value(budget.snapshot)
            expect(withdrawn - refunded).toBe(hedges)
            expect(hedges).toBeLessThanOrEqual(2)
            expect(Exit.hasInterrupts(exit) || begun > 0).toBe(true)
            hedged.add(hedges)
          }
        }
      })
      expect(interrupted).toBeGreaterThan(script.length * 3)
      expect(hedged.size).toBe(Math.min(script.length, 3))
    }
  )
})

describe("the deadline", () => {
  it("leaves no timer, wherever the attempt is interrupted", () => {
    const interrupted = interruptEverywhere((world) => ({
      program: Effect.never.pipe(
        failsoft.Deadline.attemptTimeout("billing", "5 seconds"),
        failsoft.Deadline.within("3 seconds")
      ),
      verify: (exit) => {
        expect(world.isIdle).toBe(true)
        expect(Exit.hasInterrupts(exit) || world.clock.nowMillis === 3000).toBe(true)
      }
    }))
    expect(interrupted).toBeGreaterThan(10)
  })
})

describe("a policy of all stages", () => {
  it.each([
    ["that answers", () => Effect.andThen(Effect.sleep("10 millis"), Effect.succeed("answer"))],
    ["that fails", () => Effect.andThen(Effect.sleep("10 millis"), Effect.fail("refused"))],
    ["that hangs", () => Effect.never]
  ] as const)("gets back all that a call %s took, wherever it was interrupted", (_, callOf) => {
    const interrupted = interruptEverywhere((world) => {
      const { Policy, RateLimiter, Retry } = failsoft
      const policy = world.value(
        Policy.make("search", {
          deadline: "1 second",
          attemptTimeout: "50 millis",
          retry: { attempts: 2, schedule: Retry.exponential({ base: "20 millis", jitter: "none" }) },
          retryBudget: { minPerSecond: 10 },
          hedge: { delay: "5 millis" },
          rateLimiter: {
            algorithm: RateLimiter.gcra({ limit: 100, period: "1 second", burst: 1 }),
            onLimit: { delay: { maxWait: "1 second" } }
          },
          bulkhead: { limit: 1, queue: 1 },
          breaker: { trip: failsoft.CircuitBreaker.consecutive(100) }
        })
      )
      const { breaker, bulkhead, rateLimiter, retryBudget } = policy
      if (!breaker || !bulkhead || !rateLimiter || !retryBudget) throw new Error("a stage is missing")
      let begun = 0
      const call = Effect.suspend(() => {
        begun++
        return callOf()
      })
      return {
        program: policy.executeWith(call, { idempotent: true }),
        verify: () => {
          expect(world.isIdle).toBe(true)
          expect(world.value(bulkhead.snapshot)).toMatchObject({ inFlight: 0, queued: 0 })
          expect(world.value(rateLimiter.snapshot).waiting).toBe(0)
          const { counts, state } = world.value(breaker.snapshot)
          expect([state, counts.total]).toEqual([
            "closed",
            counts.successful + counts.failed + counts.ignored
          ])
          // An attempt that was interrupted before its first step was admitted all the same.
          expect(counts.total).toBeGreaterThanOrEqual(begun)
          const { refunded, withdrawn } = world.value(retryBudget.snapshot)
          expect(withdrawn - refunded).toBeGreaterThanOrEqual(Math.max(0, begun - 1))
        }
      }
    })
    expect(interrupted).toBeGreaterThan(20)
  })
})
