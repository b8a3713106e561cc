/** A keyed breaker as its users have it, around its circuits. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { OverrideMode, Transition } from "../../CircuitEvent.ts"
import type { InvalidOption } from "../../InvalidOption.ts"
import type { KeyedCircuitBreaker, KeyedTransition } from "../../KeyedCircuit.ts"
import type * as Outcome from "../../Outcome.ts"
import { ServiceUnavailable } from "../../ServiceUnavailable.ts"
import * as options from "../options.ts"
import * as keyedCircuits from "./keyedCircuits.ts"
import { overrideOf } from "./options.ts"
import * as circuitShell from "./shell.ts"
import * as snapshots from "./snapshot.ts"

/** The breaker around circuits that are made as calls come. */
export const make = (
  keyed: keyedCircuits.Keyed,
  classify: (exit: Exit.Exit<unknown, unknown>) => Outcome.Outcome
): KeyedCircuitBreaker => {
  const { shell } = keyed
  const { name } = shell
  return {
    name,
    execute: (key) => (self) => keyedCircuits.execute(keyed, key, self, classify),
    executeWith: (key, self, classify) => keyedCircuits.execute(keyed, key, self, classify),
    isOpen: (key) =>
      Effect.withFiber((fiber) => {
        const cell = keyed.cells.get(key)
        return Effect.succeed(cell !== undefined && circuitShell.isOpen(cell, fiber))
      }),
    orElse: (fallback) =>
      ServiceUnavailable.orElse((error) => {
        if (error.service === name && error.reason._tag === "CircuitOpen") shell.counters.fallback++
        return fallback(error)
      }),
    override: (key, mode, given) => override(keyed, key, mode, given),
    reset: (key) =>
      Effect.suspend(() => {
        const cell = keyed.cells.get(key)
        return cell === undefined ? Effect.void : circuitShell.reset(cell)
      }),
    snapshot: Effect.withFiber((fiber) => Effect.succeed(snapshots.ofKeys(keyed, fiber))),
    snapshotOf: (key) => Effect.withFiber((fiber) => Effect.succeed(snapshots.ofKey(keyed, key, fiber))),
    transitions: Stream.filter(Stream.fromPubSubTake(shell.hub), hasKey)
  }
}

const hasKey = (event: Transition): event is KeyedTransition => event.key !== undefined

const override = (
  keyed: keyedCircuits.Keyed,
  key: string,
  mode: OverrideMode,
  given: { readonly reason: string; readonly ttl: Duration.Input }
): Effect.Effect<void, InvalidOption> =>
  Effect.flatMap(overrideOf(keyed.shell.name, mode, given), (ttlMillis) =>
    Effect.uninterruptible(
      Effect.withFiber((fiber) => {
        const cell = keyedCircuits.reach(keyed, key, fiber)
        if (cell !== undefined) return circuitShell.override(cell, fiber, mode, given.reason, ttlMillis)
        const allowed = "more, so that there is room for the key"
        return options.invalid(keyed.shell.name, "maxKeys", keyed.maxKeys, allowed)
      })
    )
  )

/** The breaker that is switched off by configuration. */
export const switchedOff = (name: string): KeyedCircuitBreaker => ({
  name,
  execute: () => (self) => self,
  executeWith: (_key, self) => self,
  isOpen: () => Effect.succeed(false),
  orElse: (fallback) => ServiceUnavailable.orElse(fallback),
  override: () => options.invalid(name, "enabled", false, "true, so that there is a circuit to override"),
  reset: () => Effect.void,
  snapshot: Effect.succeed({
    name,
    enabled: false,
    keys: 0,
    closed: 0,
    open: 0,
    halfOpen: 0,
    openKeys: [],
    evicted: 0,
    untracked: 0,
    counts: { total: 0, successful: 0, failed: 0, ignored: 0, rejected: 0, fallback: 0 },
    lastFailureAtMillis: undefined
  }),
  snapshotOf: () => Effect.succeed(undefined),
  transitions: Stream.empty
})
