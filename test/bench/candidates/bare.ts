/** What a call costs without a guard: the baselines. */
import * as Effect from "effect/Effect"
import { effectCall, type Given, promiseCall } from "../calls.ts"
import { effectSubject, promiseSubject, type Subject } from "../subject.ts"

/** The call itself, as an Effect. */
export const effect = (given: Given): Subject => effectSubject(effectCall(given))

/** The call itself, as a promise. */
export const promise = (given: Given): Subject => promiseSubject(promiseCall(given))

/** An Effect whose value is there: what a cache that costs nothing would be. */
export const value = (): Subject => {
  const held = Effect.succeed(1)
  return effectSubject(Effect.suspend(() => held))
}

const rejection = new Error("rejected")

/** An Effect that fails, with an error that was there before. */
export const failingEffect = (): Subject => effectSubject(Effect.fail(rejection))

/** A promise that rejects, with an error that was there before. */
export const failingPromise = (): Subject => promiseSubject(() => Promise.reject(rejection))
