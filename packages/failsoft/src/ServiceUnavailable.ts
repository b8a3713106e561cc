/**
 * The errors that every policy speaks.
 *
 * `ServiceUnavailable` means one thing: the dependency cannot serve this now, and trying elsewhere or later is
 * reasonable. Whatever means something else has a tag of its own (`Ambiguous`, `Unsupported`, `Misconfigured`,
 * `QuotaExceeded`), so that a fallback for an outage never swallows it.
 *
 * **Gotchas**
 *
 * - `Effect.catchReason` leaves `ServiceUnavailable` in the error channel, because other reasons remain possible.
 *   `ServiceUnavailable.orElse` or `Effect.catchTag` removes it; `Effect.unwrapReason` turns it into its reasons.
 * - The error has no stack trace: it is a value that policies make by the thousand during an outage.
 *
 * **Example** (Answering without the dependency)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { ServiceUnavailable, UnavailableReason } from "failsoft"
 *
 * const balance: Effect.Effect<number, ServiceUnavailable> = Effect.fail(
 *   new ServiceUnavailable({ service: "billing", reason: UnavailableReason.CircuitOpen() })
 * )
 *
 * Effect.runSync(balance.pipe(ServiceUnavailable.orElse(() => Effect.succeed(0)))) // => 0
 * ```
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

/**
 * Why a dependency cannot serve a call now.
 *
 * - `CircuitOpen`: the circuit breaker rejected the call; nothing was sent.
 * - `BulkheadFull`, `RateLimited`, `Throttled`, `Shed`: rejected locally by the policy of that name; nothing was sent.
 * - `TimedOut`: the attempt ran for `after` and was given up; it would have had `of` without a deadline.
 * - `RetriesExhausted`: the last of `attempts` tries failed with `lastError`, whose message may hold anything: show
 *   its name, not the message.
 * - `RetryBudgetExhausted`: the attempt failed and too many other calls are being retried already.
 * - `NotConnected`: there is no connection, so nothing was sent.
 */
export type UnavailableReason = Data.TaggedEnum<{
  readonly CircuitOpen: {}
  readonly BulkheadFull: {}
  readonly RateLimited: {}
  readonly TimedOut: { readonly after: Duration.Duration; readonly of: Duration.Duration }
  readonly RetriesExhausted: { readonly attempts: number; readonly lastError: unknown }
  readonly RetryBudgetExhausted: {}
  readonly Throttled: {}
  readonly Shed: {}
  readonly NotConnected: {}
}>

/** Constructors, guards (`$is`) and a matcher (`$match`) for the reasons of `ServiceUnavailable`. */
export const UnavailableReason = Data.taggedEnum<UnavailableReason>()

/** What is told of an error outside the process: never its message, which may hold secrets. */
export interface ErrorName {
  /** The error's `_tag`, when it has one. */
  readonly tag: string | undefined
  /** The name of its class, or its type when it is no object. */
  readonly name: string
}

/**
 * Names an error without repeating anything that it says.
 *
 * `error` is any value; the result holds its tag and class name only.
 */
export const errorName = (error: unknown): ErrorName => {
  try {
    return nameOf(error)
  } catch {
    // It is anybody's object, and may throw when it is read.
    return { tag: undefined, name: "Object" }
  }
}

const nameOf = (error: unknown): ErrorName => {
  if (typeof error !== "object" || error === null) return { tag: undefined, name: typeof error }
  if (error instanceof NamedError) return { tag: error.tag, name: error.name }
  const tag = "_tag" in error && typeof error._tag === "string" ? error._tag : undefined
  const name: unknown = error instanceof Error ? error.name : error.constructor?.name
  return { tag, name: typeof name === "string" ? name : "Object" }
}

/** An error that came over the wire: its name is all that is known of it. A class, so that nothing passes for it. */
class NamedError implements ErrorName {
  readonly tag: string | undefined
  readonly name: string
  constructor({ name, tag }: { readonly name: string; readonly tag?: string | undefined }) {
    this.tag = tag
    this.name = name
  }
}

