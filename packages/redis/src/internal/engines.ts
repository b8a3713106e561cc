/** Makes the engine of a `ResilientRedis`: its circuits, its retry, and what it holds. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { CircuitBreaker, InvalidOption, Metrics, Retry } from "failsoft"
import * as Command from "../Command.ts"
import type { Options } from "../ResilientRedis.ts"
import * as Held from "../state/held/Held.ts"
import * as comeback from "./comeback.ts"
import type { Engine } from "./engine.ts"
import * as metrics from "./metrics.ts"
import * as options from "./options.ts"
import type { Slot } from "./transport.ts"
import { classifyRead, classifyWrite, hear, isRefusal } from "./verdict.ts"

/** Made when Redis is switched off: nothing is asked of it, so nothing opens, probes or retries. */
type State = "on" | "off"

/** Makes the engine of one `ResilientRedis`, which lives as long as the scope. */
export const make = Effect.fnUntraced(function* (given: Options, slot: Slot, state: State) {
  const name = given.name ?? "redis"
  const { every, perSecond, ...settings } = yield* validate(name, given)
  const enabled = state === "on"
  const breaker = { ...given.breaker, ...(enabled ? {} : { enabled }) }
  const probeBy = (command: Command.Command<unknown>) =>
    Effect.suspend(() => slot.current.send(command)).pipe(
      // A server that denies us this key, or this command, is there.
      Effect.catchIf(
        ({ code }) => code === "NOPERM",
        () => Effect.void
      ),
      Effect.tapError((error) =>
        Effect.sync(() => {
          hear(engine, error)
          if (command.kind === "write") engine.refusesWrites = isRefusal(error)
        })
      ),
      Effect.tap(
        Effect.sync(() => {
          engine.refusal = undefined
          if (command.kind === "write") engine.refusesWrites = false
        })
      )
    )
  const reads = yield* CircuitBreaker.make({
    ...breaker,
    name: `${name}-read`,
    classify: classifyRead,
    probe: { effect: probeBy(Command.ping), every }
  }).pipe(ofStage(name, "breaker"))
  const probe = probeBy(writeProbe)
  const writes = yield* CircuitBreaker.make({
    ...breaker,
    name: `${name}-write`,
    classify: classifyWrite,
    probe: { effect: probe, every }
  }).pipe(ofStage(name, "breaker"))
  const retry = yield* Retry.make({
    attempts: 2,
    schedule: Retry.exponential({ base: "50 millis", cap: "500 millis" }),
    ...given.retry,
    ...(enabled ? {} : { enabled }),
    name
  }).pipe(ofStage(name, "retry"), Effect.provideService(Metrics.CountedAround, [metrics.firstAttempts]))
  const engine: Engine = {
    ...settings,
    name,
    slot,
    reads,
    writes,
    retry,
    counts: { begun: 0, hits: 0, misses: 0, fallbacks: 0 },
    answers: { stale: 0, local: 0, fallback: 0 },
    refusesWrites: false,
    refusal: undefined,
    answered: (kind) => back.answered(kind),
    wasHeld: enabled ? Effect.suspend(() => back.wasHeld) : Effect.void
  }
  const back = yield* comeback.make(engine, { perSecond, probe, every })
  yield* writes.transitions.pipe(
    Stream.filter(({ _tag }) => _tag === "CircuitClosed" || _tag === "CircuitReset"),
    Stream.runForEach(() => back.giveBack),
    Effect.forkScoped
  )
  return engine
})

/** A write that leaves nothing behind, and that a server which is full or only reads refuses. */
const writeProbe = Command.set("failsoft:probe", "", { expireIn: "1 millis" })

/** Names an option of a stage as it is named here. */
const ofStage =
  (policy: string, stage: string) =>
  <A, R>(made: Effect.Effect<A, InvalidOption, R>): Effect.Effect<A, InvalidOption, R> =>
    Effect.mapError(
      made,
      ({ allowed, option, value }) =>
        new InvalidOption({ policy, option: `${stage}.${option}`, value, allowed })
    )

const validate = Effect.fnUntraced(function* (name: string, given: Options) {
  const { maxBytes = 2 ** 24, maxEntries = 1000, maxStale = "5 minutes" } = given.held ?? {}
  const perSecond = typeof given.onReturn === "object" ? given.onReturn.replayPerSecond : undefined
  if (name === "") return yield* options.invalid("policy", "name", '""', "a name that is not empty")
  yield* options.integer(name, "held.maxEntries", maxEntries, 1, 10_000_000)
  yield* options.integer(name, "held.maxBytes", maxBytes, 1024, 2 ** 40)
  if (perSecond !== undefined && !(perSecond > 0 && perSecond <= 1_000_000)) {
    return yield* options.invalid(
      name,
      "onReturn.replayPerSecond",
      perSecond,
      "a number above 0, at most 1000000"
    )
  }
  return {
    perSecond,
    every: Duration.millis(yield* options.millis(name, "probeEvery", given.probeEvery ?? "5 seconds")),
    whileAway: yield* options.oneOf(name, "whileAway", given.whileAway ?? "memory", [
      "memory",
      "readonly",
      "fail"
    ]),
    holdsConditional:
      (yield* options.oneOf(name, "conditionalWrites", given.conditionalWrites ?? "fail", [
        "fail",
        "local"
      ])) === "local",
    timeout: Duration.millis(
      yield* options.millis(name, "commandTimeout", given.commandTimeout ?? "5 seconds")
    ),
    held: Held.make({
      maxEntries,
      maxBytes,
      maxStaleMillis: yield* options.millis(name, "held.maxStale", maxStale),
      keepWrites: perSecond !== undefined
    })
  }
})
