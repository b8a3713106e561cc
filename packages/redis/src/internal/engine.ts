/**
 * Takes commands through the circuits, and answers from what is held where it may.
 *
 * One rule decides everything about a failed write: a write that may have been applied is never answered from here, since
 * only the caller can find out.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Redis from "effect/persistence/Redis"
import * as Result from "effect/Result"
import type { CircuitBreaker, Retry, Served } from "failsoft"
import { Ambiguous, Deadline, Misconfigured, Outcome, ServiceUnavailable, UnavailableReason } from "failsoft"
import type { Command, Read, Write } from "../Command.ts"
import * as RedisFailure from "../RedisFailure.ts"
import { type Answer, answer } from "../state/held/answer.ts"
import { forget, type Held, keysOf } from "../state/held/Held.ts"
import { hold } from "../state/held/hold.ts"
import { learn } from "../state/held/learn.ts"
import type { Now, Reply } from "../state/MemoryStore.ts"
import type { Sent, Slot } from "./transport.ts"

/** What a read may fail with. */
export type ReadError = ServiceUnavailable | Misconfigured | RedisFailure.RedisFailure

/** What a write may fail with. */
export type WriteError = ReadError | Ambiguous

/** What one `ResilientRedis` works with. */
export interface Engine {
  readonly name: string
  readonly slot: Slot
  readonly reads: CircuitBreaker.CircuitBreaker
  readonly writes: CircuitBreaker.CircuitBreaker
  readonly retry: Retry.Retry
  readonly held: Held
  readonly whileAway: "memory" | "readonly" | "fail"
  /** Whether conditional writes and counters are answered from here as well. */
  readonly holdsConditional: boolean
  readonly timeout: Duration.Duration
  readonly counts: { hits: number; misses: number; fallbacks: number }
  /** Whether the server refuses writes and serves reads, so that a write held here would be at odds with them. */
  refusesWrites: boolean
  /** Writes on their way to a server that is back, by key. */
  replaying: Map<string, ReadonlyArray<Sent>>
  /** What follows on an answer of the server while writes are held. */
  readonly answered: (kind: Command<unknown>["kind"]) => Effect.Effect<void>
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

/** Runs a read. */
export const read = <A, B>(
  engine: Engine,
  command: Read<A>,
  serve: Serve<A, B>
): Effect.Effect<B, ReadError> =>
  Effect.withFiber((fiber) => {
    if (engine.held.written.size > 0) {
      const known = answer(engine.held, command, nowOf(fiber))
      if (known?.source === "local") return Effect.fromResult(served(command, known, serve))
    }
    const call = live(engine, engine.reads, command, classifyRead, fiber)
    const onSuccess = (reply: Reply) => answered(engine, command, reply, nowOf(fiber), serve)
    const onFailure = (error: LiveError) =>
      Effect.fromResult(failedRead(engine, command, error, nowOf(fiber), serve))
    return Effect.matchEffect(call, {
      onSuccess,
      onFailure: (error) =>
        mayRepeat(error)
          ? Effect.matchEffect(again(engine, engine.reads, call, error, notAWrite), { onSuccess, onFailure })
          : onFailure(error)
    })
  })

/** Runs a write. */
export const write = <A, B>(
  engine: Engine,
  command: Write<A>,
  serve: Serve<A, B>
): Effect.Effect<B, WriteError> =>
  Effect.withFiber((fiber) => {
    const fate: Fate = { mayBeApplied: false }
    const call = live(engine, engine.writes, command, classifyWrite, fiber)
    return Effect.catch(call, (error) =>
      mayRepeat(error) ? again(engine, engine.writes, call, error, fate) : Effect.fail(error)
    ).pipe(
      Effect.onInterrupt(() => Effect.sync(() => forget(engine.held, command))),
      Effect.matchEffect({
        onSuccess: (reply) => answered(engine, command, reply, nowOf(fiber), serve),
        onFailure: (error) =>
          Effect.fromResult(failedWrite(engine, command, error, fate, nowOf(fiber), serve))
      })
    )
  })

/** Whether one of a write's attempts may have been applied. */
interface Fate {
  mayBeApplied: boolean
}

const notAWrite: Fate = { mayBeApplied: false }

type LiveError = ServiceUnavailable | RedisFailure.RedisFailure

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
    : attempt(engine, breaker, send, classifyCall)
}