const LastError = Schema.Struct({ tag: Schema.optional(Schema.String), name: Schema.String }).pipe(
  Schema.decodeTo(
    Schema.Unknown,
    SchemaTransformation.transform({
      decode: (name): unknown => new NamedError(name),
      encode: (error): Partial<ErrorName> & { readonly name: string } => errorName(error)
    })
  )
)

const Wire = Schema.Struct({
  _tag: Schema.tag("ServiceUnavailable"),
  service: Schema.String,
  reason: Schema.TaggedUnion({
    CircuitOpen: {},
    BulkheadFull: {},
    RateLimited: {},
    TimedOut: { after: Schema.DurationFromMillis, of: Schema.DurationFromMillis },
    RetriesExhausted: { attempts: Schema.Int, lastError: LastError },
    RetryBudgetExhausted: {},
    Throttled: {},
    Shed: {},
    NotConnected: {}
  }),
  retryAfter: Schema.optionalKey(Schema.DurationFromMillis)
})

/** `ServiceUnavailable` as JSON: durations in milliseconds, `lastError` as tag and name only. */
export type ServiceUnavailableEncoded = typeof Wire.Encoded

/**
 * The dependency named `service` cannot serve this now.
 *
 * `reason` says why. `retryAfter`, where it is known, is the time after which another try makes sense.
 */
export class ServiceUnavailable extends Data.TaggedError("ServiceUnavailable")<{
  readonly service: string
  readonly reason: UnavailableReason
  readonly retryAfter?: Duration.Duration | undefined
}> {
  constructor(fields: {
    readonly service: string
    readonly reason: UnavailableReason
    readonly retryAfter?: Duration.Duration | undefined
  }) {
    // Capturing a stack is nine tenths of what an error costs, and a rejection's stack tells nothing.
    const v8 = "stackTraceLimit" in Error ? Error : undefined
    const stackTraceLimit = v8?.stackTraceLimit
    if (v8 !== undefined) v8.stackTraceLimit = 0
    super(fields)
    if (v8 !== undefined) v8.stackTraceLimit = stackTraceLimit
  }

  /** One sentence for people: the service, the reason, and when to try again. Holds no caller's data. */
  override get message(): string {
    const again = this.retryAfter === undefined ? "" : `, retry after ${Duration.format(this.retryAfter)}`
    return `${this.service} is unavailable: ${describeReason(this.reason)}${again}`
  }

  /** Codec to and from JSON. Encoding keeps of `lastError` only its tag and name. */
  static readonly schema: Schema.Codec<ServiceUnavailable, ServiceUnavailableEncoded> = Wire.pipe(
    Schema.decodeTo(
      Schema.instanceOf(ServiceUnavailable),
      SchemaTransformation.transform({
        decode: ({ service, reason, retryAfter }) => new ServiceUnavailable({ service, reason, retryAfter }),
        encode: ({ service, reason, retryAfter }) => ({
          _tag: "ServiceUnavailable" as const,
          service,
          reason,
          ...(retryAfter === undefined ? {} : { retryAfter })
        })
      })
    )
  )

  /** As the codec encodes it, so that no serializer repeats what `lastError` says. */
  override toJSON(): ServiceUnavailableEncoded {
    return Schema.encodeSync(ServiceUnavailable.schema)(this)
  }

  /**
   * Answers in another way when the dependency cannot serve the call, and removes `ServiceUnavailable` from the
   * error channel. Other errors pass, also where several calls at once failed and an outage is only one of the errors.
   */
  static readonly orElse: {
    <B, E2, R2>(
      fallback: (error: ServiceUnavailable) => Effect.Effect<B, E2, R2>
    ): <A, E, R>(
      self: Effect.Effect<A, E, R>
    ) => Effect.Effect<A | B, Exclude<E, ServiceUnavailable> | E2, R | R2>
    <A, E, R, B, E2, R2>(
      self: Effect.Effect<A, E, R>,
      fallback: (error: ServiceUnavailable) => Effect.Effect<B, E2, R2>
    ): Effect.Effect<A | B, Exclude<E, ServiceUnavailable> | E2, R | R2>
  } = dual(2, orElse)
}

