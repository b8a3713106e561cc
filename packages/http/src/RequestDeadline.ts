/**
 * The deadline of a request: what its caller will wait for, or what the server allows if that is less.
 *
 * It is set on the fiber of each handler, where every policy asks what remains of it, and `ServiceClient` sends what remains
 * on to the services behind. So work for a caller who has gone is not begun anywhere down the line.
 *
 * A caller says how long it waits, as time that remains and never as a moment, so that clocks need not agree:
 *
 * | header | unit |
 * | --- | --- |
 * | `grpc-timeout` | up to eight digits and a unit: `H`, `M`, `S`, `m` (milliseconds), `u`, `n` |
 * | `x-envoy-expected-rq-timeout-ms` | milliseconds |
 * | `x-request-timeout` | seconds |
 *
 * The least of them counts. One that cannot be read is ignored. Where it is less than a millisecond, the handler is not begun.
 *
 * **Gotchas**
 *
 * - Put it after `Problem.layer` among the routes, so that what ends here is answered as everything else is.
 * - Nobody is given longer than `atMost` by asking for it.
 *
 * **Example** (What a handler has left)
 *
 * ```ts import.meta.vitest
 * import { RequestDeadline } from "@failsoft/http"
 * import { Duration, Option } from "effect"
 * import { Headers } from "effect/http"
 *
 * const asked = RequestDeadline.fromHeaders(
 *   Headers.fromInput({ "grpc-timeout": "2S", "x-envoy-expected-rq-timeout-ms": "1500" })
 * )
 *
 * Option.map(asked, Duration.toMillis) // => Option.some(1500)
 * ```
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Headers from "effect/http/Headers"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Deadline, InvalidOption } from "failsoft"
import * as Problem from "./Problem.ts"

/** What requests are held to. */
export interface Options {
  /** The longest that any request may take: longer than 0, at most 24 hours. */
  readonly atMost: Duration.Input
}

/** A Layer that gives every request its deadline. Fails with `InvalidOption` when `atMost` is out of its range. */
export const layer = (
  given: Options
): Layer.Layer<
  never,
  InvalidOption,
  HttpRouter.HttpRouter | HttpRouter.Request<"GlobalError", Problem.Problem>
> =>
  Layer.unwrap(
    Effect.map(validate(given), (atMost) => HttpRouter.middleware(bounded(atMost), { global: true }))
  )

/** How long the caller of a request will wait, as its headers say; `None` where they say nothing. */
export const fromHeaders = (headers: Headers.Headers): Option.Option<Duration.Duration> => {
  const asked = [
    grpcMillis(headers["grpc-timeout"]),
    millisOf(headers["x-envoy-expected-rq-timeout-ms"], 1),
    millisOf(headers["x-request-timeout"], 1000)
  ].filter((millis) => millis !== undefined)
  return asked.length === 0 ? Option.none() : Option.some(Duration.millis(Math.min(...asked)))
}

/**
 * What a handler gets beyond its deadline before it is ended from outside. Time enough for the stages within, which end
 * by the same deadline, to end first and be counted; what is left is work that asks nothing of the deadline, such as the
 * reading of a body that stalls.
 */
const grace = Duration.millis(250)

/** Who waits less than this has gone: no policy begins a call in it. */
const leastMillis = 1

const bounded =
  (atMost: Duration.Duration) =>
  <E, R>(
    handler: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
  ): Effect.Effect<
    HttpServerResponse.HttpServerResponse,
    E | Problem.Problem,
    R | HttpServerRequest.HttpServerRequest
  > =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) => {
      const asked = Option.getOrElse(fromHeaders(headers), () => atMost)
      const patience = Duration.min(asked, atMost)
      if (Duration.toMillis(patience) < leastMillis) return Effect.fail(exceeded())
      const ended = Effect.timeoutOrElse(Deadline.within(handler, patience), {
        duration: Duration.sum(patience, grace),
        orElse: () => Effect.fail(exceeded())
      })
      // Around a route nothing can be interrupted, and a caller that leaves has to reach the handler through the race.
      return Effect.interruptible(ended)
    })

const exceeded = (): Problem.Problem =>
  new Problem.Problem({
    status: 504,
    code: "deadline_exceeded",
    title: "The request took longer than it may",
    details: { retryable: true }
  })

const grpcUnits = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }

const isGrpcUnit = (unit: string): unit is keyof typeof grpcUnits => unit in grpcUnits

const grpcMillis = (header: string | undefined): number | undefined => {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(header ?? "") ?? []
  return digits === undefined || unit === undefined || !isGrpcUnit(unit)
    ? undefined
    : Number(digits) * grpcUnits[unit]
}

const millisOf = (header: string | undefined, unitMillis: number): number | undefined =>
  header !== undefined && /^\d{1,9}(\.\d{1,9})?$/.test(header) ? Number(header) * unitMillis : undefined

const validate = ({ atMost }: Options): Effect.Effect<Duration.Duration, InvalidOption> => {
  const duration = Option.getOrUndefined(Duration.fromInput(atMost))
  const millis = duration === undefined ? Number.NaN : Duration.toMillis(duration)
  return duration !== undefined && millis > 0 && millis <= Duration.toMillis("24 hours")
    ? Effect.succeed(duration)
    : Effect.fail(
        new InvalidOption({
          policy: "request",
          option: "atMost",
          value: duration === undefined ? String(atMost) : Duration.format(duration),
          allowed: "a duration longer than 0 and at most 24h"
        })
      )
}
