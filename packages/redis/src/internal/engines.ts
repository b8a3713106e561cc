/** Makes the engine of a `ResilientRedis`: its circuits, its retry, what it holds, and what happens on return. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CircuitBreaker, InvalidOption, PolicyEvent, Retry } from "failsoft"
import * as Command from "../Command.ts"
import type { Options } from "../ResilientRedis.ts"
import * as Held from "../state/held/Held.ts"
import { discard, takeWrites } from "../state/held/hold.ts"
import { attempt, classifyRead, classifyWrite, type Engine, nowOf } from "./engine.ts"
import type { Slot } from "./transport.ts"

/** Made when Redis is switched off: nothing is asked of it, so nothing opens, probes or retries. */
type State = "on" | "off"

/** Makes the engine of one `ResilientRedis`, which lives as long as the scope. */
export const make = Effect.fnUntraced(function* (given: Options, slot: Slot, state: State) {
  const name = given.name ?? "redis"
  const { perSecond, ...settings } = yield* validate(name, given)
  const enabled = state === "on"
  const every = given.probeEvery ?? "5 seconds"
  const breaker = { ...given.breaker, ...(enabled ? {} : { enabled }) }
  const probeBy = (command: Command.Command<unknown>) => ({
    every,
    effect: Effect.suspend(() => slot.current.send(command))
  })
  const reads = yield* CircuitBreaker.make({
    ...breaker,
    name: `${name}-read`,
    classify: classifyRead,
    probe: probeBy(Command.ping)
  })
  const writes = yield* CircuitBreaker.make({
    ...breaker,
    name: `${name}-write`,
    classify: classifyWrite,
    probe: probeBy(writeProbe)
  })
  const retry = yield* Retry.make({
    attempts: 2,
    schedule: Retry.exponential({ base: "50 millis", cap: "500 millis" }),
    ...given.retry,
    ...(enabled ? {} : { enabled }),
    name
  })
  const scope = yield* Effect.scope
  let verifying = false
  const engine: Engine = {
    ...settings,
    name,
    slot,
    reads,
    writes,
    retry,
    counts: { hits: 0, misses: 0, fallbacks: 0 },
    refusesWrites: false,
    replaying: new Map(),
    answered: (kind) =>
      Effect.flatMap(writes.snapshot, ({ state }) => {
        if (state !== "closed" || verifying) return Effect.void
        if (kind === "write") return giveBack
        // Reads are served, so writes may be: one is tried, apart from the caller.
        verifying = true
        return attempt(engine, writes, probeBy(writeProbe).effect, classifyWrite).pipe(
          Effect.andThen(giveBack),
          Effect.ignore,
          Effect.ensuring(
            Effect.sync(() => {
              verifying = false
            })
          ),
          Effect.forkIn(scope),
          Effect.asVoid
        )
      })
  }
  const giveBack = yield* givingBack(engine, perSecond, scope)
  yield* writes.transitions.pipe(
    Stream.filter(({ _tag }) => _tag === "CircuitClosed"),
    Stream.runForEach(() => giveBack),
    Effect.forkScoped
  )
  return engine
})

/** A write that leaves nothing behind, and that a server which is full or only reads refuses. */
const writeProbe = Command.set("failsoft:probe", "", { expireIn: "1 millis" })

/** What happens to held writes when Redis is back. */
const givingBack = (
  engine: Engine,
  perSecond: number | undefined,
  scope: Scope.Scope
): Effect.Effect<Effect.Effect<void>> =>
  Effect.gen(function* () {
    const { emit } = yield* PolicyEvent.emitter
    const atMillis = Effect.withFiber((fiber) => Effect.succeed(nowOf(fiber).wallMillis))
    if (perSecond === undefined) {
      return Effect.suspend(() => {
        const count = discard(engine.held)
        return count === 0
          ? Effect.void
          : Effect.flatMap(atMillis, (at) =>
              emit({ _tag: "HeldWritesDiscarded", policy: engine.name, atMillis: at, count })
            )
      })
    }
    const send = replay(engine, Duration.millis(1000 / perSecond)).pipe(
      Effect.flatMap(([count, lost]) =>
        Effect.flatMap(atMillis, (at) =>
          emit({ _tag: "HeldWritesReplayed", policy: engine.name, atMillis: at, count, lost })
        )
      )
    )
    return Effect.withFiber((fiber) => {
      if (engine.held.written.size === 0) return Effect.void
      const isUnderWay = engine.replaying.size > 0
      for (const [key, commands] of takeWrites(engine.held, nowOf(fiber))) {
        engine.replaying.delete(key)
        engine.replaying.set(key, commands)
      }
      return isUnderWay ? Effect.void : Effect.asVoid(Effect.forkIn(send, scope))
    })
  })