function orElse<A, E, R, B, E2, R2>(
  self: Effect.Effect<A, E, R>,
  fallback: (error: ServiceUnavailable) => Effect.Effect<B, E2, R2>
): Effect.Effect<A | B, Exclude<E, ServiceUnavailable> | E2, R | R2>
function orElse(
  self: Effect.Effect<unknown, unknown, unknown>,
  fallback: (error: ServiceUnavailable) => Effect.Effect<unknown, unknown, unknown>
) {
  return Effect.catchCause(self, (cause) => {
    const others = cause.reasons.filter((reason) => !isOutage(reason))
    return others.some(Cause.isFailReason)
      ? Effect.failCause(Cause.fromReasons(others))
      : Effect.catchIf(Effect.failCause(cause), (error) => error instanceof ServiceUnavailable, fallback)
  })
}

const isOutage = (reason: Cause.Reason<unknown>): boolean =>
  Cause.isFailReason(reason) && reason.error instanceof ServiceUnavailable

const describeReason = UnavailableReason.$match({
  CircuitOpen: () => "circuit open",
  BulkheadFull: () => "bulkhead full",
  RateLimited: () => "rate limited",
  TimedOut: ({ after }) => `timed out after ${Duration.format(after)}`,
  RetriesExhausted: ({ attempts }) =>
    attempts === 1 ? "the attempt failed" : `all ${attempts} attempts failed`,
  RetryBudgetExhausted: () => "the attempt failed and the retry budget is spent",
  Throttled: () => "throttled",
  Shed: () => "load was shed",
  NotConnected: () => "not connected"
})

/**
 * The operation was sent to `service` and its fate is unknown: it may have been applied.
 *
 * Never retried, never answered by a fallback for outages: only the caller can find out.
 */
export class Ambiguous extends Data.TaggedError("Ambiguous")<{
  readonly service: string
  readonly operation: string
  readonly cause?: unknown
}> {
  /** One sentence for people. */
  override get message(): string {
    return `${this.service}: ${this.operation} was sent and may have been applied`
  }
}

/** There is no honest degraded form of `operation` on `service`. */
export class Unsupported extends Data.TaggedError("Unsupported")<{
  readonly service: string
  readonly operation: string
}> {
  /** One sentence for people. */
  override get message(): string {
    return `${this.service}: ${this.operation} has no degraded form`
  }
}

/** `service` refuses us because of how we are set up, such as a wrong password. Never a reason to degrade. */
export class Misconfigured extends Data.TaggedError("Misconfigured")<{
  readonly service: string
  readonly problem: string
}> {
  /** One sentence for people. `problem` must hold no secrets. */
  override get message(): string {
    return `${this.service} is misconfigured: ${this.problem}`
  }
}

/** A caller of ours is over the limit that we set for it. */
export class QuotaExceeded extends Data.TaggedError("QuotaExceeded")<{
  readonly quota: string
  readonly limit: number
  readonly retryAfter: Duration.Duration
}> {
  /** One sentence for people. */
  override get message(): string {
    return `over the limit of ${this.limit} for ${this.quota}, retry after ${Duration.format(this.retryAfter)}`
  }
}

/** Whether an error is `ServiceUnavailable` or one of its siblings: what these mean is settled, and no predicate is asked. */
export const isPolicyError = (error: unknown): boolean =>
  error instanceof ServiceUnavailable ||
  error instanceof Ambiguous ||
  error instanceof Unsupported ||
  error instanceof Misconfigured ||
  error instanceof QuotaExceeded
