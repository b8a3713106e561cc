/** What a failure says: about the server, about the fate of a command, and to the caller. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import type * as Redis from "effect/persistence/Redis"
import { Misconfigured, Outcome, ServiceUnavailable, UnavailableReason } from "failsoft"
import type { Command } from "../Command.ts"
import * as RedisFailure from "../RedisFailure.ts"
import type { ReadError } from "../RedisViews.ts"
import type { Sent } from "./transport.ts"

/** What sending a command may fail with. */
export type LiveError = ServiceUnavailable | RedisFailure.RedisFailure

/** What remembers how the server refused us. */
export interface Hearer {
  readonly name: string
  /** The code with which the server refuses us as we are set up, if that is what was last heard of it. */
  refusal: string | undefined
}

/** Whether a command that failed so is tried again. */
export const mayRepeat = (error: LiveError): boolean =>
  error instanceof RedisFailure.RedisFailure &&
  error.mayRepeat &&
  (error.class === "unavailable" || error.class === "transient")

/**
 * A time limit of ours that ends a command under way, as the failure that the client's own would be: whether the command
 * may be sent again is the same question.
 */
export const expiryOf =
  (command: Sent) =>
  (error: LiveError): LiveError =>
    error instanceof ServiceUnavailable && mayHaveBeenApplied(error)
      ? RedisFailure.from(new Error("Command timed out"), command.name, command.args)
      : error

/**
 * What an error means to the caller: an outage, whatever the words of it, or a mistake that no fallback may hide.
 *
 * A refusal says nothing for or against the server, so a circuit that was open when it came stays half-open. What is
 * rejected then would have been refused.
 */
export const judge = (engine: Hearer, error: LiveError): ReadError => {
  hear(engine, error)
  if (error instanceof ServiceUnavailable) {
    return engine.refusal !== undefined && isRejection(error) ? misconfigured(engine, engine.refusal) : error
  }
  switch (error.class) {
    case "misconfigured":
      return misconfigured(engine, error.code)
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

const misconfigured = (engine: Hearer, code: string): Misconfigured =>
  new Misconfigured({ service: engine.name, problem: `the server answers ${code}` })

/** Keeps in mind whether the server refuses us altogether, and not only a command or a key. */
export const hear = (engine: Hearer, error: unknown): void => {
  const last = error instanceof ServiceUnavailable ? lastErrorOf(error) : error
  if (last instanceof RedisFailure.RedisFailure) {
    engine.refusal = last.class === "misconfigured" && last.code !== "NOPERM" ? last.code : undefined
  }
}

/** The failure of the last attempt. */
export const lastErrorOf = (error: LiveError): unknown =>
  error instanceof ServiceUnavailable && error.reason._tag === "RetriesExhausted"
    ? error.reason.lastError
    : error

/** Whether a circuit kept the call from being sent. */
export const isRejection = (error: unknown): boolean =>
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

/** Whether the server serves reads, and no writes. */
export const isRefusal = (error: LiveError): boolean => {
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
