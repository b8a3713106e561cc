/**
 * One fiber tells of changes that others made meanwhile. It told of them with its own log annotations and loggers: a reset by an
 * operator was logged as something that the request of a user did.
 */
import { Effect, Logger, References } from "effect"
import { CircuitBreaker } from "failsoft"
import { expect, it } from "vitest"
import { RacingWorld } from "../failsoft/racing.ts"

it("a change is logged as that of whoever made it", () => {
  let opened = 0
  for (let seed = 0; seed < 100; seed++) {
    const lines: Array<readonly [message: string, by: unknown]> = []
    const log = Logger.make(({ fiber, message }) => {
      lines.push([String(message), fiber.getRef(References.CurrentLogAnnotations).by])
    })
    const as = (who: string) => (effect: Effect.Effect<void, unknown>) =>
      Effect.ignore(effect).pipe(Effect.annotateLogs("by", who), Effect.provide(Logger.layer([log])))
    const world = new RacingWorld(seed)
    const breaker = world.value(CircuitBreaker.make({ name: "search", trip: CircuitBreaker.consecutive(1) }))
    world.finish([
      breaker.execute(Effect.fail("refused")).pipe(as("user")),
      breaker.reset.pipe(as("operator"))
    ])
    // After a reset the call settles into nothing.
    if (lines.length === 2) opened++
    const expected = lines.map(([message]) => [message, message.endsWith("by hand") ? "operator" : "user"])
    expect(lines, `seed ${seed}`).toEqual(expected)
  }
  expect(opened).toBeGreaterThan(50)
})