/** One attempt through a circuit. The connection has a time limit of its own, so only a deadline needs one here. */
export const attempt = <A, E>(
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

const mayRepeat = (error: LiveError): boolean =>
  error instanceof RedisFailure.RedisFailure &&
  error.mayRepeat &&
  (error.class === "unavailable" || error.class === "transient")

/** Tries a command again whose first attempt failed. The first failure is played to the retry, which most calls do not need. */
const again = (
  engine: Engine,
  breaker: CircuitBreaker.CircuitBreaker,
  call: Effect.Effect<Reply, LiveError>,
  firstError: LiveError,
  fate: Fate
): Effect.Effect<Reply, LiveError> => {
  let isFirst = true
  const next = Effect.suspend(() => {
    if (!isFirst) return call
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
  if (engine.whileAway !== "fail") learn(engine.held, command, reply, now)
  if (command.kind === "read") return
  engine.refusesWrites = false
  // What was written since must not be overwritten by what was held before.
  if (engine.replaying.size > 0) for (const key of keysOf(command)) engine.replaying.delete(key)
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
  return served(command, known, serve)
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
    forget(engine.held, command)
    const cause = lastErrorOf(error)
    return Result.fail(new Ambiguous({ service: engine.name, operation: command.name, cause }))
  }
  if (!(judged instanceof ServiceUnavailable)) return Result.fail(judged)
  if (!isRejection(error)) engine.refusesWrites = isRefusal(error)
  const isConditional = RedisFailure.safetyOf(command.name, command.args) !== "write-last-wins"
  const mayHold =
    engine.whileAway === "memory" && !engine.refusesWrites && (engine.holdsConditional || !isConditional)
  const known = mayHold ? hold(engine.held, command, now, isConditional) : undefined
  if (known === undefined) return Result.fail(judged)
  if (isRejection(error)) engine.counts.fallbacks++
  return served(command, known, serve)
}

const served = <A, B>(
  command: Command<A>,
  { ageMillis, reply, source }: Answer,
  serve: Serve<A, B>
): Result.Result<B, RedisFailure.RedisFailure> =>
  reply instanceof Error
    ? Result.fail(RedisFailure.from(reply, command.name, command.args))
    : Result.succeed(serve(command.decode(reply), source, source === "stale" ? ageMillis : undefined))

/** What an error means to the caller: an outage, whatever the words of it, or a mistake that no fallback may hide. */
export const judge = (engine: Engine, error: LiveError): ReadError => {
  if (error instanceof ServiceUnavailable) return error
  switch (error.class) {
    case "misconfigured":
      return new Misconfigured({ service: engine.name, problem: `the server answers ${error.code}` })
    case "caller":
      return error
    default:
      return new ServiceUnavailable({
        service: engine.name,
        reason: error.sent
          ? UnavailableReason.RetriesExhausted({ attempts: 1, lastError: error })
          : UnavailableReason.NotConnected()
      })
  }
}

const lastErrorOf = (error: LiveError): unknown =>
  error instanceof ServiceUnavailable && error.reason._tag === "RetriesExhausted"
    ? error.reason.lastError
    : error

const isRejection = (error: LiveError): boolean =>
  error instanceof ServiceUnavailable && error.reason._tag === "CircuitOpen"

/** Whether a write that ended so may have been applied: its last attempt was sent, or a deadline ended it under way. */
export const mayHaveBeenApplied = (error: LiveError): boolean => {
  const last = lastErrorOf(error)
  if (last instanceof RedisFailure.RedisFailure) return last.mayBeApplied
  return (
    last instanceof ServiceUnavailable &&
    last.reason._tag === "TimedOut" &&
    Duration.toMillis(last.reason.after) > 0
  )
}

const isRefusal = (error: LiveError): boolean => {
  const last = lastErrorOf(error)
  return last instanceof RedisFailure.RedisFailure && last.class === "write-path"
}

const classify =
  (kind: Command<unknown>["kind"]) =>
  (exit: Exit.Exit<unknown, unknown>): Outcome.Outcome => {
    const failed = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
    return failed instanceof RedisFailure.RedisFailure
      ? outcomeOf(kind, failed.class)
      : Outcome.fromExit(exit)
  }

/** What the end of an attempt to read says about the server. */
export const classifyRead = classify("read")

/** What the end of an attempt to write says about the server. */
export const classifyWrite = classify("write")

/** What a failure says about the server. */
export const outcomeOf = (kind: Command<unknown>["kind"], failed: RedisFailure.Class): Outcome.Outcome => {
  switch (failed) {
    case "unavailable":
      return Outcome.failure()
    case "write-path":
      return kind === "write" ? Outcome.failure() : Outcome.success
    case "caller":
      return Outcome.success
    default:
      return Outcome.ignored
  }
}

/** An error of Effect's Redis as what a command of that name failed with. */
export const failureOf =
  (command: Sent) =>
  (error: Redis.RedisError): RedisFailure.RedisFailure =>
    RedisFailure.from(error, command.name, command.args)
