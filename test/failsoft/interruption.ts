/**
 * Interrupts a program at every point at which it can be interrupted.
 *
 * A scheduler of its own makes every fiber yield before every step, and a clock of its own jumps to the next sleeper
 * when nothing else is left to do. All of it is plain calls on one thread, so that a run with an interruption at yield
 * 17 is the same run each time.
 */
import {
  Clock,
  Context,
  Duration,
  Effect,
  type Exit,
  type Fiber,
  Metric,
  References,
  type Scheduler,
  Scope
} from "effect"

/** Time that stands still until someone moves it. */
class HandClock implements Clock.Clock {
  nowMillis = 0
  /** What the wall clock shows besides: someone may set it forward or back. */
  wallOffsetMillis = 0
  sleepers: ReadonlyArray<{ readonly atMillis: number; readonly wake: () => void }> = []

  currentTimeMillisUnsafe(): number {
    return this.nowMillis + this.wallOffsetMillis
  }
  currentTimeNanosUnsafe(): bigint {
    return BigInt(Math.round(this.currentTimeMillisUnsafe() * 1e6))
  }
  monotonicTimeNanosUnsafe(): bigint {
    return BigInt(Math.round(this.nowMillis * 1e6))
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const atMillis = this.nowMillis + Duration.toMillis(duration)
      const sleeper = { atMillis, wake: () => resume(Effect.void) }
      this.sleepers = [...this.sleepers, sleeper]
      return Effect.sync(() => {
        this.sleepers = this.sleepers.filter((other) => other !== sleeper)
      })
    })
  }

  /** Moves to the next sleeper and wakes it; `false` when nobody sleeps. */
  wakeNext(): boolean {
    const [next] = this.sleepers.toSorted((one, other) => one.atMillis - other.atMillis)
    if (next === undefined) return false
    this.sleepers = this.sleepers.filter((sleeper) => sleeper !== next)
    this.nowMillis = Math.max(this.nowMillis, next.atMillis)
    next.wake()
    return true
  }
}

/** Where one run of a program takes place. */
export class World implements Scheduler.Scheduler {
  readonly executionMode = "async"
  readonly clock = new HandClock()
  /** Without loggers, for a run is repeated hundreds of times, and with series that nobody shares. */
  readonly context = Context.make(Clock.Clock, this.clock).pipe(
    Context.add(References.CurrentLoggers, new Set()),
    Context.add(Metric.MetricRegistry, new Map())
  )
  private readonly scope = Scope.makeUnsafe()
  protected readonly tasks: Array<() => void> = []
  private readonly passes = new WeakMap<object, number>()
  private yieldsAtEachStep = false
  yields = 0

  /** After a yield, a fiber needs two steps that do not yield: one to wake up, one to get on. */
  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    if (!this.yieldsAtEachStep) return false
    const passes = this.passes.get(fiber) ?? 0
    this.passes.set(fiber, passes === 0 ? 2 : passes - 1)
    if (passes > 0) return false
    this.yields++
    return true
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return {
      scheduleTask: (task) => {
        this.tasks.push(task)
      },
      flush: () => this.settle()
    }
  }

  /** Runs an effect to its end, without interruption. */
  run<A, E>(effect: Effect.Effect<A, E>): Exit.Exit<A, E> {
    const exit = this.drive(effect, Number.POSITIVE_INFINITY)
    this.settle()
    return exit
  }

  /** As `run`, for effects that succeed. What they make lives as long as the world. */
  value<A, E>(effect: Effect.Effect<A, E, Scope.Scope>): A {
    return Effect.runSync(this.run(Scope.provide(effect, this.scope)))
  }

  /** Runs an effect that yields before every step and is interrupted at one of the yields. */
  interruptAt<A, E>(effect: Effect.Effect<A, E>, at: number): Exit.Exit<A, E> {
    this.yields = 0
    this.yieldsAtEachStep = true
    const exit = this.drive(effect, at)
    this.yieldsAtEachStep = false
    this.settle()
    return exit
  }

  /** Whether a fiber is left that waits for time, or for its turn. */
  get isIdle(): boolean {
    return this.clock.sleepers.length === 0 && this.tasks.length === 0
  }

  private drive<A, E>(effect: Effect.Effect<A, E>, interruptAt: number): Exit.Exit<A, E> {
    const fiber = Effect.runForkWith(this.context)(effect, { scheduler: this })
    let interrupted = false
    for (;;) {
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      if (!interrupted && this.yields > interruptAt) {
        interrupted = true
        fiber.interruptUnsafe()
        continue
      }
      const task = this.nextTask()
      if (task !== undefined) {
        task()
        continue
      }
      // A fiber that waits for time may be interrupted there as well.
      this.yields++
      if (!interrupted && this.yields > interruptAt) continue
      if (!this.clock.wakeNext()) throw new Error("the program waits for something that never comes")
    }
  }

  /** Lets whatever is ready run, without moving time. */
  protected settle(): void {
    for (let task = this.nextTask(); task !== undefined; task = this.nextTask()) task()
  }

  protected nextTask(): (() => void) | undefined {
    return this.tasks.shift()
  }
}

/** One run: what is interrupted, and what must hold afterwards. */
export interface Trial {
  readonly program: Effect.Effect<unknown, unknown>
  readonly verify: (exit: Exit.Exit<unknown, unknown>, yieldNumber: number) => void
}

/**
 * Interrupts a program at yield 0, 1, 2 … until it ends before it is reached; each run has a world of its own.
 *
 * The result is how often it was interrupted.
 */
export const interruptEverywhere = (prepare: (world: World) => Trial): number => {
  for (let at = 0; ; at++) {
    const world = new World()
    const { program, verify } = prepare(world)
    const exit = world.interruptAt(program, at)
    verify(exit, at)
    if (world.yields <= at) return at
  }
}
