/** The client of `ResilientRedis` on its engine. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import { Ambiguous, Health, Unsupported } from "failsoft"
import * as Command from "../Command.ts"
import type { WriteError } from "../RedisViews.ts"
import type { Client, RedisHealth } from "../ResilientRedis.ts"
import * as batch from "./batch.ts"
import { attempt, type Engine, read, write } from "./engine.ts"
import * as metrics from "./metrics.ts"
import { disconnected } from "./transport.ts"
import { classifyWrite, failureOf, judge, mayHaveBeenApplied } from "./verdict.ts"
import * as views from "./views.ts"

/** The client that users see. */
export const make = (engine: Engine): Client => ({
  ...views.strict(engine),
  ...views.served(engine),
  lenient: views.lenient(engine),
  setGet: (key, value, options) => write(engine, Command.setGet(key, value, options), (before) => before),
  ping: read(engine, Command.ping, () => undefined),
  time: read(engine, Command.time, (millis) => millis ?? Number.NaN),
  pipeline: pipelineOf(engine),
  multi: transactionOf(engine),
  use: (operation, f) => use(engine, operation, f),
  health: healthOf(engine)
})

function pipelineOf(engine: Engine): Client["pipeline"]
function pipelineOf(engine: Engine) {
  return (commands: ReadonlyArray<Command.Command<unknown>>) => batch.pipeline(engine, commands)
}

function transactionOf(engine: Engine): Client["multi"]
function transactionOf(engine: Engine) {
  return (commands: ReadonlyArray<Command.Command<unknown>>) => batch.transaction(engine, commands)
}

const use = <A>(
  engine: Engine,
  operation: string,
  f: (redis: Redis.Redis["Service"]) => Effect.Effect<A, Redis.RedisError>
): Effect.Effect<A, WriteError | Unsupported> => {
  const sent = Effect.mapError(
    Effect.suspend(() => engine.slot.current.use(f)),
    (error) => (error instanceof Unsupported ? error : failureOf({ name: operation, args: [] })(error))
  )
  return Effect.mapError(attempt(engine, engine.writes, sent, classifyWrite), (error) => {
    if (error instanceof Unsupported) return new Unsupported({ service: error.service, operation })
    return mayHaveBeenApplied(error)
      ? new Ambiguous({ service: engine.name, operation, cause: error })
      : judge(engine, error)
  })
}

/** Tells of the client in the health and the metrics of the application, beside its two circuits. */
export const register = (
  engine: Engine,
  { enabled }: { readonly enabled: boolean }
): Effect.Effect<void, never, Scope.Scope> => {
  const { name, slot } = engine
  const layer = Effect.map(healthOf(engine), ({ degraded_mode }) => ({
    name,
    enabled,
    built: slot.current !== disconnected,
    degraded: degraded_mode,
    sinceMillis: slot.sinceMillis,
    circuit: undefined
  }))
  const known = Health.register({ _tag: "Layer", name, layer })
  return enabled ? Effect.andThen(known, metrics.register(engine, healthOf(engine))) : known
}

const states: ReadonlyArray<Health.CircuitState> = ["closed", "half_open", "open"]

const healthOf = (engine: Engine): Effect.Effect<RedisHealth> =>
  Effect.gen(function* () {
    const circuits = [yield* engine.reads.snapshot, yield* engine.writes.snapshot]
    const isConnected = yield* engine.slot.current.isConnected
    const sum = (count: (circuit: Health.CircuitSnapshot) => number): number =>
      circuits.reduce((total, circuit) => total + count(circuit), 0)
    const state = states[Math.max(...circuits.map((circuit) => states.indexOf(circuit.state)))] ?? "closed"
    const failures = circuits.flatMap(({ lastFailureAtMillis }) => lastFailureAtMillis ?? [])
    const { held } = engine
    return {
      redis_available: isConnected && state !== "open",
      circuit_breaker: {
        state,
        failure_count: sum(({ failuresInARow }) => failuresInARow),
        total_calls: sum(({ counts }) => counts.total),
        successful_calls: sum(({ counts }) => counts.successful),
        failed_calls: sum(({ counts }) => counts.failed),
        fallback_calls: engine.counts.fallbacks,
        cache_hits: engine.counts.hits,
        cache_misses: engine.counts.misses,
        cache_size: held.seen.size + held.written.size,
        last_failure_time:
          failures.length === 0 ? null : DateTime.formatIso(DateTime.makeUnsafe(Math.max(...failures)))
      },
      degraded_mode: !isConnected || state !== "closed"
    }
  })
