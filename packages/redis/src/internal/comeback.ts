/**
 * How it is found out that Redis takes writes again, and what becomes then of those that were held.
 *
 * A closed circuit is no proof: it may never have opened. So what tells is a write that was answered: a caller's, or a
 * probe of our own, which runs when a read was answered, and from time to time for as long as something is held.
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Deadline, PolicyEvent, ServiceUnavailable } from "failsoft"
import type { Written } from "../state/held/Held.ts"
import { discard, firstWritten, writesOf } from "../state/held/hold.ts"
import { attempt, type Engine, nowOf } from "./engine.ts"
import { classifyWrite, type LiveError } from "./verdict.ts"

/** What the comeback of an engine is made from. */
export interface Plan {
  /** How many held writes are sent a second; without it they are given up. */
  readonly perSecond: number | undefined
  /** A write that leaves nothing behind. */
  readonly probe: Effect.Effect<unknown, LiveError>
  readonly every: Duration.Duration
}

/** The parts of an engine that deal with the comeback. */
export interface Comeback extends Pick<Engine, "answered" | "wasHeld"> {
  /** Gives up or sends what is held. Does not wait for what is sent. */
  readonly giveBack: Effect.Effect<void>
}

/** Makes the comeback of an engine; what goes on in the background ends with the scope. */
export const make = (engine: Engine, plan: Plan): Effect.Effect<Comeback, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { held, writes } = engine
    const context = yield* Effect.context<never>()
    const scope = yield* Effect.scope
    // What is started here outlives the call that starts it, and its deadline.
    const apart = (effect: Effect.Effect<void>): Effect.Effect<void> =>
      Deadline.unbounded(effect).pipe(
        Effect.updateContext((_: Context.Context<never>) => context),
        Effect.forkIn(scope),
        Effect.asVoid
      )
    const emit = yield* emitterOf(engine)
    const giveBack =
      plan.perSecond === undefined
        ? Effect.suspend(() => emit("HeldWritesDiscarded", { count: discard(held) }))
        : once((over) => {
            const sent = replay(engine, Duration.millis(1000 / (plan.perSecond ?? 1)))
            const told = Effect.flatMap(sent, (counts) => emit("HeldWritesReplayed", counts))
            return apart(Effect.ensuring(told, over))
          })
    const verify = once((over) =>
      attempt(engine, writes, plan.probe, classifyWrite).pipe(
        Effect.andThen(giveBack),
        Effect.ignore,
        Effect.ensuring(over),
        apart
      )
    )
    const whenClosed = (effect: Effect.Effect<void>): Effect.Effect<void> =>
      Effect.flatMap(writes.snapshot, ({ state }) =>
        held.written.size > 0 && state === "closed" ? effect : Effect.void
      )
    const watch: Effect.Effect<void> = Effect.suspend(() =>
      held.written.size === 0
        ? Effect.void
        : Effect.sleep(plan.every).pipe(Effect.andThen(whenClosed(verify)), Effect.andThen(watch))
    )
    return {
      giveBack,
      answered: (kind) => whenClosed(kind === "write" ? giveBack : verify),
      wasHeld: once((over) => apart(Effect.ensuring(watch, over)))
    }
  })

/** An effect that is not begun again before it is over. What it forks is what is over then, so it begins in one piece. */
const once = (begin: (over: Effect.Effect<void>) => Effect.Effect<void>): Effect.Effect<void> => {
  let isUnderWay = false
  const over = Effect.sync(() => {
    isUnderWay = false
  })
  return Effect.uninterruptible(
    Effect.suspend(() => {
      if (isUnderWay) return Effect.void
      isUnderWay = true
      return begin(over)
    })
  )
}

/** Counts of held writes. */
interface Counts {
  readonly count: number
  readonly lost?: number
}

const emitterOf = ({ name }: Engine) =>
  Effect.map(
    PolicyEvent.emitter,
    ({ emit }) =>
      (
        _tag: "HeldWritesDiscarded" | "HeldWritesReplayed",
        { count, lost = 0 }: Counts
      ): Effect.Effect<void> =>
        count === 0 && lost === 0
          ? Effect.void
          : Effect.withFiber((fiber) => {
              const event = { policy: name, atMillis: nowOf(fiber).wallMillis, count }
              return emit(_tag === "HeldWritesDiscarded" ? { _tag, ...event } : { _tag, ...event, lost })
            })
  )

/**
 * Sends what is held, key by key, until nothing is left or the server is away again. A key is held until the last of its
 * writes was answered, so reads do not go back to what was before, and what was not sent is sent when it is back next.
 */
const replay = (engine: Engine, pause: Duration.Duration): Effect.Effect<Required<Counts>> =>
  Effect.gen(function* () {
    const { held } = engine
    let count = 0
    let lost = 0
    let isAway = false
    for (let first = firstWritten(held); first !== undefined && !isAway; first = firstWritten(held)) {
      const [key, written] = first
      const commands = yield* Effect.withFiber((fiber) =>
        Effect.succeed(writesOf(key, written, nowOf(fiber).millis))
      )
      for (const command of commands) {
        // A write that the server got meanwhile is newer.
        if (isAway || !isHeld(engine, key, written)) break
        const call = Effect.suspend(() => engine.slot.current.send(command))
        const error = yield* Effect.flip(attempt(engine, engine.writes, call, classifyWrite)).pipe(
          Effect.catch(() => Effect.succeed(undefined))
        )
        if (error === undefined) count++
        else if (isFinal(error)) lost++
        else isAway = true
        yield* Effect.sleep(pause)
      }
      if (!isAway && isHeld(engine, key, written)) held.written.delete(key)
    }
    lost += held.lost
    held.lost = 0
    return { count, lost }
  })

const isHeld = ({ held }: Engine, key: string, written: Written): boolean =>
  held.written.peek(key) === written

/** Whether a write will fare no better next time. */
const isFinal = (error: LiveError): boolean =>
  !(error instanceof ServiceUnavailable) && (error.class === "caller" || error.class === "misconfigured")
