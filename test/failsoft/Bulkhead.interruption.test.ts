import { Effect, Exit, Scope } from "effect"
import * as failsoft from "failsoft"
import { afterEach, describe, expect, it, vi } from "vitest"
import { interruptEverywhere, World } from "./interruption.ts"

type Library = Pick<typeof failsoft, "Bulkhead" | "Deadline">

const calls = {
  "that succeeds": Effect.andThen(Effect.sleep("10 millis"), Effect.succeed("answer")),
  "that fails": Effect.andThen(Effect.sleep("10 millis"), Effect.fail("refused")),
  "that dies": Effect.andThen(Effect.sleep("10 millis"), Effect.die("defect")),
  "that is interrupted from within": Effect.andThen(Effect.sleep("10 millis"), Effect.interrupt),
  "that ends at once": Effect.succeed("answer")
}

/** What a call finds, and what becomes of it if nobody interrupts it. */
const situations = {
  "finds a permit": { held: false, rejected: false },
  "waits for one": { held: true, rejected: false },
  "waits for one, with a time limit": { held: true, queueTimeout: "1 minute", rejected: false },
  "waits in vain": { held: true, queueTimeout: "5 millis", rejected: true },
  "waits until its deadline": { held: true, deadline: "5 millis", rejected: true },
  "is turned away": { held: true, mayWait: false, rejected: true }
} as const

interface Situation {
  readonly held: boolean
  readonly queueTimeout?: failsoft.Bulkhead.Options["queueTimeout"]
  readonly deadline?: "5 millis"
  readonly mayWait?: false
  readonly rejected: boolean
}

const start = (world: World, call: Effect.Effect<unknown, unknown>) =>
  world.value(Effect.forkDetach(call, { startImmediately: true }))

/**
 * Interrupts a call everywhere. Before it there is one that has the permit for 20 ms; behind it, with a lower priority,
 * there is one that waits as well. Whatever becomes of the call, that one runs, and the permit is there for another.
 */
const damageBy = (
  library: Library,
  situation: Situation,
  call: Effect.Effect<string, string>,
  phase: number
) => {
  const { deadline, held, mayWait, queueTimeout } = situation
  const found: Array<string> = []
  const exits: Array<Exit.Exit<unknown, unknown>> = []
  const interrupted = interruptEverywhere((world) => {
    const { Bulkhead, Deadline } = library
    const bulkhead = world.value(
      Effect.scoped(Bulkhead.make({ name: "billing", limit: 1, queue: 3, queueTimeout, priorities: 2 }))
    )
    start(world, held ? bulkhead.execute(Effect.sleep("20 millis")) : Effect.void)
    let ran = false
    start(
      world,
      held && queueTimeout !== "5 millis" ? bulkhead.execute(Effect.sync(() => (ran = true))) : Effect.void
    )
    const guarded = bulkhead.executeWith(call, { priority: 1, queue: mayWait ?? true })
    const program = deadline === undefined ? guarded : guarded.pipe(Deadline.within(deadline))
    return {
      program: phases.slice(0, phase).reduce((later) => Effect.suspend(() => later), program),
      verify: (exit, at) => {
        exits.push(exit)
        const wrong: Array<string> = []
        while (world.clock.wakeNext()) world.run(Effect.void)
        if (held && queueTimeout !== "5 millis" && !ran) wrong.push("the next has not run")
        const { inFlight, queued } = world.value(bulkhead.snapshot)
        if (inFlight !== 0) wrong.push(`${inFlight} in flight`)
        if (queued !== 0) wrong.push(`${queued} queued`)
        if (Exit.isFailure(world.run(bulkhead.executeWith(Effect.void, { queue: false }))))
          wrong.push("no permit is there")
        if (!world.isIdle) wrong.push("a timer is left")
        found.push(...wrong.map((problem) => `yield ${at}: ${problem}`))
      }
    }
  })
  return { found, interrupted, exits }
}

/** A fiber yields at every third step, so each step is met in one of three phases. */
const phases = [0, 1, 2]

const everyCall = Object.entries(calls).flatMap(([name, call]) =>
  phases.map((phase) => [name, phase, call] as const)
)

describe.each(Object.entries<Situation>(situations))("a call that %s", (_, situation) => {
  it.each(everyCall)("and %s leaks nothing, wherever it is interrupted (%s)", (_, phase, call) => {
    const { exits, found, interrupted } = damageBy(failsoft, situation, call, phase)
    expect(found).toEqual([])
    expect(interrupted).toBeGreaterThan(3)
    expect(exits.slice(0, 3).map(Exit.hasInterrupts)).toEqual([true, true, true])
    const last = exits.at(-1)
    const error = last !== undefined && Exit.isFailure(last) ? last.cause.reasons[0] : undefined
    const isRejected = error?._tag === "Fail" && error.error instanceof failsoft.ServiceUnavailable
    expect(isRejected).toBe(situation.rejected)
  })
})

