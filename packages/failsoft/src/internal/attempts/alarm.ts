/**
 * One timer for the waits of many calls, most of which end before their wait does.
 *
 * A timer of its own costs a call more than all else that a race takes: a fiber, a timer of the runtime, the end of both. Here one
 * fiber sleeps until the first wait is over, and a call only notes its own and takes that back. Once nothing is noted the fiber is
 * ended, though not in the same step, since the next call is often there before the turn is over.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { Heap, type Item } from "../../state/Heap.ts"
import { monotonicMillisOf } from "../clock.ts"

/** Waits of many calls. */
export interface Alarm {
  /**
   * Calls `ring` once, when `millis` are over by the fiber's clock, or when that clock fails to tell, which is what `ended` says.
   * Both may be before this returns.
   */
  readonly set: (
    fiber: Fiber.Fiber<unknown, unknown>,
    millis: number,
    ring: (ended: Exit.Exit<void>) => void
  ) => Wait
}

/** A wait, which ends without a ring when it is cancelled. */
export interface Wait {
  readonly cancel: () => void
}

/** An alarm for which nobody waits. */
export const make = (): Alarm => {
  let line: Line | undefined
  return {
    set: (fiber, millis, ring) => {
      const clock = fiber.getRef(Clock.Clock)
      // Who comes with another clock begins anew, and what waits by the one before goes on by it.
      if (line?.clock !== clock) line = new Line(clock)
      return line.join(fiber, millis, ring)
    }
  }
}

class Place implements Wait, Item {
  index = -1
  arrival = 0
  readonly line: Line
  readonly fiber: Fiber.Fiber<unknown, unknown>
  /** When the wait ends. */
  readonly order: number
  readonly ring: (ended: Exit.Exit<void>) => void

  constructor(line: Line, fiber: Fiber.Fiber<unknown, unknown>, untilMillis: number, ring: Place["ring"]) {
    this.line = line
    this.fiber = fiber
    this.order = untilMillis
    this.ring = ring
  }

  cancel(): void {
    this.line.leave(this)
  }
}

/** Those who wait by one clock. */
class Line {
  readonly clock: Clock.Clock
  readonly #places = new Heap<Place>()
  #sleeper: Fiber.Fiber<void> | undefined
  #wakesAtMillis = Number.POSITIVE_INFINITY
  #mayStop = false

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  join(fiber: Fiber.Fiber<unknown, unknown>, millis: number, ring: Place["ring"]): Place {
    const nowMillis = monotonicMillisOf(this.clock)
    const place = new Place(this, fiber, nowMillis + millis, ring)
    this.#places.add(place)
    if (place.order < this.#wakesAtMillis) this.#sleep(place.order, nowMillis)
    return place
  }

  leave(place: Place): void {
    this.#places.remove(place)
    if (this.#sleeper === undefined || this.#places.first !== undefined || this.#mayStop) return
    this.#mayStop = true
    place.fiber.currentDispatcher.scheduleTask(() => {
      this.#mayStop = false
      if (this.#places.first === undefined) this.#stop()
    }, 0)
  }

  #sleep(untilMillis: number, nowMillis: number): void {
    this.#stop()
    this.#wakesAtMillis = untilMillis
    const millis = Math.ceil(untilMillis - nowMillis)
    const sleeper = Effect.runForkWith(Context.make(Clock.Clock, this.clock))(Effect.sleep(millis))
    this.#sleeper = sleeper
    sleeper.addObserver((ended) => {
      if (this.#sleeper === sleeper) this.#wake(ended)
    })
  }

  #stop(): void {
    const sleeper = this.#sleeper
    this.#sleeper = undefined
    this.#wakesAtMillis = Number.POSITIVE_INFINITY
    sleeper?.interruptUnsafe()
  }

  /** Rings for those whose wait is over, and sleeps on towards the next one. Timers may fire up to a millisecond early. */
  #wake(ended: Exit.Exit<void>): void {
    const nowMillis = Exit.isSuccess(ended)
      ? Math.max(this.#wakesAtMillis, monotonicMillisOf(this.clock))
      : Number.POSITIVE_INFINITY
    this.#sleeper = undefined
    this.#wakesAtMillis = Number.POSITIVE_INFINITY
    for (let place = this.#places.first; place !== undefined; place = this.#places.first) {
      if (place.order > nowMillis) {
        if (place.order < this.#wakesAtMillis) this.#sleep(place.order, nowMillis)
        return
      }
      this.#places.remove(place)
      place.ring(ended)
    }
  }
}