/** Sends held writes one after another, until none is left; a key that was written meanwhile is left out. */
const replay = (
  engine: Engine,
  pause: Duration.Duration
): Effect.Effect<readonly [count: number, lost: number]> =>
  Effect.gen(function* () {
    let count = 0
    let lost = 0
    for (let next = takeFirst(engine.replaying); next !== undefined; next = takeFirst(engine.replaying)) {
      const sent = engine.slot.current.send(next)
      const exit = yield* Effect.exit(attempt(engine, engine.writes, sent, classifyWrite))
      if (exit._tag === "Success") count++
      else lost++
      yield* Effect.sleep(pause)
    }
    return [count, lost] as const
  })

const takeFirst = (replaying: Engine["replaying"]) => {
  for (const [key, [first, ...rest]] of replaying) {
    if (rest.length === 0) replaying.delete(key)
    else replaying.set(key, rest)
    if (first !== undefined) return first
  }
  return undefined
}

const validate = Effect.fnUntraced(function* (name: string, given: Options) {
  const { maxBytes = 2 ** 24, maxEntries = 1000, maxStale = "5 minutes" } = given.held ?? {}
  const perSecond = typeof given.onReturn === "object" ? given.onReturn.replayPerSecond : undefined
  const whole = (option: string, value: number, min: number, max: number) =>
    Number.isInteger(value) && value >= min && value <= max
      ? Effect.void
      : invalid(name, option, value, `a whole number from ${min} to ${max}`)
  yield* whole("held.maxEntries", maxEntries, 1, 10_000_000)
  yield* whole("held.maxBytes", maxBytes, 1024, 2 ** 40)
  if (perSecond !== undefined && !(perSecond > 0 && perSecond <= 1_000_000)) {
    return yield* invalid(name, "onReturn.replayPerSecond", perSecond, "a number above 0, at most 1000000")
  }
  return {
    perSecond,
    whileAway: yield* oneOf(name, "whileAway", given.whileAway ?? "memory", ["memory", "readonly", "fail"]),
    holdsConditional:
      (yield* oneOf(name, "conditionalWrites", given.conditionalWrites ?? "fail", ["fail", "local"])) ===
      "local",
    timeout: Duration.millis(yield* millis(name, "commandTimeout", given.commandTimeout ?? "5 seconds")),
    held: Held.make({
      maxEntries,
      maxBytes,
      maxStaleMillis: yield* millis(name, "held.maxStale", maxStale),
      keepWrites: perSecond !== undefined
    })
  }
})

const millis = (
  name: string,
  option: string,
  value: Duration.Input
): Effect.Effect<number, InvalidOption> => {
  const result = Duration.toMillis(Duration.fromInputUnsafe(value))
  return result > 0 && result <= Duration.toMillis("24 days")
    ? Effect.succeed(result)
    : invalid(
        name,
        option,
        Duration.format(Duration.millis(result)),
        "a duration longer than 0 and at most 24d"
      )
}

const oneOf = <A extends string>(
  name: string,
  option: string,
  value: A,
  allowed: ReadonlyArray<A>
): Effect.Effect<A, InvalidOption> =>
  allowed.includes(value) ? Effect.succeed(value) : invalid(name, option, value, allowed.join(", "))

const invalid = (
  policy: string,
  option: string,
  value: unknown,
  allowed: string
): Effect.Effect<never, InvalidOption> =>
  Effect.fail(new InvalidOption({ policy, option, value: String(value), allowed }))
