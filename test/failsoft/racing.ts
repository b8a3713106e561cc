/**
 * Races fibers against each other: each stops before steps that chance chooses, and chance chooses who goes on.
 *
 * The same seed gives the same race.
 */
import { Effect, type Exit, type Fiber } from "effect"
import { type Draw, drawFrom } from "./draw.ts"
import { World } from "./interruption.ts"

/** How often a fiber stops before a step. */
const stops = 0.15

/** A world in which nobody knows whose turn is next. */
export class RacingWorld extends World {
  readonly draw: Draw
  private readonly awake = new WeakMap<object, number>()

  constructor(seed: number) {
    super()
    this.draw = drawFrom(seed)
  }

  /** After a yield, a fiber needs two steps that do not yield: one to wake up, one to get on. */
  override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    const awake = this.awake.get(fiber) ?? 0
    this.awake.set(fiber, awake - 1)
    if (awake > 0 || !this.draw.chance(stops)) return false
    this.awake.set(fiber, 2)
    this.yields++
    return true
  }

  protected override nextTask(): (() => void) | undefined {
    const { tasks } = this
    if (tasks.length === 0) return undefined
    const at = this.draw.integer(0, tasks.length - 1)
    const task = tasks[at]
    const last = tasks.pop()
    if (at < tasks.length && last !== undefined) tasks[at] = last
    return task
  }

  /** Starts effects at once, in any order, and runs what can run until nothing can. Time stands still. */
  race<A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>): ReadonlyArray<Fiber.Fiber<A, E>> {
    const fibers = effects.map((effect) =>
      Effect.runForkWith(this.context)(Effect.andThen(Effect.yieldNow, effect), { scheduler: this })
    )
    this.settle()
    return fibers
  }

  /** As `race`, for effects that end without a wait. */
  finish<A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>): ReadonlyArray<Exit.Exit<A, E>> {
    return this.race(effects).map((fiber) => {
      const exit = fiber.pollUnsafe()
      if (exit === undefined) throw new Error("a fiber waits for something that never comes")
      return exit
    })
  }
}
