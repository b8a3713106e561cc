/**
 * Takes commands through the circuits, and answers from what is held where it may.
 *
 * One rule decides everything about a failed write: a write that may have been applied is never answered from here, since
 * only the caller can find out.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import type { CircuitBreaker, Outcome, Retry, Served } from "failsoft"
import { Ambiguous, Deadline, ServiceUnavailable } from "failsoft"
import type { Command, Read, Write } from "../Command.ts"
import * as RedisFailure from "../RedisFailure.ts"
import type { ReadError, WriteError } from "../RedisViews.ts"
import { type Answer, answer, split } from "../state/held/answer.ts"
import { forget, type Held } from "../state/held/Held.ts"
import { hold, supersede } from "../state/held/hold.ts"
import { learn } from "../state/held/learn.ts"
import type { Now, Reply } from "../state/MemoryStore.ts"
import type { Sent, Slot } from "./transport.ts"
import {
  classifyRead,
  classifyWrite,
  expiryOf,
  type Hearer,
  isRefusal,
  isRejection,
  judge,
  type LiveError,
  lastErrorOf,
  mayHaveBeenApplied,
  mayRepeat
} from "./verdict.ts"

/** What one `ResilientRedis` works with. */
export interface Engine extends Hearer {
  readonly slot: Slot
  readonly reads: CircuitBreaker.CircuitBreaker
  readonly writes: CircuitBreaker.CircuitBreaker
  readonly retry: Retry.Retry
  readonly held: Held
  readonly whileAway: "memory" | "readonly" | "fail"
  /** Whether conditional writes and counters are answered from here as well. */
  readonly holdsConditional: boolean
  readonly timeout: Duration.Duration
  readonly counts: { begun: number; hits: number; misses: number; fallbacks: number }
  /** Answers from elsewhere than the server, by their source. */
  readonly answers: Record<Exclude<Served.Source, "live">, number>
  /** Whether the server refuses writes and serves reads, so that a write held here would be at odds with them. */
  refusesWrites: boolean
  /** What follows on an answer of the server while writes are held. */
  readonly answered: (kind: Command<unknown>["kind"]) => Effect.Effect<void>
  /** What follows on a write that is held. */
  readonly wasHeld: Effect.Effect<void>
}

/** Makes what the caller gets of a value and its source. */
export type Serve<A, B> = (value: A, source: Served.Source, ageMillis?: number) => B

/** The time by the fiber's clock. Most commands need no wall time, so it is read when it is asked for. */
export const nowOf = (fiber: Fiber.Fiber<unknown, unknown>): Now => new FiberNow(fiber.getRef(Clock.Clock))

class FiberNow implements Now {
  readonly millis: number
  readonly #clock: Clock.Clock
  constructor(clock: Clock.Clock) {
    this.#clock = clock
    this.millis = Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  }
  get wallMillis(): number {
    return this.#clock.currentTimeMillisUnsafe()
  }
}

/** Runs a read. What was written here is not asked for: the server does not know of it yet. */
export const read = <A, B>(
  engine: Engine,
  command: Read<A>,
  serve: Serve<A, B>
): Effect.Effect<B, ReadError> =>
  Effect.withFiber((fiber) => {
    const { held } = engine
    const known =
      held.written.size > 0 && engine.refusal === undefined ? split(held, command, nowOf(fiber)) : undefined
    if (known === undefined) return ask(engine, command, serve, fiber)
    if (known.asked !== undefined) {
      const part: Read<A> = {
        ...command,
        args: known.asked,
        decode: (reply) => command.decode(known.join(reply))
      }
      return ask(engine, part, (value) => serve(value, "local"), fiber, command)
    }
    engine.counts.hits++
    return Effect.fromResult(
      served(engine, command, { reply: known.join(null), source: "local", ageMillis: 0 }, serve)
    )
  })

