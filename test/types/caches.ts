/** What a cache takes and gives. These are checked by the compiler alone, and never run. */
import { type Config, Context, Data, Effect, type Layer, type Option, type Scope } from "effect"
import { type InvalidOption, type Served, type ServiceUnavailable, StaleCache } from "failsoft"
import { expectTypeOf } from "vitest"

class NotFound extends Data.TaggedError("NotFound")<{ readonly id: string }> {}

class Database extends Context.Service<Database, { readonly url: string }>()("types/caches/Database") {}

interface User {
  readonly name: string
}

class Users extends Context.Service<Users, StaleCache.StaleCache<string, User, NotFound>>()(
  "types/caches/Users"
) {}

declare const lookup: (id: string) => Effect.Effect<User, NotFound, Database>
declare const users: StaleCache.StaleCache<string, User, NotFound>

export const aLookupSaysWhatACacheIs = (): void => {
  const made = StaleCache.make({ name: "users", lookup, timeToLive: "1 minute" })
  expectTypeOf(made).toEqualTypeOf<
    Effect.Effect<StaleCache.StaleCache<string, User, NotFound>, InvalidOption, Database | Scope.Scope>
  >()
  const certain = StaleCache.make({
    name: "sizes",
    lookup: (id: number) => Effect.succeed(id),
    timeToLive: 1
  })
  expectTypeOf(certain).toEqualTypeOf<
    Effect.Effect<StaleCache.StaleCache<number, number>, InvalidOption, Scope.Scope>
  >()
}

export const theCallersOwnErrorSurvives = (): void => {
  expectTypeOf(users.get("a")).toEqualTypeOf<Effect.Effect<User, NotFound | ServiceUnavailable>>()
  expectTypeOf(users.getServed("a")).toEqualTypeOf<
    Effect.Effect<Served.Served<User>, NotFound | ServiceUnavailable>
  >()
  expectTypeOf(users.refresh("a")).toEqualTypeOf<Effect.Effect<User, NotFound | ServiceUnavailable>>()
}

export const whatAsksNobodyCannotFail = (): void => {
  expectTypeOf(users.peek("a")).toEqualTypeOf<Effect.Effect<Option.Option<Served.Served<User>>>>()
  expectTypeOf(users.set("a", { name: "a" })).toEqualTypeOf<Effect.Effect<void>>()
  expectTypeOf(users.invalidate("a")).toEqualTypeOf<Effect.Effect<void>>()
  expectTypeOf(users.invalidateAll).toEqualTypeOf<Effect.Effect<void>>()
  expectTypeOf(users.snapshot).toEqualTypeOf<Effect.Effect<StaleCache.Snapshot>>()
}

export const functionsKnowTheirTypes = (): void => {
  const given = {
    name: "users",
    lookup,
    timeToLive: (user, id) => {
      expectTypeOf(user).toEqualTypeOf<User>()
      expectTypeOf(id).toEqualTypeOf<string>()
      return "1 minute"
    },
    sizeOf: (user) => user.name.length,
    isUnavailable: (error) => {
      expectTypeOf(error).toEqualTypeOf<NotFound>()
      return false
    },
    negative: { timeToLive: 1, when: (error) => error._tag === "NotFound" }
  } satisfies StaleCache.Options<string, User, NotFound, Database>
  expectTypeOf(StaleCache.make(given)).toEqualTypeOf<
    Effect.Effect<StaleCache.StaleCache<string, User, NotFound>, InvalidOption, Database | Scope.Scope>
  >()
}

export const aKeyIsWhatAMapFindsAgain = (): void => {
  expectTypeOf<{ readonly id: string }>().not.toExtend<StaleCache.Key>()
  expectTypeOf<string | number | bigint | boolean>().toEqualTypeOf<StaleCache.Key>()
}

export const aLayerProvidesItsKeyAndNeedsNoScope = (): void => {
  const given = { name: "users", lookup, timeToLive: "1 minute" } as const
  expectTypeOf(StaleCache.layer(Users, given)).toEqualTypeOf<Layer.Layer<Users, InvalidOption, Database>>()
  expectTypeOf(StaleCache.layerConfig(Users, given, "users")).toEqualTypeOf<
    Layer.Layer<Users, InvalidOption | Config.ConfigError, Database>
  >()
}
