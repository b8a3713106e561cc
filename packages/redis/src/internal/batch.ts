/** Several commands in one go: a pipeline, whose items have each a fate of their own, or a transaction. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { Ambiguous, Outcome, type ServiceUnavailable } from "failsoft"
import type { Command } from "../Command.ts"
import * as RedisFailure from "../RedisFailure.ts"
import { forget } from "../state/held/Held.ts"
import type { Now } from "../state/MemoryStore.ts"
import {
  attempt,
  classifyRead,
  classifyWrite,
  type Engine,
  failedRead,
  failedWrite,
  failureOf,
  judge,
  mayHaveBeenApplied,
  note,
  nowOf,
  outcomeOf,
  type WriteError
} from "./engine.ts"
import type * as transport from "./transport.ts"

type Commands = ReadonlyArray<Command<unknown>>

type Items = ReadonlyArray<Result.Result<unknown, WriteError>>

/** Runs a pipeline. What cannot be sent is answered item by item as the commands alone would be. */
export const pipeline = (engine: Engine, commands: Commands): Effect.Effect<Items> =>
  Effect.withFiber((fiber) =>
    send(engine, commands, "pipeline").pipe(
      Effect.match({
        onSuccess: (fates) => {
          const now = nowOf(fiber)
          return commands.map((command, index) => itemOf(engine, command, fates[index], now))
        },
        onFailure: (error) => {
          const now = nowOf(fiber)
          return commands.map((command) => failedItem(engine, command, error, now))
        }
      }),
      Effect.tap(() => afterwards(engine, commands))
    )
  )

/** Runs a transaction: all commands are applied, or none. It has no degraded form. */
export const transaction = (engine: Engine, commands: Commands): Effect.Effect<Items, WriteError> =>
  Effect.withFiber((fiber) =>
    send(engine, commands, "transaction").pipe(
      Effect.map((fates) => {
        const now = nowOf(fiber)
        return commands.map((command, index) => itemOf(engine, command, fates[index], now))
      }),
      Effect.tap(() => afterwards(engine, commands)),
      Effect.catch((error) => Effect.fail(failedTransaction(engine, commands, error)))
    )
  )

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

/** What an answer of the server sets going while writes are held. */
const afterwards = (engine: Engine, commands: Commands): Effect.Effect<void> =>
  engine.held.written.size === 0 ? Effect.void : engine.answered(kindOf(commands))
