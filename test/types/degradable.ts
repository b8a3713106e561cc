/** Which members need a guard, and what a Layer may fail with. Checked by the compiler alone, and never run. */
import {
  type Cause,
  type Chunk,
  Context,
  Data,
  type DateTime,
  type Duration,
  type Effect,
  type Exit,
  type Layer,
  type Option,
  type Queue,
  type Redacted,
  type Result,
  Schema,
  type Scope,
  type Stream
} from "effect"
import {
  CircuitBreaker as EffectBreaker,
  type KeyValueStore,
  Persistence,
  RateLimiter,
  type Redis
} from "effect/persistence"
import {
  Degradable,
  type Health,
  type InvalidOption,
  type Misconfigured,
  type ServiceUnavailable
} from "failsoft"
import { expectTypeOf } from "vitest"

export const whatEffectsServicesNeed = (): void => {
  expectTypeOf<Degradable.Guarded<RateLimiter.RateLimiterStore["Service"]>>().toEqualTypeOf<never>()
  expectTypeOf<Degradable.Guarded<KeyValueStore.KeyValueStore>>().toEqualTypeOf<never>()
  expectTypeOf<Degradable.Guarded<Persistence.BackingPersistence["Service"]>>().toEqualTypeOf<"make">()
  expectTypeOf<Degradable.Guarded<EffectBreaker.CircuitBreakerStore["Service"]>>().toEqualTypeOf<"admit">()
  expectTypeOf<Degradable.Guarded<Redis.Redis["Service"]>>().toEqualTypeOf<"eval" | "subscribe" | "reserve">()
}

class Refused extends Data.TaggedError("Refused") {}
class SchemaRefused extends Schema.TaggedError<SchemaRefused>()("SchemaRefused", {}) {}
class Entity extends Schema.Class<Entity>("types/Degradable/Entity")({ id: Schema.String }) {}

interface Row {
  readonly id: string
  readonly bytes: Uint8Array
}

/** Everything that is switched by itself. */
interface Plain {
  readonly size: Effect.Effect<number, "down">
  readonly changes: Stream.Stream<Row, "down">
  readonly find: (id: string) => Effect.Effect<Row | undefined, "down">
  readonly watch: (id: string) => Stream.Stream<ReadonlyArray<Row>, "down">
  readonly save: <A extends Row>(row: A) => Effect.Effect<A, "down">
  readonly within: <A, E, R>(call: Effect.Effect<A, E, R>) => Effect.Effect<A, E | "down", R>
  readonly never: Effect.Effect<never>
  readonly option: Effect.Effect<Option.Option<Row>>
  readonly result: Effect.Effect<Result.Result<Row, "down">>
  readonly exit: Effect.Effect<Exit.Exit<Row, "down">>
  readonly cause: Effect.Effect<Cause.Cause<"down">>
  readonly error: Effect.Effect<Refused>
  readonly schemaError: Effect.Effect<SchemaRefused>
  readonly entity: Effect.Effect<Entity>
  readonly when: Effect.Effect<DateTime.Utc>
  readonly duration: Effect.Effect<Duration.Duration>
  readonly secret: Effect.Effect<Redacted.Redacted>
  readonly chunk: Effect.Effect<Chunk.Chunk<Row>>
  readonly map: Effect.Effect<ReadonlyMap<string, Row>>
  readonly date: Effect.Effect<Date>
  readonly json: Effect.Effect<{ readonly data: Schema.Json; readonly more: unknown }>
  readonly url: Effect.Effect<URL>
  readonly maybe?: (id: string) => Effect.Effect<Row>
  readonly name: string
  readonly limits: { readonly rows: number }
  readonly Row: new (id: string) => Row
}

/** Everything that is not. */
interface Needy {
  readonly connection: Effect.Effect<Row, "down", Scope.Scope>
  readonly lines: Stream.Stream<string, "down", Scope.Scope>
  readonly subscribe: (channel: string) => Effect.Effect<Queue.Dequeue<string>, never, Scope.Scope>
  readonly curried: (script: string) => (key: string) => Effect.Effect<Row>
  readonly promised: (id: string) => Promise<Row>
  readonly keyOf: (row: Row) => string
  readonly either: (id: string) => Effect.Effect<Row> | Stream.Stream<Row>
  readonly open: (name: string) => Effect.Effect<Plain, "down">
  readonly openMaybe: (name: string) => Effect.Effect<Plain | undefined, "down">
  readonly opened: Effect.Effect<{ readonly rows: Stream.Stream<Row> }>
  readonly opener: Effect.Effect<(name: string) => Effect.Effect<Row>>
  readonly nested: Effect.Effect<Effect.Effect<Row>>
  readonly tables: Stream.Stream<Plain>
  readonly maybe?: (name: string) => Effect.Effect<Plain>
}

export const whatAnApplicationsServicesNeed = (): void => {
  expectTypeOf<Degradable.Guarded<Plain>>().toEqualTypeOf<never>()
  expectTypeOf<Degradable.Guarded<Needy>>().toEqualTypeOf<keyof Needy>()
}