describe("calls whose steps fall between each other's", () => {
  /** Two calls, of which the second begins so many steps after the first. */
  const inTurns = (
    options: Omit<failsoft.Bulkhead.KeyedOptions, "name">,
    two: (
      keyed: failsoft.Bulkhead.KeyedBulkhead
    ) => readonly [Effect.Effect<string, unknown>, Effect.Effect<string, unknown>]
  ) =>
    Array.from({ length: 60 }, (_, steps) => {
      const world = new World()
      const keyed = world.value(Effect.scoped(failsoft.Bulkhead.makeKeyed({ ...options, name: "billing" })))
      const [first, second] = two(keyed)
      const later = Array.from({ length: steps }).reduce<typeof second>(
        (next) => Effect.suspend(() => next),
        second
      )
      const results = Effect.all([Effect.result(first), Effect.result(later)], { concurrency: "unbounded" })
      const exit = world.interruptAt(results, Number.POSITIVE_INFINITY)
      const { inFlight, keys, queued, waits } = world.value(keyed.snapshot)
      expect({ inFlight, keys, queued, isIdle: world.isIdle }).toEqual({
        inFlight: 0,
        keys: 0,
        queued: 0,
        isIdle: true
      })
      const tags = Exit.isSuccess(exit) ? exit.value.map(({ _tag }) => _tag) : []
      return { came: tags.filter((tag) => tag === "Success").length, ended: tags.length, waited: waits.count }
    })

  it("wait and are woken, even if their turn comes before they have begun to wait", () => {
    const runs = inTurns({ limit: 1, queue: 1 }, (keyed) => {
      const call = keyed.execute("key")(calls["that ends at once"])
      return [call, call]
    })
    expect(runs.filter(({ came }) => came !== 2)).toEqual([])
    expect(new Set(runs.map(({ waited }) => waited))).toEqual(new Set([0, 1]))
  })

  it("do not wait if they may not, even if the last permit goes as they come", () => {
    const runs = inTurns({ limit: 1, queue: 1 }, (keyed) => {
      const call = keyed.executeWith("key", calls["that ends at once"], { queue: false })
      return [call, call]
    })
    expect(runs.filter(({ ended, waited }) => ended !== 2 || waited > 0)).toEqual([])
    expect(new Set(runs.map(({ came }) => came))).toEqual(new Set([1, 2]))
  })

  it("share the room for one key", () => {
    const runs = inTurns({ limit: 1, maxKeys: 1 }, (keyed) => [
      keyed.execute("one")(calls["that ends at once"]),
      keyed.execute("other")(calls["that ends at once"])
    ])
    expect(new Set(runs.map(({ came }) => came))).toEqual(new Set([1, 2]))
  })
})

describe("a bulkhead whose shell takes before it is certain to give back", () => {
  afterEach(() => {
    vi.doUnmock("../../packages/failsoft/src/internal/admission.ts")
    vi.resetModules()
  })

  it("leaks", async () => {
    vi.resetModules()
    vi.doMock(import("../../packages/failsoft/src/internal/admission.ts"), async (original) => ({
      ...(await original()),
      held: (use, giveBack) => Effect.suspend(() => Effect.onExitPrimitive(use(), giveBack))
    }))
    const planted: Library = await import("failsoft")
    const leaking = Object.entries<Situation>(situations).flatMap(([name, situation]) =>
      phases.some((phase) => damageBy(planted, situation, calls["that succeeds"], phase).found.length > 0)
        ? [name]
        : []
    )
    // A place that nobody gives back is let go of when its time is over, if it has one.
    expect(leaking).toEqual(["finds a permit", "waits for one"])
  })
})

it("a rejection is told of, wherever its caller is interrupted: at once, or with the rest", () => {
  const { Bulkhead, PolicyEvent } = failsoft
  const told: Array<number> = []
  const interrupted = interruptEverywhere((world) => {
    let sum = 0
    const scope = world.value(Scope.make())
    const bulkhead = world.value(
      Bulkhead.make({ name: "billing", limit: 1 }).pipe(
        Effect.provideService(Scope.Scope, scope),
        Effect.provideService(PolicyEvent.Listeners, [
          (event) => {
            if (event._tag === "CallsRejected") sum += event.count
          }
        ])
      )
    )
    start(world, bulkhead.execute(Effect.never))
    return {
      program: bulkhead.execute(Effect.void),
      verify: () => {
        const { rejected } = world.value(bulkhead.snapshot).counts
        world.run(Scope.close(scope, Exit.void))
        expect(sum).toBe(rejected)
        told.push(sum)
      }
    }
  })
  expect(interrupted).toBeGreaterThan(3)
  expect(new Set(told)).toEqual(new Set([0, 1]))
})