/** Asks the server. `whole` is what is answered from here instead. */
const ask = <A, B>(
  engine: Engine,
  command: Read<A>,
  serve: Serve<A, B>,
  fiber: Fiber.Fiber<unknown, unknown>,
  whole: Read<A> = command
): Effect.Effect<B, ReadError> => {
  engine.counts.begun++
  const call = live(engine, engine.reads, command, classifyRead, fiber)
  const onSuccess = (reply: Reply) => {
    if (whole !== command) engine.answers.local++
    return answered(engine, command, reply, nowOf(fiber), serve)
  }
  const onFailure = (error: LiveError) =>
    Effect.fromResult(failedRead(engine, whole, error, nowOf(fiber), serve))
  return Effect.matchEffect(call, {
    onSuccess,
    onFailure: (error) =>
      mayRepeat(error)
        ? Effect.matchEffect(again(engine, engine.reads, command, call, error, notAWrite), {
            onSuccess,
            onFailure
          })
        : onFailure(error)
  })
}

/** Runs a write. */
export const write = <A, B>(
  engine: Engine,
  command: Write<A>,
  serve: Serve<A, B>
): Effect.Effect<B, WriteError> =>
  Effect.withFiber((fiber) => {
    const fate: Fate = { mayBeApplied: false }
    engine.counts.begun++
    const call = live(engine, engine.writes, command, classifyWrite, fiber)
    return Effect.catch(call, (error) =>
      mayRepeat(error) ? again(engine, engine.writes, command, call, error, fate) : Effect.fail(error)
    ).pipe(
      Effect.onInterrupt(() => Effect.sync(() => forget(engine.held, command))),
      Effect.matchEffect({
        onSuccess: (reply): Effect.Effect<B, WriteError> =>
          fate.mayBeApplied && reply !== "OK" && isConditional(command)
            ? Effect.fail(ambiguous(engine, command, undefined))
            : answered(engine, command, reply, nowOf(fiber), serve),
        onFailure: (error) => {
          const answer = failedWrite(engine, command, error, fate, nowOf(fiber), serve)
          return Result.isSuccess(answer)
            ? Effect.as(engine.wasHeld, answer.success)
            : Effect.fail(answer.failure)
        }
      })
    )
  })

/** Whether one of a write's attempts may have been applied. */
interface Fate {
  mayBeApplied: boolean
}

const notAWrite: Fate = { mayBeApplied: false }