class NotWritable extends Data.TaggedError("NotWritable") {}
class Connection extends Context.Service<Connection, { readonly url: string }>()(
  "types/Degradable/Connection"
) {}
class Files extends Context.Service<Files, { readonly path: string }>()("types/Degradable/Files") {}
class Store extends Context.Service<Store, Plain>()("types/Degradable/Store") {}

declare const primary: Layer.Layer<Store, ServiceUnavailable | Misconfigured | Refused, Connection>
declare const degraded: Layer.Layer<Store, NotWritable, Files>
declare const mode: Degradable.StartupMode

type Started = Misconfigured | Refused | NotWritable | InvalidOption

const options = { name: "store", primary, degraded }

export const anOutageIsNoErrorOfTheLayer = (): void => {
  type Expected = Layer.Layer<Store, Started, Connection | Files>
  expectTypeOf(Degradable.layer(Store, options)).toEqualTypeOf<Expected>()
  const timeout = { timeout: "1 second" } as const
  expectTypeOf(Degradable.layer(Store, { ...options, startup: timeout })).toEqualTypeOf<Expected>()
  expectTypeOf(
    Degradable.layer(Store, { ...options, startup: { mode: "background" } })
  ).toEqualTypeOf<Expected>()
  expectTypeOf(
    Degradable.layer(Store, { ...options, startup: { mode: "optional" } })
  ).toEqualTypeOf<Expected>()
}

export const unlessThePrimaryIsRequired = (): void => {
  type Expected = Layer.Layer<Store, Started | ServiceUnavailable, Connection | Files>
  expectTypeOf(
    Degradable.layer(Store, { ...options, startup: { mode: "required" } })
  ).toEqualTypeOf<Expected>()
  expectTypeOf(Degradable.layer(Store, { ...options, startup: { mode } })).toEqualTypeOf<Expected>()
}

type Both<I> = { readonly name: string; readonly primary: Layer.Layer<I>; readonly degraded: Layer.Layer<I> }
declare const backing: Both<Persistence.BackingPersistence>
declare const breakers: Both<EffectBreaker.CircuitBreakerStore>

export const aGuardIsThereWhereItIsNeeded = (): void => {
  const { BackingPersistence } = Persistence
  Degradable.layer(BackingPersistence, {
    ...backing,
    guard: {
      make: (from) => {
        expectTypeOf(from).toEqualTypeOf<Degradable.Switch<Persistence.BackingPersistence["Service"]>>()
        return (storeId) => from.run((persistence) => persistence.make(storeId))
      }
    }
  })
  // @ts-expect-error what `make` hands out must be switched too
  Degradable.layer(BackingPersistence, backing)
  // @ts-expect-error a guard makes the member
  Degradable.layer(BackingPersistence, { ...backing, guard: { make: () => "a store" } })
  Degradable.layer(BackingPersistence, {
    ...backing,
    // @ts-expect-error there is no such member
    guard: { make: (from) => from.degraded.make, close: 1 }
  })
}

export const aGuardedMemberMayHaveACounterpart = (): void => {
  const { CircuitBreakerStore } = EffectBreaker
  Degradable.layer(CircuitBreakerStore, {
    ...breakers,
    guard: { admit: (from) => from.degraded.admit, record: (from) => from.degraded.record }
  })
  Degradable.layer(CircuitBreakerStore, {
    ...breakers,
    // @ts-expect-error `admit` needs one
    guard: { record: (from) => from.degraded.record }
  })
}

export const aGuardIsNotThereWhereItIsNot = (limits: Layer.Layer<RateLimiter.RateLimiterStore>): void => {
  const { RateLimiterStore } = RateLimiter
  Degradable.layer(RateLimiterStore, { name: "limits", primary: limits, degraded: limits })
  Degradable.layer(RateLimiterStore, {
    name: "limits",
    primary: limits,
    degraded: limits,
    // @ts-expect-error every member is switched by itself
    guard: { fixedWindow: (from) => from.degraded.fixedWindow }
  })
}

class Ask extends Context.Service<Ask, (question: string) => Effect.Effect<string>>()(
  "types/Degradable/Ask"
) {}

export const aServiceHasMembers = (ask: Layer.Layer<Ask>): void => {
  // @ts-expect-error the service must be an object of members
  Degradable.layer(Ask, { name: "ask", primary: ask, degraded: ask })
}

export const optionsAreNamedAsTheyAre = (): void => {
  // @ts-expect-error there is no such mode
  Degradable.layer(Store, { ...options, startup: { mode: "lazy" } })
  // @ts-expect-error the circuit has the name of the Layer
  Degradable.layer(Store, { ...options, breaker: { name: "other" } })
  // @ts-expect-error a Layer has a name
  Degradable.layer(Store, { primary, degraded })
}

export const aComponentOfHealthIsACircuitOrALayer = (component: Health.Component): void => {
  if (component._tag === "Layer") {
    expectTypeOf(component.layer).toEqualTypeOf<Effect.Effect<Health.LayerSnapshot>>()
  } else {
    expectTypeOf(component.circuit).toEqualTypeOf<Effect.Effect<Health.CircuitSnapshot>>()
  }
}
