import { Context, Data, Effect, Layer, type Scope } from "effect"
import {
  Degradable,
  type InvalidOption,
  Misconfigured,
  ServiceUnavailable,
  UnavailableReason
} from "failsoft"

export class Lost extends Data.TaggedError("Lost") {}
export class Unknown extends Data.TaggedError("Unknown") {}

export type GreeterError = Lost | Unknown | Misconfigured | ServiceUnavailable

export class Greeter extends Context.Service<
  Greeter,
  { readonly greet: (name: string) => Effect.Effect<string, GreeterError> }
>()("test/Greeter") {}

export const unavailable = new ServiceUnavailable({
  service: "server",
  reason: UnavailableReason.NotConnected()
})
export const wrongPassword = new Misconfigured({ service: "server", problem: "the password is wrong" })

/** What became of the attempts to build a primary. */
export interface Ledger {
  attempts: number
  opened: number
  closed: number
}

export type Attempt<E = never> = Effect.Effect<unknown, E, Scope.Scope>

/**
 * A primary that is built by these attempts, one after another; the last one is repeated. Each opens a connection
 * first, and closes it when its scope ends.
 */
export const primaryOf = <E>(
  attempts: readonly [Attempt<E>, ...ReadonlyArray<Attempt<E>>],
  greet: Greeter["Service"]["greet"] = (name) => Effect.succeed(`live ${name}`)
) => {
  const ledger: Ledger = { attempts: 0, opened: 0, closed: 0 }
  const connect = Effect.acquireRelease(
    Effect.sync(() => void ledger.opened++),
    () => Effect.sync(() => void ledger.closed++)
  )
  const layer = Layer.effect(
    Greeter,
    Effect.suspend(() => {
      const attempt = attempts[Math.min(ledger.attempts++, attempts.length - 1)] ?? attempts[0]
      return connect.pipe(Effect.andThen(attempt), Effect.as({ greet }))
    })
  )
  return { ledger, layer }
}

export const degraded = Layer.succeed(Greeter, { greet: (name) => Effect.succeed(`plain ${name}`) })

type Given<E> = Partial<Degradable.Options<Greeter, E, never, never, never>>

/** A degradable greeter over a primary that is there at once, if none is given. */
export const greeterLayer = <E = never>(
  given: Given<E>
): Layer.Layer<Greeter, Exclude<E, ServiceUnavailable> | InvalidOption | ServiceUnavailable> =>
  Degradable.layer(Greeter, {
    name: "greeter",
    primary: primaryOf<E>([Effect.void]).layer,
    degraded,
    ...given
  })

/** Builds it, for as long as the scope lives. */
export const makeGreeter = <E = never>(given: Given<E>) =>
  Effect.map(Layer.build(Layer.fresh(greeterLayer(given))), Context.get(Greeter))
