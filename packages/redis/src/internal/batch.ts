/** Several commands in one go: a pipeline, whose items have each a fate of their own, or a transaction. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { Ambiguous, Outcome, type ServiceUnavailable } from "failsoft"
import type { Command } from "../Command.ts"
import * as RedisFailure from "../RedisFailure.ts"
import type { WriteError } from "../RedisViews.ts"
import { split } from "../state/held/answer.ts"
import { forget } from "../state/held/Held.ts"
import type { Now } from "../state/MemoryStore.ts"
import { attempt, type Engine, failedRead, failedWrite, note, nowOf, served } from "./engine.ts"
import type * as transport from "./transport.ts"
import {
  classifyRead,
  classifyWrite,
  failureOf,
  isRejection,
  judge,
  mayHaveBeenApplied,
  outcomeOf
} from "./verdict.ts"

type Commands = ReadonlyArray<Command<unknown>>

type Items = ReadonlyArray<Result.Result<unknown, WriteError>>

/** Runs a pipeline. What cannot be sent is answered item by item as the commands alone would be. */
export const pipeline = (engine: Engine, commands: Commands): Effect.Effect<Items> =>
  Effect.withFiber((fiber) =>
    Effect.matchEffect(send(engine, commands, "pipeline"), {
      onSuccess: (fates) => {
        const now = nowOf(fiber)
        const items = commands.map(
          (command, index) => writtenItem(engine, command, now) ?? itemOf(engine, command, fates[index], now)
        )
        return Effect.as(afterwards(engine, commands, fates), items)
      },
      onFailure: (error) => {
        const now = nowOf(fiber)
        const { fallbacks } = engine.counts
        // A server that refuses writes may still serve the reads among them.
        const sendsReads = isRejection(error) && kindOf(commands) === "write"
        const reads = sendsReads ? commands.filter(isRead) : []
        const items = commands.map((command) =>
          sendsReads && isRead(command) ? undefined : failedItem(engine, command, error, now)
        )
        // However many were answered, the circuit rejected one call.
        engine.counts.fallbacks = Math.min(engine.counts.fallbacks, fallbacks + 1)
        return Effect.map(Effect.andThen(engine.wasHeld, pipeline(engine, reads)), (answers) => {
          const rest = answers.values()
          return items.flatMap((item) => item ?? rest.next().value ?? [])
        })
      }
    })
  )

/** Runs a transaction: all commands are applied, or none. It has no degraded form. */
export const transaction = (engine: Engine, commands: Commands): Effect.Effect<Items, WriteError> =>
  Effect.withFiber((fiber) =>
    Effect.matchEffect(send(engine, commands, "transaction"), {
      onSuccess: (fates) => {
        const now = nowOf(fiber)
        const items = commands.map((command, index) => itemOf(engine, command, fates[index], now))
        return Effect.as(afterwards(engine, commands, fates), items)
      },
      onFailure: (error) => Effect.fail(failedTransaction(engine, commands, error))
    })
  )

const isRead = ({ kind }: Command<unknown>): boolean => kind === "read"

const kindOf = (commands: Commands): "read" | "write" =>
  commands.some(({ kind }) => kind === "write") ? "write" : "read"

const send = (
  engine: Engine,
  commands: Commands,
  how: "pipeline" | "transaction"
): Effect.Effect<ReadonlyArray<transport.Fate>, ServiceUnavailable | RedisFailure.RedisFailure> => {
  if (commands.length === 0) return Effect.succeed([])
  const kind = kindOf(commands)
  const whole = { name: how === "pipeline" ? "PIPELINE" : "EXEC", args: [] }
  return attempt(
    engine,
    kind === "write" ? engine.writes : engine.reads,
    Effect.mapError(engine.slot.current.sendAll(commands, how), failureOf(whole)),
    (exit) =>
      Exit.isSuccess(exit)
        ? worst(commands.map((command, index) => outcomeOfItem(kind, command, exit.value[index])))
        : kind === "write"
          ? classifyWrite(exit)
          : classifyRead(exit)
  ).pipe(Effect.onInterrupt(() => Effect.sync(() => forgetAll(engine, commands))))
}

const forgetAll = (engine: Engine, commands: Commands): void => {
  for (const command of commands) if (command.kind === "write") forget(engine.held, command)
}

const outcomeOfItem = (
  kind: "read" | "write",
  { args, name }: Command<unknown>,
  fate: transport.Fate | undefined
): Outcome.Outcome =>
  fate !== undefined && "reply" in fate
    ? Outcome.success
    : outcomeOf(kind, RedisFailure.from(fate?.error, name, args).class)

const worst = (outcomes: ReadonlyArray<Outcome.Outcome>): Outcome.Outcome =>
  outcomes.find(({ _tag }) => _tag === "Failure") ??
  outcomes.find(({ _tag }) => _tag === "Success") ??
  Outcome.ignored

/** A read of what was written here, which the server does not know of yet. */
const writtenItem = (engine: Engine, command: Command<unknown>, now: Now): Items[number] | undefined => {
  if (command.kind === "write" || engine.held.written.size === 0) return undefined
  const known = split(engine.held, command, now)
  return known === undefined || known.asked !== undefined
    ? undefined
    : served(engine, command, { reply: known.join(null), source: "local", ageMillis: 0 }, itself)
}

const itemOf = (
  engine: Engine,
  command: Command<unknown>,
  fate: transport.Fate | undefined,
  now: Now
): Items[number] => {
  if (fate !== undefined && "reply" in fate) {
    note(engine, command, fate.reply, now)
    return Result.succeed(command.decode(fate.reply))
  }
  return failedItem(engine, command, RedisFailure.from(fate?.error, command.name, command.args), now)
}

const failedItem = (
  engine: Engine,
  command: Command<unknown>,
  error: ServiceUnavailable | RedisFailure.RedisFailure,
  now: Now
): Items[number] => {
  if (command.kind === "read") return failedRead(engine, command, error, now, itself)
  const mayBeApplied = error instanceof RedisFailure.RedisFailure && error.mayBeApplied
  return failedWrite(engine, command, error, { mayBeApplied }, now, itself)
}

const itself = (value: unknown): unknown => value

const failedTransaction = (
  engine: Engine,
  commands: Commands,
  error: ServiceUnavailable | RedisFailure.RedisFailure
): WriteError => {
  if (kindOf(commands) === "write" && mayHaveBeenApplied(error)) {
    forgetAll(engine, commands)
    return new Ambiguous({ service: engine.name, operation: "EXEC", cause: error })
  }
  return judge(engine, error)
}

/** What answers of the server, and writes that were held without one, set going. */
const afterwards = (
  engine: Engine,
  commands: Commands,
  fates: ReadonlyArray<transport.Fate>
): Effect.Effect<void> => {
  if (engine.held.written.size === 0) return Effect.void
  const answered = commands.filter((_, index) => "reply" in (fates[index] ?? {}))
  return answered.length === 0 ? engine.wasHeld : engine.answered(kindOf(answered))
}
