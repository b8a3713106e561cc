/** Calls, some of them waiting, and a reload that comes in the midst of them: all of it interrupted at every yield there is. */
import { ConfigProvider, Context, Effect, Exit, Layer } from "effect"
import { Policies, type Policy } from "failsoft"
import { expect, it } from "vitest"
import { interruptEverywhere, type World } from "./interruption.ts"

class Billing extends Context.Service<Billing, Policy.Policy>()("test/Billing") {}

const providerOf = (billing: unknown) => ConfigProvider.fromUnknown({ services: { billing } })

const full = {
  deadline: "100 millis",
  attemptTimeout: "20 millis",
  retry: { attempts: 2, base: "3 millis", jitter: "none" },
  retryBudget: { ratio: 1, minPerSecond: 1 },
  hedge: { delay: "5 millis" },
  rateLimiter: { limit: 2, period: "10 millis", onLimit: "delay", maxWait: "50 millis" },
  bulkhead: { limit: 1, queue: 5 },
  breaker: { failures: 2, openDuration: "5 millis", successes: 1 }
}

/** Tables that each stage comes with, goes with, is changed by or switched off by. */
const tables = {
  "that changes every stage": {
    deadline: "90 millis",
    attemptTimeout: "10 millis",
    retry: { attempts: 3, base: "2 millis", jitter: "none" },
    retryBudget: { ratio: 0.5, minPerSecond: 2 },
    hedge: { delay: "2 millis" },
    rateLimiter: { algorithm: "fixed-window", limit: 5, window: "10 millis" },
    bulkhead: { limit: 2, queue: 1 },
    breaker: { failures: 1, openDuration: "5 millis", successes: 1 }
  },
  "without stages": {},
  "that is switched off": { ...full, enabled: false }
}

const holds = (world: World, { bulkhead, rateLimiter, retryBudget }: Policy.Policy) => {
  const permits = bulkhead && world.value(bulkhead.snapshot)
  const tokens = retryBudget && world.value(retryBudget.snapshot)
  return {
    inFlight: permits?.inFlight ?? 0,
    queued: permits?.queued ?? 0,
    waiting: (rateLimiter && world.value(rateLimiter.snapshot).waiting) ?? 0,
    isOverdrawn: tokens !== undefined && (tokens.left < 0 || tokens.left > tokens.most)
  }
}

const nothing = { inFlight: 0, queued: 0, waiting: 0, isOverdrawn: false }

it.each(
  Object.entries(tables).flatMap(([name, table]) => [
    [`to a table ${name}`, full, table] as const,
    [`from a table ${name}`, table, full] as const
  ])
)("nothing is left in any stage of a reload %s", (_, before, after) => {
  const interruptions = interruptEverywhere((world) => {
    const live = Policies.layerConfig({ billing: Billing }, "services").pipe(
      Layer.provide(ConfigProvider.layer(providerOf(before)))
    )
    const context = world.value(Layer.build(live))
    const policy = Context.get(context, Billing)
    // Another object, with the stages that the policy has now.
    const old = { ...policy }
    let sent = 0
    const dependency = Effect.suspend(() => {
      const end = [Effect.fail("down"), Effect.succeed("answer"), Effect.never][sent++ % 3]
      return Effect.andThen(Effect.sleep("4 millis"), end ?? Effect.void)
    })
    const call = Effect.exit(Effect.timeout(policy.executeWith(dependency, { idempotent: true }), "1 second"))
    const reload = Effect.andThen(
      Effect.sleep("6 millis"),
      Context.get(context, Policies.Policies).reload(providerOf(after))
    )
    return {
      program: Effect.all([call, call, reload, call, Effect.delay(call, "7 millis")], {
        concurrency: "unbounded"
      }),
      verify: () => {
        expect([holds(world, old), holds(world, policy)]).toEqual([nothing, nothing])
        expect(world.isIdle).toBe(true)
        // And it serves: within a few tries, for the circuit may have opened.
        const well = Effect.andThen(Effect.sleep("50 millis"), policy.execute(Effect.void))
        const exits = Array.from({ length: 3 }, () => world.value(Effect.exit(well)))
        expect(exits.some(Exit.isSuccess)).toBe(true)
      }
    }
  })
  expect(interruptions).toBeGreaterThan(100)
})
