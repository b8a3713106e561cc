/**
 * A service put together from two sides: each of its members chooses a side when it runs, not when it is taken.
 *
 * Effects, streams and functions to these are switched, wherever they stand: on the object, on a class, behind a getter.
 * Anything else is data, and is the degraded side's.
 */
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/** The two sides of a service. */
export interface Sides<S> {
  readonly degraded: S
  /** The primary if it is there, else the degraded service. */
  readonly present: () => S
  /** Runs something on the side that serves. */
  readonly run: <A, E, R>(f: (service: S) => Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** The service that switches; `guarded` holds the members that are given and not derived. */
export const switched = <S extends object>(
  sides: Sides<S>,
  guarded: ReadonlyMap<PropertyKey, unknown>
): S => {
  // The prototype stays, so that the service is still an instance of its class.
  const service: S = Object.create(Object.getPrototypeOf(sides.degraded))
  for (const [key, descriptor] of membersOf(sides.degraded)) {
    Object.defineProperty(service, key, switchedMember(sides, key, descriptor))
  }
  for (const [key, value] of guarded) {
    Object.defineProperty(service, key, { value, enumerable: true, configurable: true })
  }
  return service
}

/** The members of an object and of the classes above it; the nearest of a name counts. */
const membersOf = (service: object): ReadonlyMap<PropertyKey, PropertyDescriptor> => {
  const members = new Map<PropertyKey, PropertyDescriptor>()
  for (
    let owner: object | null = service;
    owner !== null && owner !== Object.prototype;
    owner = Object.getPrototypeOf(owner)
  ) {
    for (const key of Reflect.ownKeys(owner)) {
      const descriptor = Object.getOwnPropertyDescriptor(owner, key)
      if (key !== "constructor" && descriptor !== undefined && !members.has(key)) members.set(key, descriptor)
    }
  }
  return members
}

const switchedMember = <S extends object>(
  sides: Sides<S>,
  key: PropertyKey,
  { enumerable, get, set, value }: PropertyDescriptor
): PropertyDescriptor =>
  get === undefined && set === undefined
    ? { value: switchedValue(sides, key, value), enumerable: enumerable === true, configurable: true }
    : {
        // Read at each access, as the getter itself is.
        get: () => switchedValue(sides, key, read(sides.degraded, key)),
        enumerable: enumerable === true,
        configurable: true
      }

const switchedValue = <S extends object>(sides: Sides<S>, key: PropertyKey, value: unknown): unknown => {
  if (isClass(value)) return value
  if (typeof value === "function") return switchedFunction(sides, key)
  return Effect.isEffect(value) || Stream.isStream(value)
    ? switchedResult(sides, key, (service) => read(service, key), Stream.isStream(value))
    : value
}

const read = (service: object, key: PropertyKey): unknown => Reflect.get(service, key)

/** A class is data. Unlike that of a function, its prototype cannot be replaced. */
const isClass = (value: unknown): boolean =>
  typeof value === "function" && Object.getOwnPropertyDescriptor(value, "prototype")?.writable === false

/**
 * What a function returns shows when it is first called, and holds for good. That call asks the side that is there, and uses
 * what it got if that side serves: only making an effect or a stream may be done in vain, and runs neither.
 */
const switchedFunction = <S extends object>(sides: Sides<S>, key: PropertyKey) => {
  let isStream: boolean | undefined
  return (...args: ReadonlyArray<unknown>): unknown => {
    const call = (service: S): unknown => {
      const member = read(service, key)
      return typeof member === "function" ? Reflect.apply(member, service, args) : member
    }
    if (isStream !== undefined) return switchedResult(sides, key, call, isStream)
    const present = sides.present()
    const made = call(present)
    isStream = Stream.isStream(made)
    return switchedResult(sides, key, (service) => (service === present ? made : call(service)), isStream)
  }
}

const switchedResult = <S extends object>(
  sides: Sides<S>,
  key: PropertyKey,
  get: (service: S) => unknown,
  isStream: boolean
): unknown => (isStream ? switchedStream(sides, key, get) : switchedEffect(sides, key, get))

const switchedEffect = <S extends object>(
  sides: Sides<S>,
  key: PropertyKey,
  get: (service: S) => unknown
): Effect.Effect<unknown, unknown, unknown> =>
  sides.run((service): Effect.Effect<unknown, unknown, unknown> => {
    const effect = get(service)
    return Effect.isEffect(effect) ? effect : unswitchable(key)
  })

const switchedStream = <S extends object>(
  sides: Sides<S>,
  key: PropertyKey,
  get: (service: S) => unknown
): Stream.Stream<unknown, unknown, unknown> =>
  Stream.unwrap(
    sides.run((service): Effect.Effect<Stream.Stream<unknown, unknown, unknown>, unknown, unknown> => {
      const stream = get(service)
      return Stream.isStream(stream) ? begun(stream) : unswitchable(key)
    })
  )

/** The types rule this out, but for a function with overloads. */
const unswitchable = (key: PropertyKey): Effect.Effect<never> =>
  Effect.die(new TypeError(`${String(key)} gave neither one effect nor one stream: it needs a guard`))

/**
 * Waits for a stream to begin: its first elements, its end, or its failure. That much of it says how the dependency is,
 * and only then has nothing been handed out that the other side could not know of.
 */
const begun = <A, E, R>(
  stream: Stream.Stream<A, E, R>
): Effect.Effect<Stream.Stream<A, E, R>, E, R | Scope.Scope> =>
  Effect.flatMap(Stream.toPull(stream), (pull) =>
    Pull.matchEffect(pull, {
      onSuccess: (first) =>
        Effect.succeed(Stream.concat(Stream.fromArray(first), Stream.fromPull(Effect.succeed(pull)))),
      onFailure: Effect.failCause,
      onDone: () => Effect.succeed(Stream.empty)
    })
  )
