/**
 * Many circuits under one shell, one for each key, and no more of them than there may be.
 *
 * Nothing runs in the background. A new key that finds no room looks at a few of the others, in turn, and takes the place of
 * one that may be forgotten. A call holds the circuit that admitted it, so it never settles into the one of a key that was
 * forgotten meanwhile and came back.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as MutableRef from "effect/MutableRef"
import * as Ref from "effect/Ref"
import type * as Outcome from "../../Outcome.ts"
import type { ServiceUnavailable } from "../../ServiceUnavailable.ts"
import * as Circuit from "../../state/Circuit.ts"
import * as Eviction from "../../state/Eviction.ts"
import { monotonicMillis } from "../clock.ts"
import * as circuitShell from "./shell.ts"
import type { Cell, Shell } from "./tell.ts"

/** The circuits of a keyed breaker. */
export interface Keyed {
  readonly shell: Shell
  readonly maxKeys: number
  readonly idleMillis: number
  readonly madeAtMillis: number
  readonly cells: Map<string, Cell>
  /** What every new circuit begins with. Without windows, which change in place, they can share it. */
  readonly blank: () => Circuit.Circuit
  /** What becomes of a circuit that is forgotten: no permit is of its generation. */
  readonly gone: Circuit.Circuit
  /** Goes round all circuits, in the order in which they were made. */
  hand: Iterator<readonly [string, Cell], undefined>
  evicted: number
  untracked: number
}

/** How many circuits a new key that finds no room looks at. */
const looks = 16

/** No circuits yet. */
export const make = (
  shell: Shell,
  maxKeys: number,
  idleMillis: number,
  fiber: Fiber.Fiber<unknown, unknown>
): Keyed => {
  const cells = new Map<string, Cell>()
  const first = Circuit.initial(shell.config)
  const isShared = first._tag === "Closed" && first.watches.length === 0
  return {
    shell,
    maxKeys,
    idleMillis,
    madeAtMillis: monotonicMillis(fiber),
    cells,
    blank: () => (isShared ? first : Circuit.initial(shell.config)),
    gone: Circuit.initial(shell.config, Number.NaN),
    hand: cells.entries(),
    evicted: 0,
    untracked: 0
  }
}

/** Runs a call through the circuit of its key, or without one when there is no room for it. */
export const execute = <A, E, R>(
  keyed: Keyed,
  key: string,
  self: Effect.Effect<A, E, R>,
  classify: (exit: Exit.Exit<A, E>) => Outcome.Outcome
): Effect.Effect<A, E | ServiceUnavailable, R> =>
  Effect.withFiber((fiber) => {
    const cell = reach(keyed, key, fiber)
    // In this very step, so that no other key takes the place of a circuit that no call has entered yet.
    if (cell !== undefined) return circuitShell.enter(cell, fiber, self, classify)
    keyed.untracked++
    return self
  })

/** The circuit of a key, made if need be; `undefined` when there is no room for it. */
export const reach = (keyed: Keyed, key: string, fiber: Fiber.Fiber<unknown, unknown>): Cell | undefined => {
  const nowMillis = monotonicMillis(fiber)
  let cell = keyed.cells.get(key)
  if (cell === undefined) {
    if (keyed.cells.size >= keyed.maxKeys && !makeRoom(keyed, nowMillis)) return undefined
    cell = circuitShell.cell(keyed.shell, keyed.blank(), key)
    keyed.cells.set(key, cell)
  }
  // A small whole number, which takes up no room of its own; rounded up, so that no key is forgotten too early.
  cell.calledAfterMillis = Math.ceil(nowMillis - keyed.madeAtMillis)
  return cell
}

/** Forgets one of the next few circuits: the first that knows nothing, else the first that no call has come to for long. */
const makeRoom = (keyed: Keyed, nowMillis: number): boolean => {
  const { config } = keyed.shell
  let idle: string | undefined
  for (let looked = 0; looked < looks && looked < keyed.maxKeys; looked++) {
    const entry = next(keyed)
    if (entry === undefined) break
    const [key, cell] = entry
    const circuit = Ref.getUnsafe(cell.state)
    if (circuitShell.overrideAt(cell, nowMillis) !== undefined) continue
    if (cell.inFlight === 0 && Eviction.isBlank(config, circuit, nowMillis)) return evict(keyed, key, cell)
    const calledAtMillis = keyed.madeAtMillis + cell.calledAfterMillis
    const idleAtMillis = Eviction.idleAtMillis(config, circuit, calledAtMillis, keyed.idleMillis)
    if (nowMillis >= idleAtMillis) idle ??= key
  }
  const cell = idle === undefined ? undefined : keyed.cells.get(idle)
  return idle !== undefined && cell !== undefined && evict(keyed, idle, cell)
}

const next = (keyed: Keyed): readonly [string, Cell] | undefined => {
  const ahead = keyed.hand.next().value
  if (ahead !== undefined) return ahead
  keyed.hand = keyed.cells.entries()
  return keyed.hand.next().value
}

const evict = (keyed: Keyed, key: string, cell: Cell): true => {
  keyed.cells.delete(key)
  MutableRef.set(cell.state.ref, keyed.gone)
  cell.prober?.interruptUnsafe()
  keyed.evicted++
  return true
}
