/**
 * Starts the example: `pnpm start`. `PORT` says where the gateway listens (3000), `REDIS_URL` where its Redis is; without
 * one it runs degraded. `.env.example` has the rest.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect } from "effect"
import * as Launcher from "./Launcher.ts"
import * as Stack from "./Stack.ts"

const say = (text: string) => Effect.sync(() => console.log(text))

/** What the gateway does with its Redis, or without. */
const redis = {
  live: "It runs live: Redis holds the sessions and counts the tries to log in.",
  degraded: `It runs degraded, without Redis: sessions are checked by signature alone, and each process counts the tries to
log in by itself. Set REDIS_URL to a Redis; one that comes later is found, too, without a restart.`
}

const program = Effect.gen(function* () {
  const { gateway, upstreams, url } = yield* Stack.start({ gatewayEnv: {} })
  const billing = upstreams.find(({ name }) => name === "billing")
  yield* say(`
The chat gateway listens on ${url}, six stand-in services behind it.
${redis[gateway.ready.redis]} Try:

  1. log in, and keep the token
     TOKEN=$(curl -s ${url}/api/v1/login -H 'content-type: application/json' \\
       -d '{"email":"ada@example.org","password":"lovelace"}' | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')

  2. chat
     curl -s ${url}/api/v1/chat -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \\
       -d '{"message":"what does an open circuit do"}'

  3. make billing fail, then chat again: it answers without charging, and billing's circuit opens
     curl -s -X PUT http://127.0.0.1:${billing?.controlPort}/mode -d fail      # "ok" brings it back

  4. see the circuits
     curl -s ${url}/health/circuit-breaker

Ctrl-C ends everything.`)
  const ended = yield* Effect.raceFirst(gateway.exited, Effect.as(Launcher.gone, undefined))
  if (ended !== undefined)
    return yield* Effect.fail(new Error(`the gateway ended with ${ended.signal ?? ended.code}`))
}).pipe(
  Effect.scoped,
  Effect.tapError((error) => Effect.sync(() => console.error(error.message)))
)

NodeRuntime.runMain(program, { disableErrorReporting: true })
