import { describe, expect, it } from "@effect/vitest"
import { PolicyTest } from "@failsoft/testing"
import { Clock, Context, Effect, Exit, Fiber } from "effect"
import { Policy, ServiceUnavailable, UnavailableReason } from "failsoft"

class Billing extends Context.Service<Billing, Policy.Policy>()("test/Billing") {}
class Search extends Context.Service<Search, Policy.Policy>()("test/Search") {}

const rejection = Exit.fail(
  new ServiceUnavailable({ service: "billing", reason: UnavailableReason.CircuitOpen() })
)

describe("a closed stand-in", () => {
  it.effect("lets calls through as they are, at once and once, and remembers them", () =>
    Effect.gen(function* () {
      const billing = yield* Billing
      let sent = 0
      const refused = Effect.suspend(() => {
        sent++
        return Effect.fail("refused")
      })
      expect(yield* Effect.exit(billing.execute(Effect.succeed(1)))).toEqual(Exit.succeed(1))
      expect(yield* Effect.exit(billing.execute(refused))).toEqual(Exit.fail("refused"))
      yield* Effect.exit(refused.pipe(Policy.withPolicy(billing, { retry: false })))
      yield* Effect.exit(refused.pipe(Policy.withPolicy(billing)))
      expect(sent).toBe(3)
      expect(yield* Clock.currentTimeMillis).toBe(0)
      expect(yield* PolicyTest.calls(Billing)).toEqual([
        { rejected: false, retry: true, exit: Exit.succeed(1) },
        { rejected: false, retry: true, exit: Exit.fail("refused") },
        { rejected: false, retry: false, exit: Exit.fail("refused") },
        { rejected: false, retry: true, exit: Exit.fail("refused") }
      ])
    }).pipe(Effect.provide(PolicyTest.layer(Billing, "billing")))
  )

  it.effect("remembers a call that is running, and one that was interrupted", () =>
    Effect.gen(function* () {
      const billing = yield* Billing
      const fiber = yield* Effect.forkChild(billing.execute(Effect.never), { startImmediately: true })
      const running = yield* PolicyTest.calls(Billing)
      yield* Fiber.interrupt(fiber)
      expect(running.map(({ exit }) => exit)).toEqual([undefined])
      const [call] = yield* PolicyTest.calls(Billing)
      expect(call?.exit && Exit.hasInterrupts(call.exit)).toBe(true)
    }).pipe(Effect.provide(PolicyTest.layer(Billing, "billing")))
  )
})

describe("an open stand-in", () => {
  it.effect("rejects with what an open circuit rejects with, and sends nothing", () =>
    Effect.gen(function* () {
      const billing = yield* Billing
      let sent = 0
      const call = Effect.sync(() => ++sent)
      expect(yield* Effect.exit(billing.execute(call))).toEqual(rejection)
      expect(yield* Effect.exit(billing.executeWith(call, { retry: false }))).toEqual(rejection)
      expect(
        yield* call.pipe(
          billing.execute,
          billing.orElse(({ service }) => Effect.succeed(service))
        )
      ).toBe("billing")
      expect(sent).toBe(0)
      expect(yield* PolicyTest.calls(Billing)).toEqual([
        { rejected: true, retry: true, exit: rejection },
        { rejected: true, retry: false, exit: rejection },
        { rejected: true, retry: true, exit: rejection }
      ])
    }).pipe(Effect.provide(PolicyTest.layer(Billing, "billing", { state: "open" })))
  )

  it.effect("can be closed, and opened again", () =>
    Effect.gen(function* () {
      const billing = yield* Billing
      yield* PolicyTest.setState(Billing, "closed")
      expect(yield* Effect.exit(billing.execute(Effect.succeed(1)))).toEqual(Exit.succeed(1))
      yield* PolicyTest.setState(Billing, "open")
      expect(yield* Effect.exit(billing.execute(Effect.succeed(1)))).toEqual(rejection)
    }).pipe(Effect.provide(PolicyTest.layer(Billing, "billing", { state: "open" })))
  )
})

describe("stand-ins", () => {
  it.effect("know nothing of each other", () =>
    Effect.gen(function* () {
      yield* (yield* Search).execute(Effect.void)
      expect(yield* PolicyTest.calls(Search)).toHaveLength(1)
      expect(yield* PolicyTest.calls(Billing)).toEqual([])
    }).pipe(
      Effect.provide(PolicyTest.layer(Billing, "billing")),
      Effect.provide(PolicyTest.layer(Search, "search"))
    )
  )

  it.effect("begin anew with each build", () => {
    const layer = PolicyTest.layer(Billing, "billing")
    const once = Effect.gen(function* () {
      yield* (yield* Billing).execute(Effect.void)
      return (yield* PolicyTest.calls(Billing)).length
    }).pipe(Effect.provide(layer, { local: true }))
    return Effect.gen(function* () {
      expect([yield* once, yield* once]).toEqual([1, 1])
    })
  })

  it.effect("are told from real policies", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(PolicyTest.calls(Billing))
      expect(Exit.hasDies(exit)).toBe(true)
    }).pipe(Effect.provide(Policy.layer(Billing, "billing", { breaker: {} })))
  )
})