/** Sends a command through a circuit, once. */
const live = (
  engine: Engine,
  breaker: CircuitBreaker.CircuitBreaker,
  command: Command<unknown>,
  classifyCall: (exit: Exit.Exit<unknown, unknown>) => Outcome.Outcome,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<Reply, LiveError> => {
  const send = Effect.suspend(() => engine.slot.current.send(command))
  return Deadline.remainingMillis(fiber) === undefined
    ? breaker.executeWith(send, classifyCall)
    : limited(engine, breaker, send, classifyCall)
}

/** One attempt through a circuit that is the only one. */
export const attempt = <A, E>(
  engine: Engine,
  breaker: CircuitBreaker.CircuitBreaker,
  call: Effect.Effect<A, E>,
  classifyCall: (exit: Exit.Exit<A, E | ServiceUnavailable>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable> =>
  Effect.suspend(() => {
    engine.counts.begun++
    return limited(engine, breaker, call, classifyCall)
  })

/** The connection has a time limit of its own, so only a deadline needs one here. */
const limited = <A, E>(
  engine: Engine,
  breaker: CircuitBreaker.CircuitBreaker,
  call: Effect.Effect<A, E>,
  classifyCall: (exit: Exit.Exit<A, E | ServiceUnavailable>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable> =>
  Effect.withFiber((fiber) =>
    breaker.executeWith(
      Deadline.remainingMillis(fiber) === undefined
        ? call
        : Deadline.attemptTimeout(call, engine.name, engine.timeout),
      classifyCall
    )
  )

/** Tries a command again whose first attempt failed. The first failure is played to the retry, which most calls do not need. */
const again = (
  engine: Engine,
  breaker: CircuitBreaker.CircuitBreaker,
  command: Sent,
  call: Effect.Effect<Reply, LiveError>,
  firstError: LiveError,
  fate: Fate
): Effect.Effect<Reply, LiveError> => {
  let isFirst = true
  const next = Effect.suspend(() => {
    if (!isFirst) return Effect.mapError(call, expiryOf(command))
    isFirst = false
    return Effect.fail(firstError)
  })
  return engine.retry.executeWith(next, {
    stopWhen: breaker.isOpen,
    isTransient: (error) => {
      if (fate !== notAWrite && mayHaveBeenApplied(error)) fate.mayBeApplied = true
      return mayRepeat(error)
    }
  })
}

const answered = <A, B>(
  engine: Engine,
  command: Command<A>,
  reply: Reply,
  now: Now,
  serve: Serve<A, B>
): Effect.Effect<B> => {
  const value = serve(command.decode(reply), "live")
  note(engine, command, reply, now)
  return engine.held.written.size === 0
    ? Effect.succeed(value)
    : Effect.as(engine.answered(command.kind), value)
}

/** Takes note of what the server answered. */
export const note = (engine: Engine, command: Command<unknown>, reply: Reply, now: Now): void => {
  engine.refusal = undefined
  if (command.kind === "write") {
    engine.refusesWrites = false
    if (engine.held.written.size > 0) supersede(engine.held, command)
  }
  if (engine.whileAway !== "fail") learn(engine.held, command, reply, now)
}

/** The answer to a read that failed. */
export const failedRead = <A, B>(
  engine: Engine,
  command: Read<A>,
  error: LiveError,
  now: Now,
  serve: Serve<A, B>
): Result.Result<B, ReadError> => {
  const judged = judge(engine, error)
  if (!(judged instanceof ServiceUnavailable)) return Result.fail(judged)
  const known = engine.whileAway === "fail" ? undefined : answer(engine.held, command, now)
  if (known === undefined) {
    engine.counts.misses++
    return Result.fail(judged)
  }
  engine.counts.hits++
  if (isRejection(error)) engine.counts.fallbacks++
  return served(engine, command, known, serve)
}

/** The answer to a write that failed. */
export const failedWrite = <A, B>(
  engine: Engine,
  command: Write<A>,
  error: LiveError,
  fate: Fate,
  now: Now,
  serve: Serve<A, B>
): Result.Result<B, WriteError> => {
  const judged = judge(engine, error)
  if (fate.mayBeApplied || mayHaveBeenApplied(error)) {
    return Result.fail(ambiguous(engine, command, lastErrorOf(error)))
  }
  if (!(judged instanceof ServiceUnavailable)) return Result.fail(judged)
  if (!isRejection(error)) engine.refusesWrites = isRefusal(error)
  const conditional = isConditional(command)
  const mayHold =
    engine.whileAway === "memory" &&
    !engine.refusesWrites &&
    (engine.holdsConditional || !conditional) &&
    // A deadline that was spent before anything was sent says nothing of Redis, which may well be there.
    judged.reason._tag !== "TimedOut"
  const known = mayHold ? hold(engine.held, command, now, conditional) : undefined
  if (known === undefined) return Result.fail(judged)
  if (isRejection(error)) engine.counts.fallbacks++
  return served(engine, command, known, serve)
}

/** Whether the outcome of a write depends on what is there. */
const isConditional = ({ args, name }: Sent): boolean =>
  RedisFailure.safetyOf(name, args) !== "write-last-wins" ||
  ((name === "EXPIRE" || name === "PEXPIRE") && args.length > 2)

const ambiguous = (engine: Engine, command: Sent, cause: unknown): Ambiguous => {
  forget(engine.held, command)
  return new Ambiguous({ service: engine.name, operation: command.name, cause })
}

/** What is held, as the caller gets it. */
export const served = <A, B>(
  engine: Engine,
  command: Command<A>,
  { ageMillis, reply, source }: Answer,
  serve: Serve<A, B>
): Result.Result<B, RedisFailure.RedisFailure> => {
  if (reply instanceof Error) return Result.fail(RedisFailure.from(reply, command.name, command.args))
  engine.answers[source]++
  return Result.succeed(serve(command.decode(reply), source, source === "stale" ? ageMillis : undefined))
}
